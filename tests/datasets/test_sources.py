"""Sources are recognised and listed: what is a class, a part, a group; what is left out; what is refused."""

import gzip
import io
import json
import re
import struct
import zipfile

import numpy as np
import pytest
from PIL import Image

from plenish.datasets.schema import LabelSchema
from plenish.datasets.sources import SourceOptions, recognise
from plenish.datasets.sources.columns import typed
from plenish.datasets.sources.labels import read_labels
from plenish.datasets.sources.listing import natural
from plenish.errors import InputError


def png(value=0, size=4):
    out = io.BytesIO()
    Image.new("RGB", (size, size), (value, value, value)).save(out, "PNG")
    return out.getvalue()


def make(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(png())
    return root


def listed(root, **options):
    scratch = root.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    return recognise(root, SourceOptions(**options), scratch)


def refused(source, match, **options):
    with pytest.raises(InputError, match=match):
        listed(source, **options)


# Folders


def test_natural_order():
    assert sorted(["b10", "b9", "a", "b09", "1"], key=natural) == ["1", "a", "b09", "b9", "b10"]


def test_a_folder_for_each_class_with_deeper_folders(tmp_path):
    make(tmp_path, "dog/10.png", "dog/9.png", "cat/deep/er/a.JPG", "cat/b.png")
    found = listed(tmp_path)
    assert found.refs == ["cat/b.png", "cat/deep/er/a.JPG", "dog/9.png", "dog/10.png"]
    assert found.labels == ["cat", "cat", "dog", "dog"]
    assert found.schema == LabelSchema("categorical", ("cat", "dog"))
    assert found.parts is None
    assert not found.doubts


def test_numbered_classes_are_in_number_order(tmp_path):
    make(tmp_path, *(f"{i}/x.png" for i in (10, 9, 0)))
    assert listed(tmp_path).schema.names == ("0", "9", "10")


@pytest.mark.parametrize(
    "names",
    [
        ("train", "val", "test"),
        ("Training", "validation", "TESTING"),
        ("train", "dev", "test"),
        ("tr", "valid", "tst"),
    ],
)
def test_parts_and_their_aliases(tmp_path, names):
    make(tmp_path, *(f"{name}/{label}/1.png" for name in names for label in "ab"))
    found = listed(tmp_path)
    assert sorted(zip(found.refs, found.parts, found.labels)) == sorted(
        (f"{name}/{label}/1.png", part, label)
        for name, part in zip(names, ("train", "val", "test"))
        for label in "ab"
    )


def test_a_split_without_val_is_kept_and_said(tmp_path):
    make(tmp_path, "train/a/1.png", "test/a/1.png", "test/b/1.png")
    found = listed(tmp_path)
    assert set(found.parts) == {"train", "test"}
    (warning,) = found.doubts
    assert {"train", "b."} <= set(warning.split())


def test_a_class_called_train_is_a_class(tmp_path):
    found = listed(make(tmp_path, "train/1.png", "bus/1.png", "test/1.png"))
    assert found.parts is None
    assert found.schema.names == ("bus", "test", "train")


def test_parts_without_classes_and_wrapping_folders(tmp_path):
    flat = listed(make(tmp_path / "flat", "train/1.png", "val/2.png"))
    assert (flat.schema.kind, flat.parts) == ("none", ["train", "val"])
    assert listed(make(tmp_path / "w", "data/images/a/1.png", "data/images/b/1.png")).schema.names == (
        "a",
        "b",
    )
    assert listed(make(tmp_path / "one", "a/1.png", "a/2.png")).schema.names == ("a",)


def test_flat_folder_is_unlabelled(tmp_path):
    found = listed(make(tmp_path, "b.png", "a.png"))
    assert (found.refs, found.schema.kind, found.labels) == (["a.png", "b.png"], "none", None)


def test_the_systems_own_files_are_passed_over(tmp_path):
    make(tmp_path, "a/1.png", "b/1.png", "a/.hidden.png", ".cache/x.png", "__MACOSX/a/1.png")
    make(tmp_path, "@eaDir/1.png/SYNOPHOTO_THUMB_M.png", "$RECYCLE.BIN/x.png", "lost+found/y.png")
    make(tmp_path, "__pycache__/z.png", "System Volume Information/w.png")
    for name in (
        "Thumbs.db",
        ".DS_Store",
        "SOURCE.md",
        "LICENSE",
        "a/Thumbs.db",
        "a/notes.txt",
    ):
        (tmp_path / name).write_text("x")
    found = listed(tmp_path)
    assert found.refs == ["a/1.png", "b/1.png"]
    assert not found.doubts


def test_loops_of_links_end_and_linked_folders_count(tmp_path):
    make(tmp_path / "in", "a/1.png", "b/1.png")
    (tmp_path / "in/a/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/c").symlink_to(make(tmp_path / "elsewhere", "5.png"))
    assert listed(tmp_path / "in").refs == ["a/1.png", "b/1.png", "c/5.png"]


def test_empty_similar_and_stray_are_told(tmp_path):
    make(tmp_path, "Cat/1.png", "cat/1.png", "stray.png")
    (tmp_path / "dog").mkdir()
    text = " ".join(listed(tmp_path).doubts)
    assert "1 class folder" in text
    assert "dog" in text
    assert "'Cat' and 'cat'" in text
    assert "stray.png" in text


def test_accents_written_two_ways_are_one_class(tmp_path):
    found = listed(make(tmp_path, "train/é/1.png", "test/e\u0301/1.png"))
    assert found.schema.names == ("é",)


def test_nothing_to_import_is_refused(tmp_path):
    refused(tmp_path / "absent", "absent")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "empty.*PNG")
    (tmp_path / "x.docx").write_text("x")
    refused(tmp_path / "x.docx", r"x\.docx.*\.npz")
    refused(tmp_path, r"1 other file.*\.docx")
    (tmp_path / "T.PARQUET").write_text("no parquet")
    refused(tmp_path / "T.PARQUET", r"T\.PARQUET is damaged")
    (tmp_path / "T.PARQUET").unlink()
    for name in ("labels.csv", "rows.jsonl"):
        (tmp_path / name).write_text("file,label\n1.png,a\n")
        refused(tmp_path / name, rf"plenish import FOLDER OUT --labels .*{name}'")
        (tmp_path / name).unlink()
    refused(make(tmp_path, "1.png") / "1.png", r"1\.png is .*folder")


