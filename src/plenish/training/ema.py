"""Exponential moving average of a network's weights."""

from __future__ import annotations

import torch
from torch import nn


def ema_weight(batch: int, nimg: int, half_life_kimg: float, rampup: float | None = 0.05) -> float:
    """Share of the old average kept after a batch.

    Args:
        batch: images of this step.
        nimg: images seen before it.
        half_life_kimg: thousands of images after which a weight's influence has halved.
        rampup: the half-life never exceeds this share of the images seen so far, so that the average
            forgets the initial weights; None switches that off.
    """
    half_life = half_life_kimg * 1000
    if rampup is not None:
        half_life = min(half_life, nimg * rampup)
    return float(0.5 ** (batch / max(half_life, 1e-8)))


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, keep: float) -> None:
    """Move `average` towards `network`: parameters by 1 − keep, buffers (batch-norm statistics) copied."""
    ours = [p.detach() for p in average.parameters()]
    theirs = [p.detach() for p in network.parameters()]
    torch._foreach_lerp_(ours, theirs, 1 - keep)
    for mine, its in zip(average.buffers(), network.buffers(), strict=True):
        mine.copy_(its)
