"""Intervals and tests that respect the sampling unit: groups of rows, seeds, or both.

Sources: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13-14 (percentile, BCa); Hesterberg,
The American Statistician 69 (2015), 371-386 (why few units give too narrow bootstraps); Owen, Annals of
Applied Statistics 1 (2007), 386-411, and Cameron, Gelbach & Miller, J. Business & Economic Statistics 29
(2011), 238-249 (two crossed factors); Wilson, JASA 22 (1927), 209-212.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

from plenish.metrics.resampling import (
    WEIGHTS_AT_ONCE,
    Floats,
    Ints,
    WeightedStatistic,
    bootstrap_weights,
    replicate,
    unit_codes,
    units_of_strata,
)

_EXACT_SIGN_FLIPS = 14  # 2**14 patterns are enumerated; more are sampled
_FEWEST_RESAMPLES = 200  # of one stratum
_ZERO = 1e-12  # variances of rounding alone


class Interval(NamedTuple):
    """An estimate with its confidence interval; ``nan`` bounds mean that the data cannot tell."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A paired difference between two arms, averaged over seeds.

    Attributes:
        mean: mean over seeds of (arm − reference) on the whole test split.
        low: lower bound.
        high: upper bound.
        p: two-sided sign-flip permutation p-value over seeds (not below 2 / 2**n_seeds).
        se_groups: standard error due to which groups happen to be in the test split.
        se_seeds: standard error due to the seeds.
        df: Satterthwaite degrees of freedom behind the interval.
        n_seeds: number of paired seeds.
        n_groups: number of resampled units of the test split.
    """

    mean: float
    low: float
    high: float
    p: float
    se_groups: float
    se_seeds: float
    df: float
    n_seeds: int
    n_groups: int

    @property
    def error(self) -> float:
        """Standard error of the mean, of both sources; nan where there is no interval."""
        return math.hypot(self.se_groups, self.se_seeds) if math.isfinite(self.df) else math.nan

    def interval(self, level: float) -> tuple[float, float]:
        """The interval of another level, nan where there is none."""
        half = float(stdtrit(self.df, 0.5 + level / 2)) * self.error
        return self.mean - half, self.mean + half

    @property
    def no_variance(self) -> list[str]:
        """Of `groups` and `seeds`, those between which nothing varied, so that there is no interval."""
        parts = {"groups": self.se_groups, "seeds": self.se_seeds}
        return [name for name, error in parts.items() if error <= _ZERO]


def wilson_interval(count: float, n: float, level: float = 0.95) -> Interval:
    """Share ``count / n`` with Wilson's score interval, sensible also for 0 and for n (Wilson 1927).

    Args:
        count: number of successes.
        n: number of independent trials; of dependent ones, both are divided by their design effect.
        level: confidence level.

    Raises:
        ValueError: if not 0 <= count <= n, or n is 0.
    """
    if n <= 0 or not 0 <= count <= n:
        raise ValueError(f"a share needs 0 <= count <= n and n > 0, got {count} of {n}")
    z2 = float(ndtri(0.5 + level / 2)) ** 2
    share = count / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    low = 0.0 if count == 0 else float(centre - half)
    high = 1.0 if count == n else float(centre + half)
    return Interval(share, low, high)


def bootstrap_interval(
    statistic: WeightedStatistic,
    n: int,
    groups: Sequence[Hashable | None] | NDArray[Any] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    strata: ArrayLike | None = None,
) -> Interval:
    """Value of a statistic with its cluster-bootstrap interval, corrected for bias and skew.

    The interval is BCa (Efron & Tibshirani 1993, §14.3): percentiles of the replicates, shifted by how many
    lie below the value and by how the statistic reacts to each unit left out in turn. Where that cannot be
    told, they are not shifted.

    Args:
        statistic: takes weights r×N and returns r values.
        n: N, number of rows.
        groups: N group names, or ``None`` for independent rows.
        level: confidence level.
        resamples: number of resamples.
        seed: seed of the draws.
        strata: see :func:`bootstrap_weights`.

    Returns:
        The interval; ``nan`` bounds with fewer than two units, or where most replicates are undefined.
    """
    codes = unit_codes(groups, n)
    value = float(np.asarray(statistic(np.ones((1, n), dtype=np.int64)))[0])
    n_units = int(codes.max()) + 1
    if n_units < 2:
        return Interval(value, np.nan, np.nan)
    x = replicate(statistic, bootstrap_weights(codes, resamples, seed, strata=strata))
    return bca_interval(value, x, replicate(statistic, jackknife_weights(codes, n_units)), level)


def bca_interval(value: float, replicates: Floats, jackknife: Floats, level: float = 0.95) -> Interval:
    """The interval of :func:`bootstrap_interval` from values that are known.

    Args:
        value: of the statistic on the data.
        replicates: R values under resampling, ``nan`` where undefined.
        jackknife: G values, each with a unit left out; without any, skew is not corrected for.
        level: confidence level.
    """
    x = np.sort(replicates[np.isfinite(replicates)])
    if x.size < max(2, len(replicates) // 2):
        return Interval(value, np.nan, np.nan)
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    jack = jackknife[np.isfinite(jackknife)]
    if x[0] < x[-1] and jack.size != 1:
        below = (np.searchsorted(x, value, "left") + np.searchsorted(x, value, "right")) / (2 * x.size)
        z0 = ndtri(np.clip(below, 0.5 / x.size, 1 - 0.5 / x.size))
        pull = jack.mean() - jack if jack.size else np.zeros(1)
        spread = float((pull**2).sum())
        acceleration = float((pull**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
        z = z0 + ndtri(tails)
        tails = ndtr(z0 + z / (1 - acceleration * z))
    low, high = np.quantile(x, tails)
    return Interval(value, float(low), float(high))


def jackknife_weights(codes: Ints, n_units: int) -> Iterator[Ints]:
    """Row weights with each unit left out in turn, in chunks."""
    chunk = max(1, WEIGHTS_AT_ONCE // len(codes))
    for start in range(0, n_units, chunk):
        left_out = np.arange(start, min(start + chunk, n_units))
        yield (codes[None, :] != left_out[:, None]).astype(np.int64)


def hierarchical_bootstrap(
    statistic: Callable[[int, Ints], Floats],
    n_seeds: int,
    n: int,
    groups: Sequence[Hashable | None] | NDArray[Any] | None = None,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
    strata: ArrayLike | None = None,
) -> Difference:
    """Interval of a paired difference that counts both which groups were tested and which seeds were run.

    Seeds and test groups are crossed: every seed's classifier is tested on the same groups. The variance of
    the mean difference is taken as the sum of two parts: the cluster bootstrap over groups of the
    difference averaged over seeds, and the sample variance over seeds divided by their number. (The part
    both share, the interaction, is thus counted twice: slightly conservative.) The interval is Student t
    with Satterthwaite's degrees of freedom, because percentile bootstraps of three to five seeds are far
    too narrow (Hesterberg 2015).

    Where nothing varies between the groups, or between the seeds, their variance is unknown rather than 0
    (a few units happened to agree), and there is no interval.

    Args:
        statistic: takes (k, weights r×N) and returns r differences arm − reference of the k-th seed on the
            test rows so weighted; ``nan`` where undefined.
        n_seeds: K, number of paired seeds.
        n: N, number of test rows.
        groups: N group names, or ``None`` for independent rows.
        level: confidence level.
        resamples: number of resamples of the groups.
        seed: seed of the draws.
        strata: N labels; groups are then drawn within each, see :func:`bootstrap_weights`.

    Returns:
        The difference; bounds are ``nan`` with fewer than two seeds or two groups, without variance, where a
        stratum has a single unit, or where most replicates are undefined.
    """
    codes = unit_codes(groups, n)
    n_units = int(codes.max()) + 1
    ones = np.ones((1, n), dtype=np.int64)
    deltas = np.array([float(np.asarray(statistic(k, ones))[0]) for k in range(n_seeds)])

    def seed_mean(weights: Ints) -> Floats:
        return np.asarray(np.mean([statistic(k, weights) for k in range(n_seeds)], axis=0))

    mean, p, nan = float(deltas.mean()), sign_flip_test(deltas, seed=seed), np.nan
    if n_seeds < 2 or n_units < 2:
        return Difference(mean, nan, nan, p, nan, nan, nan, n_seeds, n_units)
    var_groups, squares = _group_variance(seed_mean, codes, resamples, seed, strata)
    var_seeds = float(deltas.var(ddof=1)) / n_seeds
    se_groups, se_seeds = math.sqrt(var_groups), math.sqrt(var_seeds)
    if not math.isfinite(var_groups) or min(se_groups, se_seeds) <= _ZERO:
        return Difference(mean, nan, nan, p, se_groups, se_seeds, nan, n_seeds, n_units)
    total = var_groups + var_seeds
    df = total**2 / (squares + var_seeds**2 / (n_seeds - 1))
    half = float(stdtrit(df, 0.5 + level / 2)) * np.sqrt(total)
    return Difference(mean, mean - half, mean + half, p, se_groups, se_seeds, df, n_seeds, n_units)


def _group_variance(
    statistic: WeightedStatistic, codes: Ints, resamples: int, seed: int, strata: ArrayLike | None
) -> tuple[float, float]:
    """Variance of a statistic due to the choice of units, and the sum of its parts' squares, each by its df.

    Drawing n of n units gives (n−1)/n of the unbiased variance, which is undone: for all units together, or
    for the n of each stratum, whose parts add up (exactly for balanced accuracy, to first order for others).
    ``nan`` where a stratum has a single unit, whose variance is unknown, or most replicates are undefined.
    """
    parts = [np.arange(int(codes.max()) + 1)]
    if strata is not None:
        parts = [*units_of_strata(codes, strata).values()]
    if min(map(len, parts)) < 2:
        return math.nan, math.nan
    each = max(-(-resamples // len(parts)), min(resamples, _FEWEST_RESAMPLES))
    variance = squares = 0.0
    for k, members in enumerate(parts):
        found = replicate(statistic, bootstrap_weights(codes, each, seed + k, within=members))
        found = found[np.isfinite(found)]
        if found.size < max(2, each // 2):
            return math.nan, math.nan
        n = len(members)
        part = float(found.var(ddof=1)) * n / (n - 1)
        variance, squares = variance + part, squares + part**2 / (n - 1)
    return variance, squares


def sign_flip_test(differences: ArrayLike, *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided sign-flip permutation p-value for a mean paired difference of zero.

    Up to 14 differences all 2**n patterns are enumerated and the p-value is exact; above, patterns are
    drawn and the observed one is counted. With n seeds it cannot fall below 2 / 2**n: five seeds reach
    0.0625 at best.

    Args:
        differences: n paired differences; symmetric about zero under the null.
        resamples: number of drawn patterns where they are not enumerated.
        seed: seed of the draws.
    """
    d = np.asarray(differences, dtype=np.float64)
    d = d[d != 0]  # whose sign changes nothing
    observed = abs(d.sum())
    slack = 1e-12 * max(1.0, float(np.abs(d).sum()))  # sums in another order may differ in the last bit
    if d.size <= _EXACT_SIGN_FLIPS:
        patterns = np.arange(2**d.size)[:, None] >> np.arange(d.size) & 1
        return float(np.mean(np.abs((1 - 2 * patterns) @ d) >= observed - slack))
    rng = np.random.default_rng([seed, 0x51F])
    hits, chunk = 0, max(1, WEIGHTS_AT_ONCE // d.size)
    for start in range(0, resamples, chunk):
        signs = 1.0 - 2 * rng.integers(0, 2, (min(chunk, resamples - start), d.size), dtype=np.int8)
        hits += int(np.count_nonzero(np.abs(signs @ d) >= observed - slack))
    return (hits + 1) / (resamples + 1)


def can_reach(n: int, level: float, tests: int = 1) -> bool:
    """Whether a sign-flip test of n units is fine enough to decide at `level`, adjusted for so many tests.

    Its least p-value must be a quarter of what is needed: at the bare minimum (six units for 95 %) only a
    unanimous sample would pass.
    """
    return 4 * tests * 2.0 ** (1 - n) <= 1 - level
