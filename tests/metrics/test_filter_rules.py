"""The thresholds of filters, against what they promise, and the linear classifier, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from plenish.metrics.filter_rules import (
    density_scale,
    expected_share,
    label_evidence,
    least_images,
    order_statistic,
    passes,
    threshold,
)
from plenish.metrics.linear import fit_linear


@pytest.mark.parametrize(("n", "rate", "k"), [(19, 0.95, 1), (39, 0.95, 2), (99, 0.9, 10), (9, 0.9, 1)])
def test_the_threshold_is_the_order_statistic_that_promises_its_share(n: int, rate: float, k: int) -> None:
    values = np.random.default_rng(0).permutation(n).astype(float)
    assert order_statistic(values, rate) == (k - 1, pytest.approx(k / (n + 1)))
    rng = np.random.default_rng(1)
    draws = (order_statistic(rng.normal(size=n), rate) for _ in range(2000))
    below = [np.mean(rng.normal(size=200) < found[0]) for found in draws if found is not None]
    assert np.mean(below) == pytest.approx(k / (n + 1), abs=0.005)


@pytest.mark.parametrize(("rate", "least"), [(0.95, 19), (0.9, 9), (0.99, 99), (0.5, 1)])
def test_too_few_images_give_no_threshold(rate: float, least: int) -> None:
    assert least_images(rate) == least
    assert order_statistic(np.arange(least - 1.0), rate) is None
    assert order_statistic(np.arange(float(least)), rate) is not None


def test_classes_have_thresholds_of_their_own_where_they_have_the_images() -> None:
    values = np.concatenate([np.arange(19.0), 100 + np.arange(40.0), [-5.0]])
    codes = np.repeat([0, 1, 2], [19, 40, 1])
    cut = threshold(values, codes, 3, 0.95)
    assert cut is not None
    assert cut.values.tolist() == [0.0, 101.0, 1.0]  # The third has the third of all 60.
    assert cut.pooled == (2,)
    assert cut.expected.tolist() == pytest.approx([1 / 20, 2 / 41, 3 / 61])
    assert passes(np.array([0.0, 100.0, 0.5]), np.array([0, 1, 2]), cut).tolist() == [True, False, False]
    assert expected_share(cut, codes, codes < 2) == pytest.approx((19 / 20 + 40 * 2 / 41) / 59)


def test_density_is_at_least_one_where_the_scale_is() -> None:
    rng = np.random.default_rng(0)
    train, images = rng.normal(size=(60, 3)), rng.normal(size=(80, 3)) * 1.5
    between = np.linalg.norm(train[:, None] - train[None], axis=2)
    radius = np.sort(between, axis=1)[:, 5]
    away = np.linalg.norm(images[:, None] - train[None], axis=2)
    scale = density_scale(train, images)
    assert ((away <= radius).sum(1) >= 5).tolist() == (scale >= 1).tolist()
    for s in (0.5, 0.8, 1.3):
        assert ((away * s <= radius).sum(1) >= 5).tolist() == (scale >= s).tolist()


def test_the_linear_classifier_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    codes = rng.choice(3, 300, p=[0.7, 0.2, 0.1])
    x = rng.normal(size=(300, 5)) * [1, 2, 3, 4, 0.1] + codes[:, None]
    ours = fit_linear(x, codes, 3)
    z = (x - x.mean(0)) / x.std(0)
    theirs = LogisticRegression(C=1.0, class_weight="balanced", tol=1e-8, max_iter=1000).fit(z, codes)
    expected = theirs.predict_proba(z)
    assert np.abs(ours.probabilities(x) - expected).max() < 1e-3
    evidence = label_evidence(ours, x, codes)
    assert np.allclose(evidence, np.log(expected[np.arange(300), codes]), atol=0.02)
