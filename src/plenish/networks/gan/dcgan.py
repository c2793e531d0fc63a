"""DCGAN and its conditional form (Radford et al. 2016, arXiv 1511.06434; labels as in Mirza and Osindero
2014).

Strided and transposed convolutions, batch norm everywhere but in the generator's output and the
discriminator's input, ReLU in the generator, leaky ReLU 0.2 in the discriminator. The label joins z at the
generator's input, and the features behind the discriminator's first convolution as constant maps.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from plenish.configuration import option
from plenish.networks.activation import leaky_relu_
from plenish.networks.convolution import Downsampling, Upsampling
from plenish.networks.gan.contract import Discriminator, GANFamily, Generator, PlainConfig, join_labels
from plenish.networks.layers import INITIALISATIONS, initialise
from plenish.networks.shared_batch import norm_parts

NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "spectral": nn.Identity,
    "instance": functools.partial(nn.InstanceNorm2d, affine=True),
    "none": nn.Identity,
}


@dataclasses.dataclass(frozen=True)
class DCGANConfig(PlainConfig):
    """Configuration of both networks.

    Attributes:
        width: feature maps at half the full resolution; they double towards the base, up to `max_width`.
        max_width: most feature maps of any layer.
        kernel: 4 or 5 pixels.
        d_norm: normalisation in the discriminator, behind all convolutions but the first: `batch`, `instance`
            or `none`; or `spectral`, of the weights of all its layers (Miyato et al. 2018).
        dropout: share of the discriminator's activations dropped behind each convolution.
        init: `normal` (the paper's), `orthogonal`, `xavier`, `kaiming` or `default`.
        slope: of the discriminator's leaky ReLUs.
    """

    kernel: int = option(4, choices=(4, 5))
    d_norm: str = option("batch", choices=tuple(NORMS))
    init: str = option("normal", choices=INITIALISATIONS)


class DCGANGenerator(Generator):
    """z (and y) → projection to base×base → transposed convolutions → tanh."""

    def __init__(self, config: DCGANConfig) -> None:
        """Build the layers and initialise them."""
        super().__init__(config)
        widths = config.widths()[::-1]
        self.base = config.base
        self.project = nn.Linear(config.z_dim + config.labels.width, widths[0] * self.base**2, bias=False)
        self.project_norm = nn.BatchNorm2d(widths[0])
        self.ups = nn.ModuleList(
            Upsampling(a, b, config.kernel) for a, b in itertools.pairwise([*widths, config.channels])
        )
        self.ups[-1] = Upsampling(widths[-1], config.channels, config.kernel, bias=True)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in widths[1:])
        initialise(self, config.init)

    def latent_weights(self, layers: Sequence[int] | None = None) -> Tensor:
        """The projection's weights of z, outputs×z_dim."""
        return self.project.weight[:, : self.z_dim]

    def first_block(self) -> nn.Module:
        """The first transposed convolution."""
        return self.ups[0]

    def synthesis(self, w: Tensor, y: Tensor | None = None, *, noise: str = "random") -> Tensor:
        """W, N×1×z_dim (and y, N×K) → images, N×C×H×W in [-1, 1]."""
        h = self.project(join_labels(w[:, 0], y)).view(w.shape[0], -1, self.base, self.base)
        h = F.relu_(self.project_norm(h.contiguous(memory_format=torch.channels_last)))
        for up, norm in zip(self.ups[:-1], self.norms, strict=True):
            h = F.relu_(norm(up(h)))
        return torch.tanh(self.ups[-1](h).float())


class DCGANDiscriminator(Discriminator):
    """Strided convolutions, the label's maps behind the first, a linear head."""

    def __init__(self, config: DCGANConfig) -> None:
        """Build the layers and initialise them."""
        super().__init__(config)
        widths = config.widths()
        joined = [widths[0] + config.labels.width, *widths[1:]]
        self.first = Downsampling(config.channels, widths[0], config.kernel, bias=True)
        self.downs = nn.ModuleList(
            Downsampling(a, b, config.kernel, bias=config.d_norm in ("none", "spectral"))
            for a, b in zip(joined[:-1], widths[1:], strict=True)
        )
        self.norms = nn.ModuleList(NORMS[config.d_norm](width) for width in widths[1:])
        self.head = nn.Linear(widths[-1] * config.base**2, 1)
        self.dropout, self.slope = config.dropout, config.slope
        initialise(self, config.init)
        if config.d_norm == "spectral":
            for layer in (self.first, *self.downs, self.head):
                spectral_norm(layer)

    def features(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        """Images, N×C×H×W in [-1, 1] (and y, N×K) → N×(C·base·base) in channels_last order."""
        drop = self.dropout if self.training else 0.0
        h = leaky_relu_(self.first(image), self.slope, drop)
        if y is not None:
            maps = y.to(h.dtype)[:, :, None, None].expand(-1, -1, *h.shape[2:])
            h = torch.cat([h, maps], 1)
        for down, norm in zip(self.downs, self.norms, strict=True):
            h = leaky_relu_(norm_parts(norm, down(h)), self.slope, drop)
        return h.permute(0, 2, 3, 1).flatten(1)


FAMILY = GANFamily(DCGANConfig, DCGANGenerator, discriminator=DCGANDiscriminator)
