"""What names, tables and cells of a source mean: the same whatever packs or writes them, and always told."""

import io
import json
import tarfile
import unicodedata
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from plenish import cli
from plenish.datasets.dataset import Dataset
from plenish.datasets.importing import import_dataset
from plenish.datasets.sources.labels import class_names, read_groups, read_labels, read_parts
from plenish.datasets.sources.listing import SourceOptions, alike
from plenish.errors import InputError


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)).save(path)


def tree(root, *names):
    for seed, name in enumerate(names):
        picture(root / name, seed)
    return root


_NUMBER = iter(range(10**6))


def imported(source, tmp_path, **options):
    """The Dataset of a source, its table and what the import kept about it."""
    out = tmp_path / f"out{next(_NUMBER)}"
    data = import_dataset(source, out, 16, reading=SourceOptions(**options)).dataset
    return data, pd.read_parquet(out / "samples.parquet"), data.manifest.extra["import"]


def said(capfd, *words):
    """What the command line prints to an import of these words, and its exit code."""
    code = cli.run(["import", *map(str, words)])
    return code, " ".join(capfd.readouterr().err.split())


def text(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
    return path


# Containers


def _zip(source, out, name=str):
    with zipfile.ZipFile(out, "w") as archive:
        for path in sorted(source.rglob("*")):
            if path.is_file():
                archive.write(path, name(path.relative_to(source).as_posix()))
            else:
                archive.writestr(path.relative_to(source).as_posix() + "/", b"")
    return out


def _tar(source, out, prefix=""):
    with tarfile.open(out, "w:" + {".gz": "gz", ".xz": "xz", ".bz2": "bz2"}.get(out.suffix, "")) as archive:
        for path in sorted(source.rglob("*")):
            archive.add(path, prefix + path.relative_to(source).as_posix(), recursive=False)
    return out


def _classes(root):
    tree(root, "a/0.png", "b/1.png", "b/deep/2.png", "stray.png")
    (root / "c").mkdir()
    text(root / "b/scan.cr2", "x")


def _parts(root):
    tree(root, "train/a/0.png", "test/a/1.png", "test/b/2.png")


def _stylegan(root):
    names = [f"0000{i // 2}/img{i:08d}.png" for i in range(4)]
    tree(root, *names)
    text(root / "dataset.json", json.dumps({"labels": [[name, i % 2] for i, name in enumerate(names)]}))


def _metadata(root):
    tree(root, "0.png", "1.png")
    text(root / "metadata.csv", "file_name,label,n\n0.png,a,1\n1.png,b,2\n")


def _metadata_of_parts(root):
    tree(root, "train/0.png", "test/0.png")
    text(root / "train/metadata.jsonl", '{"file_name": "0.png", "label": "a"}\n')
    text(root / "test/metadata.jsonl", '{"file_name": "0.png", "label": "b"}\n')


def _beside(root):
    tree(root, "x/0.png", "x/1.png")
    for i in range(2):
        text(root / f"x/{i}.json", json.dumps({"label": "ab"[i], "age": 40 + i}))
        text(root / f"x/{i}.txt", f"caption {i}")


def _shards(root):
    tree(root, *(f"0000{i // 3}/img{i:08d}.png" for i in range(6)))


@pytest.mark.parametrize(
    "make", [_classes, _parts, _stylegan, _metadata, _metadata_of_parts, _beside, _shards]
)
def test_a_tree_gives_the_same_dataset_whatever_packs_it(tmp_path, make):
    root = tmp_path / "tree"
    make(root)
    data, table, about = imported(root, tmp_path)
    packed = [
        _zip(root, tmp_path / "a.zip"), _zip(root, tmp_path / "a.cbz"),
        _zip(root, tmp_path / "backslashes.zip", lambda name: name.replace("/", "\\")),
        _tar(root, tmp_path / "a.tar"), _tar(root, tmp_path / "dot.tar", "./"),
        *(_tar(root, tmp_path / f"a.tar.{suffix}") for suffix in ("gz", "xz", "bz2")),
    ]  # fmt: skip
    for source in packed:
        other, same, told = imported(source, tmp_path)
        pd.testing.assert_frame_equal(table, same, obj=source.name)
        assert (tmp_path / data.path.name / "samples.parquet").read_bytes() == (
            other.path / "samples.parquet"
        ).read_bytes()
        assert (data.manifest.labels, data.manifest.pixels_hash) == (
            other.manifest.labels, other.manifest.pixels_hash,
        )  # fmt: skip
        assert data.split_names() == other.split_names()
        assert [data.split(n).manifest["hash"] for n in data.split_names()] == [
            other.split(n).manifest["hash"] for n in other.split_names()
        ]
        assert (about["meaning"], about["unused"]) == (told["meaning"], told["unused"])
        assert [text.replace("folder", "") for text in about["warnings"]] == [
            text.replace("folder", "").replace(source.name, "tree") for text in told["warnings"]
        ]


def test_a_table_gives_the_same_dataset_whatever_writes_it(tmp_path):
    root = tree(tmp_path / "tree", *(f"{i}.png" for i in range(4)))
    frame = pd.DataFrame({
        "file": [f"{i}.png" for i in range(4)], "label": [0, 1, 1, 0], "patient": ["P1", None, "P2", "P1"],
        "age": [1.5, None, 3.0, 4.0], "n": [1, 2, 3, 4], "left": [True, False, True, True],
        "note": list("äb,;"),
    })  # fmt: skip
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    (tmp_path / "t.tab").write_bytes((tmp_path / "t.tsv").read_bytes())
    semicolons = frame.to_csv(index=False, sep=";")
    text(tmp_path / "excel.csv", "sep=;\n" + semicolons)
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    frame.to_json(tmp_path / "t.json", orient="records")
    frame.to_parquet(tmp_path / "t.parquet")
    first = None
    for name in ("t.csv", "t.tsv", "t.tab", "excel.csv", "t.jsonl", "t.json", "t.parquet"):
        data, table, _ = imported(root, tmp_path, labels=tmp_path / name, group_column="patient")
        first = table if first is None else first
        pd.testing.assert_frame_equal(first, table, obj=name)
        assert data.labels.names == ("0", "1")
    assert first["group"].fillna("none").tolist() == ["P1", "none", "P2", "P1"]
    assert first["left"].dtype == bool
    assert first["n"].dtype == np.int64


@pytest.mark.parametrize("cut", [10, 700, -700])
def test_damaged_archives_are_refused_or_their_images_rejected(tmp_path, cut, capfd):
    root = tree(tmp_path / "tree", *(f"a/{i}.png" for i in range(20)))
    for source in (
        _zip(root, tmp_path / "a.zip"),
        _tar(root, tmp_path / "a.tar"),
        _tar(root, tmp_path / "a.tgz"),
    ):
        source.write_bytes(source.read_bytes()[:cut])
        code = cli.run(["import", str(source), str(tmp_path / f"out{source.suffix}"), "--size", "8"])
        told = capfd.readouterr().err
        if code == 2:
            assert source.name in told
            assert "fetch or pack it again" in told or "no images" in told
        else:
            data = Dataset.open(tmp_path / f"out{source.suffix}")
            assert data.manifest.extra["rejected"] + data.manifest.count == 20


def test_members_outside_an_archive_are_refused(tmp_path):
    picture(tmp_path / "1.png")
    for name in ("../evil.png", "/etc/evil.png", "a/../../evil.png", "..\\evil.png", "C:\\evil.png"):
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            archive.add(tmp_path / "1.png", name)
            archive.getmembers()[0].name = name
        with tarfile.open(tmp_path / "a.tar", "w") as archive:
            info = archive.gettarinfo(tmp_path / "1.png")
            info.name = name
            archive.addfile(info, (tmp_path / "1.png").open("rb"))
        with pytest.raises(InputError, match="outside it"):
            imported(tmp_path / "a.tar", tmp_path)


def test_links_in_an_archive_are_passed_over(tmp_path):
    root = tree(tmp_path / "tree", "a/0.png", "b/1.png")
    (root / "a/passwd.png").symlink_to("/etc/passwd")
    assert imported(_tar(root, tmp_path / "a.tar"), tmp_path)[0].manifest.count == 2


# What is not used, and what is doubtful


def test_files_that_are_not_read_are_counted_told_and_kept(tmp_path, capfd):
    tree(tmp_path / "in", "a/0.png", "a/1.png")
    for i in range(5):
        text(tmp_path / f"in/a/{i}.psd", "x")
        text(tmp_path / f"in/b/{i}.cr2", "x")
    text(tmp_path / "in/README.md", "x")
    code, told = said(capfd, tmp_path / "in", tmp_path / "out", "--size", "8")
    assert code == 0
    assert "10 files that Plenish does not read left out (5 .psd, 5 .cr2; the first is a/0.psd)" in told
    assert "Labels (categorical) come from names of folders: a (2)." in told
    assert "Not used: 5 .cr2, 5 .psd, 1 .md." in told
    kept = Dataset.open(tmp_path / "out").manifest.extra["import"]
    assert kept["unused"] == {".cr2": 5, ".psd": 5, ".md": 1}
    assert kept["meaning"] == {"label": "names of folders"}
    assert any(".psd" in doubt for doubt in kept["warnings"])


def test_strict_stops_at_every_doubt_and_writes_nothing(tmp_path, capfd):
    cases = {
        "skipped": ["a/0.png", "b/1.png", "a/2.psd"],
        "beside": ["a/0.png", "b/1.png", "a/0.json"],
        "table": ["a/0.png", "b/1.png", "labels.csv"],
        "list": ["a/0.png", "b/1.png", "train_labels.txt"],
        "alike": ["a/0.png", "A/1.png"],
        "shards": ["000/0.png", "001/1.png"],
        "stray": ["a/0.png", "b/1.png", "2.png"],
    }
    for name, files in cases.items():
        tree(tmp_path / name, *(file for file in files if file.endswith("png")))
        for file in files:
            if not file.endswith("png"):
                text(tmp_path / name / file, "{}")
        code, told = said(capfd, tmp_path / name, tmp_path / "out", "--size", "8", "--strict")
        assert code == 2, name
        assert "doubtful" in told, name
        assert not list(tmp_path.glob("out*")), name
    tree(tmp_path / "clear", "a/0.png", "b/1.png")
    text(tmp_path / "clear/LICENSE.txt", "x")
    assert said(capfd, tmp_path / "clear", tmp_path / "out", "--size", "8", "--strict")[0] == 0


def test_files_beside_some_images_only_are_not_used_but_told(tmp_path):
    tree(tmp_path / "in", "0.png", "1.png")
    text(tmp_path / "in/0.json", '{"label": "a"}')
    data, _, about = imported(tmp_path / "in", tmp_path)
    assert data.labels.kind == "none"
    assert "1.png, have none" in about["warnings"][0]
    text(tmp_path / "in/1.json", "[1]")
    with pytest.raises(InputError, match=r"1\.json is not a JSON object"):
        imported(tmp_path / "in", tmp_path)


def test_webdataset_members_have_their_classes(tmp_path):
    root = tree(tmp_path / "in", "000.png", "001.png")
    text(root / "000.cls", "1")
    text(root / "001.cls", "0")
    data, table, _ = imported(_tar(root, tmp_path / "a.tar"), tmp_path)
    assert (data.labels.names, table["label"].tolist()) == (("0", "1"), ["1", "0"])


# Folders


def test_numbered_portions_are_no_classes_and_numbered_classes_are(tmp_path):
    _shards(tmp_path / "shards")
    data, _, about = imported(tmp_path / "shards", tmp_path)
    assert data.labels.kind == "none"
    assert "--folders class" in about["warnings"][0]
    data, _, about = imported(tmp_path / "shards", tmp_path, folders=("class",))
    assert data.labels.names == ("00000", "00001")
    assert about["warnings"] == []
    tree(tmp_path / "restarting", *(f"0000{c}/0000{c}_{i:05d}.png" for c in range(2) for i in range(3)))
    assert imported(tmp_path / "restarting", tmp_path)[0].labels.names == ("00000", "00001")
    tree(tmp_path / "digits", *(f"{c}/{3 * c + i}.png" for c in range(3) for i in range(3)))
    assert imported(tmp_path / "digits", tmp_path)[0].labels.names == ("0", "1", "2")


def test_levels_of_folders_mean_what_is_said(tmp_path):
    root = tree(
        tmp_path / "in", "x/benign/P1/40X/0.png", "x/benign/P1/100X/1.png", "x/malignant/P2/40X/2.png"
    )
    _, table, about = imported(root, tmp_path, folders=("class", "group", "magnification"))
    assert table["label"].tolist() == ["benign", "benign", "malignant"]
    assert table["group"].tolist() == ["P1", "P1", "P2"]
    assert sorted(table["magnification"]) == ["100X", "40X", "40X"]
    assert about["meaning"] == {"label": "names of folders", "group": "names of folders"}
    data, _, _ = imported(root, tmp_path, folders=("ignore",))
    assert data.labels.kind == "none"
    with pytest.raises(InputError, match="so many folders"):
        imported(root, tmp_path, folders=("class", "group", "a", "b", "c", "d"))
    with pytest.raises(InputError, match="'--folders source': give"):
        imported(root, tmp_path, folders=("source",))


# Cells


def test_words_for_nothing_are_no_class_and_no_patient(tmp_path, capfd):
    root = tree(tmp_path / "in", *(f"{i}.png" for i in range(5)))
    rows = "file,label,group\n0.png,a,p1\n1.png,NA,NaN\n2.png,None,NaN\n3.png,#N/A,p2\n4.png,b,NaN\n"
    labels = text(tmp_path / "l.csv", rows)
    code, told = said(capfd, root, tmp_path / "out", "--labels", labels)
    assert code == 2
    assert "3 rows without a label in column 'label' (row 3, 4, 5, which say #N/A, NA, None)" in told
    data, table, about = imported(root, tmp_path, labels=labels, missing="skip", group_column="group")
    assert data.labels.names == ("a", "b")
    assert table["group"].fillna("none").tolist() == ["p1", "none"]
    assert any("1 image has no group" in doubt for doubt in about["warnings"])
    data, _, _ = imported(root, tmp_path, labels=labels, missing_words=("none",))
    assert data.labels.names == ("#N/A", "NA", "None", "a", "b")


@pytest.mark.parametrize(
    ("cells", "names"),
    [
        (["1", "1.0", "0", "0.0"], ["1", "1", "0", "0"]),
        ([1.0, 2.0], ["1", "2"]),
        ([1, "2", 3.0], ["1", "2", "3"]),
        (["01", "1"], ["01", "1"]),
        (["1", "x"], ["1", "x"]),
        (["1.0", "x"], ["1.0", "x"]),
        ([True, False], ["True", "False"]),
        (["12345678901234567890"], ["12345678901234567890"]),
        (["+1", "-1"], ["1", "-1"]),
        (["1_0", "2"], ["1_0", "2"]),
        (["inf", "1"], ["inf", "1"]),
        (["²", "1"], ["²", "1"]),
    ],
)
def test_whole_numbers_are_one_class_however_written(cells, names):
    assert class_names(cells) == names


@pytest.mark.parametrize(
    ("cells", "kind", "values", "doubtful"),
    [
        (["0.13", "0.72"], "continuous", [[0.13], [0.72]], True),
        ([0.5, 1.0], "continuous", [[0.5], [1.0]], True),
        (["['a', 'b']", "['a']", "[]"], "multilabel", [["a", "b"], ["a"], []], False),
        (['["a", "b"]', "[]"], "multilabel", [["a", "b"], []], False),
        (["[0.5, 1.5]", "[1.0, 2.0]"], "continuous", [[0.5, 1.5], [1.0, 2.0]], False),
        (["a|b", "a"], "multilabel", [["a", "b"], ["a"]], True),
        ([[{"id": 1, "name": "1girl"}, {"id": 2, "name": "solo"}]], "multilabel", [["1girl", "solo"]], False),
        ([{"name": "a"}, {"name": "b"}], "categorical", ["a", "b"], False),
        (["[a", "b]"], "categorical", ["[a", "b]"], False),
        (["a, b", "a"], "categorical", ["a, b", "a"], True),
        (["c, d", "a"], "categorical", ["c, d", "a"], False),
        (["0,5", "1,25", "2"], "continuous", [[0.5], [1.25], [2.0]], True),
        ([b"a", b"\xff"], "categorical", ["a", "\\xff"], False),
        ([f"id{i}" for i in range(30)], "categorical", [f"id{i}" for i in range(30)], True),
        ([("a",), ("b",)], "multilabel", [["a"], ["b"]], False),
    ],
)
def test_what_kind_of_label_a_column_holds(cells, kind, values, doubtful):
    schema, found, doubts = read_labels(cells, "auto", "x")
    assert (schema.kind, found, bool(doubts)) == (kind, values, doubtful)


def test_separators_of_tags():
    assert read_labels(["1girl solo"], "auto", "tag_string")[1] == [["1girl", "solo"]]
    assert read_labels(["a, b", "b"], "auto", "t", ",")[1] == [["a", "b"], ["b"]]
    assert read_labels(["a|b", "a"], "categorical", "t")[1] == ["a|b", "a"]
    with pytest.raises(InputError, match="objects without a name"):
        read_labels([{"x": 1}], "auto", "t")
    deep = "[" * 50_000 + "]" * 50_000
    assert read_labels([deep[1:-1]], "auto", "t")[0].kind == "categorical"


def test_groups_and_classes_that_look_alike_are_told(tmp_path):
    assert read_groups(["007", None, "7", "nan", 3.0]) == ["007", None, "7", None, "3"]
    assert read_groups([1.0, float("nan")]) == ["1", None]
    told = alike(["007", "07", "7", "P 1", "p1", "p_1", "x"], "groups")
    assert "'007', '07' and '7'" in told[0]
    assert "1 more" in told[0]
    root = tree(tmp_path / "in", "0.png", "1.png")
    labels = text(tmp_path / "l.csv", "file,label,patient\n0.png,a,07\n1.png,b,7\n")
    doubts = imported(root, tmp_path, labels=labels, group_column="patient")[2]["warnings"]
    assert "groups '07' and '7'" in doubts[0]


def test_parts_may_have_other_words():
    assert read_parts([1, 2.0, "3"], "fold", ["1=train", "2=val", "3=test"]) == ["train", "val", "test"]
    assert read_parts(["Train", "DEV"], "split") == ["train", "val"]
    with pytest.raises(InputError, match="'--split-map 3=…'"):
        read_parts(["1", "3"], "fold", ["1=train"])
    assert read_parts(["training_set", "hold-out"], "split") == ["train", "test"]
    with pytest.raises(InputError, match="no part for 1 image"):
        read_parts(["train", None], "split")
    with pytest.raises(InputError, match="WORD=train"):
        read_parts(["1"], "fold", ["1=validation"])


def test_one_hot_columns_and_names_of_classes(tmp_path, capfd):
    root = tree(tmp_path / "in", "0.png", "1.png", "2.png")
    labels = text(tmp_path / "l.csv", "file,MEL,NV\n0.png,1,0\n1.png,0,1.0\n2.png,0,1\n")
    code, told = said(capfd, root, tmp_path / "out", "--labels", labels)
    assert code == 2
    assert "'--label-columns MEL NV'" in told
    data, table, _ = imported(root, tmp_path, labels=labels, label_columns=("MEL", "NV"))
    assert (data.labels.kind, table["label"].tolist()) == ("categorical", ["MEL", "NV", "NV"])
    data, table, _ = imported(
        root, tmp_path, labels=labels, label_columns=("MEL", "NV"), class_names=("MEL=melanoma",)
    )
    assert (data.labels.names, table["label"].tolist()) == (("melanoma", "NV"), ["melanoma", "NV", "NV"])
    for names, words in ((("X=1",), "Unknown class"), (("MEL",), "OLD=NEW"), (("MEL=NV",), "one name")):
        with pytest.raises(InputError, match=words):
            imported(root, tmp_path, labels=labels, label_columns=("MEL", "NV"), class_names=names)
    bad = text(tmp_path / "b.csv", "file,MEL,NV\n0.png,1,0\n1.png,,1\n2.png,0,1\n")
    with pytest.raises(InputError, match=r"MEL, NV need a number .* row 2"):
        imported(root, tmp_path, labels=bad, label_columns=("MEL", "NV"))


def test_nested_numbers_stay_numbers(tmp_path):
    root = tree(tmp_path / "in", "0.png", "1.png")
    rows = [
        {"file_name": f"{i}.png", "label": "a", "box": [[1, 2, 3, 4.5]], "o": {"n": [1, 2]}} for i in range(2)
    ]
    text(root / "metadata.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    _, table, _ = imported(root, tmp_path)
    assert np.array(table["box"][0].tolist()).tolist() == [[1, 2, 3, 4.5]]
    assert table["o"][0]["n"].tolist() == [1, 2]


# Names of files


def test_names_that_nearly_match_are_found_row_by_row(tmp_path):
    root = tree(tmp_path / "in", "0.png", "1.png", "2.png", "3.png", "x/é.png", "x/5.png", "y/5.png")
    decomposed = unicodedata.normalize("NFD", "é.png")
    rows = "file,label\n0.png,a\n1,b\n2.PNG,a\n/home/someone/data/3.png,b\n"
    rows += f"{decomposed},a\nX\\5.png,b\nz/y/5.png,a\n"
    _, table, about = imported(root, tmp_path, labels=text(tmp_path / "l.csv", rows))
    assert dict(zip(table["source"], table["label"])) == {
        "0.png": "a", "1.png": "b", "2.png": "a", "3.png": "b", "x/é.png": "a", "x/5.png": "b",
        "y/5.png": "a",
    }  # fmt: skip
    assert "5 names were matched" in about["warnings"][0]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("5.png", "names '5.png', and there are 2: x/5.png, y/5.png"),
        ("x/0.png", "does not hold"),
        ("image_one.png", "the most similar name is 'image_ones.png'"),
        ("../0.png", "lies outside"),
        ("/else/where/nothing.png", "does not hold"),
        ("C:\\data\\5.png", "there are 2|does not hold"),
    ],
)
def test_names_that_may_mean_another_file_are_refused(tmp_path, name, words):
    root = tree(tmp_path / "in", "0.png", "x/5.png", "y/5.png", "image_ones.png")
    labels = text(tmp_path / "l.csv", f"file,label\n{name},a\n")
    with pytest.raises(InputError, match=words):
        imported(root, tmp_path, labels=labels)


