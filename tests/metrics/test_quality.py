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
    NEAR_LEAST,
    UNDERTRAINED,
    ClassGroups,
    Quality,
    QualityScorer,
    class_groups,
    from_line,
    from_record,
    of_generator,
    of_run,
)
from plenish.metrics.words import percent
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
    assert from_line(logged | {f"{LOGGED}recall": "many"}) is None, "text is no figure"
    assert from_record(REAL.record() | {"kid": [0.1]}) is None


def test_few_images_are_never_near() -> None:
    assert with_figures(n=NEAR_LEAST).level == "near"
    few = with_figures(n=NEAR_LEAST - 1)
    assert (few.level, few.is_too_few) == ("usable", True)
    assert advice(few).code == "more-images"
    assert not with_figures(n=NEAR_LEAST - 1, kid_low=0.4).is_too_few
    assert not REAL.is_too_few
    train = np.random.default_rng(0).normal(size=(200, 16)).astype(np.float32)
    for n in (6, 8, 12, 20):
        for seed in range(20):
            made = 0.35 + 0.9 * np.random.default_rng(seed).normal(size=(n, 16)).astype(np.float32)
            scored = from_record(QualityScorer(train, None)(made.astype(np.float32), None))
            assert scored is not None
            assert scored.level != "near"


@pytest.mark.parametrize("figure", ["precision", "recall", "coverage"])
def test_every_figure_stands_beside_that_of_real_images(figure: str) -> None:
    (row,) = [row for row in with_figures(**{figure: 0.45}).figures() if figure in row[0]]
    assert row[1:] == (percent(0.45, ".0f"), percent(0.9, ".0f"))
    assert "10" in str(with_figures(kid=75.0, kid_low=60.0))
    assert str(with_figures(n=12)) != str(REAL).replace("300", "12"), "too few for more is said"


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


def _two_classes(n: int, seed: int, apart: float = 8.0) -> tuple[Any, Any]:
    """Features of two classes in turn, and their labels."""
    codes = np.arange(n) % 2
    features = np.random.default_rng(seed).normal(size=(n, 16))
    features[:, 0] += apart * codes
    return features.astype(np.float32), np.eye(2, dtype=np.float32)[codes]


def test_images_sorted_by_class_are_judged_as_in_any_order() -> None:
    """As many as in half of train are drawn from all, not from the first classes."""
    scorer = QualityScorer(*_two_classes(400, 1))
    features, y = _two_classes(800, 2)
    features[y[:, 1] > 0] = 40 * np.random.default_rng(3).normal(size=(400, 16))
    order = np.argsort(y[:, 1], kind="stable")
    ordered = from_record(scorer(features[order], y[order]))
    assert ordered is not None
    assert ordered.level == "undertrained"
    assert ordered.precision == pytest.approx(ordered.precision_real / 2, abs=0.05), "one class of two is bad"
    assert ordered.n == 200
    unlabelled = from_record(scorer(features[order], None))
    assert unlabelled is not None
    assert unlabelled.precision == pytest.approx(ordered.precision, abs=0.1)


def test_a_class_that_is_not_made_counts_as_nothing() -> None:
    scorer = QualityScorer(*_two_classes(400, 1))
    features = np.random.default_rng(2).normal(size=(200, 16)).astype(np.float32)
    y = np.tile(np.array([[1, 0]], np.float32), (200, 1))
    found = from_record(scorer(features, y))
    assert found is not None
    assert scorer.groups(y) == ClassGroups([(0,)], [1])
    assert found.n == 100, "no more than there are real ones of the class"
    assert found.level == "undertrained"
    assert found.of_real("coverage") == pytest.approx(0.5, abs=0.05)
    assert found.of_real("precision") == pytest.approx(1.0, abs=0.15)


def test_classes_with_few_images_are_measured_with_others() -> None:
    def groups(*sides: list[int]) -> ClassGroups:
        return class_groups(*map(np.array, sides))

    assert groups([50, 50], [50, 50], [40, 60]) == ClassGroups([(0,), (1,)], [])
    assert groups([50, 4], [50, 4], [40, 50]).measured == [(1, 0)]
    assert groups([50, 4, 4], [50, 4, 4], [50, 4, 4]).measured == [(1, 2), (0,)]
    assert groups([50, 50, 50], [50, 50, 50], [0, 3, 90]) == ClassGroups([(1, 2)], [0])
    assert groups([100, 6], [100, 6], [90, 0]) == ClassGroups([(1, 0)], []), "five would be expected of it"
    assert groups([100, 6], [100, 6], [200, 0]) == ClassGroups([(0,)], [1])
    assert groups([3, 2], [3, 2], [50, 50]) == ClassGroups([], [])
    assert groups([50, 4, 4], [50, 4, 4], [50, 4, 4]).together == [1, 2]


def test_garbage_of_a_rare_class_is_seen() -> None:
    rng = np.random.default_rng(1)
    features = np.concatenate([rng.normal(size=(392, 16)), rng.normal(size=(8, 16)) + 8]).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[(np.arange(400) >= 392).astype(int)]
    garbage = np.concatenate([rng.normal(size=(150, 16)), 5 * rng.normal(size=(50, 16))]).astype(np.float32)
    asked = np.eye(2, dtype=np.float32)[(np.arange(200) >= 150).astype(int)]
    scorer = QualityScorer(features, y)
    found = from_record(scorer(garbage, asked))
    assert found is not None
    assert found.level != "near"
    assert found.of_real("precision") < NEAR
    assert found.n == 200
    assert scorer.groups(asked).together == [1, 0]


@pytest.mark.parametrize("n", [2, 5])
def test_few_images_have_no_quality(n: int) -> None:
    train = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
    assert QualityScorer(train, None)(train[:n], None) == {}
    assert QualityScorer(train[:n], None)(train, None) == {}


def _run(path: Path, *, best: float, shown: float = 0.0, kimg: float = 40.0, **config: Any) -> Run:
    """A Run that was scored after 1, 2, 3 and 4 quarters of `kimg`."""
    run = Run.create(path, "generator", {"schedule": {"kimg": kimg}, **config}, data={}, seed=0)
    for quarter in (1, 2, 3, 4):
        run.log(kimg=kimg * quarter / 4, **_logged() | {f"{LOGGED}precision": 0.9 * kimg * quarter / 400})
    run.update_status(
        state="interrupted" if shown else "complete", kimg=shown or kimg,
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
    long = _run(tmp_path / "c", best=40.0, kimg=160.0)
    assert advice(undertrained, long).code == "otherwise"
    assert advice(with_figures(coverage=0.0), long).code == "longer", "absurd images say nothing of a recipe"
    short = _run(tmp_path / "short", best=0.256, kimg=1.024)
    assert advice(undertrained, short).code == "longer", "a few seconds say nothing of a recipe"
    diverged = _run(tmp_path / "diverged", best=10.0, shown=20.0)
    diverged.update_status(state="diverged", message="loss is NaN")
    for quality in (undertrained, None):
        assert advice(quality, diverged).code == "diverged"
        assert "--retry" in str(advice(quality, diverged)), "without it the training is refused"
    assert advice(REAL, diverged).code == "use"
    assert "--retry" in remarks(diverged)["next"]
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


def test_a_study_takes_the_place_of_the_advice_to_study() -> None:
    usable, said = with_figures(recall=0.7 * 0.9), "Leave them out."
    assert advice(usable).code == "judge"
    assert said in str(advice(usable, studied=said))
    assert advice(with_figures(), studied=said).code == "studied"
    assert advice(with_figures(recall=0.1), studied=said).code == "longer-unknown", "better images come first"
