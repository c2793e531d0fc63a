"""`plenish train classifier --doping`: what is mixed in, what is refused, and how a training resumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from plenish import cli
from plenish.commands.train_classifier import train_classifier_run
from plenish.datasets.batches import Batch, Images
from plenish.errors import InputError
from plenish.metrics.beside import open_synthetic
from plenish.runs import Run
from plenish.training.classifier import ClassifierLearner, channel_statistics
from plenish.training.learner import Clock

OPTIONS = {"doping": ["40x1", "30x1", "realx2"], "batch": 16, "evaluations": 4}


@pytest.fixture
def pair(make_real, make_synthetic):
    """A real Dataset with few images of one class, and synthetic images with other names' order."""
    labels = ["upright" if i % 4 == 0 else "flat" for i in range(60)] + ["flat", "upright"] * 90
    real = make_real(labels=labels)
    return real, make_synthetic("made", real)


def test_doping_decays_to_the_real_images_and_resumes_the_same(
    pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = pair
    shown: list[np.ndarray] = []
    genuine = ClassifierLearner.step

    def stopping(self: ClassifierLearner, batch: Batch, clock: Clock) -> dict[str, torch.Tensor]:
        shown.append(np.asarray(batch.numbers))
        if len(shown) == 4:
            raise KeyboardInterrupt
        return genuine(self, batch, clock)

    train_classifier_run(real, tmp_path / "whole", synthetic=made, test=True, **OPTIONS)
    with monkeypatch.context() as patch:
        patch.setattr(ClassifierLearner, "step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train_classifier_run(real, tmp_path / "cut", synthetic=made, **OPTIONS)
    train_classifier_run(real, tmp_path / "cut", synthetic=made, test=True, **OPTIONS)
    files = [
        (tmp_path / name / "classifier/classifier.safetensors").read_bytes() for name in ("whole", "cut")
    ]
    assert files[0] == files[1]
    tested = pd.read_parquet(tmp_path / "cut" / "predictions.parquet")["part"].value_counts().to_dict()
    assert tested == {"val": 60, "test": 120}, "every image, also those of a batch that is not full"
    run = Run.open(tmp_path / "cut", "classifier")
    assert run.config["config"]["synthetic"]["images"] > 0
    with pytest.raises(InputError, match="synthetic"):
        train_classifier_run(real, tmp_path / "cut", **{**OPTIONS, "doping": None})


def test_a_preview_counts_and_pictures_what_is_drawn(pair, tmp_path: Path) -> None:
    real, made = pair
    found = train_classifier_run(real, tmp_path / "run", synthetic=made, show=tmp_path / "b.png", **OPTIONS)
    rows = found.summary()["epoch"]
    assert {row["level"] for row in rows} == {"40", "30", "real"}
    first = {row["class"]: (row["real"], row["synthetic"]) for row in rows if row["level"] == "40"}
    assert first == {"flat": (45, 0), "upright": (15, 25)}
    assert not any(row["synthetic"] for row in rows if row["level"] == "real")
    picture = np.asarray(Image.open(tmp_path / "b.png"))
    assert (picture == (255, 0, 0)).all(axis=2).any()
    assert not (tmp_path / "run").exists()
    assert cli.run(["train", "classifier", str(real), str(tmp_path / "run"), "--dry-run", "--quiet"]) == 0
    assert not (tmp_path / "run").exists()


def test_statistics_come_from_the_real_images_alone(pair) -> None:
    from plenish.datasets.dataset import Dataset

    data = Dataset.open(pair[0])
    train = data.part("train", purpose="train")
    beside = open_synthetic(pair[1], data, train, "default")
    images = beside.behind(Images(train.images, train.codes))
    pixels = images.read(np.arange(len(train))).astype(float)
    assert channel_statistics(images)[0] == pytest.approx(pixels.mean(axis=(0, 1, 2)) / 127.5 - 1)


def test_weights_of_a_run_on_another_split_are_refused(pair, tmp_path: Path) -> None:
    from plenish.commands.datasets import split_dataset

    real, _ = pair
    train_classifier_run(real, tmp_path / "first", steps=2, batch=8)
    again = train_classifier_run(real, tmp_path / "again", steps=2, batch=8, pretrained=tmp_path / "first")
    assert again.state == "complete"
    split_dataset(real, name="other", seed=5)
    with pytest.raises(InputError, match="split 'default'"):
        train_classifier_run(
            real, tmp_path / "third", steps=2, batch=8, pretrained=tmp_path / "first", split="other"
        )


def test_images_of_a_generator_of_another_split_are_refused(pair, tmp_path: Path) -> None:
    from plenish.commands.datasets import split_dataset

    real, made = pair
    split_dataset(real, name="other", seed=5)
    with pytest.raises(InputError, match="split 'default'"):
        train_classifier_run(real, tmp_path / "run", split="other", synthetic=made, **OPTIONS)
    with pytest.raises(InputError, match="real images"):
        train_classifier_run(real, tmp_path / "run", synthetic=real, **OPTIONS)
    assert not (tmp_path / "run").exists()