# Values


def test_dark_images_are_named_and_windows_kept(tmp_path, capfd):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    (tmp_path / "in/a").mkdir(parents=True)
    Image.fromarray(ramp >> 4).save(tmp_path / "in/a/dark.png")
    Image.fromarray(ramp).save(tmp_path / "in/a/full.png")
    code, told = said(capfd, tmp_path / "in", tmp_path / "out", "--size", "64")
    assert code == 0
    assert "1 16-bit image uses only values up to 4095" in told
    assert "a/dark.png" in told
    assert "'--bits 12'" in told
    for name, words in (("bits", ["--bits", "12"]), ("window", ["--window", "0", "4095"])):
        assert said(capfd, tmp_path / "in", tmp_path / name, "--size", "64", *words)[0] == 0
        data = Dataset.open(tmp_path / name)
        kept = {"low": 0, "high": 4095, "percentile": False}
        assert data.manifest.extra["import"]["window"] == kept
        pixels = np.load(data.path / "pixels/00000.npy")[0]
        assert len(np.unique(pixels)) > 100
    assert said(capfd, tmp_path / "in", tmp_path / "each", "--size", "64", "--window", "percentile")[0] == 0
    for words in (
        ["--bits", "17"],
        ["--window", "5"],
        ["--window", "9", "3"],
        ["--bits", "8", "--window", "1", "2"],
    ):
        assert said(capfd, tmp_path / "in", tmp_path / "no", *words)[0] == 2
    tree(tmp_path / "eight", "0.png")
    assert (
        "changed nothing"
        in said(capfd, tmp_path / "eight", tmp_path / "e", "--size", "16", "--bits", "12")[1]
    )


