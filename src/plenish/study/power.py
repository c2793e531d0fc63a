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
from scipy.special import stdtrit

from plenish.metrics.resampling import are_pure

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
POWER = 0.8
"""Share of studies that find a gain as large as announced."""
TYPICAL = {"groups": 0.06, "seeds": 0.025, "images": 0.12, "lasting": 0.02}
"""Assumed noise of the difference of two arms; see docs/study.md for where it was observed.

`groups`: standard deviation of a group's own difference; `seeds`: standard deviation of the difference
between seeds on endless test images; `images`: share of test images that one of two trainings alone gets
right; `lasting`: the part of it that is the same for all seeds.
"""
_PRIOR_DF = 4
"""Degrees of freedom of the assumed noise when it is pooled with the observed."""
_DRAWS = 20_000
MOST_SEEDS, MOST_TIMES = 100, 100


@dataclasses.dataclass(frozen=True)
class Noise:
    """Variances of the difference between two arms.

    Attributes:
        groups: variance of the difference, averaged over endless seeds, due to the choice of the test groups.
        seeds: variance between seeds on endless groups.
        both: further variance of one seed's difference, which differs from group to group.
        n_groups: number of test groups (or images without any) behind `groups` and `both`.
        df: degrees of freedom of a variance between these groups.
    """

    groups: float
    seeds: float
    both: float
    n_groups: int
    df: float

    def with_groups(self, n: int) -> Noise:
        """The same noise with another number of groups like these."""
        share = self.n_groups / n
        df = self.df * (n - 1) / max(self.n_groups - 1, 1)
        return Noise(self.groups * share, self.seeds, self.both * share, n, max(df, 1.0))

    def parts(self, seeds: int) -> tuple[float, float]:
        """Expected variances of the mean over so many seeds, due to groups and to seeds."""
        return self.groups + self.both / seeds, (self.seeds + self.both) / seeds

    def larger(self, seeds: int) -> str:
        """Which of `groups` and `seeds` adds more to the variance."""
        return "groups" if self.groups > (self.seeds + self.both) / seeds else "seeds"


