"""Exact pairwise distances and kernel sums in pieces: memory grows with N and M, never with N×M.

Everything works on feature arrays N×D and in float64 unless said otherwise; results do not depend on the
size of the pieces (beyond the last bits of a matrix product).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PAIRS_AT_ONCE = 4_000_000  # 32 MB of float64


def row_pieces(n: int, columns: int) -> Iterator[slice]:
    """Slices of 0…n so that a piece times `columns` stays within the memory bound."""
    step = max(1, PAIRS_AT_ONCE // max(1, columns))
    for start in range(0, n, step):
        yield slice(start, min(n, start + step))


def squared_distances(x: Floats, y: Floats) -> Floats:
    """Squared Euclidean distances n×m between the rows of x (n×D) and y (m×D), never negative."""
    d = (x * x).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2.0 * (x @ y.T)
    return np.asarray(np.maximum(d, 0.0, out=d))


def neighbour_radii(x: Floats, ks: tuple[int, ...]) -> list[Floats]:
    """Squared distance of each row of x to its k-th nearest other row, one array N for each k.

    Args:
        x: N×D, N > max(ks).
        ks: numbers of neighbours, each at least 1.
    """
    n, places = len(x), [k - 1 for k in ks]
    radii = np.empty((len(ks), n))
    for rows in row_pieces(n, n):
        d = squared_distances(x[rows], x)
        d[np.arange(len(d)), np.arange(rows.start, rows.stop)] = np.inf  # a row is no neighbour of itself
        radii[:, rows] = np.partition(d, places, axis=1)[:, places].T
    return list(radii)


def weighted_kernel_sums(
    x: Floats, y: Floats, wx: Floats, wy: Floats, *, codes: tuple[Ints, Ints] | None = None
) -> Floats:
    """Σᵢⱼ wx[r,i] k(xᵢ, yⱼ) wy[r,j] for each of R weightings.

    k(x, y) = (x·y / D + 1)³ is the kernel of KID (Bińkowski et al., ICLR 2018).

    Args:
        x: n×D.
        y: m×D.
        wx: R×n weights of the rows of x.
        wy: R×m weights of the rows of y.
        codes: n and m numbers of units; pairs of the same unit are left out.

    Returns:
        R sums.
    """
    sums = np.zeros(len(wx))
    for rows in row_pieces(len(x), len(y)):
        k = x[rows] @ y.T
        k /= x.shape[1]
        k += 1.0
        k = k * k * k
        if codes is not None:
            k[codes[0][rows, None] == codes[1]] = 0.0
        sums += ((wx[:, rows] @ k) * wy).sum(1)
    return sums
