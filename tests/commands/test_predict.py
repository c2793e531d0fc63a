"""`plenish predict`: files, folders and Datasets by one Run or several, with what was fitted on val."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from PIL import Image

from plenish import cli, settings
from plenish.commands.predict import predict
from plenish.commands.train_classifier import train_classifier_run
from plenish.datasets.batches import Images
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.split import split_dataset
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.metrics.calibration import calibrated, fit_temperature
from plenish.training.classifier_model import Classifier

QUICK = {"steps": 30, "batch": 16, "evaluations": 1}


def stripes(
    out: Path, *, seed: int = 0, names: tuple[str, str] = ("class0", "class1"), **extra: Any
) -> NDArray[np.uint8]:
    """Write a Dataset of stripes that are hard to tell, with a column; returns its images."""
    rng = np.random.default_rng(seed)
    code = np.arange(120) % 2
    line = (np.arange(16) // 2 % 2 * 60 + 100).astype(float)
    pixels = np.where(code[:, None, None] == 0, line[None, None, :], line[None, :, None])
    pixels = (pixels[..., None] + rng.normal(0, 90, (120, 16, 16, 3))).clip(0, 255).astype(np.uint8)
    parts = np.array(["train", "train", "val", "val", "test"])[np.arange(120) // 4 % 5]
    rows = [
        {
            "label": names[code[i]], "group": f"g{i // 4}", "source": f"{i}.png", "part": str(parts[i]),
            "age": float(i % 9),
        }
        for i in range(120)
    ]  # fmt: skip
    labels = LabelSchema("categorical", names)
    with DatasetWriter(
        out, name="data", size=16, channels=3, labels=labels, config={}, extra=extra
    ) as writer:
        writer.add(pixels, rows)
    return pixels


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dataset with two splits, and four Runs: one takes the column, one is of the other split."""
    home = tmp_path_factory.mktemp("home")
    pixels = stripes(home / "data")
    split_dataset(home / "data", name="other", seed=5)
    with settings.use(quiet=True, threads=1, precision="float32"):
        for name, options in {
            "a": {},
            "b": {"seed": 1},
            "c": {"columns": ("age",)},
            "d": {"split": "other"},
        }.items():
            train_classifier_run(home / "data", home / name, test=name == "a", **QUICK | options)
    for number, name in enumerate(("class0", "class1", "class1")):
        (home / "folder" / name).mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(pixels[number]).resize((40, 20))
        image.save(home / "folder" / name / f"{number}.png")
    return home


@pytest.fixture(autouse=True)
def quietly() -> None:
    with settings.use(quiet=True, threads=1, precision="float32"):
        yield


def test_a_dataset_is_classified_and_measured_as_the_run_was(home: Path, tmp_path: Path) -> None:
    found = predict([home / "a", home / "data"], out=tmp_path / "out", part="test", report=True)
    table = pd.read_csv(tmp_path / "out" / "predictions.csv", dtype={"id": str})
    kept = pd.read_parquet(home / "a" / "predictions.parquet").query("part == 'test'")
    np.testing.assert_allclose(table["p_class1"], kept["p_class1"], atol=1e-6)
    val = pd.read_parquet(home / "a" / "predictions.parquet").query("part == 'val'")
    y = (val["label"] == "class1").to_numpy(int)
    temperature = fit_temperature(y, val[["p_class0", "p_class1"]].to_numpy())
    expected = calibrated(table[["p_class0", "p_class1"]].to_numpy(), temperature)
    np.testing.assert_allclose(table[["calibrated_class0", "calibrated_class1"]], expected, atol=1e-6)
    assert (table["confidence"] == table[["calibrated_class0", "calibrated_class1"]].max(axis=1)).all()
    run = json.loads((home / "a" / "classification.json").read_text())["parts"]["test"]
    auroc = found.content["measured"]["metrics"]["auroc"]
    assert auroc == pytest.approx(run["metrics"]["auroc"])
    for name in ("ece", "ece_calibrated"):
        assert found.content["measured"]["metrics"][name] == pytest.approx(run["metrics"][name])
    assert run["metrics"]["ece_calibrated"] != run["metrics"]["ece"]
    assert run["groups"] == 6
    for page in (tmp_path / "out" / "report.html", home / "a" / "report.html"):
        assert "Net benefit" in page.read_text(encoding="utf-8")
    assert found.summary()["auroc"] == auroc["value"]


def test_a_part_is_that_of_the_split_of_the_training(home: Path, tmp_path: Path) -> None:
    data = Dataset.open(home / "data")
    found = predict([home / "d", home / "data"], out=tmp_path / "out", part="test")
    table = pd.read_csv(tmp_path / "out" / "predictions.csv", dtype={"id": str})
    assert table["id"].tolist() == data.part("test", "other", purpose="report").ids
    assert found.content["given"]["split"] == "other"
    for run, split in (("d", "default"), ("a", "other")):
        with pytest.raises(InputError) as caught:
            predict([home / run, home / "data"], out=tmp_path / "no", part="test", split=split)
        assert caught.value.code == "other-split"
    # A Dataset of other images has a split of its own.
    stripes(tmp_path / "more", seed=1)
    found = predict([home / "d", tmp_path / "more"], out=tmp_path / "two", part="test")
    assert (found.content["given"]["split"], found.content["images"]) == ("default", 24)


