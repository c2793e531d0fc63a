"""`--pretrained` alone takes timm's own weights, through timm's own way of getting them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from plenish import cli, settings
from plenish.networks.classifier import build_classifier
from plenish.study.config import StudyConfig
from plenish.study.experiment import run_study

timm = pytest.importorskip("timm")
NAME = "resnet10t"


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Weights of another 1,000 classes that timm finds in a file where it would fetch its own."""
    torch.manual_seed(5)
    state = timm.create_model(NAME).state_dict()
    save_file(state, tmp_path / "timm.safetensors")
    known = timm.models._registry._model_pretrained_cfgs
    (key,) = [key for key in known if key.split(".")[0] == NAME and "." in key]
    local = dataclasses.replace(known[key], file=str(tmp_path / "timm.safetensors"), url=None, hf_hub_id=None)
    for name in (key, NAME):
        monkeypatch.setitem(known, name, local)
    return dict(state)


def test_true_starts_from_the_weights_of_timm(published: dict[str, torch.Tensor]) -> None:
    mine = build_classifier(NAME, 3, 32, 2, pretrained=True).state_dict()
    assert torch.equal(mine["layer1.0.conv1.weight"], published["layer1.0.conv1.weight"])
    assert mine["fc.weight"].shape[0] == 2


@pytest.mark.parametrize("words", [["--pretrained"], ["--pretrained", "true"]])
def test_a_training_and_a_study_fine_tune_them(
    published: dict[str, torch.Tensor], words: list[str], stripes: Any, tmp_path: Path
) -> None:
    data = stripes(size=32).path
    common = ["--classifier", NAME, "--steps", "2", "--batch", "8", "--quiet", *words]
    assert cli.run(["train", "classifier", str(data), str(tmp_path / "run"), *common]) == 0
    more = ["--arms", "real", "--seeds", "1", "--resamples", "100"]
    assert cli.run(["study", str(data), str(tmp_path / "study"), *common, *more]) == 0


@pytest.mark.parametrize("verb", ["study", "train classifier"])
def test_weights_that_cannot_be_fetched_leave_nothing(
    verb: str, stripes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to host\nmore lines")

    for fetch in ("load_state_dict_from_hf", "load_state_dict_from_url"):
        monkeypatch.setattr(f"timm.models._builder.{fetch}", fail)
    out, words = tmp_path / "out", ["--classifier", NAME, "--pretrained", "true"]
    words += ["--arms", "real"] if verb == "study" else []
    assert cli.run([*verb.split(), str(stripes(size=32).path), str(out), *words]) == 2
    said = capsys.readouterr().err
    assert "timm's weights of 'resnet10t' could not be fetched (no route to host)" in said
    assert "--pretrained FILE" in said
    assert not out.exists()


def test_a_network_without_published_weights_is_told_as_such() -> None:
    name = next(n for n in timm.list_models("resnet*") if not timm.is_model_pretrained(n))
    with pytest.raises(cli.InputError, match="timm has no weights of"):
        build_classifier(name, 3, 32, 2, pretrained=True)


def test_the_time_in_all_is_said_before_the_first_cell(
    stripes: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plenish.training.classifier_time.measure", lambda *_: (0.5, 0.0))
    monkeypatch.setattr("plenish.study.experiment.cells.run_cell", _stop)
    config = StudyConfig(arms=("real", "classical"), seeds=3, steps=100, batch=8)
    with settings.use(quiet=False), pytest.raises(KeyboardInterrupt):
        run_study(stripes().path, tmp_path / "study", config)
    # 2 arms × 3 seeds × 100 steps × 0.5 s.
    assert "6 trainings of 100 steps take about 5 min in all here" in capsys.readouterr().err


def _stop(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt
