"""Fidelity scores: closed forms, agreement with torch-fidelity, and what planted faults must do to them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from plenish.metrics import fidelity, kernels, sliced
from plenish.metrics.resampling import unit_codes

Array = NDArray[np.float64]


def normal(n: int, d: int, seed: int, scale: float = 1.0, shift: float = 0.0) -> Array:
    return shift + scale * np.random.default_rng(seed).normal(size=(n, d))


def frechet(x: Array, y: Array) -> float:
    """Of two sets of rows, by numpy's covariances."""
    return fidelity.frechet_distance(x.mean(0), np.cov(x, rowvar=False), y.mean(0), np.cov(y, rowvar=False))


def test_frechet_distance_of_gaussians_in_closed_form() -> None:
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    a, b = rng.uniform(0.1, 4, 6), rng.uniform(0.1, 4, 6)
    gap = rng.normal(size=6)
    # Covariances that share their eigenvectors: |m1−m2|² + Σ(√a−√b)²
    want = gap @ gap + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    got = fidelity.frechet_distance(gap, (basis * a) @ basis.T, np.zeros(6), (basis * b) @ basis.T)
    assert got == pytest.approx(want, rel=1e-10)


def test_frechet_of_singular_covariances_is_finite_and_zero_with_itself() -> None:
    x = normal(10, 40, 1)
    assert frechet(x, x) == pytest.approx(0.0, abs=1e-6)
    line = np.zeros((5, 5))
    line[0, 0] = 4.0
    other = np.zeros((5, 5))
    other[1, 1] = 9.0  # orthogonal, so the cross term vanishes
    assert fidelity.frechet_distance(np.zeros(5), line, np.zeros(5), other) == pytest.approx(13.0)


def test_frechet_agrees_with_torch_fidelity() -> None:
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    x, y = normal(300, 12, 0), normal(200, 12, 1, 1.3, 0.2)
    stats = [{"mu": v.mean(0), "sigma": np.cov(v, rowvar=False)} for v in (x, y)]
    want = fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    got = fidelity.compare(x, y, resamples=0)[0]
    assert (got.name, got.value) == ("FD(domain)", pytest.approx(want, rel=1e-8))


@pytest.mark.parametrize(("n", "m"), [(30, 45), (45, 30)])
def test_frechet_with_more_dimensions_than_rows_takes_a_shorter_way_to_the_same_value(n: int, m: int) -> None:
    x, y = normal(n, 60, 0), normal(m, 60, 1, 1.2, 0.1)
    rng = np.random.default_rng(2)
    wx, wy = rng.integers(0, 3, (3, n)).astype(float), rng.integers(0, 3, (3, m)).astype(float)
    got = fidelity.frechet_replicates(x, y, wx, wy)
    for r in range(3):
        rows = [np.repeat(v, w[r].astype(int), axis=0) for v, w in ((x, wx), (y, wy))]
        assert got[r] == pytest.approx(frechet(*rows), rel=1e-5)


def test_kid_agrees_with_torch_fidelity() -> None:
    import torch
    from torch_fidelity.metric_kid import kid_features_to_metric

    x, y = normal(80, 16, 0), normal(80, 16, 1, 1.1, 0.3)
    want = kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subsets=1, kid_subset_size=80, verbose=False
    )["kernel_inception_distance_mean"]  # one subset of all rows: nothing is left to chance
    assert fidelity.kid(x, y) == pytest.approx(want, rel=1e-8)


