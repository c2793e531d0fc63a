"""A study that tests on generated images: the four accuracies, no verdict, and what may not be tested on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from tests.study.conftest import bars

from plenish import settings
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.recipes import load_recipe
from plenish.recipes.steps import steps_of
from plenish.report.build import with_report
from plenish.study.config import StudyConfig
from plenish.study.data import add_external, add_synthetic, open_real
from plenish.study.experiment import run_study
from plenish.study.external import refuse_same_draws
from plenish.study.ways import accuracies, side_by_side, table_of_studies

FAST: dict[str, Any] = {"steps": 8, "batch": 8, "evaluations": 1, "seeds": 2, "resamples": 100}


@pytest.fixture(autouse=True)
def quietly() -> Iterator[None]:
    with settings.use(quiet=True, threads=1, precision="float32"):
        yield


def _mean(folder: Path, arm: str, kind: str, score: Any) -> float:
    tables = [pd.read_parquet(folder / "cells" / f"{arm}-seed{k}{kind}.parquet") for k in (0, 1)]
    return sum(score(table["label"], table["predicted"]) for table in tables) / 2


def test_every_arm_has_an_accuracy_on_real_and_on_generated_images(
    make_real: Any, make_synthetic: Any, tmp_path: Path
) -> None:
    real = make_real(group=6)
    made, tested = make_synthetic("made", real), make_synthetic("drawn-again", real, 40, seed=5)
    how = StudyConfig(**FAST, arms=("real", "synthetic"))
    done = with_report(run_study(real, tmp_path / "out", how, synthetic=made, test_data=tested), "study")
    external = done.content["external"]
    assert (external["verdict"], external["verdicts"], external["generated"]) == (None, [], True)
    assert [caveat["code"] for caveat in external["caveats"]] == ["generated-test"]
    rows = accuracies(done.content)
    assert [(row["trained_on"], row["tested_on"]) for row in rows] == [
        ("real", "real"), ("real", "generated"), ("synthetic", "real"), ("synthetic", "generated"),
    ]  # fmt: skip
    for row in rows:
        kind = "" if row["tested_on"] == "real" else ".external"
        for name, score in (("accuracy", accuracy_score), ("balanced_accuracy", balanced_accuracy_score)):
            expected = _mean(tmp_path / "out", row["trained_on"], kind, score)
            assert row[name] == pytest.approx(expected)
        assert (row["images"], row["seeds"]) == (60, 2)
    assert [row["test_images"] for row in rows] == [120, 40, 120, 40]
    named = table_of_studies({"all": tmp_path / "out"})
    assert named == json.loads(json.dumps([{"row": "all", **row} for row in rows]))
    assert [sorted(pair) for pair in side_by_side(named)] == [["generated", "real"]] * 2
    summary = done.summary()
    assert summary["on_real_and_generated"] == rows
    assert not [key for key in summary if key.startswith("verdict_on")]
    assert "not accuracy on patients" in summary["on_generated"][0]
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "On real and on generated images" in page
    assert "not accuracy on patients" in page
    without = run_study(real, tmp_path / "without", StudyConfig(**{**FAST, "seeds": 1}, arms=("real",)))
    with pytest.raises(InputError, match="--test-data"):
        accuracies(without.content)


def test_images_that_were_trained_on_are_not_tested_on(make_real: Any, make_synthetic: Any) -> None:
    real = make_real()
    side = open_real(real, "default", 1.0, 0)
    made = make_synthetic("made", real)
    (fold,) = add_external([side], make_synthetic("again", real, seed=5))
    assert [caveat.code for caveat in add_synthetic(fold, made).external_caveats] == []
    pixels, _ = bars(60, 5)
    pixels[7] = bars(60, 99)[0][7]  # One of those in `made`.
    (fold,) = add_external([side], make_synthetic("shared", real, pixels=pixels))
    with pytest.raises(InputError, match="1 image is in --test-data") as caught:
        add_synthetic(fold, made)
    assert caught.value.code == "shared-images"
    pixels[7] = Dataset.open(real).pixels.read([0])[0]
    with pytest.raises(InputError, match="train or val images"):
        add_external([side], make_synthetic("copied", real, pixels=pixels))


def test_a_generator_that_saw_more_than_train_is_refused(make_real: Any, make_synthetic: Any) -> None:
    real, other = make_real(), make_real("other", seed=3)
    side = open_real(real, "default", 1.0, 0)
    with pytest.raises(InputError) as caught:
        add_external([side], make_synthetic("elsewhere", other, seed=5))
    assert caught.value.code == "other-images"
    data = Dataset.open(real).provenance("default") | {"part": "test"}
    with pytest.raises(InputError) as caught:
        add_external([side], make_synthetic("of-test", real, seed=5, data=data))
    assert caught.value.code == "other-part"
    fold, *_ = add_external([side], make_synthetic("unknown", real, seed=5, data={}))
    assert [caveat.code for caveat in fold.external_caveats] == ["unknown-origin"]
    assert not fold.caveats, "of the main study"


def test_the_same_draws_of_a_generator_are_refused(make_real: Any, make_synthetic: Any) -> None:
    real = make_real()
    record = {"run": "planted", "run_id": "abc", "data": Dataset.open(real).provenance("default")}
    tested = Dataset.open(make_synthetic("tested", real, generator=record, draw=3))
    for generator, seeds in (({"run_id": "abc"}, {4}), ({"run_id": "other"}, {3}), ({}, {3})):
        refuse_same_draws(tested, generator, seeds, "others")
    with pytest.raises(InputError) as caught:
        refuse_same_draws(tested, {"run_id": "abc"}, {3, 4}, "others")
    assert caught.value.code == "same-draws"


def test_the_recipe_tests_each_number_of_tiles_on_another_draw(tmp_path: Path) -> None:
    steps = {
        step.name: step
        for step in steps_of(load_recipe("camelyon-cas", "steps"), tmp_path, Path("out"), "s", 1)
    }
    rows = [name for name, step in steps.items() if step.row]
    assert rows == ["all", "half", "tenth"]
    for name in rows:
        words = steps[name].words
        for option, made in (("--synthetic", "synthetic"), ("--test-data", "generated-test")):
            assert words[words.index(option) + 1] == str(steps[made].out)
        assert {"real", "synthetic"} < set(words)
    assert "--seed" in steps["generated-test"].words
    assert "--seed" not in steps["synthetic"].words
