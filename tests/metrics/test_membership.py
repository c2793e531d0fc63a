"""Measures of nearness against analytic truths, scikit-learn and SciPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from plenish.metrics.membership import (
    Measure,
    c_t,
    mann_whitney_z,
    measures,
    nearest,
    smaller_share,
    two_sample_interval,
)
from plenish.metrics.statistics import wilson_interval


def _normal(n: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, 6)).astype(np.float32)


def _by_name(synthetic: NDArray[np.float32], **more: Any) -> dict[str, Measure]:
    groups, train_groups = np.repeat(np.arange(20), 15), np.repeat(np.arange(40), 10)
    found = measures(synthetic, _normal(300, 1), _normal(400, 0), groups, train_groups, **more)
    return {measure.name: measure for measure in found}


def test_synthetic_images_that_are_the_training_images() -> None:
    found = _by_name(_normal(400, 0))
    assert found["authenticity"].value == 0
    assert found["authenticity"].high < 0.1
    assert found["authenticity"].expected > 0.3
    assert found["membership AUROC"].value == 1
    assert found["nearest-neighbour ratio"].value == 0
    assert found["C_T"].value < -5
    assert found["C_T"].high < -3


def test_synthetic_images_of_the_true_distribution() -> None:
    found = _by_name(_normal(500, 2))
    for measure in found.values():
        if measure.name != "authenticity":
            assert measure.low <= measure.expected <= measure.high, measure
    assert abs(found["C_T"].value) < 2
    assert found["C_T"].cells >= 2
    assert found["authenticity"].low < found["authenticity"].expected < found["authenticity"].high
    assert found["membership AUROC"].high - found["membership AUROC"].low < 0.2


def test_images_near_training_images_are_nearer_than_held_out_ones() -> None:
    made = _normal(400, 0) + 0.3 * _normal(400, 3)
    found = _by_name(made)
    assert found["membership AUROC"].low > 0.6
    assert found["nearest-neighbour ratio"].high < 0.9
    assert found["C_T"].high < 0
    assert found["authenticity"].high < found["authenticity"].expected


def test_the_interval_of_authenticity_holds_what_few_groups_expect() -> None:
    """Without copying; a share with the interval of its images alone misses it in a third of the runs."""
    held = alone = 0
    for seed in range(30):
        rng = np.random.default_rng([seed, 7])
        train, val = (0.8 * rng.normal(size=(n, 1, 6)) + rng.normal(size=(n, 20, 6)) for n in (20, 6))
        made = np.sqrt(1.64) * rng.normal(size=(400, 6))
        found = measures(
            made, val.reshape(-1, 6), train.reshape(-1, 6), np.repeat(np.arange(6), 20), resamples=50
        )[0]
        held += found.low <= found.expected <= found.high
        images = wilson_interval(round(400 * found.value), 400)
        alone += images.low <= found.expected <= images.high
    assert held >= 26
    assert alone <= 24


def test_only_distances_without_resamples_and_without_groups() -> None:
    found = measures(_normal(50, 2), _normal(60, 1), _normal(80, 0), only_distances=True, resamples=0)
    assert [measure.name for measure in found] == ["nearest-neighbour ratio", "membership AUROC"]
    assert all(np.isnan([measure.low, measure.high]).all() for measure in found)
    few = measures(_normal(30, 2), _normal(10, 1), _normal(40, 0))
    assert np.isnan(few[1].value)  # C_T without twenty held-out images


def test_nearest_agrees_with_scikit_learn() -> None:
    x, y = _normal(70, 0), _normal(90, 1) + 5
    y[3] = x[11]
    d, where = NearestNeighbors(n_neighbors=1).fit(y).kneighbors(x)
    found = nearest(x, y)
    assert found.where.tolist() == where[:, 0].tolist()
    assert found.distance == pytest.approx(d[:, 0], abs=1e-5)
    assert found.distance[11] == 0
    d, where = NearestNeighbors(n_neighbors=2).fit(y).kneighbors(y)
    found = nearest(y, y, skip_self=True)
    assert found.where.tolist() == where[:, 1].tolist()
    assert found.distance == pytest.approx(d[:, 1], abs=1e-5)


def test_smaller_share_is_the_weighted_auroc() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, 40).astype(float), rng.integers(2, 11, 50).astype(float)
    wx, wy = rng.integers(0, 3, (5, 40)), rng.integers(0, 3, (5, 50))
    truth = [1] * 40 + [0] * 50
    want = [
        roc_auc_score(truth, -np.concatenate([x, y]), sample_weight=np.concatenate([a, b]))
        for a, b in zip(wx, wy, strict=True)
    ]
    assert smaller_share(x, y, wx, wy) == pytest.approx(want)


def test_c_t_is_the_mann_whitney_deviate_averaged_over_cells() -> None:
    rng = np.random.default_rng(0)
    q, p = rng.normal(size=200), rng.normal(0.3, 1, 150)
    p_value = mannwhitneyu(q, p, use_continuity=False, method="asymptotic", alternative="less").pvalue
    from scipy.special import ndtr

    assert ndtr(mann_whitney_z(q, p)) == pytest.approx(p_value, rel=1e-9)
    cells = np.repeat([0, 1, 2], [100, 90, 10]), np.repeat([0, 1, 2], [50, 90, 10])
    value, used = c_t(q, p, *cells)
    first, second = mann_whitney_z(q[:100], p[:50]), mann_whitney_z(q[100:190], p[50:140])
    assert used == 2  # ten images are too few
    assert value == pytest.approx((50 * first + 90 * second) / 140)


def test_groups_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=300), np.repeat(rng.normal(size=15), 20) + 0.1 * rng.normal(size=300)

    def difference(wx: NDArray[np.int64], wy: NDArray[np.int64]) -> NDArray[np.float64]:
        return (wy @ y) / wy.sum(axis=1) - (wx @ x) / wx.sum(axis=1)

    alone, together = (
        two_sample_interval(difference, np.arange(300), groups)
        for groups in (np.arange(300), np.repeat(np.arange(15), 20))
    )
    assert alone.value == together.value
    width = 2 * 2.14 * np.sqrt(1 / 300 + y.reshape(15, 20).mean(axis=1).var(ddof=1) / 15)
    assert together.high - together.low == pytest.approx(width, rel=0.2)
    assert together.high - together.low > 2 * (alone.high - alone.low)
