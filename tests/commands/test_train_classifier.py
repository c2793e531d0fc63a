"""`plenish train classifier`: a Run that holds a classifier, and what it says of val and test."""

from __future__ import annotations

import json
import math
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from plenish import cli
from plenish.commands.train_classifier import train_classifier_run
from plenish.datasets.batches import Batch, Images
from plenish.datasets.dataset import Dataset
from plenish.errors import CheckFailed, InputError
from plenish.runs import Run
from plenish.training import checkpoints
from plenish.training.classifier import ClassifierLearner
from plenish.training.classifier_model import Classifier
from plenish.training.learner import Clock


def test_stripes_are_told_apart_and_kept(stripes, tmp_path: Path) -> None:
    data = stripes(n=120)
    made = train_classifier_run(data.path, tmp_path / "run", steps=60, batch=16, test=True)
    summary = made.summary()
    assert {row["part"]: row["balanced_accuracy"] for row in summary["results"]} == {"val": 1, "test": 1}
    assert summary["classes"] == ["class0", "class1"]
    assert data.test_reads() == summary["test_reads"] == 1
    table = pd.read_parquet(tmp_path / "run" / "predictions.parquet")
    assert set(table["part"]) == {"val", "test"}
    assert (table["predicted"] == table["label"]).all()
    loaded = Classifier.load(tmp_path / "run" / "classifier")
    test = data.part("test", purpose="report")
    found = loaded.probabilities(Images(test.images, test.codes))
    np.testing.assert_allclose(found[:, 1], table.query("part == 'test'")["p_class1"], atol=1e-6)
    assert len(Run.open(tmp_path / "run", "classifier").metrics()["val_loss"].dropna()) == 5
    assert not list((tmp_path / "run").rglob("*.p[kt]*"))  # Neither .pkl nor .pt: no pickles.


def test_a_complete_run_is_not_trained_again_and_another_request_is_refused(stripes, tmp_path: Path) -> None:
    data = stripes()
    train_classifier_run(data.path, tmp_path / "run", steps=2, batch=8)
    assert data.test_reads() == 0, "the test part is read when it is asked for"
    assert set(pd.read_parquet(tmp_path / "run" / "predictions.parquet")["part"]) == {"val"}
    weights = tmp_path / "run" / "classifier" / "classifier.safetensors"
    before = weights.stat().st_mtime_ns
    for _ in range(2):
        train_classifier_run(data.path, tmp_path / "run", steps=2, batch=8, test=True)
    assert weights.stat().st_mtime_ns == before
    assert data.test_reads() == 1
    with pytest.raises(InputError, match=r"steps .*2 .*3"):
        train_classifier_run(data.path, tmp_path / "run", steps=3, batch=8)