def test_classifiers_of_other_labels_are_not_mixed_and_phantoms_are_told(home: Path, tmp_path: Path) -> None:
    stripes(tmp_path / "data", names=("class1", "class0"), phantom={"seed": 0})
    train_classifier_run(tmp_path / "data", tmp_path / "run", test=True, **QUICK)
    with pytest.raises(InputError) as caught:
        predict([home / "a", tmp_path / "run", home / "folder"], out=tmp_path / "out")
    assert caught.value.code == "other-labels"
    with pytest.raises(InputError) as caught:
        predict([home / "a", home / "d", home / "folder"], out=tmp_path / "out")
    assert caught.value.code == "other-split"
    found = predict([tmp_path / "run", home / "folder"], out=tmp_path / "out", report=True)
    assert found.content["phantom"]
    pages = tmp_path / "out" / "report.html", tmp_path / "run" / "report.html"
    assert ["phantoms, not tissue" in page.read_text(encoding="utf-8") for page in pages] == [True, True]


def test_val_images_that_were_replaced_calibrate_nothing(home: Path, tmp_path: Path) -> None:
    stripes(tmp_path / "data")
    train_classifier_run(tmp_path / "data", tmp_path / "run", **QUICK)
    shutil.rmtree(tmp_path / "data")
    stripes(tmp_path / "data", seed=1)
    with pytest.raises(InputError) as caught:
        predict([tmp_path / "run", home / "folder"], out=tmp_path / "out", tta=True)
    assert caught.value.code == "other-images"
    predict([tmp_path / "run", home / "folder"], out=tmp_path / "out", tta=True, calibrate=False)


