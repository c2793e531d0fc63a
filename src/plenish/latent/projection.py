"""Encodings in few dimensions: principal components, UMAP, and correlation of a component with a column."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def encodings_of(dataset: Dataset, name: str) -> NDArray[Any]:
    """An array of a Dataset as N×F.

    Raises:
        InputError: the Dataset has no array of that name.
    """
    if not dataset.array_names():
        raise InputError(
            f"{dataset.path} has no array '{name}', nor any other; make one with 'plenish encode RUN "
            f"{dataset.path}'."
        )
    array = dataset.array(name)
    return array.reshape(len(array), -1)


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
        """The first components of encodings N×F, at most `most`; the largest entry of each is positive.

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
        if x.shape[1] > len(x):  # The smaller of the two products has the same eigenvalues.
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
        """Coordinates N×D of encodings N×F along the components."""
        return np.asarray((np.asarray(encodings, np.float64) - self.mean) @ self.axes.T)


def fit_umap(encodings: NDArray[Any], fitted: Ints, seed: int) -> Floats:
    """Two coordinates N×2 by UMAP (McInnes et al. 2018), fitted on some rows and applied to the others.

    Args:
        encodings: N×F.
        fitted: rows it is fitted on.
        seed: seed of its draws.

    Raises:
        InputError: umap-learn is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # A seed forces one thread, which UMAP warns of.
        try:
            from umap import UMAP
        except ImportError:
            raise InputError(
                "UMAP needs umap-learn; install it with pip install 'plenish[umap]', or leave out --umap."
            ) from None
        model = UMAP(random_state=seed, n_neighbors=min(15, max(2, len(fitted) - 1)))
        coordinates = np.empty((len(encodings), 2))
        coordinates[fitted] = model.fit_transform(np.asarray(encodings[fitted], np.float32))
        others = np.setdiff1d(np.arange(len(encodings)), fitted)
        if len(others):
            coordinates[others] = model.transform(np.asarray(encodings[others], np.float32))
    return coordinates


def spearman(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Rank correlation of two columns (Spearman 1904), ties averaged; nan where one does not vary."""
    from scipy.stats import rankdata

    with np.errstate(invalid="ignore"):
        return float(np.corrcoef(rankdata(a), rankdata(b))[0, 1])


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
