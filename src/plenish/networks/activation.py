"""Leaky ReLU, with dropout behind it, for networks whose gradients are penalised.

Both multiply every number by a factor that does not change with small changes of the input. The library still
sends a second derivative of zeros back through everything before a leaky ReLU: another backward pass, 28 % of
the work of a gradient penalty. Here there is none to send. One tensor of factors serves leaky ReLU and
dropout, both ways.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from plenish.networks import shared_batch
from plenish.networks.layers import linear_map
from plenish.networks.reference_ops import uses_reference_operators

_BITS = {torch.bfloat16: torch.int16, torch.float16: torch.int16, torch.float32: torch.int32}
"""The whole numbers that lie on each type's bits."""


class _Leaky(torch.autograd.Function):
    """F.leaky_relu_; it keeps its result alone."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float) -> Tensor:
        out = F.leaky_relu_(x, slope)
        ctx.mark_dirty(out)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(out)
        ctx.slope = slope
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, None]:
        if gradients[0] is None:
            return None, None
        leaky = torch.ops.aten.leaky_relu_backward
        back = functools.partial(leaky, negative_slope=ctx.slope, self_is_result=True)
        return linear_map(gradients[0], back, back, *ctx.saved_tensors), None


def leaky_relu_(x: Tensor, slope: float = 0.2, drop: float = 0.0) -> Tensor:
    """Leaky ReLU, then dropout, both in place.

    Args:
        x: any shape.
        slope: factor of negative numbers, above 0.
        drop: share of the numbers set to 0, a multiple of 2⁻¹⁶ in bfloat16; the others are divided by
            1 − drop.
    """
    if uses_reference_operators():
        return F.dropout(F.leaky_relu(x, slope), drop)
    if not drop:
        out: Tensor = _Leaky.apply(x, slope)
        return out
    kept = shared_batch.draw(lambda whole: dropout_factors(whole, x.detach(), drop), x.shape)
    factors = torch.ops.aten.leaky_relu_backward(kept, x.detach(), slope, False)
    return x.mul_(factors)


def dropout_factors(shape: Sequence[int], like: Tensor, drop: float) -> Tensor:
    """Factors 0 and 1/(1 − drop) in the memory format and type of `like`, from the default random numbers.

    On a CPU the library draws and converts number by number. Random bits in bulk, compared as whole numbers
    and multiplied by the bits of the factor, take a sixth of the time (8 million numbers of bfloat16).
    """
    # Strides of `like` would not do: those of a slice of one image say nothing of where the next one lies.
    last = like.dim() == 4 and like.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    if like.device.type != "cpu" or like.dtype not in _BITS:
        ones = torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout).fill_(1)
        return F.dropout(ones, drop)
    kind, count = _BITS[like.dtype], math.prod(shape)
    width = torch.iinfo(kind).bits
    words = torch.empty((count * width + 63) // 64, dtype=torch.int64).random_(-(2**63), None)
    threshold = round(drop * 2**width) - 2 ** (width - 1)
    factor = torch.tensor(1 / (1 - drop), dtype=like.dtype).view(kind).item()
    bits = words.view(kind)[:count].ge_(threshold).mul_(factor).view(like.dtype)
    # All are drawn alike, so that they can be laid out in either order.
    return torch.as_strided(bits, shape, torch.empty(shape, device="meta", memory_format=layout).stride())
