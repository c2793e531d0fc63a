"""Looking at encodings: principal components, UMAP, their correlation with columns, nearest neighbours.

Everything here is numbers in, numbers out; the verbs are in `latent.latents`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_AT_ONCE = 512


@dataclasses.dataclass(frozen=True)
class Components:
    """Principal components (Pearson 1901) of encodings.

    Attributes:
        mean: F, what is subtracted.
        axes: D×F, orthonormal, the direction of the largest variance first.
        share: D, share of the whole variance along each.
    """

    mean: Floats
    axes: Floats
    share: Floats

    @classmethod
    def fit(cls, encodings: NDArray[Any], most: int) -> Components:
        """The first components of encodings N×F, at most `most`, the largest entry of each positive.

        Raises:
            InputError: fewer than three rows, or rows that are all the same.
        """
        x = np.asarray(encodings, np.float64)
        if len(x) < 3:
            raise InputError(f"{len(x)} encodings have no components; give at least three images.")
        mean = x.mean(axis=0)
        x = x - mean
        total = float(np.square(x).sum())
        if not total:
            raise InputError("All encodings are the same; train the autoencoder that made them longer.")
        if x.shape[1] > len(x):  # Through the smaller of the two products.
            values, vectors = np.linalg.eigh(x @ x.T)
            axes = (vectors.T @ x)[::-1]
        else:
            values, vectors = np.linalg.eigh(x.T @ x)
            axes = vectors.T[::-1]
        values = values[::-1]
        kept = min(most, int((values > 1e-10 * values[0]).sum()))
        axes = axes[:kept] / np.linalg.norm(axes[:kept], axis=1, keepdims=True)
        largest = axes[np.arange(kept), np.abs(axes).argmax(axis=1)]
        return cls(mean, axes * np.sign(largest)[:, None], values[:kept] / total)

    def project(self, encodings: NDArray[Any]) -> Floats:
        """Places N×D of encodings N×F along the components."""
        return np.asarray((np.asarray(encodings, np.float64) - self.mean) @ self.axes.T)


def umap(encodings: NDArray[Any], fitted: Ints, seed: int) -> Floats:
    """Two coordinates N×2 by UMAP (McInnes et al. 2018), fitted on some rows and applied to the others.

    Args:
        encodings: N×F.
        fitted: rows it is fitted on.
        seed: seed of its draws.

    Raises:
        InputError: umap-learn is not installed.
    """
    try:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from umap import UMAP
    except ImportError:
        raise InputError(
            "UMAP needs umap-learn; install it with pip install 'plenish[umap]', or leave out --umap."
        ) from None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Of the one thread that a seed asks for, and of libraries below it.
        model = UMAP(random_state=seed, n_neighbors=min(15, max(2, len(fitted) - 1)))
        places = np.empty((len(encodings), 2))
        places[fitted] = model.fit_transform(np.asarray(encodings[fitted], np.float32))
        others = np.setdiff1d(np.arange(len(encodings)), fitted)
        if len(others):
            places[others] = model.transform(np.asarray(encodings[others], np.float32))
    return places


def spearman(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Rank correlation of two columns (Spearman 1904), ties averaged; nan where one does not vary."""
    from scipy.stats import rankdata

    x, y = rankdata(a), rankdata(b)
    if x.std() == 0 or y.std() == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def eta_squared(values: NDArray[Any], names: Sequence[Any]) -> float:
    """Share of the variance of numbers that lies between classes, 0 to 1 (Fisher 1925); nan without any."""
    values = np.asarray(values, np.float64)
    _, codes = np.unique(np.asarray([str(name) for name in names]), return_inverse=True)
    total = float(np.square(values - values.mean()).sum())
    if total == 0 or codes.max() == 0:
        return float("nan")
    counts = np.bincount(codes)
    means = np.bincount(codes, values) / counts
    return float((counts * np.square(means - values.mean())).sum() / total)


def nearest(
    encodings: NDArray[Any], queries: Ints, k: int, *, groups: Sequence[Any] | None = None
) -> tuple[Ints, Floats]:
    """The k rows nearest to each query by Euclidean distance, without itself.

    Args:
        encodings: N×F.
        queries: Q row numbers.
        k: neighbours of each.
        groups: N groups; rows of the query's own group are left out. None leaves out the query alone.

    Returns:
        Rows Q×k, nearest first, and distances Q×k; −1 and infinity where fewer rows are left.
    """
    x = np.asarray(encodings, np.float32)
    squares = np.einsum("nf,nf->n", x, x, dtype=np.float64)
    names = None if groups is None else np.asarray(groups, dtype=object)
    rows, distances = np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), np.inf)
    for start in range(0, len(queries), _AT_ONCE):
        piece = queries[start : start + _AT_ONCE]
        products = (x[piece] @ x.T).astype(np.float64)
        d = np.maximum(squares[piece][:, None] + squares[None, :] - 2 * products, 0)
        d[np.arange(len(piece)), piece] = np.inf
        if names is not None:
            for i, row in enumerate(piece):
                if names[row] is not None:
                    d[i, names == names[row]] = np.inf
        order = np.argsort(d, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(d, order, axis=1)
        there = slice(start, start + len(piece)), slice(0, order.shape[1])
        rows[there] = np.where(np.isfinite(found), order, -1)
        distances[there] = np.sqrt(found)
    return rows, distances