# Tables


def table(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_a_table_gives_labels_groups_and_columns(tmp_path):
    make(tmp_path, "x/2.png", "x/10.png", "3.png")
    rows = (
        "file,kind,patient,age,code,note\nx/10.png,b,P1,31,007,\n3.png,a,P2,,008,hm\n./x/2.png,b,,2.5,009,\n"
    )
    found = listed(
        tmp_path, labels=table(tmp_path / "l.csv", rows), label_column="kind", group_column="patient"
    )
    assert found.refs == ["3.png", "x/2.png", "x/10.png"]
    assert found.labels == ["a", "b", "b"]
    assert found.groups == ["P2", None, "P1"]
    assert list(found.columns) == ["age", "code", "note"]
    assert found.columns == {
        "age": [None, 2.5, 31.0],
        "code": ["008", "009", "007"],
        "note": ["hm", None, None],
    }


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_separators_quotes_and_byte_order_mark(tmp_path, sign):
    make(tmp_path, "1.png")
    path = tmp_path / "l.csv"
    path.write_text(
        sign.join(["file", "label"]) + "\r\n" + sign.join(["1.png", '"a, b; c"']), encoding="utf-8-sig"
    )
    assert listed(tmp_path, labels=path).labels == ["a, b; c"]


def test_a_table_may_begin_with_empty_lines(tmp_path):
    make(tmp_path, "1.png")
    rows = table(tmp_path / "l.csv", "\n\nfile;label\n1.png;a,b\n")
    assert listed(tmp_path, labels=rows).labels == ["a,b"]
    rows = table(tmp_path / "l.csv", "\n\nfile,label\n1.png\n")
    refused(tmp_path, "Row 4 .* 1 cells", labels=rows)


def test_bare_names_with_and_without_suffix(tmp_path):
    make(tmp_path, "a/I_1.jpg", "b/I_2.jpg")
    by_name = table(tmp_path / "n.csv", "image,dx\nI_2.jpg,nv\nI_1.jpg,mel\n")
    by_stem = table(tmp_path / "s.csv", "image_id,dx\nI_2,nv\nI_1,mel\n")
    for path in (by_name, by_stem):
        assert listed(tmp_path, labels=path).labels == ["mel", "nv"]
    make(tmp_path, "b/I_1.jpg")
    refused(tmp_path, r"I_1\.jpg.* 2: .*, b/|I_2\.jpg.* 2: ", labels=by_name)


def test_tables_that_do_not_fit_are_refused(tmp_path):
    make(tmp_path / "in", *(f"{i}.png" for i in range(5)))
    for rows, words in {
        "file,label\n0.png,a\n7.png,b\n8.png,b\n": "2 files of 3 .*7.png, 8.png",
        "file,label\n0.png,a\n1.png,\n2.png,  \n": r"2 rows .*'label'.*row 3, 4",
        "file,label\n0.png,a\n0.png,b\n": r"1 file .*0\.png",
        "file,label\n../out.png,a\n": r"'\.\./out\.png'",
        "file,label\n/etc/x.png,a\n": r"does not hold \(/etc/x\.png\)",
        "file,label\n": r"l\.csv has no rows",
        "file,label\n0.png,a,b\n": "Row 2 .* 3 cells",
        "file,file\n0.png,a\n": "'file'",
        "file,label,,\n0.png,a,1,2\n": "two columns named ''",
        'file,label\n0.png,"a" b\n': "expected after",
        "what,label\n0.png,a\n": "--file-column.*what, label",
        '"file,label\n0.png': "unexpected end of data",
    }.items():
        refused(tmp_path / "in", words, labels=table(tmp_path / "l.csv", rows))
    good = table(tmp_path / "l.csv", "file,label\n0.png,a\n")
    refused(tmp_path / "in", "lable.*'label'", labels=good, label_column="lable")
    refused(tmp_path / "in", "--group-column .*'patient'", labels=good, group_column="patient")
    refused(tmp_path / "in", r"absent\.csv", labels=tmp_path / "absent.csv")
    refused(tmp_path / "in", "--label-column.*--labels", label_column="label")
    (tmp_path / "l.csv").write_bytes(b"file,label\n0.png,\xff\xfe\n")
    refused(tmp_path / "in", "UTF-8", labels=tmp_path / "l.csv")


def test_a_table_asked_for_must_have_labels_and_one_met_by_chance_need_not(tmp_path):
    make(tmp_path, "0.png", "1.png")
    rows = "file_name,kind,age\n0.png,a,1\n1.png,b,2\n"
    refused(
        tmp_path, r"l\.csv .*--label-column .*file_name, kind, age", labels=table(tmp_path / "l.csv", rows)
    )
    assert listed(tmp_path, labels=tmp_path / "l.csv", label_column="kind").labels == ["a", "b"]
    (tmp_path / "l.csv").rename(tmp_path / "metadata.csv")
    found = listed(tmp_path)
    assert (found.schema.kind, found.columns["kind"], found.doubts) == ("none", ["a", "b"], [])
    assert any("file_name, kind, age" in note for note in found.notes)
    refused(tmp_path, "--label-column", labels=tmp_path / "metadata.csv")


def test_missing_may_be_skipped_and_unnamed_images_are_told(tmp_path):
    make(tmp_path, *(f"{i}.png" for i in range(5)))
    rows = table(tmp_path / "l.csv", "file,label\n0.png,a\n1.png,\n9.png,b\n")
    found = listed(tmp_path, labels=rows, missing="skip")
    assert (found.refs, found.labels) == (["0.png"], ["a"])
    assert "2 rows" in found.doubts[0]
    assert "3 images" in found.doubts[1]


def test_tags_and_numbers():
    assert read_labels(["b|a", "a"], "multilabel", "t") == (
        LabelSchema("multilabel", ("a", "b")),
        [["a", "b"], ["a"]],
        [],
    )
    assert read_labels([["x"], []], "auto", "t")[1] == [["x"], []]
    numbers = LabelSchema("continuous", ("t",)), [[1.5], [2.0]], []
    assert read_labels(["1.5", "2"], "continuous", "t") == numbers
    assert read_labels([[1.0, 2.0]], "auto", "t")[0].names == ("t_0", "t_1")
    assert read_labels([3, 11, 3], "auto", "t")[0].names == ("3", "11")
    for values, kind in (
        (["1", "x"], "continuous"),
        (["1|2", "1"], "continuous"),
        ([["a"]], "categorical"),
        (["nan"], "continuous"),
    ):
        with pytest.raises(InputError):
            read_labels(values, kind, "t")


def test_cells_become_numbers_only_when_all_are():
    assert typed(["1", None, "-3"]) == [1, None, -3]
    assert typed(["1", "2.5"]) == [1.0, 2.5]
    assert typed(["01", "2"]) == ["01", "2"]
    assert typed(["1", "x"]) == ["1", "x"]
    assert typed(["0.5", "0"]) == [0.5, 0.0]
    assert typed(["1_0", "2"]) == ["1_0", "2"]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_hugging_face_convention_is_used_unasked(tmp_path, suffix):
    import pandas as pd

    make(tmp_path, "train/1.png", "train/2.png", "test/1.png")
    frame = pd.DataFrame(
        {"file_name": ["train/1.png", "train/2.png", "test/1.png"], "label": ["a", "b", "a"], "n": [1, 2, 3]}
    )
    write = {"csv": lambda p: frame.to_csv(p, index=False), "parquet": frame.to_parquet,
             "jsonl": lambda p: frame.to_json(p, orient="records", lines=True)}[suffix]  # fmt: skip
    write(tmp_path / f"metadata.{suffix}")
    found = listed(tmp_path)
    assert (found.refs, found.labels) == (["test/1.png", "train/1.png", "train/2.png"], ["a", "a", "b"])
    assert (found.parts, found.columns["n"]) == (["test", "train", "train"], [3, 1, 2])


def test_hugging_face_convention_inside_each_part(tmp_path):
    make(tmp_path, "train/1.png", "test/1.png")
    table(tmp_path / "train/metadata.csv", "file_name,label\n1.png,a\n")
    table(tmp_path / "test/metadata.csv", "file_name,label\n1.png,b\n")
    found = listed(tmp_path)
    assert list(zip(found.refs, found.labels, found.parts)) == [
        ("test/1.png", "b", "test"),
        ("train/1.png", "a", "train"),
    ]


@pytest.mark.parametrize("content", ["old_file_name,label\n1.png,z\n", "what,label\nfile_name,z\n"])
def test_a_metadata_table_that_names_no_files_is_not_used_unasked(tmp_path, content):
    make(tmp_path, "a/1.png", "b/1.png")
    table(tmp_path / "metadata.csv", content)
    found = listed(tmp_path)
    assert found.schema.names == ("a", "b")
    assert "metadata.csv" in found.doubts[0]


def test_labels_csv_is_not_used_unasked(tmp_path):
    make(tmp_path, "a/1.png", "b/1.png")
    table(tmp_path / "labels.csv", "file,label\na/1.png,z\n")
    found = listed(tmp_path)
    assert found.schema.names == ("a", "b")
    assert "labels.csv" in found.doubts[0]
    assert found.unused == {".csv": 1}
    refused(tmp_path, r"doubtful .*labels\.csv.*--strict", strict=True)


def test_table_with_a_split_column_and_folder_classes(tmp_path):
    make(tmp_path, "a/1.png", "b/1.png")
    path = table(tmp_path / "m.csv", "file,fold,split\na/1.png,1,training\nb/1.png,2,Valid\n")
    found = listed(tmp_path, labels=path, split_column="split")
    assert (found.labels, found.parts, found.columns) == (["a", "b"], ["train", "val"], {"fold": [1, 2]})
    refused(tmp_path, "'fold' has 1, 2", labels=path, split_column="fold")


# Arrays


def idx(path, array, packed=False):
    data = (
        struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()
    )
    path.write_bytes(gzip.compress(data) if packed else data)


def blocks(found, start=0):
    return np.concatenate(list(found.blocks(start)))


@pytest.mark.parametrize("packed", [False, True])
def test_idx_files_of_a_folder(tmp_path, packed):
    rng, end = np.random.default_rng(0), ".gz" if packed else ""
    x, y = rng.integers(0, 256, (600, 5, 4)), rng.integers(0, 12, 600)
    for part, cut in (("train", slice(0, 500)), ("t10k", slice(500, None))):
        idx(tmp_path / f"{part}-images-idx3-ubyte{end}", x[cut], packed)
        idx(tmp_path / f"{part}-labels-idx1-ubyte{end}", y[cut], packed)
    found = listed(tmp_path)
    assert found.parts == ["train"] * 500 + ["test"] * 100
    assert found.labels == [str(i) for i in y]
    assert found.channels == 1
    for start in (0, 300, 550):
        np.testing.assert_array_equal(blocks(found, start)[..., 0], x[start:])
    one = listed(tmp_path / f"t10k-images-idx3-ubyte{end}")
    assert (len(one), one.parts) == (100, None)


def test_broken_idx_files_are_refused(tmp_path):
    idx(tmp_path / "train-images-idx3-ubyte", np.zeros((3, 2, 2)))
    idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(4))
    refused(tmp_path, "train-labels-idx1-ubyte has 4 labels for 3 images")
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(b"\0\0\x08")
    refused(tmp_path, r"train-labels-idx1-ubyte .*requires a buffer of")
    idx(tmp_path / "train-labels-idx1-ubyte", np.zeros((3, 2)))
    refused(tmp_path, "train-labels-idx1-ubyte .*1 dimension")
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"\x1f\x8bnonsense")
    refused(tmp_path / "train-images-idx3-ubyte.gz", r"train-images-idx3-ubyte\.gz")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_with_parts_and_class_names(tmp_path, save):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (700, 4, 4, 3), np.uint8), rng.integers(0, 2, 700)
    save(
        tmp_path / "a.npz",
        x_train=x[:600],
        y_train=y[:600, None],
        x_test=x[600:],
        y_test=y[600:, None],
        class_names=["n", "t"],
    )
    found = listed(tmp_path / "a.npz")
    assert found.parts == ["train"] * 600 + ["test"] * 100
    assert found.labels == ["nt"[i] for i in y]
    for start in (0, 300, 650):
        np.testing.assert_array_equal(blocks(found, start), x[start:])


