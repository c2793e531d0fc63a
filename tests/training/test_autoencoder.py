"""The loop of autoencoders: resuming, stopping, keeping the best, diverging."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from plenish.commands.train_autoencoder import train_autoencoder
from plenish.datasets.dataset import Dataset
from plenish.errors import CheckFailed, InputError
from plenish.runs import Run
from plenish.training import checkpoints
from plenish.training.autoencoder import AutoencoderLearner, Schedule


def _train(data: Dataset, run: Path, epochs: float, **more: object) -> Run:
    arguments: dict = {"filters": [4, 4], "latent_features": 4, "batch": 8, "errors": False, "patience": 0}
    return train_autoencoder(data.path, run, epochs=epochs, **(arguments | more))


def _weights(run: Path) -> dict[str, torch.Tensor]:
    newest = checkpoints.newest_intact(run / "checkpoints")
    assert newest is not None
    return {f"{p.stem}.{k}": v for p in newest.glob("*.safetensors") for k, v in load_file(p).items()}


def _equal(a: Path, b: Path) -> bool:
    ours, theirs = _weights(a), _weights(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _log(run: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("images_per_s", "data_wait")} for line in lines]


@pytest.mark.parametrize("more", [{}, {"variational": True, "denoise": 0.1}], ids=["plain", "variational"])
def test_prolonged_equals_uninterrupted(stripes, tmp_path: Path, more: dict) -> None:
    data = stripes()
    _train(data, tmp_path / "whole", 6, **more)
    _train(data, tmp_path / "parts", 2, **more)
    _train(data, tmp_path / "parts", 6, **more)
    assert _equal(tmp_path / "whole", tmp_path / "parts")
    assert _log(tmp_path / "whole") == _log(tmp_path / "parts")
    assert Run.open(tmp_path / "whole").status["best"] == Run.open(tmp_path / "parts").status["best"]
    _train(data, tmp_path / "other", 6, seed=1, **more)
    assert not _equal(tmp_path / "whole", tmp_path / "other")


def test_a_damaged_newest_checkpoint_costs_time_and_nothing_else(stripes, tmp_path: Path) -> None:
    data = stripes()
    keep = {"options": ["schedule.keep=5"]}
    _train(data, tmp_path / "whole", 4, **keep)
    _train(data, tmp_path / "hurt", 3, **keep)
    newest = checkpoints.list_checkpoints(tmp_path / "hurt" / "checkpoints")[-1]
    (newest / "optimiser.safetensors").write_bytes(b"")
    _train(data, tmp_path / "hurt", 4, **keep)
    assert _equal(tmp_path / "whole", tmp_path / "hurt")
    assert _log(tmp_path / "whole") == _log(tmp_path / "hurt")


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_and_left_alone(stripes, tmp_path: Path) -> None:
    data = stripes()
    run = _train(data, tmp_path / "run", 2)
    saved = checkpoints.list_checkpoints(run.path / "checkpoints")
    for path in saved:
        (path / "optimiser.safetensors").unlink()
    before = {path: path.stat().st_mtime_ns for path in (run.path / "checkpoints").rglob("*")}
    with pytest.raises(InputError, match=r"checkpoint.*none is whole; restore one"):
        _train(data, tmp_path / "run", 4)
    assert {path: path.stat().st_mtime_ns for path in (run.path / "checkpoints").rglob("*")} == before
    with pytest.raises(InputError, match="none is whole"):
        checkpoints.find_checkpoint(run, "best")


def test_the_best_weights_stay_and_training_stops_when_val_gets_no_better(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = stripes()
    run = _train(data, tmp_path / "run", 50, patience=2, lr=0.02)
    scores = [line["val_mse"] for line in _log(run.path) if "val_mse" in line]
    best = int(np.argmin(scores))
    assert len(scores) - 1 - best == 2 or run.status["epoch"] >= 50
    assert run.status["epoch"] < 50
    kept = [path.name for path in checkpoints.list_checkpoints(run.path / "checkpoints")]
    assert run.status["best"]["checkpoint"] in kept
    assert run.status["best"]["val_mse"] == min(scores)
    assert checkpoints.find_checkpoint(run, "best").name == run.status["best"]["checkpoint"]
    assert len(kept) == 2
    monkeypatch.setattr(AutoencoderLearner, "step", lambda *_: pytest.fail("it trained on"))
    _train(data, tmp_path / "run", 60, patience=2, lr=0.02)


def test_noise_is_for_training_alone(stripes, tmp_path: Path) -> None:
    # Weights that hardly move: the error on val is the same with and without noise on the training images.
    found = [
        _log(_train(stripes(f"d{sd}"), tmp_path / f"{sd}", 1, denoise=sd, lr=1e-9).path)[-2:]
        for sd in (0.0, 0.8)
    ]
    assert abs(found[0][1]["val_mse"] - found[1][1]["val_mse"]) < 1e-6
    assert abs(found[0][0]["mse"] - found[1][0]["mse"]) > 1e-6


def test_reconstructions_lie_below_their_originals(stripes, tmp_path: Path) -> None:
    data = stripes()
    run = _train(data, tmp_path / "run", 1)
    (picture,) = (run.path / "samples").glob("*.png")
    pixels = np.asarray(Image.open(picture))
    val = data.part("val", purpose="select")
    order = np.sort(np.random.default_rng(0).permutation(len(val))[:16])
    expected = val.images(order)[0]
    assert np.array_equal(pixels[2:18, 2:18], expected)
    assert not np.array_equal(pixels[20:36, 2:18], expected)


def test_weights_that_are_no_numbers_are_a_failure(stripes, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="--lr"):
        _train(stripes(), tmp_path / "run", 3, lr=1e30)
    run = Run.open(tmp_path / "run")
    assert run.state == "diverged"
    assert run.status["failure"]["code"] == "loss-not-finite"
    assert not checkpoints.list_checkpoints(run.path / "checkpoints")


def test_a_divergence_is_resumed_with_other_draws(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, real = stripes(), AutoencoderLearner.step
    started = []

    def poisoned(self, batch, clock):
        started.append((clock.attempt, clock.nimg))
        values = real(self, batch, clock)
        return values | {"loss": values["loss"] * float("nan")} if clock.attempt < 1 else values

    def later(self, batch, clock):
        return poisoned(self, batch, clock) if clock.nimg >= 100 else real(self, batch, clock)

    monkeypatch.setattr(AutoencoderLearner, "step", later)
    keep = {"options": ["schedule.keep=9"]}
    with pytest.raises(CheckFailed, match="kimg-"):
        _train(data, tmp_path / "run", 3, **keep)
    last = checkpoints.list_checkpoints(tmp_path / "run" / "checkpoints")[-1]
    with pytest.raises(CheckFailed, match="--retry"):
        _train(data, tmp_path / "run", 3, **keep)
    assert _train(data, tmp_path / "run", 3, retry=True, **keep).status["attempt"] == 1
    assert last in checkpoints.list_checkpoints(tmp_path / "run" / "checkpoints")
    run = _train(data, tmp_path / "back", 3, options=["schedule.on_failure=rollback"])
    assert (run.status["state"], run.status["attempt"], run.status["rollbacks"]) == ("complete", 1, 1)


def test_only_the_length_may_change(stripes, tmp_path: Path) -> None:
    data = stripes()
    _train(data, tmp_path / "run", 1)
    for change, sentence in (
        ({"filters": [4, 8]}, "--filters"),
        ({"only": ["class0"]}, "--only"),
        ({"denoise": 0.5}, r"--denoise .*0\.0 .*0\.5"),
    ):
        with pytest.raises(InputError, match=sentence):
            _train(data, tmp_path / "run", 1, **change)


@pytest.mark.parametrize("wrong", [{"epochs": 0.0}, {"evaluate_epochs": -1.0}, {"patience": -1}, {"keep": 0}])
def test_impossible_schedules_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        Schedule(**wrong)
