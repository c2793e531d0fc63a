"""`plenish train autoencoder`: classes, errors image by image, recipes, what is refused."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plenish import cli
from plenish.commands.recipes import list_recipes
from plenish.commands.train_autoencoder import train_autoencoder
from plenish.datasets.dataset import Dataset
from plenish.differences import differences
from plenish.errors import InputError
from plenish.metrics.reconstruction import mean_squared_error
from plenish.recipes import KINDS, VERBS, load_recipe, recipe_names
from plenish.runs import Run
from plenish.training.autoencoder_run import plan

TINY: dict = {"filters": [4, 4], "latent_features": 4, "batch": 8, "epochs": 1}


@pytest.mark.parametrize(
    "name", [name for name in recipe_names() if load_recipe(name).kind.startswith("autoencoder")]
)
def test_every_recipe_makes_valid_configurations(name: str, stripes) -> None:
    recipe = load_recipe(name)
    assert recipe.about
    assert recipe.provenance
    plan(name, recipe.sections, stripes(size=32))


def test_kinds_of_recipes_have_a_verb_each() -> None:
    assert VERBS.keys() == KINDS.keys()
    assert set(VERBS.values()) <= set(cli.VERBS)
    assert "autoencoder" in [row["name"] for row in list_recipes()["recipes"]]


def test_the_published_numbers() -> None:
    recipe = load_recipe("autoencoder")
    assert recipe.sections["network"] == {"filters": [8, 16, 32], "latent_features": 512}
    assert (recipe.sections["training"]["batch"], recipe.sections["schedule"]) == (
        32,
        {"epochs": 30, "patience": 3},
    )


def test_errors_of_every_val_and_test_image_are_written_and_their_reading_counted(
    stripes, tmp_path: Path
) -> None:
    data = stripes()
    made = train_autoencoder(data.path, tmp_path / "run", test=True, **TINY)
    table = pd.read_parquet(tmp_path / "run" / "errors.parquet")
    expected = [i for part in ("val", "test") for i in data.part(part, purpose="report").ids]
    assert table["id"].tolist() == expected
    assert set(table.columns) == {"id", "part", "label", "group", "mse", "ssim", "psnr"}
    from plenish.training.autoencoder_model import load_autoencoder

    model, row = load_autoencoder(tmp_path / "run"), table.iloc[-1]
    where = data.table["id"].tolist().index(row["id"])
    image = data.pixels.read(np.array([where]))
    again = mean_squared_error(image / np.float32(255), model.reconstruct(image))
    np.testing.assert_allclose(again, row["mse"], rtol=1e-4)
    assert row["label"] == data.table["label"][where]
    means = {entry["part"]: entry for entry in made.summary()["errors"]}
    np.testing.assert_allclose(means["test"]["mse"], table[table["part"] == "test"]["mse"].mean())
    assert made.summary()["test_reads"] == 1


def test_test_images_are_not_read_again_for_the_same_weights(stripes, tmp_path: Path) -> None:
    data = stripes()
    made = train_autoencoder(data.path, tmp_path / "run", **TINY)
    assert data.test_reads() == 0, "the test part is read when it is asked for"
    assert {row["part"] for row in made.summary()["errors"]} == {"val"}
    assert set(pd.read_parquet(tmp_path / "run" / "errors.parquet")["part"]) == {"val"}
    for _ in range(2):
        train_autoencoder(data.path, tmp_path / "run", test=True, **TINY)
    assert data.test_reads() == 1
    train_autoencoder(data.path, tmp_path / "run", test=True, **(TINY | {"patience": 5}))
    assert data.test_reads() == 1
    train_autoencoder(data.path, tmp_path / "run", **(TINY | {"patience": 5}))
    assert data.test_reads() == 1
    train_autoencoder(data.path, tmp_path / "run", test=True, **(TINY | {"epochs": 2}))
    assert data.test_reads() == 2


def test_prolonging_interrupted_before_it_began_is_done_by_the_same_command(
    stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    data = stripes()
    made = train_autoencoder(data.path, tmp_path / "run", **TINY)
    with monkeypatch.context() as patch:
        patch.setattr("plenish.training.autoencoder_run.fit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_autoencoder(data.path, tmp_path / "run", **(TINY | {"epochs": 2}))
    train_autoencoder(data.path, tmp_path / "run", **(TINY | {"epochs": 2}))
    assert made.status["epoch"] == 2


def test_one_class_alone_is_reconstructed_better_than_the_other(stripes, tmp_path: Path) -> None:
    data = stripes(n=120)
    options = TINY | {"epochs": 60, "lr": 5e-3, "latent_features": 2, "patience": 0}
    made = train_autoencoder(data.path, tmp_path / "run", only=["class0"], **options)
    assert made.config["data"]["images"] == 36
    table = pd.read_parquet(tmp_path / "run" / "errors.parquet")
    means = table.groupby("label")["mse"].mean()
    assert means["class0"] < 0.5 * means["class1"]


def test_data_without_a_val_part_train_to_the_end(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = stripes()
    parts = ["test" if i % 8 < 4 else "train" for i in range(60)]
    data.add_split("two", parts, {})
    made = train_autoencoder(data.path, tmp_path / "run", split="two", test=True, **TINY)
    assert "no val part" in capsys.readouterr().err
    assert {row["part"] for row in made.summary()["errors"]} == {"test"}
    assert "best" not in made.summary()


def test_labels_are_not_needed(stripes, tmp_path: Path) -> None:
    data = stripes(classes=0)
    train_autoencoder(data.path, tmp_path / "run", **TINY)
    assert "label" not in pd.read_parquet(tmp_path / "run" / "errors.parquet")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"only": ["class7"]}, "did you mean 'class0'|Unknown label 'class7'"),
        ({"batch": 100}, "--batch 36 or less"),
        ({"batch": 0}, "--batch must be at least 1"),
        ({"epochs": -1.0}, "--epochs must be a number above 0"),
        ({"filters": [4] * 9}, "at most 4 --filters"),
        ({"options": ["network.norms=batch"]}, "did you mean 'norm'"),
        ({"options": ["networks.norm=batch"]}, "section.name=value"),
        ({"options": ["network.size=8"]}, "those of the data"),
        ({"recipe": "dcgan"}, "train generator"),
        ({"recipe": "autoencodr"}, "did you mean 'autoencoder'"),
        ({"latent_features": "none", "variational": True}, "--variational needs"),
    ],
)
def test_bad_requests_are_told_and_leave_nothing(stripes, tmp_path: Path, more: dict, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        train_autoencoder(stripes().path, tmp_path / "run", **(TINY | more))
    assert not (tmp_path / "run").exists()


def test_the_runs_page_says_how_to_repeat_it_and_the_command_does(stripes, tmp_path: Path) -> None:
    data = stripes()
    options = ["network.norm=batch", "schedule.evaluate_epochs=0.5"]
    made = train_autoencoder(
        data.path, tmp_path / "run", only=["class1"], denoise=0.1, seed=3, options=options, **TINY
    )
    page = (tmp_path / "run" / "report.html").read_text()
    assert "An autoencoder was trained" in page
    assert "latent vectors" not in page
    assert "How to repeat it" in page
    (command,) = made.commands
    words = shlex.split(command["repeat"])[1:]
    words[3] = str(tmp_path / "again")
    assert cli.run([*words, "--quiet"]) == 0
    again = Run.open(tmp_path / "again")
    different = differences(made.config["config"], again.config["config"])
    assert [d.key for d in different] == []
    assert (again.seed, again.status["best"]) == (3, made.status["best"])


def test_only_needs_classes(stripes, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no labels where classes are needed"):
        train_autoencoder(stripes(classes=0).path, tmp_path / "run", only=["a"], **TINY)


def test_from_the_command_line(stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data: Dataset = stripes()
    words = ["train", "autoencoder", str(data.path), str(tmp_path / "run"), "--filters", "4", "4"]
    words += ["--epochs", "1", "--batch", "8", "--threads", "1", "--quiet", "--json"]
    assert cli.run([*words, "--latent-features", "none", "--denoise", "0.1"]) == 0
    assert '"latent_features": null' in (tmp_path / "run" / "config.json").read_text()
    assert cli.run(["encode", str(tmp_path / "run"), str(data.path), "--quiet"]) == 0
    assert data.array("cae").shape == (60, 64)
    capsys.readouterr()
    assert cli.run([*words, "--latent-features", "several"]) == 2
    assert "several" in capsys.readouterr().err
