"""What is exported and imported again is the same Dataset; others' tools can read what lies in between."""

import datetime
import io
import json
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from plenish.commands.datasets import import_dataset, make_phantom
from plenish.datasets.decoding import Decoder
from plenish.datasets.export import export_dataset
from plenish.datasets.integrity import verify
from plenish.datasets.schema import LabelSchema
from plenish.datasets.split import split_dataset
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError

ROUND = ("folder", "stylegan-zip", "npz", "huggingface", "webdataset")
ALL = (*ROUND, "fiftyone", "lightly")
NAMES = ("a/b", "a_b", ".hidden", "Thümör ♥", "train", "..", "x" * 300, "CON")
KINDS = {
    "categorical": LabelSchema("categorical", NAMES),
    "none": LabelSchema(),
    "multilabel": LabelSchema("multilabel", ("u", "v")),
    "continuous": LabelSchema("continuous", ("d", "e")),
}


def make(path, kind="categorical", channels=3, split=True, n=40, size=8):
    rng = np.random.default_rng(1)
    schema = KINDS[kind]
    labels = {
        "categorical": [NAMES[i % len(NAMES)] for i in range(n)],
        "none": [None] * n,
        "multilabel": [[[], ["u"], ["u", "v"]][i % 3] for i in range(n)],
        "continuous": [[i / 8, float(-i)] for i in range(n)],
    }[kind]
    with DatasetWriter(
        path,
        name="mine",
        size=size,
        channels=channels,
        labels=schema,
        config={},
        licence="CC0",
        source="here",
        intended_use="tests",
        extra={"generator": {"run": "r1"}},
    ) as writer:
        rows = [
            {
                "id": f"ID/{i}",
                "label": labels[i],
                "group": None if i % 5 == 0 else f"P{i % 4}",
                "source": f"s{i}.png",
                "origin": "synthetic",
                "age": None if i == 3 else i + 0.5,
                "site": "left" if i % 2 else None,
            }
            for i in range(n)
        ]
        writer.add(rng.integers(0, 256, (n, size, size, channels), np.uint8), rows)
        if split:
            writer.splits["default"] = [("train", "test", "val", "train")[i % 4] for i in range(n)]
            writer.splits["other"] = [("train", "test")[i % 2] for i in range(n)]
        writer.arrays["z"] = rng.normal(size=(n, 2, 3)).astype(np.float32), {"space": "z"}
        writer.arrays["score"] = rng.normal(size=n), {}
    return writer.dataset


def by_id(dataset):
    """Everything a Dataset says of each image, by id."""
    table = dataset.table.astype(object).where(dataset.table.notna(), None)
    images = dataset.pixels.read(np.arange(len(dataset)))
    splits = {name: dataset.split(name).part_of for name in dataset.split_names()}
    arrays = {name: dataset.array(name) for name in dataset.array_names()}
    return {
        row["id"]: (
            {key: value.tolist() if hasattr(value, "tolist") else value for key, value in row.items()},
            images[i].tobytes(),
            {name: parts[row["id"]] for name, parts in splits.items()},
            {name: array[i].tobytes() for name, array in arrays.items()},
        )
        for i, row in enumerate(table.to_dict("records"))
    }


@pytest.mark.parametrize("format", ROUND)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("channels", "split"), [(3, True), (1, False)])
def test_import_restores_what_export_wrote(tmp_path, format, kind, channels, split):
    data = make(tmp_path / "data", kind, channels, split)
    export_dataset(data.path, tmp_path / "out", format)
    again = import_dataset(tmp_path / "out", tmp_path / "again").dataset
    assert by_id(again) == by_id(data)
    assert (again.labels, again.size, again.channels) == (data.labels, data.size, data.channels)
    for field in ("name", "licence", "source", "intended_use"):
        assert getattr(again.manifest, field) == getattr(data.manifest, field)
    assert again.is_synthetic
    assert again.array("z").dtype == np.float32
    assert again.array_manifest("z")["space"] == "z"


def pinned(dataset):
    """What score, study and generate compare to tell whether two Datasets are the same."""
    splits = {name: dataset.split(name).hash for name in dataset.split_names()}
    return dataset.manifest.pixels_hash, dataset.manifest.table_hash, splits


