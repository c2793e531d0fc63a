from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fabricate import make_data

from plenish.report import words
from plenish.report.inputs import Material


def study(*verdicts: tuple[str, str, str]) -> dict[str, Any]:
    rows = [{"arm": a, "metric": m, "verdict": v, "sentence": f"{a} {m} {v}"} for a, m, v in verdicts]
    arms = ["real", *dict.fromkeys(arm for arm, _, _ in verdicts)]
    return {"arms": arms, "verdicts": rows, "verdict": "overall sentence"}


@pytest.mark.parametrize(
    ("verdict", "answer", "tone"),
    [
        ("helps", "They help", "good"),
        ("hurts", "They hurt", "bad"),
        ("no evidence", "No evidence that they help", "neutral"),
    ],
)
def test_headline_follows_the_verdict(verdict: str, answer: str, tone: str) -> None:
    card = words.help_card(study(("real+synthetic", "balanced_accuracy", verdict)))
    assert card is not None
    assert (card.answer, card.tone, card.sentence) == (answer, tone, "overall sentence")


def test_headline_is_about_adding_synthetic_images_whatever_stands_first() -> None:
    """A classical augmentation that helps must never be announced as synthetic images that help."""
    content = study(
        ("classical", "balanced_accuracy", "helps"),
        ("real+synthetic", "auroc", "helps"),
        ("real+synthetic", "balanced_accuracy", "hurts"),
        ("synthetic", "balanced_accuracy", "helps"),
    )
    chosen = words.headline_verdict(content)
    assert chosen is not None
    assert chosen["sentence"] == "real+synthetic balanced_accuracy hurts"


def test_arms_without_synthetic_images_say_nothing_of_them() -> None:
    card = words.help_card(study(("classical", "balanced_accuracy", "helps")))
    assert card is not None
    assert (card.answer, card.tone) == ("Not studied", "neutral")


def test_synthetic_images_alone_are_another_question() -> None:
    card = words.help_card(study(("synthetic", "balanced_accuracy", "hurts")))
    assert card is not None
    assert "alone" in card.question
    assert (card.answer, card.tone) == ("They are worse", "bad")


@pytest.mark.parametrize(
    ("copies", "answer", "tone"),
    [
        ({"n": 100, "n_suspect": 5, "alarm": False}, "No sign of copying", "good"),
        ({"n": 100, "n_suspect": 9, "alarm": True}, "Training images seem to leak", "bad"),
        ({"n": 100, "n_suspect": 9}, "9 of 100 to look at", "neutral"),
        ({"n": 100, "n_suspect": 0}, "No sign of copying", "good"),
    ],
)
def test_copies_beyond_chance_raise_the_alarm(copies: dict[str, Any], answer: str, tone: str) -> None:
    card = words.copies_card({"copies": copies})
    assert card is not None
    assert (card.answer, card.tone) == (answer, tone)


def test_a_baseline_of_real_images_is_never_called_a_leak() -> None:
    score = {
        "synthetic": {"origin": "real"}, "copies": {"n": 100, "n_suspect": 9, "alarm": True, "sentence": "s"},
        "scores": [{"name": "FD(domain)", "scope": "overall", "value": 1.0}],
    }  # fmt: skip
    copies, fidelity = words.copies_card(score), words.fidelity_card(score)
    assert copies is not None
    assert (copies.answer, copies.tone) == ("More often than by chance", "neutral")
    assert fidelity is not None
    assert "baseline" in copies.question
    assert "baseline" in fidelity.question


def test_fidelity_is_told_against_the_baseline() -> None:
    row = {
        "name": "FD(domain)",
        "scope": "overall",
        "value": 30.0,
        "low": 26.0,
        "high": 34.0,
        "real_baseline": 10.0,
    }
    assert words.distance_answer(row) == "3.0 times as far as real ones"
    assert "3.0 times the 10.0" in words.distance_sentence(row)
    near = row | {"low": 9.0}
    assert words.distance_answer(near) == "Not shown to be farther than real ones"
    assert words.distance_answer(row | {"real_baseline": None}) == "FD(domain) 30.0"
    assert words.distance_answer(row | {"real_baseline": -1e-3}) == "Farther than real ones are"
    assert words.distance_answer(row | {"real_baseline": -1e-3, "low": None}) == "FD(domain) 30.0"


