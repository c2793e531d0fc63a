"""Strided and transposed convolutions whose gradients are computed in the way that is fastest on a CPU.

The library's weight gradient of a layer with many channels and few positions (512 maps of 4×4, say) runs at
about half the matrix rate. Laying out the windows and multiplying them once is 1.3 to 2 times as fast there;
with more positions the copies cost more than they save. The gradient by an image of three channels fills
three of the sixteen or more lanes the library computes with; to four sub-pixels at once it takes less than
half as long. Both hold for the gradients of gradients that penalties need. Outputs are the library's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.networks.reference_ops import uses_reference_operators

_FEW_POSITIONS, _SOME_POSITIONS, _MANY_CHANNELS = 16, 64, 256
"""The product is faster up to so many positions of the smaller side: the first number whatever the channels
of the larger one, the second where these are many (measured from 4×4 to 16×16 and 64 to 512 channels)."""
_IMAGE_CHANNELS = 4
"""Channels up to which a side counts as an image."""


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
    """F.conv2d or F.conv_transpose2d with stride 2; differentiable any number of times."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: int, extra: int, transposed: bool
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.options = padding, extra, transposed
        ctx.set_materialize_grads(False)
        if not transposed:
            return F.conv2d(x, weight, bias, 2, padding)
        if _is_image_side(weight):
            return _by_pixel_shuffle(x, weight, bias)
        return F.conv_transpose2d(x, weight, bias, 2, padding, extra)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        if gradient is None:
            return (None,) * 6
        x, weight = ctx.saved_tensors
        padding, extra, transposed = ctx.options
        to_x = to_weight = to_bias = None
        if ctx.needs_input_grad[0]:
            # Rows of x that the windows of a convolution do not reach.
            over = x.shape[2] - (2 * gradient.shape[2] + weight.shape[2] - 2 - 2 * padding)
            back = 0 if transposed else over
            to_x = _Convolution.apply(gradient, weight, None, padding, back, not transposed)
        if ctx.needs_input_grad[1] and _needs_gradient(ctx, 1):
            small, large = (x, gradient) if transposed else (gradient, x)
            if _product_is_faster(weight, small.shape[2] * small.shape[3]):
                to_weight = weight_gradient(small, large, weight.shape[2], padding)
            else:
                _, to_weight, _ = torch.ops.aten.convolution_backward(
                    gradient, x, weight, None, [2, 2], [padding] * 2, [1, 1], transposed, [extra] * 2, 1,
                    [False, True, False],
                )  # fmt: skip
        if ctx.needs_input_grad[2] and _needs_gradient(ctx, 2):
            to_bias = gradient.sum((0, 2, 3))
        return to_x, to_weight, to_bias, None, None, None


def _needs_gradient(ctx: Any, number: int) -> bool:
    """Whether the backward pass at work goes on to an argument; a gradient by the images alone does not."""
    try:
        return bool(torch._C._will_engine_execute_node(ctx.next_functions[number][0]))
    except (AttributeError, RuntimeError):  # Not told for leaves that are asked for themselves.
        return True


def _is_image_side(weight: Tensor) -> bool:
    """Whether the larger side of a 4 px kernel, A×B×4×4, is an image."""
    return weight.shape[1] <= _IMAGE_CHANNELS and weight.shape[2] == 4


def _product_is_faster(weight: Tensor, positions: int) -> bool:
    return positions <= (_SOME_POSITIONS if weight.shape[1] >= _MANY_CHANNELS else _FEW_POSITIONS)


def _uses_own_gradients(x: Tensor, weight: Tensor, positions: int) -> bool:
    """Whether gradients are computed in another way than the library's."""
    if uses_reference_operators() or x.device.type != "cpu" or not torch.is_grad_enabled():
        return False
    return _is_image_side(weight) or (weight.requires_grad and _product_is_faster(weight, positions))


def _by_pixel_shuffle(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A transposed convolution as a 2×2 one to the four sub-pixels, for images some three times as fast.

    Args:
        x: N×A×h×h.
        weight: A×B×4×4.
        bias: B, or None.

    Returns:
        N×B×2h×2h.
    """
    c_in, c_out = weight.shape[:2]
    # Kernel row k = 2·t + a adds input row i − t + 1 of the window to sub-pixel row a.
    kernel = weight.reshape(c_in, c_out, 2, 2, 2, 2).flip(2, 4).permute(1, 3, 5, 0, 2, 4)
    subpixels = F.conv2d(x, kernel.reshape(4 * c_out, c_in, 2, 2), padding=1)
    out = F.pixel_shuffle(subpixels, 2)[:, :, 1:-1, 1:-1].contiguous(memory_format=torch.channels_last)
    return out if bias is None else out + bias.to(out.dtype)[:, None, None]


def _cast(*tensors: Tensor | None) -> list[Any]:
    """What autocast would do to the arguments of a convolution."""
    if torch.is_autocast_enabled("cpu"):
        kind = torch.get_autocast_dtype("cpu")
        return [None if tensor is None else tensor.to(kind) for tensor in tensors]
    return list(tensors)


class Downsampling(nn.Conv2d):
    """Strided convolution that halves the resolution."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, *, bias: bool = False) -> None:
        """Kernel 4 or 5 pixels, stride 2."""
        super().__init__(channels_in, channels_out, kernel, 2, (kernel - 1) // 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """N×C×2h×2h → N×C'×h×h."""
        weight = self.weight  # Once: under spectral norm each look computes it anew.
        out: Tensor
        if _uses_own_gradients(x, weight, x.shape[2] * x.shape[3] // 4):
            out = _Convolution.apply(*_cast(x, weight, self.bias), int(self.padding[0]), 0, False)
        else:
            out = self._conv_forward(x, weight, self.bias)
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
        if _is_image_side(self.weight) and x.device.type == "cpu" and not uses_reference_operators():
            return _by_pixel_shuffle(x, self.weight, self.bias)
        if not _uses_own_gradients(x, self.weight, x.shape[2] * x.shape[3]):
            return super().forward(x)
        extra = int(self.output_padding[0])
        arguments = _cast(x, self.weight, self.bias)
        out: Tensor = _Convolution.apply(*arguments, int(self.padding[0]), extra, True)
        return out
