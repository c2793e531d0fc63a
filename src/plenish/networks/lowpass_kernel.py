"""The [1, 3, 3, 1] filter as one CUDA kernel; importing this file needs Triton.

A depthwise convolution of the library converts channels_last maps to another layout and back, and takes
a kernel that was written for dense convolutions. This one reads every map once, in the layout that it has.
"""

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl
from torch import Tensor

_MOST = 1024
"""Numbers of one output row that a program computes."""


# Triton reads annotations, and knows none but its own.
@triton.jit  # type: ignore[untyped-decorator]
def _filter(  # type: ignore[no-untyped-def]
    x, out, height, width, channels, out_height, out_width, padding, stride, scale, BLOCK: tl.constexpr
):  # fmt: skip
    """One program: BLOCK numbers of one row of an output N×H'×W'×C of x, N×H×W×C, both dense."""
    line = tl.program_id(0)
    image, row = (line // out_height).to(tl.int64), line % out_height
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    column, channel = place // channels, place % channels
    total = tl.zeros([BLOCK], tl.float32)
    for i in tl.static_range(4):
        y = row * stride + i - padding
        start = x + (image * height + y) * width * channels
        for j in tl.static_range(4):
            at = column * stride + j - padding
            inside = (column < out_width) & (y >= 0) & (y < height) & (at >= 0) & (at < width)
            value = tl.load(start + at * channels + channel, mask=inside, other=0.0).to(tl.float32)
            total += value * ((1 + 2 * (i % 3 > 0)) * (1 + 2 * (j % 3 > 0)))
    start = out + (image * out_height + row) * out_width * channels
    tl.store(start + place, (total * scale).to(out.dtype.element_ty), mask=column < out_width)


def filtered(x: Tensor, padding: int, stride: int, gain: float) -> Tensor:
    """See `lowpass.by_slices`; x is float32 or narrower, and the result has its memory format."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    x = x if last else x.contiguous()
    n, c, height, width = x.shape
    out_height, out_width = ((side + 2 * padding - 4) // stride + 1 for side in (height, width))
    layout = torch.channels_last if last else torch.contiguous_format
    out = torch.empty((n, c, out_height, out_width), dtype=x.dtype, device=x.device, memory_format=layout)
    # Maps one behind the other are images of one channel.
    images, channels = (n, c) if last else (n * c, 1)
    block = min(_MOST, triton.next_power_of_2(out_width * channels))
    grid = (images * out_height, triton.cdiv(out_width * channels, block))
    with torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext():
        _filter[grid](
            x, out, height, width, channels, out_height, out_width, padding, stride, gain / 64, BLOCK=block
        )
    return out
