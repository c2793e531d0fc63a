"""How near images may come by chance: limits on power laws whose truth is known, and shares by groups."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import bdtrc, betaincinv, ndtr

from plenish.metrics.tails import LowerTail, chance_share, design_effect


def _drawn(rng: np.random.Generator, groups: int, images: int, power: float) -> LowerTail:
    """The tail of values u^(1/power), u uniform, so that a share t^power lies below t."""
    values = rng.uniform(size=groups * images) ** (1 / power)
    tail = LowerTail.of(values, np.repeat(np.arange(groups), images))
    assert tail is not None
    return tail


@pytest.mark.parametrize("groups", [4, 8, 30])
def test_honest_images_pass_the_limit_as_often_as_is_said(groups: int) -> None:
    """P(the least of n new values < limit) = 1 − (1 − limit^power)^n must not exceed the asked chance."""
    rng = np.random.default_rng(0)
    limits = np.array([_drawn(rng, groups, 10, 8.0).limit(1000, 0.05) for _ in range(400)])
    passed = 1 - (1 - limits**8) ** 1000
    assert passed.mean() < 0.05
    assert passed.mean() > 0.001


@pytest.mark.parametrize("groups", [6, 12, 40])
def test_four_honest_groups_pass_their_limit_as_seldom_and_it_is_higher(groups: int) -> None:
    """Of n independent values, more than three lie below t with a binomial chance."""
    rng = np.random.default_rng(0)
    tails = [_drawn(rng, groups, 10, 8.0) for _ in range(200)]
    single, four = (np.array([tail.limit(1000, 0.05, count) for tail in tails]) for count in (1, 4))
    passed = bdtrc(3, 1000, np.minimum(four, 1) ** 8)
    assert 0.005 < passed.mean() < 0.08
    assert (four > single).all()
    assert np.median(four) < np.median([tail.anchor for tail in tails])


def test_design_effect_of_groups_that_differ_and_of_those_that_do_not() -> None:
    rng, units = np.random.default_rng(0), np.repeat(np.arange(200), 10)
    assert design_effect(rng.uniform(size=50) < 0.1, np.arange(50)) == 1.0
    assert design_effect(np.zeros(50, bool), np.zeros(50, np.int64)) == 50
    assert 1 <= design_effect(rng.uniform(size=2000) < 0.1, units) < 1.5
    assert design_effect(units < 20, units) == pytest.approx(10)  # All images of a group, or none.
    chances = np.repeat(rng.beta(0.4, 3.6, 200), 10)  # ρ = 1 / (1 + 0.4 + 3.6)
    assert 2.8 < design_effect(rng.uniform(size=2000) < chances, units) < 4.2
    few = np.repeat(np.arange(6), 20)
    assert np.mean([design_effect(rng.uniform(size=120) < 0.1, few) for _ in range(50)]) > 2.0


def test_more_groups_see_more_and_more_images_lower_the_limit() -> None:
    rng = np.random.default_rng(1)
    few, many = (
        np.median([_drawn(rng, groups, 10, 8.0).limit(1000, 0.05) for _ in range(100)]) for groups in (4, 40)
    )
    assert few < 0.5 * many
    tail = _drawn(rng, 20, 10, 8.0)
    limits = [tail.limit(n, 0.05) for n in (10, 1000, 100_000)]
    assert limits == sorted(limits, reverse=True)
    assert tail.limit(1000, 0.05) < tail.anchor
    assert tail.expected(tail.limit(1000, 0.05), 1000) == pytest.approx(0.05)
    assert tail.expected(tail.anchor, 200) == pytest.approx(tail.used)


def test_a_tail_needs_three_groups_and_positive_values() -> None:
    assert LowerTail.of(np.array([0.5, 0.6, 0.7]), np.array([0, 0, 1])) is None
    assert LowerTail.of(np.array([0.0, 0.6, 0.7]), np.array([0, 1, 2])) is None


def test_chance_of_independent_values_is_a_beta_and_groups_widen_it() -> None:
    rng = np.random.default_rng(2)
    values = rng.normal(size=300)
    threshold, expected, bound = chance_share(values, np.arange(300), 0.05)
    assert threshold == np.sort(values)[14]
    assert expected == 15 / 301
    assert bound == pytest.approx(betaincinv(15, 286, 0.95))
    shifted = values + np.repeat(2 * rng.normal(size=6), 50)
    units = np.repeat(np.arange(6), 50)
    assert chance_share(shifted, units, 0.05)[2] > bound + 0.03


def test_the_bound_of_grouped_shares_holds() -> None:
    """New groups' shares below the threshold stay under the bound in most cases; one without groups fails."""
    rng, held, alone = np.random.default_rng(3), 0, 0
    for _ in range(100):
        values = (rng.normal(size=(12, 1)) + rng.normal(size=(12, 25))).ravel()
        threshold, _, bound = chance_share(values, np.repeat(np.arange(12), 25), 0.05)
        share = float(ndtr(threshold / np.sqrt(2)))  # Of new groups: the variance is 1 between and 1 within.
        held += share <= bound
        alone += share <= chance_share(values, np.arange(300), 0.05)[2]
    assert held >= 80
    assert alone < 70