def test_kid_is_zero_on_average_for_equal_distributions() -> None:
    values = [fidelity.kid(normal(40, 8, 2 * s), normal(60, 8, 2 * s + 1)) for s in range(200)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(200)
    assert min(values) < 0


def neighbourhoods(real: Array, synthetic: Array) -> dict[str, float]:
    found = fidelity.neighbourhood_replicates(
        real, synthetic, np.ones((1, len(real))), np.ones((1, len(synthetic)))
    )
    return {name: float(values[0]) for name, values in found.items()}


def test_precision_and_recall_agree_with_torch_fidelity_and_are_not_swapped() -> None:
    import torch
    from torch_fidelity.metric_prc import prc_features_to_metric

    real, synthetic = normal(200, 5, 0), normal(150, 5, 1, 0.5)  # synthetic ones keep to the middle
    want = prc_features_to_metric(torch.from_numpy(synthetic), torch.from_numpy(real), verbose=False)
    got = neighbourhoods(real, synthetic)
    assert got["precision"] == pytest.approx(want["precision"])
    assert got["recall"] == pytest.approx(want["recall"])
    assert got["precision"] > got["recall"] + 0.2


def test_density_and_coverage_by_their_definition() -> None:
    real, synthetic = normal(60, 3, 0), normal(40, 3, 1, 1.2)
    among = np.sort(np.linalg.norm(real[:, None] - real[None], axis=2), axis=1)[:, 5]
    inside = np.linalg.norm(real[:, None] - synthetic[None], axis=2) <= among[:, None]
    got = neighbourhoods(real, synthetic)
    assert got["density"] == pytest.approx(inside.sum() / (5 * 40))
    assert got["coverage"] == pytest.approx(inside.any(axis=1).mean())


def test_planted_mode_drop_lowers_recall_and_planted_outliers_lower_precision() -> None:
    rng = np.random.default_rng(0)
    modes = 12 * rng.normal(size=(4, 6))

    def mixture(which: list[int], n: int, seed: int) -> Array:
        chosen = np.random.default_rng(seed).choice(which, n)
        return modes[chosen] + normal(n, 6, seed + 1)

    real = mixture([0, 1, 2, 3], 400, 10)
    good = neighbourhoods(real, mixture([0, 1, 2, 3], 400, 20))
    drop = neighbourhoods(real, mixture([0, 1], 400, 30))
    strange = mixture([0, 1, 2, 3], 400, 40)
    strange[:120] += 40
    odd = neighbourhoods(real, strange)
    assert drop["recall"] < 0.65 * good["recall"]
    assert drop["coverage"] < 0.65 * good["coverage"]
    assert drop["precision"] > 0.9 * good["precision"]
    assert odd["precision"] == pytest.approx(0.7 * good["precision"], abs=0.05)
    assert odd["recall"] > 0.85 * good["recall"]


def test_scores_do_not_depend_on_order_or_piece_size(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = normal(90, 7, 0), normal(70, 7, 1, 1.1)
    one = fidelity.compare(x, y, resamples=0)
    rng = np.random.default_rng(5)
    shuffled = fidelity.compare(rng.permutation(x), rng.permutation(y), resamples=0)
    monkeypatch.setattr(kernels, "PAIRS_AT_ONCE", 500)
    pieces = fidelity.compare(x, y, resamples=0)
    for a, b, c in zip(one, shuffled, pieces):
        assert a.value == pytest.approx(b.value, rel=1e-9, abs=1e-12)
        assert a.value == pytest.approx(c.value, rel=1e-9, abs=1e-12)
    monkeypatch.undo()
    assert fidelity.compare(x, y, resamples=20, seed=3) == fidelity.compare(x, y, resamples=20, seed=3)


def test_intervals_cover_the_expectation_at_this_sample_size() -> None:
    trials = [
        fidelity.compare(normal(60, 4, 3 * s), normal(80, 4, 3 * s + 1, 1.2, 0.5), resamples=60, seed=s)
        for s in range(80)
    ]
    for index, name in enumerate(
        ["FD(domain)", "KID(domain)", "MIND(domain)", "precision", "recall", "density", "coverage"]
    ):
        scores = [trial[index] for trial in trials]
        assert {s.name for s in scores} == {name}
        truth = np.mean([s.value for s in scores])
        hits = np.mean([s.low <= truth <= s.high for s in scores])
        assert hits >= 0.85, name
        width = np.mean([s.high - s.low for s in scores]) / (2 * 1.96)
        assert width < 2.5 * np.std([s.value for s in scores]), name  # covers, but not by being endless


def test_intervals_of_grouped_rows_are_wider() -> None:
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(12), 15)
    real = rng.normal(size=(12, 6))[groups] + 0.3 * rng.normal(size=(180, 6))
    synthetic = rng.normal(size=(180, 6))
    wide = {s.name: s for s in fidelity.compare(real, synthetic, groups=list(groups), resamples=100)}
    narrow = {s.name: s for s in fidelity.compare(real, synthetic, resamples=100)}
    fd, plain = wide["FD(domain)"], narrow["FD(domain)"]
    assert fd.value == plain.value
    assert fd.high - fd.low > 1.5 * (plain.high - plain.low)
    alone = fidelity.compare(real, synthetic, groups=["one"] * 180, resamples=20)
    assert all(np.isnan(s.low) for s in alone)


def test_bad_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="dimensions"):
        fidelity.kid(normal(9, 3, 0), normal(9, 4, 0))
    with pytest.raises(ValueError, match="finite"):
        fidelity.kid(normal(9, 3, 0), np.full((9, 3), np.nan))
    with pytest.raises(ValueError, match="too few"):
        fidelity.compare(normal(5, 3, 0), normal(50, 3, 0))


