"""Which images a classifier is shown and when: draws of an epoch, and synthetic images mixed in; no torch."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plenish.configuration import option
from plenish.datasets.batches import Images
from plenish.datasets.orders import (
    ORDERS,
    BalancedOrder,
    DopedOrder,
    Draw,
    Order,
    PhasedOrder,
    SharedOrder,
    fill,
)
from plenish.errors import InputError, unknown
from plenish.training.drawing_schedules import Scheduled, Stage, parse_schedule


@dataclasses.dataclass(frozen=True)
class Phase:
    """A stretch of a training in which images are drawn alike.

    Attributes:
        name: the level as it is typed.
        make: random streams → the order.
        epoch: draws of an epoch.
        images: draws in all.
        counts: K, how often each class (or tag) is drawn in an epoch on average.
        distinct: K, images of each class (or tag) among which it draws.
    """

    name: str
    make: Callable[[Draw], Order]
    epoch: int
    images: int
    counts: NDArray[np.float64]
    distinct: NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class DrawingPlan:
    """All phases of a training.

    Attributes:
        phases: in their order.
    """

    phases: tuple[Phase, ...]

    def __call__(self, y: NDArray[Any], draw: Draw) -> Order:
        """The order of the whole training; the labels are those it was made for."""
        return PhasedOrder([(phase.images, phase.make) for phase in self.phases], draw)

    @property
    def images(self) -> int:
        """Images drawn in all."""
        return sum(phase.images for phase in self.phases)

    def starts(self) -> list[int]:
        """Number of the first image of each phase."""
        return [0, *np.cumsum([phase.images for phase in self.phases]).tolist()][:-1]

    def phase_at(self, nimg: int) -> int:
        """Number of the phase that image `nimg` lies in; the last has no end."""
        return int(np.searchsorted(self.starts(), nimg, "right")) - 1


@dataclasses.dataclass(frozen=True)
class DrawingOptions:
    """Which training images are drawn, and when.

    Attributes:
        order: how training images are drawn: shuffled, balanced (every class equally often) or weighted (at
            random with replacement, every class equally likely).
        balanced: the same as --order balanced.
        draws: images drawn in an epoch, with --order balanced or weighted; by default as many as there are.
        epochs: length in epochs, instead of --steps.
        drawing: schedule of draws of an epoch, each class equally often, down to the natural distribution:
            35000x2 12000x2 naturalx2, in epochs or as shares (35000x60% naturalx40%), or ham10000; 500% are
            five times as many as there are images.
        doping: schedule of synthetic images mixed in to fill each class but the largest up to a target, down
            to real images: 4700x2 1000x2 realx3, in epochs or as shares, or decaying, ham10000-1, ham10000-2;
            a target of 50% is half the images of the largest class. Needs a synthetic Dataset.
        share: share of synthetic images in every batch; real ones and synthetic ones each come in epochs of
            their own.
    """

    order: str = "shuffled"
    balanced: bool = False
    draws: int | None = option(least=1, most=10_000_000)
    epochs: float | None = option(above=0, most=100_000)
    drawing: list[str] | None = None
    doping: list[str] | None = None
    share: float | None = option(above=0, below=1)

    def check_drawing(self, steps: int | None) -> None:
        """Refuse what contradicts itself.

        Args:
            steps: what --steps says.

        Raises:
            InputError: an unknown order, a schedule that is none, or two options that exclude each other.
        """
        if self.order not in ORDERS:
            raise unknown("--order", self.order, ORDERS)
        given = [name for name in ("draws", "drawing", "doping", "share") if getattr(self, name)]
        if len(given) > 1:
            raise InputError(f"--{given[0]} and --{given[1]} contradict each other; give one of them.")
        if self.draws and self.drawn_as == "shuffled":
            raise InputError("--draws is the length of an epoch of --order balanced or weighted; give that.")
        if self.doping and self.drawn_as != "shuffled":
            raise InputError(
                f"--doping fills the classes and --order {self.drawn_as} equals them out; give one of them."
            )
        if self.epochs and steps:
            raise InputError("--epochs and --steps are both the length of the training; give one of them.")
        counted = self.counted_in  # Reads the schedule, and refuses one that is none.
        if self.epochs and counted == "epochs":
            raise InputError(
                f"--{self.scheduled} states its own epochs, so --epochs says nothing; leave it out, give "
                "--steps to shorten or prolong all levels alike, or state shares, such as 2000x60%."
            )

    def check_kind(self, kind: str | None) -> None:
        """Refuse drawing by classes where images have several tags.

        Args:
            kind: of the labels, if it is known.

        Raises:
            InputError: as above.
        """
        given = [name for name in ("drawing", "doping") if getattr(self, name)]
        given = [f"order {self.drawn_as}"] * (self.drawn_as != "shuffled") + given
        if kind == "multilabel" and given:
            raise InputError(
                f"--{given[0]} draws images by their class, and these have several tags; leave it out."
            )

    @property
    def drawn_as(self) -> str:
        """The order by name."""
        return "balanced" if self.balanced else self.order

    @property
    def scheduled(self) -> Scheduled | None:
        """The option whose schedule is followed."""
        return "doping" if self.doping else "drawing" if self.drawing else None

    def stages(self) -> list[Stage]:
        """The levels of the schedule, if there is one.

        Raises:
            InputError: a word that is no level, lengths of two kinds, or several levels of which the last is
                not the natural distribution.
        """
        name = self.scheduled
        return [] if name is None else parse_schedule(name, tuple(getattr(self, name)))

    @property
    def counted_in(self) -> Literal["epochs", "shares", None]:
        """What the schedule's lengths are; None where the whole training is one phase without a length."""
        stages = self.stages()
        if not stages or stages[0].length is None:
            return None
        return "shares" if stages[0].share else "epochs"

    def most_filled(self, counts: NDArray[np.int64]) -> int:
        """The largest target of --doping in images, for these real images of each class, K."""
        return max(stage.count(int(counts.max())) for stage in self.stages())


