"""Metrics with intervals: agreement with scikit-learn, groups, coverage of what is undefined."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference
from sklearn.calibration import calibration_curve

from plenish.metrics import classification as ours
from plenish.metrics.classification_intervals import THRESHOLDS, calibration_interval, measure
from plenish.metrics.statistics import bootstrap_interval


def predictions(k: int, n: int = 240, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    logits = np.round(rng.normal(size=(n, k)) + 1.2 * np.eye(k)[y], 1)
    return y, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize("k", [2, 4])
def test_values_agree_with_scikit_learn(k: int) -> None:
    y, p = predictions(k)
    found = measure(y, p, list("abcd")[:k], resamples=20)
    precision, recall, f1, support = reference.precision_recall_fscore_support(y, p.argmax(1))
    for c, (name, row) in enumerate(found["per_class"].items()):
        assert name == "abcd"[c]
        assert row["n"] == support[c]
        expected = {"precision": precision[c], "recall": recall[c], "f1": f1[c]}
        expected["auroc"] = reference.roc_auc_score(y == c, p[:, c])
        expected["pr_auc"] = reference.average_precision_score(y == c, p[:, c])
        false, true, _ = reference.roc_curve(y == c, p[:, c], drop_intermediate=False)
        expected["sensitivity"] = true[false <= 0.1].max()
        assert {key: row[key]["value"] for key in expected} == pytest.approx(expected)
    assert found["metrics"]["accuracy"]["value"] == pytest.approx(reference.accuracy_score(y, p.argmax(1)))
    for curve in found["decision"]:
        c = "abcd".index(curve["class"])
        for t, row in zip(curve["thresholds"], curve["net_benefit"], strict=True):
            (_, false), (_, true) = reference.confusion_matrix(y == c, p[:, c] >= t, labels=[False, True])
            assert row["value"] == pytest.approx((true - false * t / (1 - t)) / len(y))
    assert len(found["decision"]) == (1 if k == 2 else k)


def test_tags_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    y = (rng.random((150, 3)) < 0.4).astype(np.float32)
    p = 1 / (1 + np.exp(-(rng.normal(size=y.shape) + 2 * y - 1)))
    found = measure(y, p, ["a", "b", "c"], resamples=20)["metrics"]
    assert found["macro_f1"]["value"] == pytest.approx(reference.f1_score(y, p >= 0.5, average="macro"))
    assert found["auroc"]["value"] == pytest.approx(reference.roc_auc_score(y, p))
    assert found["pr_auc"]["value"] == pytest.approx(reference.average_precision_score(y, p))
    expected = np.mean([reference.balanced_accuracy_score(y[:, k], p[:, k] >= 0.5) for k in range(3)])
    assert found["balanced_accuracy"]["value"] == pytest.approx(expected)


def test_reliability_agrees_with_scikit_learn_and_the_calibration_error_follows_from_it() -> None:
    y, p = predictions(3)
    rows = measure(y, p, list("abc"), resamples=20)
    right, confidence = calibration_curve(p.argmax(1) == y, p.max(1), n_bins=ours.BINS)
    assert [row["right"] for row in rows["reliability"]] == pytest.approx(right)
    assert [row["confidence"] for row in rows["reliability"]] == pytest.approx(confidence)
    gaps = [row["n"] / len(y) * abs(row["right"] - row["confidence"]) for row in rows["reliability"]]
    assert rows["metrics"]["ece"]["value"] == pytest.approx(sum(gaps))


def test_intervals_are_those_of_the_bootstrap_over_groups() -> None:
    y, p = predictions(2, n=200)
    groups = [f"g{i // 8}" for i in range(200)]
    found = measure(y, p, ["a", "b"], groups, resamples=200, seed=3)
    expected = bootstrap_interval(
        lambda w: ours.weighted_metric("auroc", y, p, w), 200, groups, resamples=200, seed=3
    )
    row = found["metrics"]["auroc"]
    assert (row["value"], row["low"], row["high"]) == pytest.approx(tuple(expected))
    assert found["groups"] == 25
    # Every image eight times over says no more than once.
    once = measure(y[::8], p[::8], ["a", "b"], resamples=200)["metrics"]["auroc"]
    eight = np.repeat(np.arange(0, 200, 8), 8)
    again = measure(y[eight], p[eight], ["a", "b"], groups, resamples=200)["metrics"]["auroc"]
    assert (again["low"], again["high"]) == pytest.approx((once["low"], once["high"]), abs=1e-9)


def test_groups_are_drawn_within_classes_and_resamples_without_a_class_do_not_count() -> None:
    y, p = predictions(2, n=60)
    y[:] = np.arange(60) >= 54
    groups = [f"g{i // 3}" for i in range(60)]  # 18 groups of one class, 2 of the other.

    def balanced(w: np.ndarray) -> np.ndarray:
        return ours.weighted_metric("balanced_accuracy", y, p, w)

    found = measure(y, p, ["a", "b"], groups, resamples=200, seed=3)["metrics"]["balanced_accuracy"]
    expected = bootstrap_interval(balanced, 60, groups, resamples=200, seed=3, strata=y)
    assert (found["value"], found["low"], found["high"]) == pytest.approx(tuple(expected))
    # One group has all rows of its class: nothing is drawn within the classes, and what loses it is left out.
    groups[54:] = ["alone"] * 6
    found = measure(y, p, ["a", "b"], groups, resamples=200, seed=3)["metrics"]["balanced_accuracy"]
    expected = bootstrap_interval(
        lambda w: np.where((w[:, y == 1].sum(1) > 0) & (w[:, y == 0].sum(1) > 0), balanced(w), np.nan),
        60, groups, resamples=200, seed=3,
    )  # fmt: skip
    assert (found["value"], found["low"], found["high"]) == pytest.approx(tuple(expected))


@pytest.mark.parametrize("tags", [False, True])
def test_the_calibration_error_alone_is_that_among_all_metrics(tags: bool) -> None:
    y, p = predictions(3, n=80)
    truth = np.eye(3)[y] if tags else y
    groups = [f"g{i // 4}" for i in range(80)]
    whole = measure(truth, p, list("abc"), groups, resamples=50, seed=2)["metrics"]["ece"]
    assert calibration_interval(truth, p, groups, resamples=50, seed=2) == whole


def test_weights_count_rows() -> None:
    y, p = predictions(2, n=80)
    w = np.random.default_rng(0).integers(0, 3, 80)
    rows = np.repeat(np.arange(80), w)
    for f in (
        ours.average_precision_binary,
        lambda t, s, w=None: ours.sensitivity_at(t, s, 0.9, w),
        lambda t, s, w=None: ours.net_benefit(t, s, THRESHOLDS, w),
        lambda t, s, w=None: ours.calibration_errors(t, s, w),
    ):
        np.testing.assert_allclose(f(y == 1, p[:, 1], w[None]), f(y[rows] == 1, p[rows, 1]))


def test_what_cannot_be_told_is_none() -> None:
    found = measure(np.zeros(6, np.int64), np.tile([0.8, 0.2], (6, 1)), ["a", "b"], ["g"] * 6, resamples=20)
    assert found["metrics"]["auroc"] == {"value": None, "low": None, "high": None}
    assert found["metrics"]["accuracy"] == {"value": 1.0, "low": None, "high": None}
