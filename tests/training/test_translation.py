"""Translation at training: resuming, its losses, what is measured on val."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional

from plenish.commands.train_translate import train_translate
from plenish.datasets.batches import Batch
from plenish.datasets.dataset import Dataset
from plenish.errors import CheckFailed
from plenish.networks.translation import TranslationConfig
from plenish.runs import Run
from plenish.training import checkpoints
from plenish.training.engine import Engine
from plenish.training.learner import Clock
from plenish.training.sketches import SketchOptions
from plenish.training.translation import Augment, Method, TranslationLearner, mean_difference

TINY = ["network.width=4", "network.max_width=8", "network.d_width=4", "network.d_layers=1"]
CONFIG = TranslationConfig(16, 1, 3, width=4, max_width=8, d_width=4, d_layers=1)


def _train(data: Dataset, run: Path, kimg: float, **more: object) -> Run:
    options = [*TINY, "schedule.log_kimg=0.012", "schedule.sample_kimg=0.03"]
    arguments: dict = {"kimg": kimg, "batch": 6, "checkpoint_kimg": 0.03, "options": options}
    return train_translate(data.path, run, **(arguments | more))


def _weights(run: Path) -> dict[str, torch.Tensor]:
    newest = checkpoints.newest_intact(run / "checkpoints")
    assert newest is not None
    return {f"{p.stem}.{k}": v for p in newest.glob("*.safetensors") for k, v in load_file(p).items()}


def _equal(a: Path, b: Path) -> bool:
    ours, theirs = _weights(a), _weights(b)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def _log(run: Run) -> list[dict[str, float]]:
    times = ("images_per_s", "data_wait")
    return [{k: v for k, v in line.items() if k not in times} for _, line in run.logged()]


def test_prolonged_equals_uninterrupted(stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plenish.report.build.write_own_report", lambda *_: None)
    data = stripes()
    whole, parts = _train(data, tmp_path / "whole", 0.09), _train(data, tmp_path / "parts", 0.03)
    _train(data, tmp_path / "parts", 0.09)
    assert _equal(whole.path, parts.path)
    assert _log(whole) == _log(parts)
    assert whole.status["best"] == parts.status["best"]
    scored = {line["kimg"]: line["val_l1"] for line in _log(whole) if "val_l1" in line}
    assert len(scored) == 3
    assert whole.status["best"]["val_l1"] == min(scored.values())


def learner(**method: float) -> TranslationLearner:
    torch.manual_seed(3)
    engine = Engine(torch.device("cpu"), "float32")
    return TranslationLearner(CONFIG, Method(batch=4, **method), Augment(), SketchOptions(), engine)


def test_a_step_has_the_published_losses() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    batch, clock = Batch(0, 4, np.arange(4), pixels, np.zeros((4, 0)), 0.0), Clock(1)
    one = learner(lr=1e-12)  # Weights stay, so that the generator meets the discriminator as it was.
    values = one.step(batch, clock)
    two = learner()
    real = two.engine.to_images(pixels)
    given = two.sketch.drawn(real, two.engine.generator(*clock.key, "sketch"))
    made = two.translator.eval()(given).detach()
    assert float(values["l1"]) != pytest.approx(float((made - real).detach().abs().mean() / 2), rel=1e-6), (
        "dropout"
    )
    plain = learner(lr=1e-12)
    plain.translator.drops.eval()
    values = plain.step(batch, clock)
    l1 = (made - real).abs().mean()
    answers = two.discriminator(given, made)
    fooled = functional.binary_cross_entropy_with_logits(answers, torch.ones_like(answers))
    truth = two.discriminator(given, real)
    judged = functional.binary_cross_entropy_with_logits(truth, torch.ones_like(truth))
    judged = judged + functional.binary_cross_entropy_with_logits(answers, torch.zeros_like(answers))
    assert float(values["l1"]) == pytest.approx(float(l1) / 2, rel=1e-5)
    assert float(values["loss_g"]) == pytest.approx(float((100 * l1 + fooled).detach()), rel=1e-5)
    assert float(values["loss_d"]) == pytest.approx(float(judged.detach()) / 2, rel=1e-5)


def test_without_an_adversary_only_the_translator_is_trained() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    one = learner(adversarial=0.0, lr=1e-2)
    before = {name: [p.clone() for p in module.parameters()] for name, module in one.modules().items()}
    values = one.step(Batch(0, 4, np.arange(4), pixels, np.zeros((4, 0)), 0.0), Clock(1))
    assert "loss_d" not in values
    same = {
        name: all(map(torch.equal, before[name], module.parameters()))
        for name, module in one.modules().items()
    }
    assert same == {"translator": False, "discriminator": True}


def test_pictures_are_moved_before_they_are_sketched_and_keep_their_colours() -> None:
    engine = Engine(torch.device("cpu"), "float32")
    pictures = torch.full((8, 3, 16, 16), 0.25)
    torch.testing.assert_close(Augment("mirror", 1.0, "comic").apply(pictures, engine, 0), pictures)
    pictures = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(Augment().apply(pictures, engine, 0), pictures)
    moved = Augment("none", 1.0, "comic").apply(pictures, engine, 0)
    assert not torch.equal(moved, pictures)
    assert torch.equal(moved, Augment("none", 1.0, "comic").apply(pictures, engine, 0))


def test_differences_are_in_units_of_one() -> None:
    black, white = np.zeros((2, 4, 4, 3), np.uint8), np.full((2, 4, 4, 3), 255, np.uint8)
    white[1, :2] = 0
    assert mean_difference(black, white).tolist() == [1.0, 0.5]


def test_a_loss_that_is_no_number_is_a_failure(stripes, tmp_path: Path) -> None:
    with pytest.raises(CheckFailed, match="--lr"):
        _train(stripes(), tmp_path / "run", 0.09, lr=1e30)
    assert Run.open(tmp_path / "run").status["failure"]["code"] == "loss-not-finite"