def test_the_headline_compares_at_the_same_number_of_images() -> None:
    row = {
        "name": "FD(domain)", "scope": "overall", "value": 15.0, "low": 14.0, "high": 16.0,
        "n_synthetic": 1000, "real_baseline": 10.0, "n_baseline": 100,
        "comparable": {"value": 30.0, "low": 26.0, "high": 34.0, "n_synthetic": 100},
    }  # fmt: skip
    card = words.fidelity_card({"scores": [row]})
    assert card is not None
    assert card.answer == "3.0 times as far as real ones"
    assert "30.0 (26.0 to 34.0)" in card.sentence


@pytest.mark.parametrize(
    ("n", "dim", "first"), [(12, 64, "KID"), (65, 64, "KID"), (66, 64, "FD"), (12, None, "FD")]
)
def test_the_headline_is_unbiased_where_images_are_fewer_than_features(
    n: int, dim: int | None, first: str
) -> None:
    counts = {"scope": "overall", "n_real": 500, "n_synthetic": n}
    rows = [
        counts | {"name": "FD(domain)", "value": 34.0, "low": 30.0, "high": 38.0, "real_baseline": 10.0},
        counts | {"name": "KID(domain)", "value": 0.66, "low": 0.6, "high": 0.7, "real_baseline": 0.01},
    ]
    card = words.fidelity_card({"scores": rows, "extractor": {"dim": dim}})
    assert card is not None
    assert card.answer == ("66 times" if first == "KID" else "3.4 times") + " as far as real ones"
    assert card.sentence.startswith(first)
    assert "FD(domain) is 34.0" in card.sentence
    assert ("fewer images than features" in card.sentence) == (first == "KID")


def test_one_rule_says_what_stands_beside_the_real_images(tmp_path: Path) -> None:
    data = make_data(tmp_path / "real", ("a",), n=12)
    real = {"synthetic": {"origin": "real"}}
    for material in (Material(score=real), Material(study=real), Material(synthetic=data)):
        assert material.others == "other real"
    assert Material(score={"synthetic": {"origin": "synthetic"}}).others == words.others(None) == "synthetic"
    score = {"copies": {"n": 9, "n_suspect": 0}}
    questions = [words.cards(score, None, kind)[0].question for kind in ("other real", "synthetic")]
    assert ["baseline" in question for question in questions] == [True, False]


def test_no_interval_is_spoken_of_where_none_is_shown() -> None:
    for low, told in ((None, False), (0.1, True)):
        items = words.limits(None, {"caveats": [], "summary": [{"low": low}]})
        assert ("intervals" in " ".join(items)) == told


def test_one_group_is_told_once() -> None:
    score = {"warnings": ["The test part has only 1 group, which tells nothing."]}
    study = {"caveats": ["The test part has only 1 group. One tells nothing."]}
    assert sum("only 1 group" in item for item in words.limits(score, study)) == 1


def test_the_primary_arm_is_the_one_the_study_began_with() -> None:
    arms = ["real", "real+synthetic@0.5", "real+synthetic"]
    began = words.main_arm({"arms": arms, "primary_arm": "real+synthetic@0.5"})
    assert began is not None
    assert began.name == "real+synthetic@0.5"
    unknown = words.main_arm({"arms": arms})
    assert unknown is not None
    assert unknown.name == "real+synthetic"


def test_few_groups_are_told_once() -> None:
    score = {"warnings": ["The test part has only 8 groups, so intervals are rough."]}
    study = {"caveats": ["The test part has only 8 groups. The intervals describe these."]}
    assert sum("only 8 groups" in item for item in words.limits(score, study)) == 1
    assert sum("only 8 groups" in item for item in words.limits(score, None)) == 1
    other = {"caveats": ["The test part has only 9 groups. The intervals describe these."]}
    assert sum("groups" in item for item in words.limits(score, other)) == 2


def test_cards_leave_out_what_is_not_known() -> None:
    assert words.cards(None, None) == []
    assert words.cards({"scores": [], "copies": None}, {"verdicts": [], "verdict": ""}) == []


def test_limits_carry_every_caveat_and_warning_once() -> None:
    items = words.limits({"warnings": ["w", "w"], "copies": {"n": 1}}, {"caveats": ["c"], "verdicts": []})
    assert items[:2] == ["c", "w"]
    assert items.count("w") == 1
    assert any("no proof of privacy" in item for item in items)
    assert words.limits(None, None) == []
