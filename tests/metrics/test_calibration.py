"""Temperatures, ensembles and abstention recover what was planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, softmax

from plenish.errors import InputError
from plenish.metrics.calibration import (
    calibrated,
    choose_threshold,
    confidences,
    correct,
    cross_entropy,
    fit_temperature,
    fit_weights,
)


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_the_planted_temperature_is_found(planted: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20_000, 4)) * 1.5
    y = (rng.random((20_000, 1)) > softmax(logits, 1).cumsum(1)).sum(1)
    assert fit_temperature(y, softmax(logits * planted, 1)) == pytest.approx(planted, rel=0.05)
    np.testing.assert_allclose(calibrated(softmax(logits * planted, 1), planted), softmax(logits, 1))


def test_the_same_of_tags() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5_000, 3)) * 2
    y = (rng.random(logits.shape) < expit(logits)).astype(float)
    assert fit_temperature(y, expit(logits * 2)) == pytest.approx(2, rel=0.05)
    np.testing.assert_allclose(calibrated(expit(logits * 2), 2, tags=True), expit(logits))


def test_a_member_that_says_nothing_gets_no_weight_and_equal_ones_share() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(4_000, 3)) * 2
    y = (rng.random((4_000, 1)) > softmax(logits, 1).cumsum(1)).sum(1)
    good, noise = softmax(logits, 1), softmax(rng.normal(size=(4_000, 3)) * 2, 1)
    weights = fit_weights(y, [good, noise])
    assert weights[0] > 0.95
    assert fit_weights(y, [good, good]) == pytest.approx([0.5, 0.5])
    for change in (-0.02, 0.02):
        other = np.clip(weights + np.array([change, -change]), 0, 1)
        mixtures = [w[0] * good + w[1] * noise for w in (weights, other)]
        assert cross_entropy(y, mixtures[0]) <= cross_entropy(y, mixtures[1]) + 1e-9


def test_thresholds_reach_the_coverage_or_risk_they_are_asked_for() -> None:
    confidence = np.array([0.9, 0.8, 0.8, 0.7, 0.6])
    right = np.array([True, True, True, False, True])
    found = choose_threshold(confidence, right, coverage=0.5)
    assert (found.threshold, found.coverage, found.risk) == (0.8, 0.6, 0.0)
    found = choose_threshold(confidence, right, risk=0.2)
    assert (found.threshold, found.coverage, found.risk) == (0.6, 1.0, 0.2)
    assert choose_threshold(confidence, right, risk=0.1).coverage == 0.6
    with pytest.raises(InputError, match="--risk"):
        choose_threshold(confidence, ~right, risk=0.1)


def test_confidence_of_tags_is_that_of_the_least_sure_one() -> None:
    p, y = np.array([[0.9, 0.4], [0.1, 0.95]]), np.array([[1, 1], [0, 1]])
    assert confidences(p, tags=True).tolist() == [0.6, 0.9]
    assert correct(y, p).tolist() == [False, True]
    assert correct(np.array([0, 0]), p).tolist() == [True, False]
