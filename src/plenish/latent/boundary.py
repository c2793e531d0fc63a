"""The smallest change of a latent that brings a differentiable function to zero.

The problem, min ‖u‖ where f(u) = 0, is that of the design point in structural reliability. It is solved by
the iteration of Hasofer, Lind, Rackwitz and Fiessler with a merit function (Zhang and Der Kiureghian, "Two
improved algorithms for reliability analysis", 1995): f is replaced by its tangent, whose nearest zero is
known in closed form; the step towards it is as long as ½‖u‖² + c|f| falls. For a linear f the first step is
the answer, the projection on the hyperplane.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
Projection = Callable[[Tensor], Tensor]
_FIRST, _LEAST, _MOST = 2.0, 1e-3, 8.0
"""Length of the first step at most, length below which none is tried, and length of any, in deviations."""
_FREE_PASSES = 4
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
    radius = torch.full_like(value, _FIRST)
    best, norm = torch.zeros_like(x), torch.full_like(value, torch.inf)
    for count in range(1, steps + 1):
        better = (value >= 0) & (x.norm(dim=1) < norm)
        best, norm = torch.where(better[:, None], x, best), torch.where(better, x.norm(dim=1), norm)
        if count == steps or bool((radius < _LEAST).all()):
            break
        goal = _nearest_zero(x, value, slope, box)
        step = goal - x
        length = step.norm(dim=1).clamp_min(1e-12)
        shorter = torch.minimum(radius / length, torch.ones_like(length))
        new = _allowed(x + shorter[:, None] * step, box)
        new_value, new_slope = _value_and_slope(f, new)
        weight = 2 * torch.maximum(x.norm(dim=1), goal.norm(dim=1)) / slope.norm(dim=1).clamp_min(1e-12)
        fell = 0.5 * (new**2).sum(1) + weight * new_value.abs() < 0.5 * (x**2).sum(1) + weight * value.abs()
        taken = torch.minimum(radius, length)
        radius = torch.where(fell, (2 * taken).clamp(max=_MOST), taken / 2)
        x = torch.where(fell[:, None], new, x)
        value, slope = torch.where(fell, new_value, value), torch.where(fell[:, None], new_slope, slope)
    return best, norm.isfinite(), count


def _value_and_slope(f: Function, x: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        free = x.detach().requires_grad_()
        value = f(free)
        (slope,) = torch.autograd.grad(value.sum(), free)
    return value.detach(), slope


def _nearest_zero(x: Tensor, value: Tensor, slope: Tensor, box: Box) -> Tensor:
    """The smallest change in the box at which the tangent of f at x is 0.

    Coordinates that would leave the box stay at its side, and the others make up for it.
    """
    free, goal = torch.ones_like(x, dtype=torch.bool), torch.zeros_like(x)
    for _ in range(_FREE_PASSES):
        active = torch.where(free, slope, 0.0)
        rest = torch.where(free, 0.0, goal)
        needed = (slope * x).sum(1) - value - (slope * rest).sum(1)
        goal = torch.where(free, (needed / (active**2).sum(1).clamp_min(1e-20))[:, None] * active, rest)
        outside = (goal < box.low) | (goal > box.high)
        goal = torch.minimum(torch.maximum(goal, box.low), box.high)
        if not bool(outside.any()):
            break
        free &= ~outside
    return goal


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
