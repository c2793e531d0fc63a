"""Nearest points: of a ball within [0, 1], and of a hyperplane within [0, 1].

Both lie on the path clip(x + t·d, 0, 1) for one number t an image, found by a few Newton steps on a function
that is monotone in t, without sorting.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plenish.robustness.threat import Norm, lengths, per_image, project

_BALL_STEPS = 4
_PLANE_STEPS = 12


def total(values: Tensor) -> Tensor:
    """Sums over each image, N×C×H×W → N, in whichever memory layout."""
    return values.sum(dim=(1, 2, 3))


def into_ball(images: Tensor, changed: Tensor, eps: float, norm: Norm) -> Tensor:
    """The points in the eps-balls and in [0, 1] that are nearest to `changed`.

    In the L2 norm this is clip(x + s·(changed − x), 0, 1) with the largest factor s ≤ 1 that stays within the
    ball (the Karush-Kuhn-Tucker conditions): pixels at the border of [0, 1] leave their share of the radius
    to the others. Each Newton step approaches s from below, so that stopping early stays within the ball.

    Args:
        images: originals N×C×H×W in [0, 1].
        changed: N×C×H×W.
        eps: the radius.
        norm: of the ball.
    """
    if norm == "linf":
        return project(images, changed, eps, norm)
    change = changed - images
    scale = (eps / lengths(change, "l2").clamp_min(1e-12)).clamp_max(1)
    if not (scale < 1).any():
        return change.add_(images).clamp_(0, 1)
    size, room = change.abs(), _room(change, images)
    moved, free = torch.empty_like(size), torch.empty_like(size)
    for _ in range(_BALL_STEPS):
        torch.mul(size, per_image(scale, images), out=moved)
        rest = lengths(_below(moved, room, free).mul_(size), "l2").square()
        reached = lengths(torch.minimum(moved, room, out=moved), "l2").square()
        # Pixels that are free take scale²·rest of the square of the length.
        found = scale.square() + (eps * eps - reached) / rest.clamp_min(1e-24)
        found = torch.maximum(scale, found.clamp_min(0).sqrt().clamp_max(1))
        if torch.equal(found, scale):
            break
        scale = found
    return change.mul_(per_image(scale, images)).add_(images).clamp_(0, 1)


def onto_hyperplane(points: Tensor, normals: Tensor, gaps: Tensor, norm: Norm) -> Tensor:
    """The nearest points z of [0, 1] with ⟨normal, z − point⟩ + gap = 0 (Croce and Hein 2020b, equation 6).

    Where no point of [0, 1] lies on the hyperplane, the one that comes nearest to it.

    Args:
        points: N×C×H×W in [0, 1].
        normals: N×C×H×W.
        gaps: N; the value of an affine function at its point.
        norm: in which z is nearest.
    """
    # A coordinate moves at this speed until it meets the border, and contributes `weight` for each unit.
    direction = normals * -gaps.sign().view(-1, 1, 1, 1)
    needed, weight, room = gaps.abs(), direction.abs(), _room(direction, points)
    speed = weight.sign() if norm == "linf" else weight
    rates, reach = weight * speed, torch.zeros_like(needed)
    moved, free = torch.empty_like(rates), torch.empty_like(rates)
    for _ in range(_PLANE_STEPS):
        torch.mul(speed, per_image(reach, points), out=moved)
        rate = total(_below(moved, room, free).mul_(rates))
        missing = needed - total(torch.minimum(moved, room, out=moved).mul_(weight))
        # Concave and increasing: a tangent never reaches too far. Nothing is free: the corner of [0, 1].
        found = torch.where((missing > 0) & (rate > 0), reach + missing / rate.clamp_min(1e-30), reach)
        if torch.equal(found, reach):
            break
        reach = found
    torch.minimum(torch.mul(speed, per_image(reach, points), out=moved), room, out=moved)
    return direction.sign_().mul_(moved).add_(points).clamp_(0, 1)


def _room(direction: Tensor, points: Tensor) -> Tensor:
    """How far each pixel of points in [0, 1] can go in its direction."""
    return (direction > 0).to(points.dtype).sub_(points).abs_()


def _below(values: Tensor, limits: Tensor, into: Tensor) -> Tensor:
    """1 where a value is below its limit, else 0."""
    return into.copy_(values).lt_(limits)
