"""`plenish attack-latent`: what is written is what the models say of it, and what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plenish import cli, settings
from plenish.commands.datasets import make_phantom, split_dataset
from plenish.commands.train_classifier import train_classifier_run
from plenish.commands.train_generator import train_gan
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import CheckFailed
from plenish.files import read_record
from plenish.latent.judges import open_classifier, probabilities
from plenish.latent.prior import prior_of
from plenish.latent.sampling import draw_latents
from plenish.latent.space import LatentSpace


def other_classes(path: Path) -> None:
    """Images of other classes, in two parts."""
    labels = LabelSchema("categorical", ("cat", "dog"))
    with DatasetWriter(path, name="other", size=16, channels=3, labels=labels, config={}) as writer:
        rows = [{"label": labels.names[i % 2], "part": "train" if i < 18 else "val"} for i in range(24)]
        writer.add(np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), np.uint8), rows)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dataset with two splits, a generator, one without labels, and classifiers."""
    home = tmp_path_factory.mktemp("attack")
    pages = "plenish.report.prediction_page.write_run_page"
    quiet = settings.use(quiet=True, threads=1, precision="float32")
    with pytest.MonkeyPatch.context() as patch, quiet:
        patch.setattr(pages, lambda *_: None)
        make_phantom(home / "data", patients=8, tiles=6, size=16)
        split_dataset(home / "data")
        split_dataset(home / "data", seed=3, name="other")
        other_classes(home / "pets")
        small = {"recipe": "dcgan", "batch": 8, "width": 4, "validation": False}
        train_gan(home / "data", home / "gan", kimg=0.1, **small)
        train_gan(home / "data", home / "blind", kimg=0.02, conditional=False, **small)
        small = {"batch": 8, "evaluations": 1}
        for name, seed in (("victim", 0), ("judge", 1)):
            train_classifier_run(home / "data", home / name, steps=12, seed=seed, **small)
        train_classifier_run(home / "data", home / "elsewhere", steps=1, split="other", **small)
        train_classifier_run(home / "pets", home / "pets-classifier", steps=1, **small)
    return home


def ask(home: Path, line: str) -> int:
    words = [word.replace("@", f"{home}/") for word in shlex.split(line)]
    return cli.run([*words, "--quiet", "--threads", "1", "--precision", "float32"])


LINE = "attack-latent @gan @victim @{} --judge @judge --distance 1.5 --keep-all --images {}"


@pytest.fixture(scope="module")
def made(home: Path) -> Dataset:
    with settings.use(quiet=True, threads=1):
        assert ask(home, LINE.format("found", 24)) == 0
    return Dataset.open(home / "found")


def test_every_image_is_one_that_the_classifier_gets_wrong(home: Path, made: Dataset) -> None:
    table, images = made.table, made.all_rows().images()
    assert made.is_synthetic
    victim, judge = (open_classifier(home / name, 3) for name in ("victim", "judge"))
    said = probabilities(victim, images)
    answers = [victim.names[k] for k in said.argmax(1)]
    assert answers == list(table["classifier"])
    assert all(answer != label for answer, label in zip(answers, table["label"], strict=True))
    np.testing.assert_allclose(table["confidence"], said.max(1), atol=1e-6)
    judged = [judge.names[k] for k in probabilities(judge, images).argmax(1)]
    assert judged == list(table["judge"])
    assert list(table["agrees"]) == [j == label for j, label in zip(judged, table["label"], strict=True)]


def test_latents_make_the_images_and_lie_as_far_from_their_draws_as_is_said(
    home: Path, made: Dataset
) -> None:
    with settings.use(quiet=True, threads=1, precision="float32"):
        space = LatentSpace(home / "gan")
        points = space.of_samples(made.path, [])
        assert np.abs(space.images(points).astype(int) - made.all_rows().images()).max() <= 1
        start = draw_latents(space.network, 0, 0, 24)[made.table["latent_row"]]
        prior = prior_of(space, "z")
    change = prior.standardised(points.values) - prior.standardised(start)
    np.testing.assert_allclose(np.sqrt((change**2).mean(1)), made.table["distance"], atol=1e-5)
    assert (made.table["distance"] <= 1.5 + 1e-5).all()
    assert ((made.table["distance"] == 0) == (made.table["iterations"] == 0)).all()


