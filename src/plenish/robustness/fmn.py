"""Fast minimum-norm attack: a ball that shrinks around what fools, and grows around what does not.

M. Pintor et al., "Fast minimum-norm adversarial attacks through adaptive norm constraints", NeurIPS 2021; in
the L2 norm it comes close to J. Rony et al., "Decoupling direction and norm", CVPR 2019. Unlike there, steps
are a share of the current radius along the steepest direction of the norm, so that the same options suit
images of any size, and the way back to each original is halved at the end.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from plenish.robustness.gradients import Network, Precision, channels_last, untouched, value_and_gradient
from plenish.robustness.linear_boundaries import dual_length
from plenish.robustness.losses import margin
from plenish.robustness.minimum_norm import Nearest, within_ball
from plenish.robustness.threat import Norm, check_counts, lengths, per_image, project, steepest
from plenish.robustness.visited import plain_logits, unmoved

STEPS = 100
_FIRST_STEP, _LAST_STEP = 0.5, 0.01
"""Lengths of the first and last step, as shares of the radius."""
_FIRST_CHANGE, _LAST_CHANGE = 0.1, 0.002
"""Share by which the radius changes at the first and the last step."""


def fmn(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    steps: int = STEPS,
) -> Tensor:
    """The fast minimum-norm attack; what it finds outside the eps-ball is replaced by the original."""
    if unmoved(images, eps, norm):
        return images.clone()
    found = minimal_fmn(model, images, labels, norm=norm, seed=seed, precision=precision, steps=steps)
    return within_ball(images, found, eps, norm)


def minimal_fmn(
    model: Network,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    steps: int = STEPS,
) -> Tensor:
    """The smallest changes that fool which are found on the way.

    Args:
        model: images in [0, 1] → logits N×K, K ≥ 2.
        images: N×C×H×W in [0, 1].
        labels: N.
        norm: in which the change is small.
        seed: accepted as by all attacks; without effect.
        precision: of the gradients; whether an image is misclassified is judged in float32.
        steps: of the attack, one gradient each.

    Returns:
        Misclassified points in [0, 1]; originals that are misclassified already, or where none was found.
    """
    check_counts(steps=steps)
    with untouched(model), channels_last(model):
        nearest = Nearest(model, images, labels, plain_logits(model, images), norm)
        rows = nearest.left
        originals = images[rows].contiguous(memory_format=torch.channels_last)
        classes, point = labels[rows], originals
        radius = torch.full_like(nearest.distance[rows], torch.inf)
        for step in range(steps if len(rows) else 0):
            gap, logits, gradient = value_and_gradient(model, point, classes, margin, precision)
            fooled = nearest.judge(rows, point, logits, precision)
            best = nearest.distance[rows]
            change = _cosine(_FIRST_CHANGE, _LAST_CHANGE, step / steps)
            # Before anything was found, the radius reaches beyond the boundary of the linearised classifier.
            reach = lengths(point - originals, norm) + gap.abs() / dual_length(gradient, norm)
            radius = torch.where(fooled, 1 - change, 1 + change) * torch.where(best.isinf(), reach, radius)
            radius = torch.minimum(radius, best * (1 - change))
            length = per_image(radius * _cosine(_FIRST_STEP, _LAST_STEP, step / steps), point)
            point = project(originals, point + length * steepest(gradient, norm), radius, norm)
        if len(rows):
            nearest.judge(rows, point, plain_logits(model, point), "float32")
            nearest.draw_in()
    return nearest.points


def _cosine(first: float, last: float, share: float) -> float:
    """From `first` to `last` along half a cosine."""
    return last + (first - last) * (1 + math.cos(math.pi * share)) / 2
