"""Cells, names and files that may mean something else: told, matched or refused, never chosen in silence."""

import io
import json
import os
import sys
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from tests.datasets.test_meaning import _encoded, _tar, doubts, imported, picture, said, table_of, text, tree

from plenish.datasets.sources.columns import named, parse_table
from plenish.datasets.sources.labels import read_labels
from plenish.datasets.sources.names import resolve
from plenish.errors import InputError


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (["0.5", "inf", "1.5"], "class inf, which looks like a number"),
        (["-inf", "1", "2"], "class -inf"),
        (["Infinity", "a"], "class Infinity"),
        ([True, 1, 0], "classes True beside 0, 1, which were kept apart"),
        (["true", "1", "x"], "classes true beside 1"),
        ([True, False], ""),
        (["a", "a ", "b"], "classes 'a' and 'a ' differ only in blanks"),
        (["a", "\ta", " b", "b"], "(and 1 more such)"),
        (["a ", "b "], ""),
        (["1", "1.0"], ""),
        ([["x", "x "], ["y"]], "tags 'x' and 'x ' differ only in blanks"),
    ],
)
def test_classes_that_may_be_something_else_are_doubted(cells, words):
    found = " ".join(read_labels(cells, "auto", "c").doubts)
    assert (words in found) if words else not found


def test_groups_and_folders_that_differ_in_blanks_are_told(tmp_path):
    root, labels = table_of(tmp_path, "label,patient", "a,P1", "b,P1 ", "a,P2")
    data, table, about = imported(root, tmp_path, labels=labels, group_column="patient")
    assert table["group"].tolist() == ["P1", "P1", "P2"]
    assert any("groups 'P1' and 'P1 ' differ only in blanks" in doubt for doubt in about["warnings"])
    tree(tmp_path / "folders", "a/0.png", "a /1.png", "b/2.png")
    data, _, about = imported(tmp_path / "folders", tmp_path)
    assert data.labels.names == ("a", "b")
    assert any("classes 'a' and 'a ' differ only in blanks" in doubt for doubt in about["warnings"])