def _command(data: Dataset, run: Path, steps: int) -> list[str]:
    return [
        sys.executable, "-m", "plenish", "train", "classifier", str(data.path), str(run),
        "--steps", str(steps), "--evaluations", str(steps // 20), "--batch", "8", "--balanced",
        "--augmentation", "classical", "--threads", "1", "--quiet",
    ]  # fmt: skip


def _assert_equal(whole: Path, cut: Path) -> None:
    """The same weights and optimiser at the end, the same best weights, the same log."""
    ours, theirs = (checkpoints.newest_intact(run / "checkpoints") for run in (whole, cut))
    assert ours is not None
    assert theirs is not None
    assert ours.name == theirs.name
    for file in (f"checkpoints/{ours.name}/{name}.safetensors" for name in ("classifier", "optimiser")):
        assert (whole / file).read_bytes() == (cut / file).read_bytes()
    saved = "classifier/classifier.safetensors"
    assert (whole / saved).read_bytes() == (cut / saved).read_bytes()
    logs = [
        Run.open(run).metrics().drop(columns=["images_per_s", "data_wait", "images", "train_loss"])
        for run in (whole, cut)
    ]
    scores = [log.dropna(subset="val_loss").reset_index(drop=True) for log in logs]
    pd.testing.assert_frame_equal(*scores)


def _stop_at_work(command: list[str], run: Path, number: signal.Signals, delay: float = 0.0) -> int:
    """Start a training, send it a signal some time after its next checkpoint, and return its exit code."""
    before = checkpoints.list_checkpoints(run / "checkpoints")[-1:]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and checkpoints.list_checkpoints(run / "checkpoints")[-1:] == before:
        time.sleep(0.01)
    time.sleep(delay)
    process.send_signal(number)
    return process.wait()


@pytest.mark.slow
def test_killed_at_twenty_random_moments(stripes, tmp_path: Path) -> None:
    data, moments = stripes(), random.Random(0)
    command = _command(data, tmp_path / "cut", steps=8000)
    for _ in range(20):
        delay = moments.uniform(0.0, 0.5)
        assert _stop_at_work(command, tmp_path / "cut", signal.SIGKILL, delay) == -signal.SIGKILL
    for name in ("cut", "whole"):
        subprocess.run(_command(data, tmp_path / name, steps=8000), check=True, capture_output=True)
    _assert_equal(tmp_path / "whole", tmp_path / "cut")


def test_killed_and_interrupted_runs_end_like_one_never_stopped(stripes, tmp_path: Path) -> None:
    data, steps, codes = stripes(), 1200, {signal.SIGKILL: -signal.SIGKILL}
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        code = _stop_at_work(_command(data, tmp_path / "cut", steps), tmp_path / "cut", number)
        assert code == codes.get(number, 130)
    cut = Run.open(tmp_path / "cut")
    assert cut.state == "interrupted"
    assert 0 < cut.status["step"] < steps
    for name in ("cut", "whole"):
        subprocess.run(_command(data, tmp_path / name, steps), check=True, capture_output=True)
    _assert_equal(tmp_path / "whole", tmp_path / "cut")


@pytest.mark.slow
def test_two_processes_interrupted_and_resumed_by_one_end_like_one(stripes, tmp_path: Path) -> None:
    data, steps = stripes(), 200
    command = [*_command(data, tmp_path / "cut", steps), "--precision", "float32"]
    launched = [command[0], "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *command[1:]]
    # The launcher hands the signal on to both processes.
    _stop_at_work(launched, tmp_path / "cut", signal.SIGTERM)
    cut = Run.open(tmp_path / "cut")
    assert cut.state == "interrupted"
    assert cut.status["engine"]["processes"] == 2
    assert 0 < cut.status["step"] < steps
    for name in ("cut", "whole"):
        again = [word.replace(str(tmp_path / "cut"), str(tmp_path / name)) for word in command]
        subprocess.run(again, check=True, capture_output=True)
    saved = [load_file(tmp_path / name / "classifier/classifier.safetensors") for name in ("cut", "whole")]
    ours, theirs = (torch.cat([v.double().ravel() for v in weights.values()]) for weights in saved)
    assert (ours - theirs).norm() < 0.02 * theirs.norm()


def test_patience_ends_early_and_a_larger_one_resumes(stripes, tmp_path: Path) -> None:
    data, options = stripes(), {"steps": 20, "batch": 8, "learning_rate": 1e-9}
    made = train_classifier_run(data.path, tmp_path / "run", patience=1, evaluations=10, test=True, **options)
    first, best = made.summary()["step"], made.summary()["best"]["step"]
    assert best < first < 20
    resumed = train_classifier_run(
        data.path, tmp_path / "run", patience=0, evaluations=10, test=True, **options
    )
    assert resumed.summary()["step"] == 20
    changed = resumed.summary()["best"]["step"] != best
    assert data.test_reads() == 1 + changed, "the same weights do not read the test part again"


def test_a_divergence_is_told_and_retried_with_other_draws(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, options = stripes(), {"steps": 10, "batch": 8, "evaluations": 5}
    genuine = ClassifierLearner.step

    def poisoned(self: ClassifierLearner, batch: Batch, clock: Clock) -> dict[str, torch.Tensor]:
        found = genuine(self, batch, clock)
        return {"train_loss": found["train_loss"] * math.nan} if clock.step == 5 else found

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierLearner, "step", poisoned)
        with pytest.raises(CheckFailed, match=r"step 6 .*--learning-rate"):
            train_classifier_run(data.path, tmp_path / "run", **options)
    assert Run.open(tmp_path / "run").status["failure"]["code"] == "loss-not-finite"
    with pytest.raises(CheckFailed, match="--retry"):
        train_classifier_run(data.path, tmp_path / "run", **options)
    made = train_classifier_run(data.path, tmp_path / "run", retry=True, **options)
    assert made.summary()["attempt"] == 1
    assert made.summary()["state"] == "complete"


def test_a_loss_with_its_option_arrives_in_the_configuration(stripes, tmp_path: Path) -> None:
    options = {"loss": "focal", "focal_gamma": 1.5, "smoothing": 0.0}
    train_classifier_run(stripes().path, tmp_path / "run", steps=2, batch=8, **options)
    config = Run.open(tmp_path / "run").config["config"]
    assert {key: config[key] for key in options} == options
    kept = Classifier.load(tmp_path / "run" / "classifier").config
    assert (kept.loss, kept.focal_gamma) == ("focal", 1.5)


@pytest.mark.parametrize(
    ("made", "more", "named"),
    [
        ({"classes": 0}, {}, "2 classes"),
        ({"split": False}, {}, "plenish split"),
        ({}, {"classifier": "smal"}, "'small'"),
        ({}, {"batch": 1}, "--batch .* 2"),
        ({}, {"learning_rate": -1.0}, "--learning-rate .* 0"),
        ({}, {"loss": "focl"}, "'focal'"),
        ({}, {"focal_gamma": 1.0}, "--focal-gamma"),
    ],
)
def test_bad_requests_leave_nothing(stripes, tmp_path: Path, made: dict, more: dict, named: str) -> None:
    data = stripes(**made)
    with pytest.raises(InputError, match=named):
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
