"""How well a classifier classifies: metrics that take row weights, so that a bootstrap is one call.

Every metric takes the true class numbers, the predictions and optional row weights R×N (how often each row
counts), and returns R values; without weights, one. Values agree with scikit-learn's; classes without any row
are left out of macro averages. Sources: Brodersen et al., ICPR 2010 (balanced accuracy); Fawcett, Pattern
Recognition Letters 27 (2006), 861-874 (AUROC); Davis & Goadrich, ICML 2006 (average precision); Naeini et
al., AAAI 2015 (ECE).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plenish.training.confusion import (
    balanced_accuracy,
    confusion_matrix,
    defined_mean,
    ratio,
    recall_per_class,
    row_weights,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
METRICS = ("balanced_accuracy", "macro_f1", "auroc")


def macro_f1(confusion: Floats) -> Floats:
    """Mean F1 over the classes that occur among truths or predictions, R."""
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    return defined_mean(ratio(2 * hits, confusion.sum(axis=-1) + confusion.sum(axis=-2)))


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
    order, ends = _tied(scores)
    w = row_weights(weights, len(scores))[:, order]
    truth = np.asarray(positive, dtype=bool)[order]
    ups = np.cumsum(np.where(truth, w, 0.0), axis=1)[:, ends]
    downs = np.cumsum(np.where(truth, 0.0, w), axis=1)[:, ends]
    up_steps, before = np.diff(ups, axis=1, prepend=0.0), downs - np.diff(downs, axis=1, prepend=0.0) / 2
    return ratio((up_steps * before).sum(axis=1), ups[:, -1] * downs[:, -1])


def _tied(scores: Floats) -> tuple[Ints, Ints]:
    """Ascending order of the scores, and the last place of every run of equal ones."""
    order = np.argsort(scores, kind="stable")
    ordered = np.asarray(scores)[order]
    return order, np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))


def average_precision_binary(
    positive: NDArray[np.bool_], scores: Floats, weights: ArrayLike | None = None
) -> Floats:
    """Average precision (area under the precision-recall curve, by steps), R; nan without positive rows."""
    order, ends = _tied(-np.asarray(scores, dtype=np.float64))
    w = row_weights(weights, len(scores))[:, order]
    truth = np.asarray(positive, dtype=bool)[order]
    ups = np.cumsum(np.where(truth, w, 0.0), axis=1)[:, ends]
    precision = np.nan_to_num(ratio(ups, np.cumsum(w, axis=1)[:, ends]))
    return ratio((np.diff(ups, axis=1, prepend=0.0) * precision).sum(axis=1), ups[:, -1])


def _over_classes(
    metric: Callable[..., Floats], codes: Ints, probabilities: Floats, weights: ArrayLike | None
) -> Floats:
    """The second class's value of a two-class problem; otherwise the mean of each class against the rest."""
    num_classes = probabilities.shape[1]
    which = [1] if num_classes == 2 else range(num_classes)
    return defined_mean(np.stack([metric(codes == k, probabilities[:, k], weights) for k in which], axis=-1))


def auroc(codes: Ints, probabilities: Floats, weights: ArrayLike | None = None) -> Floats:
    """AUROC, R; with more than two classes the macro average of one against the rest."""
    return _over_classes(auroc_binary, codes, probabilities, weights)


def average_precision(codes: Ints, probabilities: Floats, weights: ArrayLike | None = None) -> Floats:
    """PR-AUC as average precision, R; beyond two classes the macro average of one against the rest."""
    return _over_classes(average_precision_binary, codes, probabilities, weights)


def calibration_error(
    codes: Ints, probabilities: Floats, weights: ArrayLike | None = None, bins: int = 15
) -> Floats:
    """Expected calibration error, R: mean gap of confidence and accuracy over bins of confidence."""
    w = row_weights(weights, len(codes))
    confidence = probabilities.max(axis=1)
    gap = (probabilities.argmax(axis=1) == codes) - confidence
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    sums = np.stack([np.abs((w[:, place == b] * gap[place == b]).sum(axis=1)) for b in range(bins)], axis=-1)
    return ratio(sums.sum(axis=-1), w.sum(axis=1))


def weighted_metric(
    name: str, codes: Ints, probabilities: Floats, weights: ArrayLike | None = None
) -> Floats:
    """One of `METRICS` by name, R values; predictions are the most probable classes."""
    if name == "auroc":
        return auroc(codes, probabilities, weights)
    confusion = confusion_matrix(codes, probabilities.argmax(axis=1), probabilities.shape[1], weights)
    return {"balanced_accuracy": balanced_accuracy, "macro_f1": macro_f1}[name](confusion)


def evaluate(codes: Ints, probabilities: Floats, names: Sequence[str]) -> dict[str, Any]:
    """Every metric of one set of predictions, JSON-able.

    Args:
        codes: N true class numbers.
        probabilities: N×K.
        names: K class names.

    Returns:
        `balanced_accuracy`, `macro_f1`, `auroc`, `pr_auc`, `ece`, `accuracy`, `recall` (class → value) and
        `confusion` (K×K counts, true class by row).
    """
    confusion = confusion_matrix(codes, probabilities.argmax(axis=1), len(names))
    recalls = recall_per_class(confusion)[0]
    return {
        "balanced_accuracy": float(balanced_accuracy(confusion)[0]),
        "macro_f1": float(macro_f1(confusion)[0]),
        "auroc": float(auroc(codes, probabilities)[0]),
        "pr_auc": float(average_precision(codes, probabilities)[0]),
        "ece": float(calibration_error(codes, probabilities)[0]),
        "accuracy": float(np.trace(confusion[0]) / confusion[0].sum()),
        "recall": {name: float(value) for name, value in zip(names, recalls)},
        "confusion": confusion[0].astype(int).tolist(),
    }
