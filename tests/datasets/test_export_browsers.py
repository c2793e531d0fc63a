"""What FiftyOne and LightlyStudio are given, against the Dataset it was made from, and opened by both."""

import base64
import datetime
import io
import json
import os
import subprocess
import sys
import zlib
from unittest import mock

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from plenish import settings
from plenish.datasets.dataset import Dataset
from plenish.datasets.export import export_dataset
from plenish.datasets.lightly_script import fill
from plenish.datasets.near_duplicates import clusters
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError

NAMES = ("a/b", "a_b", "Thümör ♥", "..")
KINDS = {
    "categorical": LabelSchema("categorical", NAMES),
    "none": LabelSchema(),
    "multilabel": LabelSchema("multilabel", ("1girl", "smile/\\", "猫")),
    "continuous": LabelSchema("continuous", ("age", "b.m.i")),
}
LABELS = {
    "categorical": lambda i: NAMES[i % 4],
    "none": lambda i: None,
    "multilabel": lambda i: [[], ["1girl"], ["1girl", "猫"]][i % 3],
    "continuous": lambda i: [i / 8, float(-i)],
}
COUNT = 30
DAY = datetime.date(1969, 12, 31)
TIME = datetime.datetime(2020, 1, 2, 3, 4, 5, 678000)


def columns(i):
    """Columns of every type, and such as both programs have names for themselves."""
    return {
        "age": None if i == 3 else i + 0.5, "count": i, "good": i % 2 == 0, "day": DAY if i else None,
        "time": TIME, "words": ["x", str(i)], "site": "left" if i % 2 else None, "nothing": None,
        "split": f"mine{i}", "id_": "x", "filepath": "elsewhere", "save": i, "a.b": 1, "_hidden": 2,
        "$x": 3, "Age": 4, "big": 2**63 + i, "deep": {"k": [i]}, "♥": 5,
    }  # fmt: skip


EXPECTED = {
    "age": lambda i: None if i == 3 else i + 0.5, "count": lambda i: i, "good": lambda i: i % 2 == 0,
    "words": lambda i: ["x", str(i)], "site": lambda i: "left" if i % 2 else None,
    "split": lambda i: ("train", "test", "val")[i % 3], "split_2": lambda i: f"mine{i}",
    "split_other": lambda i: ("train", "test")[i % 2], "image_id": lambda i: f"ID/{i}",
    "group": lambda i: None if i % 5 == 0 else f"P{i % 6}", "origin": lambda i: "real",
    "big": lambda i: str(2**63 + i),
    "source": lambda i: f"s{i}.png", "id_": lambda i: "x", "a_b": lambda i: 1, "hidden": lambda i: 2,
    "x": lambda i: 3, "Age_2": lambda i: 4, "deep": lambda i: f'{{"k": [{i}]}}', "field": lambda i: 5,
    "score": lambda i: None if i == 7 else i / 4,
}  # fmt: skip
"""What both programs show of image i, but for dates and the names that differ."""


def make(path, kind="categorical", channels=3, split=True, n=COUNT, size=8):
    with DatasetWriter(
        path, name="mine", size=size, channels=channels, labels=KINDS[kind], config={}, licence="CC0"
    ) as writer:
        writer.types["big"] = pa.uint64()
        rows = [
            {"id": f"ID/{i}", "label": LABELS[kind](i), "group": EXPECTED["group"](i), "source": f"s{i}.png"}
            | columns(i)
            for i in range(n)
        ]
        pixels = np.random.default_rng(1).integers(0, 256, (n, size, size, channels), np.uint8)
        writer.add(pixels, rows)
        if split:
            writer.splits["default"] = [EXPECTED["split"](i) for i in range(n)]
            writer.splits["other"] = [EXPECTED["split_other"](i) for i in range(n)]
        writer.arrays["z"] = vectors(n).reshape(n, 2, 3), {"space": "z"}
        writer.arrays["age"] = np.arange(2.0 * n).reshape(n, 2), {}
        scores = np.arange(n) / 4
        scores[7:8] = np.nan
        writer.arrays["score"] = scores, {}
        writer.arrays["phase"] = np.full((n, 2), "early"), {}
    return writer.dataset


def vectors(n=COUNT):
    """What each image is at: of two, one has no place."""
    found = np.random.default_rng(2).normal(size=(n, 6))
    found[4:5, 2], found[5:6, 0] = np.inf, 1e300
    return found


def strict(text):
    """JSON as its standard has it, without NaN."""

    def refuse(word):
        raise AssertionError(word)

    return json.loads(text, parse_constant=refuse)


