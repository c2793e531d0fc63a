"""Convolutional critic and generator for the Wasserstein objective with gradient penalty (Gulrajani et al.
2017, arXiv 1704.00028), in the sizes of a published 128 px model of MRI slices.

The critic has strided convolutions and dropout, and no batch norm, since the penalty is on each image's own
gradient. The generator starts at twice the critic's last resolution and ends with a 3×3 convolution at the
full one. The label joins z, and in the critic's head it is projected on the features (Miyato and Koyama
2018), so that the critic of data without labels has the published layers and no others.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from plenish.configuration import option
from plenish.networks.activation import leaky_relu_
from plenish.networks.convolution import Downsampling, Upsampling
from plenish.networks.gan.contract import Discriminator, GANFamily, Generator, PlainConfig, join_labels
from plenish.networks.layers import initialise


@dataclasses.dataclass(frozen=True)
class WGANGPConfig(PlainConfig):
    """Configuration of both networks.

    Attributes:
        width: feature maps of the critic at half the full resolution, of the generator at the full one; they
            double towards the base, up to `max_width`.
        max_width: most feature maps of any layer.
        dropout: share of the critic's activations dropped behind every convolution but the first.
        slope: of all leaky ReLUs.
        init: `xavier`, `normal`, `orthogonal`, `kaiming` or `default`.
    """

    z_dim: int = option(128, least=1)
    max_width: int = 1024
    dropout: float = option(0.3, least=0, below=1)


class WGANGPGenerator(Generator):
    """z (and y) → projection to 2·base×2·base → transposed convolutions → 3×3 convolution → tanh."""

    def __init__(self, config: WGANGPConfig) -> None:
        """Build the layers and initialise them."""
        super().__init__(config)
        widths = config.widths()[::-1]
        self.start, self.slope = 2 * config.base, config.slope
        self.project = nn.Linear(config.z_dim + config.labels.width, widths[0] * self.start**2)
        self.ups = nn.ModuleList(Upsampling(a, b, 4, bias=True) for a, b in itertools.pairwise(widths))
        # Keras keeps 0.8 of the running statistics, which torch calls a momentum of 0.2.
        self.norms = nn.ModuleList(nn.BatchNorm2d(width, momentum=0.2) for width in widths[1:])
        self.to_image = nn.Conv2d(widths[-1], config.channels, 3, padding=1)
        initialise(self, config.init)

    def latent_weights(self, layers: Sequence[int] | None = None) -> Tensor:
        """The projection's weights of z, outputs×z_dim."""
        return self.project.weight[:, : self.z_dim]

    def first_block(self) -> nn.Module:
        """The first doubling."""
        return self.ups[0]

    def synthesis(self, w: Tensor, y: Tensor | None = None, *, noise: str = "random") -> Tensor:
        """W, N×1×z_dim (and y, N×K) → images, N×C×H×W in [-1, 1]."""
        h = leaky_relu_(self.project(join_labels(w[:, 0], y)), self.slope)
        # Rows of the projection are positions, their columns channels: channels_last without a copy.
        h = h.view(w.shape[0], self.start, self.start, -1).permute(0, 3, 1, 2)
        for up, norm in zip(self.ups, self.norms, strict=True):
            h = leaky_relu_(norm(up(h)), self.slope)
        return torch.tanh(self.to_image(h).float())


class WGANGPDiscriminator(Discriminator):
    """The critic: strided convolutions, leaky ReLU, dropout, a linear head."""

    def __init__(self, config: WGANGPConfig) -> None:
        """Build the layers and initialise them."""
        super().__init__(config)
        self.dropout, self.slope = config.dropout, config.slope
        widths = config.widths()
        features = widths[-1] * config.base**2
        self.downs = nn.ModuleList(
            Downsampling(a, b, 4, bias=True) for a, b in itertools.pairwise([config.channels, *widths])
        )
        self.head = nn.Linear(features, 1)
        if config.labels.width:
            self.projection = nn.Linear(config.labels.width, features, bias=False)
        initialise(self, config.init)

    def features(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, N×C×H×W in [-1, 1] → N×(C·base·base) in channels_last order."""
        h = image
        for number, down in enumerate(self.downs):
            drop = self.dropout if number and self.training else 0.0
            h = leaky_relu_(down(h), self.slope, drop)
        return h.permute(0, 2, 3, 1).flatten(1)


FAMILY = GANFamily(WGANGPConfig, WGANGPGenerator, discriminator=WGANGPDiscriminator)
