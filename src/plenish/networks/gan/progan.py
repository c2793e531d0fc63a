"""Progressively growing GAN (Karras et al. 2018, arXiv 1710.10196).

Both networks hold the layers of every resolution from the start and are at one stage: stage 0 makes
base×base images, the last one images of the full size. A new stage is faded in by α: the generator mixes its
image with the enlarged one of the stage before, the discriminator mixes likewise the features of the
image and of its half-sized copy. Layers of other stages take no part and get no gradient.

From the paper: equalized learning rate in every layer, pixel norm in the generator, minibatch standard
deviation in the discriminator, nearest-neighbour doubling, 2×2 averaging, leaky ReLU 0.2, a linear layer to
the image. The label joins z at the input, and judges the last features as in the projection discriminator
(Miyato and Koyama 2018).
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.configuration import option
from plenish.networks import shared_batch
from plenish.networks.gan.contract import (
    Discriminator,
    GANFamily,
    Generator,
    Staged,
    WidthConfig,
    join_labels,
)
from plenish.networks.layers import base_and_stages
from plenish.networks.resampling import upsampled_convolution

_GAIN = math.sqrt(2)
_EPSILON = 1e-8


@dataclasses.dataclass(frozen=True)
class ProGANConfig(WidthConfig):
    """Configuration of both networks.

    Attributes:
        width: feature maps at the full resolution; they double towards the base, up to `max_width`.
        max_width: most feature maps of any layer.
        min_width: fewest feature maps of any layer.
        width_at: the resolution, in pixels, that `width` is meant for instead; 0 is the full one.
    """

    z_dim: int = option(256, least=1)
    max_width: int = 256
    min_width: int = option(1, least=1)
    width_at: int = option(0, least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_width("min_width")

    def widths(self) -> list[int]:
        """Feature maps of every stage, from the base to the full resolution."""
        base, doublings = base_and_stages(self.size)
        widths = []
        for stage in range(doublings + 1):
            shift = round(math.log2((self.width_at or self.size) / (base << stage)))
            width = self.width << shift if shift >= 0 else self.width >> -shift
            widths.append(min(max(width, self.min_width), self.max_width))
        return widths


class EqualizedConv2d(nn.Module):
    """Convolution whose weights are N(0, 1) and scaled by He's constant at run time (section 4.1)."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 3, gain: float = _GAIN) -> None:
        """Draw the weights; the size of the image is kept."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.scale = gain / math.sqrt(channels_in * kernel * kernel)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×C'×H×W."""
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.weight.shape[2] // 2)

    def upsampled(self, x: Tensor) -> Tensor:
        """N×C×H×W, doubled and convolved → N×C'×2H×2W."""
        return upsampled_convolution(x, self.weight * self.scale, self.bias)


class EqualizedLinear(nn.Module):
    """Linear layer of the same kind."""

    def __init__(self, inputs: int, outputs: int, gain: float = _GAIN, *, bias: bool = True) -> None:
        """Draw the weights."""
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = gain / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs → N×outputs."""
        return F.linear(x, self.weight * self.scale, self.bias)


def _leaky_relu_and_norm(x: Tensor, slope: float) -> tuple[Tensor, Tensor]:
    """Leaky ReLU and pixel norm; the result and the factor at each pixel."""
    bent = F.leaky_relu(x, slope)
    exact = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(bent, dim=1, keepdim=True, dtype=exact)
    inverse = norm.square_().div_(x.shape[1]).add_(_EPSILON).rsqrt_()
    # Kept in the type of x: a float32 factor would make the whole map float32 for a moment.
    inverse = inverse.to(x.dtype)
    return bent.mul_(inverse), inverse


class _PixelNorm(torch.autograd.Function):
    """The above; differentiable twice, since both outputs are differentiable once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> tuple[Tensor, Tensor]:
        y, inverse = _leaky_relu_and_norm(x, slope)
        ctx.save_for_backward(y, inverse)
        ctx.slope = slope
        ctx.set_materialize_grads(False)
        return y, inverse

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, None]:
        to_y, to_inverse = gradients
        y, inverse = ctx.saved_tensors
        along = torch.zeros_like(inverse)
        if to_y is not None:
            along = along - (to_y * y).mean(1, keepdim=True) * inverse
        if to_inverse is not None:
            along = along - to_inverse * inverse.square() / y.shape[1]
        to_bent = y * along if to_y is None else torch.addcmul(to_y * inverse, y, along)
        return torch.ops.aten.leaky_relu_backward(to_bent, y, ctx.slope, True), None


def pixel_norm(x: Tensor, slope: float = 1.0) -> Tensor:
    """Scale each pixel's features to unit mean square (section 4.2), behind a leaky ReLU.

    Args:
        x: N×C×H×W or N×C.
        slope: of the leaky ReLU, above 0; 1 is none.
    """
    make = _PixelNorm.apply if torch.is_grad_enabled() else _leaky_relu_and_norm
    y: Tensor = make(x, slope)[0]
    return y