@pytest.mark.parametrize(
    "keys", [("images", "labels"), ("X", "y"), ("data", "targets"), ("arr_0", "arr_1"), ("foo", "labels")]
)
def test_npz_keys(tmp_path, keys):
    np.savez(tmp_path / "a.npz", **{keys[0]: np.zeros((3, 4, 4), np.uint8), keys[1]: np.array([2, 10, 2])})
    found = listed(tmp_path / "a.npz")
    assert (found.labels, found.schema.names, found.channels) == (["2", "10", "2"], ("2", "10"), 1)


def test_npz_of_other_types_and_layouts(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (5, 6, 7, 3), np.uint8)
    for array in (
        x / np.float32(255),
        x.astype(np.int64),
        x.astype(np.uint16) * 257,
        np.moveaxis(x, 3, 1),
        np.asfortranarray(x),
    ):
        np.savez(tmp_path / "a.npz", images=array)
        found = listed(tmp_path / "a.npz")
        assert found.schema.kind == "none"
        np.testing.assert_array_equal(blocks(found), x)
    np.savez(tmp_path / "a.npz", images=x[..., 0] > 127)
    np.testing.assert_array_equal(blocks(listed(tmp_path / "a.npz"))[..., 0], (x[..., 0] > 127) * 255)


def test_npz_label_vectors(tmp_path):
    x = np.zeros((3, 4, 4), np.uint8)
    for y, kind, labels in (
        (np.eye(3), "categorical", ["0", "1", "2"]),
        (np.array([[1, 1], [0, 0], [0, 1]]), "multilabel", [["0", "1"], [], ["1"]]),
        (np.array([[0.5, 1], [0, 0], [0, 1]]), "continuous", [[0.5, 1], [0, 0], [0, 1]]),
        (np.array([0.5, 1, 2]), "continuous", [[0.5], [1], [2]]),
        (np.array([1.0, 0.0, 1.0]), "categorical", ["1", "0", "1"]),
        (np.array(["u", "v", "u"]), "categorical", ["u", "v", "u"]),
    ):
        np.savez(tmp_path / "a.npz", x=x, y=y)
        found = listed(tmp_path / "a.npz")
        assert (found.schema.kind, found.labels) == (kind, labels)