def test_true_beside_one_in_json_lines_is_told(tmp_path):
    root = tree(tmp_path / "in", "0.png", "1.png", "2.png")
    rows = [{"file_name": f"{i}.png", "label": label} for i, label in enumerate([True, 1, 0])]
    text(root / "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert "kept apart" in doubts(root, tmp_path)


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_links_in_an_archive_are_followed_as_in_its_folder(tmp_path, suffix):
    root = tree(tmp_path / "in", *(f"{'ab'[i % 2]}/{i}.png" for i in range(4)))
    os.link(root / "a/0.png", root / "a/9.png")
    (root / "b/8.png").symlink_to("../a/2.png")
    (root / "b/7.png").symlink_to("8.png")
    (root / "c").symlink_to("a")
    (root / "a/again").symlink_to("..")
    plain = imported(root, tmp_path)[1]
    assert len(plain) == 10
    packed = tmp_path / f"a{suffix}"
    with tarfile.open(packed, "w:gz" if suffix == ".tar.gz" else "w") as archive:
        archive.add(root, "in")
        assert sum(member.islnk() for member in archive.getmembers()) == 1
    _, found, about = imported(packed, tmp_path)
    found["source"] = found["source"].str.removeprefix("in/")
    assert found.drop(columns="id").equals(plain.drop(columns="id"))
    assert not [text for text in about["warnings"] if "left out" in text]


def test_links_that_lead_outside_an_archive_are_counted(tmp_path):
    picture(tmp_path / "secret.png", 7)
    root = tree(tmp_path / "in", "a/0.png", "b/1.png")
    for name, target in (
        ("a/2.png", tmp_path / "secret.png"), ("a/3.png", "../../secret.png"), ("b/4.png", "5.png"),
        ("b/6.png", "6.png"),
    ):  # fmt: skip
        (root / name).symlink_to(target)
    _, found, about = imported(_tar(root, tmp_path / "a.tar"), tmp_path)
    assert found["source"].tolist() == ["a/0.png", "b/1.png"]
    assert any(
        "4 members of" in text and "(a/2.png, a/3.png, b/4.png and 1 more)" in text
        for text in about["warnings"]
    )


def test_a_member_that_an_archive_holds_twice_is_told_and_the_last_counts(tmp_path):
    root = tree(tmp_path / "in", "a/0.png", "b/1.png")
    other = tmp_path / "other.png"
    picture(other, 9)
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(root / "a/0.png", "a/0.png")
        file.write(root / "b/1.png", "b/1.png")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.write(other, "a/0.png")
    data, _, about = imported(archive, tmp_path)
    assert data.manifest.count == 2
    assert any("1 file more than once (a/0.png); the last" in doubt for doubt in about["warnings"])
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(archive) as file:
        file.extractall(unpacked)
    assert imported(unpacked, tmp_path)[0].manifest.pixels_hash == data.manifest.pixels_hash
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as file:
        file.write(root / "a/0.png", "a/0.png")
        file.write(root / "b/1.png", "a\\0.png")
    assert "more than once" in doubts(tmp_path / "b.zip", tmp_path)
    tar = _tar(root, tmp_path / "a.tar")
    with tarfile.open(tar, "a") as file:
        file.add(other, "./a/0.png")
    assert "more than once" in doubts(tar, tmp_path)
    assert "more than once" not in doubts(root, tmp_path)


@pytest.mark.parametrize("label", [0.5, 3.0, True, None, {"a": 1}, float("nan")])
def test_stylegan_labels_of_other_kinds_are_named(tmp_path, label):
    root = tree(tmp_path / "in", "00000/img00000000.png", "00000/img00000001.png")
    pairs = [["00000/img00000000.png", 0], ["00000/img00000001.png", label]]
    text(root / "dataset.json", json.dumps({"labels": pairs}))
    with pytest.raises(InputError) as refused:
        imported(root, tmp_path)
    assert f"labels 00000/img00000001.png with {json.dumps(label)}, which is no class" in str(refused.value)


def test_an_image_that_stylegan_labels_lack_is_named_with_the_nearest(tmp_path):
    root = tree(tmp_path / "in", "00000/img00000000.png", "00000/img00000001.png")
    pairs = [["00000/img00000000.png", 0], ["00000/img0000001.png", 1]]
    text(root / "dataset.json", json.dumps({"labels": pairs}))
    with pytest.raises(
        InputError, match=r"img00000001\.png; the most similar name is '00000/img0000001\.png'"
    ):
        imported(root, tmp_path)


@pytest.mark.parametrize("words", [["--name", ""], ["--name", " "], ["--name="]])
def test_an_empty_name_is_refused(tmp_path, capfd, words):
    root = tree(tmp_path / "in", "a/0.png")
    code, told = said(capfd, root, tmp_path / "out", *words)
    assert code == 2
    assert "--name is empty" in told
    assert not (tmp_path / "out").exists()


# Columns without a name


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl", "parquet", "json"])
def test_the_index_that_pandas_writes_is_no_column(tmp_path, suffix):
    root = tree(tmp_path / "in", *(f"{i}.png" for i in range(3)))
    frame = pd.DataFrame({"file": ["2.png", "0.png", "1.png"], "label": list("aba")}, index=[5, 6, 7])
    path = tmp_path / f"t.{suffix}"
    if suffix == "parquet":
        frame.to_parquet(path)
    elif suffix in ("json", "jsonl"):
        frame.reset_index(names="Unnamed: 0").to_json(path, orient="records", lines=suffix == "jsonl")
    else:
        frame.to_csv(path, sep="," if suffix == "csv" else "\t")
    _, table, about = imported(root, tmp_path, labels=path)
    assert list(table.columns) == ["id", "label", "group", "origin", "sha256", "source", "width", "height"]
    assert any("only numbers the rows and was not used" in note for note in about["notes"])


def test_other_columns_without_a_name_are_kept():
    rows, notes = named([{"": "x", "Unnamed: 3": None, "a": 1}, {"": "y", "Unnamed: 3": None, "a": 2}])
    assert (rows, notes) == ([{"unnamed": "x", "a": 1}, {"unnamed": "y", "a": 2}], [])
    twice = [{"Unnamed: 0": 1}, {"Unnamed: 0": 1}]
    assert named(twice) == (twice, [])


def test_columns_without_a_name_take_no_other_columns_name():
    rows, _ = named([{"": "x", "unnamed": "keep", "__index_level_0__": "q"}])
    assert rows == [{"unnamed_2": "x", "unnamed": "keep", "unnamed_3": "q"}]


def test_missing_entries_of_lists_are_no_tags():
    found = read_labels([["a", None], ["a"], ["nan"], ["b", float("nan")]], "auto", "label")
    assert found.schema.names == ("a", "b")
    assert found.values == [["a"], ["a"], [], ["b"]]
    assert "3 missing values were left out of the tags of column 'label' (None, nan)" in found.doubts[0]
    found = read_labels(["a|nan", "b"], "auto", "label", "|", ())
    assert (found.schema.names, found.values, found.doubts) == (("a", "b", "nan"), [["a", "nan"], ["b"]], [])


def test_a_comma_that_separates_is_no_decimal_point():
    found = read_labels(["1,2", "3", "2", "1,3"], "auto", "label", ",")
    assert (found.schema.kind, found.schema.names) == ("multilabel", ("1", "2", "3"))
    assert found.values == [["1", "2"], ["3"], ["2"], ["1", "3"]]
    found = read_labels(["1,2", "3,5"], "continuous", "label", ",")
    assert found.values == [[1.0, 2.0], [3.0, 5.0]]
    assert read_labels(["1,2", "3,5"], "continuous", "label").values == [[1.2], [3.5]]


# Names of files


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("a%20b.png", "a b.png"),
        ("x/%C3%A9.PNG", "x/é.png"),
        ("https%3A//host/data/x/7.png", "x/7.png"),
        ("1", "0001.png"),
        ("0002", "2.png"),
        ("x/03", "x/3.png"),
        ("100%.png", "100%.png"),
        ("CheXpert/x/y/view.jpg", "x/y/view.jpg"),
        ("y/view.jpg", "x/y/view.jpg"),
        ("z/view.jpg", None),
        ("4", None),
    ],
)
def test_names_written_otherwise_are_found(tmp_path, name, file):
    files = [
        "a b.png", "x/é.png", "x/7.png", "0001.png", "2.png", "x/3.png", "100%.png", "x/y/view.jpg",
        "q/view.jpg",
    ]  # fmt: skip
    assert resolve([name], files, tmp_path, "t", ["."])[0] == [file]


