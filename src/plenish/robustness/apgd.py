"""Auto-PGD: projected gradient ascent that chooses its own step sizes (Croce and Hein 2020, algorithm 1).

F. Croce, M. Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free
attacks", ICML 2020.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from plenish.robustness.gradients import Network, Precision, channels_last, untouched, value_and_gradient
from plenish.robustness.image_draws import ImageDraws
from plenish.robustness.losses import likeliest_others, loss_named
from plenish.robustness.projections import into_ball
from plenish.robustness.threat import Norm, check_counts, per_image, steepest
from plenish.robustness.visited import Hardest, exact_margins, plain_logits, unmoved

ITERATIONS = 100
TARGETS = 9
"""Target classes of the published ensemble."""
_MOMENTUM = 0.75
"""Weight of the gradient step; the rest continues the last move (α in the paper)."""
_RISING = 0.75
"""Share of the steps between two checkpoints that must raise the loss (ρ in the paper)."""
_WORTH_DROPPING = 0.125
"""Share of images that are fooled before the batch is made smaller, which copies what it holds."""


def apgd_ce(
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
    """Auto-PGD that raises the cross entropy.

    Args:
        model: images in [0, 1] → logits N×K, K ≥ 2.
        images: N×C×H×W in [0, 1].
        labels: N; the classes to lead away from.
        eps: the radius of the ball.
        norm: of the ball.
        seed: of the random starts.
        precision: of the gradients; whether a point is misclassified is always computed in float32.
        iterations: steps from each start.
        restarts: random starts; images that are fooled already are left out of later ones.

    Returns:
        For each image the first point that is misclassified, or the one of the largest margin if none is.
    """
    options = _ApgdOptions(eps, norm, seed, precision, iterations, restarts)
    return _untargeted(model, images, labels, "cross_entropy", options)


def apgd_dlr(
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
    """Auto-PGD that raises the difference of logits ratio, for K ≥ 3; see `apgd_ce`."""
    options = _ApgdOptions(eps, norm, seed, precision, iterations, restarts)
    return _untargeted(model, images, labels, "dlr", options)


def apgd_margin(
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
    """Auto-PGD that raises the margin, for any K ≥ 2; see `apgd_ce`."""
    options = _ApgdOptions(eps, norm, seed, precision, iterations, restarts)
    return _untargeted(model, images, labels, "margin", options)


def apgd_targeted(
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
    loss: str | None = None,
) -> Tensor:
    """Auto-PGD toward each of the likeliest other classes in turn, for any K ≥ 2; see `apgd_ce`.

    Args:
        model: images in [0, 1] → logits N×K.
        images: N×C×H×W in [0, 1].
        labels: N; the classes to lead away from.
        eps: the radius of the ball.
        norm: of the ball.
        seed: of the random starts.
        precision: of the gradients.
        iterations: steps from each start.
        restarts: random starts toward each class.
        targets: how many classes to try, those of the largest logits first; at most K − 1.
        loss: `dlr` (K ≥ 4), `margin` or `cross_entropy`; by default the first of them that K allows.

    Returns:
        For each image the first point that is misclassified, or the one of the largest margin if none is.
    """
    options = _ApgdOptions(eps, norm, seed, precision, iterations, restarts)
    check_counts(targets=targets)
    if unmoved(images, eps, norm):
        return images.clone()
    with untouched(model), channels_last(model):
        logits = plain_logits(model, images)
        hardest = Hardest(images, labels, logits)
        most = logits.shape[1] - 1
        name = loss or ("dlr" if most >= 3 else "margin")
        for number, classes in enumerate(likeliest_others(logits, labels, min(targets, most)).unbind(1)):
            _from_starts(model, images, labels, classes, name, options, hardest, number)
    return hardest.points


def checkpoints(iterations: int) -> Iterator[tuple[int, int]]:
    """Numbers of steps after which step sizes are decided on, each with the one before (section 3.1)."""
    before, percent, gap = 0, 22, 22
    while percent <= 100:
        now = -(-percent * iterations // 100)
        if now > before:
            yield now, before
        before = now
        gap = max(gap - 3, 6)
        percent += gap


@dataclasses.dataclass(frozen=True)
class _ApgdOptions:
    eps: float
    norm: Norm
    seed: int
    precision: Precision
    iterations: int
    restarts: int

    def __post_init__(self) -> None:
        check_counts(iterations=self.iterations, restarts=self.restarts)


@dataclasses.dataclass
class _ApgdState:
    """Where each image of an ascent stands.

    Attributes:
        rows: their numbers in the batch.
        images: originals.
        labels: their classes.
        targets: classes to lead to, or the labels once more.
        point: where it stands.
        before: where it stood.
        gradient: at the point.
        value: of the loss there.
        best: the point of the largest loss.
        best_gradient: at that point.
        best_value: the largest loss.
        checked_value: the largest loss at the last checkpoint.
        size: of the step, N.
        shrunk: whether it was halved at the last checkpoint.
        rises: steps since the last checkpoint that raised the loss.
    """

    rows: Tensor
    images: Tensor
    labels: Tensor
    targets: Tensor
    point: Tensor
    before: Tensor
    gradient: Tensor
    value: Tensor
    best: Tensor
    best_gradient: Tensor
    best_value: Tensor
    checked_value: Tensor
    size: Tensor
    shrunk: Tensor
    rises: Tensor

    def keep(self, kept: Tensor) -> _ApgdState:
        return _ApgdState(*(getattr(self, field.name)[kept] for field in dataclasses.fields(self)))


def _untargeted(model: Network, images: Tensor, labels: Tensor, loss: str, options: _ApgdOptions) -> Tensor:
    if unmoved(images, options.eps, options.norm):
        return images.clone()
    with untouched(model), channels_last(model):
        hardest = Hardest(images, labels, plain_logits(model, images))
        _from_starts(model, images, labels, None, loss, options, hardest, "away")
    return hardest.points


def _from_starts(
    model: Network, images: Tensor, labels: Tensor, targets: Tensor | None, loss: str,
    options: _ApgdOptions, hardest: Hardest, purpose: str | int,
) -> None:  # fmt: skip
    """Climb from each random start with the images that are left."""
    for restart in range(options.restarts):
        rows = hardest.left
        if not len(rows):
            return
        draws = ImageDraws(images[rows], options.seed, "apgd", loss, purpose, restart)
        _ascend(model, rows, images, labels, targets, loss, options, hardest, draws)


def _ascend(
    model: Network, rows: Tensor, images: Tensor, labels: Tensor, targets: Tensor | None, loss: str,
    options: _ApgdOptions, hardest: Hardest, draws: ImageDraws,
) -> None:  # fmt: skip
    targeted = targets is not None
    images, labels = _dense(images[rows]), labels[rows]
    classes = targets[rows] if targets is not None else labels
    start = _random_start(images, options, draws)

    def measure(point: Tensor, labels: Tensor, classes: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        found = loss_named(loss, classes if targeted else None)
        value, logits, gradient = value_and_gradient(model, point, labels, found, options.precision)
        margins, certain = exact_margins(model, point, labels, logits, options.precision)
        # An image that is fooled is done with, also while others keep it in the batch.
        hardest.record(rows, point, margins.masked_fill(hardest.certain[rows], -torch.inf), certain)
        return value, gradient

    value, gradient = measure(start, labels, classes, rows)
    state = _ApgdState(
        rows=rows, images=images, labels=labels, targets=classes, point=start, before=start,
        gradient=gradient, value=value, best=start, best_gradient=gradient, best_value=value,
        checked_value=value,
        size=torch.full_like(value, 2 * options.eps), shrunk=torch.zeros_like(rows, dtype=torch.bool),
        rises=torch.zeros_like(rows),
    )  # fmt: skip
    decided = dict(checkpoints(options.iterations))
    for step in range(1, options.iterations + 1):
        kept = ~hardest.certain[state.rows]
        alive = int(kept.sum())
        if not alive:
            return
        if alive <= (1 - _WORTH_DROPPING) * len(kept):
            state = state.keep(kept)
        _move(state, options, momentum=step > 1)
        value, state.gradient = measure(state.point, state.labels, state.targets, state.rows)
        _note(state, value)
        if step in decided:
            _decide(state, step - decided[step])


def _move(state: _ApgdState, options: _ApgdOptions, momentum: bool) -> None:
    """A gradient step and, behind the first one, a part of the last move."""
    eps, norm = options.eps, options.norm
    ahead = state.point + steepest(state.gradient, norm) * per_image(state.size, state.point)
    moved = into_ball(state.images, ahead, eps, norm)
    if momentum:
        moved = (
            state.point + _MOMENTUM * (moved - state.point) + (1 - _MOMENTUM) * (state.point - state.before)
        )
        moved = into_ball(state.images, moved, eps, norm)
    state.before, state.point = state.point, moved


def _note(state: _ApgdState, value: Tensor) -> None:
    state.rises = state.rises + (value > state.value)
    state.value = value
    better = value > state.best_value
    wide = better.view(-1, 1, 1, 1)
    state.best = torch.where(wide, state.point, state.best)
    state.best_gradient = torch.where(wide, state.gradient, state.best_gradient)
    state.best_value = torch.where(better, value, state.best_value)


def _decide(state: _ApgdState, steps: int) -> None:
    """Where the loss rose too seldom, or its best stands still, halve the step and go back to the best."""
    seldom = state.rises < _RISING * steps
    stands = ~state.shrunk & (state.best_value <= state.checked_value)
    state.shrunk = seldom | stands
    state.size = torch.where(state.shrunk, state.size / 2, state.size)
    wide = state.shrunk.view(-1, 1, 1, 1)
    state.point = torch.where(wide, state.best, state.point)
    state.gradient = torch.where(wide, state.best_gradient, state.gradient)
    state.value = torch.where(state.shrunk, state.best_value, state.value)
    state.checked_value = state.best_value
    state.rises = torch.zeros_like(state.rises)


def _random_start(images: Tensor, options: _ApgdOptions, draws: ImageDraws) -> Tensor:
    """Uniform in the L∞ ball; on the surface of the L2 ball, uniform over directions."""
    shape = images.shape[1:]
    if options.norm == "linf":
        change = draws.uniform(*shape).mul_(2).sub_(1).mul_(options.eps)
    else:
        change = steepest(draws.normal(*shape), "l2") * options.eps
    return into_ball(images, images + change, options.eps, options.norm)


def _dense(images: Tensor) -> Tensor:
    """Channels last, in which convolutions are computed faster."""
    return images.contiguous(memory_format=torch.channels_last)