def test_grey_images_stored_as_colours_have_one_channel(tmp_path):
    for i in range(3):
        levels = np.random.default_rng(i).integers(0, 256, (16, 16), np.uint8)
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(np.stack([levels] * 3, 2)).save(tmp_path / f"in/{i}.png")
    assert imported(tmp_path / "in", tmp_path)[0].channels == 1
    picture(tmp_path / "in/3.png")
    assert imported(tmp_path / "in", tmp_path)[0].channels == 3


# Parquet files with the images inside


def _hub(path, rows, names=None, group_size=2, image="image"):
    """A Parquet file as `datasets` writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {image: pa.array([row.pop("image") for row in rows], kind)}
    columns |= {key: pa.array([row[key] for row in rows]) for key in rows[0]}
    table = pa.table(columns)
    if names:
        features = {image: {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=group_size)
    return path


def _encoded(seed):
    out = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": f"{seed}.png"}


def test_parquet_files_of_the_hub_are_imported_with_names_parts_and_columns(tmp_path):
    names = ["benign", "malignant"]
    made = {
        "data/train-00000-of-00002.parquet": [0, 1, 2], "data/train-00001-of-00002.parquet": [3, 4],
        "data/validation-00000-of-00001.parquet": [5],
    }  # fmt: skip
    for name, seeds in made.items():
        rows = [{"image": _encoded(s), "label": s % 2, "patient_id": f"P{s}", "age": 40 + s} for s in seeds]
        _hub(tmp_path / "in" / name, rows, names)
    data, table, about = imported(tmp_path / "in", tmp_path, group_column="patient_id")
    assert data.labels.names == ("benign", "malignant")
    assert table["label"].tolist() == [names[s % 2] for s in range(6)]
    assert table["group"].tolist() == [f"P{s}" for s in range(6)]
    assert table["age"].tolist() == list(range(40, 46))
    assert data.split().part_of.tolist() == ["train"] * 5 + ["val"]
    assert about["meaning"]["split"] == "names of the files"
    folder = tree(tmp_path / "folder", *(f"{s}.png" for s in range(6)))
    assert imported(folder, tmp_path)[0].manifest.pixels_hash == data.manifest.pixels_hash


def test_one_parquet_file_and_rows_without_a_label_or_an_image(tmp_path, capfd):
    rows = [{"image": _encoded(s), "label": label} for s, label in enumerate([0, 1, -1])]
    path = _hub(tmp_path / "a.parquet", rows, ["x", "y"])
    code, told = said(capfd, path, tmp_path / "out", "--size", "16")
    assert code == 2
    assert "1 row without a label" in told
    assert imported(path, tmp_path, missing="skip")[1]["label"].tolist() == ["x", "y"]
    rows = [{"image": {"bytes": None, "path": "x.png"}, "label": 0}, {"image": _encoded(0), "label": 1}]
    data, table, _ = imported(_hub(tmp_path / "b.parquet", rows), tmp_path)
    assert table["label"].tolist() == ["1"]
    assert "holds only a path" in pd.read_csv(data.path / "rejected.csv")["reason"][0]
    (tmp_path / "b.parquet").write_bytes((tmp_path / "b.parquet").read_bytes()[:-20])
    with pytest.raises(InputError, match=r"b\.parquet is damaged"):
        imported(tmp_path / "b.parquet", tmp_path)


# What users were seen to have


def doubts(source, tmp_path, **options):
    return " ".join(imported(source, tmp_path, **options)[2]["warnings"])


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["train/a/0.png", "train/b/1.png", "a/2.png"], "'--folders split class'"),
        (["a/train/0.png", "a/test/1.png", "b/train/2.png", "b/test/3.png"], "'--folders class split'"),
        (["p0/ben/0.png", "p0/mal/1.png", "p1/ben/2.png"], "recur inside several of p0, p1"),
        (["images/0.png", "masks/0.png"], "named like masks"),
        (["a/0.png", "a/0_mask.png", "b/1.png"], "named like masks of others"),
        (["a/0.png", "b/1.png", "#recycle/2.png"], ""),
        (["images/0.png", "images/1.png"], ""),
    ],
)
def test_folders_that_may_be_no_classes_are_told(tmp_path, files, words):
    tree(tmp_path / "in", *files)
    found = doubts(tmp_path / "in", tmp_path)
    assert (words in found) if words else not found


def test_other_words_for_parts_are_parts(tmp_path):
    root = tree(tmp_path / "in", "training_set/a/0.png", "dev/a/1.png", "Test-Set/a/2.png", "dev/b/3.png")
    data, _, about = imported(root, tmp_path)
    assert data.labels.names == ("a", "b")
    assert sorted(data.split().part_of) == ["test", "train", "val", "val"]
    assert about["meaning"]["split"] == "names of folders"
    assert imported(tree(tmp_path / "one", "images/0.png"), tmp_path)[0].labels.kind == "none"


def test_folders_inside_those_of_classes_are_noted(tmp_path, capfd):
    tree(tmp_path / "in", "a/p0/0.png", "b/p1/1.png")
    code, told = said(capfd, tmp_path / "in", tmp_path / "out", "--size", "16", "--strict")
    assert code == 0
    assert "'--folders class group'" in told


def table_of(tmp_path, header, *rows):
    root = tree(tmp_path / "in", *(f"{i}.png" for i in range(len(rows))))
    lines = [f"file,{header}", *(f"{i}.png,{row}" for i, row in enumerate(rows))]
    return root, text(tmp_path / "l.csv", "\n".join(lines) + "\n")


def test_columns_that_look_like_labels_or_parts_are_told(tmp_path):
    root, labels = table_of(
        tmp_path, "label,diagnosis,split,fold", "a,x,train,0", "b,y,test,1", "a,x,train,2"
    )
    found = doubts(root, tmp_path, labels=labels)
    assert "1 column looks like labels too (diagnosis)" in found
    assert "'--split-column split'" in found
    assert "fold" not in found
    assert doubts(root, tmp_path, labels=labels, label_column="label", split_column="split") == ""


@pytest.mark.parametrize(
    ("rows", "kind", "expected"),
    [
        (["True,False", "False,True"], "auto", "categorical"),
        (["1,1", "0,1", "0,0"], "auto", "multilabel"),
        (["0.5,1", "0,1"], "auto", "continuous"),
        (["1,0", "0,1"], "multilabel", "multilabel"),
        (["1,0", "0,1", "1,0", "0,0"], "auto", "not in row 4"),
        (["1,0", "0,1", "1,0", "0,2"], "auto", "not in row 4"),
        (["1,1", "0,0", "1,1", "-1,0"], "auto", "not in row 4"),
        (["1,1", "0,1"], "categorical", "not categorical in row 1"),
        (["1,", "0,1"], "auto", "row 1 lacks one"),
    ],
)
def test_columns_of_flags_are_what_all_rows_say(tmp_path, rows, kind, expected):
    root, labels = table_of(tmp_path, "x,y", *rows)
    options = {"labels": labels, "label_columns": ("x", "y"), "label_kind": kind}
    if expected in ("categorical", "multilabel", "continuous"):
        assert imported(root, tmp_path, **options)[0].labels.kind == expected
    else:
        with pytest.raises(InputError, match=expected):
            imported(root, tmp_path, **options)


def test_options_that_contradict_or_lack_each_other_are_refused(tmp_path, capfd):
    root, labels = table_of(tmp_path, "label,x,y", "a,1,0", "b,0,1")
    tree(tmp_path / "classes", "a/0.png", "b/1.png")
    for options, words in (
        ({"labels": labels, "split_map": ("1=train",)}, "--split-column"),
        ({"labels": labels, "label_column": "label", "label_columns": ("x", "y")}, "one of them"),
        ({"labels": labels, "class_names": ("a=x", "a=y")}, "twice"),
    ):
        with pytest.raises(InputError, match=words):
            imported(root, tmp_path, **options)
    with pytest.raises(InputError, match="Folders give classes"):
        imported(tmp_path / "classes", tmp_path, label_kind="continuous")
    data, _, _ = imported(tmp_path / "classes", tmp_path)
    with pytest.raises(InputError, match="Dataset already"):
        imported(data.path, tmp_path)
    for words, told in (
        (["", tmp_path / "o"], "source must be a path, not empty"), ([root, root / "o"], "lies inside"),
    ):  # fmt: skip
        code, err = said(capfd, *words)
        assert code == 2
        assert told in err


def test_groups_of_unlabelled_images_may_come_from_a_table(tmp_path):
    root, labels = table_of(tmp_path, "patient", "P1", "P2")
    data, table, _ = imported(root, tmp_path, labels=labels, group_column="patient")
    assert data.labels.kind == "none"
    assert table["group"].tolist() == ["P1", "P2"]


def test_missing_labels_are_named_by_what_the_cells_say(tmp_path, capfd):
    root, labels = table_of(tmp_path, "label", "a", "", "b")
    told = said(capfd, root, tmp_path / "out", "--labels", labels)[1]
    assert "row 3)" in told
    assert "--missing-words" not in told


def test_one_picture_under_two_classes_is_told(tmp_path):
    picture(tmp_path / "in/a/0.png")
    picture(tmp_path / "in/b/1.png")
    found = import_dataset(tmp_path / "in", tmp_path / "out", 16).warnings
    assert any("1 picture is there under several classes" in text for text in found)


def test_hub_files_that_do_not_go_together_are_told(tmp_path):
    def write(*names):
        for seed, name in enumerate(names):
            _hub(tmp_path / name, [{"image": _encoded(seed), "label": 0}], ["x"])
        return doubts(tmp_path / names[0].split("/")[0], tmp_path)

    assert "number 1 are missing" in write("a/train-00000-of-00003.parquet", "a/train-00002-of-00003.parquet")
    assert "no part of a split" in write("b/train-00000-of-00001.parquet", "b/extra-00000-of-00001.parquet")
    assert "put together" in write(
        "c/full/train-00000-of-00001.parquet", "c/small/train-00000-of-00001.parquet"
    )
    _hub(tmp_path / "d.parquet", [{"image": _encoded(0), "label": 5}], ["x"])
    with pytest.raises(InputError, match="class number 5 has no name"):
        imported(tmp_path / "d.parquet", tmp_path)
    plain = pa.table({"image": pa.array([_encoded(0)["bytes"]], pa.binary()), "label": ["q"]})
    pq.write_table(plain, tmp_path / "e.parquet")
    assert imported(tmp_path / "e.parquet", tmp_path)[0].labels.names == ("q",)


def test_arrays_and_sixteen_bit_colours_take_no_window(tmp_path, capfd):
    np.savez(tmp_path / "a.npz", images=np.zeros((3, 16, 16), np.uint16), labels=np.arange(3))
    assert "for image files" in said(capfd, tmp_path / "a.npz", tmp_path / "o", "--bits", "12")[1]
    (tmp_path / "in").mkdir()
    values = np.random.default_rng(0).integers(0, 4095, (16, 16, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "in/rgb.tif", values, photometric="rgb")
    tifffile.imwrite(tmp_path / "in/signed.tif", np.zeros((16, 16), np.int8))
    tifffile.imwrite(tmp_path / "in/double.tif", np.zeros((16, 16), np.float64))
    picture(tmp_path / "in/sound.png")
    code, told = said(capfd, tmp_path / "in", tmp_path / "out", "--size", "16", "--channels", "3")
    assert code == 0
    assert "1 16-bit image uses only values up to" in told
    reasons = pd.read_csv(tmp_path / "out/rejected.csv").set_index("source")["kind"].to_dict()
    assert reasons == {"double.tif": "float-pixels", "signed.tif": "signed"}
    assert said(capfd, tmp_path / "in", tmp_path / "w", "--size", "16", "--bits", "12")[0] == 0
    assert "sixteen-bit-colours" in set(pd.read_csv(tmp_path / "w/rejected.csv")["kind"])
