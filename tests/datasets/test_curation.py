"""Steps find what was planted, the funnel counts it, and the new Dataset holds the rest as it was."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from plenish import cli
from plenish.commands.curate import curate
from plenish.commands.profile import profile_dataset
from plenish.datasets.curation import plan, take
from plenish.datasets.curation_steps import Corpus, fence
from plenish.datasets.dataset import Dataset
from plenish.datasets.image_measures import NAMES, measure
from plenish.datasets.integrity import verify
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import CheckFailed, InputError

Pixels = NDArray[np.uint8]
LABELS = LabelSchema("categorical", ("a", "b"))


def pictures(count: int, side: int = 32, seed: int = 0) -> Pixels:
    """Colours in sharp 4×4 blocks with grain."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(10, 246, (count, side // 4, side // 4, 3))
    large = blocks.repeat(4, axis=1).repeat(4, axis=2) + rng.integers(-6, 7, (count, side, side, 3))
    return np.clip(large, 0, 255).astype(np.uint8)


def write(path: Path, images: Pixels, rows: list[dict[str, Any]] | None = None, **arrays: Any) -> Dataset:
    rows = rows or [{"label": "ab"[i % 2]} for i in range(len(images))]
    writer = DatasetWriter(
        path, name="planted", size=images.shape[1], channels=images.shape[3], labels=LABELS, config={}
    )
    with writer:
        writer.add(images, rows)
        writer.arrays = {name: (array, {"kind": "test"}) for name, array in arrays.items()}
    return writer.dataset


def dropped(dataset: Dataset, *words: str, keep_clusters: bool = False) -> list[int]:
    _, taken = take(Corpus(dataset, keep_clusters=keep_clusters), plan([], words))
    return np.concatenate([one.dropped for one in taken]).tolist()


def test_each_step_finds_its_fault_and_nothing_else(tmp_path: Path) -> None:
    images = pictures(60)
    blurred = Image.fromarray(images[0]).filter(ImageFilter.GaussianBlur(3))
    images[0] = np.asarray(blurred)
    images[1] = images[1] // 5
    images[2] = 240 + images[2] // 17
    images[3] = 120 + images[3] // 16
    images[4] = images[4].mean(axis=2, keepdims=True).astype(np.uint8)
    images[5, :6], images[5, -6:] = 0, 0
    dataset = write(tmp_path / "data", images)
    assert dropped(dataset, "blurry") == [0]
    assert dropped(dataset, "dark") == [1]
    assert dropped(dataset, "bright") == [2]
    assert dropped(dataset, "low-contrast") == [1, 2, 3] or dropped(dataset, "low-contrast") == [2, 3]
    assert dropped(dataset, "wrong-mode") == [4]
    assert dropped(dataset, "bands:horizontal") == [5]
    assert dropped(dataset, "bands:vertical") == []
    assert dropped(dataset, "dark:0") == []
    assert len(dropped(dataset, "dark:1")) > 50


def test_measures_of_images_whose_values_are_known() -> None:
    rng = np.random.default_rng(0)
    images = np.zeros((4, 32, 32, 3), np.uint8)
    images[1] = 255
    images[2, :, 16:] = 255
    images[3] = rng.integers(0, 256, (32, 32, 3))
    found = measure(images)
    columns = {name: found[:, k] for k, name in enumerate(NAMES)}
    np.testing.assert_allclose(columns["light"][:3], [0, 1, 1])
    np.testing.assert_allclose(columns["darkness"][:3], [1, 0, 1])
    np.testing.assert_allclose(columns["contrast"][:3], [0, 0, 1])
    assert np.isnan(columns["sharpness"][:2]).all()
    # A step's one difference of 1 becomes nine of 1/9: 8/9 of its own place is lost.
    vertical = images[2:3].transpose(0, 2, 1, 3)
    assert np.isnan(columns["sharpness"][2])  # Along the step there is no difference at all.
    assert np.isnan(measure(vertical)[0, 3])
    assert columns["sharpness"][3] > 0.8
    assert columns["colour"][3] > 0.9


