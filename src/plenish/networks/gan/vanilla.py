"""A dense discriminator against a generator of upsampling and convolutions: the first GAN of many courses,
after Goodfellow et al. 2014 (arXiv 1406.2661), in the sizes of a published model of 48 px drawings.

The label joins z and the discriminator's pixels, as in Mirza and Osindero 2014.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.configuration import option
from plenish.networks.activation import leaky_relu_
from plenish.networks.gan.contract import Discriminator, GANFamily, Generator, PlainConfig, join_labels
from plenish.networks.layers import initialise

_DENSE_LAYERS = 5
"""Dense layers behind the first; each has half the units of the one before."""


@dataclasses.dataclass(frozen=True)
class VanillaConfig(PlainConfig):
    """Configuration of both networks.

    Attributes:
        width: feature maps of the generator at half the full resolution; they double towards the base, up to
            `max_width`. The discriminator's widest layer has 64·width units.
        max_width: most feature maps of any layer of the generator.
        kernel: 3 or 5 pixels, of all the generator's convolutions but the first, which has 3.
        dropout: share of the discriminator's activations dropped behind each hidden layer.
        slope: of the discriminator's leaky ReLUs.
        init: `xavier`, `normal`, `orthogonal`, `kaiming` or `default`.
    """

    kernel: int = option(5, choices=(3, 5))

    def units(self) -> list[int]:
        """Units of the discriminator's hidden layers: one a pixel (at most 64·width), 64·width, halves."""
        widest = 64 * self.width
        return [min(self.size**2, widest), *(widest >> i for i in range(_DENSE_LAYERS))]


class VanillaGenerator(Generator):
    """z (and y) → dense layer to base×base → nearest ×2 and convolution, again and again → tanh.

    Batch norm follows each ReLU; that of the dense layer normalises every unit by itself.
    """

    def __init__(self, config: VanillaConfig) -> None:
        """Build the layers and initialise them."""
        super().__init__(config)
        self.base = config.base
        widths = [*config.widths()[::-1], config.channels]
        self.project = nn.Linear(config.z_dim + config.labels.width, widths[0] * self.base**2)
        self.project_norm = nn.BatchNorm1d(widths[0] * self.base**2)
        kernels = [3, *[config.kernel] * (len(widths) - 2)]
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, kernel, padding=kernel // 2)
            for (a, b), kernel in zip(itertools.pairwise(widths), kernels, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:-1])
        initialise(self, config.init)

    def latent_weights(self, layers: Sequence[int] | None = None) -> Tensor:
        """The projection's weights of z, outputs×z_dim."""
        return self.project.weight[:, : self.z_dim]

    def first_block(self) -> nn.Module:
        """The norm behind the projection."""
        return self.project_norm

    def synthesis(self, w: Tensor, y: Tensor | None = None, *, noise: str = "random") -> Tensor:
        """W, N×1×z_dim (and y, N×K) → images, N×C×H×W in [-1, 1]."""
        h = self.project_norm(F.relu_(self.project(join_labels(w[:, 0], y))))
        # Units are positions times channels: channels_last without a copy.
        h = h.view(w.shape[0], self.base, self.base, -1).permute(0, 3, 1, 2)
        for conv, norm in zip(self.convs[:-1], self.norms, strict=True):
            h = norm(F.relu_(conv(F.interpolate(h, scale_factor=2))))
        return torch.tanh(self.convs[-1](F.interpolate(h, scale_factor=2)).float())


class VanillaDiscriminator(Discriminator):
    """Pixels (and y) → dense layers with leaky ReLU → one logit."""

    def __init__(self, config: VanillaConfig) -> None:
        """Build the layers and initialise them."""
        super().__init__(config)
        pixels = config.channels * config.size**2 + config.labels.width
        units = config.units()
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise([pixels, *units]))
        self.head = nn.Linear(units[-1], 1)
        self.dropout, self.slope = config.dropout, config.slope
        initialise(self, config.init)

    def features(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, N×C×H×W in [-1, 1] (and y, N×K) → N×F, the last hidden layer."""
        h = join_labels(image.permute(0, 2, 3, 1).flatten(1), y)
        for layer in self.layers:
            h = leaky_relu_(layer(h), self.slope, self.dropout if self.training else 0.0)
        return h


FAMILY = GANFamily(VanillaConfig, VanillaGenerator, discriminator=VanillaDiscriminator)
