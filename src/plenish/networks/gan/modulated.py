"""Layers of StyleGAN2: equalised learning rate, modulated convolution, minibatch deviation.

Written from Karras et al. 2018 (arXiv 1710.10196), 2019 (arXiv 1812.04948) and 2020 (arXiv 1912.04958).
Modulation scales the convolution's input and demodulation its output, which equals the explicit weights per
sample and keeps one dense convolution for the whole batch. Constant factors (runtime weight scale, activation
gain, residual scale) are folded into weights and into the demodulation, since leaky ReLU passes positive
factors through: an activation then costs one pass over memory.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.networks import shared_batch
from plenish.networks.lowpass import halve, smooth

SLOPE = 0.2
GAIN = math.sqrt(2.0)
"""Gain behind a leaky ReLU, which keeps the mean square near 1."""


def pixel_norm(x: Tensor) -> Tensor:
    """Scale each row of x, N×D, to a mean square of 1."""
    return x * (x.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def compute_dtype(like: Tensor) -> torch.dtype:
    """Type in which a convolution of `like` would run: autocast's, where that is on."""
    kind = like.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else like.dtype


def minibatch_deviation(x: Tensor, group: int) -> Tensor:
    """Append one channel with the standard deviation over groups of a batch (Karras et al. 2018, section 3).

    Args:
        x: N×C×H×W.
        group: most images of a group; the largest divisor of a part's size up to it is taken. A part of
            n images falls into M = n/size groups, and its image i belongs to group i mod M.

    Returns:
        N×(C+1)×H×W; the last channel is the group's deviation, averaged over channels and pixels.
    """
    n, _, height, width = x.shape
    parts = shared_batch.number_of_parts()
    each = n * shared_batch.world() // parts
    size = max(s for s in range(1, min(group, each) + 1) if each % s == 0)
    exact = shared_batch.whole_batch(x.to(torch.promote_types(x.dtype, torch.float32)))
    grouped = exact.reshape(parts, size, each // size, -1)
    # The library's own variance takes ten times as long along this dimension.
    variance = (grouped - grouped.mean(1, keepdim=True)).square().mean(1)
    deviation = (variance + 1e-8).sqrt().mean(2)
    channel = shared_batch.own_slice(deviation[:, None].expand(-1, size, -1).reshape(-1, 1, 1, 1))
    joined = torch.cat([x, channel.to(x.dtype).expand(-1, 1, height, width)], 1)
    return joined.contiguous(memory_format=torch.channels_last)


class Dense(nn.Module):
    """Fully connected layer with equalised learning rate, computed in float32."""

    def __init__(
        self, inputs: int, outputs: int, *, rate: float = 1.0, active: bool = False, bias: float = 0.0
    ) -> None:
        """Weights N(0, 1/rate²), scaled to unit variance at run time; `bias` is its effective start value.

        Args:
            inputs: columns in.
            outputs: columns out.
            rate: learning-rate multiplier.
            active: leaky ReLU 0.2 with gain √2 behind it.
            bias: start value of the bias.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.rate, self.active = rate, active

    def forward(self, x: Tensor) -> Tensor:
        """N×inputs → N×outputs, float32 (or the type of the weights)."""
        gain = self.rate * (GAIN if self.active else 1.0)
        with torch.autocast(x.device.type, enabled=False):
            # The factor goes to the smaller side.
            scale = gain / math.sqrt(self.weight.shape[1])
            out = F.linear(x.to(self.weight.dtype) * scale, self.weight, self.bias * gain)
            return F.leaky_relu(out, SLOPE) if self.active else out


class Convolution(nn.Module):
    """Convolution of the discriminator: equalised learning rate, leaky ReLU, halving where asked for."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, *, down: bool = False, linear: bool = False,
        gain: float = 1.0,
    ) -> None:  # fmt: skip
        """Weights N(0, 1), scaled at run time.

        Args:
            channels_in: feature maps in.
            channels_out: feature maps out.
            kernel: 1 or 3 pixels.
            down: halve the resolution, behind a [1, 3, 3, 1] filter.
            linear: neither bias nor activation.
            gain: further factor of the output.
        """
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, kernel, kernel))
        self.bias = None if linear else nn.Parameter(torch.zeros(channels_out))
        self.down, self.gain = down, gain * (1.0 if linear else GAIN)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → N×C'×H×W, or half the height and width."""
        kernel = self.weight.shape[2]
        weight = (self.weight * (self.gain / math.sqrt(self.weight[0].numel()))).to(compute_dtype(x))
        bias = None if self.bias is None else (self.bias * self.gain).to(weight.dtype)
        x = x.to(weight.dtype)
        if self.down and kernel == 1:
            out = F.conv2d(halve(x), weight, bias)
        elif self.down:
            out = F.conv2d(smooth(x, kernel // 2 + 1), weight, bias, stride=2)
        else:
            out = F.conv2d(x, weight, bias, padding=kernel // 2)
        return out if self.bias is None else F.leaky_relu_(out, SLOPE)


class ModulatedConvolution(nn.Module):
    """3×3 convolution whose weights a style scales per input channel and demodulation to unit norm, then
    noise, bias and leaky ReLU."""

    def __init__(self, channels_in: int, channels_out: int, w_dim: int, side: int, *, up: bool) -> None:
        """Build the layer.

        Args:
            channels_in: feature maps in.
            channels_out: feature maps out.
            w_dim: length of the style vector.
            side: height and width of the output, pixels; the constant noise has this size.
            up: double the resolution: a transposed convolution, then [1, 3, 3, 1].
        """
        super().__init__()
        self.affine = Dense(w_dim, channels_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.register_buffer("noise", torch.randn(side, side))
        self.noise: Tensor
        self.side, self.up = side, up

    def demodulation(self, style: Tensor) -> Tensor:
        """Style, N×C → the factor of each output channel that makes its modulated weights' norm 1, N×C'."""
        with torch.autocast(style.device.type, enabled=False):
            return (style.square() @ self.weight.square().sum((2, 3)).t() + 1e-8).rsqrt()

    def forward(self, x: Tensor, w: Tensor, noise: str = "none") -> Tensor:
        """x, N×C×H×W, and w, N×w_dim → N×C'×side×side; noise is `random`, `constant` or `none`."""
        style = self.affine(w)
        factor = (self.demodulation(style) * GAIN).to(x.dtype)[:, :, None, None]
        scaled = x * style.to(x.dtype)[:, :, None, None]
        if self.up:
            # The transposed convolution works at the low resolution: a quarter of the arithmetic of
            # interpolating first. Zero insertion is made up for by the filter's gain of 4.
            out = smooth(F.conv_transpose2d(scaled, self.weight.transpose(0, 1), stride=2), 1, 4.0)
        else:
            out = F.conv2d(scaled, self.weight, padding=1)
        bias = (self.bias * GAIN).to(out.dtype)[:, None, None]
        out = torch.addcmul(bias, out, factor)
        if noise != "none":
            drawn = (
                self.noise
                if noise == "constant"
                else shared_batch.normal((len(x), 1, self.side, self.side), None, device=x.device)
            )
            out = out.add_((drawn * (self.noise_strength * GAIN)).to(out.dtype))
        return F.leaky_relu_(out, SLOPE)


class ToImage(nn.Module):
    """1×1 convolution to the image's channels, modulated but not demodulated."""

    def __init__(self, channels_in: int, channels_out: int, w_dim: int) -> None:
        """Build the layer for images of `channels_out` channels."""
        super().__init__()
        self.affine = Dense(w_dim, channels_in, bias=1.0)
        self.weight = nn.Parameter(torch.randn(channels_out, channels_in))
        self.bias = nn.Parameter(torch.zeros(channels_out))

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """x, N×C×H×W, and w, N×w_dim → N×channels_out×H×W in the type of the weights."""
        n, channels, height, width = x.shape
        style = self.affine(w) / math.sqrt(channels)
        # These weights are few: one matrix for each sample costs less than scaling x.
        weights = (self.weight * style[:, None]).to(x.dtype)
        rows = x.permute(0, 2, 3, 1).reshape(n, height * width, channels)
        image = torch.bmm(rows, weights.transpose(1, 2)).to(self.weight.dtype) + self.bias
        return image.view(n, height, width, -1).permute(0, 3, 1, 2)