def minibatch_deviation(x: Tensor) -> Tensor:
    """Mean standard deviation over each part of a batch (section 3): N×C×H×W → N×1×H×W, one number a part."""
    parts = shared_batch.number_of_parts()
    exact = shared_batch.whole_batch(x.to(torch.promote_types(x.dtype, torch.float32)))
    groups = exact.view(parts, len(exact) // parts, *x.shape[1:])
    deviation = groups.var(1, unbiased=False).add(_EPSILON).sqrt().mean((1, 2, 3))
    maps = deviation.repeat_interleave(len(x) // parts)[:, None, None, None]
    return maps.to(x.dtype).expand(-1, 1, *x.shape[2:])


class _Growing(Staged):
    """The stage and its fade-in: plain numbers, saved beside the weights, so that no device is waited for."""

    def get_extra_state(self) -> Tensor:
        """Stage and alpha for `state_dict`."""
        return torch.tensor([self.stage, self.alpha], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Stage and alpha from `load_state_dict`."""
        stage, alpha = state.tolist()
        self.grow(int(stage), alpha)

    @property
    def fading(self) -> bool:
        """Whether the stage is still being faded in."""
        return self.stage > 0 and self.alpha < 1


class _Up(nn.Module):
    """Doubling and two convolutions."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = EqualizedConv2d(channels_in, channels_out)
        self.second = EqualizedConv2d(channels_out, channels_out)

    def forward(self, h: Tensor) -> Tensor:
        h = pixel_norm(self.first.upsampled(h), 0.2)
        return pixel_norm(self.second(h), 0.2)


class _Down(nn.Module):
    """Two convolutions and 2×2 averaging."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.first = EqualizedConv2d(channels_in, channels_in)
        self.second = EqualizedConv2d(channels_in, channels_out)

    def forward(self, h: Tensor) -> Tensor:
        h = F.leaky_relu_(self.first(h), 0.2)
        return F.avg_pool2d(F.leaky_relu_(self.second(h), 0.2), 2)


class ProGANGenerator(_Growing, Generator):
    """z, scaled to the sphere, (and y) → base×base features → doubling blocks → image.

    w is the point on the sphere, so that truncation shortens it.
    """

    bounded = False

    def __init__(self, config: ProGANConfig) -> None:
        """Build the layers of all stages."""
        Generator.__init__(self, config)
        self.base = config.base
        widths = config.widths()
        inputs = config.z_dim + config.labels.width
        self.project = EqualizedLinear(inputs, widths[0] * self.base**2, bias=False)
        self.project_bias = nn.Parameter(torch.zeros(widths[0]))
        self.first = EqualizedConv2d(widths[0], widths[0])
        self.ups = nn.ModuleList(_Up(a, b) for a, b in itertools.pairwise(widths))
        self.to_image = nn.ModuleList(EqualizedConv2d(width, config.channels, 1, 1.0) for width in widths)
        self.stages = len(widths)
        self.grow(self.stages - 1)

    def mapping(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Z, N×z_dim → w, N×1×z_dim with unit mean square."""
        return pixel_norm(z)[:, None]

    def latent_weights(self, layers: Sequence[int] | None = None) -> Tensor:
        """The projection's weights of z, outputs×z_dim."""
        return self.project.weight[:, : self.z_dim]

    def first_block(self) -> nn.Module:
        """The first convolution."""
        return self.first

    def synthesis(self, w: Tensor, y: Tensor | None = None, *, noise: str = "random") -> Tensor:
        """W, N×1×z_dim (and y, N×K) → images of the stage's size, N×C×H×W, around [-1, 1] but unbounded."""
        h = self.project(join_labels(w[:, 0], y)).view(w.shape[0], self.base, self.base, -1)
        h = pixel_norm((h + self.project_bias.to(h.dtype)).permute(0, 3, 1, 2), 0.2)
        h = pixel_norm(self.first(h), 0.2)
        before = h
        for up in self.ups[: self.stage]:
            before, h = h, up(h)
        image: Tensor = self.to_image[self.stage](h).float()
        if not self.fading:
            return image
        old = self.to_image[self.stage - 1](before).float()
        return torch.lerp(F.interpolate(old, scale_factor=2, mode="nearest"), image, self.alpha)


class ProGANDiscriminator(_Growing, Discriminator):
    """Halving blocks, minibatch standard deviation, two layers on the base's features."""

    def __init__(self, config: ProGANConfig) -> None:
        """Build the layers of all stages."""
        Discriminator.__init__(self, config)
        self.base = config.base
        widths = config.widths()
        self.from_image = nn.ModuleList(EqualizedConv2d(config.channels, width, 1) for width in widths)
        self.downs = nn.ModuleList(_Down(b, a) for a, b in itertools.pairwise(widths))
        self.last = EqualizedConv2d(widths[0] + 1, widths[0])
        self.dense = EqualizedLinear(widths[0] * self.base**2, widths[0])
        self.head = EqualizedLinear(widths[0], 1, 1.0)
        if config.labels.width:
            self.projection = EqualizedLinear(config.labels.width, widths[0], 1.0, bias=False)
            self.label_scale = math.sqrt(widths[0])
        self.stages = len(widths)
        self.grow(self.stages - 1)

    def _entered(self, stage: int, image: Tensor) -> Tensor:
        return F.leaky_relu_(self.from_image[stage](image), 0.2)

    def features(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        """Images of the stage's size → N×F; the deviation is taken of each part alone.

        Raises:
            ValueError: images of another size.
        """
        side = self.base << self.stage
        if image.shape[2] != side:
            raise ValueError(f"images of {image.shape[2]} px given to a discriminator at {side} px")
        h = self._entered(self.stage, image)
        for stage in range(self.stage, 0, -1):
            h = self.downs[stage - 1](h)
            if stage == self.stage and self.fading:
                h = torch.lerp(self._entered(stage - 1, F.avg_pool2d(image, 2)), h, self.alpha)
        h = torch.cat([h, minibatch_deviation(h)], 1)
        h = F.leaky_relu_(self.last(h), 0.2)
        return F.leaky_relu_(self.dense(h.permute(0, 2, 3, 1).flatten(1)), 0.2)


FAMILY = GANFamily(ProGANConfig, ProGANGenerator, discriminator=ProGANDiscriminator)