def check_enough(
    options: DrawingOptions, images: Images, names: Sequence[str], beside: str = "--synthetic"
) -> None:
    """Refuse doping for which there are too few synthetic images.

    Args:
        options: what is asked for, checked.
        images: training images, the real ones first.
        names: the classes.
        beside: the option that takes synthetic images, for messages.

    Raises:
        InputError: no synthetic images, or too few of a class for the largest target.
    """
    if options.share and images.n_real == len(images.y):
        raise InputError(f"--share is of synthetic images, and there are none; give them with {beside} DATA.")
    if not options.doping:
        return
    if images.real is None:
        raise InputError(f"--doping mixes in synthetic images; give them with {beside} DATA.")
    real, there = (np.bincount(y, minlength=len(names)) for y in np.split(images.y, [images.real]))
    target = options.most_filled(real)
    wanted = fill(real, target)
    if not wanted.any():
        raise InputError(
            f"--doping up to {target} adds nothing: the largest classes have {real.max():,} images and are "
            "left alone, and no other has fewer than that target; give a higher one."
        )
    lacking = [
        f"{name} ({is_there:,} of {needed:,})"
        for name, is_there, needed in zip(names, there, wanted)
        if needed > is_there
    ]
    if lacking:
        raise InputError(
            f"--doping up to {target} needs more synthetic images than there are of {', '.join(lacking)}; "
            "generate more (plenish generate RUN OUT --label CLASS -n N), or give a lower target."
        )


def pretend_synthetic(options: DrawingOptions, real: Images) -> Images:
    """Real images with as many stand-ins, real ones again, as the largest target of doping needs."""
    counts = np.bincount(real.y)
    wanted = fill(counts, options.most_filled(counts))
    y = np.concatenate([real.y, np.repeat(np.arange(len(counts)), wanted)])
    return Images(lambda index: real.read(index % len(real.y)), y, real=len(real.y))


def settle_steps(options: DrawingOptions, images: Images, batch: int, steps: int | None) -> int | None:
    """Length of a training in steps, where it is stated: in steps, by --epochs or by a schedule in epochs.

    Args:
        options: what is asked for, checked.
        images: training images, the real ones first; enough of each class for every target.
        batch: images of a step.
        steps: what --steps says.
    """
    if steps is not None or not (options.epochs or options.counted_in == "epochs"):
        return steps
    if options.counted_in == "shares":
        assert options.epochs is not None
        return math.ceil(options.epochs * images.n_real / batch)
    orders = _orders(options, images, batch)
    lengths = [options.epochs if stage.length is None else stage.length for stage in orders]
    drawn = sum(_length(stage.make) * (length or 0) for stage, length in zip(orders, lengths))
    return math.ceil(round(drawn, 6) / batch)


