"""Attacks that follow the gradient: FGSM, BIM and PGD, with restarts and momentum.

I. Goodfellow et al., "Explaining and harnessing adversarial examples", 2015 (FGSM); A. Kurakin et al.,
"Adversarial machine learning at scale", 2017 (BIM); A. Madry et al., "Towards deep learning models resistant
to adversarial attacks", 2018 (PGD); Y. Dong et al., "Boosting adversarial attacks with momentum", 2018.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor

from plenish.errors import unknown
from plenish.robustness.folding import folded
from plenish.robustness.gradients import (
    Loss,
    Network,
    Precision,
    channels_last,
    logits_of,
    untouched,
    value_and_gradient,
)
from plenish.robustness.image_draws import ImageDraws
from plenish.robustness.losses import loss_named
from plenish.robustness.noise import random_perturbations
from plenish.robustness.projections import total
from plenish.robustness.threat import Norm, check_counts, check_sizes, per_image, project, steepest
from plenish.robustness.visited import (
    Hardest,
    exact_margins,
    judged_margin,
    left_open,
    plain_logits,
    predictions,
    unmoved,
)

Keep = Literal["best", "last"]
OnStep = Callable[[int, Tensor, Tensor], None]
"""Number of the step from 0, logits N×K before it, losses N: what a curve over the steps is made from."""

STEP_SHARE = 2.5
"""All steps together are this many radii long, so that every point of the ball can be reached (Madry)."""


def fgsm(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    loss: str | Loss = "cross_entropy",
    targets: Tensor | None = None,
) -> Tensor:
    """One step of length eps along the gradient: the fast gradient (sign) method.

    Args:
        model: images in [0, 1] → logits N×K.
        images: N×C×H×W in [0, 1].
        labels: N; the classes to lead away from.
        eps: the radius of the ball.
        norm: of the ball.
        seed: accepted as by all attacks; without effect.
        precision: of the gradient.
        loss: what is raised: a name in `losses.LOSSES`, or a function.
        targets: N; classes to lead to.

    Returns:
        Images like those given, in the ball and in [0, 1].
    """
    how = Ascent(norm=norm, precision=precision, steps=1, step_size=eps, random_start=False, keep="last")
    return ascend(model, images, labels, eps, how, loss=loss, targets=targets)


def bim(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    steps: int = 10,
    step_size: float | None = None,
    loss: str | Loss = "cross_entropy",
    targets: Tensor | None = None,
) -> Tensor:
    """The basic iterative method: PGD from the original, whose last image is returned; see `pgd`."""
    how = Ascent(norm, seed, precision, steps, step_size, random_start=False, keep="last")
    return ascend(model, images, labels, eps, how, loss=loss, targets=targets)


def pgd(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    steps: int = 20,
    step_size: float | None = None,
    restarts: int = 1,
    momentum: float = 0.0,
    random_start: bool = True,
    keep: Keep = "best",
    drop: bool = False,
    loss: str | Loss = "cross_entropy",
    targets: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Projected gradient ascent from random points of the ball.

    Args:
        model: images in [0, 1] → logits N×K.
        images: N×C×H×W in [0, 1].
        labels: N; the classes to lead away from.
        eps: the radius of the ball.
        norm: of the ball.
        seed: of the random starts, with the pixels of each image, so that batches do not change them.
        precision: of the gradients; whether an image is misclassified is always judged in float32.
        steps: from each start.
        step_size: length of a step in the norm; by default 2.5·eps/steps.
        restarts: number of starts; of their results, and the original, the one of the largest margin is
            returned.
        momentum: share of the sum of earlier gradients, each of L1 norm 1, that stays at every step (Dong).
        random_start: whether to start at a random point of the ball, or at the original. The point is uniform
            in the L∞ norm; in the L2 norm its direction is, and its distance.
        keep: of all steps the image with the largest margin, which fools if any did (`best`), or the `last`.
        drop: whether images that fool the classifier are done with at once, which saves their further steps.
        loss: what is raised: a name in `losses.LOSSES`, or a function of logits and labels.
        targets: N; classes to lead to. An image still counts as fooled when any class but its own is found.
        on_step: called before each step of each start, with all images that are left.

    Returns:
        Images like those given, in the ball and in [0, 1].
    """
    how = Ascent(norm, seed, precision, steps, step_size, restarts, momentum, random_start, keep, drop)
    return ascend(model, images, labels, eps, how, loss=loss, targets=targets, on_step=on_step)