class Trap:
    """Leaves a mark when unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def test_npz_that_cannot_be_used_is_refused(tmp_path):
    path, x = tmp_path / "a.npz", np.zeros((3, 4, 4), np.uint8)
    for arrays, words in (
        ({"images": np.array([Trap()] * 3, object)}, "'images'.*pickled"),
        ({"images": x, "labels": np.array([Trap()] * 3, object)}, "'labels'.*pickled"),
        ({"images": x, "labels": np.zeros(2, int)}, "'labels' in .* 2 labels for 3 images"),
        ({"images": x, "labels": np.array([0, 1, 2]), "class_names": ["a", "b"]}, "2 and only 2 class"),
        ({"images": x, "labels": np.array([0.5, np.nan, 1])}, "1 label.*NaN"),
        ({"images": np.zeros((3, 5, 5, 2), np.uint8)}, "N×H×W"),
        ({"images": np.zeros((0, 4, 4), np.uint8)}, "N×H×W"),
        ({"images": np.full((3, 4, 4), -1.0)}, "'images'.* -1 to -1"),
        ({"images": np.full((3, 4, 4), np.nan)}, "'images'.*NaN"),
        ({"foo": np.zeros(3), "bar": np.zeros(3)}, "foo, bar"),
        ({"x_train": x, "y_train": np.zeros(3, int), "x_test": x}, r"parts of .*a\.npz have labels"),
        ({"x_train": x, "x_test": np.zeros((3, 5, 5), np.uint8)}, r"parts of .*a\.npz .*shapes"),
    ):
        np.savez(path, **arrays)
        refused(path, words)
    path.write_bytes(path.read_bytes()[:100])
    refused(path, r"a\.npz .*not a zip file")


def npy(shape, data, dtype="|u1", fortran=False):
    """An .npy file with a header of one's own choice."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": dtype, "fortran_order": fortran, "shape": shape})
    return out.getvalue() + data