def test_a_number_that_two_files_have_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"names '01', and there are 2: 001\.png, 1\.png"):
        resolve(["01"], ["1.png", "001.png"], tmp_path, "t", ["."])
    assert resolve(["1"], ["1.png", "001.png"], tmp_path, "t", ["."])[0] == ["1.png"]


def test_names_written_otherwise_are_told(tmp_path):
    root = tree(tmp_path / "in", "0001.png", "a b.png")
    labels = text(tmp_path / "l.csv", "id,label\n1,x\na%20b.png,y\n")
    _, table, about = imported(root, tmp_path, labels=labels)
    assert dict(zip(table["source"], table["label"])) == {"0001.png": "x", "a b.png": "y"}
    assert "2 names were matched with files of similar names" in about["warnings"][0]


def test_names_in_other_folders_are_told(tmp_path):
    root = tree(tmp_path / "in", "1.png", "b/2.png", "c/3.png")
    labels = text(tmp_path / "l.csv", "file_name,label\np2/1,x\nq/b/2,y\nc/3,x\n")
    _, table, about = imported(root, tmp_path, labels=labels)
    assert dict(zip(table["source"], table["label"])) == {"1.png": "x", "b/2.png": "y", "c/3.png": "x"}
    assert any("2 names were matched" in text and "'p2/1'" in text for text in about["warnings"])


