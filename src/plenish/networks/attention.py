"""Self-attention over an image's positions (Zhang et al. 2019, arXiv 1805.08318)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_ROWS = 512
"""Queries at a time: their weights stay in the processor's cache (measured with 1,024 keys)."""


class _Attention(torch.autograd.Function):
    """softmax(q·kᵀ)·v for a few queries at a time; the backward pass makes the weights again.

    The whole matrix of weights is the largest tensor of a network, and writing it to memory several times is
    what takes the time on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(query, key, value)
        out = value.new_empty(*query.shape[:2], value.shape[2])
        for image in range(len(query)):
            for rows in _blocks(query.shape[1]):
                weights = torch.softmax(query[image, rows] @ key[image].t(), -1)
                out[image, rows] = weights @ value[image]
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, ...]:
        query, key, value = ctx.saved_tensors
        (gradient,) = gradients
        if torch.is_grad_enabled():  # A gradient of this gradient will be asked for.
            out = torch.softmax(query @ key.transpose(1, 2), -1) @ value
            return torch.autograd.grad(out, (query, key, value), gradient, create_graph=True)
        exact = torch.promote_types(key.dtype, torch.float32)
        to_query = torch.empty_like(query)
        to_key, to_value = torch.zeros_like(key, dtype=exact), torch.zeros_like(value, dtype=exact)
        for image in range(len(query)):
            for rows in _blocks(query.shape[1]):
                asked, come = query[image, rows], gradient[image, rows]
                weights = torch.softmax(asked @ key[image].t(), -1)
                to_value[image] += weights.t() @ come
                to_weights = come @ value[image].t()
                to_scores = torch._softmax_backward_data(to_weights, weights, -1, weights.dtype)
                to_query[image, rows] = to_scores @ key[image]
                to_key[image] += to_scores.t() @ asked
        return to_query, to_key.to(key.dtype), to_value.to(value.dtype)


def _blocks(rows: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, rows, _ROWS)]


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q·kᵀ)·v without a scale: queries N×P×C, keys N×Q×C, values N×Q×D → N×P×D."""
    exporting = torch._C._get_tracing_state() is not None or torch.compiler.is_exporting()
    if query.device.type != "cpu" or query.shape[1] <= _ROWS or exporting:
        return torch.softmax(query @ key.transpose(1, 2), -1) @ value
    out: Tensor = _Attention.apply(query, key, value)
    return out


class SelfAttention(nn.Module):
    """x + γ·attention(x); keys and values are max-pooled 2×2, γ starts at 0, nothing has a bias.

    Queries and keys have an eighth of the channels, values half of them.
    """

    def __init__(self, channels: int, convolution: Callable[[int, int], nn.Module]) -> None:
        """Build from `convolution(channels_in, channels_out)`, which makes 1×1 convolutions."""
        super().__init__()
        narrow, wide = max(channels // 8, 1), max(channels // 2, 1)
        self.query = convolution(channels, narrow)
        self.key = convolution(channels, narrow)
        self.value = convolution(channels, wide)
        self.out = convolution(wide, channels)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """N×C×H×W → the same shape; softmax over the pooled positions, in float32 inside."""
        query = self.query(x).flatten(2).transpose(1, 2)
        key = F.max_pool2d(self.key(x), 2).flatten(2).transpose(1, 2)
        value = F.max_pool2d(self.value(x), 2).flatten(2).transpose(1, 2)
        maps = attend(query, key, value).transpose(1, 2).unflatten(2, x.shape[2:])
        out: Tensor = x + self.gamma.to(x.dtype) * self.out(maps)
        return out
