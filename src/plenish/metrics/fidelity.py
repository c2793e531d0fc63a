"""How close synthetic images are to real ones, and how much of their variety they show, on feature arrays.

Fréchet distance (Dowson & Landau 1982; Heusel et al., NeurIPS 2017), KID (Bińkowski et al., ICLR 2018),
precision and recall (Kynkäänniemi et al., NeurIPS 2019), density and coverage (Naeem et al., ICML 2020).

Intervals are value ± z × bootstrap standard error. Real rows are resampled by group, synthetic rows one by
one. A percentile interval would be wrong here: drawing with replacement itself raises a Fréchet distance
and thins out a neighbourhood, so the replicates lie to one side of the value. The Fréchet distance is
biased upwards in small samples; compare it with the real-against-real baseline, not with zero.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
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
from plenish.metrics.resampling import Ints, bootstrap_weights, unit_codes

Better = Literal["lower", "higher"]
NEIGHBOURS_PRECISION = 3  # Kynkäänniemi et al.
NEIGHBOURS_DENSITY = 5  # Naeem et al.
_MANY_DIMENSIONS = 256  # above, the bootstrap of the Fréchet distance is kept short
_FEW_RESAMPLES = 40
LEVEL = 0.95
"""Confidence level of the intervals of a score."""


@dataclass(frozen=True)
class Score:
    """One number of a comparison; `low` and `high` are nan where the data give no interval."""

    name: str
    value: float
    low: float
    high: float
    n_real: int
    n_synthetic: int
    better: Better


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
    symmetric matrix, which are real also for singular covariances; rounding below zero is cut off.

    Args:
        mean1: D.
        cov1: D×D, symmetric.
        mean2: D.
        cov2: D×D, symmetric.
    """
    values, vectors = np.linalg.eigh(cov1)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    inner = root @ cov2 @ root
    eigen = np.linalg.eigvalsh((inner + inner.T) / 2)
    cross = np.sqrt(np.maximum(eigen, 0.0)).sum()
    gap = mean1 - mean2
    return float(max(0.0, gap @ gap + np.trace(cov1) + np.trace(cov2) - 2.0 * cross))


def _moments(x: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Mean and unbiased covariance of weighted rows."""
    total = weights.sum()
    mean = weights @ x / total
    centred = x - mean
    return mean, (centred * weights[:, None]).T @ centred / (total - 1.0)


def frechet_replicates(x: Floats, y: Floats, wx: Floats, wy: Floats) -> Floats:
    """Fréchet distances of R weightings wx (R×n), wy (R×m) of the rows of x (n×D) and y (m×D).

    With fewer rows than dimensions the root's trace is taken as the nuclear norm of the n×m matrix of centred
    inner products, which costs min(n, m)³ in place of D³.
    """
    if min(len(x), len(y)) >= x.shape[1]:
        both = zip(wx, wy)
        return np.array([frechet_distance(*_moments(x, a), *_moments(y, b)) for a, b in both])
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


def mmd2_replicates(x: Floats, y: Floats, wx: Floats, wy: Floats) -> Floats:
    """Unbiased squared MMD with the KID kernel for R weightings; a row is never paired with itself."""
    xx = weighted_kernel_sums(x, x, wx, wx, without_diagonal=True)
    yy = weighted_kernel_sums(y, y, wy, wy, without_diagonal=True)
    xy = weighted_kernel_sums(x, y, wx, wy)
    pairs_x = wx.sum(1) ** 2 - (wx**2).sum(1)
    pairs_y = wy.sum(1) ** 2 - (wy**2).sum(1)
    return np.asarray(xx / pairs_x + yy / pairs_y - 2.0 * xy / (wx.sum(1) * wy.sum(1)))


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
    extractor: str = "domain",
    resamples: int = 200,
    seed: int = 0,
) -> list[Score]:
    """All scores of synthetic against real features, with intervals.

    Args:
        real: n×D reference features.
        synthetic: m×D.
        groups: group of each real row; they are resampled whole.
        extractor: name of the feature extractor, part of the scores' names.
        resamples: number of bootstrap resamples; 0 gives no intervals.
        seed: seed of the resamples.

    Returns:
        FD, KID, precision, recall, density, coverage, in this order. Bounds are nan without resamples or
        where the real rows form a single group.

    Raises:
        ValueError: if shapes differ or a side has no more than five rows (see :func:`enough_rows`).
    """
    from scipy.special import ndtri  # The report, which imports this module, answers --help without scipy.

    x, y = _pair(real, synthetic)
    if not enough_rows(len(x), len(y)):
        raise ValueError(f"{len(x)} real and {len(y)} synthetic rows are too few to be compared")
    centre = x.mean(0)  # distances keep their value and lose their rounding error
    codes = unit_codes(groups, len(x))
    wx = _with_ones(bootstrap_weights(codes, resamples, seed), len(x))
    wy = _with_ones(bootstrap_weights(np.arange(len(y)), resamples, seed + 1), len(y))
    short = slice(0, 1 + min(resamples, _FEW_RESAMPLES if x.shape[1] > _MANY_DIMENSIONS else resamples))
    found = neighbourhood_replicates(x - centre, y - centre, wx, wy)
    label = "FID(inception)" if extractor == "inception" else f"FD({extractor})"
    rows: dict[str, tuple[Floats, Better, float, float]] = {
        label: (frechet_replicates(x, y, wx[short], wy[short]), "lower", 0.0, np.inf),
        f"KID({extractor})": (mmd2_replicates(x, y, wx, wy), "lower", -np.inf, np.inf),
        "precision": (found["precision"], "higher", 0.0, 1.0),
        "recall": (found["recall"], "higher", 0.0, 1.0),
        "density": (found["density"], "higher", 0.0, np.inf),
        "coverage": (found["coverage"], "higher", 0.0, 1.0),
    }
    z = float(ndtri(0.5 + LEVEL / 2)) if codes.any() else math.nan  # one group does not vary
    return [
        Score(name, float(v[0]), *_bounds(v, z, floor, ceiling), len(x), len(y), better)
        for name, (v, better, floor, ceiling) in rows.items()
    ]


def _with_ones(weights: Iterable[Ints], n: int) -> Floats:
    """Weights of resamples, with those of the data themselves in row 0."""
    return np.concatenate([np.ones((1, n)), *weights])


def _bounds(values: Floats, z: float, floor: float, ceiling: float) -> tuple[float, float]:
    """The value in row 0 ± z × standard error, within what is possible; nan where there is none."""
    replicates = values[1:][np.isfinite(values[1:])]
    if replicates.size < 2:
        return math.nan, math.nan
    width = z * float(np.std(replicates, ddof=1))
    return float(np.maximum(floor, values[0] - width)), float(np.minimum(ceiling, values[0] + width))