@pytest.mark.parametrize("format", ALL)
@pytest.mark.parametrize("kind", KINDS)
def test_import_restores_rows_in_their_order_and_every_hash(tmp_path, monkeypatch, format, kind):
    monkeypatch.setattr("plenish.datasets.writer.shard_length", lambda size, channels: 16)
    data = make(tmp_path / "data", kind)
    export_dataset(data.path, tmp_path / "out", format)
    again = import_dataset(tmp_path / "out", tmp_path / "again").dataset
    assert list(again.table["id"]) == list(data.table["id"])
    assert pinned(again) == pinned(data)
    assert len(pinned(data)[2]) == 2
    np.testing.assert_array_equal(again.pixels.read(np.arange(40)), data.pixels.read(np.arange(40)))
    for name in ("z", "score"):
        np.testing.assert_array_equal(again.array(name), data.array(name))
    verify(again)


@pytest.mark.parametrize(
    "format", [ROUND[0], *(pytest.param(one, marks=pytest.mark.slow) for one in ROUND[1:])]
)
def test_a_phantom_exported_by_another_split_is_still_the_same(tmp_path, format):
    data = make_phantom(tmp_path / "data", patients=6, tiles=5, size=16)
    split_dataset(data.path, ratios=(0.5, 0.25, 0.25), name="mine")
    export_dataset(data.path, tmp_path / "out", format, split="mine")
    again = import_dataset(tmp_path / "out", tmp_path / "again").dataset
    assert pinned(again) == pinned(data)
    assert again.table.equals(data.table)


def test_columns_keep_their_types(tmp_path):
    columns = {
        "small": [np.float32(0.1), np.float32(7)], "byte": [np.int8(1), np.int8(-3)], "nothing": [None, None],
        "day": [datetime.date(2020, 1, 2), None], "yes": [True, False], "list": [[1, 2], []],
    }  # fmt: skip
    with DatasetWriter(
        tmp_path / "data", name="d", size=8, channels=1, labels=LabelSchema(), config={}
    ) as writer:
        rows = [{name: values[i] for name, values in columns.items()} for i in range(2)]
        writer.add(np.arange(128, dtype=np.uint8).reshape(2, 8, 8, 1), rows)
    export_dataset(tmp_path / "data", tmp_path / "out")
    again = import_dataset(tmp_path / "out", tmp_path / "again").dataset
    assert pinned(again) == pinned(writer.dataset)


@pytest.mark.parametrize("kept", [5, 23])
def test_a_killed_import_of_an_npz_in_parts_goes_on_in_order(tmp_path, monkeypatch, kept):
    monkeypatch.setattr("plenish.datasets.writer.shard_length", lambda size, channels: kept)
    monkeypatch.setattr("plenish.datasets.sources.pieces.BLOCK", 6)
    data = make(tmp_path / "data")
    export_dataset(data.path, tmp_path / "out", "npz")
    done = []
    decode = Decoder.decode

    def interrupted(self, task):
        done.extend(task.refs)
        if len(done) > 30:
            raise KeyboardInterrupt
        return decode(self, task)

    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            import_dataset(tmp_path / "out", tmp_path / "again", workers=1)
    assert import_dataset(tmp_path / "out", tmp_path / "again", workers=1).dataset.manifest.pixels_hash == (
        data.manifest.pixels_hash
    )


def test_an_npz_whose_table_names_other_images_is_refused(tmp_path):
    data = make(tmp_path / "data")
    export_dataset(data.path, tmp_path / "out", "npz")
    table = pq.read_table(tmp_path / "out/metadata.parquet")
    for rows, words in (
        (np.arange(39), "19 rows for 20 images of 'x_train'"),
        (np.r_[3, 1, 2, 0, 4:40], "images of 'x_train', or not in their order"),
    ):
        pq.write_table(table.take(pa.array(rows)), tmp_path / "out/metadata.parquet")
        with pytest.raises(InputError, match=words):
            import_dataset(tmp_path / "out", tmp_path / "again")
    names = table.column("file_name").to_pylist()
    renamed = pa.array([name.replace("x_test[0]", "x_test[99]") for name in names])
    pq.write_table(table.set_column(0, "file_name", renamed), tmp_path / "out/metadata.parquet")
    with pytest.raises(InputError, match="x_test"):
        import_dataset(tmp_path / "out", tmp_path / "again")


@pytest.mark.parametrize("format", ALL)
def test_equal_datasets_give_equal_files(tmp_path, format):
    data = make(tmp_path / "data")
    outs = [tmp_path / "one", tmp_path / "two"]
    for out in outs:
        export_dataset(data.path, out, format)
    files = [
        sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()) for out in outs
    ]
    assert files[0] == files[1]
    assert all((outs[0] / name).read_bytes() == (outs[1] / name).read_bytes() for name in files[0])


