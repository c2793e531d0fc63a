"""`plenish train classifier`: a Run that holds a classifier, and what it says of val and test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plenish import cli
from plenish.commands.train_classifier import train_classifier_run
from plenish.errors import InputError
from plenish.runs import Run
from plenish.training.classifier import Classifier
from plenish.training.labelled import Images


def test_stripes_are_told_apart_and_kept(stripes, tmp_path: Path) -> None:
    data = stripes(n=120)
    made = train_classifier_run(data.path, tmp_path / "run", steps=60, batch=16)
    summary = made.summary()
    assert {row["part"]: row["balanced_accuracy"] for row in summary["results"]} == {"val": 1, "test": 1}
    assert summary["classes"] == ["class0", "class1"]
    assert data.test_reads() == summary["test_reads"] == 1
    table = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    assert set(table["part"]) == {"val", "test"}
    assert (table["predicted"] == table["label"]).all()
    loaded = Classifier.load(tmp_path / "run" / "classifier")
    test = data.part("test", purpose="report")
    found = loaded.probabilities(Images.of(test))
    np.testing.assert_allclose(found[:, 1], table.query("part == 'test'")["p_class1"], atol=1e-6)
    assert len(Run.open(tmp_path / "run", "classifier").metrics()) == 5
    assert not list((tmp_path / "run").rglob("*.p[kt]*"))  # Neither .pkl nor .pt: no pickles.


def test_a_complete_run_is_not_trained_again_and_another_request_is_refused(stripes, tmp_path: Path) -> None:
    data = stripes()
    train_classifier_run(data.path, tmp_path / "run", steps=2, batch=8)
    weights = tmp_path / "run" / "classifier" / "classifier.safetensors"
    before = weights.stat().st_mtime_ns
    train_classifier_run(data.path, tmp_path / "run", steps=2, batch=8)
    assert weights.stat().st_mtime_ns == before
    assert data.test_reads() == 1
    with pytest.raises(InputError, match=r"another configuration: .*steps"):
        train_classifier_run(data.path, tmp_path / "run", steps=3, batch=8)


def test_an_interrupted_one_begins_anew_and_ends_the_same(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stripes()
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "save", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            train_classifier_run(data.path, tmp_path / "run", steps=3, batch=8)
    assert Run.open(tmp_path / "run").state == "interrupted"
    for name in ("run", "other"):
        train_classifier_run(data.path, tmp_path / name, steps=3, batch=8)
    one, other = (
        (tmp_path / name / "classifier" / "classifier.safetensors").read_bytes() for name in ("run", "other")
    )
    assert one == other
    assert len(Run.open(tmp_path / "run").metrics()) == 3  # As many looks as steps.


@pytest.mark.parametrize(
    ("made", "more", "sentence"),
    [
        ({"classes": 0}, {}, "no two classes"),
        ({"split": False}, {}, "no split yet"),
        ({}, {"classifier": "smal"}, "did you mean 'small'"),
        ({}, {"batch": 1}, "--batch must be at least 2"),
        ({}, {"learning_rate": -1.0}, "--learning-rate must be a number above 0"),
    ],
)
def test_bad_requests_leave_nothing(stripes, tmp_path: Path, made: dict, more: dict, sentence: str) -> None:
    data = stripes(**made)
    with pytest.raises(InputError, match=sentence):
        train_classifier_run(data.path, tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_from_the_command_line(stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "train",
        "classifier",
        str(stripes().path),
        str(tmp_path / "run"),
        "--steps",
        "2",
        "--batch",
        "8",
    ]
    assert cli.run([*words, "--threads", "1", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "complete"