def test_npz_whose_header_lies_or_swells_is_refused(tmp_path):
    path, sound = tmp_path / "a.npz", npy((3, 4, 4), bytes(48))
    huge = 20_000
    for members, words in (
        ({"images": npy((10**9, 64, 64), bytes(48))}, "'images'.* 4,096,000,000,000 bytes and 48"),
        ({"images": npy((3, 4, 3), bytes(48))}, "'images'.* 36 bytes and 48"),
        ({"images": npy((-3, -4, 4), bytes(48))}, r"'images'.* \(-3, -4, 4\); images are N×H×W"),
        ({"images": npy((1, huge, huge), b"")}, "'images'.* 400,000,000 bytes and 0"),
        (
            {"images": sound, "labels": npy((10**12,), bytes(3), "<i8")},
            "'labels'.* 8,000,000,000,000 bytes and 3",
        ),
        ({"images": sound, "labels": npy((), b"\0")}, "'labels' in .* 0 labels for 3 images"),
    ):
        refused(zipped(path, {f"{key}.npy": data for key, data in members.items()}), words)


def test_npz_bombs_are_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    monkeypatch.setattr("plenish.datasets.sources.pieces.MAX_PIXELS", 4000)
    np.savez(path, images=np.zeros((1, 60, 70), np.uint8))
    refused(path, "70×60 pixels")
    monkeypatch.setattr("plenish.datasets.sources.pieces.MAX_BYTES", 2 * 10**5)
    np.savez_compressed(path, images=np.zeros((200, 40, 40), np.uint8))
    refused(path, "'images'.* 0.0 MiB to 0 MiB")
    noise = np.random.default_rng(0).integers(0, 256, (200, 40, 40), np.uint8)
    np.savez_compressed(path, images=noise)
    np.testing.assert_array_equal(blocks(listed(path))[..., 0], noise)
    monkeypatch.setattr("plenish.datasets.sources.npz.MAX_BYTES", 1000)
    np.savez(path, images=noise, labels=np.zeros(200))
    refused(path, "'labels'.* 0 MiB")


