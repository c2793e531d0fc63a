"""One batch over several processes: draws, statistics and gradients are those of the whole batch.

Each process computes equal slices of a batch. Within `sharing`, random numbers are drawn for the whole batch
and cut, and what couples images (batch norm, minibatch deviation, means that a loss is not linear in) is
summed over the processes; outside, everything is as with one process. The sums are differentiable any number
of times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from plenish import settings
from plenish.errors import first_line
from plenish.networks.layers import linear_map


class ProcessLost(Exception):
    """Another process of the job has ended."""


class Share(NamedTuple):
    """This process's share of a batch.

    Attributes:
        rank: number of this process.
        world: how many processes share the batch.
        parts: the batch is this many batches in a row, such as reals and fakes, each of them shared.
    """

    rank: int = 0
    world: int = 1
    parts: int = 1


_WHOLE = Share()
_SHARE: ContextVar[Share] = ContextVar("share", default=_WHOLE)


def world() -> int:
    """How many processes share a batch."""
    return _SHARE.get().world


def number_of_parts() -> int:
    """How many batches in a row a batch is."""
    return _SHARE.get().parts


def sharing(rank: int, world: int) -> AbstractContextManager[None]:
    """Let batches within the block be this process's slices of whole ones."""
    return settings.holding(_SHARE, Share(rank, world))


def parts(number: int) -> AbstractContextManager[None]:
    """Let batches within the block be so many batches in a row."""
    return settings.holding(_SHARE, _SHARE.get()._replace(parts=number))


# Sums over the processes


def reduce_(x: Tensor, operation: Any = None) -> Tensor:
    """Sum a contiguous tensor over the processes, in place.

    Raises:
        ProcessLost: a process has ended.
    """
    try:
        distributed.all_reduce(x, operation or distributed.ReduceOp.SUM)
    except RuntimeError as error:
        raise ProcessLost(first_line(error)) from error
    return x


def reduced(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Sums of tensors over the processes, in one message; the tensors stay as they are."""
    flat = reduce_(torch.cat([tensor.reshape(-1) for tensor in tensors]))
    pieces = flat.split([tensor.numel() for tensor in tensors])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]


def _sum(x: Tensor) -> Tensor:
    return reduce_(x.clone(memory_format=torch.contiguous_format))


def sum_over_processes(x: Tensor) -> Tensor:
    """Sum of the processes' tensors; x itself where a batch is not shared."""
    return x if _SHARE.get().world == 1 else linear_map(x, _sum, _sum)  # Its adjoint is itself.


def mean_over_processes(x: Tensor) -> Tensor:
    """Mean of the processes' tensors; x itself where a batch is not shared."""
    return sum_over_processes(x) / _SHARE.get().world if _SHARE.get().world > 1 else x


def whole_batch(x: Tensor) -> Tensor:
    """The whole batch N·world×…, of which x is this process's slice; x itself where a batch is not shared."""
    rank, world, number = _SHARE.get()
    if world == 1:
        return x
    pieces = x.unflatten(0, (number, len(x) // number))
    placed = torch.stack([pieces if r == rank else torch.zeros_like(pieces) for r in range(world)], 1)
    whole: Tensor = sum_over_processes(placed).flatten(0, 2)
    return whole


def own_slice(x: Tensor, dim: int = 0) -> Tensor:
    """This process's slice of a whole batch."""
    rank, world, number = _SHARE.get()
    if world == 1:
        return x
    mine: Tensor = x.unflatten(dim, (number, world, -1)).select(dim + 1, rank).flatten(dim, dim + 1)
    return mine


# Draws


def draw(make: Callable[[list[int]], Tensor], shape: Sequence[int], dim: int = 0) -> Tensor:
    """Draw numbers for a batch: made for the whole of it, and cut.

    Args:
        make: draws numbers of a shape.
        shape: shape of this process's numbers.
        dim: which dimension counts the images.
    """
    whole = list(shape)
    whole[dim] *= _SHARE.get().world
    return own_slice(make(whole), dim)


def uniform(shape: Sequence[int], rng: torch.Generator, dim: int = 0) -> Tensor:
    """Uniform numbers in [0, 1) for a batch; `dim` counts the images."""
    return draw(lambda whole: torch.rand(whole, generator=rng, device=rng.device), shape, dim)


def normal(shape: Sequence[int], rng: torch.Generator | None, dim: int = 0, **like: Any) -> Tensor:
    """Normal numbers for a batch; `dim` counts the images. Without `rng` from the default stream."""
    device = {"device": rng.device} if rng is not None else {}
    return draw(lambda whole: torch.randn(whole, generator=rng, **(device | like)), shape, dim)


def integers(low: int, high: int, shape: Sequence[int], rng: torch.Generator, dim: int = 0) -> Tensor:
    """Whole numbers from `low` to `high` − 1 for a batch; `dim` counts the images."""
    return draw(lambda whole: torch.randint(low, high, whole, generator=rng, device=rng.device), shape, dim)


# Layers


class _SharedBatchNorm(_BatchNorm):
    """Batch norm whose statistics in training are those of the whole batch.

    Written with differentiable sums, since torch's own for several processes is for CUDA alone and cannot be
    differentiated twice.
    """

    def forward(self, x: Tensor) -> Tensor:
        world = _SHARE.get().world
        if world == 1 or not self.training:
            return super().forward(x)
        shape, over = [1, -1, *[1] * (x.dim() - 2)], [d for d in range(x.dim()) if d != 1]
        count = world * x.numel() // x.shape[1]
        with torch.autocast(x.device.type, enabled=False):
            exact = x.float()
            mean = sum_over_processes(exact.sum(over)) / count
            centred = exact - mean.view(shape)
            variance = sum_over_processes(centred.square().sum(over)) / count
            self._follow(mean.detach(), variance.detach() * (count / (count - 1)))
            scale = (variance + self.eps).rsqrt()
            if self.affine:
                scale = scale * self.weight
            out = centred * scale.view(shape)
            if self.affine:
                out = out + self.bias.view(shape)
        out = out.to(x.dtype)
        for name in ("drop", "act"):  # Of timm's batch norms with activation.
            out = getattr(self, name)(out) if hasattr(self, name) else out
        return out

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _SharedDropout(nn.Dropout):
    """Dropout whose draws are those of the whole batch."""

    def forward(self, x: Tensor) -> Tensor:
        if _SHARE.get().world == 1 or not self.training or not self.p:
            return super().forward(x)
        return x * draw(lambda whole: nn.functional.dropout(x.new_ones(whole), self.p), x.shape)


def norm_parts(norm: nn.Module, x: Tensor) -> Tensor:
    """Apply a batch norm to each part of a batch by itself."""
    number = number_of_parts() if norm.training else 1
    normed: Tensor = norm(x) if number == 1 else torch.cat([norm(part) for part in x.chunk(number)])
    return normed


def share_layers(network: nn.Module) -> None:
    """Let batch norms and dropouts of a network heed `sharing`; outside they stay as they are."""
    for layer in network.modules():
        for kind, shared in ((_BatchNorm, _SharedBatchNorm), (nn.Dropout, _SharedDropout)):
            if isinstance(layer, kind) and not isinstance(layer, shared):
                # A subclass of the layer's own class: names, hooks and isinstance stay.
                layer.__class__ = type(f"Shared{type(layer).__name__}", (shared, type(layer)), {})
