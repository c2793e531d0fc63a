"""Intervals, adjustment and words, on predictions whose truth is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from plenish.metrics.caveats import Caveat, about_groups
from plenish.metrics.statistics import Difference
from plenish.study.analysis import Predictions, analyse, decisive, holm, p_value
from plenish.study.arms import parse_arms, primary_arm
from plenish.study.config import StudyConfig
from plenish.study.design import Design, about_cuts, about_design
from plenish.study.verdicts import arm_verdict, study_verdict, verdict_on


def _predictions(
    arms: dict[str, float], *, seeds: int = 5, n: int = 200, groups: int = 0, spread: float = 0.0,
    seed: int = 0, shared: float = 0.0,
) -> Predictions:  # fmt: skip
    """Two classes; an arm's shift separates them; `spread` differs by seed, `shared` by group and arm."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % 2
    unit = np.arange(n) // 2 % groups if groups else np.arange(n)
    noise = rng.normal(size=(seeds, n))
    probabilities = {}
    for arm, shift in arms.items():
        by_group = rng.normal(size=unit.max() + 1) * shared
        for s in range(seeds):
            logit = (2 * codes - 1) * (shift + by_group[unit] + spread * rng.normal()) + noise[s]
            p = 1 / (1 + np.exp(-logit))
            probabilities[arm, s] = np.stack([1 - p, p], axis=1)
    names = np.array([f"g{u}" for u in unit], object) if groups else None
    return Predictions(codes.astype(np.int64), names, probabilities, config=StudyConfig(resamples=300))


def design(arms: Iterable[str], seeds: int = 5) -> Design:
    """A new study of these arms."""
    parsed = parse_arms(list(arms))
    return Design(tuple(parsed), seeds, primary_arm(parsed))


def _verdicts(predictions: Predictions, *arms: str) -> dict[str, Any]:
    return {row["arm"]: row for row in analyse(predictions, design(arms))["verdicts"]}


def test_planted_effects_get_their_words() -> None:
    arms = {"real": 1.0, "real+synthetic": 2.0, "synthetic": 0.0, "duplicate": 1.0}
    found = _verdicts(_predictions(arms), *arms)
    assert {arm: row["verdict"] for arm, row in found.items()} == {
        "real+synthetic": "helps", "synthetic": "hurts", "duplicate": "no evidence",
    }  # fmt: skip


def test_identical_predictions_differ_by_nothing() -> None:
    predictions = _predictions({"real": 1.0, "classical": 1.0})
    for s in range(5):
        predictions.probabilities["classical", s][:] = predictions.probabilities["real", s]
    row = analyse(predictions, design(["real", "classical"]))["differences"][0]
    assert row["mean"] == 0
    assert np.isnan([row["low"], row["high"], row["p"], row["p_verdict"]]).all()
    assert row["no_variance"] == ["groups", "seeds"]
    assert _verdicts(predictions, "real", "classical")["classical"]["verdict"] == "no evidence"


def test_no_effect_is_called_an_effect_about_as_seldom_as_promised() -> None:
    """200 studies without any effect: at 95 % some ten may speak up, not thirty."""
    wrong = 0
    for trial in range(200):
        predictions = _predictions(
            {"real": 1.0, "real+synthetic": 1.0}, n=80, groups=20, spread=0.2, shared=0.5, seed=trial
        )
        difference = predictions.compare("real+synthetic", "real", "balanced_accuracy")
        wrong += verdict_on(dataclasses.asdict(difference)) != "no evidence"
    assert wrong <= 20


def test_groups_widen_the_interval() -> None:
    arms = {"real": 1.0, "real+synthetic": 1.0}
    grouped = _predictions(arms, n=400, groups=10, shared=1.0)
    alone = Predictions(grouped.codes, None, grouped.probabilities, config=StudyConfig(resamples=300))
    widths = [
        (d := p.compare("real+synthetic", "real", "balanced_accuracy")).high - d.low for p in (grouped, alone)
    ]
    assert widths[0] > 1.5 * widths[1]


def test_one_seed_gives_no_interval_and_no_verdict() -> None:
    found = analyse(_predictions({"real": 0.0, "real+synthetic": 3.0}, seeds=1), design(["real+synthetic"]))
    assert found["verdicts"][0]["verdict"] == "no evidence"
    assert np.isnan(found["differences"][0]["low"])
    assert "no interval: one seed" in study_verdict(_content(found))


