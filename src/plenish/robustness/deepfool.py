"""DeepFool: repeated steps onto the nearest boundary of the linearised classifier.

S. Moosavi-Dezfooli et al., "DeepFool: a simple and accurate method to fool deep neural networks", CVPR 2016.
"""

from __future__ import annotations

import torch
from torch import Tensor

from plenish.robustness.gradients import Network, Precision, untouched
from plenish.robustness.linear_boundaries import dual_length, nearest_boundary
from plenish.robustness.minimum_norm import Nearest, within_ball
from plenish.robustness.threat import Norm, check_counts, check_sizes, per_image, steepest
from plenish.robustness.visited import plain_logits, unmoved

_BEYOND = 1e-4
"""Added to each gap between logits, so that a step ends behind the boundary and not on it."""


def deepfool(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int = 10,
) -> Tensor:
    """DeepFool; what it finds outside the eps-ball is replaced by the original. See `minimal_deepfool`."""
    if unmoved(images, eps, norm):
        return images.clone()
    found = minimal_deepfool(
        model, images, labels, norm=norm, seed=seed, precision=precision, steps=steps, overshoot=overshoot,
        candidates=candidates,
    )  # fmt: skip
    return within_ball(images, found, eps, norm)


def minimal_deepfool(
    model: Network,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int = 10,
) -> Tensor:
    """A small change that fools, from one linearisation after the other.

    Args:
        model: images in [0, 1] → logits N×K, K ≥ 2.
        images: N×C×H×W in [0, 1].
        labels: N.
        norm: in which the change is small.
        seed: accepted as by all attacks; without effect.
        precision: of the gradients; whether an image is misclassified is judged in float32.
        steps: at most.
        overshoot: share by which the sum of all steps is lengthened.
        candidates: other classes whose boundaries are looked at, those with the largest logits; one gradient
            each at every step.

    Returns:
        Misclassified points in [0, 1]; originals that are misclassified already, or where none was found.
    """
    check_counts(steps=steps, candidates=candidates)
    check_sizes(overshoot=overshoot)
    with untouched(model):
        nearest = Nearest(model, images, labels, plain_logits(model, images), norm)
        rows = nearest.left
        change = torch.zeros_like(images[rows])
        for _ in range(steps):
            if not len(rows):
                break
            originals, classes = images[rows], labels[rows]
            point = (originals + (1 + overshoot) * change).clamp_(0, 1)
            change = change + _onto_nearest(model, point, classes, norm, precision, candidates)
            point = (originals + (1 + overshoot) * change).clamp_(0, 1)
            fooled = nearest.judge(rows, point, plain_logits(model, point), "float32")
            rows, change = rows[~fooled], change[~fooled]
    return nearest.points


def _onto_nearest(
    model: Network, points: Tensor, labels: Tensor, norm: Norm, precision: Precision, candidates: int
) -> Tensor:
    """The step onto the nearest boundary between the label and another class, were the logits linear."""
    gap, normal = nearest_boundary(model, points, labels, norm, candidates=candidates, precision=precision)
    return per_image((gap.abs() + _BEYOND) / dual_length(normal, norm), normal) * steepest(normal, norm)
