"""What every generator and discriminator offers, whatever its family.

Latent tools, exporters and screens are written against this alone. Labels are y, N×K float: one-hot, soft,
multi-hot or continuous, so that a label can be interpolated; None where the network has no labels.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError, unknown

Prior = Literal["uniform", "normal"]


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """What every family needs to know.

    Attributes:
        size: height and width of the images, pixels.
        channels: 1 or 3.
        labels: label schema of the data; kind `none` makes an unconditional network.
        z_dim: length of the latent vector.
        prior: distribution of z, U(-1, 1) or N(0, 1) in every coordinate.
    """

    size: int = 64
    channels: int = 3
    labels: LabelSchema = dataclasses.field(default_factory=LabelSchema)
    z_dim: int = 100
    prior: Prior = "normal"

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise InputError(f"A generator makes images of 1 or 3 channels, not {self.channels}.")
        if self.prior not in get_args(Prior):
            raise unknown("prior", self.prior, get_args(Prior))
        if self.z_dim < 1:
            raise InputError(f"The latent vector needs at least one number; z_dim is {self.z_dim}.")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able form."""
        content = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return content | {"labels": self.labels.to_dict()}


def check_labels(labels: LabelSchema, y: Tensor | None) -> None:
    """Raise ValueError unless y has the width that the label schema asks for."""
    expected = labels.width or None
    found = None if y is None else y.shape[1]
    if expected != found:
        raise ValueError(f"labels of width {found} given to a network made for {expected}")


class Generator(nn.Module):
    """Base of all generators: z (and y) → w → image.

    Attributes:
        config: the family's configuration; with the weights it rebuilds the network.
        num_ws: how many style vectors `mapping` gives; 1 where the edit space is z itself.
        w_dim: length of each.
        stages: how many resolutions a network that grows passes through; 1 elsewhere.
        stage: the one it stands at, from 0; a new network is fully grown.
        alpha: how far that stage is faded in, 0 to 1.
        has_styles: whether w is more than z, so that mixing and path length have a meaning.
        bounded: whether images cannot leave [-1, 1], as behind a tanh.
        w_mean: mean of w over the prior, the centre of truncation; zero for z-space families.
    """

    num_ws: int = 1
    has_styles: bool = False
    bounded: bool = True
    stages: int = 1
    stage: int = 0
    alpha: float = 1.0
    w_mean: Tensor

    def __init__(self, config: NetworkConfig, w_dim: int | None = None) -> None:
        """Remember the configuration; families add their layers."""
        super().__init__()
        self.config = config
        self.w_dim = w_dim or config.z_dim
        self.register_buffer("w_mean", torch.zeros(self.w_dim))

    @property
    def labels(self) -> LabelSchema:
        """The label schema the network was made for."""
        return self.config.labels

    @property
    def size(self) -> int:
        """Height and width of its images, pixels."""
        return self.config.size

    @property
    def channels(self) -> int:
        """Channels of its images."""
        return self.config.channels

    @property
    def z_dim(self) -> int:
        """Length of z."""
        return self.config.z_dim

    def sample_prior(self, n: int, rng: torch.Generator) -> Tensor:
        """Draw z, n×z_dim, from the network's own prior on the generator's device."""
        if self.config.prior == "uniform":
            return torch.rand(n, self.z_dim, generator=rng, device=rng.device).mul_(2).sub_(1)
        return torch.randn(n, self.z_dim, generator=rng, device=rng.device)

    def mapping(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Z, N×z_dim (and y, N×K) → w, N×num_ws×w_dim. Here z itself, the edit space of z-space families."""
        return z[:, None, :].expand(-1, self.num_ws, -1)

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

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Z, N×z_dim (and y, N×K) → images, N×C×H×W in [-1, 1]."""
        self.check_labels(y)
        return self.synthesis(self.mapping(z, y), y)

    def grow(self, stage: int, alpha: float = 1.0) -> None:
        """Go to a resolution stage, faded in by alpha; only networks with several stages can."""
        if (stage, alpha) != (0, 1.0):
            raise ValueError("this network does not grow")

    def stage_size(self, stage: int) -> int:
        """Height and width of the images at a stage, pixels."""
        return self.size >> (self.stages - 1 - stage)

    def full_size(self, images: Tensor) -> Tensor:
        """Images of an earlier stage at the final size, each pixel repeated; others as they are."""
        times = self.size // images.shape[2]
        return images.repeat_interleave(times, 2).repeat_interleave(times, 3) if times > 1 else images

    def check_labels(self, y: Tensor | None) -> None:
        """Raise ValueError unless y is what the label schema asks for."""
        check_labels(self.labels, y)


class Discriminator(nn.Module):
    """Base of all discriminators and critics: image (and y) → logits."""

    stages: int = 1

    def __init__(self, config: NetworkConfig) -> None:
        """Remember the configuration; families add their layers."""
        super().__init__()
        self.config = config

    def grow(self, stage: int, alpha: float = 1.0) -> None:
        """Go to a resolution stage, faded in by alpha; only networks with several stages can."""
        if (stage, alpha) != (0, 1.0):
            raise ValueError("this network does not grow")

    def check_labels(self, y: Tensor | None) -> None:
        """Raise ValueError unless y is what the label schema asks for."""
        check_labels(self.config.labels, y)

    def features(self, image: Tensor, y: Tensor | None = None, *, parts: int = 1) -> Tensor:
        """Images, N×C×H×W in [-1, 1] (and y, N×K) → features before the last layer, N×F."""
        raise NotImplementedError

    def forward(self, image: Tensor, y: Tensor | None = None, *, parts: int = 1) -> Tensor:
        """Judge images.

        Args:
            image: N×C×H×W in [-1, 1].
            y: labels N×K, or None.
            parts: the batch is this many batches of equal size in a row, such as reals and fakes. One
                pass over both is faster than two; statistics over a batch are taken of each part by itself.

        Returns:
            Logits, N; positive means real.
        """
        raise NotImplementedError
