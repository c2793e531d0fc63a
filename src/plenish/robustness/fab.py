"""FAB: steps along the linearised decision boundary, biased toward the original (Croce and Hein 2020b).

F. Croce, M. Hein, "Minimally distorted adversarial examples with a fast adaptive boundary attack", ICML 2020.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from plenish.robustness.apgd import ITERATIONS, TARGETS
from plenish.robustness.gradients import Network, Precision, untouched, value_and_gradient
from plenish.robustness.image_draws import ImageDraws
from plenish.robustness.linear_boundaries import nearest_boundary
from plenish.robustness.losses import likeliest_others, loss_named, margin
from plenish.robustness.minimum_norm import Nearest
from plenish.robustness.projections import onto_hyperplane, total
from plenish.robustness.threat import Norm, check_counts, lengths, per_image
from plenish.robustness.visited import judged_margin, plain_logits, unmoved

_MOST_BIAS = 0.1
"""Largest weight of the step from the original (α_max in the paper)."""
_BACK = 0.9
"""Share of the way from the original that an adversarial point keeps (β)."""
_BEYOND = 1.05
"""Factor by which steps overshoot the linearised boundary (η)."""
_SEARCHES = 3
"""Steps of the final search between an adversarial point and the original."""


def fab(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    iterations: int = ITERATIONS,
    restarts: int = 1,
) -> Tensor:
    """FAB toward the class whose boundary is nearest: K − 1 gradients a step.

    Args:
        model: images in [0, 1] → logits N×K, K ≥ 2.
        images: N×C×H×W in [0, 1].
        labels: N; the classes to lead away from.
        eps: the radius of the ball; an image is done once a misclassified point within is found.
        norm: in which the change is small.
        seed: of the random starts behind the first, which is the original.
        precision: accepted as by all attacks; steps rest on how far the boundary is, and bfloat16 makes them
            miss points that float32 finds, so that everything is computed in float32.
        iterations: steps from each start.
        restarts: starts.

    Returns:
        Misclassified points in the ball, and originals where none was found.
    """
    if unmoved(images, eps, norm):
        return images.clone()
    return _nearest_points(model, images, labels, _FabOptions(eps, norm, seed, iterations, restarts, 0))


def fab_targeted(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    iterations: int = ITERATIONS,
    restarts: int = 1,
    targets: int = TARGETS,
) -> Tensor:
    """FAB toward each of the likeliest other classes in turn, with one gradient a step; see `fab`.

    Args:
        model: images in [0, 1] → logits N×K.
        images: N×C×H×W in [0, 1].
        labels: N; the classes to lead away from.
        eps: the radius of the ball.
        norm: in which the change is small.
        seed: of the random starts.
        precision: without effect; see `fab`.
        iterations: steps from each start.
        restarts: starts toward each class.
        targets: how many classes to try, those of the largest logits first; at most K − 1.

    Returns:
        Misclassified points in the ball, and originals where none was found.
    """
    check_counts(targets=targets)
    if unmoved(images, eps, norm):
        return images.clone()
    return _nearest_points(model, images, labels, _FabOptions(eps, norm, seed, iterations, restarts, targets))


def minimal_fab(
    model: Network,
    images: Tensor,
    labels: Tensor,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    iterations: int = ITERATIONS,
    restarts: int = 1,
    targets: int = 0,
) -> Tensor:
    """The smallest changes that FAB finds, whatever their size.

    Args:
        model: images in [0, 1] → logits N×K.
        images: N×C×H×W in [0, 1].
        labels: N.
        norm: in which the change is small.
        seed: of the random starts behind the first.
        precision: without effect; see `fab`.
        iterations: steps from each start.
        restarts: starts.
        targets: classes to lead to in turn; 0 for the nearest boundary of each point.

    Returns:
        Misclassified points; originals that are misclassified already, or where none was found.
    """
    if not len(images):
        return images.clone()
    return _nearest_points(
        model, images, labels, _FabOptions(None, norm, seed, iterations, restarts, targets)
    )


@dataclasses.dataclass(frozen=True)
class _FabOptions:
    eps: float | None
    norm: Norm
    seed: int
    iterations: int
    restarts: int
    targets: int

    def __post_init__(self) -> None:
        check_counts(iterations=self.iterations, restarts=self.restarts)


def _nearest_points(model: Network, images: Tensor, labels: Tensor, options: _FabOptions) -> Tensor:
    with untouched(model):
        logits = plain_logits(model, images)
        nearest = Nearest(model, images, labels, logits, options.norm, enough=options.eps or 0.0)
        count = min(options.targets, logits.shape[1] - 1)
        ways = likeliest_others(logits, labels, count).unbind(1) if count else (None,)
        for restart in range(options.restarts):
            for number, targets in enumerate(ways):
                rows = nearest.left
                if len(rows):
                    start = _start(nearest, rows, options, restart, number)
                    _walk(nearest, rows, targets, start, options)
    if options.eps is not None:
        outside = nearest.distance > options.eps
        nearest.points[outside] = images[outside]
    return nearest.points


def _start(nearest: Nearest, rows: Tensor, options: _FabOptions, restart: int, number: int) -> Tensor:
    """The original first, then points at half the distance of the nearest one, or half the radius."""
    chosen = nearest.images[rows]
    if not restart:
        return chosen
    limit = torch.inf if options.eps is None else options.eps
    radius = nearest.distance[rows].clamp_max(limit) / 2
    radius = torch.where(radius.isfinite(), radius, 0)
    draws = ImageDraws(chosen, options.seed, "fab", restart, number)
    change = draws.normal(*chosen.shape[1:])
    change /= lengths(change, options.norm).view(-1, 1, 1, 1)
    return (chosen + change * per_image(radius, chosen)).clamp_(0, 1)


def _walk(
    nearest: Nearest, rows: Tensor, targets: Tensor | None, point: Tensor, options: _FabOptions
) -> None:
    """Steps of algorithm 1 with the images of some rows, then the final search."""
    model, all_rows = nearest.model, rows
    originals, classes = nearest.images[rows], nearest.labels[rows]
    wanted = targets[rows] if targets is not None else None
    for _ in range(options.iterations):
        gap, normal = _boundary(model, point, classes, wanted, options.norm)
        point = _step(originals, point, gap, normal, options.norm)
        logits = plain_logits(model, point)
        nearest.judge(rows, point, logits, "float32")
        # Also from the boundary itself, within rounding, where steps of length 0 would end the search.
        crossed = (judged_margin(logits, classes) >= 0).view(-1, 1, 1, 1)
        point = torch.where(crossed, originals + _BACK * (point - originals), point)
        kept = (nearest.distance[rows] > nearest.enough).nonzero()[:, 0]
        if not len(kept):
            return
        if len(kept) < len(rows):
            rows, originals, classes, point = rows[kept], originals[kept], classes[kept], point[kept]
            wanted = wanted[kept] if wanted is not None else None
    _refine(nearest, all_rows)


def _boundary(
    model: Network, points: Tensor, labels: Tensor, targets: Tensor | None, norm: Norm
) -> tuple[Tensor, Tensor]:
    """A class's logit minus the label's, N, and its gradient: the target's, or the nearest boundary's."""
    if targets is None:
        return nearest_boundary(model, points, labels, norm)
    gap, _, normal = value_and_gradient(model, points, labels, loss_named("margin", targets))
    return gap, normal


def _step(originals: Tensor, point: Tensor, gap: Tensor, normal: Tensor, norm: Norm) -> Tensor:
    """Project the point and its original onto the boundary, overshoot, and combine (equations 8 and 9)."""
    from_original = gap + total(normal * (originals - point))
    ends = onto_hyperplane(
        torch.cat([point, originals]), torch.cat([normal, normal]), torch.cat([gap, from_original]), norm
    )
    change, change_original = ends[: len(point)] - point, ends[len(point) :] - originals
    near, far = lengths(change, norm), lengths(change_original, norm)
    bias = per_image((near / (near + far).clamp_min(1e-12)).clamp_max(_MOST_BIAS), point)
    return ((1 - bias) * (point + _BEYOND * change) + bias * (originals + _BEYOND * change_original)).clamp_(
        0, 1
    )


def _refine(nearest: Nearest, rows: Tensor) -> None:
    """Move found points toward their originals by the rule of false position (section 3.4)."""
    rows = rows[nearest.distance[rows].isfinite() & (nearest.distance[rows] > nearest.enough)]
    if not len(rows):
        return
    model, classes = nearest.model, nearest.labels[rows]
    near, far = nearest.images[rows].clone(), nearest.points[rows].clone()
    for _ in range(_SEARCHES):
        low, high = (margin(plain_logits(model, end), classes) for end in (near, far))
        share = (high / (high - low).clamp_min(1e-12)).clamp(0, 1)
        # Halfway where a margin is not finite, and has no line through it.
        middle = far + (near - far) * per_image(share.nan_to_num(0.5), far)
        fooled = nearest.judge(rows, middle, plain_logits(model, middle), "float32")
        wide = fooled.view(-1, 1, 1, 1)
        near, far = torch.where(wide, near, middle), torch.where(wide, middle, far)
