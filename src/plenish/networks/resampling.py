"""A 3×3 convolution together with the doubling before it or the halving behind it.

Repeating every pixel 2×2 and convolving is one transposed 4×4 convolution with stride 2, and convolving and
averaging 2×2 is one 4×4 convolution with stride 2: the kernel is the 3×3 one summed over its four shifts by a
pixel. That is 16 products a small pixel in place of 36. The sums are the same ones, up to rounding.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

_LEAST_SIDE = 16
"""Below this height of the input the larger kernel costs more than the products it saves (measured)."""


def upsampled_convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Nearest-neighbour doubling, then a 3×3 convolution that keeps the size.

    Args:
        x: N×C×H×W.
        weight: C'×C×3×3.
        bias: C', or None.

    Returns:
        N×C'×2H×2W.
    """
    if x.shape[2] < _LEAST_SIDE:
        return F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)
    kernel = F.avg_pool2d(weight, 2, 1, 1, divisor_override=1)
    # A transposed convolution runs its kernel backwards, and has its channels the other way round.
    return F.conv_transpose2d(x, kernel.flip(2, 3).transpose(0, 1), bias, stride=2, padding=1)


def pooled_convolution(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """A 3×3 convolution that keeps the size, then 2×2 averaging.

    Args:
        x: N×C×2H×2W.
        weight: C'×C×3×3.
        bias: C', or None.

    Returns:
        N×C'×H×W.
    """
    if x.shape[2] < _LEAST_SIDE:
        return F.avg_pool2d(F.conv2d(x, weight, bias, padding=1), 2)
    return F.conv2d(x, F.avg_pool2d(weight, 2, 1, 1), bias, stride=2, padding=1)
