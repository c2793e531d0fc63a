"""The smallest change of a latent that brings a differentiable function to zero.

Direction and length are decoupled (Rony et al., "Decoupling direction and norm for efficient gradient-based
L2 adversarial attacks", CVPR 2019): a step along the gradient turns the change, which is then brought to a
length that shrinks where f is reached and grows where it is not. The first length is that at which the
tangent of f is 0, so that for a linear f the first step is the answer, the projection on the hyperplane; at
the end bisection takes away what is too long.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
Projection = Callable[[Tensor], Tensor]
_TURN, _LEAST_TURN = 0.5, 0.05
"""Length of a step along the gradient, in lengths of the change, at first and at last."""
_RATE, _LEAST_RATE = 0.15, 0.01
"""How much the length of the change shrinks or grows in a step, at first and at last."""
_BISECTIONS = 12


@dataclasses.dataclass(frozen=True)
class Crossing:
    """Where f is no longer negative.

    Attributes:
        offset: the changes u, N×D; zero where none was found.
        found: whether f is at least 0 there, N.
        evaluations: how often f was computed of each of the N.
    """

    offset: Tensor
    found: Tensor
    evaluations: int


@dataclasses.dataclass(frozen=True)
class Box:
    """Bounds of changes, N×D each, and what else they must obey.

    Attributes:
        low: least values; at most 0.
        high: greatest values; at least 0.
        project: any changes within the box to allowed ones.
    """

    low: Tensor
    high: Tensor
    project: Projection


def smallest_change(f: Function, box: Box, *, steps: int, starts: int, draws: torch.Generator) -> Crossing:
    """Find for each of N functions a small change at which it is at least 0.

    Args:
        f: changes N×D to values N, each of its own row alone; differentiable.
        box: the allowed changes.
        steps: of each start.
        starts: the first is no change, the others are small random ones.
        draws: of these, on the device of the box.
    """
    best = torch.zeros_like(box.low)
    norm = torch.full(best.shape[:1], torch.inf, device=best.device)
    evaluations = 0
    for start in range(starts):
        x = torch.zeros_like(best)
        if start:
            noise = torch.randn(best.shape, generator=draws, device=best.device)
            x = _allowed(noise / noise.norm(dim=1, keepdim=True), box)
        x, reached, count = _descend(f, x, box, steps)
        evaluations += count
        length = torch.where(reached, x.norm(dim=1), torch.inf)
        better = length < norm
        best, norm = torch.where(better[:, None], x, best), torch.where(better, length, norm)
    found = norm.isfinite()
    return Crossing(_shortened(f, best, found), found, evaluations + _BISECTIONS)


def _descend(f: Function, x: Tensor, box: Box, steps: int) -> tuple[Tensor, Tensor, int]:
    """The shortest change on the way at which f is at least 0, whether there was one, and the evaluations."""
    value, slope = _value_and_slope(f, x)
    length = x.norm(dim=1) + value.neg().clamp_min(0) / slope.norm(dim=1).clamp_min(1e-12)
    best, norm = torch.zeros_like(x), torch.full_like(value, torch.inf)
    for step in range(steps):
        fading = 0.5 * (1 + math.cos(math.pi * step / steps))
        inwards = ((x <= box.low) & (slope < 0)) | ((x >= box.high) & (slope > 0))
        slope = torch.where(inwards, 0.0, slope)
        stride = length * (_LEAST_TURN + (_TURN - _LEAST_TURN) * fading)
        new = x + (stride / slope.norm(dim=1).clamp_min(1e-12))[:, None] * slope
        x = _allowed(new * (length / new.norm(dim=1).clamp_min(1e-12))[:, None], box)
        value, slope = _value_and_slope(f, x)
        there, reached = x.norm(dim=1), value >= 0
        better = reached & (there < norm)
        best, norm = torch.where(better[:, None], x, best), torch.where(better, there, norm)
        rate = _LEAST_RATE + (_RATE - _LEAST_RATE) * fading
        # Once it was reached, the shortest change so far is what is to be undercut.
        length = torch.where(reached, there * (1 - rate), torch.minimum(length * (1 + rate), norm))
    return best, norm.isfinite(), steps + 1


def _value_and_slope(f: Function, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        free = x.detach().requires_grad_()
        value = f(free)
        (slope,) = torch.autograd.grad(value.sum(), free)
    return value.detach(), slope


def _allowed(x: Tensor, box: Box) -> Tensor:
    return box.project(torch.minimum(torch.maximum(x, box.low), box.high))


def _shortened(f: Function, offset: Tensor, found: Tensor) -> Tensor:
    """Changes shortened along themselves as far as f stays at least 0 (by bisection)."""
    low, high = torch.zeros_like(found, dtype=offset.dtype), torch.ones_like(found, dtype=offset.dtype)
    with torch.no_grad():
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            holds = f(offset * middle[:, None]) >= 0
            low, high = torch.where(holds, low, middle), torch.where(holds, middle, high)
    return torch.where(found[:, None], offset * high[:, None], torch.zeros_like(offset))