@pytest.mark.parametrize(
    ("folders", "names"),
    [("named", ["2", "x/a/1.png", "0001"]), ("below", ["x/a/1.png", "0001"]), ("known", ["0001"])],
)
def test_which_differences_in_names_are_doubted(tmp_path, folders, names):
    files = ["a/1.png", "b/2.png", "c/3.png"]
    for name in ("a/1.png", "c/3", "2", "x/a/1.png", "0001"):
        refs, doubts = resolve([name], files, tmp_path, "t", ["."], folders)
        assert refs[0] in files
        assert bool(doubts) == (name in names), name


def test_many_files_of_one_name_are_found_in_linear_time(tmp_path):
    def calls(n):
        """Functions called to find n files."""
        count = 0

        def counted(frame, event, arg):
            nonlocal count
            count += event in ("call", "c_call")

        files = [f"train/patient{i}/view1.jpg" for i in range(n)]
        names = [f"Small/{file}" for file in files]
        places = ["."] * n
        before = sys.getprofile()
        sys.setprofile(counted)
        try:
            refs, _ = resolve(names, files, tmp_path, "t", places)
        finally:
            sys.setprofile(before)
        assert refs == files
        return count

    assert calls(1600) < 5 * calls(400)


def test_json_lines_that_end_with_json_are_a_table():
    rows = [{"a": 1}, {"a": 2}]
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    assert parse_table(content, "t.json") == rows
    with pytest.raises(InputError, match=r"t\.json cannot be read as a table"):
        parse_table(b'{"a": 1}\nnothing', "t.json")


# WebDataset


def _shard(path, members):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def test_shards_of_webdataset_have_classes_columns_and_parts(tmp_path):
    root = tmp_path / "in"
    for part, seeds in (("train", range(3)), ("val", range(3, 5))):
        members = {}
        for seed in seeds:
            members[f"{seed:05d}.png"] = _encoded(seed)["bytes"]
            members[f"{seed:05d}.cls"] = str(seed % 2).encode()
            members[f"{seed:05d}.json"] = json.dumps({"age": 40 + seed}).encode()
        _shard(root / f"my-{part}-000000.tar", members)
    data, table, about = imported(root, tmp_path, strict=True)
    assert data.labels.names == ("0", "1")
    assert table["label"].tolist() == ["0", "1", "0", "1", "0"]
    assert table["age"].tolist() == [40, 41, 42, 43, 44]
    assert table["source"][0] == "my-train-000000.tar/00000.png"
    assert data.split().part_of.tolist() == ["train"] * 3 + ["val"] * 2
    folder = tree(tmp_path / "folder", *(f"{seed}.png" for seed in range(5)))
    assert imported(folder, tmp_path)[0].manifest.pixels_hash == data.manifest.pixels_hash
    assert about["unused"] == {}


def test_shards_are_no_classes_and_labels_by_name_go_before_numbers(tmp_path):
    for shard in range(2):
        _shard(tmp_path / f"bare/{shard:05d}.tar", {f"{shard}.png": _encoded(shard)["bytes"]})
        about = {"label": ("cat", "dog")[shard]}
        _shard(
            tmp_path / f"named/{shard:05d}.tar",
            {
                f"{shard}.png": _encoded(shard)["bytes"], f"{shard}.cls": b"7",
                f"{shard}.json": json.dumps(about).encode(),
            },
        )  # fmt: skip
    assert imported(tmp_path / "bare", tmp_path)[0].labels.kind == "none"
    data, _, about = imported(tmp_path / "named", tmp_path)
    assert data.labels.names == ("cat", "dog")
    assert data.split_names() == []
    assert any("goes before a .cls" in note for note in about["notes"])


