"""What a study can find, against closed forms, scipy and what is drawn."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.optimize import brentq

from plenish.study import power
from plenish.study.power import Noise, StudySize
from plenish.study.verdicts import announcement


def layout(groups: int, images: int, *, pure: bool = False) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Class and group numbers of two classes; groups have both, or the first half one, the rest the other."""
    units = np.repeat(np.arange(groups), images)
    return (units >= groups // 2 if pure else np.arange(len(units)) % 2).astype(np.int64), units


@pytest.mark.parametrize(("groups", "level"), [(6, 0.95), (24, 0.9)])
def test_power_is_that_of_the_noncentral_t_where_one_noise_is_alone(groups: int, level: float) -> None:
    sd, df = 0.03, groups - 1
    size = StudySize(Noise(sd**2, 1e-16, 0.0, ((1.0, groups),)), 5, level)
    reach = stats.t.ppf(0.5 + level / 2, df)
    for share in (0.5, 0.8, 0.9):
        want = brentq(lambda gain, share: stats.nct.sf(reach, df, gain / sd) - share, 0, 1, (share,))
        assert size.gain(share) == pytest.approx(want, rel=0.03)
        assert size.chance(want) == pytest.approx(share, abs=0.012)
    by_seed = StudySize(Noise(1e-16, 6 * sd**2, 0.0, ((1.0, groups),)), 6, 0.95)
    want = brentq(lambda gain: stats.nct.sf(stats.t.ppf(0.975, 5), 5, gain / sd) - 0.8, 0, 1)
    assert by_seed.gain() == pytest.approx(want, rel=0.03)


def test_equivalence_is_settled_as_often_as_two_one_sided_tests_do() -> None:
    se, margin = 0.008, 0.02
    size = StudySize(Noise(se**2, 1e-16, 0.0, ((1.0, 24),)), 5, 0.95)
    rng = np.random.default_rng(1)
    x = se * math.sqrt(24) * rng.standard_normal((4000, 24))
    test = [
        stats.ttest_1samp(x, bound, axis=1, alternative=way).pvalue
        for bound, way in ((-margin, "greater"), (margin, "less"))
    ]
    assert size.settled(margin) == pytest.approx(np.mean(np.maximum(*test) < 0.05), abs=0.025)


def test_typical_noise_by_hand() -> None:
    codes, units = layout(10, 8)
    found = power.typical_noise(codes, units)
    assert found.groups == pytest.approx(power.TYPICAL["groups"] ** 2 / 10 + power.TYPICAL["lasting"] / 80)
    assert found.both == pytest.approx((power.TYPICAL["images"] - power.TYPICAL["lasting"]) / 80)
    assert (found.n_groups, found.df) == (10, 9)
    assert power.row_shares(codes).sum() == pytest.approx(1)
    # Groups of one class each: G − 2 where the classes are alike, fewer where one rests on few groups.
    assert power.typical_noise(*layout(10, 8, pure=True)).df == pytest.approx(8)
    rare = np.repeat([0] * 2 + [1] * 10, 6)
    assert power.typical_noise(rare.astype(np.int64), np.repeat(np.arange(12), 6)).df < 2


@pytest.mark.parametrize("pure", [False, True])
def test_observed_noise_finds_what_was_drawn_and_ignores_the_difference(
    pure: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(power, "_PRIOR_DF", 0)
    codes, units = layout(40, 10, pure=pure)
    rng = np.random.default_rng(5)
    by_group, by_seed, by_image, seeds = 0.1, 0.05, 0.3, 6
    found = []
    for _ in range(120):
        right = by_group * rng.standard_normal(40)[units] + by_seed * rng.standard_normal((seeds, 1))
        right = right + by_image * rng.standard_normal((seeds, 400))
        noise = power.observed_noise(codes, units, right)
        found.append([noise.groups, noise.seeds, noise.both])
        moved = power.observed_noise(codes, units, right + 0.2)
        assert dataclasses.astuple(moved)[:3] == pytest.approx(dataclasses.astuple(noise)[:3])
    want = [by_group**2 / 40, by_seed**2, by_image**2 / 400]
    assert np.mean(found, axis=0) == pytest.approx(want, rel=0.12)


def test_few_seeds_count_little_beside_the_assumed_noise() -> None:
    codes, units = layout(12, 10)
    right = np.zeros((2, 120))
    right[0] = 1.0  # seeds that differ by everything
    assumed, found = power.typical_noise(codes, units), power.observed_noise(codes, units, right)
    both = 2 * assumed.both / (2 + assumed.df)
    assert found.both == pytest.approx(both)
    assert found.seeds == pytest.approx((2 * (assumed.seeds + both) + 0.5) / 3 - both)
    assert power.observed_noise(codes, units, right[:1]) == assumed


def test_as_many_seeds_and_groups_as_needed_and_no_more() -> None:
    size = StudySize(Noise(0.0004, 0.0009, 0.0002, ((1.0, 24),)), 3, 0.95)

    def enough(one: StudySize) -> bool:
        return one.chance(0.08) >= 0.8

    seeds = size.seeds_for(enough)
    assert seeds is not None
    assert seeds > 3
    assert enough(dataclasses.replace(size, seeds=seeds))
    assert not enough(dataclasses.replace(size, seeds=seeds - 1))
    groups = dataclasses.replace(size, seeds=20).groups_for(lambda one: one.chance(0.04) >= 0.8)
    assert groups is not None
    assert groups > 24
    assert size.seeds_for(lambda one: one.chance(0.03) >= 0.8) is None, "the groups alone hide it"
    assert (size.noise.larger(1), size.noise.larger(20)) == ("seeds", "groups")


def test_more_groups_are_less_noise_of_the_same_kind() -> None:
    noise = Noise(0.004, 0.002, 0.001, ((1.0, 10),))
    assert noise.with_groups(40) == Noise(0.001, 0.002, 0.00025, ((1.0, 40),))
    assert noise.parts(2) == pytest.approx((0.0045, 0.0015))


def test_an_outlook_aims_at_the_difference_seen_or_at_equivalence() -> None:
    noise = Noise(0.0004, 0.0009, 0.0002, ((1.0, 24),))
    seen = power.outlook(noise, 3, 0.95, 0.07, 0.02)
    assert seen is not None
    assert seen["aim"] == "difference"
    assert seen["larger"] == "groups"  # 4 of 10,000, against 11 / 3 of the seeds
    none = power.outlook(noise, 3, 0.95, 0.004, 0.02)
    assert none is not None
    assert (none["aim"], none["seeds"]) == ("equivalence", None)


def test_no_outlook_where_the_study_is_large_enough_already() -> None:
    noise = Noise(0.0004, 0.0009, 0.0002, ((1.0, 24),))
    gain = StudySize(noise, 5, 0.95).gain()
    assert power.outlook(noise, 5, 0.95, 1.01 * gain, 0.02) is None
    needed = power.outlook(noise, 5, 0.95, 0.99 * gain, 0.02)
    assert needed is not None
    assert (needed["seeds"], needed["groups"]) == (6, 25)


def test_an_announcement_names_gain_folds_and_seeds() -> None:
    codes, units = layout(12, 20)
    noise = power.typical_noise(codes, units)
    found = power.announce(noise, 5, 0.95, basis="typical", all_groups=80)
    assert found["gain"] > found["all_groups"]["gain"]
    assert found["gain"] > found["more_seeds"]["gain"]
    text = announcement(found)
    for part in ("12 test groups", "5 seeds", "80 groups", "10 seeds", f"{100 * found['gain']:.1f} points"):
        assert part in text
    assert power.announce(noise, 5, 0.95, basis="typical", all_groups=14)["all_groups"] is None
    lone = power.announce(noise, 1, 0.95, basis="typical")
    assert math.isnan(lone["gain"])
    assert "1 seed can show no gain" in announcement(lone)
