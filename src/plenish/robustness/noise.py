"""Random changes of a given size: where attacks start, and the control that every attack must beat."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from plenish.errors import unknown
from plenish.robustness.gradients import Network, Precision, untouched
from plenish.robustness.image_draws import ImageDraws
from plenish.robustness.projections import total
from plenish.robustness.threat import Norm, check_counts, per_image, project
from plenish.robustness.visited import misclassified, unmoved

NoiseKind = Literal["uniform", "sign"]


def random_noise(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    kind: NoiseKind = "sign",
    draws: int = 1,
) -> Tensor:
    """Noise of the same norm as an attack's change: a control, which a sound classifier mostly withstands.

    Args:
        model: images in [0, 1] → logits N×K; asked only where there are several draws.
        images: N×C×H×W in [0, 1].
        labels: N.
        eps: the radius of the ball.
        norm: of the ball.
        seed: of the noise.
        precision: accepted as by all attacks; without effect.
        kind: `uniform` in the ball, or `sign`: a random corner of the ball in the L∞ norm, a random direction
            at full length in the L2 norm.
        draws: tries for each image, of which one that fools the classifier is kept.

    Returns:
        Images like those given, in the ball and in [0, 1].
    """
    if kind not in ("uniform", "sign"):
        raise unknown("kind of noise", kind, ("uniform", "sign"))
    check_counts(draws=draws)
    if unmoved(images, eps, norm):
        return images.clone()
    result = images.clone()
    left = torch.arange(len(images), device=images.device)
    with untouched(model):
        for draw in range(draws):
            chosen = images[left]
            changes = random_perturbations(chosen, eps, norm, ImageDraws(chosen, seed, "noise", draw), kind)
            result[left] = project(chosen, chosen + changes, eps, norm)
            if draw + 1 < draws:
                left = left[~misclassified(model, result[left], labels[left])]
    return result


def random_perturbations(
    images: Tensor, eps: float, norm: Norm, draws: ImageDraws, kind: NoiseKind = "uniform"
) -> Tensor:
    """Random changes N×C×H×W within an eps-ball: uniform in it, or at its corners or surface (`sign`).

    In the L2 norm a direction is a normal vector at unit length, and the radius of a uniform point in d
    dimensions is eps·u^(1/d).
    """
    shape = images.shape[1:]
    if norm == "linf":
        numbers = draws.uniform(*shape).mul_(2).sub_(1)
        return (numbers.sign_() if kind == "sign" else numbers).mul_(eps)
    directions = draws.normal(*shape)
    radius = eps / total(directions.square()).sqrt().clamp_min_(1e-12)
    if kind == "uniform":
        radius *= draws.uniform(1)[:, 0] ** (1 / shape.numel())
    return directions * per_image(radius, images)