def test_two_seeds_give_no_impossible_difference() -> None:
    """One seed right and one wrong everywhere: Student's t of one degree of freedom reaches beyond ±6."""
    codes = np.arange(40) % 2
    right, wrong = np.eye(2)[codes], np.eye(2)[1 - codes]
    arms = {
        ("real", 0): wrong,
        ("real", 1): wrong,
        ("real+synthetic", 0): right,
        ("real+synthetic", 1): wrong,
    }
    arms["real+synthetic", 1] = np.eye(2)[np.r_[codes[:2], 1 - codes[2:]]]  # else nothing varies between rows
    predictions = Predictions(codes.astype(np.int64), None, arms, config=StudyConfig(resamples=200))
    raw = predictions.compare("real+synthetic", "real", "balanced_accuracy")
    assert raw.high > 5
    found = analyse(predictions, design(["real", "real+synthetic"]))
    row = found["differences"][0]
    assert (row["mean"], row["low"], row["high"], row["cut"]) == (0.525, -1, 1, True)
    assert "−100.0 to +100.0, cut" in study_verdict(_content(found))
    assert about_cuts(found["differences"]) == [Caveat("cut-intervals", {"arms": ["real+synthetic"]})]
    sound = analyse(_predictions({"real": 1.0, "real+synthetic": 1.0}), design(["real", "real+synthetic"]))
    assert not any(row["cut"] for row in [*sound["summary"], *sound["differences"]])
    assert about_cuts(sound["differences"]) == []


def test_verdict_sentence_answers_against_real_and_against_augmentation() -> None:
    arms = {"real": 0.5, "classical": 2.5, "real+synthetic": 1.5}
    found = analyse(_predictions(arms), design(arms))
    assert found["verdict"] == {"arm": "real+synthetic", "real": True, "verdict": "helps"}
    (rival,) = (r for r in found["comparisons"] if r["metric"] == "balanced_accuracy")
    assert (rival["against"], verdict_on(rival)) == ("classical", "hurts")
    text = study_verdict(_content(found))
    means = {
        r["arm"]: f"{100 * r['mean']:.1f}" for r in found["summary"] if r["metric"] == "balanced_accuracy"
    }
    assert means["real"] in text
    assert means["real+synthetic"] in text
    assert "worse than classical" in text


@pytest.mark.parametrize(("seeds", "units"), [(1, 30), (2, 1), (1, 1), (3, 30), (2, 5)])
def test_verdict_and_caveats_agree_on_whether_there_are_intervals(seeds: int, units: int) -> None:
    arms = ["real", "classical", "real+synthetic"]
    predictions = _predictions(dict.fromkeys(arms, 1.0), seeds=seeds, groups=units, spread=0.1, shared=0.3)
    found = analyse(predictions, design(arms))
    shown = any(np.isfinite(row["low"]) for row in found["summary"])
    assert shown == (seeds > 1 and units > 1)
    text = study_verdict(_content(found))
    assert ("no interval" in text) != shown
    assert ("one seed" in text) == (seeds == 1)
    assert ("one test group" in text) == (units == 1)
    looks = [{"arms": 1, "seeds": 1}, {"arms": len(arms), "seeds": seeds}]
    told = [
        *about_design(design(arms, seeds), 1.0, True, intervals=shown),
        *about_groups(units, intervals=shown), Caveat("looks", {"looks": looks, "intervals": shown}),
    ]  # fmt: skip
    about = {c.code: c.values["intervals"] for c in told if "intervals" in c.values}
    assert about.pop("few-groups", shown) == shown
    assert set(about.values()) == {shown}
    speaks = [text for text in map(str, told) if "interval" in text and "no intervals" not in text]
    assert bool(speaks) == shown
    assert not any(f"1 {what}s" in str(caveat) for what in ("group", "seed", "arm") for caveat in told)