def test_the_threshold_of_a_corpus_is_robust_and_within_its_limits() -> None:
    values = np.concatenate([np.linspace(0.4, 0.6, 101), np.zeros(20)])
    middle = np.median(values)
    spread = 1.4826 * np.median(np.abs(values - middle))
    assert fence(values, 0.0, 1.0) == pytest.approx(max(0.0, middle - 3.5 * spread))
    assert fence(values, 0.3, 1.0) == pytest.approx(max(0.3, middle - 3.5 * spread))
    assert fence(np.full(9, 0.5), 0.0, 0.2) == 0.2
    assert fence(np.array([np.nan]), 0.1, 0.2) == 0.1


def test_duplicates_leave_the_largest_original(tmp_path: Path) -> None:
    images = pictures(6)
    images[3], images[5] = images[1], images[1]
    sides = [64, 100, 64, 300, 64, 200]
    rows = [{"label": "a", "width": side, "height": side} for side in sides]
    dataset = write(tmp_path / "data", images, rows)
    assert dropped(dataset, "duplicates") == [1, 5]
    assert dropped(write(tmp_path / "plain", images), "duplicates") == [3, 5]
    rows[0]["width"], rows[2]["width"] = 6000, 640
    rows[0]["height"] = 6000
    odd = write(tmp_path / "odd", images, rows)
    assert dropped(odd, "odd-size:20") == [0]
    assert dropped(odd, "odd-aspect") == [2]


