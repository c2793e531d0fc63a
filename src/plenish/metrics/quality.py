"""How good the images of a generator are, by one rule: undertrained, usable, or near the real ones.

Scores of a feature extractor have no scale of their own: a KID of 2 is close in one Dataset and far in
another. So every figure is held against the same figure of real images. The reference is one half of the
train part, and the real images are the other half: the few patients of a val part often differ more from
those of train than bad images do, which hides how bad they are. (Whether a generator merely copies train is
asked by `metrics.copies`.)

- precision: share of the images that lie among the real ones, so: do they look like real ones?
- recall, coverage: share of the real images that lie among these, or have one of these near them, so: is
  their variety reached?
- KID, with its interval.

A generator is `undertrained` while precision, recall or coverage is less than two thirds of what real images
reach, or its KID is absurd. It is `near` the real ones when all three are at least 80 % of it and KID, by its
interval, is not shown to be above that of real images, which takes at least 100 images a side. Between them
it is `usable`: worth a score and a study, and told apart by eye.

Where classes were asked for, all figures are means over the classes, weighted by their numbers of real
images, and equally many images of a class are taken on both sides. A class of which no image was made counts
as 0 in recall and coverage. Classes with fewer than six images on a side are measured together with others.

Real images of 32 px that are blurred by 0.7 pixels, have noise of 25 grey levels or exchanged classes lie
below two thirds, as do generators whose images show no structure; docs/generators.md has the measurements.
The shares are point estimates, on purpose: a generator is not given the benefit of the doubt that few images
leave.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError
from plenish.metrics.caveats import Caveat
from plenish.metrics.fidelity import enough_rows, mmd2_replicates, neighbourhood_replicates
from plenish.metrics.resampling import Ints, bootstrap_weights
from plenish.metrics.words import is_known, number, percent, with_interval
from plenish.runs import Run

Level = Literal["undertrained", "usable", "near"]
UNDERTRAINED, NEAR = 2 / 3, 0.8
"""Shares of what real images reach: less than the first in a figure, at least the second in all."""
NEAR_LEAST = 100
"""Images a side below which none are called near the real ones: the interval of KID then hides much."""
LOGGED = "quality/"
"""What the names of the figures begin with in metrics.jsonl."""
ABSURD_KID = 10.0
"""More than the kernel of a real image with itself, which is 8, as domain features have a mean variance of 1:
some images lie far outside of everything real. It holds for domain features alone, as the whole rule does."""
_SHARES = ("precision", "recall", "coverage")
_RESAMPLES = 50
_MOST = 2_000
"""Images on a side, so that a checkpoint is scored in a second or two."""


@dataclasses.dataclass(frozen=True)
class Quality:
    """The figures that the rule rests on; those called `_real` are of training images in their place.

    Attributes:
        precision: share of the images among the real ones, 0 to 1.
        precision_real: above 0, as the other two.
        recall: share of the real images among these.
        recall_real: see above.
        coverage: share of the real images that have one of these near them.
        coverage_real: see above.
        kid: KID against the real images.
        kid_low: lower end of its 95 % interval.
        kid_high: upper end.
        kid_real: near 0.
        n: images that were compared, and as many real ones in their place; of all classes.
        kimg: thousand real images that the generator had been shown; None where unknown.
    """

    precision: float
    precision_real: float
    recall: float
    recall_real: float
    coverage: float
    coverage_real: float
    kid: float
    kid_low: float
    kid_high: float
    kid_real: float
    n: float
    kimg: float | None = None

    def of_real(self, figure: str) -> float:
        """A figure as a share of what real images reach."""
        return float(getattr(self, figure) / getattr(self, f"{figure}_real"))

    @property
    def reached(self) -> float:
        """The smallest of precision, recall and coverage, as a share of what real images reach."""
        return min(map(self.of_real, _SHARES))

    @property
    def level(self) -> Level:
        """How far the generator is."""
        if self.reached < UNDERTRAINED or self.is_absurd:
            return "undertrained"
        return "near" if self._seems_near and self.n >= NEAR_LEAST else "usable"

    @property
    def _seems_near(self) -> bool:
        """Whether no figure speaks against `near`, however few images there are."""
        return self.reached >= NEAR and self.kid_low <= max(self.kid_real, 0.0)

    @property
    def is_too_few(self) -> bool:
        """Whether nothing but the number of images speaks against `near`."""
        return self.n < NEAR_LEAST and self._seems_near and not self.is_absurd

    @property
    def is_absurd(self) -> bool:
        """Whether there is no image near any real one, or some are far outside of everything real."""
        return self.coverage == 0 or self._is_far

    @property
    def _is_far(self) -> bool:
        return self.kid_low > ABSURD_KID

    def caveats(self, of: Literal["copies", "study"]) -> list[Caveat]:
        """What an undertrained generator means for a result: the one caveat, or none."""
        if self.level != "undertrained":
            return []
        return [Caveat("undertrained", {"of": of, **{name: self.of_real(name) for name in _SHARES}})]

    def record(self) -> dict[str, Any]:
        """Level and figures, JSON-able."""
        return {"level": self.level, **dataclasses.asdict(self)}

    def figures(self) -> list[tuple[str, str, str]]:
        """What a figure is called, its value, and that of real images in their place, as text."""
        names = {
            "precision": "lie among real ones (precision)", "recall": "variety reached (recall)",
            "coverage": "real ones with one near (coverage)",
        }  # fmt: skip
        rows = [
            (names[name], percent(getattr(self, name), ".0f"), percent(getattr(self, f"{name}_real"), ".0f"))
            for name in _SHARES
        ]
        return [*rows, ("distance (KID)", number(self.kid, 2), number(self.kid_real, 2))]

    def measured(self) -> str:
        """How it was measured, and what the figures cannot say, in a sentence or two."""
        when = "" if self.kimg is None else f" at {self.kimg:g} kimg"
        absurd = f" KID is above {ABSURD_KID:g}: some are far from everything real." if self._is_far else ""
        few = f" Fewer than {NEAR_LEAST} are never called near the real ones." if self.is_too_few else ""
        return f"Measured on {self.n:,.0f} images{when}.{absurd}{few}"

    def __str__(self) -> str:
        """The figures in words."""
        values = [percent(getattr(self, name), ".0f") for name in _SHARES]
        reals = [percent(getattr(self, f"{name}_real"), ".0f") for name in _SHARES]
        kid = with_interval(self.kid, self.kid_low, self.kid_high)
        return (
            f"{values[0]} of the images look like real ones (precision), and {reals[0]} of other real images "
            f"in their place; {values[1]} of the real variety is reached (recall), and {reals[1]} by real "
            f"images; {values[2]} of the real images have one of these near them (coverage), and {reals[2]} "
            f"a real one. KID, a distance, is {kid}, and {number(self.kid_real)} of real images. "
            f"{self.measured()}"
        )


def from_record(figures: Mapping[str, Any] | None, kimg: float | None = None) -> Quality | None:
    """Quality from figures by name; None where one is missing, or real images reach nothing themselves."""
    names = [field.name for field in dataclasses.fields(Quality) if field.name != "kimg"]
    if figures is None or not all(is_known(figures.get(name)) for name in names):
        return None
    if min(figures[f"{name}_real"] for name in _SHARES) <= 0:
        return None
    shown = figures.get("kimg", kimg)
    return Quality(**{name: figures[name] for name in names}, kimg=shown if is_known(shown) else None)


def from_line(line: Mapping[str, Any]) -> Quality | None:
    """Quality from a line of metrics.jsonl, or values of a checkpoint; None of any other."""
    return from_record({key.removeprefix(LOGGED): value for key, value in line.items()})


def of_run(run: Run, checkpoint: str | None = None) -> Quality | None:
    """Quality of a generator's Run at a checkpoint, by default the best one; None where it was not measured.

    Args:
        run: the Run.
        checkpoint: its name.
    """
    kimg = kimg_of(checkpoint or (run.status.get("best") or {}).get("checkpoint"))
    if run.kind != "generator" or kimg is None:
        return None
    lines = [line for _, line in run.logged() if line.get("kimg") == kimg]
    return next((found for line in reversed(lines) if (found := from_line(line))), None)


def of_generator(generator: Mapping[str, Any]) -> Quality | None:
    """Quality of the checkpoint that a synthetic Dataset was made from, if its Run is still there.

    Args:
        generator: what the Dataset records of its generator.
    """
    try:
        run = Run.open(str(generator["run"]))
    except (InputError, KeyError):
        return None
    return of_run(run, generator.get("checkpoint")) if generator.get("run_id") in (None, run.id) else None


def kimg_of(checkpoint: Any) -> float | None:
    """Thousand images shown, from the name of a checkpoint (kimg-00012.800); None of any other name."""
    try:
        return float(str(checkpoint).removeprefix("kimg-"))
    except ValueError:
        return None


class ClassGroups(NamedTuple):
    """How the classes are measured.

    Attributes:
        measured: classes whose images are compared, alone or, where they have too few, together.
        absent: classes of which there is no image, though as many real images hold six.
    """

    measured: list[tuple[int, ...]]
    absent: list[int]

    @property
    def together(self) -> list[int]:
        """Classes that are not measured alone."""
        return [k for group in self.measured if len(group) > 1 for k in group]


def class_groups(reference: Ints, others: Ints, made: Ints) -> ClassGroups:
    """Classes that are measured alone or together, so that each group has six images on every side.

    Classes that have too few are put together, the smallest first, and with the next larger one where that
    is not enough.

    Args:
        reference: K numbers of real images.
        others: of the real images in place of generated ones.
        made: of generated images.
    """
    sides = np.stack([reference, others, made], 1)
    expected = made.sum() * reference / max(1, reference.sum())
    least = np.minimum(np.minimum(reference, others), expected.astype(np.int64))
    absent = [k for k in range(len(sides)) if made[k] == 0 and enough_rows(least[k], least[k])]
    measured: list[tuple[int, ...]] = []
    pool: list[int] = []
    for k in map(int, np.argsort(sides.min(1), kind="stable")):
        if k in absent or not sides[k].any():
            continue
        pool.append(k)
        fewest = sides[pool].sum(0).min()
        if enough_rows(fewest, fewest):
            measured.append(tuple(pool))
            pool = []
    if pool and measured:
        measured[-1] += tuple(pool)
    return ClassGroups(measured, absent)


def halves(codes: Ints, seed: int = 0) -> tuple[Ints, Ints]:
    """Rows of the reference, and of the real images in place of generated ones: by chance within each class.

    Args:
        codes: N classes of the training images; all 0 where there are none.
        seed: decides the halves and their order.
    """
    rng = np.random.default_rng([seed, 0x4A1F])
    drawn = rng.permutation(len(codes))[: 2 * _MOST]
    drawn = drawn[np.argsort(codes[drawn], kind="stable")][: len(drawn) // 2 * 2]
    return rng.permutation(drawn[::2]), rng.permutation(drawn[1::2])


class _Side(NamedTuple):
    """Features N×D about the centre, in random order, with N classes."""

    features: NDArray[np.float32]
    codes: Ints

    def of(self, classes: Sequence[int]) -> NDArray[np.float32]:
        return self.features[np.isin(self.codes, classes)]


def _groups(reference: _Side, others: _Side, made: Ints, width: int) -> ClassGroups:
    return class_groups(
        *(np.bincount(codes, minlength=width) for codes in (reference.codes, others.codes, made))
    )


class _Measured(NamedTuple):
    """Figures of one group of classes; KID with its resamples."""

    weight: int
    shares: Mapping[str, float]
    kids: NDArray[np.float64]


class QualityScorer:
    """Measures the figures of images against one half of the train part, and of the other half once."""

    def __init__(self, features: NDArray[np.float32], y: NDArray[np.float32] | None, seed: int = 0) -> None:
        """Halve the train part by chance, each class by itself.

        Args:
            features: N×D, of the training images, in domain features.
            y: their classes, N×K one-hot, where there are any.
            seed: decides the halves, and which images are compared where there are more than in a half.
        """
        self._seed, self._width = seed, 0 if y is None else y.shape[1]
        codes = np.zeros(len(features), np.int64) if y is None else y.argmax(1)
        self._centre = features.mean(0, dtype=np.float64)  # Distances keep their value, and lose rounding.
        self._reference, self._others = (
            _Side(features[rows] - self._centre, codes[rows]) for rows in halves(codes, seed)
        )
        self._real: dict[tuple[bool, tuple[int, ...], int], _Measured] = {}

    def groups(self, y: NDArray[np.float32] | None) -> ClassGroups:
        """How the classes of images are measured.

        Args:
            y: the classes that the images were made for, M×K one-hot.
        """
        if y is None or not self._width:
            return ClassGroups([], [])
        return _groups(self._reference, self._others, y.argmax(1), self._width)

    def __call__(self, features: NDArray[np.float32], y: NDArray[np.float32] | None) -> dict[str, float]:
        """The figures of `Quality` by name, and `absurd` as 1 or 0; empty where there are too few images.

        Args:
            features: M×D; where there are more than in half of train, some are drawn, each class by itself.
            y: the classes that the images were made for, M×K one-hot, or None.
        """
        order = np.random.default_rng([self._seed, 0x5E7]).permutation(len(features))
        labelled = y is not None and self._width > 0
        codes = y.argmax(1)[order] if y is not None and labelled else np.zeros(len(order), np.int64)
        made = _Side(features[order] - self._centre, codes)
        reference, others = (
            side if labelled else side._replace(codes=0 * side.codes)
            for side in (self._reference, self._others)
        )
        groups = _groups(reference, others, made.codes, self._width if labelled else 1)
        if not groups.measured:
            return {}
        found, real, numbers = [], [], []
        for classes in groups.measured:
            x, z, o = (side.of(classes) for side in (reference, made, others))
            numbers.append(min(len(z), len(o)))
            found.append(self._measure(x, z[: numbers[-1]]))
            real.append(self._measure_real((labelled, classes), x, o[: numbers[-1]]))
        absent = [self._measure_real((True, (k,)), reference.of([k]), others.of([k])) for k in groups.absent]
        nothing = [one._replace(shares=dict.fromkeys(_SHARES, 0.0)) for one in absent]
        reals = _mean(real, absent)
        figures = {
            **_mean(found, nothing), **{f"{name}_real": reals[name] for name in (*_SHARES, "kid")},
            "n": float(sum(numbers)),
        }  # fmt: skip
        quality = from_record(figures)
        return figures | ({"absurd": float(quality.is_absurd)} if quality is not None else {})

    def _measure_real(self, classes: tuple[bool, tuple[int, ...]], x: Any, other: Any) -> _Measured:
        """What real images reach, measured once for each number of them."""
        key = *classes, len(other)
        if key not in self._real:
            self._real[key] = self._measure(x, other)
        return self._real[key]

    def _measure(self, x: Any, z: Any) -> _Measured:
        """The figures of images z against the reference x."""
        sides = [np.ones((1, len(side))) for side in (x, z)]
        drawn = [
            np.concatenate([one, *bootstrap_weights(np.arange(one.size), _RESAMPLES, seed=i)])
            for i, one in enumerate(sides)
        ]
        # KID's kernel is not shifted with its images.
        kids = mmd2_replicates(x + self._centre, z + self._centre, *drawn)
        found = neighbourhood_replicates(x, z, *sides)
        return _Measured(len(x), {name: float(found[name][0]) for name in _SHARES}, kids)


def _mean(present: Sequence[_Measured], absent: Sequence[_Measured]) -> dict[str, float]:
    """Means weighted by numbers of real images; classes not made have no precision and no KID."""
    weights = [one.weight for one in present]
    kid = np.average([one.kids for one in present], axis=0, weights=weights)
    half = 1.96 * float(np.std(kid[1:], ddof=1))
    means = {}
    for name in _SHARES:
        those = list(present) if name == "precision" else [*present, *absent]
        values, sizes = [one.shares[name] for one in those], [one.weight for one in those]
        means[name] = float(np.average(values, weights=sizes))
    return {**means, "kid": float(kid[0]), "kid_low": float(kid[0]) - half, "kid_high": float(kid[0]) + half}