def test_many_arms_must_survive_holm() -> None:
    arms = ["real", "real+synthetic", *(f"real+synthetic@{d}" for d in range(2, 24))]
    predictions = _predictions(dict.fromkeys(arms, 1.0), n=120, spread=0.15, seeds=4)
    found = analyse(predictions, design(arms))
    rows = [row for row in found["differences"] if row["metric"] == "balanced_accuracy"]
    lucky = [
        row["arm"]
        for row in rows
        if verdict_on({"low": row["low"], "high": row["high"]}) != "no evidence" and "@" in row["arm"]
    ]
    words = {row["arm"]: row["verdict"] for row in found["verdicts"]}
    assert all(row["p_holm"] >= row["p"] for row in rows if "p_holm" in row)
    assert sum(words[arm] != "no evidence" for arm in lucky) <= 1


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    adjusted = holm([float("nan"), 0.02])
    assert np.isnan(adjusted[0])
    assert adjusted[1] == pytest.approx(0.02)


def test_caveats_speak_where_the_design_is_thin() -> None:
    arms = ["real", "classical", "real+synthetic"]
    found = _values(about_design(design(arms, 1), 0.1, True, intervals=False))
    assert found["few-seeds"] == {"seeds": 1, "intervals": False}
    assert found["generator-saw-more"] == {"fraction": 0.1}
    assert found["primary"]["adjusted"] is False  # without intervals there are no p-values to adjust
    more = _values(about_design(design([*arms, "synthetic"]), 1.0, True))
    assert more["primary"]["adjusted"] is True
    assert {"few-seeds", "generator-saw-more"}.isdisjoint(more)


def test_the_sentence_on_an_arm_gives_its_numbers_and_the_adjusted_p() -> None:
    arms = {"real": 0.5, "real+synthetic": 1.5, "classical": 1.0, "oversample": 1.0}
    found = analyse(_predictions(arms), design(arms))
    content = _content(found)
    assert arm_verdict(content, "classical").startswith("classical helps: ")
    row = next(r for r in found["differences"] if r["arm"] == "classical")
    row["p_holm"] = 0.21
    next(r for r in found["verdicts"] if r["arm"] == "classical")["verdict"] = "no evidence"
    text = arm_verdict(content, "classical")
    assert text.startswith("No evidence that classical helps")
    assert "2 arms" in text
    assert "0.21" in text


def _content(found: dict[str, Any]) -> dict[str, Any]:
    return found | {"level": 0.95}


def _values(caveats: list[Caveat]) -> dict[str, Any]:
    return {caveat.code: caveat.values for caveat in caveats}


def test_equivalence_is_two_one_sided_tests_by_hand() -> None:
    from scipy import stats

    found = Difference(0.004, np.nan, np.nan, 1.0, 0.006, 0.003, 17.0, 5, 20)
    error = np.hypot(0.006, 0.003)
    rows = {}
    for margin in (0.02, 0.015):
        rows[margin] = decisive(found, np.full(20, 0.0002), StudyConfig(margin=margin))
        upper, lower = (stats.t.sf((margin + side * 0.004) / error, 17) for side in (-1, 1))
        assert rows[margin]["p_equivalence"] == pytest.approx(max(upper, lower))
        half = stats.t.ppf(0.95, 17) * error
        assert (rows[margin]["inner_low"], rows[margin]["inner_high"]) == pytest.approx(
            (0.004 - half, 0.004 + half)
        )
    low, high = found.interval(0.95)
    words = [verdict_on(row | {"low": low, "high": high}, margin=margin) for margin, row in rows.items()]
    assert words == ["equivalent", "no evidence"]
    assert [row["p_equivalence"] < 0.05 for row in rows.values()] == [True, False]
    adjusted = rows[0.02] | {"low": low, "high": high, "p_equivalence_holm": 0.06}
    assert verdict_on(adjusted, margin=0.02) == "no evidence"


def test_a_small_sure_gain_helps_and_is_said_to_be_small() -> None:
    row = {"low": 0.002, "high": 0.012, "inner_low": 0.003, "inner_high": 0.011, "p_verdict": 0.01}
    assert verdict_on(row, margin=0.02) == "helps"
    assert verdict_on(row | {"p_verdict": 0.07}, margin=0.02) == "equivalent"
    assert verdict_on(row | {"p_verdict": 0.07}, margin=0.01) == "no evidence"