def unpacked(packed):
    assert packed["$binary"]["subType"] == "00"
    return np.load(io.BytesIO(zlib.decompress(base64.b64decode(packed["$binary"]["base64"]))))


def fiftyone_rows(out):
    return strict((out / "samples.json").read_text(encoding="utf-8"))["samples"]


def lightly_rows(out):
    return [strict(line) for line in (out / "samples.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_fiftyone_documents_hold_images_labels_columns_and_vectors(tmp_path, kind):
    data = make(tmp_path / "data", kind)
    export_dataset(data.path, tmp_path / "out", "fiftyone")
    rows, pixels = fiftyone_rows(tmp_path / "out"), data.pixels.read(np.arange(COUNT))
    assert len(rows) == COUNT
    types = strict((tmp_path / "out/metadata.json").read_text(encoding="utf-8"))["sample_fields"]
    for i, row in enumerate(rows):
        assert set(row) == set(types)
        with Image.open(tmp_path / "out" / row["filepath"]) as image:
            np.testing.assert_array_equal(np.asarray(image), pixels[i])
        assert row["metadata"] == {
            "_cls": "ImageMetadata", "width": 8, "height": 8, "num_channels": 3, "mime_type": "image/png",
            "size_bytes": (tmp_path / "out" / row["filepath"]).stat().st_size,
        }  # fmt: skip
        assert row["tags"] == [EXPECTED["split"](i)]
        assert {name: row[name] for name in EXPECTED} == {name: of(i) for name, of in EXPECTED.items()}
        assert row["day"] == ("1969-12-31" if i else None)
        assert row["time"] == "2020-01-02T03:04:05.678000"
        assert (row["filepath_2"], row["save_2"]) == ("elsewhere", i)
        label = LABELS[kind](i)
        if kind == "categorical":
            assert row["label"] == {"_cls": "Classification", "tags": [], "label": label}
        elif kind == "multilabel":
            assert [one["label"] for one in row["label"]["classifications"]] == label
        elif kind == "continuous":
            assert [row[name]["value"] for name in ("label_age", "label_b_m_i")] == label
        else:
            assert "label" not in row
        if i in (4, 5):
            assert row["z"] is None
        else:
            np.testing.assert_array_equal(unpacked(row["z"]), vectors()[i].astype(np.float32))
        np.testing.assert_array_equal(unpacked(row["age_3"]), [2 * i, 2 * i + 1])
    assert "phase" not in types


def test_fiftyone_metadata_say_the_type_of_every_field(tmp_path):
    export_dataset(make(tmp_path / "data").path, tmp_path / "out", "fiftyone")
    about = strict((tmp_path / "out/metadata.json").read_text(encoding="utf-8"))
    assert "version" not in about
    assert (about["name"], about["media_type"]) == ("mine", "image")
    assert about["info"]["classes"] == list(NAMES)
    assert {"of": "split", "field": "split_2"} in about["info"]["renamed"]
    kinds = {name: kind.replace("fiftyone.core.fields.", "") for name, kind in about["sample_fields"].items()}
    assert {name: kinds[name] for name in ("age", "count", "good", "day", "time", "site", "z")} == {
        "age": "FloatField", "count": "IntField", "good": "BooleanField", "day": "StringField",
        "time": "StringField", "site": "StringField", "z": "VectorField",
    }  # fmt: skip
    assert kinds["words"] == "ListField(StringField)"
    assert kinds["label"] == "EmbeddedDocumentField(fiftyone.core.labels.Classification)"
    assert (kinds["nothing"], kinds["score"]) == ("StringField", "FloatField")


@pytest.mark.parametrize("kind", KINDS)
def test_lightly_files_hold_images_labels_columns_and_vectors(tmp_path, kind):
    data = make(tmp_path / "data", kind)
    export_dataset(data.path, tmp_path / "out", "lightly")
    rows, pixels = lightly_rows(tmp_path / "out"), data.pixels.read(np.arange(COUNT))
    assert len(rows) == COUNT
    for i, row in enumerate(rows):
        with Image.open(tmp_path / "out" / row["file"]) as image:
            np.testing.assert_array_equal(np.asarray(image), pixels[i])
        label, metadata = LABELS[kind](i), row["metadata"]
        assert row["tags"] == [EXPECTED["split"](i)]
        assert row["classes"] == {"categorical": [label], "multilabel": label}.get(kind, [])
        wanted = {name: of(i) for name, of in EXPECTED.items()}
        assert {name: metadata.get(name) for name in EXPECTED} == wanted
        assert None not in metadata.values()
        assert metadata["time"] == "2020-01-02T03:04:05.678000"
        assert metadata.get("day") == ("1969-12-31" if i else None)
        if kind == "continuous":
            assert [metadata[name] for name in ("label_age", "label_b_m_i")] == label
        else:
            assert metadata.get("label") == label
    about = strict((tmp_path / "out/about.json").read_text(encoding="utf-8"))
    assert about["embeddings"] == {
        "age_3": {"array": "age", "dimension": 2, "file": "embeddings/age_3.npy"},
        "z": {"array": "z", "dimension": 6, "file": "embeddings/z.npy"},
    }
    found, wanted = np.load(tmp_path / "out/embeddings/z.npy"), vectors().astype(np.float32)
    assert found.dtype == np.float32
    wanted[[4, 5]] = np.nan
    np.testing.assert_array_equal(found, wanted)
    compile((tmp_path / "out/open_in_lightly.py").read_text(encoding="utf-8"), "script", "exec")


@pytest.mark.parametrize("format", ["fiftyone", "lightly"])
def test_grey_images_without_split_or_arrays(tmp_path, format):
    with DatasetWriter(
        tmp_path / "data", name="d", size=8, channels=1, labels=LabelSchema(), config={}
    ) as writer:
        writer.add(np.arange(128, dtype=np.uint8).reshape(2, 8, 8, 1), [{"id": "1"}, {"id": "2"}])
    export_dataset(tmp_path / "data", tmp_path / "out", format)
    rows = fiftyone_rows(tmp_path / "out") if format == "fiftyone" else lightly_rows(tmp_path / "out")
    assert [row["tags"] for row in rows] == [[], []]
    assert not (tmp_path / "out/embeddings").exists()
    assert {path.suffix for path in (tmp_path / "out").rglob("*.*")} <= {
        ".png", ".json", ".parquet", ".jsonl", ".py"
    }  # fmt: skip


def test_one_part_alone_keeps_its_rows_of_arrays_and_splits(tmp_path):
    data = make(tmp_path / "data")
    made = export_dataset(data.path, tmp_path / "out", "fiftyone", part="val")
    rows, at = fiftyone_rows(tmp_path / "out"), data.split().rows("val")
    assert made.images == len(rows) == len(at)
    assert {row["split"] for row in rows} == {"val"}
    assert [row["count"] for row in rows] == at.tolist()
    found = {row["count"]: row["z"] for row in rows}
    np.testing.assert_array_equal(unpacked(found[2]), vectors()[2].astype(np.float32))
    assert found[5] is None


def test_clusters_of_near_duplicates_are_a_column(tmp_path):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (6, 5, 5, 3), np.uint8)
    pixels = np.stack(
        [np.asarray(Image.fromarray(one).resize((32, 32), Image.Resampling.BICUBIC)) for one in small]
    )
    pixels[4], pixels[5] = pixels[0, :, ::-1], pixels[1]
    with DatasetWriter(
        tmp_path / "data", name="d", size=32, channels=3, labels=LabelSchema(), config={}
    ) as writer:
        writer.add(pixels, [{"id": str(i)} for i in range(6)])
    export_dataset(tmp_path / "data", tmp_path / "before", "lightly")
    assert all("near_duplicate_cluster" not in row["metadata"] for row in lightly_rows(tmp_path / "before"))
    export_dataset(tmp_path / "data", tmp_path / "out", "lightly", near_duplicates=True)
    found = [row["metadata"].get("near_duplicate_cluster") for row in lightly_rows(tmp_path / "out")]
    assert [value is None for value in found] == [False, False, True, True, False, False]
    assert found[0] == found[4] != found[1] == found[5]
    assert clusters(Dataset.open(tmp_path / "data"))[[0, 1]].tolist() == found[:2]
    export_dataset(tmp_path / "data", tmp_path / "fo", "fiftyone")
    assert [row["near_duplicate_cluster"] for row in fiftyone_rows(tmp_path / "fo")] == found
    with pytest.raises(InputError, match="--near-duplicates"):
        export_dataset(tmp_path / "data", tmp_path / "folder", near_duplicates=True)
    assert not (tmp_path / "folder").exists()


def test_what_is_left_out_or_renamed_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("plenish.datasets.export_fiftyone.LONGEST", 5)
    with settings.use(quiet=False):
        export_dataset(make(tmp_path / "data").path, tmp_path / "out", "fiftyone")
    said = capsys.readouterr().err
    assert "'phase'" in said
    assert "'z' has 6 numbers" in said
    assert "2 rows with NaN" in said
    assert "'split' is 'split_2'" in said
    rows = fiftyone_rows(tmp_path / "out")
    assert "z" not in rows[0]
    assert "age_3" in rows[0]


def test_times_with_a_zone_are_in_utc(tmp_path):
    zone = datetime.timezone(datetime.timedelta(hours=2))
    with DatasetWriter(
        tmp_path / "data", name="d", size=8, channels=1, labels=LabelSchema(), config={}
    ) as writer:
        writer.types["at"] = pa.timestamp("us", "+02:00")
        writer.add(np.zeros((1, 8, 8, 1), np.uint8), [{"at": datetime.datetime(1970, 1, 1, 2, tzinfo=zone)}])
    export_dataset(tmp_path / "data", tmp_path / "out", "fiftyone")
    assert fiftyone_rows(tmp_path / "out")[0]["at"] == "1970-01-01T00:00:00"


@pytest.mark.parametrize("kind", KINDS)
def test_fiftyone_opens_it(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("FIFTYONE_CONTEXT", "NONE")  # It sets this itself.
    with mock.patch.dict(os.environ):  # Importing it sets variables.
        fo = pytest.importorskip("fiftyone")
    try:
        fo.list_datasets()
    except Exception as error:
        pytest.skip(f"FiftyOne has no database: {error}")
    export_dataset(make(tmp_path / "data", kind).path, tmp_path / "out", "fiftyone")
    opened = fo.Dataset.from_dir(dataset_dir=str(tmp_path / "out"), dataset_type=fo.types.FiftyOneDataset)
    try:
        assert len(opened) == COUNT
        for name, of in EXPECTED.items():
            assert opened.values(name) == [of(i) for i in range(COUNT)]
        assert opened.values("day")[1] == DAY.isoformat()
        assert opened.values("time")[0] == TIME.isoformat()
        assert opened.values("save_2") == list(range(COUNT))
        assert opened.count_sample_tags() == {"train": 10, "test": 10, "val": 10}
        places = opened.values("z")
        assert [place is None for place in places] == [i in (4, 5) for i in range(COUNT)]
        np.testing.assert_array_equal(places[6], vectors()[6].astype(np.float32))
        labels = [LABELS[kind](i) for i in range(COUNT)]
        if kind == "categorical":
            assert opened.values("label.label") == labels
            assert opened.default_classes == list(NAMES)
        elif kind == "multilabel":
            assert opened.values("label.classifications.label") == labels
        elif kind == "continuous":
            assert opened.values("label_b_m_i.value") == [label[1] for label in labels]
        with Image.open(opened.first().filepath) as image:
            assert image.size == (8, 8)
        opened.first().save()
    finally:
        opened.delete()


@pytest.mark.parametrize("kind", KINDS)
def test_lightly_studio_opens_it(tmp_path, kind):
    ls = pytest.importorskip("lightly_studio")
    export_dataset(make(tmp_path / "data", kind).path, tmp_path / "out", "lightly")
    ls.db_manager.connect(db_file=str(tmp_path / "studio.db"), cleanup_existing=True)
    try:
        samples = list(fill(tmp_path / "out", "z"))
        assert len(samples) == COUNT
        for sample in samples:
            i = sample.metadata["count"]
            assert {name: sample.metadata[name] for name in EXPECTED} == {
                name: of(i) for name, of in EXPECTED.items()
            }
            assert sample.tags == {EXPECTED["split"](i)}
            label = LABELS[kind](i)
            classes = {"categorical": [label], "multilabel": label}.get(kind, [])
            assert sorted(one.class_name for one in sample.annotations) == sorted(classes)
            held = [one.embedding for one in sample.sample_table.embeddings]
            assert len(held) == (i not in (4, 5))
            if held:
                np.testing.assert_array_equal(held[0], vectors()[i].astype(np.float32))
    finally:
        ls.db_manager.close()


def test_the_script_fills_a_database_once(tmp_path):
    pytest.importorskip("lightly_studio")
    export_dataset(make(tmp_path / "data").path, tmp_path / "out", "lightly")
    script = [sys.executable, str(tmp_path / "out/open_in_lightly.py"), "--no-gui"]
    bad = subprocess.run([*script, "--embedding", "zz"], capture_output=True, text=True, check=False)
    assert bad.returncode
    assert "age_3, z" in bad.stderr
    assert not (tmp_path / "out/lightly_studio.db").exists()
    subprocess.run(script, check=True, capture_output=True)
    first = (tmp_path / "out/lightly_studio.db").stat().st_size
    subprocess.run(script, check=True, capture_output=True)
    assert (tmp_path / "out/lightly_studio.db").stat().st_size == first
