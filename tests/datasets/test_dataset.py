from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from plenish.datasets import pixels as pixel_stores
from plenish.datasets.dataset import Dataset
from plenish.datasets.integrity import verify
from plenish.datasets.rejections import Rejection
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixel_stores, "SHARD_BYTES", 7 * 8 * 8 * 3)


def _write(out: Path, n: int = 30, upto: int | None = None, **row: object) -> Dataset:
    pixels = np.random.default_rng(1).integers(0, 256, (n, 8, 8, 3), np.uint8)
    labels = LabelSchema("categorical", ("a", "b"))
    with DatasetWriter(out, name="d", size=8, channels=3, labels=labels, config={"n": n}) as writer:
        for i in range(writer.skip, n):
            if i == upto:
                raise KeyboardInterrupt
            writer.add(pixels[i : i + 1], [{"label": "ab"[i % 2], "age": i, **row}])
    return writer.dataset


@pytest.mark.usefixtures("small_shards")
def test_reads_what_was_written_in_any_order(tmp_path: Path) -> None:
    data = _write(tmp_path / "d")
    assert len(list((tmp_path / "d" / "pixels").iterdir())) == 5
    expected = np.random.default_rng(1).integers(0, 256, (30, 8, 8, 3), np.uint8)
    rows = np.random.default_rng(2).integers(0, 30, 200)
    assert (data.pixels.read(rows) == expected[rows]).all()
    assert data.table["age"].tolist() == list(range(30))


@pytest.mark.usefixtures("small_shards")
def test_numpy_and_pandas_alone_can_read_it(tmp_path: Path) -> None:
    data = _write(tmp_path / "d")
    shards = [np.load(path) for path in sorted((tmp_path / "d" / "pixels").glob("*.npy"))]
    table = pd.read_parquet(tmp_path / "d" / "samples.parquet")
    assert (np.concatenate(shards) == data.pixels.read(np.arange(30))).all()
    assert list(table.columns[:6]) == ["id", "label", "group", "origin", "sha256", "source"]


@pytest.mark.usefixtures("small_shards")
def test_an_interrupted_writer_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    _write(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _write(tmp_path / "cut", upto=18)
    assert not (tmp_path / "cut").exists()
    _write(tmp_path / "cut")
    for path in (p for p in (tmp_path / "whole").rglob("*") if p.is_file() and "caches" not in p.parts):
        assert path.read_bytes() == (tmp_path / "cut" / path.relative_to(tmp_path / "whole")).read_bytes()


@pytest.mark.usefixtures("small_shards")
def test_an_unfinished_dataset_of_another_layout_is_not_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("plenish.datasets.writer._LAYOUT", 1)
        with pytest.raises(KeyboardInterrupt):
            _write(tmp_path / "cut", upto=18)
    with pytest.raises(InputError, match=r"cut\.partial was left by a command with other options"):
        _write(tmp_path / "cut")


@pytest.mark.usefixtures("small_shards")
def test_rejects_are_counted_and_listed(tmp_path: Path) -> None:
    with DatasetWriter(
        tmp_path / "d", name="d", size=8, channels=3, labels=LabelSchema(), config={}
    ) as writer:
        for i in range(10):
            writer.add(np.zeros((1, 8, 8, 3), np.uint8), [{}])
            writer.reject(Rejection("damaged", {"reason": "broken, truly"}, f"{i}.png"))
    table = pd.read_csv(tmp_path / "d" / "rejected.csv")
    assert table["source"].tolist() == [f"{i}.png" for i in range(10)]
    assert table["reason"].str.endswith("broken, truly").all()
    assert set(table["kind"]) == {"damaged"}


def test_nothing_usable_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    writer = DatasetWriter(tmp_path / "d", name="d", size=8, channels=3, labels=LabelSchema(), config={})
    with pytest.raises(InputError, match=r"x\.png.*0 bytes"), writer:
        writer.reject(Rejection("empty", source="x.png"))
    assert list(tmp_path.iterdir()) == []


def test_equal_ids_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"29 images .*id"):
        _write(tmp_path / "d", id="same")
    assert list(tmp_path.iterdir()) == []


