"""The answers at the top of the report and the limits below it, from small results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fabricate import make_data

from plenish.metrics.advice import LEVELS
from plenish.metrics.caveats import Caveat
from plenish.metrics.likeness_words import describe_told_apart
from plenish.metrics.quality import Quality
from plenish.metrics.words import describe_planted, describe_reidentification
from plenish.report import headline
from plenish.report.inputs import ReportInputs
from plenish.report.record import limits


def study(arm: str, verdict: str, real: bool = True) -> dict[str, Any]:
    """A study whose primary arm is `arm`; classical augmentation helps."""
    interval = {
        "helps": (0.1, 0.3),
        "hurts": (-0.3, -0.1),
        "no evidence": (-0.1, 0.1),
        "equivalent": (-0.01, 0.01),
    }
    verdicts = {"classical": "helps", arm: verdict}
    rows = [
        {
            "arm": name, "metric": "balanced_accuracy", "mean": 0.0, "low": interval[word][0],
            "high": interval[word][1], "cut": False, "n_seeds": 5, "n_groups": 20,
        }
        for name, word in verdicts.items()
    ]  # fmt: skip
    names = ["real", *verdicts]
    return {
        "arms": names, "differences": rows, "comparisons": [], "level": 0.95,
        "summary": [{"arm": name, "metric": "balanced_accuracy", "mean": 0.5} for name in names],
        "verdict": {"arm": arm, "real": real, "verdict": verdict},
    }  # fmt: skip


def copies(**more: Any) -> dict[str, Any]:
    return {
        "finding": "none", "baseline": False, "n": 100, "n_suspect": 5, "share_suspect": 0.05, "low": 0.02,
        "high": 0.11, "level": 0.95, "expected_share": 0.05, "expected_share_high": 0.1, "n_identical": 0,
        "n_far": 0, "n_holdout": 200, "n_groups": 20, "n_beyond": 0, "n_below": 0,
    } | more  # fmt: skip


def row(name: str, value: float | None, low: float | None = None, **more: Any) -> dict[str, Any]:
    high = None if low is None or value is None else 2 * value - low
    return {
        "name": name, "scope": "overall", "value": value, "low": low, "high": high, "real_baseline": None,
        "n_real": 500, "n_synthetic": 500, "n_baseline": 500, "comparable": None, "excess": None,
        "better": "higher" if name in ("precision", "recall") else "lower",
    } | more  # fmt: skip


def score(*rows: dict[str, Any], dim: int = 64, origin: str = "synthetic") -> dict[str, Any]:
    more = [row("precision", 0.7), row("recall", 0.4)]
    return {
        "scores": [*rows, *more], "extractor": {"dim": dim}, "synthetic": {"origin": origin},
        "told_apart": None, "labels": None,
    }  # fmt: skip


def excess(value: float, half: float) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


@pytest.mark.parametrize(
    ("verdict", "answer", "tone"),
    [
        ("helps", "They help", "good"),
        ("hurts", "They hurt", "bad"),
        ("equivalent", "They make no difference that matters", "neutral"),
        ("no evidence", "No evidence that they help", "neutral"),
    ],
)
def test_headline_follows_the_verdict_on_the_primary_arm_alone(verdict: str, answer: str, tone: str) -> None:
    """A classical augmentation that helps must never be announced as synthetic images that help."""
    card = headline.help_card(study("real+synthetic", verdict))
    assert (card.answer, card.tone) == (answer, tone)


def test_arms_without_synthetic_images_say_nothing_of_them() -> None:
    card = headline.help_card(study("classical", "helps") | {"verdict": None})
    assert (card.answer, card.tone) == ("Not studied", "neutral")


def test_synthetic_images_alone_are_another_question() -> None:
    card = headline.help_card(study("synthetic", "hurts", real=False))
    assert card.question != headline.help_card(study("real+synthetic", "hurts")).question
    assert (card.answer, card.tone) == ("They are worse", "bad")


@pytest.mark.parametrize(("finding", "tone"), [("none", "good"), ("close", "bad"), ("identical", "bad")])
def test_copies_beyond_chance_raise_the_alarm(finding: str, tone: str) -> None:
    assert headline.copies_card(copies(finding=finding, n_identical=2)).tone == tone
    unknown = headline.copies_card(copies(finding=finding, n_identical=2, unknown_origin=True))
    assert unknown.tone == ("bad" if finding == "identical" else "neutral"), "neither cleared nor caught"
    caught = headline.copies_card(copies(finding="close")).sentence
    assert caught[-60:] not in unknown.sentence, "it is not said that they copy"


def quality(level: str) -> Quality:
    share = {"undertrained": 0.1, "usable": 0.7, "near": 0.9}[level]
    return Quality(
        share, 1.0, share, 1.0, share, 1.0, kid=0.5, kid_low=0.0, kid_high=1.0, kid_real=0.0, n=200
    )


def test_nothing_is_green_about_an_undertrained_generator() -> None:
    bad = quality("undertrained")
    assert headline.quality_card(bad).tone == "bad"
    assert headline.copies_card(copies(), bad).tone == "neutral"
    assert headline.copies_card(copies(finding="close"), bad).tone == "bad"
    said = headline.help_card(study("real+synthetic", "no evidence"), bad).sentence
    assert said != headline.help_card(study("real+synthetic", "no evidence")).sentence
    for level, tone in (("usable", "neutral"), ("near", "good")):
        assert headline.quality_card(quality(level)).tone == tone
        assert headline.copies_card(copies(), quality(level)).tone == "good"


def test_the_first_card_says_how_good_the_images_are_and_the_last_what_next() -> None:
    content = score(row("FD(domain)", 30.0), row("KID(domain)", 0.1))
    content |= {"copies": copies(), "quality": quality("undertrained").record()}
    shown = headline.cards(ReportInputs(score=content))
    assert [card.tone for card in shown] == ["bad", "neutral", "neutral"]
    assert len(shown[0].figures) == 4
    assert shown[0].answer == LEVELS["undertrained"]
    assert shown[-1].sentence
    baseline = content | {"synthetic": {"origin": "real"}, "quality": None}
    assert LEVELS["undertrained"] not in [c.answer for c in headline.cards(ReportInputs(score=baseline))]


@pytest.mark.parametrize("finding", ["none", "close", "identical"])
def test_a_baseline_of_real_images_is_never_called_a_leak(finding: str) -> None:
    card = headline.copies_card(copies(finding=finding, baseline=True, n_identical=2))
    assert card.tone == "neutral"
    assert not {"leak", "synthetic", "copying", "copy"} & set(
        f"{card.question} {card.sentence}".lower().split()
    )
    rows = [row("FD(domain)", 1.0), row("KID(domain)", 0.1)]
    questions = {
        headline.fidelity_card(score(*rows, origin=kind))[0].question for kind in ("real", "synthetic")
    }
    assert len(questions) == 2


def test_fidelity_is_told_against_the_baseline() -> None:
    far = row("FD(domain)", 30.0, 26.0, real_baseline=10.0)
    answer, sentence = headline.against_baseline(far)
    assert "3.0 times" in answer
    assert "3.0 times the 10.0" in sentence
    assert "30.0 (26.0 to 34.0)" in sentence
    near = headline.against_baseline(far | {"excess": excess(20.0, 21.0)})[0]
    assert near == "Not shown to be farther than real ones"
    assert "3.0 times" in headline.against_baseline(far | {"excess": excess(20.0, 19.0)})[0]
    assert headline.against_baseline(far | {"real_baseline": None})[0] == "FD(domain) 30.0"
    negative = far | {"real_baseline": -1e-3, "excess": excess(30.0, 9.0)}
    assert headline.against_baseline(negative)[0] == "Farther than real ones"
    assert headline.against_baseline(negative | {"excess": None})[0] == "FD(domain) 30.0"


def test_the_headline_compares_at_the_same_number_of_images() -> None:
    fair = {"value": 30.0, "low": 26.0, "high": 34.0, "n_synthetic": 100}
    rows = [row(n, 15.0, 14.0, real_baseline=10.0, comparable=fair) for n in ("FD(domain)", "KID(domain)")]
    (card,) = headline.fidelity_card(score(*rows))
    assert "3.0 times" in card.answer
    assert "30.0 (26.0 to 34.0)" in card.sentence


@pytest.mark.parametrize(("n", "first"), [(12, "KID"), (65, "KID"), (66, "FD")])
def test_the_headline_is_unbiased_where_images_are_fewer_than_features(n: int, first: str) -> None:
    rows = [
        row("FD(domain)", 34.0, 30.0, real_baseline=10.0, n_synthetic=n),
        row("KID(domain)", 0.66, 0.6, real_baseline=0.01, n_synthetic=n),
    ]
    (card,) = headline.fidelity_card(score(*rows))
    assert card.answer.startswith("66 times" if first == "KID" else "3.4 times")
    assert card.sentence.startswith(first)
    assert "FD(domain) is 34.0" in card.sentence


def test_without_scores_there_is_no_answer_on_fidelity() -> None:
    assert headline.fidelity_card(score() | {"scores": []}) == []
    assert headline.cards(ReportInputs()) == []


def test_one_rule_says_what_is_compared_with_the_real_images(tmp_path: Path) -> None:
    data = make_data(tmp_path / "real", ("a",), n=12)
    real = {"synthetic": {"origin": "real"}}
    for inputs in (ReportInputs(score=real), ReportInputs(study=real), ReportInputs(synthetic=data)):
        assert inputs.kind == "other real"
    assert ReportInputs(score={"synthetic": {"origin": "synthetic"}}).kind == "synthetic"
    assert ReportInputs(study={"synthetic": None}).kind == ReportInputs().kind == "synthetic"


def _limits(score: list[Caveat] | None, study: list[Caveat] | None, low: float | None = 0.1) -> list[str]:
    def result(caveats: list[Caveat] | None) -> dict[str, Any] | None:
        records = [{"code": c.code, "values": c.values} for c in caveats or []]
        return None if caveats is None else {"caveats": records, "summary": [{"low": low}]}

    section = limits(ReportInputs(score=result(score), study=result(study)))
    return list(section.blocks[0].notes)  # type: ignore[attr-defined]


def test_no_interval_is_spoken_of_where_none_is_shown() -> None:
    assert [("intervals" in " ".join(_limits(None, [], low))) for low in (None, 0.1)] == [False, True]


@pytest.mark.parametrize("groups", [1, 8])
def test_few_groups_are_told_once(groups: int) -> None:
    def few(n: int) -> list[Caveat]:
        return [Caveat("few-groups", {"groups": n, "intervals": n > 1})]

    always = len(_limits([], []))
    assert len(_limits(few(groups), few(groups))) == always + 1
    assert len(_limits(few(groups), few(9))) == always + 2
    assert len(_limits(few(groups), None)) == len(_limits([], None)) + 1


def test_limits_hold_every_caveat_once_those_of_the_study_first() -> None:
    shared, own = Caveat("unknown-origin"), Caveat("equal-steps")
    items = _limits([shared, Caveat("other-labels")], [own, shared])
    assert items[:3] == [str(own), str(shared), str(Caveat("other-labels"))]
    assert items.count(str(shared)) == 1
    assert str(Caveat("copies-scope")) in items
    assert _limits(None, None) == []


def told_apart(auroc: float, told: bool) -> dict[str, Any]:
    found = {"value": auroc, "low": auroc - 0.05, "high": auroc + 0.05}
    return {
        "by": "linear", "told": told, "auroc": found, "baseline": found | {"value": 0.52},
        "excess": excess(auroc - 0.52, 0.1),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("auroc", "told", "shift", "answer", "tone"),
    [
        (0.97, True, 0.0, "Easily told apart", "bad"),
        (0.7, True, 0.0, "Told apart", "neutral"),
        (0.52, False, 0.0, "Not told apart", "neutral"),
        (0.52, False, 9.0, "1.9 times as far as real ones", "neutral"),
    ],
)
def test_no_headline_says_alike_where_a_classifier_or_a_score_tells_them_apart(
    auroc: float, told: bool, shift: float, answer: str, tone: str
) -> None:
    frechet = row("FD(domain)", 10.0 + shift, 9.0, real_baseline=10.0, excess=excess(shift, 5.0))
    content = score(frechet, row("KID(domain)", 0.1)) | {"told_apart": told_apart(auroc, told)}
    (card,) = headline.fidelity_card(content)
    assert (card.answer, card.tone) == (answer, tone)
    found = headline.cards(
        ReportInputs(score=content | {"copies": copies(), "quality": quality("near").record()})
    )
    assert (found[0].tone == "good") is not told


def test_without_an_interval_nothing_is_called_alike() -> None:
    frechet = row("FD(domain)", 10.0, 9.0, real_baseline=10.0, excess=excess(0.0, 5.0))
    apart = told_apart(0.52, told=False)
    apart["auroc"] |= {"low": None, "high": None}
    (card,) = headline.fidelity_card(score(frechet, row("KID(domain)", 0.1)) | {"told_apart": apart})
    assert card.answer == "Not shown to be farther than real ones"


@pytest.mark.parametrize("told", [True, False])
def test_an_auroc_above_chance_that_real_images_reach_too_is_not_called_chance(told: bool) -> None:
    apart = told_apart(0.62, told)
    apart["baseline"] = apart["auroc"] | {"value": 0.66}
    assert "Other real images in their place are told apart as well" in describe_told_apart(apart)
    assert "chance." in describe_told_apart(told_apart(0.52, told=False))


def test_images_that_are_easily_told_from_real_ones_are_not_praised_for_being_no_copies() -> None:
    for auroc, told, tone in ((0.97, True, "neutral"), (0.7, True, "good"), (0.97, False, "good")):
        assert headline.copies_card(copies(), quality("usable"), told_apart(auroc, told)).tone == tone
    far = told_apart(0.97, told=True)
    assert headline.copies_card(copies(finding="close"), None, far).tone == "bad"


def test_any_score_that_is_worse_is_named() -> None:
    content = score(
        row("FD(domain)", 10.0, 9.0, real_baseline=10.0, excess=excess(0.0, 1.0)), row("KID", 0.0)
    )
    content["scores"][2] |= {"excess": excess(-0.3, 0.1)}
    (card,) = headline.fidelity_card(content)
    assert card.answer == "Worse than real ones: precision"


@pytest.mark.parametrize("lower", [True, False])
def test_labels_are_in_the_headline_where_they_fit_less_than_real_ones(lower: bool) -> None:
    share = {"value": 0.7, "low": 0.6, "high": 0.8, "n": 100}
    found = {
        "agreement": {"synthetic": share, "val": share}, "against": "val", "lower": lower,
        "difference": excess(-0.2, 0.1),
    }  # fmt: skip
    shown = headline.labels_card(score() | {"labels": found})
    assert [card.tone for card in shown] == (["bad"] if lower else [])


def test_near_images_that_few_groups_cannot_judge_are_no_good_news() -> None:
    unclear = headline.copies_card(copies(finding="unclear", n_below=3, n_groups=4))
    assert unclear.tone == "neutral"
    assert "4 held-out groups are too few" in unclear.sentence
    assert "no sign" not in unclear.sentence
    near = headline.copies_card(copies(finding="close", n_beyond=1, n_groups=24))
    assert "1 image is nearer" in near.sentence
    for more in ({"baseline": True}, {"unknown_origin": True}):
        card = headline.copies_card(copies(finding="unclear", n_below=1, **more))
        assert (card.answer, card.tone) == ("Cannot be told", "neutral")


def test_what_the_search_can_see_in_words() -> None:
    rows = [
        {"kind": kind, "planted": 40, "noticed": n} for kind, n in (("exact", 40), ("JPEG", 39), ("crop", 20))
    ]
    said = describe_planted(rows)
    assert "where it is exact or JPEG; in fewer, where it is crop (50" in said
    assert "in fewer" not in describe_planted(rows[:2])
    assert "these shares: crop (50" in describe_planted(rows[2:])
    found = {
        "auroc": {"value": 0.7, "low": 0.6, "high": 0.8}, "share": 0.2, "n": 50, "low": 0.1, "high": 0.3,
        "expected_share": 0.05, "expected_share_high": 0.08, "groups_holdout": 9, "finding": "more",
        "seen_of_train": 0.4,
    }  # fmt: skip
    assert "AUROC 0.70 (0.60 to 0.80)" in describe_reidentification(found)
    assert "more than held-out images do" in describe_reidentification(found)
    assert "AUROC" not in describe_reidentification(found | {"auroc": None, "finding": "none"})
    assert describe_reidentification(None) == ""


@pytest.mark.parametrize(
    ("level", "auroc", "told", "answer", "tone"),
    [
        ("undertrained", 0.97, True, LEVELS["undertrained"], "bad"),
        ("usable", 0.97, True, "Easily told from real ones", "bad"),
        ("near", 0.97, True, "Easily told from real ones", "bad"),
        ("near", 0.7, True, "Near the real ones, but told apart", "neutral"),
        ("usable", 0.7, True, LEVELS["usable"], "neutral"),
        ("near", 0.52, False, LEVELS["near"], "good"),
    ],
)
def test_images_that_are_told_from_real_ones_are_not_called_good(
    level: str, auroc: float, told: bool, answer: str, tone: str
) -> None:
    card = headline.quality_card(quality(level), told_apart(auroc, told))
    assert (card.answer, card.tone) == (answer, tone)
    assert f"{auroc:.2f}" in card.sentence
