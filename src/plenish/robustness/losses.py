"""Losses that an attack raises: logits N×K and labels N → a value an image, N.

Margins and ratios of logits are above 0 for an image that is misclassified and below for one that is not;
cross entropies have no such threshold.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from plenish.errors import InputError, unknown
from plenish.robustness.gradients import Loss


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Negative log likelihood of the label."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """The largest other logit minus the label's, for K ≥ 2 (Carlini and Wagner 2017, −f₆).

    It stays informative where a softmax is saturated, and is not bounded.
    """
    _at_least(2, logits, "The margin")
    return _best_other(logits, labels) - _of_class(logits, labels)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Difference of logits ratio, for K ≥ 3: the margin over the gap between first and third largest logit.

    It does not change when logits are shifted or scaled (Croce and Hein 2020, equation 6).
    """
    _at_least(3, logits, "The difference of logits ratio")
    first, _, third = logits.topk(3, dim=1).values.unbind(1)
    return margin(logits, labels) / (first - third).clamp_min(_SMALLEST)


def targeted_cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Log likelihood of the target classes N, whatever the labels."""
    return -F.cross_entropy(logits, targets, reduction="none")


def targeted_margin(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """The logit of the target classes N minus the label's, for K ≥ 2."""
    _at_least(2, logits, "The margin to a class")
    return _of_class(logits, targets) - _of_class(logits, labels)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Difference of logits ratio to target classes N, for K ≥ 4 (Croce and Hein 2020, equation 7)."""
    _at_least(4, logits, "The targeted difference of logits ratio")
    first, _, third, fourth = logits.topk(4, dim=1).values.unbind(1)
    return targeted_margin(logits, labels, targets) / (first - (third + fourth) / 2).clamp_min(_SMALLEST)


LOSSES: Mapping[str, Loss] = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}
"""Losses away from the label, by name."""

_TARGETED = {"cross_entropy": targeted_cross_entropy, "margin": targeted_margin, "dlr": targeted_dlr}


def loss_named(name: str, targets: Tensor | None = None) -> Loss:
    """A loss by its name in LOSSES: away from the label or, with target classes N, toward those."""
    if name not in LOSSES:
        raise unknown("loss", name, LOSSES)
    return LOSSES[name] if targets is None else functools.partial(_TARGETED[name], targets=targets)


def likeliest_others(logits: Tensor, labels: Tensor, count: int) -> Tensor:
    """The `count` classes other than the label with the largest logits, largest first: N×count, count < K."""
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return others.topk(count, dim=1).indices


_SMALLEST = 1e-12


def _of_class(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None])[:, 0]


def _best_other(logits: Tensor, labels: Tensor) -> Tensor:
    return logits.scatter(1, labels[:, None], -torch.inf).amax(dim=1)


def _at_least(fewest: int, logits: Tensor, what: str) -> None:
    if logits.shape[1] < fewest:
        raise InputError(
            f"{what} needs {fewest} classes or more and the classifier has {logits.shape[1]}; use "
            f"{'the margin instead' if logits.shape[1] > 1 else 'a classifier with one logit a class'}.",
            code="classes",
            value=logits.shape[1],
        )
