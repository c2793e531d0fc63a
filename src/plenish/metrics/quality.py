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
interval, is not shown to be above that of real images. Between them it is `usable`: worth a score and a
study, and told apart by eye. Where classes were asked for, all figures are means over the classes.

Real images of 32 px that are blurred by 0.7 pixels, have noise of 25 grey levels or exchanged classes lie
below two thirds, as do generators whose images show no structure; docs/generators.md has the measurements.
The shares are point estimates, on purpose: a generator is not given the benefit of the doubt that few images
leave.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError
from plenish.metrics.caveats import Caveat
from plenish.metrics.fidelity import enough_rows, mmd2_replicates, neighbourhood_replicates
from plenish.metrics.resampling import bootstrap_weights
from plenish.metrics.words import is_known, number, percent, with_interval
from plenish.runs import Run

Level = Literal["undertrained", "usable", "near"]
UNDERTRAINED, NEAR = 2 / 3, 0.8
"""Shares of what real images reach: less than the first in a figure, at least the second in all."""
LOGGED = "quality/"
"""What the names of the figures begin with in metrics.jsonl."""
ABSURD_KID = 10.0
"""More than the kernel of a real image with itself, which is 8, as domain features have a mean variance of 1:
some images lie far outside of everything real."""
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
        n: images on each side, of all classes.
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
        return "near" if self.reached >= NEAR and self.kid_low <= max(self.kid_real, 0.0) else "usable"

    @property
    def is_absurd(self) -> bool:
        """Whether there is no image near any real one, or some are far outside of everything real."""
        return self.coverage == 0 or self.kid_low > ABSURD_KID

    def caveats(self, of: Literal["copies", "study"]) -> list[Caveat]:
        """What an undertrained generator means for a result: the one caveat, or none."""
        if self.level != "undertrained":
            return []
        return [Caveat("undertrained", {"of": of, **{name: self.of_real(name) for name in _SHARES}})]

    def record(self) -> dict[str, Any]:
        """Level and figures, JSON-able."""
        return {"level": self.level, **dataclasses.asdict(self)}

    def __str__(self) -> str:
        """The figures in one sentence."""
        when = "" if self.kimg is None else f" at {self.kimg:g} kimg"
        like, others, variety, theirs = (
            percent(getattr(self, name), ".0f")
            for name in ("precision", "precision_real", "recall", "recall_real")
        )
        kid = with_interval(self.kid, self.kid_low, self.kid_high)
        return (
            f"{like} of the images look like real ones (of other real images, {others} do), and {variety} of "
            f"the real variety is reached ({theirs}). KID {kid} against {number(self.kid_real)}; measured on "
            f"{self.n:,.0f} images{when}."
        )


def from_record(figures: Mapping[str, Any] | None, kimg: float | None = None) -> Quality | None:
    """Quality from figures by name; None where one is missing, or real images reach nothing themselves."""
    names = [field.name for field in dataclasses.fields(Quality) if field.name != "kimg"]
    if figures is None or not all(is_known(figures.get(name)) for name in names):
        return None
    if min(figures[f"{name}_real"] for name in _SHARES) <= 0:
        return None
    return Quality(**{name: figures[name] for name in names}, kimg=figures.get("kimg", kimg))


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


class QualityScorer:
    """Measures the figures of images against one half of the train part, and of the other half once."""

    def __init__(self, features: NDArray[np.float32], y: NDArray[np.float32] | None, seed: int = 0) -> None:
        """Halve the train part by chance.

        Args:
            features: N×D, of the training images.
            y: their classes, N×K one-hot, where there are any.
            seed: decides the halves.
        """
        drawn = np.random.default_rng([seed, 0x4A1F]).permutation(len(features))
        half = min(len(drawn) // 2, _MOST)
        self._centre = features.mean(0, dtype=np.float64)  # Distances keep their value, and lose rounding.
        self._reference, self._others = (
            (features[rows] - self._centre, None if y is None else y[rows])
            for rows in (drawn[:half], drawn[half : 2 * half])
        )
        self._real: dict[tuple[int, bool], dict[str, float]] = {}

    def __call__(self, features: NDArray[np.float32], y: NDArray[np.float32] | None) -> dict[str, float]:
        """The figures of `Quality` by name, and `absurd` as 1 or 0; empty where there are too few images.

        Args:
            features: M×D; no more are used than there are in half of train.
            y: the classes that the images were made for, M×K one-hot, or None.
        """
        n = min(len(features), len(self._reference[0]))
        classes = None if self._reference[1] is None or y is None else y[:n]
        found = self._measure(features[:n] - self._centre, classes)
        key = n, classes is None
        if found and key not in self._real:
            self._real[key] = self._measure(*(None if x is None else x[:n] for x in self._others))
        real = self._real.get(key)
        if not found or not real:
            return {}
        figures = {**found, **{f"{name}_real": real[name] for name in (*_SHARES, "kid")}, "n": float(n)}
        quality = from_record(figures)
        return figures | ({"absurd": float(quality.is_absurd)} if quality is not None else {})

    def _measure(self, made: Any, classes: NDArray[np.float32] | None) -> dict[str, float]:
        """Means over the classes, weighted by their shares of the reference."""
        weights, kids, shares = [], [], []
        for x, z in self._scopes(made, classes):
            sides = [np.ones((1, len(side))) for side in (x, z)]
            drawn = [
                np.concatenate([one, *bootstrap_weights(np.arange(one.size), _RESAMPLES, seed=i)])
                for i, one in enumerate(sides)
            ]
            # KID's kernel is not shifted with its images.
            kids.append(mmd2_replicates(x + self._centre, z + self._centre, *drawn))
            found = neighbourhood_replicates(x, z, *sides)
            shares.append([found[name][0] for name in _SHARES])
            weights.append(len(x))
        if not weights:
            return {}
        kid = np.average(kids, axis=0, weights=weights)
        half = 1.96 * float(np.std(kid[1:], ddof=1))
        means = np.average(shares, axis=0, weights=weights)
        return {
            **dict(zip(_SHARES, map(float, means))), "kid": float(kid[0]), "kid_low": float(kid[0]) - half,
            "kid_high": float(kid[0]) + half,
        }  # fmt: skip

    def _scopes(self, made: Any, classes: NDArray[np.float32] | None) -> Iterator[tuple[Any, Any]]:
        """Reference and images of each class that has enough of both; or all of them."""
        reference, labels = self._reference
        if labels is None or classes is None:
            pairs = [(reference, made)]
        else:
            pairs = [(reference[x], made[z]) for x, z in zip(labels.T > 0, classes.T > 0, strict=True)]
        yield from (pair for pair in pairs if enough_rows(*map(len, pair)))