@pytest.mark.parametrize("packed", [False, True])
def test_idx_whose_header_lies_or_swells_is_refused(tmp_path, monkeypatch, packed):
    end = ".gz" if packed else ""
    path = tmp_path / f"train-images-idx3-ubyte{end}"
    pack = gzip.compress if packed else bytes
    path.write_bytes(pack(struct.pack(">HBBIII", 0, 8, 3, 2**31, 1, 1) + bytes(16)))
    refused(path, "2,147,483,648 bytes")
    path.write_bytes(pack(struct.pack(">HBBIII", 0, 8, 3, 1, 2**16, 2**16)))
    refused(path, "65,536×65,536 pixels")
    path.write_bytes(pack(struct.pack(">HBBIII", 0, 8, 3, 4, 2, 2) + bytes(16)))
    labels = tmp_path / f"train-labels-idx1-ubyte{end}"
    labels.write_bytes(pack(struct.pack(">HBBI", 0, 8, 1, 4) + bytes(4)))
    assert listed(path).labels == ["0"] * 4
    labels.write_bytes(pack(struct.pack(">HBBI", 0, 8, 1, 2**31) + bytes(4)))
    refused(path, "labels-idx1-ubyte.* 2,147,483,648 bytes")
    if packed:
        monkeypatch.setattr("plenish.datasets.sources.pieces.MAX_BYTES", 2 * 10**5)
        path.write_bytes(pack(struct.pack(">HBBIII", 0, 8, 3, 500, 20, 20) + bytes(200_000)))
        refused(path, "0.0 MiB to 0 MiB")
    else:
        path.write_bytes(path.read_bytes() + b"more")
        refused(path, "16 bytes and 20")


