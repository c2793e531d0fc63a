"""Verdicts of studies in words, from their records."""

from __future__ import annotations

from typing import Any

import pytest

from plenish.metrics.words import percent
from plenish.study.verdicts import recommendation, study_verdict


def _study(verdict: str | None, **means: float) -> dict[str, Any]:
    main = None if verdict is None else {"arm": "real+synthetic", "real": True, "verdict": verdict}
    rows = [{"arm": arm, "metric": "balanced_accuracy", "mean": mean} for arm, mean in means.items()]
    return {"verdict": main, "summary": rows}


@pytest.mark.parametrize(
    ("verdict", "begins"),
    [("helps", "Use these images"), ("hurts", "Leave these images out"), ("no evidence", "Rely on real")],
)
def test_a_recommendation_follows_the_verdict(verdict: str, begins: str) -> None:
    means = {"real": 0.78, "classical": 0.86, "real+synthetic": 0.79}
    said = recommendation(_study(verdict, **means))
    assert said is not None
    assert said.startswith(begins)
    assert "classical" in said
    assert percent(0.86) in said


def test_an_arm_of_synthetic_images_is_no_rival() -> None:
    said = recommendation(_study("helps", **{"real": 0.7, "real+synthetic": 0.8, "real+synthetic@2": 0.9}))
    assert said is not None
    assert "arm" not in said


def test_a_study_without_synthetic_images_recommends_nothing_about_them() -> None:
    assert recommendation(_study(None, real=0.7)) is None


def test_an_interval_that_an_adjusted_p_overrules_says_so() -> None:
    row = {"metric": "balanced_accuracy", "mean": -0.07, "low": -0.13, "high": -0.01, "cut": False}
    study = _study("no evidence", **{"real": 0.78, "classical": 0.86, "real+synthetic": 0.79}) | {
        "level": 0.95, "margin": 0.02,
        "differences": [row | {"arm": "real+synthetic", "low": -0.1, "high": 0.1, "mean": 0.0}],
        "comparisons": [row | {"arm": "real+synthetic", "against": "classical", "p_holm": 0.08}],
        "verdicts": [{"arm": "real+synthetic", "metric": "balanced_accuracy", "verdict": "no evidence"}],
        "test": {"n": 100, "groups": 6},
    }  # fmt: skip
    assert "p 0.08 adjusted for several arms" in study_verdict(study)
    study["comparisons"][0]["p_holm"] = 0.01
    said = study_verdict(study)
    assert "worse than classical" in said
    assert "adjusted" not in said
