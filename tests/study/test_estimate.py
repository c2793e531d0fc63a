"""A study's dry run says what the study itself would say, and does nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from plenish import cli
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.study import estimate
from plenish.study.config import Given, StudyConfig
from plenish.study.estimate import estimate_study
from plenish.study.experiment import run_study

FAST: dict[str, Any] = {"steps": 3, "batch": 8, "resamples": 100, "evaluations": 1, "seeds": 2}


def _files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("folds", [None, 3])
def test_it_announces_what_the_study_announces(make_real: Any, tmp_path: Path, folds: int | None) -> None:
    real = make_real(group=10)
    config = StudyConfig(arms=("real", "classical"), folds=folds, **FAST)
    before, reads = _files(real), Dataset.open(real).test_reads()
    found = estimate_study(real, tmp_path / "out", config, Given())
    assert _files(real) == before
    assert not (tmp_path / "out").exists()
    assert Dataset.open(real).test_reads() == reads
    content = run_study(real, tmp_path / "out", config).content
    facts = found.summary()
    assert facts["power"]["planned"] == content["power"]["planned"]
    assert facts["trainings"] == len(list((tmp_path / "out" / "cells").glob("*.json"))) == 4 * (folds or 1)
    assert facts["test_images"] == (120 if folds is None else 240)
    assert facts["test_groups"] == (12 if folds is None else 24)


def test_synthetic_images_need_not_be_there(make_real: Any, tmp_path: Path, capsys: Any) -> None:
    words = ["study", str(make_real()), str(tmp_path / "out"), "--dry-run", "--json"]
    assert cli.run([*words, "--steps", "2", "--folds", "2", "--batch", "8"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "real+synthetic" in found["arms"]
    assert found["test_images"] == 180, "of the images that the generator's split holds out"
    assert (found["train_images"], found["trainings"]) == (60, 50)


def test_arms_that_train_alike_are_refused_as_in_the_study(make_real: Any, tmp_path: Path) -> None:
    arms = tmp_path / "arms.yaml"
    arms.write_text("focal: {words: real, loss: focal}\n")
    config = StudyConfig(arms_file=arms, loss="focal", **FAST)
    with pytest.raises(InputError, match="train alike"):
        estimate_study(make_real(), tmp_path / "out", config, Given())


def test_arms_of_doping_and_further_images_count_as_in_the_study(
    make_real: Any, make_synthetic: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = ["upright" if i % 4 == 0 else "flat" for i in range(60)] + ["flat", "upright"] * 90
    real = make_real(labels=labels)
    timed, genuine = [], estimate._time

    def spying(data: Any, config: Any, sizes: Any, *trainings: Any) -> Any:
        timed.append(sizes.test)
        return genuine(data, config, sizes, *trainings)

    monkeypatch.setattr(estimate, "_time", spying)
    how = {**FAST, "steps": 10, "seeds": 1}
    config = StudyConfig(arms=("doping",), folds=3, **how)
    facts = estimate_study(real, tmp_path / "out", config, Given(), make_real("other", seed=3)).facts
    assert (facts["test_images"], facts["train_images"]) == (180, 60), "the generator's split holds 180 out"
    assert timed == [60 + 240]
    few = make_synthetic("few", real, n=20)
    for options, match in (({"steps": 3}, "5 levels do not fit into 3"), ({}, "The arm 'doping': .*upright")):
        with pytest.raises(InputError, match=match):
            estimate_study(
                real, tmp_path / "out", StudyConfig(arms=("doping",), **how | options),
                Given(synthetic=few if not options else None),
            )  # fmt: skip
    for folds in (None, 3):
        config = StudyConfig(arms=("doping+duplicate",), folds=folds, **how)
        estimate_study(real, tmp_path / "out", config, Given())
