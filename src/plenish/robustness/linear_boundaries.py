"""The boundary between two classes, were the logits linear: how far it is, and which is nearest."""

from __future__ import annotations

import torch
from torch import Tensor

from plenish.robustness.gradients import Network, Precision, logits_of
from plenish.robustness.losses import likeliest_others, targeted_margin
from plenish.robustness.projections import total
from plenish.robustness.threat import Norm, lengths


def dual_length(normals: Tensor, norm: Norm) -> Tensor:
    """The length of normals N×C×H×W in the dual norm, N: a gap over it is the distance to a hyperplane."""
    found = total(normals.abs()) if norm == "linf" else lengths(normals, "l2")
    return found.clamp_min(1e-12)


def nearest_boundary(
    model: Network, points: Tensor, labels: Tensor, norm: Norm, *, candidates: int | None = None,
    precision: Precision = "float32",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The linearised boundary between the label and another class that is nearest to each point.

    One gradient is computed for each other class, and only the nearest so far is kept: with a thousand
    classes all of them would not fit in memory.

    Args:
        model: images in [0, 1] → logits N×K, K ≥ 2.
        points: N×C×H×W.
        labels: N.
        norm: of distances.
        candidates: how many other classes are looked at, those with the largest logits; None for all.
        precision: of the gradients.

    Returns:
        The other class's logit minus the label's, N, and its gradient N×C×H×W; both 0 where none is defined.
    """
    given = points.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = logits_of(model, given, precision)
    count = logits.shape[1] - 1 if candidates is None else min(candidates, logits.shape[1] - 1)
    others = likeliest_others(logits.detach(), labels, count).unbind(1)
    gap, normal = torch.zeros_like(logits[:, 0].detach()), torch.zeros_like(points)
    shortest = torch.full_like(gap, torch.inf)
    for number, other in enumerate(others):
        with torch.enable_grad():
            gaps = targeted_margin(logits, labels, other)
        (normals,) = torch.autograd.grad(gaps.sum(), given, retain_graph=number + 1 < count)
        gaps = gaps.detach()
        distance = gaps.abs() / dual_length(normals, norm)
        nearer = distance < shortest
        shortest = torch.where(nearer, distance, shortest)
        gap = torch.where(nearer, gaps, gap)
        normal = torch.where(nearer.view(-1, 1, 1, 1), normals, normal)
    return gap, normal
