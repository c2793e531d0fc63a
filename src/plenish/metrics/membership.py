"""Four measures of how near synthetic images lie to the training images, beside the search for copies.

They average over all images, so they see a generator that keeps close to its training images as a whole;
ten copies in a thousand images are for :mod:`plenish.metrics.copies`. Each is told beside what is expected
without copying, with an interval that resamples groups.

Authenticity: Alaa et al., "How Faithful is your Synthetic Data?", ICML 2022. C_T: Meehan et al., "A
Non-Parametric Test to Detect Data-Copying in Generative Models", AISTATS 2020. Membership inference by
the distance to the nearest synthetic image: Chen et al., "GAN-Leaks", CCS 2020.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.cluster.vq import kmeans2
from scipy.stats import rankdata

from plenish.metrics.kernels import Floats, row_pieces, squared_distances
from plenish.metrics.resampling import Ints, bootstrap_weights, student, unit_codes
from plenish.metrics.statistics import Interval, wilson_interval
from plenish.training.roc import auroc_binary

Groups = Sequence[Hashable | None] | NDArray[Any] | None
MOST = 5_000
"""Synthetic images that are measured, and training images whose membership is guessed, at most."""
_CELL_LEAST = 20  # synthetic and held-out images of a cell of C_T, as in Meehan et al.
_MOST_CELLS = 10
_AT_ONCE = 50  # resamples


class Nearest(NamedTuple):
    """Nearest row of a reference: its position and distance, n each."""

    where: NDArray[np.int64]
    distance: Floats


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        name: what it is called in result files.
        value: the measure.
        low: lower bound of its interval; nan where there are fewer than two groups.
        high: upper bound.
        expected: its value where nothing is copied: what held-out images have in place of the synthetic ones.
        closer: whether a `lower` or a `higher` value means closer to the training images.
        cells: cells that C_T is averaged over.
    """

    name: str
    value: float
    low: float
    high: float
    expected: float
    closer: Literal["lower", "higher"]
    cells: int | None = None


def nearest(x: ArrayLike, reference: ArrayLike, *, skip_self: bool = False) -> Nearest:
    """Nearest row of `reference` (N×D) of each row of x (n×D).

    Args:
        x: the rows.
        reference: where to look.
        skip_self: x and reference are the same rows, and none is its own neighbour.
    """
    a, b = (np.asarray(rows) for rows in (x, reference))
    centre = b.mean(axis=0)
    a, b = a - centre, b - centre
    where, distance = np.empty(len(a), np.int64), np.empty(len(a))
    for rows in row_pieces(len(a), len(b)):
        d = squared_distances(a[rows], b)
        if skip_self:
            d[np.arange(len(d)), np.arange(rows.start, rows.stop)] = np.inf
        where[rows] = d.argmin(axis=1)
        # Again without the rounding of a difference of large numbers, so that equal rows have distance 0.
        gap = a[rows] - b[where[rows]]
        distance[rows] = np.sqrt((gap * gap).sum(axis=1))
    return Nearest(where, distance)


def authenticity(found: Nearest, spacing: Floats) -> NDArray[np.bool_]:
    """Which images are authentic: farther from their nearest training image than that is from its own.

    Args:
        found: nearest training image of each of n images.
        spacing: N distances of each training image to its nearest other one.

    Returns:
        n truth values; the authenticity of a generator is their mean.
    """
    return np.asarray(found.distance > spacing[found.where])


def mann_whitney_z(x: Floats, y: Floats) -> float:
    """Mann-Whitney statistic as a normal deviate: below 0 where x tends to be smaller than y.

    Without a correction for ties in the variance; tied pairs count as half.
    """
    n, m = len(x), len(y)
    u = rankdata(np.concatenate([x, y]))[:n].sum() - n * (n + 1) / 2
    return float((u - n * m / 2) / np.sqrt(n * m * (n + m + 1) / 12))


def cells_of(train: ArrayLike, cells: int, seed: int, *others: ArrayLike) -> list[NDArray[np.int64]]:
    """Cells of each of `others` (n×D): k-means of `train` (N×D), and the nearest of its centres."""
    centres, _ = kmeans2(
        np.asarray(train, dtype=np.float64),
        cells,
        iter=20,
        minit="++",
        rng=np.random.default_rng([seed, 0xCE11]),
    )
    return [nearest(other, centres).where for other in others]


