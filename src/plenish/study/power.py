"""What gain in balanced accuracy a study can find, from how much results vary between groups and seeds.

A difference between two arms varies with which groups are tested, with the seed, and with both (each
training errs on other images of other groups). Before anything is trained, these variances are assumed
(`TYPICAL`); once two seeds are trained they are observed, without looking at the difference itself, and
pooled with the assumed ones. Power is the share of simulated studies of that noise whose interval, made as
in `metrics.statistics.hierarchical_bootstrap`, excludes 0: a noncentral t with two variances.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from plenish.metrics.resampling import is_stratified, units_of_strata

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
POWER = 0.8
"""Share of studies that find a gain as large as announced."""
TYPICAL = {"groups": 0.06, "seeds": 0.025, "images": 0.12, "lasting": 0.02}
"""Assumed noise of the difference of two arms, until two seeds of every arm are trained.

`groups`: standard deviation of a group's own difference; `seeds`: standard deviation of the difference
between seeds on endless test images; `images`: share of test images that one of two trainings alone gets
right; `lasting`: the part of it that is the same for all seeds.
"""
_PRIOR_DF = 2
"""Degrees of freedom of the assumed noise when it is pooled with the observed."""
_FOLDS = 5
_DRAWS = 20_000
MOST_SEEDS, MOST_TIMES = 100, 100


@dataclasses.dataclass(frozen=True)
class Noise:
    """Variances of the difference between two arms.

    Attributes:
        groups: variance of the difference, averaged over endless seeds, due to the choice of the test groups.
        seeds: variance between seeds on endless groups.
        both: further variance of one seed's difference, which differs from group to group.
        strata: of each class where groups have one class each, else of all groups together: share of the
            variance due to groups, and number of groups (or images without any).
    """

    groups: float
    seeds: float
    both: float
    strata: tuple[tuple[float, int], ...]

    @property
    def n_groups(self) -> int:
        """Number of test groups."""
        return sum(n for _, n in self.strata)

    @property
    def df(self) -> float:
        """Degrees of freedom of a variance between these groups, Satterthwaite's over the strata."""
        return 1 / sum(share**2 / max(n - 1, 1) for share, n in self.strata)

    def with_groups(self, n: int) -> Noise:
        """The same noise with about another number of groups like these, at least two a stratum."""
        factor = n / self.n_groups
        strata = tuple((share, max(round(factor * own), 2)) for share, own in self.strata)
        return Noise(self.groups / factor, self.seeds, self.both / factor, strata)

    def parts(self, seeds: int) -> tuple[float, float]:
        """Expected variances of the mean over so many seeds, due to groups and to seeds."""
        return self.groups + self.both / seeds, (self.seeds + self.both) / seeds

    def larger(self, seeds: int) -> str:
        """Which of `groups` and `seeds` adds more to the variance."""
        return "groups" if self.groups > (self.seeds + self.both) / seeds else "seeds"


@dataclasses.dataclass(frozen=True)
class StudySize:
    """A study's size, and what it can find.

    Attributes:
        noise: of one comparison, at the number of groups it will have.
        seeds: trainings per arm.
        level: level of the intervals.
    """

    noise: Noise
    seeds: int
    level: float

    def _simulated(self) -> tuple[Floats, Floats, Floats]:
        """Errors of the mean, estimated standard errors, and their degrees of freedom, in many studies."""
        by_groups, by_seeds = self.noise.parts(self.seeds)
        true = by_groups + by_seeds - self.noise.both / self.seeds
        dfs = [max(n - 1, 1) for _, n in self.noise.strata] + [self.seeds - 1]
        shares = [by_groups * share for share, _ in self.noise.strata] + [by_seeds]
        z, *ratios = _draws(tuple(dfs))
        found = [share * ratio for share, ratio in zip(shares, ratios)]
        total = np.sum(found, axis=0)
        df = total**2 / np.sum([part**2 / df for part, df in zip(found, dfs)], axis=0)
        return math.sqrt(true) * z, np.sqrt(total), df

    def gain(self, power: float = POWER) -> float:
        """The true gain that is found in a share `power` of cases; nan without two seeds and groups."""
        if self.seeds < 2 or self.noise.n_groups < 2 or sum(self.noise.parts(self.seeds)) == 0:
            return math.nan
        errors, se, df = self._simulated()
        return float(np.quantile(_t_quantile(df, 0.5 + self.level / 2) * se - errors, power))

    def chance(self, gain: float) -> float:
        """The share of cases in which a true gain is found."""
        errors, se, df = self._simulated()
        return float(np.mean(gain + errors > _t_quantile(df, 0.5 + self.level / 2) * se))

    def settled(self, margin: float) -> float:
        """The share of cases in which no difference at all is called equivalent within ±margin."""
        errors, se, df = self._simulated()
        return float(np.mean(np.abs(errors) + _t_quantile(df, self.level) * se < margin))

    def seeds_for(self, enough: Callable[[StudySize], bool]) -> int | None:
        """The smallest number of seeds that is enough; None where no number is."""
        return _least(self.seeds, MOST_SEEDS, lambda n: enough(dataclasses.replace(self, seeds=n)))

    def groups_for(self, enough: Callable[[StudySize], bool]) -> int | None:
        """The smallest number of test groups that is enough; None where a hundred times as many is not."""
        n = self.noise.n_groups
        return _least(
            n, MOST_TIMES * n,
            lambda n: enough(dataclasses.replace(self, noise=self.noise.with_groups(n))),
        )  # fmt: skip


