"""Labels against a linear classifier: exchanged ones are seen, right ones are not accused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from plenish.metrics.label_agreement import Labelled, inception_score, label_agreement
from plenish.metrics.linear import fit_linear

NAMES = ("a", "b", "c")


def labelled(n: int, seed: int, *, groups: int = 0, swapped: float = 0.0) -> Labelled:
    """Three classes that overlap, whose agreement is about 0.8."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 3, n)
    centres = 2.0 * np.eye(3)[codes] @ np.eye(3, 5)
    x = centres + rng.normal(size=(n, 5))
    wrong = rng.permutation(n)[: int(swapped * n)]
    codes[wrong] = (codes[wrong] + 1) % 3
    return Labelled(x, codes, [f"{seed}-{i % groups}" for i in range(n)] if groups else None)


def test_the_linear_classifier_is_scikit_learns() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    codes = rng.choice(4, 300, p=[0.6, 0.3, 0.1, 0.0])
    x = rng.normal(size=(300, 5)) * [1, 10, 0.1, 1, 1] + 0.7 * codes[:, None]
    want = LogisticRegression(C=0.5, class_weight="balanced", tol=1e-8, max_iter=1000)
    z = (x - x.mean(0)) / x.std(0)
    got = fit_linear(x, codes, 4, strength=0.5).probabilities(x)
    assert got[:, :3] == pytest.approx(want.fit(z, codes).predict_proba(z), abs=1e-3)
    assert np.all(got[:, 3] == 0)  # a class without rows


@pytest.mark.parametrize(("swapped", "lower"), [(0.0, False), (0.25, True), (1.0, True)])
def test_exchanged_labels_lower_agreement_by_their_share(swapped: float, lower: bool) -> None:
    held = {"val": labelled(300, 1, groups=20), "test": labelled(300, 2, groups=20)}
    found = label_agreement(labelled(600, 0), labelled(600, 3, swapped=swapped), held, NAMES, resamples=50)
    assert found is not None
    assert found["lower"] is lower
    mine, real = found["agreement"]["synthetic"], found["agreement"]["val"]
    # An exchanged label is agreed with by one of the other two predictions, in about half the errors.
    right, wrong = real["value"], (1 - real["value"]) / 2
    assert mine["value"] == pytest.approx((1 - swapped) * right + swapped * wrong, abs=0.06)
    assert [row["name"] for row in found["classes"]] == list(NAMES)
    for share in (mine, real, *(row["synthetic"] for row in found["classes"])):
        assert share["low"] < share["value"] < share["high"]
    cas = found["cas"]
    assert (cas["difference"]["high"] < 0) is lower  # it learns the exchange, too
    assert cas["real"]["value"] == pytest.approx(found["agreement"]["test"]["value"], abs=0.03)
    assert found["is"]["synthetic"]["value"] == pytest.approx(found["is"]["val"]["value"], rel=0.1)


def test_few_images_without_an_error_have_an_interval_and_accuse_nobody() -> None:
    def apart(n: int, wrong: int = 0) -> Labelled:
        codes = np.arange(n) % 2
        return Labelled(
            20.0 * codes[:, None] + np.zeros((n, 2)), np.where(np.arange(n) < wrong, 1 - codes, codes)
        )

    found = label_agreement(apart(100), apart(40, wrong=1), {"val": apart(14)}, ("a", "b"), resamples=20)
    assert found is not None
    assert found["agreement"]["val"]["value"] == 1.0
    assert found["agreement"]["val"]["low"] < 1.0
    assert not found["lower"]
    assert label_agreement(apart(100), apart(40), {}, ("a", "b")) is None
    assert label_agreement(apart(100), apart(8), {"val": apart(14)}, ("a", "b")) is None  # four of a class


def test_inception_score_of_sure_and_of_unsure_predictions() -> None:
    def of(x: NDArray[np.float64]) -> float:
        return inception_score(linear, Labelled(x, np.zeros(len(x), np.int64)), 0, 0).value

    codes = np.arange(300) % 3
    centres = 30.0 * np.eye(3)
    linear = fit_linear(centres[codes] + 0.01 * codes[:, None], codes, 3, strength=1e3)
    assert of(centres[codes]) == pytest.approx(3.0, rel=0.01)  # all classes, each surely
    assert of(centres[np.zeros(300, int)]) == pytest.approx(1.0, rel=0.01)  # one class alone
