"""Every metric of a classifier's predictions with an interval that respects the groups of rows.

Groups (patients, lesions) are drawn with replacement, with all their rows, and all metrics are computed of
the same draws; the intervals are those of `statistics.bootstrap_interval`. As in a study, groups are drawn
within the classes where each group has one class and each class several groups; a mean over classes is not
defined in a resample that has lost one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plenish.metrics.calibration import is_tags
from plenish.metrics.classification import (
    BINS,
    average_precision_binary,
    calibration_errors,
    net_benefit,
    sensitivity_at,
)
from plenish.metrics.resampling import Ints, bootstrap_weights, is_stratified, unit_codes
from plenish.metrics.statistics import bca_interval, jackknife_weights
from plenish.training.confusion import (
    Floats,
    balanced_accuracy,
    balanced_accuracy_of_tags,
    confusion_matrix,
    defined_mean,
    macro_f1,
    macro_f1_of_tags,
    ratio,
    row_weights,
    tag_counts,
)
from plenish.training.roc import auroc_binary, compared

SPECIFICITY = 0.9
THRESHOLDS = np.round(np.arange(0.05, 0.96, 0.05), 2)
"""Probabilities from which on one would act, of decision curves."""
_MOST_LEFT_OUT = 2000
"""Units above which skew, which falls with their number, is not measured: it takes a pass for each."""
OVERALL = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "pr_auc", "sensitivity", "ece")
_MEANS = ("balanced_accuracy", "macro_f1", "auroc", "pr_auc", "sensitivity")
"""Means over the classes, which without one of them mean something else."""
PER_CLASS = ("precision", "recall", "f1", "auroc", "pr_auc", "sensitivity")
Values = dict[str, Floats]


def measure(
    y: NDArray[Any], probabilities: Floats, names: Sequence[str],
    groups: Sequence[Hashable | None] | NDArray[Any] | None = None, *, resamples: int = 1000, seed: int = 0,
    level: float = 0.95, specificity: float = SPECIFICITY,
) -> dict[str, Any]:  # fmt: skip
    """All metrics of predictions, JSON-able; what the data cannot tell is None.

    Args:
        y: N class numbers, or N×K tags of 0 and 1.
        probabilities: N×K.
        names: K classes or tags.
        groups: N group names; None where every row is one of its own.
        resamples: of the groups.
        seed: of the draws.
        level: of the intervals.
        specificity: at which sensitivities are given.

    Returns:
        `metrics` (name → value, low, high): accuracy, balanced_accuracy, macro_f1, auroc, pr_auc, sensitivity
        and ece, the last five means over the classes, where there are two of the second; `per_class` (a
        mapping a class of such intervals, with its number of rows n); `confusion` (K×K counts, true class by
        row; of tags K×2×2); `decision` (net benefit by threshold, a curve a class, or of two the second); and
        `reliability` (rows, mean confidence and share that is right, by bin of confidence).
    """
    units = unit_codes(groups, len(y))
    found = _replicated(lambda w: _statistics(y, probabilities, w, specificity), y, units, resamples, seed)
    interval = functools.partial(_interval, found, level)
    counts = (y > 0.5).sum(axis=0) if is_tags(y) else np.bincount(y, minlength=len(names))
    return {
        "n": len(y), "groups": int(units.max()) + 1 if groups is not None else None, "level": level,
        "specificity": specificity, "kind": "multilabel" if is_tags(y) else "categorical",
        "metrics": {name: interval(name) for name in OVERALL},
        "per_class": {
            name: {"n": int(counts[k]), **{key: interval(f"{key}_per_class", k) for key in PER_CLASS}}
            for k, name in enumerate(names)
        },
        "confusion": found[0]["confusion"][0].astype(int).tolist(),
        "decision": [
            {
                "class": names[k], "thresholds": THRESHOLDS.tolist(),
                "net_benefit": [interval("net_benefit", k, t) for t in range(len(THRESHOLDS))],
                "all": [_known(v) for v in _of_all(counts[k] / len(y))],
            }
            for k in (range(len(names)) if is_tags(y) else compared(len(names)))
        ],
        "reliability": _reliability(y, probabilities),
    }  # fmt: skip


def calibration_interval(
    y: NDArray[Any], probabilities: Floats,
    groups: Sequence[Hashable | None] | NDArray[Any] | None = None, *, resamples: int = 1000, seed: int = 0,
    level: float = 0.95,
) -> dict[str, float | None]:  # fmt: skip
    """The expected calibration error alone, as `measure` has it in `ece`: value, low and high.

    Args:
        y: N class numbers, or N×K tags of 0 and 1.
        probabilities: N×K.
        groups: N group names; None where every row is one of its own.
        resamples: of the groups.
        seed: of the draws.
        level: of the interval.
    """
    units = unit_codes(groups, len(y))
    found = _replicated(lambda w: {"ece": _calibration(y, probabilities, w)}, y, units, resamples, seed)
    return _interval(found, level, "ece")


def _replicated(
    statistics: Callable[[ArrayLike | None], Values], y: NDArray[Any], units: Ints, resamples: int, seed: int
) -> list[Values]:
    """Statistics of the data, of resamples, and with each unit left out where there are not too many units.

    Units of one class are drawn within the classes, as those of a study are. Only the data where there is
    one unit.
    """
    n_units = int(units.max()) + 1
    if n_units < 2:
        return [statistics(None)]
    strata = None if is_tags(y) or not is_stratified(y, units) else y
    draws = [bootstrap_weights(units, resamples, seed, strata=strata)]
    if n_units <= _MOST_LEFT_OUT:
        draws.append(jackknife_weights(units, n_units))
    return [statistics(None), *(_joined([statistics(w) for w in chunks]) for chunks in draws)]


def _interval(found: Sequence[Values], level: float, key: str, *place: int) -> dict[str, float | None]:
    """One statistic of `_replicated` with its interval."""
    value = float(found[0][key][(0, *place)])
    low = high = np.nan
    if len(found) > 1:
        x, *left_out = (np.moveaxis(each[key], 0, -1)[place] for each in found[1:])
        _, low, high = bca_interval(value, x, left_out[0] if left_out else np.empty(0), level)
    return {"value": _known(value), "low": _known(low), "high": _known(high)}


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _joined(parts: list[Values]) -> Values:
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _statistics(y: NDArray[Any], p: Floats, weights: ArrayLike | None, specificity: float) -> Values:
    """Every metric under row weights R×N: R values each, R×K those of classes."""
    k, tags = p.shape[1], is_tags(y)
    present = y > 0.5 if tags else y[:, None] == np.arange(k)
    by_class = [
        (
            auroc_binary(present[:, c], p[:, c], weights),
            average_precision_binary(present[:, c], p[:, c], weights),
            sensitivity_at(present[:, c], p[:, c], specificity, weights),
        )
        for c in range(k)
    ]
    auroc, pr_auc, sensitivity = (np.stack(values, axis=-1) for values in zip(*by_class, strict=True))
    shown = list(range(k)) if tags else list(compared(k))
    found: Values = {
        "auroc_per_class": auroc, "pr_auc_per_class": pr_auc, "sensitivity_per_class": sensitivity,
        "auroc": defined_mean(auroc[:, shown]), "pr_auc": defined_mean(pr_auc[:, shown]),
        "sensitivity": defined_mean(sensitivity[:, shown]),
        "net_benefit": np.stack(
            [net_benefit(present[:, c], p[:, c], THRESHOLDS, weights) for c in range(k)], axis=1
        ),
    }  # fmt: skip
    if tags:
        counts = tag_counts(present, p >= 0.5, weights)
        hits, missed, alarms = counts[..., 1, 1], counts[..., 1, 0], counts[..., 0, 1]
        found |= {
            "accuracy": defined_mean(ratio(hits + counts[..., 0, 0], counts.sum((-2, -1)))),
            "balanced_accuracy": balanced_accuracy_of_tags(counts), "macro_f1": macro_f1_of_tags(counts),
            "confusion": counts,
        }  # fmt: skip
    else:
        confusion = confusion_matrix(y, p.argmax(axis=1), k, weights)
        hits = np.diagonal(confusion, axis1=-2, axis2=-1)
        missed, alarms = confusion.sum(axis=-1) - hits, confusion.sum(axis=-2) - hits
        found |= {
            "accuracy": ratio(hits.sum(axis=-1), confusion.sum((-2, -1))),
            "balanced_accuracy": balanced_accuracy(confusion), "macro_f1": macro_f1(confusion),
            "confusion": confusion,
        }  # fmt: skip
    complete = _has_all_classes(present, weights)
    return found | {name: np.where(complete, found[name], np.nan) for name in _MEANS} | {
        "ece": _calibration(y, p, weights),
        "precision_per_class": ratio(hits, hits + alarms), "recall_per_class": ratio(hits, hits + missed),
        "f1_per_class": ratio(2 * hits, 2 * hits + missed + alarms),
    }  # fmt: skip


def _has_all_classes(present: NDArray[np.bool_], weights: ArrayLike | None) -> NDArray[np.bool_]:
    """Which R×N weights keep a row of each class, and one of the rest, of those that N×K rows have."""
    sides = np.concatenate([present, ~present], axis=1)
    sides = sides[:, sides.any(axis=0)]
    return np.asarray((row_weights(weights, len(present)) @ sides > 0).all(axis=1))


def _calibration(y: NDArray[Any], p: Floats, weights: ArrayLike | None) -> Floats:
    """Expected calibration error, R; the mean over tags."""
    confidence, right = _answers(y, p)
    errors = [calibration_errors(hit, sure, weights) for hit, sure in zip(right.T, confidence.T, strict=True)]
    return defined_mean(np.stack(errors, axis=-1))


def _answers(y: NDArray[Any], p: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Confidence of each answer and whether it is right: N×K of tags, else N×1."""
    if is_tags(y):
        return np.maximum(p, 1 - p), (p >= 0.5) == (y > 0.5)
    return p.max(axis=1)[:, None], (p.argmax(axis=1) == y)[:, None]


def _of_all(prevalence: float) -> Floats:
    """Net benefit of acting on every row."""
    return np.asarray(prevalence - (1 - prevalence) * THRESHOLDS / (1 - THRESHOLDS))


def _reliability(y: NDArray[Any], p: Floats) -> list[dict[str, float]]:
    """Bins of confidence that have rows."""
    confidence, right = (values.ravel() for values in _answers(y, p))
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    return [
        {
            "n": int(here.sum()), "confidence": float(confidence[here].mean()),
            "right": float(right[here].mean()),
        }
        for here in (place == b for b in range(BINS)) if here.any()
    ]  # fmt: skip