def test_test_rows_are_refused_to_training_and_counted_elsewhere(stripes) -> None:
    data = stripes()
    for purpose in ("train", "select"):
        with pytest.raises(InputError, match=r"test .*train or val"):
            data.part("test", purpose=purpose)
    assert data.test_reads() == 0
    data.part("test", purpose="score")
    data.part("test", purpose="study")
    assert data.test_reads() == 2
    assert data.part("val", purpose="select").part == "val"
    assert data.test_reads() == 2


def test_a_split_is_frozen_and_its_alteration_noticed(stripes) -> None:
    data = stripes()
    with pytest.raises(InputError, match="--name"):
        data.add_split("default", ["train"] * len(data), {})
    path = data.path / "splits" / "default.parquet"
    table = pd.read_parquet(path)
    table.loc[0, "part"] = "test"
    table.to_parquet(path)
    with pytest.raises(InputError, match=r"default\.parquet"):
        data.split()


def test_subset_is_consistent(stripes) -> None:
    data = stripes()
    train = data.part("train", purpose="train")
    assert (train.images() == data.pixels.read(train.rows)).all()
    assert [data.labels.names[c] for c in train.codes] == train.labels
    assert (train.y().argmax(1) == train.codes).all()
    part = train.where(train.codes == 1)
    assert set(part.labels) == {"class1"}
    assert np.concatenate(list(part.batches(5))).shape[0] == len(part)


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a b"])
def test_unusable_split_names(stripes, name: str) -> None:
    with pytest.raises(InputError, match=f"'{re.escape(name)}'"):
        stripes(split=False).add_split(name, ["train"] * 60, {})


def test_arrays_have_a_row_an_image_and_are_not_overwritten(stripes) -> None:
    data = stripes()
    array = np.arange(60.0)[:, None]
    data.add_array("w", array, {"space": "w"})
    assert (data.array("w") == array).all()
    assert data.array_manifest("w")["space"] == "w"
    with pytest.raises(InputError, match="array 'w'"):
        data.add_array("w", array, {})
    with pytest.raises(InputError, match=r"'short' .*5 rows.*60 images"):
        data.add_array("short", array[:5], {})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "dataset.json").unlink(), r"dataset\.json"),
        (lambda p: (p / "dataset.json").write_text("{"), r"dataset\.json.*JSON"),
        (lambda p: (p / "dataset.json").write_text("{}"), "version None"),
        (lambda p: (p / "pixels" / "00000.npy").unlink(), r"00000\.npy"),
        (lambda p: (p / "pixels" / "00000.npy").write_bytes(b"short"), "5 bytes"),
        (lambda p: (p / "samples.parquet").unlink(), r"samples\.parquet"),
        (lambda p: shutil.rmtree(p), "plenish import SOURCE"),
    ],
)
def test_damage_is_told_in_a_sentence(stripes, damage, message: str) -> None:
    data = stripes()
    damage(data.path)
    with pytest.raises(InputError, match=message):
        Dataset.open(data.path)


def test_no_pickle_is_ever_read(stripes) -> None:
    data = stripes()
    data.add_array("z", np.zeros((60, 1)), {})
    np.save(data.path / "arrays" / "z.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(InputError, match="allow_pickle"):
        data.array("z")


@pytest.mark.parametrize(
    ("labels", "values"),
    [
        (LabelSchema("categorical", ("a", "b", "c")), ["c", "a"]),
        (LabelSchema("multilabel", ("a", "b", "c")), [["a", "c"], []]),
        (LabelSchema("continuous", ("age", "size")), [[1.5, 2.0], [0.0, -1.0]]),
        (LabelSchema(), [None, None]),
    ],
)
def test_labels_survive_encoding_and_the_disk(tmp_path: Path, labels: LabelSchema, values: list) -> None:
    y = labels.encode(values)
    assert y.shape == (2, labels.width)
    assert labels.decode(y) == values
    with DatasetWriter(tmp_path / "d", name="d", size=8, channels=1, labels=labels, config={}) as writer:
        writer.add(np.zeros((2, 8, 8, 1), np.uint8), [{"label": value} for value in values])
    again = Dataset.open(tmp_path / "d")
    assert again.labels == labels
    assert (again.y() == y).all()


def test_unknown_label_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"tumor.*'tumour'"):
        LabelSchema("categorical", ("tumour", "normal")).code("tumor")


