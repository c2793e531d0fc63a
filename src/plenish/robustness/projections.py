"""Nearest points: of a ball within [0, 1], and of a hyperplane within [0, 1].

Both lie on the path clip(x + t·d, 0, 1) for one number t an image, found by a few Newton steps on a function
that is monotone in t, without sorting.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plenish.robustness.threat import Norm, per_image

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
        return torch.clamp(changed, (images - eps).clamp_min_(0), (images + eps).clamp_max_(1))
    change = changed - images
    room = torch.where(change > 0, 1 - images, images)
    size = change.abs()
    scale = (eps / total(size.square()).sqrt().clamp_min(1e-12)).clamp_max(1)
    for _ in range(_BALL_STEPS):
        free = size * per_image(scale, images) < room
        taken = total(torch.where(free, 0, room).square())
        rest = total(torch.where(free, size, 0).square())
        found = ((eps * eps - taken).clamp_min(0) / rest.clamp_min(1e-24)).sqrt()
        scale = torch.maximum(scale, found).clamp_max(1)
    return images.add(change * per_image(scale, images)).clamp_(0, 1)


def onto_hyperplane(points: Tensor, normals: Tensor, gaps: Tensor, norm: Norm) -> Tensor:
    """The nearest points z of [0, 1] with ⟨normal, z − point⟩ + gap = 0 (Croce and Hein 2020b, equation 6).

    Where no point of [0, 1] lies on the hyperplane, the one that comes nearest to it.

    Args:
        points: N×C×H×W in [0, 1].
        normals: N×C×H×W.
        gaps: N; the value of an affine function at its point.
        norm: in which z is nearest.
    """
    direction = torch.where(per_image(gaps, points) > 0, -normals, normals)
    needed = gaps.abs()
    room = torch.where(direction > 0, 1 - points, points)
    weight = direction.abs()
    # A coordinate moves at this speed until it meets the border, and contributes `weight` for each unit.
    speed = (weight > 0).to(points.dtype) if norm == "linf" else weight
    reach = torch.zeros_like(needed)
    for _ in range(_PLANE_STEPS):
        moved = speed * per_image(reach, points)
        free = moved < room
        gained = total(weight * torch.minimum(moved, room))
        rate = total(torch.where(free, weight * speed, 0))
        missing = needed - gained
        # Concave and increasing: a tangent never reaches too far. Nothing is free: the corner of [0, 1].
        reach = torch.where((missing > 0) & (rate > 0), reach + missing / rate.clamp_min(1e-30), reach)
    return points.add(direction.sign() * torch.minimum(speed * per_image(reach, points), room)).clamp_(0, 1)
