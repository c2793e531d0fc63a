"""How close synthetic images are to real ones, and how much of their variety they show, on feature arrays.

Fréchet distance (Dowson & Landau 1982; Heusel et al., NeurIPS 2017), KID (Bińkowski et al., ICLR 2018), MIND
(Berthet et al., arXiv:2605.06797, 2026), precision and recall (Kynkäänniemi et al., NeurIPS 2019), density
and coverage (Naeem et al., ICML 2020).

Intervals are value ± t × bootstrap standard error, with degrees of freedom that count units and replicates
(:func:`plenish.metrics.resampling.student`). Rows with groups are resampled by group, others one by
one. A percentile interval would be wrong here: drawing with replacement itself raises a Fréchet distance
and thins out a neighbourhood, so the replicates lie to one side of the value.

Fréchet distance and MIND are biased upwards in small samples. Their intervals cover the value that other
samples of these sizes have on average, not the distance of the populations, which is smaller. So are
precision, recall, density and coverage values at these sizes. KID is unbiased: pairs of the same group are
left out. What tells synthetic images from real ones is the *excess* over a baseline of other real images of
the same number, on the same resampled groups, in which these biases cancel.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plenish.metrics.kernels import (
    Floats,
    neighbour_radii,
    row_pieces,
    squared_distances,
    weighted_kernel_sums,
)
from plenish.metrics.resampling import Ints, all_weights, student, unit_codes
from plenish.metrics.sliced import sliced_distance, sliced_replicates

Better = Literal["lower", "higher"]
NEIGHBOURS_PRECISION = 3  # Kynkäänniemi et al.
NEIGHBOURS_DENSITY = 5  # Naeem et al.
_MANY_DIMENSIONS = 256  # above, the bootstrap of the Fréchet distance is kept short
_FEW_RESAMPLES = 40
_HEAVY, _FEWEST_RESAMPLES = 2e10, 10  # Products of one covariance from which it is kept shorter still.
_MANY_UNITS = 1_000_000  # so many that their number widens no interval
LEVEL = 0.95
"""Confidence level of the intervals of a score."""


@dataclass(frozen=True)
class Excess:
    """What a score is above that of the baseline, on the same real rows; bounds may be nan."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """One number of a comparison; `low` and `high` are nan where the data give no interval.

    Attributes:
        name: of the score, with that of the extractor.
        value: of the synthetic rows.
        low: lower bound.
        high: upper bound.
        n_real: reference rows.
        n_synthetic: synthetic rows.
        better: which direction is.
        baseline: the score of the baseline's rows; None without them.
        excess: value − baseline, with an interval of this difference; None without a baseline.
    """

    name: str
    value: float
    low: float
    high: float
    n_real: int
    n_synthetic: int
    better: Better
    baseline: float | None = None
    excess: Excess | None = None


def _pair(real: ArrayLike, synthetic: ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(real, dtype=np.float64), np.asarray(synthetic, dtype=np.float64)
    if x.ndim != 2 or x.shape[1:] != y.shape[1:]:
        raise ValueError(f"features must be N×D with the same dimensions D, got {x.shape} and {y.shape}")
    for name, values in (("real", x), ("synthetic", y)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} features hold values that are not finite")
    return x, y


def frechet_distance(mean1: Floats, cov1: Floats, mean2: Floats, cov2: Floats) -> float:
    """Squared Fréchet (2-Wasserstein) distance between two Gaussians.

    |m₁−m₂|² + tr(C₁ + C₂ − 2 (C₁^½ C₂ C₁^½)^½). The trace of the root comes from the eigenvalues of a
    symmetric matrix with those of C₁C₂, which are real also for singular covariances; rounding below zero is
    cut off.

    Args:
        mean1: D.
        cov1: D×D, symmetric.
        mean2: D.
        cov2: D×D, symmetric.
    """
    try:
        root = np.linalg.cholesky(cov1)  # Any root does; this one takes a tenth of the time.
    except np.linalg.LinAlgError:  # A singular covariance.
        values, vectors = np.linalg.eigh(cov1)
        root = vectors * np.sqrt(np.maximum(values, 0.0))
    inner = root.T @ cov2 @ root
    eigen = np.linalg.eigvalsh((inner + inner.T) / 2)
    cross = np.sqrt(np.maximum(eigen, 0.0)).sum()
    gap = mean1 - mean2
    return float(max(0.0, gap @ gap + np.trace(cov1) + np.trace(cov2) - 2.0 * cross))


def moments(x: NDArray[np.floating], weights: Floats | None = None) -> tuple[Floats, Floats]:
    """Mean D and unbiased covariance D×D of rows, in float64 from products in the precision of the rows.

    Args:
        x: n×D, float32 or float64.
        weights: how often each row counts; once by default.
    """
    weights = np.ones(len(x)) if weights is None else weights
    pieces = list(row_pieces(len(x), x.shape[1]))
    total = float(weights.sum())
    mean = np.sum([weights[rows] @ x[rows] for rows in pieces], axis=0) / total
    products = np.zeros((x.shape[1], x.shape[1]))
    for rows in pieces:
        centred = x[rows] - mean.astype(x.dtype)
        if (weights[rows] != 1.0).any():
            centred *= np.sqrt(weights[rows], dtype=x.dtype)[:, None]
        products += centred.T @ centred  # One array on both sides: half the work for BLAS.
    return mean, products / (total - 1.0)


def frechet_replicates(x: Floats, y: Floats, wx: Floats, wy: Floats) -> Floats:
    """Fréchet distances of R weightings wx (R×n), wy (R×m) of the rows of x (n×D) and y (m×D).

    With fewer rows than dimensions the root's trace is taken as the nuclear norm of the n×m matrix of centred
    inner products, which costs min(n, m)³ in place of D³.
    """
    if min(len(x), len(y)) >= x.shape[1]:
        both = zip(wx, wy)
        return np.array([frechet_distance(*moments(x, a), *moments(y, b)) for a, b in both])
    if len(x) > len(y):
        x, y, wx, wy = y, x, wy, wx
    out = np.empty(len(wx))
    for r, (a, b) in enumerate(zip(wx, wy)):
        p, q = x - a @ x / a.sum(), y - b @ y / b.sum()
        p *= np.sqrt(a / (a.sum() - 1.0))[:, None]
        q *= np.sqrt(b / (b.sum() - 1.0))[:, None]
        inner = p @ q.T
        eigen = np.linalg.eigvalsh(inner @ inner.T)
        gap = a @ x / a.sum() - b @ y / b.sum()
        out[r] = gap @ gap + (p * p).sum() + (q * q).sum() - 2.0 * np.sqrt(np.maximum(eigen, 0.0)).sum()
    return np.maximum(out, 0.0)


def mmd2_replicates(
    x: Floats, y: Floats, wx: Floats, wy: Floats, *, codes: tuple[Ints, Ints] | None = None
) -> Floats:
    """Unbiased squared MMD with the KID kernel for R weightings.

    A row is never paired with itself, nor with another of its unit: rows of one patient are more alike than
    those of two, so that pairs of them would raise the value of equal distributions above zero.

    Args:
        x: n×D.
        y: m×D.
        wx: R×n weights of the rows of x.
        wy: R×m weights of the rows of y.
        codes: numbers of the units of both, n and m, numbered together; None if every row is one.

    Returns:
        R values; nan where there is no pair.
    """
    first, second = codes or (np.arange(len(x)), len(x) + np.arange(len(y)))
    xx = weighted_kernel_sums(x, x, wx, wx, codes=(first, first))
    yy = weighted_kernel_sums(y, y, wy, wy, codes=(second, second))
    shared = np.isin(first, second).any()
    xy = weighted_kernel_sums(x, y, wx, wy, codes=(first, second) if shared else None)
    units = int(max(first.max(), second.max())) + 1
    totals = [_unit_sums(w, codes, units) for w, codes in ((wx, first), (wy, second))]
    pairs = [_pairs(a, b) for a, b in ((totals[0],) * 2, (totals[1],) * 2, (totals[0], totals[1]))]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(xx / pairs[0] + yy / pairs[1] - 2.0 * xy / pairs[2])


def _unit_sums(weights: Floats, codes: Ints, units: int) -> Floats:
    """Sums of weights R×n over the rows of each unit, R×units."""
    sums = np.zeros((units, len(weights)))
    np.add.at(sums, codes, weights.T)
    return sums.T


def _pairs(a: Floats, b: Floats) -> Floats:
    """Weight of the pairs of different units, R."""
    return np.asarray(a.sum(1) * b.sum(1) - (a * b).sum(1))


def kid(real: ArrayLike, synthetic: ArrayLike) -> float:
    """KID from all rows: the unbiased squared MMD, zero on average for equal distributions."""
    x, y = _pair(real, synthetic)
    return float(mmd2_replicates(x, y, np.ones((1, len(x))), np.ones((1, len(y))))[0])


def neighbourhood_replicates(x: Floats, y: Floats, wx: Floats, wy: Floats) -> dict[str, Floats]:
    """The four neighbourhood scores for R weightings of real rows x (n×D) and synthetic rows y (m×D).

    Balls reach to the k-th neighbour within their own whole set; a weighting decides which balls stand and
    which points are counted. Precision: share of synthetic points in a real ball. Recall: share of real
    points in a synthetic ball. Density: real balls round a synthetic point, over k. Coverage: share of real
    points whose own ball holds a synthetic point.
    """
    radius_p, radius_d = neighbour_radii(x, (NEIGHBOURS_PRECISION, NEIGHBOURS_DENSITY))
    (radius_r,) = neighbour_radii(y, (NEIGHBOURS_PRECISION,))
    a, b = wx.astype(np.float32), wy.astype(np.float32)
    inside_real, balls = np.zeros(len(a)), np.zeros(len(a))
    seen_by = np.zeros((len(a), len(x)), dtype=np.float32)  # synthetic balls round a real point
    holds = np.zeros((len(a), len(x)), dtype=np.float32)  # synthetic points in a real point's own ball
    for rows in row_pieces(len(y), len(x)):
        d = squared_distances(y[rows], x)
        near = (d <= radius_p).astype(np.float32)
        inside_real += (((a @ near.T) > 0) * b[:, rows]).sum(1)
        near = (d <= radius_d).astype(np.float32)
        balls += ((a @ near.T) * b[:, rows]).sum(1)
        holds += b[:, rows] @ near
        seen_by += b[:, rows] @ (d <= radius_r[rows, None]).astype(np.float32)
    real, synthetic = wx.sum(1), wy.sum(1)
    return {
        "precision": inside_real / synthetic,
        "recall": ((seen_by > 0) * wx).sum(1) / real,
        "density": balls / (NEIGHBOURS_DENSITY * synthetic) * (len(x) / real),
        "coverage": ((holds > 0) * wx).sum(1) / real,
    }


def enough_rows(n_real: int, n_synthetic: int) -> bool:
    """Whether both sides have the rows that every score needs."""
    return min(n_real, n_synthetic) > NEIGHBOURS_DENSITY


def is_biased(n_real: int, n_synthetic: int, dim: int) -> bool:
    """Whether a side has fewer rows than features, so that bias hides most of a Fréchet distance."""
    return min(n_real, n_synthetic) < dim + 2


def compare(
    real: ArrayLike,
    synthetic: ArrayLike,
    *,
    groups: Sequence[Hashable | None] | NDArray[Any] | None = None,
    synthetic_groups: Sequence[Hashable | None] | NDArray[Any] | None = None,
    baseline: ArrayLike | None = None,
    baseline_groups: Sequence[Hashable | None] | NDArray[Any] | None = None,
    extractor: str = "domain",
    resamples: int = 200,
    seed: int = 0,
) -> list[Score]:
    """All scores of synthetic against real features, with intervals.

    Args:
        real: n×D reference features.
        synthetic: m×D.
        groups: group of each real row; they are resampled whole.
        synthetic_groups: of each synthetic row, where real images take their place.
        baseline: other real rows; best as many as there are synthetic ones. Their scores, and how far those
            of the synthetic rows lie above, are given too.
        baseline_groups: of each of these; None where they stand for what an ideal generator makes of them,
            as one trained on the same images would.
        extractor: name of the feature extractor, part of the scores' names.
        resamples: number of bootstrap resamples; 0 gives no intervals.
        seed: seed of the resamples.

    Returns:
        FD, KID, MIND, precision, recall, density, coverage, in this order. Bounds are nan without resamples
        or where the real rows form a single group.

    Raises:
        ValueError: if shapes differ or a side has no more than five rows (see :func:`enough_rows`).
    """
    x, y = _pair(real, synthetic)
    if not enough_rows(len(x), len(y)):
        raise ValueError(f"{len(x)} real and {len(y)} synthetic rows are too few to be compared")
    reference = _Side.of(x, groups, resamples, seed)
    made = _Side.of(y, synthetic_groups, resamples, seed + 1)
    found = _replicates(reference, made, extractor)
    units = reference.units if made.units > 1 else 1  # One group does not vary.
    floor: Mapping[str, _Replicates] = {}
    excesses: Mapping[str, Excess] = {}
    if baseline is not None:
        other = _Side.of(_pair(real, baseline)[1], baseline_groups, resamples, seed + 2)
        floor = _replicates(reference, other, extractor)
        excesses = _excesses(found, floor, min(units, other.units))
    return [
        Score(
            name, float(values.values[0]), *_bounds(values.values, units, values.least, values.most),
            len(x), len(y), values.better, float(floor[name].values[0]) if floor else None,
            excesses.get(name),
        )
        for name, values in found.items()
    ]  # fmt: skip


def _excesses(
    found: Mapping[str, _Replicates], floor: Mapping[str, _Replicates], units: int
) -> dict[str, Excess]:
    """Differences of scores from those of the baseline, under the same weightings of the real rows.

    Which groups are in test moves both scores alike, so that few of them do not widen the interval as they do
    that of a score, which would hide true differences; few replicates do. Without a shift the interval told
    of one in 0 to 1.5 % of 200 simulations for each score, at 6 and 12 groups of test and 30 of train.
    """
    many = _MANY_UNITS if units > 1 else units
    gaps = {name: values.values - floor[name].values for name, values in found.items()}
    return {name: Excess(float(gap[0]), *_bounds(gap, many, -np.inf, np.inf)) for name, gap in gaps.items()}


@dataclass(frozen=True)
class _Side:
    """Rows n×D with their numbers of units and R+1 weightings, of which the first is that of the rows."""

    rows: Floats
    codes: Ints
    weights: Floats

    @classmethod
    def of(cls, rows: Floats, groups: Any, resamples: int, seed: int) -> _Side:
        codes = unit_codes(groups, len(rows))
        return cls(rows, codes, all_weights(codes, resamples, seed))

    @property
    def units(self) -> int:
        return int(self.codes.max()) + 1


@dataclass(frozen=True)
class _Replicates:
    """R+1 values of a score, the first that of the rows themselves, and what is possible."""

    values: Floats
    better: Better
    least: float
    most: float


def _replicates(real: _Side, other: _Side, extractor: str) -> dict[str, _Replicates]:
    """Every score under every pair of weightings."""
    x, y, wx, wy = real.rows, other.rows, real.weights, other.weights
    centre = x.mean(0)  # distances keep their value and lose their rounding error
    found = neighbourhood_replicates(x - centre, y - centre, wx, wy)
    most = _FEW_RESAMPLES if x.shape[1] > _MANY_DIMENSIONS else len(wx)
    if max(len(x), len(y)) * x.shape[1] ** 2 > _HEAVY:
        most = _FEWEST_RESAMPLES
    short = slice(0, 1 + most)
    codes = real.codes, real.units + other.codes
    if min(real.units, other.units) == 1:  # No pair of two groups: pairs of two rows are better than none.
        codes = np.arange(len(x)), len(x) + np.arange(len(y))
    mind = np.concatenate([[sliced_distance(x, y)], sliced_replicates(x, y, wx[1:], wy[1:])])
    label = "FID(inception)" if extractor == "inception" else f"FD({extractor})"
    return {
        label: _Replicates(frechet_replicates(x, y, wx[short], wy[short]), "lower", 0.0, np.inf),
        f"KID({extractor})": _Replicates(
            mmd2_replicates(x, y, wx, wy, codes=codes), "lower", -np.inf, np.inf
        ),
        f"MIND({extractor})": _Replicates(mind, "lower", 0.0, np.inf),
        "precision": _Replicates(found["precision"], "higher", 0.0, 1.0),
        "recall": _Replicates(found["recall"], "higher", 0.0, 1.0),
        "density": _Replicates(found["density"], "higher", 0.0, np.inf),
        "coverage": _Replicates(found["coverage"], "higher", 0.0, 1.0),
    }


def _bounds(values: Floats, units: int, floor: float, ceiling: float) -> tuple[float, float]:
    """The value in row 0 ± t × standard error, within what is possible; nan where there is none."""
    replicates = values[1:][np.isfinite(values[1:])]
    if replicates.size < 2 or units < 2:
        return math.nan, math.nan
    width = student(units, replicates.size, LEVEL) * float(np.std(replicates, ddof=1))
    return float(np.maximum(floor, values[0] - width)), float(np.minimum(ceiling, values[0] + width))
