"""`plenish harden`: a Run of a classifier that was trained on adversarial images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tests.commands.giving_away import pictures, synthetic_dataset
from torch import Tensor

from plenish import cli
from plenish.commands.harden import harden
from plenish.commands.train_classifier import train_classifier_run
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.latent.judges import open_classifier
from plenish.metrics.caveats import Caveat
from plenish.metrics.ensemble import fitted_ensemble
from plenish.metrics.predict_config import PredictConfig
from plenish.metrics.scorers import open_scorer
from plenish.robustness.hardening import HardenedLearner
from plenish.robustness.target_sources import open_target
from plenish.runs import Run
from plenish.training import checkpoints
from plenish.training.classifier import Shown
from plenish.training.classifier_model import Classifier
from plenish.training.learner import Clock

QUICK: dict[str, Any] = {"steps": 4, "batch": 8, "evaluations": 4, "attack_steps": 2, "validation_steps": 1}


class Killed(BaseException):
    """Stands for a kill: nothing of the training's own handles it."""


def test_hardened_with_generated_images_it_is_a_classifier_like_any(
    clinic: Dataset, honest: Dataset, tmp_path: Path
) -> None:
    options = QUICK | {"method": "pgd", "eps": "2/255"}
    made = harden(clinic.path, tmp_path / "run", generated=honest.path, test=True, **options)
    config, summary = made.config["config"], made.summary()
    assert (made.kind, config["share"], config["hardening"]["method"]) == ("classifier", 0.7, "pgd")
    assert config["hardening"]["eps"] == pytest.approx(2 / 255)
    assert config["hardening"]["step_size"] == pytest.approx(0.5 / 255)
    assert {row["part"] for row in summary["results"]} == {"val", "test"}
    assert set(pd.read_parquet(tmp_path / "run" / "predictions.parquet")["part"]) == {"val", "test"}
    assert Classifier.of_run(tmp_path / "run").names == clinic.labels.names
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "pgd, eps 2/255 (linf)" in page
    assert f"{len(honest)} of {honest.manifest.name}, 70" in page
    lines = Run.open(tmp_path / "run", "classifier").metrics().dropna(subset="val_robust_loss")
    best = lines.sort_values(["val_robust_balanced_accuracy", "val_robust_loss"], ascending=[False, True])
    assert summary["best"]["step"] == best["step"].iloc[0]
    assert summary["val"]["robust_balanced_accuracy"] == best["val_robust_balanced_accuracy"].iloc[0]
    assert summary["val"]["balanced_accuracy"] == best["val_balanced_accuracy"].iloc[0]
    with pytest.raises(InputError, match="--eps"):
        harden(clinic.path, tmp_path / "run", generated=honest.path, **(options | {"eps": "4/255"}))


@pytest.mark.parametrize(
    "how",
    [
        {"method": "trades", "awp": 0.01, "awp_warmup": 0.3, "ema": 0.9},
        {"method": "free", "norm": "l2", "eps": 0.5, "mixup": 0.2, "augmentation": "classical"},
    ],
    ids=["trades", "free"],
)
def test_killed_and_resumed_it_ends_like_one_never_stopped(
    clinic: Dataset, honest: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]
) -> None:
    options = QUICK | how | {"generated": honest.path, "share": 0.5}
    genuine = HardenedLearner.learn

    def killed(self: HardenedLearner, shown: Shown, clock: Clock) -> dict[str, Tensor]:
        if clock.step == 3 and len(checkpoints.list_checkpoints(tmp_path / "cut" / "checkpoints")):
            raise Killed
        return genuine(self, shown, clock)

    with monkeypatch.context() as patch:
        patch.setattr(HardenedLearner, "learn", killed)
        with pytest.raises(Killed):
            harden(clinic.path, tmp_path / "cut", **options)
    for name in ("cut", "whole"):
        harden(clinic.path, tmp_path / name, **options)
    tensors = []
    for name in ("cut", "whole"):
        newest = checkpoints.newest_intact(tmp_path / name / "checkpoints")
        assert newest is not None
        files = [*newest.glob("*.safetensors"), tmp_path / name / "classifier" / "classifier.safetensors"]
        tensors.append({f"{file.stem}.{key}": v for file in files for key, v in load_file(file).items()})
    assert [key for key, value in tensors[0].items() if not torch.equal(value, tensors[1][key])] == []
    logs = [Run.open(tmp_path / name).metrics().dropna(subset="val_robust_loss") for name in ("cut", "whole")]
    scores = [log.filter(like="val_").reset_index(drop=True) for log in logs]
    pd.testing.assert_frame_equal(*scores)