def test_folder_without_its_table_still_has_labels_and_parts(tmp_path):
    data = make(tmp_path / "data")
    export_dataset(data.path, tmp_path / "out", "folder")
    (tmp_path / "out/metadata.parquet").unlink()
    again = import_dataset(tmp_path / "out", tmp_path / "again", 8).dataset
    assert len(again) == len(data)
    assert again.labels.width == len(NAMES)
    parts = again.split().part_of.value_counts().to_dict()
    assert parts == data.split().part_of.value_counts().to_dict()
    assert sorted(again.table["sha256"]) == sorted(data.table["sha256"])


def test_names_stay_inside_the_folder_and_visible(tmp_path):
    export_dataset(make(tmp_path / "data").path, tmp_path / "out", "folder")
    images = list((tmp_path / "out").rglob("*.png"))
    assert len(images) == 40
    for path in images:
        pieces = path.relative_to(tmp_path / "out").parts
        assert len(pieces) == 3
        assert not any(piece.startswith(".") or len(piece.encode()) > 120 for piece in pieces)
    assert len({path.parent.name for path in images}) == len(NAMES)


def test_npz_is_what_numpy_users_expect(tmp_path):
    data = make(tmp_path / "data", channels=1)
    export_dataset(data.path, tmp_path / "out", "npz")
    with np.load(tmp_path / "out/dataset.npz", allow_pickle=False) as archive:
        assert set(archive) == {f"{x}_{part}" for x in "xy" for part in ("train", "val", "test")} | {
            "class_names"
        }
        rows = data.split().rows("val")
        np.testing.assert_array_equal(archive["x_val"], data.pixels.read(rows)[..., 0])
        assert [archive["class_names"][i] for i in archive["y_val"]] == data.table["label"][rows].tolist()


def test_stylegan_zip_is_what_stylegan_expects(tmp_path):
    data = make(tmp_path / "data", split=False)
    export_dataset(data.path, tmp_path / "out", "stylegan-zip")
    with zipfile.ZipFile(tmp_path / "out/dataset.zip") as archive:
        labels = json.loads(archive.read("dataset.json"))["labels"]
        assert labels[9] == ["00000/img00000009.png", 1]
        image = Image.open(io.BytesIO(archive.read(labels[9][0])))
        np.testing.assert_array_equal(np.asarray(image), data.pixels.read(np.array([9]))[0])
    export_dataset(make(tmp_path / "bare", "none").path, tmp_path / "plain", "stylegan-zip")
    with zipfile.ZipFile(tmp_path / "plain/dataset.zip") as archive:
        assert json.loads(archive.read("dataset.json")) == {"labels": None}


def test_webdataset_shards_hold_image_class_and_row(tmp_path, monkeypatch):
    monkeypatch.setattr("plenish.datasets.export._PER_TAR", 8)
    data = make(tmp_path / "data")
    export_dataset(data.path, tmp_path / "out", "webdataset")
    names = sorted(path.name for path in (tmp_path / "out").glob("*.tar"))
    assert names == [
        f"{part}-{i:06d}.tar" for part, n in (("test", 2), ("train", 3), ("val", 2)) for i in range(n)
    ]
    table, seen = data.table.set_index("id"), []
    for name in names:
        with tarfile.open(tmp_path / "out" / name) as tar:
            members = {member.name: tar.extractfile(member).read() for member in tar}
        for key in sorted({member.split(".")[0] for member in members}):
            row = json.loads(members[f"{key}.json"])
            at = data.table.index[data.table["id"] == row["id"]][0]
            image = np.asarray(Image.open(io.BytesIO(members[f"{key}.png"])))
            np.testing.assert_array_equal(image, data.pixels.read(np.array([at]))[0])
            assert NAMES[int(members[f"{key}.cls"])] == row["label"] == table["label"][row["id"]]
            assert data.split().part_of[row["id"]] == name.split("-")[0]
            seen.append(row["id"])
    assert sorted(seen) == sorted(data.table["id"])


def test_one_part_alone_and_test_reads_are_counted(tmp_path):
    data = make(tmp_path / "data")
    made = export_dataset(data.path, tmp_path / "val", "folder", part="val")
    assert made.images == 10
    assert data.test_reads() == 0
    again = import_dataset(tmp_path / "val", tmp_path / "again").dataset
    assert set(again.table["id"]) == set(data.part("val", purpose="export").ids)
    assert again.split_names() == []
    np.testing.assert_array_equal(
        np.sort(again.array("score")), np.sort(data.array("score")[data.split().rows("val")])
    )
    export_dataset(data.path, tmp_path / "test", "npz", part="test")
    export_dataset(data.path, tmp_path / "all", "npz")
    assert data.test_reads() == 2


