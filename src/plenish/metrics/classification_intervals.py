"""Every metric of a classifier's predictions with an interval that respects the groups of rows.

Groups (patients, lesions) are drawn with replacement, with all their rows, and all metrics are computed of
the same draws; the intervals are those of `statistics.bootstrap_interval`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plenish.metrics.classification import (
    BINS,
    average_precision_binary,
    calibration_errors,
    net_benefit,
    sensitivity_at,
)
from plenish.metrics.resampling import Ints, bootstrap_weights, unit_codes
from plenish.metrics.statistics import bca_interval, jackknife_weights
from plenish.training.confusion import (
    Floats,
    balanced_accuracy,
    confusion_matrix,
    defined_mean,
    macro_f1,
    ratio,
    tag_counts,
)
from plenish.training.roc import auroc_binary, compared

SPECIFICITY = 0.9
THRESHOLDS = np.round(np.arange(0.05, 0.96, 0.05), 2)
"""Probabilities from which on one would act, of decision curves."""
_MOST_LEFT_OUT = 2000
"""Units above which skew, which falls with their number, is not measured: it takes a pass for each."""
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
    n_units = int(units.max()) + 1
    parts = [_statistics(y, probabilities, None, specificity)]
    rest: tuple[Iterator[Ints], ...] = (bootstrap_weights(units, resamples, seed),)
    if n_units <= _MOST_LEFT_OUT:
        rest = (*rest, jackknife_weights(units, n_units))
    drawn = [_joined([_statistics(y, probabilities, w, specificity) for w in chunks]) for chunks in rest]

    def interval(key: str, *place: int) -> dict[str, float | None]:
        value = float(parts[0][key][(0, *place)])
        low = high = np.nan
        if n_units > 1:
            x, *jack = (np.moveaxis(found[key], 0, -1)[place] for found in drawn)
            _, low, high = bca_interval(value, x, jack[0] if jack else np.empty(0), level)
        return {"value": _known(value), "low": _known(low), "high": _known(high)}

    overall = ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "pr_auc", "sensitivity", "ece")
    tags = y.ndim == 2
    shown = range(len(names)) if tags else compared(len(names))
    counts = (y > 0.5).sum(axis=0) if tags else np.bincount(y, minlength=len(names))
    return {
        "n": len(y), "groups": n_units if groups is not None else None, "level": level,
        "specificity": specificity, "kind": "multilabel" if tags else "categorical",
        "metrics": {name: interval(name) for name in overall},
        "per_class": {
            name: {"n": int(counts[k]), **{key: interval(f"{key}_per_class", k) for key in PER_CLASS}}
            for k, name in enumerate(names)
        },
        "confusion": parts[0]["confusion"][0].astype(int).tolist(),
        "decision": [
            {
                "class": names[k], "thresholds": THRESHOLDS.tolist(),
                "net_benefit": [interval("net_benefit", k, t) for t in range(len(THRESHOLDS))],
                "all": [_known(v) for v in _of_all(counts[k] / len(y))],
            }
            for k in shown
        ],
        "reliability": _reliability(y, probabilities),
    }  # fmt: skip


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _joined(parts: list[Values]) -> Values:
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}


def _statistics(y: NDArray[Any], p: Floats, weights: ArrayLike | None, specificity: float) -> Values:
    """Every metric under row weights R×N: R values each, R×K those of classes."""
    k, tags = p.shape[1], y.ndim == 2
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
        rates = np.stack(
            [ratio(hits, hits + missed), ratio(counts[..., 0, 0], counts[..., 0, :].sum(-1))], -1
        )
        said = np.maximum(p, 1 - p)
        errors = [
            calibration_errors((p[:, c] >= 0.5) == present[:, c], said[:, c], weights) for c in range(k)
        ]
        found |= {
            "accuracy": defined_mean(ratio(hits + counts[..., 0, 0], counts.sum((-2, -1)))),
            "balanced_accuracy": defined_mean(defined_mean(rates)),
            "macro_f1": defined_mean(ratio(2 * hits, 2 * hits + missed + alarms)),
            "ece": defined_mean(np.stack(errors, axis=-1)), "confusion": counts,
        }  # fmt: skip
    else:
        confusion = confusion_matrix(y, p.argmax(axis=1), k, weights)
        hits = np.diagonal(confusion, axis1=-2, axis2=-1)
        missed, alarms = confusion.sum(axis=-1) - hits, confusion.sum(axis=-2) - hits
        found |= {
            "accuracy": ratio(hits.sum(axis=-1), confusion.sum((-2, -1))),
            "balanced_accuracy": balanced_accuracy(confusion), "macro_f1": macro_f1(confusion),
            "ece": calibration_errors(p.argmax(axis=1) == y, p.max(axis=1), weights),
            "confusion": confusion,
        }  # fmt: skip
    return found | {
        "precision_per_class": ratio(hits, hits + alarms), "recall_per_class": ratio(hits, hits + missed),
        "f1_per_class": ratio(2 * hits, 2 * hits + missed + alarms),
    }  # fmt: skip


def _of_all(prevalence: float) -> Floats:
    """Net benefit of acting on every row."""
    return np.asarray(prevalence - (1 - prevalence) * THRESHOLDS / (1 - THRESHOLDS))


def _reliability(y: NDArray[Any], p: Floats) -> list[dict[str, float]]:
    """Bins of confidence that have rows."""
    if y.ndim == 2:
        confidence, right = np.maximum(p, 1 - p).ravel(), ((p >= 0.5) == (y > 0.5)).ravel()
    else:
        confidence, right = p.max(axis=1), p.argmax(axis=1) == y
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    return [
        {
            "n": int(here.sum()), "confidence": float(confidence[here].mean()),
            "right": float(right[here].mean()),
        }
        for here in (place == b for b in range(BINS)) if here.any()
    ]  # fmt: skip
