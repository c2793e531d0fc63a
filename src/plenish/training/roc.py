"""The area under the ROC curve, with row weights so that a bootstrap is one call.

Source: Fawcett, Pattern Recognition Letters 27 (2006), 861-874.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plenish.training.confusion import Floats, Ints, defined_mean, ratio, row_weights


def auroc_binary(positive: NDArray[np.bool_], scores: Floats, weights: ArrayLike | None = None) -> Floats:
    """Area under the ROC curve, R: the chance that a positive row scores higher than a negative; ties count
    half.

    Args:
        positive: N, which rows are positive.
        scores: N, larger meaning more likely positive.
        weights: R×N or None.

    Returns:
        R values, nan where one of the two sides has no row.
    """
    order, ends = tied(scores)
    w = row_weights(weights, len(scores))[:, order]
    truth = np.asarray(positive, dtype=bool)[order]
    ups = np.cumsum(np.where(truth, w, 0.0), axis=1)[:, ends]
    downs = np.cumsum(np.where(truth, 0.0, w), axis=1)[:, ends]
    up_steps, before = np.diff(ups, axis=1, prepend=0.0), downs - np.diff(downs, axis=1, prepend=0.0) / 2
    return ratio((up_steps * before).sum(axis=1), ups[:, -1] * downs[:, -1])


def tied(scores: Floats) -> tuple[Ints, Ints]:
    """Ascending order of the scores, and the last place of every run of equal ones."""
    order = np.argsort(scores, kind="stable")
    ordered = np.asarray(scores)[order]
    return order, np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))


def compared(num_classes: int) -> Sequence[int]:
    """The classes that are told from the rest: the second of two, each of more."""
    return [1] if num_classes == 2 else range(num_classes)


def auroc(codes: Ints, probabilities: Floats, weights: ArrayLike | None = None) -> Floats:
    """AUROC, R; with more than two classes the macro average of one against the rest."""
    classes = compared(probabilities.shape[1])
    values = [auroc_binary(codes == k, probabilities[:, k], weights) for k in classes]
    return defined_mean(np.stack(values, axis=-1))
