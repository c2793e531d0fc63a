"""What the generators and discriminators of all GAN families offer, beside what every Sampler does."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from plenish.configuration import as_typed, check_fields, option
from plenish.errors import InputError
from plenish.networks.families import Family
from plenish.networks.layers import INITIALISATIONS, base_and_stages
from plenish.networks.sampler import Sampler, SamplerConfig, check_labels


@dataclasses.dataclass(frozen=True)
class NetworkConfig(SamplerConfig):
    """What every GAN family needs to know.

    Attributes:
        z_dim: length of the latent vector.
        prior: distribution of z, U(-1, 1) or N(0, 1) in every coordinate.
    """

    z_dim: int = option(100, least=1)
    prior: str = option("normal", choices=("uniform", "normal"))

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "network")


@dataclasses.dataclass(frozen=True)
class WidthConfig(NetworkConfig):
    """Configuration of families whose feature maps double from the finest resolution towards the base.

    Attributes:
        width: feature maps at the finest resolution; they double towards the base, up to `max_width`.
        max_width: most feature maps of any layer.
        full_width: whether `width` is meant for the full resolution, in place of half of it.
    """

    width: int = option(64, least=1)
    max_width: int = 512
    full_width: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        base_and_stages(self.size)
        self._check_width("width")

    def _check_width(self, name: str) -> None:
        width, most = getattr(self, name), self.max_width
        if width > most:
            raise InputError(
                as_typed(f"network.{name}")
                + f" must be at most network.max_width, which is {most}, and is {width}."
            )

    @property
    def base(self) -> int:
        """Height and width of the smallest feature maps."""
        return base_and_stages(self.size)[0]

    def widths(self) -> list[int]:
        """Feature maps from the finest resolution down to the base."""
        _, doublings = base_and_stages(self.size)
        return [min(self.width << i, self.max_width) for i in range(doublings + self.full_width)]


@dataclasses.dataclass(frozen=True)
class PlainConfig(WidthConfig):
    """Configuration of families of plain convolutions, whose width is that of half the full resolution.

    Attributes:
        dropout: share of the discriminator's activations dropped behind its layers.
        slope: of leaky ReLUs.
        init: `normal`, `orthogonal`, `xavier`, `kaiming` or `default`.
    """

    full_width: ClassVar = False
    dropout: float = option(0.0, least=0, below=1)
    slope: float = option(0.2, above=0, below=1)
    init: str = option("xavier", choices=INITIALISATIONS)


def join_labels(x: Tensor, y: Tensor | None) -> Tensor:
    """x, N×D, and y, N×K, in one row an image; x itself where there are no labels."""
    return x if y is None else torch.cat([x, y.to(x.dtype)], 1)


class Staged(nn.Module):
    """A network of one resolution, or of several that it grows through.

    Attributes:
        stages: how many resolutions there are.
        stage: the present one, from 0; a new network is fully grown.
        alpha: how far that stage is faded in, 0 to 1.
    """

    stages: int = 1
    stage: int = 0
    alpha: float = 1.0

    def grow(self, stage: int, alpha: float = 1.0) -> None:
        """Go to a stage, faded in by alpha.

        Raises:
            ValueError: no such stage, or alpha outside [0, 1] or, where there is one stage, other than 1.
        """
        if not 0 <= stage < self.stages or not (0 if self.stages > 1 else 1) <= alpha <= 1:
            raise ValueError(f"there is no stage {stage} of {self.stages} at alpha {alpha}")
        self.stage, self.alpha = stage, float(alpha)


class Generator(Staged, Sampler):
    """Base of all generators: z (and y) → w → image.

    Attributes:
        num_ws: how many style vectors `mapping` gives; 1 where the edit space is z itself.
        w_dim: length of each.
        has_styles: whether w is more than z, so that mixing and path length have a meaning.
        bounded: whether images cannot leave [-1, 1], as behind a tanh.
        w_mean: mean of w over the prior, the centre of truncation; zero for z-space families.
    """

    sample_options: ClassVar = {"truncation": 1.0, "noise": "random"}
    deterministic_options: ClassVar = {"noise": "constant"}
    config: NetworkConfig
    num_ws: int = 1
    has_styles: bool = False
    bounded: bool = True
    w_mean: Tensor

    def __init__(self, config: NetworkConfig, w_dim: int | None = None) -> None:
        """Keep the configuration; families add their layers."""
        super().__init__(config)
        self.w_dim = w_dim or config.z_dim
        self.register_buffer("w_mean", torch.zeros(self.w_dim))

    @property
    def z_dim(self) -> int:
        """Length of z."""
        return self.config.z_dim

    @property
    def z_shape(self) -> tuple[int, ...]:
        """Shape of one z."""
        return (self.z_dim,)

    @property
    def prior_name(self) -> str:
        """Distribution of each coordinate of z."""
        return "U(-1, 1)" if self.config.prior == "uniform" else "N(0, 1)"

    def sample_prior(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z, n×z_dim, from the network's own prior on the generator's device."""
        if self.config.prior == "uniform":
            return torch.rand(n, self.z_dim, generator=rng, device=rng.device).mul_(2).sub_(1)
        return super().sample_prior(n, rng)

    def sample(self, z: Tensor, y: Tensor | None = None, *, seed: int = 0, **options: Any) -> Tensor:
        """Z, N×z_dim (and y, N×K) → images, N×C×H×W in [-1, 1]; options as of `sample_w`."""
        self.check_labels(y)
        return self.sample_w(self.mapping(z, y), y, seed=seed, **options)

    def sample_w(
        self, w: Tensor, y: Tensor | None = None, *, seed: int = 0, truncation: float = 1.0,
        noise: str = "random",
    ) -> Tensor:  # fmt: skip
        """W, N×num_ws×w_dim (and y, N×K) → images of the full size, N×C×H×W in [-1, 1].

        Args:
            w: styles.
            y: labels, or None.
            seed: of random noise.
            truncation: psi, see `truncate`.
            noise: see `synthesis`.
        """
        self.check_labels(y)
        with torch.random.fork_rng([w.device] if w.is_cuda else [], enabled=noise == "random"):
            if noise == "random":
                torch.manual_seed(seed)
            return self.full_size(self.synthesis(self.truncate(w, truncation), y, noise=noise))

    def mapping(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Z, N×z_dim (and y, N×K) → w, N×num_ws×w_dim. Here z itself, the edit space of z-space families."""
        return z[:, None].expand(-1, self.num_ws, -1)

    def truncate(self, w: Tensor, psi: float) -> Tensor:
        """Pull w towards its mean; psi 1 leaves it, 0 is the mean (StyleGAN, Karras et al. 2019)."""
        return self.w_mean.lerp(w, psi) if psi != 1 else w

    def synthesis(self, w: Tensor, y: Tensor | None = None, *, noise: str = "random") -> Tensor:
        """W, N×num_ws×w_dim (and y, N×K) → images, N×C×H×W in [-1, 1].

        Args:
            w: styles.
            y: labels, for families that join them here; the others ignore it.
            noise: `random`, `constant` or `none`, for families with noise inputs; the others ignore it.
        """
        raise NotImplementedError

    def latent_weights(self, layers: Sequence[int] | None = None) -> Tensor | None:
        """Weights of the first layer that the edit space meets, outputs×D: of z, or of w the style affines.

        Their right singular vectors are the directions of SeFa (Shen and Zhou 2021). None where a family does
        not say.

        Args:
            layers: of w, the layers whose affines are taken; None for all.
        """
        return None

    def first_block(self) -> nn.Module | None:
        """The first module behind the layer of `latent_weights`; GANSpace takes its output's components."""
        return None

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Z, N×z_dim (and y, N×K) → images, N×C×H×W; random noise in training, constant in evaluation."""
        self.check_labels(y)
        return self.synthesis(self.mapping(z, y), y, noise="random" if self.training else "constant")

    def stage_size(self, stage: int) -> int:
        """Height and width of the images at a stage, pixels."""
        return self.size >> (self.stages - 1 - stage)

    def full_size(self, images: Tensor) -> Tensor:
        """Images of an earlier stage at the final size, each pixel repeated; others as they are."""
        times = self.size // images.shape[2]
        return images.repeat_interleave(times, 2).repeat_interleave(times, 3) if times > 1 else images


class Discriminator(Staged):
    """Base of all discriminators and critics: image (and y) → features → logits.

    Families make `features`, a linear layer `head` and, where there are labels, `projection`; or `logits` of
    their own.

    Attributes:
        head: the layer from features to one logit.
        projection: the layer from y to the features' width, where labels are judged by one; else None.
        label_scale: what the product of projected labels and features is divided by.
    """

    head: nn.Module
    label_scale: float = 1.0

    def __init__(self, config: NetworkConfig) -> None:
        """Keep the configuration; families add their layers."""
        super().__init__()
        self.config = config
        self.projection: nn.Module | None = None

    def features(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, N×C×H×W in [-1, 1] (and y, N×K) → features before the last layer, N×F."""
        raise NotImplementedError

    def forward(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        """Logits of images.

        Within `shared_batch.parts` the batch is several of equal size in a row, such as reals and fakes. One
        pass over both is faster than two; statistics over a batch are taken of each part by itself.

        Args:
            image: N×C×H×W in [-1, 1].
            y: labels N×K, or None.

        Returns:
            Logits, N; positive means real.
        """
        check_labels(self.config.labels, y)
        return self.logits(self.features(image, y), y)

    def trainable(self, on: bool) -> None:
        """Let the weights be trained, or not, as while the generator is."""
        self.requires_grad_(on)

    def set_images_seen(self, nimg: int) -> None:
        """Bring what follows from the images seen, such as which layers are frozen, to that state."""

    def logits(self, features: Tensor, y: Tensor | None) -> Tensor:
        """Features, N×F (and y, N×K) → logits, N; labels by projection (Miyato and Koyama 2018)."""
        exact = torch.promote_types(features.dtype, torch.float32)
        scores: Tensor = self.head(features)[:, 0].to(exact)
        if self.projection is None or y is None:
            return scores
        projected: Tensor = (self.projection(y.to(features.dtype)) * features).sum(1, dtype=exact)
        return scores + projected / self.label_scale


@dataclasses.dataclass(frozen=True)
class GANFamily(Family):
    """A family of a generator and a discriminator that train each other.

    Attributes:
        discriminator: built from the same configuration as the generator.
    """

    config: type[NetworkConfig]
    sampler: type[Generator]
    learner: str = "plenish.training.gan.learner:GANLearner"
    discriminator: type[Discriminator] = dataclasses.field(kw_only=True)
