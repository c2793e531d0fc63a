from __future__ import annotations

from typing import Any

import pytest

from plenish.report import words


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
    assert words.distance_answer(near) == "As near as real ones are"
    assert words.distance_answer(row | {"real_baseline": None}) == "FD(domain) 30.0"
    assert words.distance_answer(row | {"real_baseline": -1e-3}) == "FD(domain) 30.0"


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