# Zip archives


def zipped(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_stylegan_zip(tmp_path):
    images = {f"00000/img{i:08d}.png": png(i) for i in range(3)}
    for labels, kind, expected in (
        ([0, 10, 2], "categorical", ["0", "10", "2"]),
        ([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]], "categorical", ["0", "1", "0"]),
        ([[0.2, 0.0], [0.0, 1.0], [1.0, 0.0]], "continuous", [[0.2, 0.0], [0.0, 1.0], [1.0, 0.0]]),
        (None, "none", None),
    ):
        pairs = None if labels is None else [[name, label] for name, label in zip(images, labels)]
        found = listed(zipped(tmp_path / "a.zip", images | {"dataset.json": json.dumps({"labels": pairs})}))
        assert (found.schema.kind, found.labels, found.refs) == (kind, expected, list(images))
    assert found.root == str(tmp_path / "a.zip")


def test_plain_zip_is_read_like_folders(tmp_path):
    found = listed(
        zipped(tmp_path / "a.zip", {f"d/{p}/{c}/1.png": png() for p in ("train", "val") for c in "ab"})
    )
    assert (found.schema.names, found.parts) == (("a", "b"), ["train", "train", "val", "val"])


@pytest.mark.parametrize(
    "name", ["../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:/evil.png"]
)
def test_zip_that_leads_outside_is_refused(tmp_path, name):
    refused(zipped(tmp_path / "a.zip", {"a/1.png": png(), name: png()}), re.escape(repr(name)))


def test_zips_that_cannot_be_used_are_refused(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(b"PK no zip")
    refused(path, r"a\.zip .*not a zip file")
    refused(zipped(path, {"a.txt": "x"}), r"a\.zip.*PNG")
    image = {"1.png": png()}
    for content in ("[]", "{", '{"labels": [["1.png"]]}', '{"labels": 3}', '{"other": 1}'):
        refused(zipped(path, image | {"dataset.json": content}), "dataset.json in .*StyleGAN")
    refused(
        zipped(path, image | {"dataset.json": '{"labels": [["2.png", 1]]}'}),
        r"dataset.json .*1 image \(1\.png\)",
    )
    refused(
        zipped(path, image | {"2.png": png(), "dataset.json": '{"labels": [["1.png", 1], ["2.png", [1]]]}'}),
        "dataset.json .*kinds",
    )
    for labels in ([1, "x"], [1, None], [1, float("nan")], [[1], [2]]):
        manifest = json.dumps({"labels": [["1.png", labels]]})
        refused(zipped(path, image | {"dataset.json": manifest}), "dataset.json .*finite numbers")


@pytest.mark.parametrize("text", ['{"version": 3}', "[1, 2]", "{", "7"])
def test_an_unrelated_manifest_inside_a_class_zip_is_passed_over(tmp_path, text):
    images = {f"{c}/{i}.png": png() for c in "ab" for i in range(2)}
    found = listed(zipped(tmp_path / "a.zip", images | {"a/dataset.json": text}))
    assert (found.labels, found.refs) == (["a", "a", "b", "b"], list(images))
    pairs = {"labels": [[f"{i}.png", i] for i in range(2)]}
    wrapped = {f"top/{i}.png": png() for i in range(2)} | {"top/dataset.json": json.dumps(pairs)}
    assert listed(zipped(tmp_path / "b.zip", wrapped)).labels == ["0", "1"]


@pytest.mark.parametrize("line", ["3", "[1]", '"file_name"', "null"])
def test_metadata_that_is_no_object_is_refused(tmp_path, line):
    make(tmp_path, "1.png")
    (tmp_path / "metadata.jsonl").write_text(line + '\n{"file_name": "1.png"}\n')
    refused(tmp_path, r"Line 1 of .*metadata\.jsonl")