def test_the_new_dataset_holds_the_rest_as_it_was(tmp_path: Path) -> None:
    images = pictures(40)
    images[7], images[20] = images[2], images[2] // 6
    parts = [("train", "val", "test")[i % 3] for i in range(40)]
    rows = [
        {"id": f"x{i}", "label": "ab"[i % 2], "group": f"g{i}", "part": parts[i], "tags": [f"t{i % 5}"],
         "source": f"{i}.png"}
        for i in range(40)
    ]  # fmt: skip
    features = np.arange(80, dtype=np.float32).reshape(40, 2)
    dataset = write(tmp_path / "data", images, rows, features=features)
    done = curate(dataset.path, tmp_path / "out", where=("not tags any(t4)",), drop=("duplicates", "dark"))
    kept = [i for i in range(40) if i % 5 != 4 and i not in (7, 20)]
    new = Dataset.open(tmp_path / "out")
    verify(new)
    assert new.column("id") == [f"x{i}" for i in kept]
    np.testing.assert_array_equal(new.pixels.read(np.arange(len(kept))), images[kept])
    np.testing.assert_array_equal(new.array("features"), features[kept])
    assert list(new.split().part_of) == [parts[i] for i in kept]
    for column in ("label", "group", "origin", "sha256", "source", "tags"):
        assert new.column(column) == [dataset.column(column)[i] for i in kept]
    record = new.manifest.extra["curations"][0]
    assert [(row["step"], row["before"], row["dropped"], row["after"]) for row in record["funnel"]] == [
        ("all images", 40, 0, 40), ("where not tags any(t4)", 40, 8, 32), ("duplicates", 32, 1, 31),
        ("dark", 31, 1, 30),
    ]  # fmt: skip
    assert record["of"]["pixels_hash"] == dataset.manifest.pixels_hash
    assert (record["of"]["test_reads"], dataset.test_reads()) == ({"default": 0}, 1)
    with (tmp_path / "out/dropped.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert {"id": "x7", "step": "duplicates", "value": "x2"} in lines
    assert [line["id"] for line in lines if line["step"] == "dark"] == ["x20"]
    assert len(lines) == 10
    assert "data:image/webp" in (tmp_path / "out/curate.html").read_text()
    assert done.summary()["left"] == 30
    again = curate(tmp_path / "out", tmp_path / "twice", drop=("low-contrast",))
    assert len(Dataset.open(again.path).manifest.extra["curations"]) == 2


def test_words_of_a_corpus_are_no_markup(tmp_path: Path) -> None:
    tag = "<script>alert(1)</script>"
    rows = [
        {"label": "a", "tags": [tag, "b"][i > 4 :], "id": f"{tag}{i}", "artist": f"{i}{tag}", "licence": tag}
        for i in range(6)
    ]
    dataset = write(tmp_path / "data", pictures(6), rows)
    curate(dataset.path, tmp_path / "out", where=(f"tags any('{tag}')",), drop=("dark",), name=tag)
    profile_dataset(tmp_path / "out", tmp_path / "profile")
    rights = json.loads((tmp_path / "profile/profile.json").read_text())["rights"]
    assert rights == {"licences": {tag: 5}, "artists": 5}, "of what is left"
    for page in (tmp_path / "out/curate.html", tmp_path / "profile/profile.html"):
        text = page.read_text()
        assert "&lt;script&gt;alert" in text
        assert "<script>alert" not in text


def test_kept_clusters_lie_in_one_part(tmp_path: Path) -> None:
    images = pictures(12, 48)
    images[6], images[9] = images[0][:, ::-1], np.rot90(images[3])
    rows = [
        {"label": "a", "group": "g" if i in (6, 7) else None, "part": "train" if i < 6 else "test"}
        for i in range(12)
    ]  # fmt: skip
    dataset = write(tmp_path / "data", images, rows)
    assert dropped(dataset, "near-duplicates") == [6, 9]
    curate(dataset.path, tmp_path / "out", drop=("near-duplicates",), keep_clusters=True)
    new = Dataset.open(tmp_path / "out")
    assert len(new) == 12
    cluster = new.column("near_duplicates")
    assert cluster[0] == cluster[6] is not None
    assert cluster[3] == cluster[9] is not None
    assert cluster.count(None) == 8
    # 7 is of the group of 6.
    parts = list(new.split().part_of)
    assert parts == ["train"] * 8 + ["test", "train", "test", "test"]
    assert new.split().manifest["moved_to_train"] == 3


def test_a_trial_writes_nothing_and_says_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = pictures(10)
    images[4] = 0
    dataset = write(tmp_path / "data", images)
    dataset.add_split("default", ["train"] * 5 + ["test"] * 5, {})
    tried = curate(dataset.path, tmp_path / "out", drop=("dark",), dry_run=True)
    assert dataset.test_reads() == 0
    assert not (tmp_path / "out").exists()
    done = curate(dataset.path, tmp_path / "out", drop=("dark",))
    strip = lambda rows: [{k: v for k, v in row.items() if k != "seconds"} for row in rows]  # noqa: E731
    assert strip(tried.steps) == strip(done.steps)
    words = ["curate", str(dataset.path), str(tmp_path / "other"), "--drop", "dark", "--dry-run", "--json"]
    assert cli.run([*words, "--quiet"]) == 0
    assert '"left": 9' in capsys.readouterr().out


@pytest.mark.parametrize(
    "words",
    [
        ["--drop", "blury"], ["--drop", "bands"], ["--drop", "bands:diagonal"], ["--drop", "bands:any:300"],
        ["--drop", "dark:black"], ["--drop", "duplicates:3"], ["--drop", "odd-size"], ["--drop", "where"],
        ["--where", "width > 3"], ["--where", "label in (a"], [], ["--drop", "wrong-mode:red"],
        ["--drop", "outliers"], ["--drop", "label-errors:2"],
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_in_a_sentence(
    tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = write(tmp_path / "data", pictures(4))
    assert cli.run(["curate", str(dataset.path), str(tmp_path / "out"), *words, "--quiet"]) == 2
    assert capsys.readouterr().err.startswith("plenish: ")
    assert not (tmp_path / "out").exists()


def test_nothing_left_is_an_answer_of_no(tmp_path: Path) -> None:
    dataset = write(tmp_path / "data", pictures(4))
    with pytest.raises(CheckFailed):
        curate(dataset.path, tmp_path / "out", drop=("dark:1", "bright", "near-duplicates"))
    assert not (tmp_path / "out").exists()


def test_steps_are_taken_in_their_order(tmp_path: Path) -> None:
    images = pictures(4)
    images[2] = images[1]
    rows = [{"label": "a", "mark": i == 1} for i in range(4)]
    dataset = write(tmp_path / "data", images, rows)
    assert dropped(dataset, "where:mark", "duplicates") == [1]
    assert dropped(dataset, "duplicates", "where:mark") == [2, 1]
    with pytest.raises(InputError):
        plan(["mark and"], [])  # Before anything is read.