@functools.lru_cache(maxsize=64)
def _draws(dfs: tuple[int, ...]) -> list[Floats]:
    """Standard normal errors, and ratios of estimated to true variances; the same at every call."""
    rng = np.random.default_rng(0x90)
    return [rng.standard_normal(_DRAWS), *(rng.chisquare(df, _DRAWS) / df for df in dfs)]


def _t_quantile(df: Floats, p: float) -> Floats:
    """Quantiles of Student's t of at least one degree of freedom, by interpolation in 1 / df."""
    grid = np.linspace(0, 1, 1001)
    with np.errstate(divide="ignore"):
        exact = np.append(ndtri(p), stdtrit(1 / grid[1:], p))
    return np.asarray(np.interp(1 / df, grid, exact))


def _least(first: int, most: int, enough: Callable[[int], bool]) -> int | None:
    """The smallest number from `first` on that is enough, by doubling and halving."""
    low, high = first - 1, first
    while not enough(high):
        if high >= most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def row_shares(codes: Ints) -> Floats:
    """What each test row adds to balanced accuracy when it is classified rightly, N; they sum to 1."""
    counts = np.bincount(codes)
    return 1 / (np.count_nonzero(counts) * counts[codes].astype(np.float64))


def unit_sums(values: Floats, units: Ints) -> Floats:
    """Sums of values …×N over the rows of each unit, …×G."""
    n = int(units.max()) + 1
    flat = values.reshape(-1, values.shape[-1])
    sums: list[Floats] = [np.bincount(units, row, n).astype(np.float64) for row in flat]
    return np.stack(sums).reshape(*values.shape[:-1], n)


def typical_noise(codes: Ints, units: Ints, folds: int = 1) -> Noise:
    """The assumed noise on these test rows.

    Args:
        codes: N class numbers.
        units: N unit numbers of the test groups.
        folds: trainings of each seed, each of which is tested on its share of the rows.
    """
    shares = row_shares(codes)
    by_image = float((shares**2).sum())
    squares = unit_sums(shares, units) ** 2
    strata = [
        (float(squares[members].sum() / squares.sum()), len(members)) for members in _strata(codes, units)
    ]
    groups = TYPICAL["groups"] ** 2 * float(squares.sum()) + TYPICAL["lasting"] * by_image
    both = (TYPICAL["images"] - TYPICAL["lasting"]) * by_image
    return Noise(groups, TYPICAL["seeds"] ** 2 / folds, both, tuple(strata))


def _strata(codes: Ints, units: Ints) -> list[Ints]:
    """Units of each class where every unit has one class alone and no class has a single unit, else all."""
    if is_stratified(codes, units):
        return [*units_of_strata(units, codes).values()]
    return [np.arange(int(units.max()) + 1)]


