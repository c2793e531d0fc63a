"""Whether the errors of one autoencoder a class tell the classes apart: matrix, scores, AUROC, accuracy.

Every image has K errors, one of each class's autoencoder. With two classes its score is the error of the
first class's autoencoder minus that of the second's: larger where the image looks like the second class. With
any number of classes the lowest error names a class. Intervals are bootstrapped by group.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish.metrics.caveats import Caveat, about_test
from plenish.metrics.resampling import are_pure, unit_codes
from plenish.metrics.statistics import bootstrap_interval
from plenish.study.verdicts import class_verdict_word
from plenish.training.confusion import balanced_accuracy, confusion_matrix, recall_per_class
from plenish.training.roc import auroc_binary

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class ClassErrors:
    """Errors of test images under one autoencoder a class.

    Attributes:
        errors: N×K, error of image n under the autoencoder of class k.
        codes: N, the class each image is of, 0…K−1.
        groups: N group names; None for a row without one.
        names: K class names.
    """

    errors: Floats
    codes: Ints
    groups: Sequence[Hashable | None]
    names: tuple[str, ...]

    def difference(self) -> Floats:
        """Error of the first class's autoencoder minus that of the second's, N; K = 2 only."""
        return np.asarray(self.errors[:, 0] - self.errors[:, 1])

    def lowest(self) -> Ints:
        """Class whose autoencoder has the lowest error, N."""
        return np.asarray(self.errors.argmin(axis=1), np.int64)

    def by_group(self) -> ClassErrors:
        """Mean errors of the images of each group; of a group with several classes, of each class in it."""
        groups = unit_codes(self.groups, len(self.codes))
        units = unit_codes(list(zip(groups.tolist(), self.codes.tolist())), len(self.codes))
        first = np.unique(units, return_index=True)[1]
        counts = np.bincount(units)
        means = np.stack([np.bincount(units, column) / counts for column in self.errors.T], axis=1)
        return ClassErrors(means, self.codes[first], [self.groups[i] for i in first], self.names)


def permute_labels(codes: Ints, groups: Sequence[Hashable | None], rng: np.random.Generator) -> Ints:
    """Classes permuted at random: over whole groups where each has one class, else over the rows.

    Args:
        codes: N class numbers.
        groups: N group names, None for a row without one.
        rng: makes the draw.

    Returns:
        N class numbers; of rows, as many of each class as before.
    """
    units = unit_codes(groups, len(codes))
    if not are_pure(codes, units):
        return np.asarray(rng.permutation(codes))
    first = np.unique(units, return_index=True)[1]
    return np.asarray(rng.permutation(codes[first])[units])


def analyse(
    found: ClassErrors, *, level: float = 0.95, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Everything the errors say, JSON-able.

    Args:
        found: the errors.
        level: level of the intervals.
        resamples: bootstrap resamples of the groups.
        seed: seed of the bootstrap.

    Returns:
        `matrix` (mean error of class t's images under class p's autoencoder, with intervals), `accuracy` and
        `balanced_accuracy` of the lowest error, `recall`, `confusion`; for two classes `auroc` and
        `auroc_log_ratio`; `by_group` with the same of means over groups, where there are groups;
        `caveats` and `verdict` as :mod:`plenish.study.verdicts` reads them.
    """
    options = {"level": level, "resamples": resamples, "seed": seed}
    content: dict[str, Any] = {
        "classes": list(found.names), "images": len(found.codes), "level": level, "resamples": resamples,
        "per_class": dict(zip(found.names, np.bincount(found.codes, minlength=len(found.names)).tolist())),
        "matrix": _matrix(found, options), **_classified(found, options),
    }  # fmt: skip
    content["groups"] = len({group for group in found.groups if group is not None})
    if content["groups"]:
        units = found.by_group()
        content["by_group"] = {"units": len(units.codes), **_classified(units, options)}
    caveats = about_test(found.codes, found.groups, found.names)
    classes = pd.Series(found.codes).groupby(np.array(found.groups, object)).nunique()
    if mixed := int((classes > 1).sum()):
        caveats.append(Caveat("mixed-groups", {"mixed": mixed, "groups": len(classes)}))
    content["caveats"] = [dataclasses.asdict(caveat) for caveat in caveats]
    content["verdict"] = class_verdict_word(content)
    return content


def _matrix(found: ClassErrors, options: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """Entry (t, p): mean error of class t's images under the autoencoder of class p."""

    def mean(t: int, p: int) -> dict[str, Any]:
        mine = found.codes == t
        values, groups = found.errors[mine, p], np.array(found.groups, object)[mine]
        if not len(values):
            return {"value": None, "low": None, "high": None}
        return bootstrap_interval(
            lambda w: (w @ values) / w.sum(axis=1), len(values), groups, **options
        )._asdict()

    classes = range(len(found.names))
    return [[mean(t, p) for p in classes] for t in classes]


def _classified(found: ClassErrors, options: dict[str, Any]) -> dict[str, Any]:
    codes, lowest, k = found.codes, found.lowest(), len(found.names)
    right = (codes == lowest).astype(np.float64)
    confusion = confusion_matrix(codes, lowest, k)[0]

    # Groups of one class each are drawn within the classes, so that none vanishes from a resample.
    strata = codes if are_pure(codes, unit_codes(found.groups, len(codes))) else None

    def interval(statistic: Any) -> dict[str, Any]:
        return bootstrap_interval(statistic, len(codes), found.groups, strata=strata, **options)._asdict()

    recalls = recall_per_class(confusion[None])[0]
    content: dict[str, Any] = {
        "accuracy": interval(lambda w: (w @ right) / w.sum(axis=1)),
        "balanced_accuracy": interval(lambda w: balanced_accuracy(confusion_matrix(codes, lowest, k, w))),
        "recall": {name: None if np.isnan(r) else float(r) for name, r in zip(found.names, recalls)},
        "confusion": confusion.astype(int).tolist(),
    }
    if k == 2:
        second = codes == 1
        logs = np.log(np.maximum(found.errors, 1e-12))
        ratio = logs[:, 0] - logs[:, 1]
        content["auroc"] = interval(lambda w: auroc_binary(second, found.difference(), w))
        content["auroc_log_ratio"] = interval(lambda w: auroc_binary(second, ratio, w))
    return content
