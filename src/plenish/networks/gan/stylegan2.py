"""StyleGAN2 (Karras et al. 2020, arXiv 1912.04958; conditional as in Karras et al. 2020, arXiv 2006.06676).

A mapping network turns z into w, which modulates every convolution of a generator that sums images over its
resolutions; the discriminator is residual. Images are not bounded: nothing but the training keeps them within
[-1, 1].
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from plenish.configuration import option
from plenish.datasets.schema import LabelSchema
from plenish.networks.gan.contract import Discriminator, GANFamily, Generator, WidthConfig
from plenish.networks.gan.modulated import (
    Convolution,
    Dense,
    ModulatedConvolution,
    ToImage,
    compute_dtype,
    minibatch_deviation,
    pixel_norm,
)
from plenish.networks.lowpass import double

MAPPING_RATE = 0.01
"""Learning-rate multiplier of the mapping networks (Karras et al. 2019, appendix C)."""


@dataclasses.dataclass(frozen=True)
class StyleGAN2Config(WidthConfig):
    """Configuration of both networks.

    Attributes:
        z_dim: length of z.
        w_dim: length of w, and of the discriminator's mapped label.
        mapping_layers: fully connected layers from z to w, and from the label to its projection.
        width: feature maps at the full resolution; they double towards the base, up to `max_width`. The
            published `channel base` of 16384 is 256 at 64 px, and of 32768 is 32 at 1024 px.
        max_width: most feature maps of any layer.
        mbstd_group: most images of a group of the minibatch standard deviation; 0 leaves it out.
    """

    z_dim: int = option(512, least=1)
    w_dim: int = option(512, least=1)
    mapping_layers: int = option(8, least=1)
    width: int = option(128, least=1)
    mbstd_group: int = option(4, least=0)


class Mapping(nn.Module):
    """(z and) y → w: each normalised, joined, then fully connected layers."""

    def __init__(self, z_dim: int, labels: LabelSchema, label_dim: int, w_dim: int, layers: int) -> None:
        """Build the layers; z_dim 0 maps the label alone."""
        super().__init__()
        self.embed: Dense | None = None
        if labels.width:
            self.embed = Dense(labels.width, label_dim)
            if labels.kind != "categorical":
                # Normalising would leave of a number only its sign, were there no start away from 0.
                nn.init.normal_(self.embed.bias)
        start = z_dim + (label_dim if labels.width else 0)
        self.layers = nn.Sequential(
            *(Dense(start if i == 0 else w_dim, w_dim, rate=MAPPING_RATE, active=True) for i in range(layers))
        )

    def forward(self, z: Tensor | None, y: Tensor | None) -> Tensor:
        """z, N×z_dim, and y, N×K → N×w_dim."""
        joined = [] if z is None else [pixel_norm(z)]
        if self.embed is not None and y is not None:
            joined.append(pixel_norm(self.embed(y)))
        w: Tensor = self.layers(torch.cat(joined, 1))
        return w


class StyleGAN2Generator(Generator):
    """Mapping, then modulated convolutions whose images are summed over the resolutions.

    Style i belongs to convolution i; the image of each resolution uses the style behind its last convolution,
    which all but the last share with the next resolution's first convolution.
    """

    bounded = False
    has_styles = True

    def __init__(self, config: StyleGAN2Config) -> None:
        """Build the layers and initialise them."""
        super().__init__(config, config.w_dim)
        base, widths = config.base, config.widths()[::-1]
        self.num_ws = 2 * len(widths)
        self.map = Mapping(config.z_dim, config.labels, config.z_dim, config.w_dim, config.mapping_layers)
        self.start = nn.Parameter(torch.randn(1, widths[0], base, base))
        layers = [ModulatedConvolution(widths[0], widths[0], config.w_dim, base, up=False)]
        for i in range(1, len(widths)):
            layers += [
                ModulatedConvolution(widths[i - 1], widths[i], config.w_dim, base << i, up=True),
                ModulatedConvolution(widths[i], widths[i], config.w_dim, base << i, up=False),
            ]
        self.convolutions = nn.ModuleList(layers)
        self.images = nn.ModuleList(ToImage(width, config.channels, config.w_dim) for width in widths)

    def mapping(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Z, N×z_dim (and y, N×K) → w, N×num_ws×w_dim, equal for all layers."""
        w: Tensor = self.map(z, y)
        return w[:, None].expand(-1, self.num_ws, -1)

    def latent_weights(self, layers: Sequence[int] | None = None) -> Tensor:
        """Weights of the style affines of convolutions, outputs×w_dim; layer i is convolution i."""
        chosen = range(len(self.convolutions)) if layers is None else layers
        affines = [module.affine.weight for i, module in enumerate(self.convolutions) if i in chosen]
        last = [self.images[-1].affine.weight] if len(self.convolutions) in chosen else []
        return torch.cat([*affines, *last])

    def synthesis(self, w: Tensor, y: Tensor | None = None, *, noise: str = "random") -> Tensor:
        """W, N×num_ws×w_dim → images, N×C×H×W, mostly in [-1, 1] but not bounded; y is in w already.

        Args:
            w: styles.
            y: ignored.
            noise: `random` draws from torch's default generator, `constant` takes each layer's own fixed
                field, `none` leaves it out.
        """
        h = self.start.to(compute_dtype(self.start)).expand(w.shape[0], -1, -1, -1)
        h = self.convolutions[0](h.contiguous(memory_format=torch.channels_last), w[:, 0], noise)
        image: Tensor = self.images[0](h, w[:, 1])
        for i in range(1, len(self.images)):
            h = self.convolutions[2 * i - 1](h, w[:, 2 * i - 1], noise)
            h = self.convolutions[2 * i](h, w[:, 2 * i], noise)
            image = double(image) + self.images[i](h, w[:, 2 * i + 1])
        return image