def c_t(synthetic: Floats, held: Floats, synthetic_cells: Ints, held_cells: Ints) -> tuple[float, int]:
    """C_T of Meehan et al.: the normal deviate of a three-sample test, averaged over cells.

    Args:
        synthetic: m distances to the nearest training image.
        held: n distances of held-out images.
        synthetic_cells: m numbers of cells.
        held_cells: n numbers of cells.

    Returns:
        The average of the cells' deviates, weighted by held-out images, and in how many cells there were at
        least twenty of both. Far below 0: copies. nan without such a cell.
    """
    used = _full_cells(synthetic_cells, held_cells)
    deviates = [mann_whitney_z(synthetic[q], held[p]) for q, p in used]
    weights = [int(p.sum()) for _, p in used]
    return (float(np.average(deviates, weights=weights)) if used else np.nan), len(used)


def _full_cells(synthetic_cells: Ints, held_cells: Ints) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """Which synthetic (m) and which held-out images (n) lie in each cell that has enough of both."""
    cells = [(synthetic_cells == cell, held_cells == cell) for cell in np.unique(held_cells)]
    return [(q, p) for q, p in cells if min(q.sum(), p.sum()) >= _CELL_LEAST]


def smaller_share(x: ArrayLike, y: ArrayLike, wx: Ints, wy: Ints) -> Floats:
    """Probability that an x is smaller than a y, ties counted half, under R row weights each: an AUROC.

    Args:
        x: n values.
        y: m values.
        wx: R×n weights.
        wy: R×m weights.

    Returns:
        R shares; nan where a weighting has no rows.
    """
    larger = np.repeat([False, True], [wx.shape[1], wy.shape[1]])
    values = np.concatenate([np.asarray(x, np.float64), np.asarray(y, np.float64)])
    return auroc_binary(larger, values, np.concatenate([wx, wy], axis=1))


