"""Strided and transposed convolutions whose weight gradient, where it pays, is one matrix product.

On a CPU the library's weight gradient of a layer with many channels and few positions (512 maps of 4×4, say)
runs at about half the matrix rate. Laying out the windows and multiplying them once is 1.7 times as fast
there; with more positions the copies cost more than they save. Outputs are the library's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FEW_POSITIONS = 16
"""Positions of the smaller side up to which the product is faster (measured at 4×4 and 8×8)."""


def _windows(x: Tensor, kernel: int, padding: int, side: int) -> Tensor:
    """x, N×C×H×W → its stride-2 windows, (N·side·side)×(kernel·kernel·C)."""
    padded = F.pad(x, (padding, padding, padding, padding)).permute(0, 2, 3, 1)
    windows = padded.unfold(1, kernel, 2).unfold(2, kernel, 2)[:, :side, :side]
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel * kernel * x.shape[1])


def weight_gradient(small: Tensor, large: Tensor, kernel: int, padding: int) -> Tensor:
    """Gradient of a stride-2 kernel that connects a small map to one of twice its size.

    Args:
        small: N×A×h×h, the output's gradient of a convolution or the input of a transposed one.
        large: N×B×2h×2h, the other side.
        kernel: side of the kernel.
        padding: its padding.

    Returns:
        A×B×kernel×kernel, channels_last.
    """
    side = small.shape[2]
    rows = small.permute(0, 2, 3, 1).reshape(-1, small.shape[1])
    product = rows.t() @ _windows(large, kernel, padding, side)
    return product.view(-1, kernel, kernel, large.shape[1]).permute(0, 3, 1, 2)


class _Convolution(torch.autograd.Function):
    """F.conv2d or F.conv_transpose2d with stride 2; differentiable twice."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, padding: int, extra: int, transposed: bool) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.options = padding, extra, transposed
        if transposed:
            return F.conv_transpose2d(x, weight, None, 2, padding, extra)
        return F.conv2d(x, weight, None, 2, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        (gradient,) = gradients
        x, weight = ctx.saved_tensors
        padding, _, transposed = ctx.options
        to_x = to_weight = None
        if ctx.needs_input_grad[0] and transposed:
            to_x = F.conv2d(gradient, weight, None, 2, padding)
        elif ctx.needs_input_grad[0]:
            over = x.shape[2] - (2 * gradient.shape[2] + weight.shape[2] - 2 - 2 * padding)
            to_x = F.conv_transpose2d(gradient, weight, None, 2, padding, over)
        if ctx.needs_input_grad[1]:
            small, large = (x, gradient) if transposed else (gradient, x)
            to_weight = weight_gradient(small, large, weight.shape[2], padding)
        return to_x, to_weight, None, None, None


def _pays(x: Tensor, weight: Tensor, positions: int) -> bool:
    return (
        x.device.type == "cpu"
        and positions <= _FEW_POSITIONS
        and torch.is_grad_enabled()
        and weight.requires_grad
    )


def _cast(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """What autocast would do to the arguments of a convolution."""
    if torch.is_autocast_enabled("cpu"):
        kind = torch.get_autocast_dtype("cpu")
        return x.to(kind), weight.to(kind)
    return x, weight


class Downsampling(nn.Conv2d):
    """Strided convolution that halves the resolution."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, bias: bool = False) -> None:
        """Kernel 4 or 5 pixels, stride 2."""
        super().__init__(channels_in, channels_out, kernel, 2, (kernel - 1) // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×2h×2h → N×C'×h×h."""
        if self.bias is not None or not _pays(x, self.weight, x.shape[2] * x.shape[3] // 4):
            return super().forward(x)
        out: Tensor = _Convolution.apply(*_cast(x, self.weight), self.padding[0], 0, False)
        return out


class Upsampling(nn.ConvTranspose2d):
    """Transposed convolution that doubles the resolution."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, bias: bool = False) -> None:
        """Kernel 4 or 5 pixels, stride 2."""
        extra = kernel % 2
        padding = (kernel - 2 + extra) // 2
        super().__init__(channels_in, channels_out, kernel, 2, padding, output_padding=extra, bias=bias)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """N×C×h×h → N×C'×2h×2h."""
        if self.out_channels <= 4 and self.kernel_size[0] == 4 and x.device.type == "cpu":
            return self._by_shuffling(x)
        if self.bias is not None or not _pays(x, self.weight, x.shape[2] * x.shape[3]):
            return super().forward(x)
        extra = int(self.output_padding[0])
        out: Tensor = _Convolution.apply(*_cast(x, self.weight), self.padding[0], extra, True)
        return out

    def _by_shuffling(self, x: Tensor) -> Tensor:
        """The same sums as a 2×2 convolution to the four sub-pixels; for images, some three times as fast."""
        c_in, c_out = self.weight.shape[:2]
        # Kernel row k = 2·t + a adds input row i − t + 1 of the window to sub-pixel row a.
        kernel = self.weight.view(c_in, c_out, 2, 2, 2, 2).flip(2, 4).permute(1, 3, 5, 0, 2, 4)
        subpixels = F.conv2d(x, kernel.reshape(4 * c_out, c_in, 2, 2), padding=1)
        out = F.pixel_shuffle(subpixels, 2)[:, :, 1:-1, 1:-1].contiguous(memory_format=torch.channels_last)
        return out if self.bias is None else out + self.bias.to(out.dtype)[:, None, None]
