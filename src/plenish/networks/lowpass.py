"""The low-pass filter [1, 3, 3, 1] of StyleGAN's resampling (Karras et al. 2019, arXiv 1812.04948).

On a CPU it is fastest as a depthwise convolution (1.2 ms for 16×64×64×64 float32, channels_last, against
8.6 ms as slices). On CUDA that would convert layouts and take several times as long as the filter itself:
there it is one kernel, or a sum of shifted slices where Triton is missing or a graph is being traced.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from plenish.networks.layers import linear_map


def smooth(x: Tensor, padding: int, gain: float = 1.0) -> Tensor:
    """Filter with [1, 3, 3, 1], zeros beyond the border: N×C×H×W → N×C×(H+2·padding−3)×(W+2·padding−3)."""
    # The adjoint is the same filter with the other padding, so the way back is as fast.
    return linear_map(x, lambda x: filtered(x, padding, 1, gain), lambda x: filtered(x, 3 - padding, 1, gain))


def halve(x: Tensor) -> Tensor:
    """N×C×2h×2w → N×C×h×w by [1, 3, 3, 1] and decimation."""
    return linear_map(x, lambda x: filtered(x, 1, 2, 1.0), _spread)


def double(x: Tensor) -> Tensor:
    """N×C×h×w → N×C×2h×2w, bilinear: [1, 3, 3, 1] on zero-inserted pixels, the border repeated."""
    return F.interpolate(x, scale_factor=2, mode="bilinear")


def _spread(x: Tensor) -> Tensor:
    """Adjoint of `halve`: a quarter of bilinear interpolation that sees zeros beyond the border."""
    return double(F.pad(x, (1, 1, 1, 1)))[:, :, 2:-2, 2:-2].mul(0.25)


def filtered(x: Tensor, padding: int, stride: int, gain: float) -> Tensor:
    """The filter, in the way that is fastest for the device; see `by_slices`."""
    if x.device.type == "cpu":
        return by_convolution(x, padding, stride, gain)
    traced = torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None
    exact = x.dtype == torch.float64  # The kernel adds in float32.
    if x.device.type == "cuda" and not traced and not exact and (kernel := _kernel()):
        return kernel(x, padding, stride, gain)
    return by_slices(x, padding, stride, gain)


@functools.cache
def _kernel() -> Callable[[Tensor, int, int, float], Tensor] | None:
    """The filter as a CUDA kernel, or None where Triton is not installed."""
    try:
        found: Callable[[Tensor, int, int, float], Tensor] = importlib.import_module(
            "plenish.networks.lowpass_kernel"
        ).filtered
    except ImportError:
        return None
    return found


def by_convolution(x: Tensor, padding: int, stride: int, gain: float) -> Tensor:
    """See `by_slices`; a depthwise convolution of the library."""
    # Made on the device: copying a list there would wait for all work before it.
    taps = (3 - 2 * ((torch.arange(4, device=x.device) - 1.5).abs() - 0.5)) * (math.sqrt(gain) / 8)
    kernel = torch.outer(taps, taps).to(x.dtype).expand(x.shape[1], 1, 4, 4)
    return F.conv2d(x, kernel, stride=stride, padding=padding, groups=x.shape[1])


def by_slices(x: Tensor, padding: int, stride: int, gain: float) -> Tensor:
    """Filter with [1, 3, 3, 1], one direction after the other, as sums of shifted slices.

    Args:
        x: N×C×H×W.
        padding: rows and columns of zeros on each side.
        stride: every how many pixels there is a result.
        gain: what a constant image is multiplied by.

    Returns:
        N×C×H'×W' of the type and memory format of x, H' = (H + 2·padding − 4) // stride + 1.
    """
    x = F.pad(x, (padding,) * 4)
    for dim in (2, 3):
        windows = x.unfold(dim, 4, stride)
        a, b, c, d = windows.unbind(-1)
        x = torch.add(a + d, b + c, alpha=3)
    return x * (gain / 64)
