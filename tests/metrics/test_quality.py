"""How far a generator is: the rule, its figures, and what is said to do next."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plenish.metrics.advice import advice, remarks
from plenish.metrics.quality import (
    LOGGED,
    NEAR,
    UNDERTRAINED,
    Quality,
    QualityScorer,
    from_line,
    from_record,
    of_generator,
    of_run,
)
from plenish.runs import Run

REAL = Quality(
    precision=0.9, precision_real=0.9, recall=0.9, recall_real=0.9, coverage=0.9, coverage_real=0.9, kid=0.01,
    kid_low=-0.02, kid_high=0.04, kid_real=0.005, n=300, kimg=12.8,
)  # fmt: skip


def with_figures(**changes: Any) -> Quality:
    return dataclasses.replace(REAL, **changes)


@pytest.mark.parametrize("figure", ["precision", "recall", "coverage"])
@pytest.mark.parametrize(
    ("share", "level"),
    [(0.0, "undertrained"), (UNDERTRAINED - 0.01, "undertrained"), (UNDERTRAINED + 0.001, "usable"),
     (NEAR - 0.01, "usable"), (NEAR + 0.001, "near"), (1.2, "near")],
)  # fmt: skip
def test_the_worst_figure_decides(figure: str, share: float, level: str) -> None:
    assert with_figures(**{figure: share * 0.9}).level == level


def test_kid_decides_by_its_interval() -> None:
    assert with_figures(kid=0.5, kid_low=0.4).level == "usable"
    assert with_figures(kid=0.05, kid_low=0.004).level == "near"
    assert with_figures(kid_low=0.001, kid_real=-0.01).level == "usable", "less than nothing is asked of none"


def test_an_absurd_kid_is_undertrained_whatever_the_shares() -> None:
    far = with_figures(kid=75.0, kid_low=60.0)
    assert far.is_absurd
    assert far.level == "undertrained"
    assert not with_figures(kid=75.0, kid_low=-5.0).is_absurd


def _logged() -> dict[str, Any]:
    return {f"{LOGGED}{k}": v for k, v in REAL.record().items() if k not in ("level", "kimg")}


def test_figures_survive_the_record_and_the_log() -> None:
    assert from_record(REAL.record()) == REAL
    logged = {"kimg": 12.8} | {
        f"{LOGGED}{k}": v for k, v in REAL.record().items() if k not in ("level", "kimg")
    }
    assert from_line(logged) == REAL
    assert from_line({"kimg": 12.8, "kid_val": 3.0}) is None
    assert from_record(REAL.record() | {"recall_real": 0.0}) is None
    assert from_record(None) is None


def _scored(shift: float, spread: float = 1.0, seed: int = 1) -> Quality:
    """Gaussian features in 8 dimensions, moved by `shift` and widened by `spread`."""
    train = np.random.default_rng(0).normal(size=(400, 8)).astype(np.float32)
    made = (shift + spread * np.random.default_rng(seed).normal(size=(300, 8))).astype(np.float32)
    found = from_record(QualityScorer(train, None)(made, None))
    assert found is not None
    return found


def test_the_same_distribution_is_near_and_others_are_not() -> None:
    same = [_scored(0.0, seed=seed) for seed in range(1, 9)]
    assert [one.level for one in same].count("near") >= 6
    assert all(one.level != "undertrained" and 0.75 < one.reached < 1.4 for one in same)
    assert _scored(1.5).level == "undertrained"
    assert _scored(0.0, spread=0.2).of_real("recall") < 0.3, "hardly any variety"
    assert _scored(30.0).is_absurd
    levels = [_scored(shift).reached for shift in (0.0, 0.5, 1.0, 2.0)]
    assert levels == sorted(levels, reverse=True)


def test_classes_that_are_mixed_up_are_seen() -> None:
    rng = np.random.default_rng(3)
    codes = np.arange(400) % 2
    features = (rng.normal(size=(400, 8)) + 6 * codes[:, None]).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[codes]
    scorer = QualityScorer(features, y)
    right, wrong = (from_record(scorer(features[:200], asked)) for asked in (y[:200], y[:200, ::-1]))
    assert right is not None
    assert wrong is not None
    assert right.reached > 0.9
    assert wrong.coverage == 0
    assert scorer(features[:200], y[:200]) == scorer(features[:200], y[:200])


@pytest.mark.parametrize("n", [2, 5])
def test_few_images_have_no_quality(n: int) -> None:
    train = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    assert QualityScorer(train, None)(train[:n], None) == {}
    assert QualityScorer(train[:n], None)(train, None) == {}


def _run(path: Path, *, best: float, shown: float = 40.0, **config: Any) -> Run:
    run = Run.create(path, "generator", {"schedule": {"kimg": 40.0}, **config}, data={}, seed=0)
    for kimg in (10.0, 20.0, 40.0):
        run.log(kimg=kimg, **_logged() | {f"{LOGGED}precision": 0.9 * kimg / 100})
    run.update_status(
        state="complete" if shown == 40.0 else "interrupted", kimg=shown,
        best={"checkpoint": f"kimg-{best:09.3f}"},
    )  # fmt: skip
    return run


def test_a_run_is_judged_at_the_checkpoint_asked_for(tmp_path: Path) -> None:
    run = _run(tmp_path / "run", best=40.0)
    best, early = of_run(run), of_run(run, "kimg-00010.000")
    assert best is not None
    assert early is not None
    assert (best.kimg, early.kimg) == (40.0, 10.0)
    assert early.precision == pytest.approx(0.09)
    assert of_run(run, "kimg-00011.000") is None
    made = {"run": str(run.path), "run_id": run.id, "checkpoint": "kimg-00010.000"}
    assert of_generator(made) == early
    assert of_generator(made | {"run_id": "another"}) is None
    assert of_generator({}) is None


def test_what_to_do_next(tmp_path: Path) -> None:
    undertrained = with_figures(precision=0.1)
    going = _run(tmp_path / "a", best=40.0)
    assert advice(undertrained, going).code == "longer"
    assert advice(undertrained, going).values == {"option": "--kimg", "value": 160.0}
    hours = advice(undertrained, _run(tmp_path / "b", best=40.0, hours=0.5))
    assert hours.values == {"option": "--hours", "value": 2.0}
    assert advice(undertrained, _run(tmp_path / "c", best=10.0)).code == "otherwise"
    assert advice(undertrained, _run(tmp_path / "d", best=10.0, shown=20.0)).code == "resume"
    assert advice(undertrained).code == "longer-unknown"
    assert advice(with_figures(precision=0.65), going).code == "judge"
    assert advice(REAL, going).code == "use"
    assert advice(None, going).code == "measure"
    for quality in (undertrained, with_figures(precision=0.65), REAL, None):
        assert ": " in str(advice(quality, going)), "a card shows what stands before the colon"


def test_a_run_says_how_far_it_is_and_what_next(tmp_path: Path) -> None:
    assert set(remarks(_run(tmp_path / "run", best=40.0))) == {"images", "figures", "next"}
    assert set(remarks(_run(tmp_path / "none", best=39.0))) == {"next"}
    other = Run.create(tmp_path / "study", "study", {}, data={}, seed=0)
    assert remarks(other) == {}


def test_the_caveat_is_only_that_of_undertrained_ones() -> None:
    assert REAL.caveats("copies") == with_figures(recall=0.65).caveats("study") == []
    (caveat,) = with_figures(recall=0.09).caveats("study")
    assert caveat.code == "undertrained"
    assert caveat.values["recall"] == pytest.approx(0.1)
    assert "10" in str(caveat)
    (other,) = with_figures(recall=0.09).caveats("copies")
    assert str(other) != str(caveat)