def steps_of_pgd(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    *,
    norm: Norm = "linf",
    seed: int = 0,
    precision: Precision = "float32",
    steps: int = 100,
    step_size: float | None = None,
    loss: str | Loss = "cross_entropy",
) -> tuple[Tensor, Tensor]:
    """How PGD converges: what is misclassified, and the losses, before each step and after the last.

    Returns:
        Booleans and losses, both (steps + 1)×N. The step size is that of `steps` steps. The logits are in the
        precision of the gradients: ask for float32 where single images matter.
    """
    fooled, losses = [], []

    def note(_: int, logits: Tensor, found: Tensor) -> None:
        fooled.append(predictions(logits) != labels)
        losses.append(found)

    how = Ascent(norm, seed, precision, steps, step_size, keep="last")
    last = ascend(model, images, labels, eps, how, loss=loss, on_step=note)
    with untouched(model), torch.no_grad():
        logits = logits_of(model, last, precision)
    note(steps, logits, chosen_loss(loss, None)(logits, labels))
    missing = steps + 1 - len(fooled)  # At eps 0 nothing moves.
    return torch.stack(fooled + fooled[-1:] * missing), torch.stack(losses + losses[-1:] * missing)


@dataclasses.dataclass(frozen=True)
class Ascent:
    """How gradients are followed; `pgd` describes the fields."""

    norm: Norm = "linf"
    seed: int = 0
    precision: Precision = "float32"
    steps: int = 20
    step_size: float | None = None
    restarts: int = 1
    momentum: float = 0.0
    random_start: bool = True
    keep: Keep = "best"
    drop: bool = False

    def __post_init__(self) -> None:
        if self.keep not in ("best", "last"):
            raise unknown("iterate to keep", self.keep, ("best", "last"))
        check_counts(steps=self.steps, restarts=self.restarts)
        check_sizes(momentum=self.momentum, step_size=self.step_size)


def ascend(
    model: Network,
    images: Tensor,
    labels: Tensor,
    eps: float,
    how: Ascent,
    *,
    loss: str | Loss = "cross_entropy",
    targets: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Tensor:
    """Follow gradients from each start; see `pgd`."""
    if unmoved(images, eps, how.norm):
        return images.clone()
    rows = torch.arange(len(images), device=images.device)
    ascent = _AscentRun(model, eps, how, loss, on_step)
    with untouched(model), _lighter(model, images) if how.steps > 1 else contextlib.nullcontext():
        if how.restarts == 1 and not how.drop:
            state = _AscentState.of(images, labels, targets, rows, eps, how.norm)
            return torch.empty_like(images).copy_(ascent.run(state, 0).point)
        hardest = Hardest(images, labels, plain_logits(model, images))
        for restart in range(how.restarts):
            left = hardest.left if how.drop else rows
            if not len(left):
                break
            aims = None if targets is None else targets[left]
            state = _AscentState.of(images[left], labels[left], aims, left, eps, how.norm)
            state = ascent.run(state, restart, hardest)
            if len(state.rows):
                logits = plain_logits(model, state.point)
                judged = exact_margins(model, state.point, state.labels, logits, "float32")
                hardest.record(state.rows, state.point, *judged)
    return hardest.points


@contextlib.contextmanager
def _lighter(model: Network, images: Tensor) -> Iterator[None]:
    """Passes that take less time within, and round a little otherwise; not worth their making for one."""
    with folded(model, images), channels_last(model):
        yield


@dataclasses.dataclass(frozen=True)
class _AscentState:
    """The images of an ascent that are not done with, and where they have come to; channels last on purpose.

    `low` and `high` bound the L∞ ball within [0, 1]; `velocity` is the sum of gradients; `best` the point of
    the largest margin so far, and that margin.
    """

    rows: Tensor
    images: Tensor
    labels: Tensor
    targets: Tensor | None
    point: Tensor
    low: Tensor | None = None
    high: Tensor | None = None
    velocity: Tensor | None = None
    best: Tensor | None = None
    best_margin: Tensor | None = None

    @classmethod
    def of(
        cls, images: Tensor, labels: Tensor, targets: Tensor | None, rows: Tensor, eps: float, norm: Norm
    ) -> _AscentState:
        images = images.contiguous(memory_format=torch.channels_last)
        if norm != "linf":
            return cls(rows, images, labels, targets, images)
        low, high = (images - eps).clamp_min_(0), (images + eps).clamp_max_(1)
        return cls(rows, images, labels, targets, images, low, high)

    def only(self, kept: Tensor) -> _AscentState:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{k: v[kept] for k, v in fields.items() if v is not None})

    def seen(self, margins: Tensor) -> _AscentState:
        """Remember points whose judged margin, N, is the largest so far."""
        if self.best is None or self.best_margin is None:
            return dataclasses.replace(self, best=self.point, best_margin=margins)
        better = margins > self.best_margin
        best = torch.where(better.view(-1, 1, 1, 1), self.point, self.best)
        return dataclasses.replace(self, best=best, best_margin=torch.maximum(margins, self.best_margin))


