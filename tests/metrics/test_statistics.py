"""Statistics: coverage of known truths, agreement with scipy, and the properties resampling must have."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from plenish.metrics import resampling
from plenish.metrics import statistics as st
from plenish.metrics.resampling import replicate

Array = NDArray[np.float64]


def weighted_mean(x: Array) -> resampling.WeightedStatistic:
    return lambda weights: weights @ x / weights.sum(axis=1)


def test_wilson_interval_against_scipy_and_at_the_edges() -> None:
    from scipy.stats import binomtest

    for count, n in [(0, 40), (1, 100), (17, 60), (60, 60)]:
        want = binomtest(count, n).proportion_ci(0.95, method="wilson")
        got = st.wilson_interval(count, n)
        assert (got.low, got.high) == pytest.approx((want.low, want.high), abs=1e-12)
    with pytest.raises(ValueError, match="count"):
        st.wilson_interval(5, 4)


def test_bca_agrees_with_scipy() -> None:
    from scipy.stats import bootstrap

    x = np.random.default_rng(3).exponential(size=60)
    want = bootstrap((x,), np.mean, n_resamples=20_000, method="BCa", rng=np.random.default_rng(0))
    got = st.bootstrap_interval(weighted_mean(x), len(x), resamples=20_000)
    width = want.confidence_interval.high - want.confidence_interval.low
    assert got.low == pytest.approx(want.confidence_interval.low, abs=0.03 * width)
    assert got.high == pytest.approx(want.confidence_interval.high, abs=0.03 * width)
    replicates = replicate(weighted_mean(x), resampling.bootstrap_weights(np.arange(len(x)), 20_000, 0))
    low, high = np.quantile(replicates, [0.025, 0.975])
    assert got.low > low
    assert got.high > high


def _clustered(rng: np.random.Generator, groups: int, rows: int) -> tuple[Array, NDArray[np.int64]]:
    centre = rng.normal(size=groups)
    return (centre[:, None] + 0.3 * rng.normal(size=(groups, rows))).ravel(), np.repeat(
        np.arange(groups), rows
    )


def test_cluster_bootstrap_covers_where_a_row_bootstrap_does_not() -> None:
    rng = np.random.default_rng(0)
    hits = {"groups": 0, "rows": 0}
    trials = 150
    for trial in range(trials):
        x, groups = _clustered(rng, 30, 8)
        for name, unit in [("groups", groups), ("rows", None)]:
            got = st.bootstrap_interval(weighted_mean(x), len(x), unit, resamples=300, seed=trial)
            hits[name] += got.low <= 0.0 <= got.high
    assert hits["groups"] / trials > 0.88
    assert hits["rows"] / trials < 0.75


def test_draws_do_not_depend_on_chunks_or_names(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(1).normal(size=24)
    codes = resampling.unit_codes([f"patient {i // 4}" for i in range(24)], 24)

    def replicates(statistic: resampling.WeightedStatistic, seed: int) -> Array:
        return replicate(statistic, resampling.bootstrap_weights(codes, 50, seed))

    one = replicates(weighted_mean(x), 5)
    monkeypatch.setattr(resampling, "WEIGHTS_AT_ONCE", 100)
    assert one == pytest.approx(replicates(weighted_mean(x), 5))
    assert not np.array_equal(one, replicates(weighted_mean(x), 6))

    def by_index(weights: NDArray[np.int64]) -> Array:
        return np.array([x[np.repeat(np.arange(24), row)].mean() for row in weights])

    assert replicates(by_index, 5) == pytest.approx(one)


def test_weights_keep_groups_whole_and_strata_filled() -> None:
    codes = resampling.unit_codes(["a", "a", "b", None, None, "b"], 6)
    assert codes.tolist() == [0, 0, 1, 2, 3, 1]
    assert resampling.unit_codes([1.0, np.nan, 1.0, np.nan], 4).tolist() == [0, 1, 0, 2]
    with pytest.raises(ValueError, match="2 groups for 3 rows"):
        resampling.unit_codes(["a", "b"], 3)
    label = np.array([0] * 10 + [1] * 2)
    (weights,) = resampling.bootstrap_weights(np.arange(12), 200, 0, strata=label)
    assert np.all(weights[:, :10].sum(axis=1) == 10)
    assert np.all(weights[:, 10:].sum(axis=1) == 2)
    (free,) = resampling.bootstrap_weights(codes, 100, 0)
    assert np.array_equal(free[:, 0], free[:, 1])
    assert np.array_equal(free[:, 2], free[:, 5])


def test_sign_flips_exact_by_hand_and_uniform_under_the_null() -> None:
    assert st.sign_flip_test([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 32)
    assert st.sign_flip_test([1.0, -1.0]) == 1.0
    # sums ±6, ±4, ±2, 0, 0 of 1, 2, 3: the observed 1 + 3 − 2 = 2 is reached by all but two of eight
    assert st.sign_flip_test([1.0, -2.0, 3.0]) == pytest.approx(6 / 8)
    rng = np.random.default_rng(0)
    small = [st.sign_flip_test(rng.normal(size=20), resamples=199, seed=i) <= 0.1 for i in range(400)]
    assert 0.06 < np.mean(small) < 0.145


def row_differences(table: Array, groups: object = None, **options: int) -> st.Difference:
    """The interval of a mean over rows, from a seeds × rows table of differences."""

    def mean_of_rows(k: int, weights: NDArray[np.int64]) -> Array:
        return np.asarray(weights @ table[k] / weights.sum(axis=1))

    return st.hierarchical_bootstrap(mean_of_rows, *table.shape, groups, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sd_seed", "sd_group"), [(1.0, 0.2), (0.2, 1.0), (0.6, 0.6)])
def test_hierarchical_intervals_cover_with_either_source_of_noise(sd_seed: float, sd_group: float) -> None:
    rng = np.random.default_rng(11)
    hits, trials = 0, 150
    groups = np.repeat(np.arange(20), 5)
    for trial in range(trials):
        seeds = sd_seed * rng.normal(size=(5, 1))
        centre = sd_group * rng.normal(size=20)[groups]
        got = row_differences(
            seeds + centre + 0.3 * rng.normal(size=(5, 100)), groups, resamples=200, seed=trial
        )
        hits += got.low <= 0.0 <= got.high
    assert 0.89 <= hits / trials <= 0.995


def test_hierarchical_parts_are_the_closed_forms() -> None:
    rng = np.random.default_rng(2)
    seeds, rows = rng.normal(size=(4, 1)), rng.normal(size=50)
    got = row_differences(seeds + rows, resamples=20_000)
    assert got.mean == pytest.approx(seeds.mean() + rows.mean())
    assert got.se_seeds == pytest.approx(seeds.std(ddof=1) / 2)
    assert got.se_groups == pytest.approx(rows.std(ddof=1) / np.sqrt(50), rel=0.03)
    assert got.n_groups == 50
    assert got.n_seeds == 4
    alone = row_differences(rows[None])
    assert np.isnan(alone.low)
    assert alone.p == 1.0


def test_strata_are_corrected_one_by_one() -> None:
    """The variance of a mean of class means is known: s²/n of each class; few groups of one have few df."""
    rng = np.random.default_rng(4)
    strata = np.repeat([0, 1], [3, 20])
    values, seeds = rng.normal(size=23) * np.where(strata == 0, 2.0, 1.0), 0.1 * rng.normal(size=4)

    def mean_of_means(k: int, weights: NDArray[np.int64]) -> Array:
        sides = [weights * (strata == c) for c in (0, 1)]
        return np.asarray(np.mean([w @ (values + seeds[k]) / w.sum(axis=1) for w in sides], axis=0))

    got = st.hierarchical_bootstrap(mean_of_means, 4, 23, strata=strata, resamples=20_000)
    parts = [values[strata == c].var(ddof=1) / n / 4 for c, n in ((0, 3), (1, 20))]
    assert got.se_groups**2 == pytest.approx(sum(parts), rel=0.05)
    total, by_seed = sum(parts) + seeds.var(ddof=1) / 4, seeds.var(ddof=1) / 4
    df = total**2 / (parts[0] ** 2 / 2 + parts[1] ** 2 / 19 + by_seed**2 / 3)
    assert got.df == pytest.approx(df, rel=0.1)
    low, high = got.interval(0.95)
    assert (low, high) == pytest.approx((got.low, got.high))


def test_no_interval_without_variance() -> None:
    """Two groups and two seeds that happen to agree are no proof."""
    got = row_differences(np.full((2, 4), 0.25), np.array([0, 0, 1, 1]))
    assert (got.mean, got.no_variance) == (0.25, ["groups", "seeds"])
    assert np.isnan([got.low, got.high, got.error]).all()
    seeds = row_differences(0.25 + np.array([[0.1] * 4, [0.0] * 4]), np.array([0, 0, 1, 1]))
    assert seeds.no_variance == ["groups"]
    assert np.isnan(seeds.low)


def test_sign_flips_that_can_reach_a_level() -> None:
    assert [st.can_reach(n, 0.95) for n in (7, 8)] == [False, True]
    assert [st.can_reach(n, 0.95, 4) for n in (9, 10)] == [False, True]
    assert st.sign_flip_test([1.0, 0.0, 2.0, 0.0, 3.0]) == 2 / 8  # zeros have no sign
    assert st.sign_flip_test(np.zeros(30)) == 1.0


def test_mostly_undefined_replicates_give_no_interval() -> None:
    def seldom(weights: NDArray[np.int64]) -> Array:
        return np.where(weights.shape[0] == 1, 0.5, np.where(weights[:, 0] > 2, 0.4, np.nan))

    got = st.bootstrap_interval(seldom, 20, resamples=100)
    assert np.isnan(got.low)
    assert got.value == 0.5


def test_no_variance_of_mostly_undefined_replicates_or_of_a_stratum_of_one_unit() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(3, 12))

    def often(share: float) -> st.Difference:
        def statistic(k: int, weights: NDArray[np.int64]) -> Array:
            found = weights @ values[k] / weights.sum(axis=1)
            undefined = np.random.default_rng(0).random(len(weights)) < share
            return found if len(weights) == 1 else np.where(undefined, np.nan, found)

        return st.hierarchical_bootstrap(statistic, 3, 12, resamples=200)

    assert np.isfinite(often(0.4).low)
    assert np.isnan([often(0.6).low, often(0.6).se_groups, often(0.6).error]).all()

    def mean(k: int, weights: NDArray[np.int64]) -> Array:
        return np.asarray(weights @ values[k] / weights.sum(axis=1))

    for strata in (np.repeat([0, 1], [1, 11]), np.arange(12)):
        assert np.isnan(st.hierarchical_bootstrap(mean, 3, 12, strata=strata, resamples=200).low)


def test_units_are_counted_and_drawn_within_classes_that_have_several() -> None:
    assert resampling.count_units(["a", "a", None, None, "b"]) == 4
    units = np.repeat(np.arange(4), 2)
    assert resampling.is_stratified(np.repeat([0, 1], 4), units)
    assert not resampling.is_stratified(np.repeat([0, 1], [2, 6]), units), "a class of one unit"
    assert not resampling.is_stratified(np.tile([0, 1], 4), units)