def test_damaged_shards_are_refused_or_their_images_rejected(tmp_path):
    for shard in range(2):
        _shard(tmp_path / f"in/{shard}.tar", {f"{i}.png": _encoded(i)["bytes"] for i in range(2)})
    whole = (tmp_path / "in/1.tar").read_bytes()
    (tmp_path / "in/1.tar").write_bytes(whole[:700])
    with pytest.raises(InputError, match=r"1\.tar is not a readable archive"):
        imported(tmp_path / "in", tmp_path)
    _shard(tmp_path / "in/1.tar", {"0.png": b"no picture", "1.png": _encoded(1)["bytes"]})
    data, _, _ = imported(tmp_path / "in", tmp_path)
    assert data.manifest.count == 3
    assert pd.read_csv(data.path / "rejected.csv")["source"].tolist() == ["1.tar/0.png"]
    _shard(tmp_path / "in/1.tar", {"../0.png": b"x"})
    with pytest.raises(InputError, match="outside it"):
        imported(tmp_path / "in", tmp_path)


# What `datasets.save_to_disk` writes


def _arrow(folder, seeds, names=("benign", "malignant"), file="data-00000-of-00001.arrow", **state):
    folder.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    table = pa.table({
        "image": pa.array([_encoded(seed) for seed in seeds], kind),
        "label": pa.array([seed % 2 for seed in seeds], pa.int64()),
        "patient": [f"P{seed}" for seed in seeds],
    }).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})  # fmt: skip
    with pa.OSFile(str(folder / file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    known = json.loads((folder / "state.json").read_text()) if (folder / "state.json").exists() else {}
    known["_data_files"] = [*known.get("_data_files", []), {"filename": file}]
    (folder / "state.json").write_text(json.dumps(known | state))


def test_a_data_set_saved_to_disk_is_imported_with_parts_and_names(tmp_path):
    _arrow(tmp_path / "in/train", range(5))
    _arrow(tmp_path / "in/validation", range(5, 7))
    (tmp_path / "in/dataset_dict.json").write_text('{"splits": ["train", "validation"]}')
    (tmp_path / "in/train/cache-1234.arrow").write_bytes(b"not data")
    data, table, about = imported(tmp_path / "in", tmp_path, group_column="patient", strict=True)
    assert data.labels.names == ("benign", "malignant")
    assert table["group"].tolist() == [f"P{seed}" for seed in range(7)]
    assert table["label"].tolist() == [("benign", "malignant")[seed % 2] for seed in range(7)]
    assert data.split().part_of.tolist() == ["train"] * 5 + ["val"] * 2
    assert about["kind"] == "Arrow files with images"
    folder = tree(tmp_path / "folder", *(f"{seed}.png" for seed in range(7)))
    assert imported(folder, tmp_path)[0].manifest.pixels_hash == data.manifest.pixels_hash


def test_arrow_files_in_pieces_damaged_or_chosen_by_an_index(tmp_path):
    _arrow(tmp_path / "in", range(3), file="data-00000-of-00002.arrow")
    _arrow(tmp_path / "in", range(3, 5), file="data-00001-of-00002.arrow")
    assert imported(tmp_path / "in", tmp_path)[1]["patient"].tolist() == [f"P{i}" for i in range(5)]
    one = tmp_path / "in/data-00001-of-00002.arrow"
    assert imported(one, tmp_path)[0].manifest.count == 2
    one.write_bytes(one.read_bytes()[:40])
    with pytest.raises(InputError, match="is damaged"):
        imported(tmp_path / "in", tmp_path)
    one.unlink()
    with pytest.raises(InputError, match="names data-00001-of-00002"):
        imported(tmp_path / "in", tmp_path)
    _arrow(tmp_path / "chosen", range(3), _indices_data_files=[{"filename": "indices.arrow"}])
    with pytest.raises(InputError, match="flatten_indices"):
        imported(tmp_path / "chosen", tmp_path)
    (tmp_path / "chosen/state.json").write_text("[]")
    with pytest.raises(InputError, match="does not name the data files"):
        imported(tmp_path / "chosen", tmp_path)
    table = pa.table({"image": pa.array([_encoded(0)["bytes"]]), "label": ["q"]})
    with pa.OSFile(str(tmp_path / "f.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    data, _, _ = imported(tmp_path / "f.arrow", tmp_path)
    assert data.labels.names == ("q",)
    assert np.ptp(data.pixels.read(np.arange(1))) > 0