def test_permutation_tests_have_a_say_where_they_can() -> None:
    """Eight groups, one of them heavily against the rest: no permutation test of eight finds that."""
    found = Difference(0.05, 0.01, 0.09, 0.0625, 0.015, 0.004, 8.0, 5, 8)
    config = StudyConfig()
    alike, mixed = np.full(8, 0.05 / 8), np.array([0.02, 0.02, 0.01, 0.01, -0.03, 0.01, 0.005, 0.005])
    alone = p_value(found)
    assert decisive(found, alike, config)["p_verdict"] == max(
        2 / 256, alone
    )  # 5 seeds cannot reach the level
    assert decisive(found, alike, config)["p_flip_groups"] == 2 / 256
    assert decisive(found, mixed, config)["p_verdict"] > 0.05 > alone
    assert decisive(found, mixed, config, tests=2)["p_verdict"] == pytest.approx(p_value(found))


def test_no_evidence_says_what_is_ruled_out_and_what_it_would_take() -> None:
    arms = {"real": 1.0, "real+synthetic": 1.05}
    predictions = _predictions(arms, n=240, groups=12, spread=0.2, shared=0.4, seeds=3)
    found = analyse(predictions, design(arms, 3))
    row, verdict = found["differences"][0], found["verdicts"][0]
    assert verdict["verdict"] == "no evidence"
    assert verdict["needs"]["larger"] in ("groups", "seeds")
    text = study_verdict(_content(found) | {"margin": 0.02})
    assert f"a gain above {100 * row['high']:.1f} points" in text
    assert "in 4 of 5 cases" in text


def test_other_comparisons_of_the_primary_arm_are_adjusted_too() -> None:
    arms = {"real": 1.0, "classical": 1.1, "oversample": 1.2, "weighted": 1.0, "real+synthetic": 1.5}
    found = analyse(_predictions(arms, spread=0.1), design(arms))
    rows = [row for row in found["comparisons"] if row["metric"] == "balanced_accuracy"]
    assert [row["against"] for row in rows] == ["classical", "oversample", "weighted"]
    assert [row["p_holm"] for row in rows] == pytest.approx(holm([row["p_verdict"] for row in rows]))
    rival = {**rows[0], "low": 0.001, "high": 0.1, "p_verdict": 0.001, "p_holm": 0.06}
    content = _content(found) | {"comparisons": [rival]}
    assert "not distinguishable from classical" in study_verdict(content)
    rival["p_holm"] = 0.04
    assert "better than classical" in study_verdict(content)


def test_auroc_of_folds_is_the_mean_of_those_of_their_classifiers() -> None:
    """Two classifiers that rank perfectly, one of them on a scale far below that of the other."""
    codes = np.tile([0, 1], 6).astype(np.int64)
    p = np.where(codes == 1, 0.4, 0.3) + np.repeat([0.0, 0.5], 6)
    table = np.stack([1 - p, p], axis=1)
    arms = {("real", seed): table for seed in range(2)}
    pooled = Predictions(codes, None, arms)
    of_folds = dataclasses.replace(pooled, folds=np.repeat([0, 1], 6))
    assert pooled.metric("auroc", "real", 0)[0] == pytest.approx(0.75)
    assert of_folds.metric("auroc", "real", 0)[0] == 1
    assert of_folds.trainings == 2
    weights = np.ones((2, 12), np.int64)
    weights[1, 6:] = codes[6:]  # A resample that has one class alone of the second fold.
    assert of_folds.metric("auroc", "real", 0, weights).tolist() == [1, 1]
    assert of_folds.metric("balanced_accuracy", "real", 0) == pooled.metric("balanced_accuracy", "real", 0)


def test_what_a_decision_would_take_counts_folds_and_the_arms_adjusted_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from plenish.study import analysis

    levels: list[float] = []
    genuine, noise = analysis.outlook, analysis.observed_noise
    folds: list[int] = []
    monkeypatch.setattr(analysis, "outlook", lambda *args: levels.append(args[2]) or genuine(*args))
    monkeypatch.setattr(analysis, "observed_noise", lambda *args: folds.append(args[3]) or noise(*args))
    arms = dict.fromkeys(["real", "classical", "oversample", "real+synthetic"], 1.0)
    predictions = dataclasses.replace(_predictions(arms, spread=0.1), folds=np.repeat([0, 1], 100))
    found = analyse(predictions, design(arms))
    assert {row["verdict"] for row in found["verdicts"]} == {"no evidence"}
    assert levels == pytest.approx([0.975, 0.975, 0.95])
    assert folds == [2, 2, 2]
