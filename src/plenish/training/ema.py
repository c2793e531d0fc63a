"""Exponential moving average of a network's weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


def ema_weight(batch: int, nimg: int, half_life_kimg: float) -> float:
    """Share of the old average kept after a batch.

    Args:
        batch: images of this step.
        nimg: images seen before it.
        half_life_kimg: thousands of images after which a weight's influence has halved; never more than a
            twentieth of those seen so far, so that the average forgets the initial weights.
    """
    half_life = min(half_life_kimg * 1000, nimg * 0.05)
    return float(0.5 ** (batch / max(half_life, 1e-8)))


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, keep: float, *, buffers: bool = False) -> None:
    """Move `average` towards `network`: parameters by 1 − keep, buffers copied.

    Copied batch-norm statistics are makeshift: see `renewed_statistics`.

    Args:
        average: the average.
        network: the network it follows.
        keep: share of the average that is kept.
        buffers: average those of floating point like parameters.
    """
    ours = [p.detach() for p in average.parameters()]
    theirs = [p.detach() for p in network.parameters()]
    torch._foreach_lerp_(ours, theirs, 1 - keep)
    for mine, its in zip(average.buffers(), network.buffers(), strict=True):
        if buffers and mine.is_floating_point():
            mine.lerp_(its, 1 - keep)
        else:
            mine.copy_(its)


def batch_norms(network: nn.Module) -> list[_BatchNorm]:
    """The layers of a network that keep statistics of the batches they saw."""
    return [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]


@contextlib.contextmanager
def renewed_statistics(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    """Replace batch-norm statistics by the mean over the batches that pass within the block.

    The statistics an average of weights gets from the network it follows belong to other weights, and its
    images suffer from it; those of its own activations are what it needs (Izmailov et al. 2018, section 3.2).

    Args:
        norms: layers in evaluation mode, whose other state stays as it is.
    """
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # A plain mean over all batches.
        norm.train()
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
            norm.eval()
