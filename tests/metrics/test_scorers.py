"""Scores of single images by whatever was trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plenish.commands.study_autoencoders import study_autoencoders
from plenish.commands.train_autoencoder import train_autoencoder
from plenish.commands.train_classifier import train_classifier_run
from plenish.errors import InputError
from plenish.metrics.scorers import open_scorer
from plenish.runs import Run

TINY: dict = {"filters": [4], "latent_features": 2, "batch": 4, "epochs": 1}


def same_alone(scorer, images: np.ndarray) -> None:
    """An image's numbers do not depend on what it is scored with."""
    together, some = scorer(images), scorer(images[2:3])
    for name, values in together.items():
        assert values.shape == (len(images),)
        np.testing.assert_allclose(some[name], values[2:3], rtol=1e-4)


def test_an_autoencoders_scores_are_the_errors_it_was_measured_with(stripes, tmp_path: Path) -> None:
    data = stripes()
    train_autoencoder(data.path, tmp_path / "run", **TINY)
    scorer = open_scorer([tmp_path / "run"])
    assert (scorer.size, scorer.channels, scorer.shown) == (16, 3, "mse")
    assert [column.name for column in scorer.columns] == ["mse", "ssim"]
    val = data.part("val", purpose="report")
    found = scorer(val.images())
    table = pd.read_parquet(tmp_path / "run" / "errors.parquet").query("part == 'val'")
    np.testing.assert_allclose(found["mse"], table["mse"], rtol=1e-5)
    np.testing.assert_allclose(found["ssim"], table["ssim"], rtol=1e-5)
    same_alone(scorer, val.images())
    assert scorer.column("ssim").name == "ssim"
    with pytest.raises(InputError, match="'ssim'"):
        scorer.column("sssim")


def test_a_study_under_noise_is_measured_with_the_same_noise(stripes, tmp_path: Path) -> None:
    data = stripes()
    recipe = tmp_path / "noisy.yaml"
    recipe.write_text(
        "kind: autoencoder-study\nabout: a\nprovenance: b\nnetwork: {filters: [4], latent_features: 2}\n"
        "training: {batch: 4, denoise: 0.3}\nschedule: {epochs: 1}\n"
    )
    study_autoencoders(data.path, tmp_path / "study", recipe=str(recipe), resamples=50)
    images = data.part("test", purpose="report").images()
    table = pd.read_parquet(tmp_path / "study" / "scores.parquet")
    scorer = open_scorer([tmp_path / "study"])
    np.testing.assert_allclose(scorer(images)["difference"], table["difference"], rtol=1e-3, atol=1e-8)
    alone = [scorer(images[i : i + 1])["difference"][0] for i in range(3)]
    np.testing.assert_allclose(alone, table["difference"][:3], rtol=1e-3, atol=1e-7)


def test_a_study_and_its_two_runs_say_the_same(stripes, tmp_path: Path) -> None:
    data = stripes()
    recipe = tmp_path / "small.yaml"
    recipe.write_text(
        "kind: autoencoder-study\nabout: a\nprovenance: b\nnetwork: {filters: [4], latent_features: 2}\n"
        "training: {batch: 4}\nschedule: {epochs: 1}\n"
    )
    study_autoencoders(data.path, tmp_path / "study", recipe=str(recipe), resamples=50)
    scorer = open_scorer([tmp_path / "study"])
    assert scorer.shown == "difference"
    test = data.part("test", purpose="report")
    found = scorer(test.images())
    table = pd.read_parquet(tmp_path / "study" / "scores.parquet")
    for name in ("mse_class0", "mse_class1", "difference"):
        np.testing.assert_allclose(found[name], table[name], rtol=1e-4, atol=1e-8)
    both = open_scorer([tmp_path / "study" / "models" / name for name in ("00", "01")])
    again = both(test.images())
    np.testing.assert_array_equal(again["difference"], found["difference"])
    assert "mse_00" in again
    assert "higher looks like 01" in both.column().about
    with pytest.raises(InputError, match="models/00"):
        open_scorer([tmp_path / "study" / "models" / "00"] * 2)


def test_a_classifiers_probabilities_add_up_and_are_those_it_wrote(stripes, tmp_path: Path) -> None:
    data = stripes(classes=3)
    train_classifier_run(data.path, tmp_path / "run", steps=4, batch=8)
    scorer = open_scorer([tmp_path / "run"])
    assert scorer.shown == "p_class1"
    val = data.part("val", purpose="report")
    found = scorer(val.images())
    np.testing.assert_allclose(sum(found.values()), 1)
    table = pd.read_parquet(tmp_path / "run" / "predictions.parquet").query("part == 'val'")
    for name in ("p_class0", "p_class1", "p_class2"):
        np.testing.assert_allclose(found[name], table[name], atol=1e-6)
    with pytest.raises(InputError, match="classifier"):
        open_scorer([tmp_path / "run"] * 2)


def test_runs_that_give_no_score_are_refused(tmp_path: Path) -> None:
    for kind, named in (
        ("generator", "generator"),
        ("study", "plenish train classifier"),
    ):
        Run.create(tmp_path / kind, kind, {})
        with pytest.raises(InputError, match=f"{tmp_path / kind}.*{named}"):
            open_scorer([tmp_path / kind])
    Run.create(tmp_path / "classifier", "classifier", {})
    with pytest.raises(InputError, match=str(tmp_path / "classifier")) as told:
        open_scorer([tmp_path / "classifier"])
    assert told.value.code == "unfinished"
    Run.create(tmp_path / "half", "autoencoder-study", {})
    with pytest.raises(InputError, match="plenish study autoencoders"):
        open_scorer([tmp_path / "half"])
    with pytest.raises(InputError, match=str(tmp_path / "no")):
        open_scorer([tmp_path / "no"])


def test_no_run_is_refused() -> None:
    with pytest.raises(InputError):
        open_scorer([])