def test_a_hardened_run_and_a_plain_one_are_not_continued_as_the_other(stripes, tmp_path: Path) -> None:
    data, plain = stripes(), {key: QUICK[key] for key in ("batch", "evaluations")} | {"steps": 1}
    harden(data.path, tmp_path / "hardened", **(QUICK | {"steps": 1, "method": "fast", "attack_steps": None}))
    train_classifier_run(data.path, tmp_path / "plain", **plain)
    with pytest.raises(InputError, match="plenish harden"):
        train_classifier_run(data.path, tmp_path / "hardened", **plain)
    with pytest.raises(InputError, match="plenish train classifier"):
        harden(data.path, tmp_path / "plain", **plain)


@pytest.mark.parametrize(
    ("made", "more", "named"),
    [
        ({"classes": 0}, {}, "2 classes"),
        ({}, {"share": 0.5}, "--share"),
        ({}, {"eps": "5"}, "--eps"),
        ({}, {"columns": ("age",)}, "--columns"),
        ({}, {"method": "mart", "cutmix": 1.0}, "--cutmix"),
        ({}, {"method": "none", "attack_steps": 3}, "--attack-steps"),
        ({}, {"method": "none", "step_size": 0.01}, "--step-size"),
        ({}, {"step_size": 0}, "--step-size"),
        ({}, {"step_size": "1.5"}, "--step-size"),
        ({}, {"step_size": float("nan")}, "--step-size"),
        ({}, {"eps": float("nan")}, "--eps"),
        ({}, {"method": "pgd", "awp_warmup": 0.5}, "--awp-warmup"),
        ({}, {"doping": ("50",)}, "--generated"),
        ({}, {"share": 0.7}, "--generated"),
    ],
)
def test_bad_requests_leave_nothing(stripes, tmp_path: Path, made: dict, more: dict, named: str) -> None:
    data = stripes(**made)
    with pytest.raises(InputError, match=named):
        harden(data.path, tmp_path / "run", **more)
    assert not (tmp_path / "run").exists()


def test_few_generated_images_and_missing_classes_are_remarked(
    clinic: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x, labels = pictures(120, 50)
    only = np.flatnonzero(np.array(labels) == labels[0])[:3]
    few = synthetic_dataset(tmp_path / "few", clinic, x[only], [labels[i] for i in only])
    made = harden(
        clinic.path, tmp_path / "run", generated=few.path, method="fast", **QUICK | {"attack_steps": 1}
    )
    missing = [name for name in clinic.labels.names if name != labels[0]]
    said = capsys.readouterr().err
    for caveat in (
        Caveat("few-generated", {"images": 3, "wanted": 6}),
        Caveat("generated-without", {"classes": missing, "share": 0.7}),
    ):
        assert str(caveat) in made.status["caveats"]
        assert str(caveat) in said


def test_a_synthetic_dataset_in_the_place_of_the_real_one_is_told_its_option(
    honest: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="--generated"):
        harden(honest.path, tmp_path / "run")


def test_from_the_command_line(stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["harden", str(stripes().path), str(tmp_path / "run"), "--method", "fast", "--eps", "4/255"]
    words += ["--steps", "1", "--batch", "8", "--evaluations", "1", "--validation-steps", "1"]
    words += ["--step-size", "1/255"]
    assert cli.run([*words, "--threads", "1", "--quiet", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["state"] == "complete"
    assert set(said["val"]) == {"balanced_accuracy", "robust_balanced_accuracy", "attack"}
    assert "4/255" in said["val"]["attack"]
    config = Run.open(tmp_path / "run", "classifier").config["config"]
    assert config["hardening"]["step_size"] == pytest.approx(1 / 255)
    assert cli.run(["runs", "show", str(tmp_path / "run"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["val"] == said["val"]
    assert shown["hardening"] == said["hardening"] == "fast, eps 4/255 (linf)"
    assert cli.run(["harden", "nowhere", str(tmp_path / "other"), "--eps", "four", "--quiet"]) == 2


def test_an_unfinished_run_is_not_said_to_be_continued_as_a_plain_one(stripes, tmp_path: Path) -> None:
    origin = stripes().provenance("default") | {"part": "train"}
    run = Run.create(tmp_path / "run", "classifier", {"hardening": {"method": "pgd"}}, data=origin)
    for use in (
        lambda: fitted_ensemble([run.path], PredictConfig()),
        lambda: open_scorer([run.path]),
        lambda: open_classifier(run.path, 3),
        lambda: open_target(run.path),
        lambda: Classifier.of_run(run.path),
    ):
        with pytest.raises(InputError) as told:
            use()
        assert told.value.code == "unfinished"
        assert "train classifier" not in str(told.value)