def test_damaged_exports_restore_what_is_left(tmp_path):
    data = make(tmp_path / "data")
    export_dataset(data.path, tmp_path / "out", "folder")
    victims = sorted((tmp_path / "out").rglob("*.png"))[:2]
    victims[0].unlink()
    victims[1].write_bytes(b"x")
    made = import_dataset(tmp_path / "out", tmp_path / "again")
    assert made.rejected == 2
    kept, whole = by_id(made.dataset), by_id(data)
    assert len(kept) == 38
    assert all(kept[key] == whole[key] for key in kept)


def test_refusals(tmp_path):
    data = make(tmp_path / "data", split=False)
    for options, words in (
        ({"format": "zip"}, "stylegan-zip"),
        ({"part": "val"}, "plenish split"),
        ({"split": "x"}, "plenish split"),
    ):
        with pytest.raises(InputError, match=words):
            export_dataset(data.path, tmp_path / "out", **options)
    with pytest.raises(InputError, match=r"\.npz file"):
        export_dataset(data.path, tmp_path / "out.npz", "npz")
    with pytest.raises(InputError, match="nowhere"):
        export_dataset(tmp_path / "nowhere", tmp_path / "out")
    export_dataset(data.path, tmp_path / "out", "webdataset")
    with pytest.raises(InputError, match="out "):
        export_dataset(data.path, tmp_path / "out")
    for shard in (tmp_path / "out").glob("*.tar"):
        shard.unlink()
    with pytest.raises(InputError, match="lacks the tar archives"):
        import_dataset(tmp_path / "out", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_damaged_table_of_an_export_is_refused(stripes, tmp_path):
    export_dataset(stripes().path, tmp_path / "out")
    (tmp_path / "out" / "metadata.parquet").write_bytes(b"x")
    with pytest.raises(InputError, match=r"metadata\.parquet is damaged"):
        import_dataset(tmp_path / "out", tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_the_hubs_layout_says_every_type(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("plenish.datasets.export_hub._PER_FILE", 9)
    data = make(tmp_path / "data", kind)
    export_dataset(data.path, tmp_path / "out", "huggingface")
    names = sorted(path.name for path in (tmp_path / "out/data").iterdir())
    train = [name for name in names if name.startswith("train")]
    assert train == [f"train-{i:05d}-of-{len(train):05d}.parquet" for i in range(len(train))]
    assert len(train) > 1
    table = pq.read_table(tmp_path / "out/data" / train[0])
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert list(features) == table.column_names
    assert features["image"] == {"_type": "Image"}
    first = table.slice(0, 1).to_pylist()[0]
    row = data.table.set_index("id").loc[first["id"]]
    with Image.open(io.BytesIO(first["image"]["bytes"])) as image:
        position = int(np.flatnonzero(data.table["id"] == first["id"])[0])
        np.testing.assert_array_equal(np.asarray(image), data.pixels.read(np.array([position]))[0])
    if kind == "categorical":
        assert features["label"] == {"names": list(data.labels.names), "_type": "ClassLabel"}
        assert data.labels.names[first["label"]] == row["label"]
    elif kind == "none":
        assert "label" not in features
    else:
        assert features["label"]["_type"] == "Sequence"
        assert list(first["label"]) == list(row["label"])
    card = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    head = yaml.safe_load(card.split("---")[1])
    assert [entry["split"] for entry in head["configs"][0]["data_files"]] == ["train", "validation", "test"]
    assert head["license_name"] == "CC0"


@pytest.mark.parametrize("kind", KINDS)
def test_croissant_metadata_are_valid_and_lead_to_every_row(tmp_path, kind):
    mlcroissant = pytest.importorskip("mlcroissant")
    data = make(tmp_path / "data", kind)
    export_dataset(data.path, tmp_path / "out", "folder")
    described = mlcroissant.Dataset(jsonld=tmp_path / "out" / "croissant.json")
    assert not described.metadata.ctx.issues.errors
    rows = list(described.records(record_set="images"))
    assert len(rows) == len(data)
    table = pq.read_table(tmp_path / "out/metadata.parquet")
    assert [row["images/id"].decode() for row in rows] == table["id"].to_pylist()
    if kind == "categorical":
        assert [row["images/label"].decode() for row in rows] == table["label"].to_pylist()
    content = json.loads((tmp_path / "out/croissant.json").read_text(encoding="utf-8"))
    assert content["conformsTo"][0].endswith("croissant/1.1")
    assert content["license"] == "CC0"
    assert content["prov:wasDerivedFrom"][0]["prov:label"] == "run r1"
    assert "not for diagnosis" in content["rai:dataLimitations"]