def make_plan(options: DrawingOptions, images: Images, batch: int, steps: int, width: int) -> DrawingPlan:
    """The phases of a training.

    A schedule in epochs that is longer or shorter than the steps is shortened or prolonged, every phase
    alike.

    Args:
        options: what is asked for, checked.
        images: training images, the real ones first; enough of each class for every target.
        batch: images of a step.
        steps: length of the training.
        width: number of classes.
    """
    orders, total = _orders(options, images, batch), steps * batch
    epochs = [_length(order.make) for order in orders]
    weights = np.array([1.0 if order.length is None else order.length for order in orders])
    if options.counted_in == "epochs":
        weights = weights * epochs
    ends = np.cumsum(weights)
    # The last batch is whole; its few images do not shift the phases.
    if options.counted_in != "epochs" or not 0 <= total - ends[-1] < batch:
        ends = ends * (total / ends[-1])
    cuts = [0, *np.rint(ends[:-1]).astype(int).tolist(), total]
    phases = [
        Phase(order.name, order.make, epoch, end - start, *_counts(order.make, images.y, width))
        for order, epoch, (start, end) in zip(orders, epochs, itertools.pairwise(cuts))
    ]
    return DrawingPlan(tuple(phase for phase in phases if phase.images > 0))


class _Drawn(NamedTuple):
    name: str
    make: Callable[[Draw], Order]
    length: float | None


def _orders(options: DrawingOptions, images: Images, batch: int) -> list[_Drawn]:
    """The order of each phase."""
    y = images.y
    kind: Callable[..., Order] = ORDERS[options.drawn_as]
    if options.share:
        make_shared = functools.partial(
            SharedOrder, y, real=images.n_real, share=options.share, batch=batch, kind=kind
        )
        return [_Drawn(f"{options.share:g}", make_shared, None)]
    if options.scheduled is None:
        draws = {"draws": options.draws} if options.draws else {}
        return [_Drawn(options.drawn_as, functools.partial(kind, y, **draws), None)]
    even: Callable[..., Order] = BalancedOrder if kind is Order else kind
    found = []
    largest = int(np.bincount(y[: images.n_real]).max()) if options.doping else len(y)
    for stage in options.stages():
        name = stage.typed(options.scheduled)
        level = stage.count(largest)
        make: Callable[[Draw], Order] = functools.partial(Order, y)
        if options.doping:
            make = functools.partial(DopedOrder, y, real=images.n_real, target=level)
        elif stage.level:
            make = functools.partial(even, y, draws=level)
        found.append(_Drawn(name, make, stage.length))
    return found


def _length(make: Callable[[Draw], Order]) -> int:
    return make(np.random.default_rng).length


def _counts(
    make: Callable[[Draw], Order], y: NDArray[Any], width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How often an epoch draws each class on average, and among how many images."""
    expected = make(np.random.default_rng).expected()

    def by_class(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        found = weights @ y if y.ndim == 2 else np.bincount(y, weights, minlength=width)
        return np.asarray(found, np.float64).round(6)  # Sums of shares such as 1/3.

    return by_class(expected), by_class((expected > 0).astype(np.float64))


def epoch_counts(
    plan: DrawingPlan, images: Images, draw: Draw, names: Sequence[str], batch: int
) -> list[dict[str, Any]]:
    """What an epoch of each phase holds: a row for each phase and class.

    Args:
        plan: the phases.
        images: training images, the real ones first.
        draw: random streams of epochs.
        names: the classes, or tags.
        batch: images of a step.

    Returns:
        `phase`, `level`, `steps`, `epochs`, `class`, `real` and `synthetic` (draws of an epoch).
    """
    rows = []
    for number, phase in enumerate(plan.phases, 1):
        drawn = phase.make(draw)(np.arange(phase.epoch))
        about = {"phase": number, "level": phase.name, "steps": round(phase.images / batch),
                 "epochs": round(phase.images / phase.epoch, 2)}  # fmt: skip
        for k, name in enumerate(names):
            own = drawn[(images.y[:, k] > 0 if images.y.ndim == 2 else images.y == k)[drawn]]
            real = int((own < images.n_real).sum())
            rows.append({**about, "class": name, "real": real, "synthetic": len(own) - real})
    return rows
