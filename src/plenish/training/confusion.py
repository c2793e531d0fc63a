"""Confusion matrices and what is read from them, with row weights so that a bootstrap is one call.

Source: Brodersen et al., ICPR 2010 (balanced accuracy).
"""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def row_weights(weights: ArrayLike | None, n: int) -> Floats:
    """Weights as R×N; without any, every row of N counts once."""
    if weights is None:
        return np.ones((1, n))
    return np.asarray(np.atleast_2d(np.asarray(weights, dtype=np.float64)))


def ratio(above: Floats, below: Floats) -> Floats:
    """above / below, nan where below is 0."""
    undefined = np.full(np.broadcast_shapes(above.shape, below.shape), np.nan)
    return np.asarray(np.divide(above, below, out=undefined, where=below > 0))


def defined_mean(values: Floats) -> Floats:
    """Mean over the last axis of what is defined; nan where nothing is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(values, axis=-1))


def confusion_matrix(
    codes: Ints, predicted: Ints, num_classes: int, weights: ArrayLike | None = None
) -> Floats:
    """Weighted counts R×K×K: entry (t, p) counts rows of true class t predicted as p.

    Args:
        codes: N true class numbers.
        predicted: N predicted class numbers.
        num_classes: K.
        weights: R×N, or None for R = 1 with every row once.
    """
    w = row_weights(weights, len(codes))
    cell = np.asarray(codes) * num_classes + np.asarray(predicted)
    counts = np.zeros((len(w), num_classes * num_classes))
    for value in np.unique(cell):
        counts[:, value] = w[:, cell == value].sum(axis=1)
    return counts.reshape(len(w), num_classes, num_classes)


def recall_per_class(confusion: Floats) -> Floats:
    """Share of each class's rows that were found (sensitivity), R×K; nan for a class without rows."""
    return ratio(np.diagonal(confusion, axis1=-2, axis2=-1), confusion.sum(axis=-1))


def balanced_accuracy(confusion: Floats) -> Floats:
    """Mean recall over the classes that have rows, R; chance is 1/K."""
    return defined_mean(recall_per_class(confusion))


def macro_f1(confusion: Floats) -> Floats:
    """Mean F1 over the classes that occur among truths or predictions, R."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return defined_mean(ratio(2 * hits, confusion.sum(axis=-1) + confusion.sum(axis=-2)))


def tag_counts(present: NDArray[np.bool_], found: NDArray[np.bool_], weights: ArrayLike | None) -> Floats:
    """Weighted counts R×K×2×2 of tags: entry (t, p) counts rows where a tag's truth is t and p was found.

    Args:
        present: N×K, which rows have each tag.
        found: N×K, where it was found.
        weights: R×N or None.
    """
    w = row_weights(weights, len(present))
    cells = [
        [w @ ((present == bool(t)) & (found == bool(p))).astype(np.float64) for p in (0, 1)] for t in (0, 1)
    ]
    return np.moveaxis(np.array(cells), (0, 1), (-2, -1))


def balanced_accuracy_of_tags(counts: Floats) -> Floats:
    """Mean over the tags of the mean share of rows with and without a tag that are found, R.

    Args:
        counts: R×K×2×2 from `tag_counts`.
    """
    return defined_mean(balanced_accuracy(counts))


def macro_f1_of_tags(counts: Floats) -> Floats:
    """Mean over the tags of the F1 of their presence, R; `counts` as above."""
    hits, wrong = counts[..., 1, 1], counts[..., 0, 1] + counts[..., 1, 0]
    return defined_mean(ratio(2 * hits, 2 * hits + wrong))