def test_hashes_pin_the_content(tmp_path: Path, stripes) -> None:
    a, b = stripes("a"), stripes("b")
    assert a.manifest.pixels_hash == b.manifest.pixels_hash
    assert a.manifest.table_hash == b.manifest.table_hash
    other = _write(tmp_path / "other")
    assert other.manifest.pixels_hash != a.manifest.pixels_hash
    assert json.loads((a.path / "dataset.json").read_text())["labels"]["names"] == ["class0", "class1"]


def _rewrite_table(path: Path) -> None:
    table = pd.read_parquet(path / "samples.parquet")
    table.loc[0, "label"] = "b"
    table.to_parquet(path / "samples.parquet")


def test_a_manifest_without_a_field_is_refused(tmp_path: Path) -> None:
    data = _write(tmp_path / "d")
    content = json.loads((data.path / "dataset.json").read_text())
    assert content.pop("table_file_sha256")
    (data.path / "dataset.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="table_file_sha256"):
        Dataset.open(data.path)


def test_an_altered_table_is_noticed_when_a_split_is_opened(tmp_path: Path) -> None:
    data = _write(tmp_path / "d", part="train")
    assert len(data.part("train", purpose="train")) == 30
    _rewrite_table(data.path)
    with pytest.raises(InputError, match=r"samples\.parquet"):
        Dataset.open(data.path).part("train", purpose="train")


@pytest.mark.usefixtures("small_shards")
def test_verify_notices_altered_pixels_and_tables(tmp_path: Path) -> None:
    data = _write(tmp_path / "d", part="train")
    verify(Dataset.open(data.path))
    shard = data.path / "pixels" / "00001.npy"
    sound = shard.read_bytes()
    shard.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
    with pytest.raises(InputError, match=r"1 of 30 .*row 13"):
        verify(Dataset.open(data.path))
    shard.write_bytes(sound)
    verify(Dataset.open(data.path))
    _rewrite_table(data.path)
    with pytest.raises(InputError, match=r"samples\.parquet"):
        verify(Dataset.open(data.path))


@pytest.mark.parametrize("use", ["train", "study", "export"])
def test_altered_pixels_are_noticed_at_first_use_and_checked_anew_when_a_file_changes(tmp_path, use) -> None:
    data = _write(tmp_path / "d", part="train")
    shard = data.path / "pixels" / "00000.npy"
    sound = shard.read_bytes()
    for damaged, words in (
        (sound[:-1] + bytes([sound[-1] ^ 1]), "does not match its hashes"),
        (sound + b"\0" * data.size**2, "bytes where"),
        (sound[:200] + b"\0" + sound[200:], "bytes where"),
    ):
        Dataset.open(data.path).part("train", purpose=use)
        shard.write_bytes(damaged)
        with pytest.raises(InputError, match=words):
            Dataset.open(data.path).part("train", purpose=use)
        shard.write_bytes(sound)
    checks = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plenish.datasets.integrity.verify", checks.append)
        Dataset.open(data.path).part("train", purpose=use)
        Dataset.open(data.path).part("train", purpose=use)
    assert len(checks) == 1


def test_a_split_whose_table_is_gone_is_no_absent_split(tmp_path: Path) -> None:
    data = _write(tmp_path / "d", part="train")
    (data.path / "splits/default.parquet").unlink()
    assert data.split_names() == ["default"]
    with pytest.raises(InputError, match=r"default\.parquet is missing"):
        data.split()


def test_a_damaged_split_or_array_is_told(stripes) -> None:
    data = stripes()
    data.add_array("z", np.zeros((len(data), 2), np.float32), {})
    for path, read in (("splits/default.parquet", data.split), ("arrays/z.npy", lambda: data.array("z"))):
        (data.path / path).write_bytes(b"x")
        with pytest.raises(InputError, match=path):
            read()
    (data.path / "samples.parquet").write_bytes(b"x")
    for read in (lambda: Dataset.open(data.path).table, lambda: Dataset.open(data.path).column("label")):
        with pytest.raises(InputError, match=r"samples\.parquet is damaged"):
            read()
