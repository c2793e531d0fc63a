"""How well a classifier classifies: metrics that take row weights, so that a bootstrap is one call.

The metrics of a study take the true class numbers, the predictions and optional row weights R×N (how often
each row counts), and return R values; without weights, one. Values agree with scikit-learn's; classes without
any row are left out of macro averages. Sources: Brodersen et al., ICPR 2010 (balanced accuracy); Fawcett,
Pattern Recognition Letters 27 (2006), 861-874 (AUROC); Davis & Goadrich, ICML 2006 (average precision);
Naeini et al., AAAI 2015 (ECE).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plenish.training.confusion import (
    balanced_accuracy,
    confusion_matrix,
    defined_mean,
    macro_f1,
    ratio,
    recall_per_class,
    row_weights,
)
from plenish.training.roc import auroc, compared, tied

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
METRICS = ("balanced_accuracy", "macro_f1", "auroc")
BINS = 15
"""Bins of confidence, of calibration errors and reliability diagrams."""


def average_precision_binary(
    positive: NDArray[np.bool_], scores: Floats, weights: ArrayLike | None = None
) -> Floats:
    """Area under the precision-recall curve, by steps, R; nan without positive rows."""
    order, ends = tied(-np.asarray(scores))
    w = row_weights(weights, len(scores))[:, order]
    hits = np.cumsum(np.where(positive[order], w, 0.0), axis=1)[:, ends]
    precision = np.nan_to_num(ratio(hits, np.cumsum(w, axis=1)[:, ends]))
    return ratio((np.diff(hits, axis=1, prepend=0.0) * precision).sum(axis=1), hits[:, -1])


def sensitivity_at(
    positive: NDArray[np.bool_], scores: Floats, specificity: float, weights: ArrayLike | None = None
) -> Floats:
    """Greatest share of positive rows found by a threshold with at least this specificity, R.

    Args:
        positive: N, which rows are positive.
        scores: N, larger meaning more likely positive.
        specificity: share of the negative rows that must lie below the threshold.
        weights: R×N or None.
    """
    order, ends = tied(-np.asarray(scores))
    w, truth = row_weights(weights, len(scores))[:, order], positive[order]
    found = np.cumsum(np.where(truth, w, 0.0), axis=1)[:, ends]
    alarms = np.cumsum(np.where(truth, 0.0, w), axis=1)[:, ends]
    allowed = (1 - specificity) * alarms[:, -1:] * (1 + 1e-12)
    best = np.where(alarms <= allowed, found, 0.0).max(axis=1)
    return np.where(alarms[:, -1] > 0, ratio(best, found[:, -1]), np.nan)


def net_benefit(
    positive: NDArray[np.bool_], scores: Floats, thresholds: Floats, weights: ArrayLike | None = None
) -> Floats:
    """Net benefit R×T of acting on rows at or above each threshold p: TP/N − FP/N · p/(1 − p).

    A false alarm then costs as much as p says: someone who acts from p on takes (1 − p)/p of them for a hit
    (Vickers & Elkin, Medical Decision Making 26 (2006), 565-574). Acting on no row has 0.
    """
    w = row_weights(weights, len(scores))
    acted = (np.asarray(scores)[:, None] >= thresholds).astype(np.float64)
    odds = thresholds / (1 - thresholds)
    worth = np.where(positive[:, None], acted, -acted * odds)
    return ratio(w @ worth, w.sum(axis=1, keepdims=True))


def average_precision(codes: Ints, probabilities: Floats, weights: ArrayLike | None = None) -> Floats:
    """PR-AUC as average precision, R; beyond two classes the macro average of one against the rest."""
    classes = compared(probabilities.shape[1])
    values = [average_precision_binary(codes == k, probabilities[:, k], weights) for k in classes]
    return defined_mean(np.stack(values, axis=-1))


def calibration_errors(right: NDArray[Any], confidence: Floats, weights: ArrayLike | None = None) -> Floats:
    """Expected calibration error, R: mean gap of confidence and accuracy over 15 bins of confidence.

    Args:
        right: N, whether what was said is true.
        confidence: N, its probability.
        weights: R×N or None.
    """
    w = row_weights(weights, len(confidence))
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    gaps = np.zeros((len(confidence), BINS))
    gaps[np.arange(len(confidence)), place] = np.asarray(right, np.float64) - confidence
    return ratio(np.abs(w @ gaps).sum(axis=1), w.sum(axis=1))


def calibration_error(codes: Ints, probabilities: Floats) -> float:
    """Expected calibration error of the most probable classes."""
    right = probabilities.argmax(axis=1) == codes
    return float(calibration_errors(right, probabilities.max(axis=1))[0])


def weighted_metric(
    name: str, codes: Ints, probabilities: Floats, weights: ArrayLike | None = None
) -> Floats:
    """One of `METRICS`, or `accuracy`, by name, R values; predictions are the most probable classes."""
    if name == "auroc":
        return auroc(codes, probabilities, weights)
    confusion = confusion_matrix(codes, probabilities.argmax(axis=1), probabilities.shape[1], weights)
    if name == "accuracy":
        return ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum(axis=(-2, -1)))
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
        **{name: float(weighted_metric(name, codes, probabilities)[0]) for name in METRICS},
        "pr_auc": float(average_precision(codes, probabilities)[0]),
        "ece": calibration_error(codes, probabilities),
        "accuracy": float(np.trace(confusion[0]) / confusion[0].sum()),
        "recall": {name: float(value) for name, value in zip(names, recalls)},
        "confusion": confusion[0].astype(int).tolist(),
    }
