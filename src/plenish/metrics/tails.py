"""How near to one training image an image may come by chance, told from held-out images in groups.

Images of one patient resemble each other, so it is groups that are counted: six patients with a hundred
images each say as little about the seventh as six patients with ten.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, fdtri, gammainc, gammaincinv

from plenish.metrics.resampling import Floats, Ints, bootstrap_weights

_MIDDLES = (np.arange(400) + 0.5) / 400
LOW = 0.1  # share of values that shows how groups differ in low ones; fewer are too few to tell
_RESAMPLES, _SEED = 400, 0
"""The bootstrap behind a chance share, which is the same for the same values."""


@dataclass(frozen=True)
class LowerTail:
    """How the smallest values of groups thin out towards zero.

    Distances to the nearest of many points follow a power law near zero, with the intrinsic dimension as
    its exponent. Hill's estimator (Annals of Statistics 3, 1975) finds it in the least values of the
    groups: logarithms of their ratios to the (k+1)-th smallest are exponential, with a sum that is
    gamma-distributed. What a new group does then has a Pareto tail, which is wide where there are few groups.

    Attributes:
        groups: G.
        used: k, the number of least values that the estimate rests on.
        anchor: the (k+1)-th smallest value of a group.
        spread: sum of the k logarithms of anchor over value.
        images: mean number of images of a group.
    """

    groups: int
    used: int
    anchor: float
    spread: float
    images: float

    @classmethod
    def of(cls, values: Floats, units: Ints) -> LowerTail | None:
        """The tail of n positive values of groups; None with fewer than three groups.

        Args:
            values: n values.
            units: n numbers of groups from `resampling.unit_codes`.
        """
        least = np.full(int(units.max()) + 1, np.inf)
        np.minimum.at(least, units, values)
        least = np.sort(least[np.isfinite(least)])
        groups = len(least)
        if groups < 3 or least[0] <= 0:
            return None
        used = min(groups - 1, int(np.ceil(groups**0.8)))
        anchor = float(least[used])
        spread = float(np.log(anchor / least[:used]).sum())
        return cls(groups, used, anchor, spread, len(values) / groups)

    def expected(self, value: float, images: int) -> float:
        """How many groups among so many new images are expected to have one below `value`."""
        share = self.used / self.groups
        if value < self.anchor and self.spread > 0:
            share *= (1 + np.log(self.anchor / max(value, 1e-9)) / self.spread) ** -self.used
        return float(share * max(1.0, images / self.images))

    def limit(self, images: int, chance: float, count: int = 1) -> float:
        """The value below which so many groups among new images have one, with this probability.

        Args:
            images: number of new images.
            chance: the probability.
            count: number of groups, which are taken as independent of each other (a Poisson number).
        """
        new = max(1.0, images / self.images)
        if count == 1:
            ratio = chance * self.groups / (self.used * new)
            if ratio >= 1:
                return self.anchor
            return float(self.anchor * np.exp(-self.spread * (ratio ** (-1 / self.used) - 1)))
        if self.spread <= 0:
            return self.anchor
        powers = gammaincinv(self.used, _MIDDLES) / self.spread

        def probability(log_ratio: float) -> float:
            mean = new * self.used / self.groups * np.exp(-powers * log_ratio)
            return float(gammainc(count, mean).mean())

        low, high = 0.0, 1.0
        while probability(high) > chance:
            low, high = high, 2 * high
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if probability(middle) > chance else (low, middle)
        return float(self.anchor * np.exp(-high)) if high > 1e-9 else self.anchor


def design_effect(low: NDArray[np.bool_], units: Ints, level: float = 0.95) -> float:
    """How many times fewer independent images n images in groups are worth, at the most.

    It is 1 + (m − 1)·ρ (Kish, Survey Sampling, 1965), with m images of a group, of the intraclass correlation
    ρ of what is counted. Few groups tell ρ roughly, so the upper end of its interval is taken, from the ratio
    of the variances between and within groups (Searle, Linear Models, 1971, §9.9).

    Args:
        low: whether each of n images is counted.
        units: n numbers of groups from `resampling.unit_codes`.
        level: probability that ρ is not higher.

    Returns:
        1 for images without groups, m where ρ cannot be told or is 1.
    """
    n, groups = len(low), int(units.max()) + 1
    if groups == n:
        return 1.0
    sizes = np.bincount(units)
    if groups < 2:
        return float(n)
    size = float((n - (sizes**2).sum() / n) / (groups - 1))
    counted = low.astype(np.float64)
    means = np.bincount(units, counted) / sizes
    between = float((sizes * (means - counted.mean()) ** 2).sum() / (groups - 1))
    within = float(((counted - means[units]) ** 2).sum() / (n - groups))
    if within <= 0:
        return max(1.0, size)
    ratio = between / within / float(fdtri(groups - 1, n - groups, 1 - level))
    return float(1 + max(0.0, size - 1) * np.clip((ratio - 1) / (ratio + size - 1), 0.0, 1.0))


def chance_share(
    values: Floats, units: Ints, share: float, level: float = 0.95
) -> tuple[float, float, float]:
    """A low quantile of values in groups, and the share of new values that lies below it by chance.

    Of equally distributed new values, a share of Beta(k, n + 1 − k) lies below the k-th smallest of n
    independent ones. In groups the quantile varies more: resamples of the groups have other quantiles, and
    the shares of the values below those show how much; and n is divided by the design effect of the lowest
    tenth, as groups that are not among these may differ as much as cannot be ruled out. The larger bound is
    taken.

    Args:
        values: n values.
        units: n numbers of groups from `resampling.unit_codes`.
        share: share of values below the quantile, about.
        level: probability that the share of new values stays below its bound.

    Returns:
        The k-th smallest value, the share expected below it, k / (n + 1), and the bound of that.
    """
    n, groups = len(values), int(units.max()) + 1
    rank = max(1, int(share * (n + 1)))
    ordered = np.sort(values)
    threshold, expected = float(ordered[rank - 1]), rank / (n + 1)
    bound = float(betaincinv(rank, n + 1 - rank, level))
    if groups == n or groups < 2:
        return threshold, expected, bound
    order = np.argsort(values, kind="stable")
    counts = np.concatenate([w[:, order].cumsum(axis=1) for w in bootstrap_weights(units, _RESAMPLES, _SEED)])
    ranks = np.maximum(1, (share * (counts[:, -1:] + 1)).astype(np.int64))
    shares = (counts >= ranks).argmax(axis=1) / n
    # Drawing G of G groups gives (G−1)/G of the unbiased variance.
    high = expected + (np.quantile(shares, level) - expected) * np.sqrt(groups / (groups - 1))
    effective = n / design_effect(values <= np.quantile(values, LOW), units)
    below = max(1.0, expected * (effective + 1))
    clustered = float(betaincinv(below, max(1.0, effective + 1 - below), level))
    return threshold, expected, float(max(bound, high, clustered))
