"""Shares of right answers with intervals clustered by group, for many attacks and radii at once.

All are computed of the same resamples of the groups, so that one matrix product serves every column. Where
nothing varies between resamples (no image was left, say), the bootstrap cannot tell an interval; there it is
Wilson's, with the groups as trials: of a class those that have it, of a mean over classes as many as make its
variance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from plenish.metrics.resampling import bootstrap_weights, is_stratified, unit_codes
from plenish.metrics.statistics import bca_interval, jackknife_weights, wilson_interval
from plenish.training.confusion import ratio

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Triple = list[float | None]
"""Value, low and high; None where the data cannot tell."""
_MOST_LEFT_OUT = 2000


@dataclasses.dataclass(frozen=True)
class Shares:
    """Right answers of J columns, each with its interval.

    Attributes:
        accuracy: J of them.
        balanced: J means over the classes.
        per_class: J lists of K recalls.
    """

    accuracy: list[Triple]
    balanced: list[Triple]
    per_class: list[list[Triple]]


class GroupedIntervals:
    """Intervals of shares of the same images."""

    def __init__(
        self, labels: NDArray[np.int64], groups: Sequence[Hashable | None], classes: int, *,
        resamples: int = 1000, seed: int = 0, level: float = 0.95,
    ) -> None:  # fmt: skip
        """Draw the groups.

        Args:
            labels: class numbers N.
            groups: N names; images without one are groups of their own.
            classes: K.
            resamples: of the groups.
            seed: of the draws.
            level: of the intervals.
        """
        self._labels, self._level = labels, level
        self._of_class = (labels[:, None] == np.arange(classes)).astype(np.float64)
        units = unit_codes(groups, len(labels))
        self.units = int(units.max()) + 1
        of_each = np.unique(labels * self.units + units) // self.units
        self._trials = np.bincount(of_each, minlength=classes)
        self._chunks: list[list[Floats]] = []
        if self.units > 1:
            strata = labels if is_stratified(labels, units) else None
            drawn = [bootstrap_weights(units, resamples, seed, strata=strata)]
            if self.units <= _MOST_LEFT_OUT:
                drawn.append(jackknife_weights(units, self.units))
            self._chunks = [[w.astype(np.float64) for w in weights] for weights in drawn]

    def of(self, right: Bools) -> Shares:
        """Shares of N×J right answers."""
        columns, classes = right.shape[1], self._of_class.shape[1]
        found = [self._replicates(right, [np.ones((1, len(right)))])]
        found += [self._replicates(right, chunks) for chunks in self._chunks]
        present = self._trials[self._trials > 0]
        of_mean = min(self.units, len(present) ** 2 / float((1 / present).sum()))
        return Shares(
            [self._triple([one[0][:, j] for one in found], self.units) for j in range(columns)],
            [self._triple([one[1][:, j] for one in found], of_mean) for j in range(columns)],
            [
                [
                    self._triple([one[2][:, j, k] for one in found], float(self._trials[k]))
                    for k in range(classes)
                ]
                for j in range(columns)
            ],
        )

    def accuracy(self, right: Bools) -> list[Triple]:
        """Accuracies alone, of N×J right answers."""
        values = right.astype(np.float64)

        def shares(chunks: Sequence[Floats]) -> Floats:
            return np.concatenate([w @ values / w.sum(axis=1, keepdims=True) for w in chunks])

        found = [shares([np.ones((1, len(right)))]), *(shares(chunks) for chunks in self._chunks)]
        return [self._triple([one[:, j] for one in found], self.units) for j in range(right.shape[1])]

    def _replicates(self, right: Bools, chunks: Sequence[Floats]) -> tuple[Floats, Floats, Floats]:
        """Accuracy R×J, balanced accuracy R×J and recall R×J×K under weights."""
        classes = self._of_class.shape[1]
        hits = (right[:, :, None] * self._of_class[:, None, :]).reshape(len(right), -1)
        above = np.concatenate([w @ hits for w in chunks]).reshape(-1, right.shape[1], classes)
        below = np.concatenate([w @ self._of_class for w in chunks])[:, None, :]
        recall = ratio(above, np.broadcast_to(below, above.shape))
        # Without one of the classes, a mean over them means something else.
        present = self._of_class.any(axis=0)
        balanced = recall[:, :, present].mean(axis=-1) if present.any() else np.full(above.shape[:2], np.nan)
        return above.sum(axis=-1) / below.sum(axis=-1), balanced, recall

    def _triple(self, found: Sequence[Floats], trials: float) -> Triple:
        value = float(found[0][0])
        if not np.isfinite(value):
            return [None, None, None]
        if len(found) == 1:
            return [value, None, None]
        _, low, high = bca_interval(value, found[1], found[2] if len(found) > 2 else np.empty(0), self._level)
        if low == high:
            _, low, high = wilson_interval(value * trials, trials, self._level)
        return [value, *(float(x) if np.isfinite(x) else None for x in (low, high))]
