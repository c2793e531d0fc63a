"""`plenish study autoencoders` from Dataset to page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plenish import cli
from plenish.commands.study import run_study
from plenish.commands.study_autoencoders import study_autoencoders
from plenish.errors import InputError
from plenish.files import RESUME_HINT
from plenish.runs import Run
from plenish.training.autoencoder import AutoencoderLearner

RECIPE = """
kind: autoencoder-study
about: small
provenance: ours
network: {filters: [8], latent_features: 2}
training: {batch: 8, lr: 0.01}
schedule: {epochs: 40, patience: 0, evaluate_epochs: 10, sample_epochs: 40}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return str(path)


def test_stripes_of_two_directions_are_told_apart(stripes, tmp_path: Path, recipe: str) -> None:
    data = stripes(n=120)
    made = study_autoencoders(data.path, tmp_path / "study", recipe=recipe, resamples=100)
    content = json.loads((tmp_path / "study" / "autoencoders.json").read_text())
    assert content["auroc"]["value"] > 0.95
    assert content["verdict"] == "apart"
    assert "class0 and class1" in made.verdict
    values = [[cell["value"] for cell in row] for row in content["matrix"]]
    assert values[0][0] < values[0][1]
    assert values[1][1] < values[1][0]
    table = pd.read_parquet(tmp_path / "study" / "scores.parquet")
    assert table["id"].tolist() == data.part("test", purpose="report").ids
    np.testing.assert_allclose(table["difference"], table["mse_class0"] - table["mse_class1"])
    page = (tmp_path / "study" / "report.html").read_text()
    assert "One autoencoder a class" in page
    assert "class0" in page
    assert content["test_reads"] == 1
    assert Run.open(tmp_path / "study").kind == "autoencoder-study"


def test_a_study_of_training_data_does_not_continue_in_its_folder(tmp_path: Path, stripes) -> None:
    Run.create(tmp_path / "study", "autoencoder-study", {})
    with pytest.raises(InputError, match="autoencoder-study Run"):
        run_study(stripes().path, tmp_path / "study")


def test_it_goes_on_where_it_stopped_and_trains_nothing_twice(
    stripes, tmp_path: Path, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stripes()
    step, taken = AutoencoderLearner.step, []

    def stopping(self: AutoencoderLearner, *args: object) -> object:
        taken.append(1)
        if len(taken) == 100:  # In the second model.
            raise KeyboardInterrupt
        return step(self, *args)  # type: ignore[arg-type]

    asked = {"recipe": recipe, "epochs": 30.0, "resamples": 50, "options": ["schedule.evaluate_epochs=5"]}
    monkeypatch.setattr(AutoencoderLearner, "step", stopping)
    with pytest.raises(KeyboardInterrupt, match=RESUME_HINT):
        study_autoencoders(data.path, tmp_path / "cut", **asked)
    assert Run.open(tmp_path / "cut").state == "interrupted"
    study_autoencoders(data.path, tmp_path / "cut", **asked)
    monkeypatch.setattr(AutoencoderLearner, "step", step)
    study_autoencoders(data.path, tmp_path / "whole", **asked)
    cut, whole = (pd.read_parquet(tmp_path / name / "scores.parquet") for name in ("cut", "whole"))
    pd.testing.assert_frame_equal(cut, whole)
    monkeypatch.setattr(AutoencoderLearner, "step", lambda *_: pytest.fail("it trained again"))
    study_autoencoders(data.path, tmp_path / "cut", **asked)


def test_classes_are_balanced_and_chosen(stripes, tmp_path: Path, recipe: str) -> None:
    data = stripes(n=60, classes=3)
    names = ["class2", "class0"]
    made = study_autoencoders(
        data.path, tmp_path / "study", recipe=recipe, classes=names, epochs=1, resamples=50
    )
    assert made.content["classes"] == names
    images = [model["images"] for model in made.content["models"]]
    assert images[0] == images[1]
    table = pd.read_parquet(tmp_path / "study" / "scores.parquet")
    assert set(table["class"]) == set(names)
    truth = dict(zip(data.table["id"], data.table["label"]))
    assert [truth[i] for i in table["id"]] == table["class"].tolist()


def test_shuffled_classes_are_a_control(stripes, tmp_path: Path, recipe: str) -> None:
    data = stripes(n=600)
    made = study_autoencoders(
        data.path, tmp_path / "study", recipe=recipe, shuffle=True, resamples=200, epochs=2
    )
    # Three standard deviations of the AUROC of 120 images whose scores mean nothing.
    assert abs(made.content["auroc"]["value"] - 0.5) < 3 * (121 / (12 * 60 * 60)) ** 0.5
    assert made.content["shuffled"] is True


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"classes": ["class0"]}, "--classes"),
        ({"classes": ["class0", "classs1"]}, "'classs1'.*'class1'"),
        ({"recipe": "autoencoder"}, "train autoencoder"),
        ({"batch": 30}, "30 are needed; lower --batch"),
        ({"resamples": 1}, "--resamples must be at least 10, not 1"),
    ],
)
def test_bad_requests_are_told_and_leave_nothing(
    stripes, tmp_path: Path, recipe: str, more: dict, sentence: str
) -> None:
    data = stripes()
    with pytest.raises(InputError, match=sentence):
        study_autoencoders(data.path, tmp_path / "study", **({"recipe": recipe} | more))
    assert not (tmp_path / "study").exists()
    assert data.test_reads() == 0


def test_from_the_command_line(
    stripes, tmp_path: Path, recipe: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = stripes()
    words = ["study", "autoencoders", str(data.path), str(tmp_path / "s"), "--recipe", recipe, "--quiet"]
    assert cli.run([*words, "--epochs", "1", "--resamples", "50", "--threads", "1", "--json"]) == 0
    assert "verdict" in json.loads(capsys.readouterr().out)
    assert cli.run([*words, "--epochs", "1", "--resamples", "50", "--threads", "1"]) == 0
    assert "mean error under each model" in capsys.readouterr().out