def test_the_record_counts_what_is_in_the_table(home: Path, made: Dataset) -> None:
    record = read_record(made.path / "latent_attack.json")
    assert record["searched"] == 24
    assert record["written"] == len(made) == record["found"]["classifier_wrong"]["count"]
    assert record["found"]["both"]["count"] == int(made.table["agrees"].sum())
    at_once = int((made.table["iterations"] == 0).sum())
    assert record["start"]["classifier_wrong"]["count"] == at_once
    assert record["found"]["classifier_wrong"]["count"] > at_once
    by_class = record["by_class"]
    for side in ("start", "random", "found"):
        total = sum(row[side]["both"]["count"] for row in by_class)
        assert total == record[side]["both"]["count"]
    assert record["judge_check"]["images"] == len(Dataset.open(home / "data").part("val", purpose="report"))
    assert Image.open(made.path / "picture.png").height > 3 * 96


def test_more_images_begin_with_fewer_and_the_judge_sorts_out(home: Path, made: Dataset) -> None:
    assert ask(home, LINE.format("fewer", 7).replace("--keep-all", "")) == 0
    fewer = Dataset.open(home / "fewer").table
    same = made.table[(made.table["latent_row"] < 7) & made.table["agrees"]]
    assert fewer["id"].tolist() == same["id"].tolist()
    np.testing.assert_allclose(fewer["distance"], same["distance"], atol=1e-3)


def test_what_is_found_trains_a_classifier(home: Path, made: Dataset) -> None:
    line = "train classifier @data @harder --steps 2 --batch 8 --evaluations 1 --synthetic @found"
    assert ask(home, line) == 0


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("attack-latent @blind @victim @x --judge @judge", "labels"),
        ("attack-latent @gan @pets-classifier @x --judge @judge", "cat, dog"),
        ("attack-latent @gan @victim @x --judge @pets-classifier", "cat, dog"),
        ("attack-latent @gan @elsewhere @x --judge @judge", "split"),
        ("attack-latent @gan @victim @x --judge @elsewhere", "split"),
        ("attack-latent @gan @victim @x --judge @victim", "judge"),
        ("attack-latent @gan @victim @x --judge @judge --auxiliary @judge", "judge"),
        ("attack-latent @gan @victim @x --judge @judge --label dog", "dog"),
        ("attack-latent @gan @victim @x --judge @judge --space w", "w"),
        ("attack-latent @gan @victim @x --images 0", "--images"),
        ("attack-latent @gan @victim @x --distance 0", "--distance"),
        ("attack-latent @victim @victim @x", "generator"),
        ("attack-latent @gan @gan @x", "classifier"),
        ("attack-latent @gan @victim @victim", "exists"),
    ],
)
def test_bad_input_gets_one_sentence(
    home: Path, line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ask(home, line) == 2
    sentence = capsys.readouterr().err
    assert said in sentence
    assert sentence.count("\n") == 1
    assert not (home / "x").exists()


def test_nothing_found_is_a_failed_check(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # One that must see the class and is the classifier that must not allows nothing.
    assert ask(home, "attack-latent @gan @victim @none --judge @judge --auxiliary @victim --images 4") == 3
    command = cli.load_command("attack-latent")
    with settings.use(quiet=True, threads=1), pytest.raises(CheckFailed):
        command(
            home / "gan", home / "victim", home / "none", judge=home / "judge", images=2, distance=1e-6,
            iterations=1, confidence=1e6,
        )  # fmt: skip
    assert not (home / "none").exists()
