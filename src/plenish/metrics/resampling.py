"""Resampling units: groups of rows drawn with replacement, expressed as integer row weights.

Rows of one patient are not independent, so what is drawn is the *group*, with all its rows (cluster
bootstrap; Davison & Hinkley, Bootstrap Methods and their Application, 1997, §3.8). A resample expressed as
row weights lets statistics that are sums over rows (confusion matrices, means, moments) be computed for all
resamples by one matrix product.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
WeightedStatistic = Callable[[NDArray[np.int64]], ArrayLike]
"""Takes row weights R×N (how often each row was drawn) and returns R values."""

WEIGHTS_AT_ONCE = 8_000_000  # 64 MB of int64


def unit_codes(groups: Sequence[Hashable | None] | NDArray[Any] | None, n: int) -> Ints:
    """Number of the resampling unit of each row, 0…G−1.

    Args:
        groups: N group names; ``None`` as a whole, or ``None`` or NaN for a row, makes rows their own units.
        n: number of rows.

    Raises:
        ValueError: the lengths differ.
    """
    if groups is None:
        return np.arange(n, dtype=np.int64)
    if len(groups) != n:
        raise ValueError(f"{len(groups)} groups for {n} rows")
    numbers: dict[Any, int] = {}
    names = (object() if name is None or name != name else name for name in groups)
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int64)


def count_units(groups: Sequence[Hashable | None] | NDArray[Any]) -> int:
    """Number of resampling units; rows without a group are units of their own."""
    return len(np.unique(unit_codes(groups, len(groups))))


def units_of_strata(codes: Ints, strata: ArrayLike) -> dict[Any, Ints]:
    """Units of each stratum that has any; one with rows of several belongs to its most frequent one.

    Args:
        codes: N unit numbers from :func:`unit_codes`.
        strata: N labels.
    """
    names, rows = np.unique(np.asarray(strata), return_inverse=True)
    table = np.zeros((int(codes.max()) + 1, len(names)), dtype=np.int64)
    np.add.at(table, (codes, rows), 1)
    home = table.argmax(axis=1)
    return {names[s]: np.flatnonzero(home == s) for s in np.unique(home)}


def are_pure(codes: Ints, units: Ints) -> bool:
    """Whether each unit has rows of one class alone.

    Args:
        codes: N class numbers.
        units: N unit numbers from :func:`unit_codes`.
    """
    first = np.unique(units, return_index=True)[1]
    return bool(np.array_equal(codes[first][units], codes))


def is_stratified(codes: Ints, units: Ints) -> bool:
    """Whether units are drawn within their classes: each has one class alone, and no class a single unit.

    Args:
        codes: N class numbers.
        units: N unit numbers from :func:`unit_codes`.
    """
    return are_pure(codes, units) and min(map(len, units_of_strata(units, codes).values())) > 1


def bootstrap_weights(
    codes: Ints, resamples: int, seed: int, *, strata: ArrayLike | None = None, within: Ints | None = None
) -> Iterator[Ints]:
    """Row weights of the cluster bootstrap: units drawn with replacement, all rows of each.

    Args:
        codes: N unit numbers from :func:`unit_codes`.
        resamples: R, number of resamples.
        seed: makes the draws repeatable; independent of how they are chunked.
        strata: N labels; units are then drawn within each, keeping the number of units per stratum. Use it
            when the statistic is conditional on the class (balanced accuracy) so that no class vanishes.
        within: draw among these units alone, and count all others once (instead of `strata`).

    Yields:
        Chunks r×N of integer weights, R rows in all.
    """
    n_units = int(codes.max()) + 1
    groups = [np.arange(n_units) if within is None else within]
    if strata is not None:
        groups = [*units_of_strata(codes, strata).values()]
    rng = np.random.default_rng([seed, 0xB007])
    chunk = max(1, min(resamples, WEIGHTS_AT_ONCE // max(1, len(codes) + n_units)))
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        units = np.ones((size, n_units), dtype=np.int64)
        for row in range(size):  # one draw after another, so that chunking cannot change the stream
            for members in groups:
                drawn = rng.integers(0, len(members), len(members))
                units[row, members] = np.bincount(drawn, minlength=len(members))
        yield units[:, codes]


def replicate(statistic: WeightedStatistic, weights: Iterable[Ints]) -> Floats:
    """Values R of a statistic under R×N weights that come in chunks; ``nan`` where it is undefined."""
    return np.concatenate([np.asarray(statistic(chunk), dtype=np.float64) for chunk in weights])


def all_weights(codes: Ints, resamples: int, seed: int) -> Floats:
    """:func:`bootstrap_weights` in one array R+1×N; in row 0, every row once."""
    return np.concatenate([np.ones((1, len(codes))), *bootstrap_weights(codes, resamples, seed)])


def student(units: int, replicates: int, level: float = 0.95) -> float:
    """Half the width of an interval, in bootstrap standard errors from so many replicates over so many units.

    The quantile of Student's t, times √(units / (units − 1)): a bootstrap of few units is too narrow by that
    factor (Hesterberg, The American Statistician 69 (2015), 371-386). Few replicates tell the standard error
    roughly, so the degrees of freedom are the lesser of units − 1 and replicates − 1.

    Args:
        units: number of resampled units.
        replicates: number of replicates that the standard error is from.
        level: confidence level.

    Returns:
        The factor; nan with fewer than two units or replicates.
    """
    from scipy.special import stdtrit  # The report, which imports this module, answers --help without scipy.

    if min(units, replicates) < 2:
        return math.nan
    df = min(units, replicates) - 1
    return float(stdtrit(df, 0.5 + level / 2)) * math.sqrt(units / (units - 1))
