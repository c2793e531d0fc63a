"""Monge Inception Distance (Berthet et al., arXiv:2605.06797, 2026): a sliced 2-Wasserstein distance.

MIND = 3 D × the mean over random unit directions of the squared 2-Wasserstein distance of the projections,
which sorting gives. With Inception features it is called MIND; here any features do, and the name says which.
Where the sides differ in number, the exact distance of the two empirical distributions is taken.
"""

from __future__ import annotations

import numpy as np

from plenish.metrics.kernels import Floats

DIRECTIONS = 1000
"""As in the paper."""
_SEED = 0x31D
_FEW_DIRECTIONS, _LEVELS = 48, 256
"""Directions, and quantiles of each, of a replicate, whose spread alone is used."""
_AT_ONCE = 4_000_000
_SCALE = 3.0


def directions(dim: int, number: int = DIRECTIONS) -> Floats:
    """Random unit vectors, number×D, the same at every call."""
    drawn = np.random.default_rng([_SEED, dim]).standard_normal((number, dim))
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def sliced_distance(x: Floats, y: Floats) -> float:
    """MIND of rows x (n×D) and y (m×D)."""
    n, m, dim = len(x), len(y), x.shape[1]
    ends = np.union1d(np.arange(1, n + 1) / n, np.arange(1, m + 1) / m) if n != m else np.arange(1, n + 1) / n
    widths = np.diff(ends, prepend=0.0)
    middles = ends - widths / 2
    of_x, of_y = (np.minimum((middles * k).astype(np.int64), k - 1) for k in (n, m))
    units = directions(dim)
    total, step = 0.0, max(1, _AT_ONCE // max(n, m))
    for start in range(0, len(units), step):
        some = units[start : start + step]
        a, b = (np.sort(some @ rows.T, axis=1) for rows in (x, y))
        total += float((((a[:, of_x] - b[:, of_y]) ** 2) @ widths).sum())
    return float(_SCALE * dim * total / len(units))


def sliced_replicates(x: Floats, y: Floats, wx: Floats, wy: Floats) -> Floats:
    """MIND of R weightings wx (R×n) and wy (R×m), from fewer directions and quantiles.

    Their spread is that of MIND; their level is not.
    """
    units = directions(x.shape[1], _FEW_DIRECTIONS)
    sums = np.zeros(len(wx))
    for unit in units:
        a, b = (_quantiles(rows @ unit, weights) for rows, weights in ((x, wx), (y, wy)))
        sums += ((a - b) ** 2).mean(1)
    return np.asarray(_SCALE * x.shape[1] * sums / len(units))


def _quantiles(values: Floats, weights: Floats) -> Floats:
    """Quantiles R×levels of N values under R weightings."""
    order = np.argsort(values)
    ordered = values[order]
    levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
    out = np.empty((len(weights), _LEVELS))
    for r, one in enumerate(weights):
        mass = np.cumsum(one[order])
        out[r] = ordered[np.searchsorted(mass, levels * mass[-1])]
    return out