class ResidualBlock(nn.Module):
    """Two convolutions, the second to half the resolution, beside a 1×1 shortcut; the sum over √2."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        """Build the layers."""
        super().__init__()
        self.first = Convolution(channels_in, channels_in, 3)
        self.second = Convolution(channels_in, channels_out, 3, down=True, gain=math.sqrt(0.5))
        self.shortcut = Convolution(channels_in, channels_out, 1, down=True, linear=True, gain=math.sqrt(0.5))

    def forward(self, x: Tensor) -> Tensor:
        """N×C×2h×2w → N×C'×h×w."""
        beside: Tensor = self.shortcut(x)
        return beside.add_(self.second(self.first(x)))


class StyleGAN2Discriminator(Discriminator):
    """Residual blocks, minibatch standard deviation, and a projection on the mapped label."""

    def __init__(self, config: StyleGAN2Config) -> None:
        """Build the layers and initialise them."""
        super().__init__(config)
        self.group = config.mbstd_group
        widths = config.widths()
        self.from_image = Convolution(config.channels, widths[0], 1)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in itertools.pairwise(widths)))
        self.last = Convolution(widths[-1] + (self.group > 0), widths[-1], 3)
        self.dense = Dense(widths[-1] * config.base**2, widths[-1], active=True)
        self.map: Mapping | None = None
        if config.labels.width:
            self.map = Mapping(0, config.labels, config.w_dim, config.w_dim, config.mapping_layers)
        self.head = Dense(widths[-1], config.w_dim if config.labels.width else 1)

    def features(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, N×C×H×W (and y, ignored) → N×F."""
        h = self.blocks(self.from_image(image))
        if self.group:
            h = minibatch_deviation(h, self.group)
        out: Tensor = self.dense(self.last(h).permute(0, 2, 3, 1).flatten(1))
        return out

    def logits(self, features: Tensor, y: Tensor | None) -> Tensor:
        """Features, N×F (and y, N×K) → logits, N."""
        out: Tensor = self.head(features)
        if self.map is None:
            return out[:, 0]
        projected: Tensor = (out * self.map(None, y)).sum(1) / math.sqrt(out.shape[1])
        return projected


FAMILY = GANFamily(StyleGAN2Config, StyleGAN2Generator, discriminator=StyleGAN2Discriminator)
