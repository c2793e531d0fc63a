"""What the errors of one autoencoder a class say, on errors whose answer is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from plenish.metrics.caveats import describe
from plenish.study.class_errors import ClassErrors, analyse, permute_labels
from plenish.study.verdicts import class_verdict


def _planted(shift: float, n: int = 240, k: int = 2, groups: int = 24, seed: int = 0) -> ClassErrors:
    """Errors that are lower by `shift` under the model of the image's own class."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % k
    errors = 1 + 0.3 * rng.random((n, k)) - shift * (codes[:, None] == np.arange(k))
    names = [f"g{i * groups // n}" for i in range(n)] if groups else [None] * n
    return ClassErrors(errors, codes, names, tuple(f"class{i}" for i in range(k)))


def test_a_planted_difference_is_found_and_agrees_with_scikit_learn() -> None:
    found = _planted(0.1)
    content = analyse(found, resamples=200)
    expected = roc_auc_score(found.codes == 1, found.errors[:, 0] - found.errors[:, 1])
    assert content["auroc"]["value"] == pytest.approx(expected)
    assert content["auroc"]["low"] > 0.5
    expected = balanced_accuracy_score(found.codes, found.errors.argmin(1))
    assert content["balanced_accuracy"]["value"] == pytest.approx(expected)
    assert content["accuracy"]["value"] == pytest.approx((found.codes == found.errors.argmin(1)).mean())
    assert content["verdict"] == "apart"
    assert np.sum(content["confusion"]) == 240


def test_the_interval_covers_chance_where_nothing_is_planted() -> None:
    # At a level of 95 %, some 19 of 20; far fewer would show that the interval is wrong.
    covered = 0
    for seed in range(20):
        content = analyse(_planted(0.0, seed=seed), resamples=200)
        covered += content["auroc"]["low"] <= 0.5 <= content["auroc"]["high"]
        assert (content["verdict"] == "no evidence") == (
            content["auroc"]["low"] <= 0.5 <= content["auroc"]["high"]
        )
    assert covered >= 16


def test_models_that_prefer_the_other_class_are_told() -> None:
    assert analyse(_planted(-0.2), resamples=100)["verdict"] == "reversed"


def test_the_matrix_holds_mean_errors_by_class() -> None:
    found = _planted(0.2, k=3)
    content = analyse(found, resamples=100)
    for t in range(3):
        for p in range(3):
            cell = content["matrix"][t][p]
            assert cell["value"] == pytest.approx(found.errors[found.codes == t, p].mean())
            assert cell["low"] < cell["value"] < cell["high"]
    assert "auroc" not in content
    assert content["recall"]["class1"] == pytest.approx(
        (found.errors[found.codes == 1].argmin(1) == 1).mean()
    )


def test_a_model_that_is_better_at_everything_costs_accuracy_but_no_auroc() -> None:
    found = _planted(0.1)
    biased = ClassErrors(found.errors - [0.5, 0.0], found.codes, found.groups, found.names)
    before, after = (analyse(f, resamples=100) for f in (found, biased))
    assert after["auroc"]["value"] == pytest.approx(before["auroc"]["value"])
    assert after["balanced_accuracy"]["value"] == 0.5


def test_groups_make_intervals_wider_than_rows_alone() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(16), 20)
    codes = groups % 2
    shared = rng.normal(size=16)[groups]
    errors = np.stack([1 + 0.2 * codes + shared + 0.1 * rng.normal(size=320), np.ones(320)], axis=1) + 5
    by_group = ClassErrors(errors, codes, [f"s{g}" for g in groups], ("a", "b"))
    by_row = ClassErrors(errors, codes, [None] * 320, ("a", "b"))
    wide, narrow = (analyse(f, resamples=300)["auroc"] for f in (by_group, by_row))
    assert wide["high"] - wide["low"] > 2 * (narrow["high"] - narrow["low"])


def test_means_over_groups_are_of_one_class_each() -> None:
    errors = np.array([[1.0, 4.0], [3.0, 2.0], [5.0, 6.0], [7.0, 8.0]])
    found = ClassErrors(errors, np.array([0, 0, 1, 1]), ["g", "g", "g", None], ("a", "b")).by_group()
    assert found.errors.tolist() == [[2.0, 3.0], [5.0, 6.0], [7.0, 8.0]]
    assert found.codes.tolist() == [0, 1, 1]
    assert found.groups[0] == found.groups[1] != found.groups[2]


def test_caveats_name_mixed_groups_scarce_and_absent_classes() -> None:
    mixed = analyse(_planted(0.1, n=24, groups=4), resamples=50)
    assert _values(mixed) == {
        "few-groups": {"groups": 4, "intervals": True}, "mixed-groups": {"mixed": 4, "groups": 4},
        "few-images": {"counts": {"class0": 12, "class1": 12}},
    }  # fmt: skip
    alone = analyse(_planted(0.1, groups=0), resamples=50)
    assert "no-groups" in _values(alone)
    assert "by_group" not in alone
    found = _planted(0.1)
    one = ClassErrors(found.errors, np.zeros(240, np.int64), found.groups, found.names)
    lacking = analyse(one, resamples=50)
    assert _values(lacking)["no-images"] == {"classes": ["class1"]}
    assert lacking["verdict"] == "no answer"
    assert lacking["matrix"][1][0]["value"] is None


def _values(content: dict[str, Any]) -> dict[str, Any]:
    assert describe(content["caveats"])
    return {caveat["code"]: caveat["values"] for caveat in content["caveats"]}


@pytest.mark.parametrize(("shift", "word"), [(0.1, "apart"), (-0.2, "reversed"), (0.0, "no evidence")])
def test_the_verdict_in_words_gives_the_number_behind_it(shift: float, word: str) -> None:
    content = analyse(_planted(shift), resamples=50)
    assert content["verdict"] == word
    answer, number = class_verdict(content)
    assert "class0 and class1" in answer
    assert f"{content['auroc']['value']:.3f}" in number


def test_permuting_keeps_counts_and_whole_groups() -> None:
    rng = np.random.default_rng(0)
    rows = permute_labels(np.array([0] * 30 + [1] * 70), [None] * 100, rng)
    assert np.bincount(rows).tolist() == [30, 70]
    groups = [f"g{i // 5}" for i in range(100)]
    dealt = permute_labels(np.arange(100) // 5 % 2, groups, rng)
    assert all(len(set(dealt[i : i + 5])) == 1 for i in range(0, 100, 5))
    assert not np.array_equal(dealt, np.arange(100) // 5 % 2)
