"""Shares with intervals: those of the cluster bootstrap, in memory that does not grow with the classes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from plenish.metrics.resampling import is_stratified, unit_codes
from plenish.metrics.statistics import bootstrap_interval
from plenish.robustness.curves import GroupedIntervals


def _numbers(rows: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    return np.array([[np.nan if x is None else x for x in row] for row in rows], np.float64)


def _share(right: NDArray[np.bool_], among: NDArray[np.bool_]) -> Callable[[Any], Any]:
    """The weighted share of right answers, nan where nothing is drawn."""

    def share(weights: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return (weights @ (right & among)) / (weights @ among)

    return share


@pytest.mark.parametrize("pure", [False, True], ids=["mixed groups", "groups of one class"])
@pytest.mark.parametrize("seed", range(3))
def test_all_shares_are_those_of_weighted_rows(seed: int, pure: bool) -> None:
    rng = np.random.default_rng(seed)
    n, classes = 90, 4
    labels = rng.integers(0, classes - 1, n)  # The last class has no images.
    groups = [f"{label if pure else ''}-{i % 7}" for i, label in enumerate(labels)]
    right = rng.random((n, 3)) < [0.2, 0.6, 0.9]
    found = GroupedIntervals(labels, groups, classes, resamples=150, seed=seed).of(right)
    assert is_stratified(labels, unit_codes(groups, n)) == pure
    same: dict[str, Any] = {"resamples": 150, "seed": seed, "strata": labels if pure else None}
    for j in range(3):
        recalls = [_share(right[:, j], labels == k) for k in range(classes - 1)]

        def balanced(weights: Any, recalls: Any = recalls) -> Any:
            return np.mean([recall(weights) for recall in recalls], axis=0)

        statistics = [_share(right[:, j], np.ones(n, bool)), balanced, *recalls]
        wanted = [bootstrap_interval(one, n, groups, **same) for one in statistics]
        rows = [found.accuracy[j], found.balanced[j], *found.per_class[j][:-1]]
        np.testing.assert_allclose(_numbers(rows), wanted)
        assert found.per_class[j][-1] == [None, None, None]


def test_memory_does_not_grow_with_classes_times_columns() -> None:
    rng = np.random.default_rng(0)
    n, classes, columns = 2000, 100, 4
    labels, right = rng.integers(0, classes, n), rng.random((n, columns)) < 0.5
    tracemalloc.start()
    try:
        found = GroupedIntervals(labels, [None] * n, classes, resamples=50).of(right)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.per_class) == columns
    assert len(found.per_class[0]) == classes
    # What a matrix of the right answers of each class would take, without any of its products.
    assert peak < n * classes * columns * 8
