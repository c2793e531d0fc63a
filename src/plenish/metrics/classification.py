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
    recall_per_class,
)
from plenish.training.roc import auroc, compared, tied

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
METRICS = ("balanced_accuracy", "macro_f1", "auroc")
_BINS = 15


def _average_precision(positive: NDArray[np.bool_], scores: Floats) -> float:
    """Area under the precision-recall curve, by steps; nan without positive rows."""
    order, ends = tied(-scores)
    hits = np.cumsum(positive[order])[ends]
    steps = np.diff(hits, prepend=0) * (hits / (ends + 1))
    return float(steps.sum() / hits[-1]) if hits[-1] else np.nan


def average_precision(codes: Ints, probabilities: Floats) -> float:
    """PR-AUC as average precision; beyond two classes the macro average of one against the rest."""
    classes = compared(probabilities.shape[1])
    values = [_average_precision(codes == k, probabilities[:, k]) for k in classes]
    return float(defined_mean(np.array(values)))


def calibration_error(codes: Ints, probabilities: Floats) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over bins of confidence."""
    confidence = probabilities.max(axis=1)
    gap = (probabilities.argmax(axis=1) == codes) - confidence
    place = np.minimum((confidence * _BINS).astype(np.int64), _BINS - 1)
    return float(np.sum([abs(gap[place == b].sum()) for b in range(_BINS)]) / len(codes))


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
        **{name: float(weighted_metric(name, codes, probabilities)[0]) for name in METRICS},
        "pr_auc": average_precision(codes, probabilities),
        "ece": calibration_error(codes, probabilities),
        "accuracy": float(np.trace(confusion[0]) / confusion[0].sum()),
        "recall": {name: float(value) for name, value in zip(names, recalls)},
        "confusion": confusion[0].astype(int).tolist(),
    }