@dataclasses.dataclass(frozen=True)
class _AscentRun:
    """One ascent of a batch from one start, and what stays the same over starts."""

    model: Network
    eps: float
    how: Ascent
    loss: str | Loss
    on_step: OnStep | None

    def run(self, state: _AscentState, restart: int, hardest: Hardest | None = None) -> _AscentState:
        """The state after all steps; images that were dropped are in `hardest`.

        Of all points of an image one is chosen by margins in bfloat16. Where float32 contradicts, another one
        may have fooled, and all steps of that image are made again in float32.
        """
        found, how = self._after_steps(state, restart, hardest), self.how
        if how.precision == "float32" or how.keep != "best" or how.drop or found.best_margin is None:
            return found
        logits = plain_logits(self.model, found.point)
        rows = left_open(logits, found.labels, found.best_margin).nonzero()[:, 0]
        if not len(rows):
            return found
        exact = dataclasses.replace(self, how=dataclasses.replace(how, precision="float32"), on_step=None)
        again = exact.run(state.only(rows), restart).point
        return dataclasses.replace(found, point=found.point.index_copy(0, rows, again))

    def _after_steps(self, state: _AscentState, restart: int, hardest: Hardest | None) -> _AscentState:
        state = self._started(state, restart)
        for step in range(self.how.steps):
            raised = chosen_loss(self.loss, state.targets)
            losses, logits, gradient = value_and_gradient(
                self.model, state.point, state.labels, raised, self.how.precision
            )
            if self.on_step is not None:
                self.on_step(step, logits, losses)
            if self.how.keep == "best":
                state = state.seen(judged_margin(logits, state.labels))
            if self.how.drop and hardest is not None:
                kept = self._drop(state, logits, hardest)
                if len(kept) < len(state.rows):
                    state, gradient = state.only(kept), gradient[kept]
                if not len(kept):
                    return state
            state = self._moved(state, gradient)
        if self.how.keep == "best":
            with torch.no_grad():
                logits = logits_of(self.model, state.point, self.how.precision)
            state = state.seen(judged_margin(logits, state.labels))
            return dataclasses.replace(state, point=state.point if state.best is None else state.best)
        return state

    def _started(self, state: _AscentState, restart: int) -> _AscentState:
        if not self.how.random_start:
            return state
        draws = ImageDraws(state.images, self.how.seed, "pgd", restart)
        change = random_perturbations(state.images, self.eps, self.how.norm, draws)
        if self.how.norm == "l2":
            # Nearly all points of a ball in many dimensions lie at its surface, far from where a few steps
            # lead from the original. From there, 20 steps leave about 1 % of images more right.
            change = change * per_image(draws.uniform(1)[:, 0], change)
        point = project(state.images, state.images + change, self.eps, self.how.norm)
        return dataclasses.replace(state, point=point)

    def _drop(self, state: _AscentState, logits: Tensor, hardest: Hardest) -> Tensor:
        """Record the images that are misclassified in float32; numbers of the others."""
        margins, certain = exact_margins(self.model, state.point, state.labels, logits, self.how.precision)
        done = certain.nonzero()[:, 0]
        hardest.record(state.rows[done], state.point[done], margins[done], certain[done])
        return (~certain).nonzero()[:, 0]

    def _moved(self, state: _AscentState, gradient: Tensor) -> _AscentState:
        how, velocity = self.how, None
        if how.momentum:
            velocity = gradient / per_image(total(gradient.abs()).clamp_min(1e-30), gradient)
            if state.velocity is not None:
                velocity = velocity.add_(state.velocity, alpha=how.momentum)
            gradient = velocity
        size = STEP_SHARE * self.eps / how.steps if how.step_size is None else how.step_size
        if state.low is None:
            changed = steepest(gradient, how.norm).mul_(size).add_(state.point)
            point = project(state.images, changed, self.eps, how.norm)
        else:
            # As `project` does, with fewer passes over the pixels: a small network notices each of them.
            point = torch.add(state.point, gradient.sign(), alpha=size)
            torch.clamp(point, state.low, state.high, out=point)
        return dataclasses.replace(state, velocity=velocity, point=point)


def chosen_loss(loss: str | Loss, targets: Tensor | None) -> Loss:
    """A loss by name, or a function; where there are target classes N, it takes them as `targets`."""
    if isinstance(loss, str):
        return loss_named(loss, targets)
    return loss if targets is None else functools.partial(loss, targets=targets)  # type: ignore[call-arg]
