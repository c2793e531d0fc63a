"""Shares of right answers with intervals clustered by group, for many attacks and radii at once.

All are computed of the same resamples of the groups, class by class, from the sums of each group: what is
held at once grows with the groups and the columns, not with their product with the classes. Where nothing
varies between resamples (no image was left, say), the bootstrap cannot tell an interval; there it is
Wilson's, with the groups as trials: of a class those that have it, of a mean over classes as many as make its
variance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from plenish.metrics.resampling import WEIGHTS_AT_ONCE, bootstrap_weights, is_stratified, unit_codes
from plenish.metrics.statistics import bca_interval, wilson_interval
from plenish.training.confusion import ratio

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
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
        self._level = level
        self._units = unit_codes(groups, len(labels))
        self.units = int(self._units.max()) + 1
        order = np.argsort(labels, kind="stable")
        self._of_class = np.split(order, np.cumsum(np.bincount(labels, minlength=classes))[:-1])
        self._trials = [len(np.unique(self._units[rows])) for rows in self._of_class]
        self._drawn: list[NDArray[np.uint16]] = []
        if self.units > 1:
            first = np.unique(self._units, return_index=True)[1]
            strata = labels[first] if is_stratified(labels, self._units) else None
            drawn = bootstrap_weights(np.arange(self.units), resamples, seed, strata=strata)
            # How often each group was drawn, once on average: two bytes hold any count that can occur.
            self._drawn = [counts.astype(np.uint16) for counts in drawn]

    def of(self, right: Bools) -> Shares:
        """Shares of N×J right answers."""
        hits: list[Floats] = []
        sizes: list[Floats] = []
        recalls: list[Floats] = []
        per_class: list[list[Triple]] = []
        for rows, trials in zip(self._of_class, self._trials, strict=True):
            above, below = self._sums(right, rows)
            recall = [ratio(a, b) for a, b in zip(above, below, strict=True)]
            per_class.append(self._triples(recall, trials))
            hits, sizes = _added(hits, above), _added(sizes, below)
            # Without one of the classes, a mean over them means something else.
            recalls = _added(recalls, recall) if len(rows) else recalls
        present = np.array([trials for trials in self._trials if trials])
        of_mean = min(self.units, len(present) ** 2 / float((1 / present).sum()))
        return Shares(
            self._triples([a / b for a, b in zip(hits, sizes, strict=True)], self.units),
            self._triples([recall / len(present) for recall in recalls], of_mean),
            [list(one) for one in zip(*per_class, strict=True)],
        )

    def accuracy(self, right: Bools) -> list[Triple]:
        """Accuracies alone, of N×J right answers."""
        above, below = self._sums(right, np.arange(len(right)))
        return self._triples([a / b for a, b in zip(above, below, strict=True)], self.units)

    def _sums(self, right: Bools, rows: Ints) -> tuple[list[Floats], list[Floats]]:
        """Right answers and numbers of some rows: as they are, resampled, and with each group left out.

        Returns:
            Arrays 1×J, R×J and (unless there are too many groups) G×J, and the same with one column. Sums
            are whole numbers, so that their order changes nothing.
        """
        units, place = np.unique(self._units[rows], return_inverse=True)
        own = np.zeros((len(units), right.shape[1] + 1))
        np.add.at(own[:, :-1], place, right[rows])
        np.add.at(own[:, -1], place, 1)
        found = [own.sum(axis=0, keepdims=True)]
        if self._drawn:
            at_once = max(1, WEIGHTS_AT_ONCE // max(1, len(units)))
            pieces = (c[i : i + at_once, units] for c in self._drawn for i in range(0, len(c), at_once))
            found.append(np.concatenate([piece.astype(np.float64) @ own for piece in pieces]))
            if self.units <= _MOST_LEFT_OUT:
                left = np.repeat(found[0], self.units, axis=0)
                left[units] -= own
                found.append(left)
        return [one[:, :-1] for one in found], [one[:, -1:] for one in found]

    def _triples(self, found: Sequence[Floats], trials: float) -> list[Triple]:
        """A column each of what `_sums` gives."""
        return [self._triple([one[:, j] for one in found], trials) for j in range(found[0].shape[1])]

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


def _added(sums: Sequence[Floats], more: Sequence[Floats]) -> list[Floats]:
    return [a + b for a, b in zip(sums, more, strict=True)] if sums else list(more)