def grouped(groups: int, rows: int, seed: int, dim: int = 5) -> tuple[Array, list[str]]:
    """Rows whose groups have means of their own; each row is as the rows of one big population."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(groups), rows)
    x = 0.7 * rng.normal(size=(groups, dim))[of] + 0.7 * rng.normal(size=(groups * rows, dim))
    return x, [f"{seed}-{i}" for i in of]


def test_kid_of_grouped_rows_without_a_shift_is_zero_on_average() -> None:
    """Also under bootstrap weights; with pairs of one group it is far from that."""
    values, weighted, naive = [], [], []
    for seed in range(300):
        x, groups = grouped(6, 8, seed)
        y = normal(40, 5, seed + 1000, np.sqrt(0.98))
        codes = unit_codes(groups, len(x)), 6 + np.arange(len(y))
        draws = np.random.default_rng(seed).multinomial(6, np.full(6, 1 / 6))[codes[0]].astype(float)
        wx = np.stack([np.ones(len(x)), draws])
        wy = np.ones((2, len(y)))
        one, two = fidelity.mmd2_replicates(x, y, wx, wy, codes=codes)
        values.append(one)
        weighted.append(two)
        naive.append(fidelity.kid(x, y))
    for found in (values, weighted):
        error = np.nanstd(found) / np.sqrt(len(found))
        assert abs(np.nanmean(found)) < 3 * error
    assert np.mean(naive) > 6 * np.std(naive) / np.sqrt(300)


def test_kid_leaves_out_the_pairs_of_a_group_and_nothing_else() -> None:
    x, groups = grouped(4, 3, 0)
    y = normal(7, 5, 1)
    of = np.repeat(np.arange(4), 3)

    def kernel(a: Array, b: Array) -> Array:
        return np.asarray((a @ b.T / 5 + 1) ** 3)

    apart, rest = of[:, None] != of, ~np.eye(7, dtype=bool)
    want = kernel(x, x)[apart].mean() + kernel(y, y)[rest].mean() - 2 * kernel(x, y).mean()
    got = {s.name: s.value for s in fidelity.compare(x, y, groups=groups, resamples=0)}["KID(domain)"]
    assert got == pytest.approx(want, rel=1e-9)


def test_mind_is_the_mean_of_sorted_projections() -> None:
    x, y = normal(300, 6, 0), normal(300, 6, 1, 1.5, 0.4)
    units = sliced.directions(6)
    assert np.linalg.norm(units, axis=1) == pytest.approx(1.0)
    gaps = np.sort(x @ units.T, axis=0) - np.sort(y @ units.T, axis=0)
    assert sliced.sliced_distance(x, y) == pytest.approx(3 * 6 * (gaps**2).mean(), rel=1e-9)
    # Populations: a projection is normal; 3 D × the mean of gap² + (σ₁ − σ₂)² is 3 (D 0.5² + |shift|²).
    many = sliced.sliced_distance(normal(5000, 6, 2), normal(5000, 6, 3, 1.5, 0.4))
    assert many == pytest.approx(3 * (6 * 0.25 + 6 * 0.16), rel=0.05)
    twice = np.repeat(y, 2, axis=0)  # the same distribution in other numbers
    assert sliced.sliced_distance(x, twice) == pytest.approx(sliced.sliced_distance(x, y), rel=1e-9)
    ones = np.ones((3, 300))
    assert sliced.sliced_replicates(x, y, ones, ones) == pytest.approx(sliced.sliced_distance(x, y), rel=0.3)


def test_the_excess_over_a_baseline_bounds_the_difference() -> None:
    real, groups = grouped(12, 15, 0)
    baseline, _ = grouped(30, 6, 1)
    same, far = grouped(30, 6, 1)[0] + 1e-3 * normal(180, 5, 2), grouped(30, 6, 3)[0] + 1.0
    for other, worse in ((same, False), (far, True)):
        rows = fidelity.compare(real, other, groups=groups, baseline=baseline, resamples=60)
        for score in rows:
            assert score.excess is not None
            assert score.baseline is not None
            assert score.excess.value == pytest.approx(score.value - score.baseline)
            assert score.excess.low <= score.excess.value <= score.excess.high
        by_name = {score.name: score.excess for score in rows}
        for name in ("FD(domain)", "KID(domain)", "MIND(domain)"):
            assert (by_name[name].low > 0) is worse, name  # type: ignore[union-attr]
    alone = fidelity.compare(real, far, groups=groups, resamples=0)
    assert all(score.excess is None for score in alone)
