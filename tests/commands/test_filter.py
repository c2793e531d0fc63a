"""`plenish filter`: planted copies, wrong labels and outliers go, the others stay what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.commands.giving_away import LABELS, pictures, quick_audits, real_dataset, synthetic_dataset

from plenish import cli, files
from plenish.commands.filter import filter_dataset
from plenish.datasets.dataset import Dataset
from plenish.datasets.integrity import verify
from plenish.datasets.schema import LabelSchema
from plenish.errors import CheckFailed, InputError
from plenish.metrics.filter import Filtered
from plenish.metrics.origin import check_pair

COPIES, SWAPPED, NOISE = slice(0, 10), slice(10, 40), slice(40, 50)
ALL = ("copies", "low-label-agreement", "low-density")
pytestmark = pytest.mark.usefixtures("quick_audit")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, clinic: Dataset) -> Dataset:
    """Of 150 images, ten are mirrored training images, thirty have the other label, ten are noise."""
    x, labels = pictures(150, 70)
    train = clinic.part("train", purpose="train")
    x[COPIES], labels[COPIES] = train.images(np.arange(10))[:, :, ::-1], train.labels[:10]
    labels[SWAPPED] = [LABELS.names[1 - LABELS.code(name)] for name in labels[SWAPPED]]
    x[NOISE] = np.random.default_rng(0).integers(0, 256, x[NOISE].shape)
    return synthetic_dataset(tmp_path_factory.mktemp("planted") / "made", clinic, x, labels)


@pytest.fixture(scope="module")
def filtered(tmp_path_factory: pytest.TempPathFactory, planted: Dataset) -> Filtered:
    with quick_audits():
        out = tmp_path_factory.mktemp("out") / "kept"
        return filter_dataset(planted.path, out, drop=ALL, resamples=20)


def dropped(done: Filtered, planted: Dataset) -> NDArray[np.bool_]:
    kept = set(Dataset.open(done.path).column("id"))
    return np.array([one not in kept for one in planted.column("id")])


def test_what_was_planted_is_dropped_and_most_of_the_rest_stays(filtered: Filtered, planted: Dataset) -> None:
    gone = dropped(filtered, planted)
    assert gone[COPIES].all()
    assert gone[NOISE].all()
    assert gone[SWAPPED].mean() > 0.6
    assert gone[50:].mean() < 0.25
    rows = {(row["rule"], row["class"]): row for row in filtered.content["dropped"]}
    assert rows["any", "all"]["dropped"] == gone.sum()
    for rule in (*ALL, "any"):
        by_class = [rows[rule, name] for name in LABELS.names]
        assert sum(row["dropped"] for row in by_class) == rows[rule, "all"]["dropped"]
        assert sum(row["n"] for row in by_class) == 150
    assert rows["copies", "all"]["expected"] <= 1 / 81 + 1e-9
    assert rows["low-density", "all"]["expected"] == pytest.approx(4 / 81)
    assert rows["low-label-agreement", "across"]["expected"] == pytest.approx(2 / 41)


def test_the_effect_is_told_beside_as_many_images_at_random(filtered: Filtered) -> None:
    effect = {row["name"].partition("(")[0]: row for row in filtered.content["effect"]}
    assert set(effect) == {
        "KID", "precision", "recall", "density", "coverage", "balanced accuracy on real val images",
    }  # fmt: skip
    for row in effect.values():
        for side in ("before", "after", "random"):
            assert row[side]["low"] <= row[side]["value"] <= row[side]["high"]
    assert effect["precision"]["after"]["value"] > effect["precision"]["before"]["value"]
    page = (filtered.path / "filter.html").read_text()
    assert "data:image/webp" in page
    assert filtered.report == filtered.path / "filter.html"


def test_what_stays_is_a_dataset_with_its_generator_seeds_and_latents(
    filtered: Filtered, planted: Dataset, clinic: Dataset
) -> None:
    kept = Dataset.open(filtered.path)
    verify(kept)
    rows = np.flatnonzero(~dropped(filtered, planted))
    assert np.array_equal(kept.pixels.read(np.arange(len(kept))), planted.pixels.read(rows))
    whole = planted.table.iloc[rows].reset_index(drop=True)
    assert kept.table[list(whole.columns)].equals(whole)
    assert np.array_equal(kept.array("z"), planted.array("z")[rows])
    assert kept.array_manifest("z")["seed"] == 5
    assert kept.manifest.extra["generator"] == planted.manifest.extra["generator"]
    assert set(kept.split().part_of) == {"train"}
    told = kept.manifest.extra["filters"][0]
    assert (told["drop"], told["of"], told["of"] - told["dropped"]) == (list(ALL), 150, len(kept))
    assert check_pair(clinic, kept, "default") == []  # What score and study ask first.
    assert (kept.path / "croissant.json").is_file()


def test_the_test_part_is_not_read(clinic: Dataset, planted: Dataset, tmp_path: Path) -> None:
    before = clinic.test_reads()
    words = ["filter", str(planted.path), str(tmp_path / "out"), "--resamples", "0", "--quiet"]
    words += ["--drop", "copies", "--drop", "low-density"]
    assert cli.run(words) == 0
    assert clinic.test_reads() == before
    content = files.read_record(tmp_path / "out" / "filter.json")
    assert set(content["thresholds"]) == {"copies", "low-density"}
    assert cli.run(words) == 0  # The same again is there.
    two = filter_dataset(tmp_path / "out", tmp_path / "two", drop=("copies",), resamples=0)
    assert len(Dataset.open(two.path).manifest.extra["filters"]) == 2
    x, labels = pictures(40, 71)
    for part, seen in (("test", []), ("val", ["val"])):
        x[0] = clinic.pixels.read(clinic.split("default").rows(part)[:1])[0]
        made = synthetic_dataset(tmp_path / part, clinic, x, labels)
        done = filter_dataset(made.path, tmp_path / f"{part}-kept", drop=("copies",), resamples=0)
        found = [c["values"]["part"] for c in done.content["caveats"] if c["code"] == "near-held-out"]
        assert found == seen


def test_what_cannot_be_filtered_is_refused(clinic: Dataset, planted: Dataset, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds real images"):
        filter_dataset(clinic.path, tmp_path / "out")
    with pytest.raises(InputError, match="--drop needs"):
        filter_dataset(planted.path, tmp_path / "out", drop=())
    with pytest.raises(InputError, match="99 val images"):
        filter_dataset(planted.path, tmp_path / "out", drop=("low-density",), pass_rate=0.99)
    unknown = synthetic_dataset(tmp_path / "unknown", clinic, *pictures(20, 71), known=False)
    with pytest.raises(InputError, match="--real"):
        filter_dataset(unknown.path, tmp_path / "out")
    other = real_dataset(tmp_path / "other", sizes=(30, 30, 30))
    with pytest.raises(InputError) as caught:
        filter_dataset(planted.path, tmp_path / "out", real=other.path)
    assert caught.value.code == "other-images"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "unknown"]


def test_where_no_image_passes_nothing_is_written(clinic: Dataset, tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3)).astype(np.uint8)
    noise = synthetic_dataset(tmp_path / "noise", clinic, x, [LABELS.names[i % 2] for i in range(12)])
    with pytest.raises(CheckFailed, match="No image"):
        filter_dataset(noise.path, tmp_path / "out", drop=("low-density",))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["noise"]


def test_images_without_labels_are_filtered_by_the_other_rules(tmp_path: Path) -> None:
    data = real_dataset(tmp_path / "data", labels=LabelSchema())
    x, labels = pictures(40, 72)
    x[:5] = np.random.default_rng(0).integers(0, 256, x[:5].shape)
    made = synthetic_dataset(tmp_path / "made", data, x, labels)
    with pytest.raises(InputError, match="one class an image"):
        filter_dataset(made.path, tmp_path / "out", drop=ALL)
    done = filter_dataset(made.path, tmp_path / "out", drop=("low-density",), resamples=0)
    assert dropped(done, made)[:5].all()
    assert [row["class"] for row in done.content["dropped"]] == ["all"]
    assert "balanced accuracy on real val images" not in {row["name"] for row in done.content["effect"]}
