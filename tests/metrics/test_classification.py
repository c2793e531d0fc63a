"""Classification metrics agree with scikit-learn, with and without weights."""

import numpy as np
import pytest
from sklearn import metrics as reference

from plenish.metrics import classification as ours
from plenish.training import confusion, roc


def _predictions(num_classes, n=300, seed=0, ties=False):
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, num_classes, n)
    logits = rng.normal(size=(n, num_classes)) + 1.2 * np.eye(num_classes)[codes]
    if ties:
        logits = np.round(logits)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return codes, probabilities


@pytest.mark.parametrize("num_classes", [2, 3, 7])
@pytest.mark.parametrize("ties", [False, True])
def test_agrees_with_scikit_learn(num_classes, ties):
    codes, p = _predictions(num_classes, ties=ties)
    predicted = p.argmax(1)
    found = ours.evaluate(codes, p, [str(k) for k in range(num_classes)])
    assert found["confusion"] == reference.confusion_matrix(codes, predicted).tolist()
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(codes, predicted))
    assert found["balanced_accuracy"] == pytest.approx(reference.balanced_accuracy_score(codes, predicted))
    assert found["macro_f1"] == pytest.approx(reference.f1_score(codes, predicted, average="macro"))
    scores = p[:, 1] if num_classes == 2 else p
    assert found["auroc"] == pytest.approx(reference.roc_auc_score(codes, scores, multi_class="ovr"))
    truth = codes if num_classes == 2 else np.eye(num_classes)[codes]
    assert found["pr_auc"] == pytest.approx(reference.average_precision_score(truth, scores))
    recalls = reference.recall_score(codes, predicted, average=None)
    assert list(found["recall"].values()) == pytest.approx(recalls)


@pytest.mark.parametrize("num_classes", [2, 4])
def test_weights_count_rows(num_classes):
    codes, p = _predictions(num_classes, n=200, ties=True)
    rng = np.random.default_rng(1)
    weights = rng.integers(0, 4, (5, 200))
    scores = p[:, 1] if num_classes == 2 else p
    counts = confusion.confusion_matrix(codes, p.argmax(1), num_classes, weights)
    for r, w in enumerate(weights):
        options = {"sample_weight": w}
        assert confusion.balanced_accuracy(counts)[r] == pytest.approx(
            reference.balanced_accuracy_score(codes, p.argmax(1), **options)
        )
        assert ours.macro_f1(counts)[r] == pytest.approx(
            reference.f1_score(codes, p.argmax(1), average="macro", **options)
        )
        assert ours.auroc(codes, p, weights)[r] == pytest.approx(
            reference.roc_auc_score(codes, scores, multi_class="ovr", **options)
        )
        repeated = np.repeat(np.arange(200), w)
        for metric in ours.METRICS:
            assert ours.weighted_metric(metric, codes, p, weights)[r] == pytest.approx(
                ours.weighted_metric(metric, codes[repeated], p[repeated])[0]
            )


def test_absent_class_is_left_out_and_one_sided_auroc_is_undefined():
    codes = np.array([0, 0, 1, 1])
    p = np.array([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.1, 0.8, 0.1]])
    assert ours.weighted_metric("balanced_accuracy", codes, p)[0] == pytest.approx(0.75)
    assert ours.weighted_metric("macro_f1", codes, p)[0] == pytest.approx(
        reference.f1_score(codes, p.argmax(1), average="macro")
    )
    assert np.isnan(roc.auroc_binary(np.array([True, True]), np.array([0.1, 0.2]))[0])


def test_calibration_error_of_known_cases():
    codes = np.zeros(10, dtype=np.int64)
    sure = np.tile([1.0, 0.0], (10, 1))
    assert ours.calibration_error(codes, sure) == 0.0
    codes[:3] = 1  # 70 % right while 100 % sure
    assert ours.calibration_error(codes, sure) == pytest.approx(0.3)
    calibrated = np.tile([0.7, 0.3], (10, 1))
    assert ours.calibration_error(codes, calibrated) == pytest.approx(0.0, abs=1e-12)