def observed_noise(codes: Ints, units: Ints, differences: Floats, folds: int = 1) -> Noise:
    """The noise of an arm's difference, pooled with the assumed one; the difference itself is not used.

    Args:
        codes: N class numbers.
        units: N unit numbers of the test groups.
        differences: K×N, what each seed's pair of trainings differs by on each row: right (1) minus right.
        folds: see `typical_noise`.

    Returns:
        Moment estimates of the three variances (two-way analysis of variance without replication, groups ×
        seeds, of what groups add to balanced accuracy), each pooled with the typical one.
    """
    prior, seeds = typical_noise(codes, units, folds), len(differences)
    if seeds < 2 or prior.n_groups < 2:
        return prior
    shares = row_shares(codes)
    totals = (differences * shares).sum(axis=1)
    centred = differences.astype(np.float64)
    for k in np.unique(codes):
        centred[:, codes == k] -= centred[:, codes == k].mean(axis=1, keepdims=True)
    influence = unit_sums(centred * shares, units)  # K×G
    inflation = np.ones(prior.n_groups)
    for members in _strata(codes, units):
        inflation[members] = len(members) / (len(members) - 1)
    found_both = float((influence.var(axis=0, ddof=1) * inflation).sum())
    means = influence.mean(axis=0) ** 2 * inflation
    both = _pooled(prior.both, found_both, (seeds - 1) * prior.df)
    groups = _pooled(prior.groups + both / seeds, float(means.sum()), prior.df) - both / seeds
    by_seed = _pooled(prior.seeds + both, float(totals.var(ddof=1)), seeds - 1) - both
    return Noise(max(groups, 0.0), max(by_seed, 0.0), both, prior.strata)


def _pooled(assumed: float, found: float, df: float) -> float:
    return (_PRIOR_DF * assumed + df * found) / (_PRIOR_DF + df)


def announce(
    noise: Noise, seeds: int, level: float, *, basis: str, unit: str = "group", all_groups: int = 0
) -> dict[str, Any]:  # fmt: skip
    """What gain a study can find, as study.json keeps it; nan where it can find none.

    Args:
        noise: of the comparison.
        seeds: trainings per arm.
        level: level of the intervals.
        basis: where the noise is from: `typical`, or `observed` and pooled.
        unit: what is resampled: `group`, or `image` where there are no groups.
        all_groups: groups (or images without any) that folds would test.
    """
    size = StudySize(noise, seeds, level)
    more = max(2 * seeds, 3)
    found: dict[str, Any] = {
        "basis": basis, "gain": size.gain(), "power": POWER, "seeds": seeds, "groups": noise.n_groups,
        "unit": unit, "larger": noise.larger(seeds),
        "noise": {name: math.sqrt(getattr(noise, name)) for name in ("groups", "seeds", "both")},
        "more_seeds": {"seeds": more, "gain": dataclasses.replace(size, seeds=more).gain()},
        "all_groups": None,
    }  # fmt: skip
    if all_groups > 1.5 * noise.n_groups:
        by_folds = dataclasses.replace(noise.with_groups(all_groups), seeds=noise.seeds / _FOLDS)
        whole = dataclasses.replace(size, noise=by_folds)
        found["all_groups"] = {"groups": all_groups, "folds": _FOLDS, "gain": whole.gain()}
    return found


def outlook(
    noise: Noise, seeds: int, level: float, mean: float, margin: float
) -> dict[str, Any] | None:  # fmt: skip
    """What a decision would need after `no evidence`, as study.json keeps it.

    Args:
        noise: observed and pooled.
        seeds: trainings per arm.
        level: what decides, adjusted for several arms.
        mean: the observed difference.
        margin: what counts as equivalent.

    Returns:
        `aim` (`difference`: find a true difference as large as the observed; `equivalence`: where that is
        within the margin, show that there is none beyond it), `seeds` and `groups` (as many in all, with
        everything else as it is; None: no number is enough) and `larger`, the larger noise. None as a whole
        where this size should have been enough already: then the noise does not say what is lacking.
    """
    size = StudySize(noise, max(seeds, 2), level)
    aim = "difference" if abs(mean) > margin else "equivalence"

    def enough(size: StudySize) -> bool:
        reached = size.chance(abs(mean)) if aim == "difference" else size.settled(margin)
        return reached >= POWER

    if enough(size):
        return None
    return {
        "aim": aim, "seeds": size.seeds_for(enough), "groups": size.groups_for(enough),
        "larger": noise.larger(seeds),
    }  # fmt: skip
