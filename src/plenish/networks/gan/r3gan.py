"""R3GAN (Huang et al. 2024, arXiv 2501.05441): plain residual stages without any normalisation.

Generator and discriminator mirror each other. Each resolution is a stage of residual blocks 1×1 → grouped 3×3
→ 1×1 with leaky ReLU inside and nothing on the sum (Xie et al. 2017, but widened inside), identities at the
start in the manner of Fixup (Zhang et al. 2019). Stages are joined by bilinear resampling and a 1×1
convolution. What keeps such networks stable is the objective: relativistic pairing with R1 and R2.

Images are not bounded: nothing but the training keeps them within [-1, 1].
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.configuration import option
from plenish.networks.gan.contract import Discriminator, GANFamily, Generator, WidthConfig, join_labels
from plenish.networks.layers import init_linear

_SLOPE = 0.2


@dataclasses.dataclass(frozen=True)
class R3GANConfig(WidthConfig):
    """Configuration of both networks.

    Attributes:
        width: feature maps at the full resolution; they double towards the base, up to `max_width`.
        max_width: most feature maps between blocks.
        blocks: residual blocks of each resolution, in each network.
        expansion: maps inside a block, as a multiple of those around it.
        group_width: maps in each group of the 3×3 convolutions, at most.
    """

    z_dim: int = option(64, least=1)
    width: int = option(32, least=1)
    max_width: int = 256
    blocks: int = option(2, least=1)
    expansion: int = option(2, least=1)
    group_width: int = option(16, least=1)


def groups(maps: int, group_width: int) -> int:
    """How many equal groups of `group_width` maps, or of the next fewer that divide all, there are."""
    return maps // max(width for width in range(1, min(group_width, maps) + 1) if maps % width == 0)


class Block(nn.Module):
    """x + 1×1 ∘ grouped 3×3 ∘ 1×1, the identity at the start."""

    def __init__(self, width: int, config: R3GANConfig, n_blocks: int) -> None:
        """Build and initialise; `n_blocks` is how many the whole network has."""
        super().__init__()
        inner = width * config.expansion
        self.enter = nn.Conv2d(width, inner, 1)
        self.mix = nn.Conv2d(inner, inner, 3, padding=1, groups=groups(inner, config.group_width))
        self.leave = nn.Conv2d(inner, width, 1, bias=False)
        # Fixup: a branch of three layers whose last is zero scales the others by L^(-1/4).
        gain = math.sqrt(2 / (1 + _SLOPE**2)) * n_blocks**-0.25
        init_linear(self.enter, gain)
        init_linear(self.mix, gain)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×C×H×W."""
        h = F.leaky_relu_(self.enter(x), _SLOPE)
        h = F.leaky_relu_(self.mix(h), _SLOPE)
        left: Tensor = self.leave(h)
        return x + left


class Transition(nn.Module):
    """Bilinear resampling by 2 and, where the width changes, a 1×1 convolution at the lower resolution.

    Both are linear and the resampling's weights sum to 1, so that their order is only a matter of cost.
    """

    def __init__(self, width_in: int, width_out: int, *, up: bool) -> None:
        """Build and initialise."""
        super().__init__()
        self.up = up
        self.project = nn.Conv2d(width_in, width_out, 1, bias=False) if width_in != width_out else None
        if self.project is not None:
            init_linear(self.project)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×C'×2H×2W, or N×C'×(H/2)×(W/2)."""
        if not self.up:
            # Halving bilinearly is the mean of four pixels.
            x = F.avg_pool2d(x, 2)
        if self.project is not None:
            x = self.project(x)
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False) if self.up else x


def _stages(widths: list[int], config: R3GANConfig, *, up: bool) -> nn.Sequential:
    """Blocks of every resolution in order, joined by transitions."""
    layers: list[nn.Module] = []
    for i, width in enumerate(widths):
        if i:
            layers.append(Transition(widths[i - 1], width, up=up))
        layers += [Block(width, config, config.blocks * len(widths)) for _ in range(config.blocks)]
    return nn.Sequential(*layers)


class R3GANGenerator(Generator):
    """z (and y) → learned maps, each times a number → stages → 1×1 to the image."""

    bounded = False

    def __init__(self, config: R3GANConfig) -> None:
        """Build the layers and initialise them."""
        super().__init__(config)
        widths, k = config.widths()[::-1], config.labels.width
        self.embed = nn.Linear(k, config.z_dim, bias=False) if k else None
        if self.embed is not None:
            nn.init.normal_(self.embed.weight)
        self.modulate = nn.Linear(config.z_dim * (2 if k else 1), widths[0], bias=False)
        init_linear(self.modulate)
        self.basis = nn.Parameter(torch.randn(widths[0], config.base, config.base))
        self.stages_up = _stages(widths, config, up=True)
        self.image = nn.Conv2d(widths[-1], config.channels, 1)
        init_linear(self.image)

    def latent_weights(self, layers: Sequence[int] | None = None) -> Tensor:
        """Weights of z to the strengths of the learned maps, each times the length of its map, maps×z_dim."""
        return self.modulate.weight[:, : self.z_dim] * self.basis.flatten(1).norm(dim=1)[:, None]

    def first_block(self) -> nn.Module:
        """The first stage."""
        return self.stages_up[0]

    def synthesis(self, w: Tensor, y: Tensor | None = None, *, noise: str = "random") -> Tensor:
        """W, N×1×z_dim (and y, N×K) → images, N×C×H×W, mostly in [-1, 1] but not bounded."""
        embedded = self.embed(y.to(w.dtype)) if self.embed is not None and y is not None else None
        strengths = self.modulate(join_labels(w[:, 0], embedded))[:, :, None, None]
        h = (self.basis.to(strengths.dtype) * strengths).contiguous(memory_format=torch.channels_last)
        images: Tensor = self.image(self.stages_up(h)).float()
        return images


class R3GANDiscriminator(Discriminator):
    """1×1 from the image → stages → one learned map per feature over the base → a linear head.

    The label is projected: its embedding's product with the features is added to the logit (Miyato and Koyama
    2018).
    """

    def __init__(self, config: R3GANConfig) -> None:
        """Build the layers and initialise them."""
        super().__init__(config)
        base, widths = config.base, config.widths()
        self.image = nn.Conv2d(config.channels, widths[0], 1)
        self.stages_down = _stages(widths, config, up=False)
        self.basis = nn.Parameter(torch.randn(widths[-1], base, base) / base)
        self.head = nn.Linear(widths[-1], 1)
        projection = nn.Linear(config.labels.width, widths[-1], bias=False) if config.labels.width else None
        init_linear(self.image)
        init_linear(self.head)
        if projection is not None:
            nn.init.normal_(projection.weight, 0.0, 1 / math.sqrt(widths[-1]))
            self.projection = projection

    def features(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, N×C×H×W (and y, N×K) → N×F."""
        h: Tensor = self.stages_down(self.image(image))
        # A 4×4 depthwise convolution to one position, as the product and sum it is; in float32.
        return (h * self.basis).sum((2, 3))

    def logits(self, features: Tensor, y: Tensor | None) -> Tensor:
        """Features, N×F (and y, N×K) → logits, N, in the features' own precision."""
        with torch.autocast(features.device.type, enabled=False):
            return super().logits(features, y)


FAMILY = GANFamily(R3GANConfig, R3GANGenerator, discriminator=R3GANDiscriminator)