def test_damaged_predictions_of_a_run_are_named(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / "b", tmp_path / "b")
    table = tmp_path / "b" / "predictions.parquet"
    table.write_bytes(table.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"predictions\.parquet"):
        predict([tmp_path / "b", home / "folder"], out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_several_runs_are_mixed_in_all_orientations_and_abstain(home: Path, tmp_path: Path) -> None:
    paths = [home / "a", home / "b", home / "data"]
    found = predict(
        paths, out=tmp_path / "out", part="test", tta=True, coverage=0.5, explain=True, table="parquet"
    )
    content = found.content
    table = pd.read_parquet(tmp_path / "out" / "predictions.parquet")
    weights = [row["weight"] for row in content["runs"]]
    assert found.summary()["weights"] == [
        {"run": str(path), "weight": weight} for path, weight in zip(paths, weights, strict=False)
    ]
    assert sum(weights) == pytest.approx(1)
    assert [row["orientations"] for row in content["runs"]] == ["mirror", "mirror"]
    test = Dataset.open(home / "data").part("test", purpose="report")
    images = Images(test.images, test.codes)
    models = [Classifier.load(home / name / "classifier") for name in ("a", "b")]
    each = [model.probabilities(images, symmetry="mirror") for model in models]
    np.testing.assert_allclose(table[["p_class0", "p_class1"]], np.mean(each, axis=0), atol=1e-6)
    mixed = sum(
        w * calibrated(p, row["temperature"])
        for w, p, row in zip(weights, each, content["runs"], strict=True)
    )
    expected = calibrated(np.asarray(mixed), content["temperature"])
    np.testing.assert_allclose(table[["calibrated_class0", "calibrated_class1"]], expected, atol=1e-6)
    assert content["abstention"]["coverage"] >= 0.5
    below = table["confidence"] < content["abstention"]["threshold"]
    assert (table["abstained"] == below).all()
    shown = sorted(path.name for path in (tmp_path / "out" / "explained").iterdir())
    assert len(shown) == len(content["explained"]) == 24
    with Image.open(tmp_path / "out" / "explained" / shown[0]) as picture:
        assert picture.size == (32, 16)


def test_generated_images_are_called_so_and_not_those_trained_on(home: Path, tmp_path: Path) -> None:
    origin = Dataset.open(home / "data").provenance("default") | {"part": "train"}

    def planted(name: str, pixels: np.ndarray, seed: int, first: int = 0, **more: str) -> Path:
        rows = [
            {
                "label": f"class{i % 2}", "origin": "synthetic", "generator": "planted", "seed": seed,
                "latent_row": first + i,
            }
            for i in range(len(pixels))
        ]  # fmt: skip
        labels = LabelSchema("categorical", ("class0", "class1"))
        about = {"generator": {"run": "planted", "data": origin, **more}}
        with DatasetWriter(
            tmp_path / name, name=name, size=16, channels=3, labels=labels, config={}, extra=about
        ) as writer:
            writer.add(pixels, rows)
        return tmp_path / name

    made, others = (stripes(tmp_path / f"{seed}-real", seed=seed) for seed in (7, 8))
    planted("mixed-in", made, 7)
    planted("drawn-again", others, 8)
    train_classifier_run(home / "data", tmp_path / "run", synthetic=tmp_path / "mixed-in", **QUICK)
    with pytest.raises(InputError) as caught:
        predict([tmp_path / "run", tmp_path / "mixed-in"], out=tmp_path / "out")
    assert caught.value.code == "shared-images"
    # A part of them, another image of one of their draws, and one of them as a file are noticed as well.
    Image.fromarray(made[5]).save(tmp_path / "one.png")
    given = (
        (planted("part", np.concatenate([others[:9], made[3:6]]), 9), 3),
        (planted("same-draws", others[:12], 7, first=110), 10), (tmp_path / "one.png", 1),
    )  # fmt: skip
    for path, count in given:
        with pytest.raises(InputError) as caught:
            predict([tmp_path / "run", path], out=tmp_path / "out")
        assert (caught.value.code, caught.value.value) == ("shared-images", count)
    assert predict(
        [tmp_path / "run", planted("later-draws", others[:12], 7, first=120)], out=tmp_path / "later"
    ).content["images"] == 12  # fmt: skip
    predict(
        [tmp_path / "run", planted("given-latents", others[:12], 7, latents_sha256="a")],
        out=tmp_path / "given",
    )
    found = predict([tmp_path / "run", tmp_path / "drawn-again"], out=tmp_path / "out", report=True)
    assert [caveat["code"] for caveat in found.content["caveats"]] == ["generated-test"]
    assert found.content["measured"]["n"] == 120
    for text in ((tmp_path / "out" / "report.html").read_text(encoding="utf-8"), str(found.summary())):
        assert "not accuracy on patients" in text


def test_folders_and_files_are_made_to_fit_as_the_import_does(home: Path, tmp_path: Path) -> None:
    folder = predict([home / "a", home / "folder"], out=tmp_path / "folder")
    files = [home / "folder" / name for name in ("class0/0.png", "class1/1.png", "class1/2.png")]
    (tmp_path / "broken.png").write_bytes(b"no picture")
    single = predict([home / "a", *files, tmp_path / "broken.png"], out=tmp_path / "files")
    tables = [pd.read_csv(tmp_path / name / "predictions.csv") for name in ("folder", "files")]
    np.testing.assert_allclose(tables[0]["p_class1"], tables[1]["p_class1"], atol=1e-6)
    assert folder.content["measured"]["n"] == 3
    assert "measured" not in single.content
    assert [row["kind"] for row in single.content["rejected"]] == ["unknown-format"]


def test_columns_are_needed_again(home: Path, tmp_path: Path) -> None:
    found = predict([home / "c", home / "data"], out=tmp_path / "out", part="test", explain=True)
    assert found.content["columns"] == ["age"]
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    kept = pd.read_parquet(home / "c" / "predictions.parquet")
    assert set(kept["part"]) == {"val"}
    assert len(table) == 24
    with pytest.raises(InputError, match="age"):
        predict([home / "c", home / "folder"], out=tmp_path / "other")


def test_bad_requests_leave_nothing(home: Path, tmp_path: Path) -> None:
    Image.new("L", (16, 16)).save(tmp_path / "grey.png")
    (tmp_path / "slide.svs").touch()
    for paths, options, named in (
        ([home / "data"], {}, "Run"), ([home / "a"], {}, "images"),
        ([home / "data", home / "a"], {}, "before"), ([home / "a", home / "data"], {}, "--part"),
        ([home / "a", tmp_path / "grey.png"], {}, "grey"), ([home / "a", tmp_path / "none.png"], {}, "exist"),
        ([home / "a", tmp_path / "slide.svs"], {}, "--mpp"),
        ([home / "a", home / "folder"], {"tile_level": 1}, "--tile-level"),
        ([home / "a", home / "data"], {"part": "test", "coverage": 0.5, "risk": 0.1}, "--risk"),
        ([home / "a", home / "data"], {"risk": 0.5, "calibrate": False}, "--no-calibrate"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=named):
            predict(paths, out=tmp_path / "out", **options)
        assert not (tmp_path / "out").exists()
    predict([home / "a", home / "folder"], out=tmp_path / "out")
    with pytest.raises(InputError, match="already exists"):
        predict([home / "a", home / "folder"], out=tmp_path / "out")


def test_from_the_command_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "predict",
        str(home / "a"),
        str(home / "folder"),
        "--out",
        str(tmp_path / "out"),
        "--no-calibrate",
    ]
    assert cli.run([*words, "--threads", "1", "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 3
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    np.testing.assert_allclose(table["p_class0"], table["calibrated_class0"], atol=1e-9)
