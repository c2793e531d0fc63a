"""The attack of Carlini and Wagner in the L2 norm.

N. Carlini, D. Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P 2017, section VI.A.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plenish.errors import InputError
from plenish.robustness.gradients import Network, Precision, channels_last, logits_of, untouched
from plenish.robustness.losses import margin
from plenish.robustness.minimum_norm import Nearest, within_ball
from plenish.robustness.projections import total
from plenish.robustness.threat import Norm, check_counts, check_sizes
from plenish.robustness.visited import plain_logits, unmoved

_INSIDE = 1 - 1e-6
"""Pixels are kept this far from 0 and 1 before the change of variables, which is infinite there."""


def carlini_wagner(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "l2",
    seed: int = 0,
    precision: Precision = "float32",
    steps: int = 100,
    searches: int = 9,
    constant: float = 1e-3,
    step_size: float = 0.01,
    confidence: float = 0.0,
) -> Tensor:
    """Carlini and Wagner; what is found outside the eps-ball is replaced by the original.

    See `minimal_carlini_wagner`.
    """
    if unmoved(images, eps, norm):
        return images.clone()
    found = minimal_carlini_wagner(
        model, images, labels, norm=norm, seed=seed, precision=precision, steps=steps, searches=searches,
        constant=constant, step_size=step_size, confidence=confidence,
    )  # fmt: skip
    return within_ball(images, found, eps, norm)


def minimal_carlini_wagner(
    model: Network,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "l2",
    seed: int = 0,
    precision: Precision = "float32",
    steps: int = 100,
    searches: int = 9,
    constant: float = 1e-3,
    step_size: float = 0.01,
    confidence: float = 0.0,
) -> Tensor:
    """Minimise ‖x′ − x‖² + c·max(z_y − max z_other + κ, 0) over w with x′ = (tanh w + 1)/2, by Adam.

    Args:
        model: images in [0, 1] → logits N×K, K ≥ 2.
        images: N×C×H×W in [0, 1].
        labels: N.
        norm: `l2`.
        seed: accepted as by all attacks; without effect.
        precision: of the gradients; whether an image is misclassified is judged in float32.
        steps: of Adam for each constant c.
        searches: constants that are tried for each image: ten times the last until one succeeds, then the
            middle of the interval.
        constant: the first c.
        step_size: of Adam.
        confidence: κ, the least margin of what counts as found, in units of logits.

    Returns:
        Misclassified points in [0, 1]; originals that are misclassified already, or where none was found.

    Raises:
        InputError: the norm is not L2.
    """
    if norm != "l2":
        raise InputError(
            "The attack of Carlini and Wagner is for the L2 norm; use fmn or fab for small changes in L∞.",
            code="norm",
            value=norm,
        )
    check_counts(steps=steps, searches=searches)
    check_sizes(constant=constant, step_size=step_size, confidence=confidence)
    with untouched(model), channels_last(model):
        nearest = Nearest(model, images, labels, plain_logits(model, images), norm)
        rows = nearest.left
        originals = images[rows].contiguous(memory_format=torch.channels_last)
        start = torch.atanh(originals.mul(2).sub(1).mul(_INSIDE))
        low = torch.zeros_like(nearest.distance[rows])
        high, weight = torch.full_like(low, torch.inf), torch.full_like(low, constant)
        for _ in range(searches if len(rows) else 0):
            w = start.clone().requires_grad_(True)
            adam = torch.optim.Adam([w], lr=step_size)
            succeeded = torch.zeros_like(rows, dtype=torch.bool)
            for step in range(steps + 1):
                with torch.enable_grad():
                    point = w.tanh().add(1).div(2)
                    logits = logits_of(model, point, precision)
                    short = (confidence - margin(logits, labels[rows])).clamp_min(0)
                    cost = total((point - originals).square()) + weight * short
                    (w.grad,) = torch.autograd.grad(cost.sum(), w)
                succeeded |= nearest.judge(rows, point.detach(), logits.detach(), precision, least=confidence)
                if step < steps:
                    adam.step()
            high, low = torch.where(succeeded, weight, high), torch.where(succeeded, low, weight)
            weight = torch.where(high.isinf(), weight * 10, (low + high) / 2)
    return nearest.points