@dataclasses.dataclass(frozen=True)
class Plan:
    """A study's size: what `find` and `settle` are asked for.

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
        groups, seeds = self.noise.parts(self.seeds)
        true = groups + seeds - self.noise.both / self.seeds
        z, by_group, by_seed = _draws(self.noise.df, self.seeds - 1)
        found_groups, found_seeds = groups * by_group, seeds * by_seed
        total = found_groups + found_seeds
        df = total**2 / (found_groups**2 / self.noise.df + found_seeds**2 / (self.seeds - 1))
        return math.sqrt(true) * z, np.sqrt(total), df

    def gain(self, power: float = POWER) -> float:
        """The true gain that is found in a share `power` of cases; nan without two seeds and groups."""
        if self.seeds < 2 or self.noise.n_groups < 2 or sum(self.noise.parts(self.seeds)) == 0:
            return math.nan
        errors, se, df = self._simulated()
        return float(np.quantile(stdtrit(df, 0.5 + self.level / 2) * se - errors, power))

    def chance(self, gain: float) -> float:
        """The share of cases in which a true gain is found."""
        errors, se, df = self._simulated()
        return float(np.mean(gain + errors > stdtrit(df, 0.5 + self.level / 2) * se))

    def settled(self, margin: float) -> float:
        """The share of cases in which no difference at all is called equivalent within ±margin."""
        errors, se, df = self._simulated()
        return float(np.mean(np.abs(errors) + stdtrit(df, self.level) * se < margin))

    def seeds_for(self, enough: Callable[[Plan], bool]) -> int | None:
        """The smallest number of seeds that is enough; None where no number is."""
        return _least(self.seeds, MOST_SEEDS, lambda n: enough(dataclasses.replace(self, seeds=n)))

    def groups_for(self, enough: Callable[[Plan], bool]) -> int | None:
        """The smallest number of test groups that is enough; None where even a hundred times as many is not."""
        n = max(self.noise.n_groups, 2)
        return _least(
            n, MOST_TIMES * n,
            lambda n: enough(dataclasses.replace(self, noise=self.noise.with_groups(n))),
        )  # fmt: skip


@functools.lru_cache(maxsize=64)
def _draws(df_groups: float, df_seeds: float) -> tuple[Floats, Floats, Floats]:
    """Standard normal errors, and ratios of estimated to true variances; the same at every call."""
    rng = np.random.default_rng(0x90)
    z = rng.standard_normal(_DRAWS)
    return (
        z, rng.chisquare(df_groups, _DRAWS) / df_groups, rng.chisquare(df_seeds, _DRAWS) / df_seeds,
    )  # fmt: skip


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
    return np.stack([np.bincount(units, row, n) for row in flat]).reshape(*values.shape[:-1], n)


def typical_noise(codes: Ints, units: Ints) -> Noise:
    """The assumed noise on these test rows.

    Args:
        codes: N class numbers.
        units: N unit numbers of the test groups.
    """
    shares = row_shares(codes)
    by_image = float((shares**2).sum())
    squares = unit_sums(shares, units) ** 2
    groups = TYPICAL["groups"] ** 2 * float(squares.sum()) + TYPICAL["lasting"] * by_image
    both = (TYPICAL["images"] - TYPICAL["lasting"]) * by_image
    return Noise(groups, TYPICAL["seeds"] ** 2, both, len(squares), group_df(codes, units, squares))


def group_df(codes: Ints, units: Ints, variances: Floats) -> float:
    """Degrees of freedom of the variance between groups: G − 1, or Satterthwaite's over classes.

    Args:
        codes: N class numbers.
        units: N unit numbers.
        variances: G, what each unit adds to the variance.
    """
    strata = _strata(codes, units)
    if len(strata) < 2:
        return float(max(len(variances) - 1, 1))
    parts = [(float(variances[members].sum()), len(members) - 1) for members in strata]
    below = sum(part**2 / df for part, df in parts)
    return sum(part for part, _ in parts) ** 2 / below if below > 0 else float(len(variances) - len(strata))


def _strata(codes: Ints, units: Ints) -> list[Ints]:
    """Units of each class where every unit has one class alone and no class has a single unit, else all."""
    first = np.unique(units, return_index=True)[1]
    kinds = codes[first]
    members = [np.flatnonzero(kinds == k) for k in np.unique(kinds)]
    if are_pure(codes, units) and min(map(len, members)) > 1:
        return members
    return [np.arange(len(first))]


def observed_noise(codes: Ints, units: Ints, differences: Floats) -> Noise:
    """The noise of an arm's difference, pooled with the assumed one; the difference itself is not used.

    Args:
        codes: N class numbers.
        units: N unit numbers of the test groups.
        differences: K×N, what each seed's pair of trainings differs by on each row: right (1) minus right.

    Returns:
        Moment estimates of the three variances (two-way analysis of variance without replication, groups ×
        seeds, of what groups add to balanced accuracy), each pooled with the typical one.
    """
    prior, seeds = typical_noise(codes, units), len(differences)
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
    return Noise(max(groups, 0.0), max(by_seed, 0.0), both, prior.n_groups, prior.df)


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
        all_groups: groups (or images without any) of the whole split, which folds would all test.
    """
    plan = Plan(noise, seeds, level)
    more = max(2 * seeds, 3)
    found: dict[str, Any] = {
        "basis": basis, "gain": plan.gain(), "power": POWER, "seeds": seeds, "groups": noise.n_groups,
        "unit": unit, "noise": {name: math.sqrt(getattr(noise, name)) for name in ("groups", "seeds", "both")},
        "larger": noise.larger(seeds),
        "more_seeds": {"seeds": more, "gain": dataclasses.replace(plan, seeds=more).gain()},
        "all_groups": None,
    }  # fmt: skip
    if all_groups > 1.5 * noise.n_groups:
        whole = dataclasses.replace(plan, noise=noise.with_groups(all_groups))
        found["all_groups"] = {"groups": all_groups, "gain": whole.gain()}
    return found


def outlook(noise: Noise, seeds: int, level: float, mean: float, margin: float) -> dict[str, Any]:
    """What a decision would need after `no evidence`, as study.json keeps it.

    Args:
        noise: observed and pooled.
        seeds: trainings per arm.
        level: level of the intervals.
        mean: the observed difference.
        margin: what counts as equivalent.

    Returns:
        `aim` (`difference`: find a true difference as large as the observed; `equivalence`: where that is
        within the margin, show that there is none beyond it), `seeds` and `groups` (as many in all, with
        everything else as it is; None: no number is enough) and `larger`, the larger noise.
    """
    plan = Plan(noise, max(seeds, 2), level)
    aim = "difference" if abs(mean) > margin else "equivalence"

    def enough(plan: Plan) -> bool:
        reached = plan.chance(abs(mean)) if aim == "difference" else plan.settled(margin)
        return reached >= POWER

    return {
        "aim": aim, "seeds": plan.seeds_for(enough), "groups": plan.groups_for(enough),
        "larger": noise.larger(seeds),
    }  # fmt: skip