def two_sample_interval(
    statistic: Callable[[Ints, Ints], Floats],
    x_groups: Ints,
    y_groups: Ints,
    *,
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> Interval:
    """A statistic of two sides with an interval that resamples the groups of each.

    Value ± t × bootstrap standard error, with the degrees of freedom of the side with fewer groups.

    Args:
        statistic: takes weights R×n and R×m and returns R values.
        x_groups: n numbers of groups from `resampling.unit_codes`.
        y_groups: m of the other side.
        level: confidence level.
        resamples: R.
        seed: seed of the draws.

    Returns:
        The interval; nan bounds where a side has fewer than two groups, or without resamples.
    """
    sides = (x_groups, y_groups)
    value = float(statistic(*(np.ones((1, len(codes)), np.int64) for codes in sides))[0])
    units = min(int(codes.max()) + 1 for codes in sides)
    if units < 2 or not resamples:
        return Interval(value, np.nan, np.nan)
    weights = [
        np.concatenate(list(bootstrap_weights(codes, resamples, seed + 7919 * side)))
        for side, codes in enumerate(sides)
    ]
    pieces = (slice(start, start + _AT_ONCE) for start in range(0, resamples, _AT_ONCE))
    found = np.concatenate([statistic(*(side[piece] for side in weights)) for piece in pieces])
    half = student(units, resamples, level) * float(np.nanstd(found, ddof=1))
    return Interval(value, float(value - half), float(value + half))


def _median(values: Floats, weights: Ints) -> Floats:
    """Lower medians of n values under R×n weights."""
    order = np.argsort(values, kind="stable")
    sums = np.cumsum(weights[:, order], axis=1)
    return np.asarray(values[order][(2 * sums >= sums[:, -1:]).argmax(axis=1)], np.float64)


@dataclass(frozen=True)
class _Sides:
    """Distances to the nearest training image, and what intervals need."""

    made: Floats
    held: Floats
    groups: Ints
    how: Mapping[str, Any]

    def interval(self, statistic: Callable[[Ints, Ints], Floats]) -> Interval:
        return two_sample_interval(statistic, np.arange(len(self.made)), self.groups, **self.how)

    def ratio(self) -> Interval:
        """Median distance of the synthetic images over that of the held-out ones."""

        def ratios(wx: Ints, wy: Ints) -> Floats:
            below = _median(self.held, wy)
            return np.where(below > 0, _median(self.made, wx) / np.where(below > 0, below, 1.0), np.nan)

        return self.interval(ratios)

    def c_t(self, made_cells: Ints, held_cells: Ints) -> tuple[Interval, int]:
        """C_T with the interval of its deviates, and the number of cells it rests on."""
        value, cells = c_t(self.made, self.held, made_cells, held_cells)
        if not cells:
            return Interval(value, np.nan, np.nan), 0
        used = _full_cells(made_cells, held_cells)

        def deviates(wx: Ints, wy: Ints) -> Floats:
            total = np.zeros(len(wx))
            for q, p in used:
                n, m = int(q.sum()), int(p.sum())
                share = smaller_share(self.made[q], self.held[p], wx[:, q], wy[:, p])
                total += m * (0.5 - share) * np.sqrt(12 * n * m / (n + m + 1))
            return np.asarray(total / sum(int(p.sum()) for _, p in used), np.float64)

        return self.interval(deviates), cells


def _against_held(
    made: NDArray[np.bool_], held: NDArray[np.bool_], groups: Ints, *, level: float, resamples: int, seed: int
) -> Measure:
    """Authenticity, with an interval that holds the expected value where nothing is copied.

    What is expected comes from few groups. The bounds are those of the difference from it, each of the root
    of the sum of two squared distances (Newcombe, Statistics in Medicine 17 (1998), 873-890): of the share of
    the images from its Wilson bound, and of the expected share from that of a bootstrap of groups.
    """
    share, usual = wilson_interval(int(made.sum()), len(made), level), float(held.mean())
    units = int(groups.max()) + 1
    if units < 2 or not resamples:
        return Measure("authenticity", share.value, np.nan, np.nan, usual, "lower")
    weights = np.concatenate(list(bootstrap_weights(groups, resamples, seed)))
    half = student(units, resamples, level) * float(np.std((weights @ held) / weights.sum(1), ddof=1))
    low = max(0.0, share.value - math.hypot(share.value - share.low, half))
    high = min(1.0, share.value + math.hypot(share.high - share.value, half))
    return Measure("authenticity", share.value, low, high, usual, "lower")


def measures(
    synthetic: ArrayLike,
    held: ArrayLike,
    train: ArrayLike,
    held_groups: Groups = None,
    train_groups: Groups = None,
    *,
    only_distances: bool = False,
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> list[Measure]:
    """The measures, in one space of vectors.

    Args:
        synthetic: m×D, rows that are independent of each other.
        held: n×D of real images that no generator saw.
        train: N×D, at least two rows.
        held_groups: n groups of the held-out images.
        train_groups: N groups of the training images.
        only_distances: leave out authenticity and C_T.
        level: confidence level of the intervals.
        resamples: bootstrap resamples; 0 for no intervals where they need them.
        seed: seed of resamples, cells, and of the draw among very many images.
    """
    rng = np.random.default_rng([seed, 0x3E3])
    made, real, known = (np.asarray(rows, dtype=np.float32) for rows in (synthetic, held, train))
    drawn = [np.sort(rng.permutation(len(rows))[:MOST]) for rows in (made, known)]
    to_train, held_to_train = nearest(made[drawn[0]], known), nearest(real, known)
    how: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    sides = _Sides(to_train.distance, held_to_train.distance, unit_codes(held_groups, len(real)), how)
    found = [Measure("nearest-neighbour ratio", *sides.ratio(), 1.0, "lower")]
    members, others = (nearest(x, made).distance for x in (known[drawn[1]], real))
    codes = unit_codes(train_groups, len(known))[drawn[1]]
    auroc = two_sample_interval(
        functools.partial(smaller_share, members, others), np.unique(codes, return_inverse=True)[1],
        sides.groups, **how,
    )  # fmt: skip
    bounded = Interval(*np.clip(auroc, 0.0, 1.0).tolist())
    found.append(Measure("membership AUROC", *bounded, 0.5, "higher"))
    if only_distances:
        return found
    spacing = nearest(known, known, skip_self=True).distance
    authentic = _against_held(
        authenticity(to_train, spacing), authenticity(held_to_train, spacing), sides.groups, **how
    )
    count = max(1, min(_MOST_CELLS, len(real) // (3 * _CELL_LEAST)))
    deviates, cells = sides.c_t(*cells_of(known, count, seed, made[drawn[0]], real))
    if not cells:
        deviates, cells = sides.c_t(*(np.zeros(len(x), np.int64) for x in (drawn[0], real)))
    return [authentic, Measure("C_T", *deviates, 0.0, "lower", cells), *found]
