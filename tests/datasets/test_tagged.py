"""Tagged corpora: every form of metadata, opt-out lists, and input that does not fit."""

import bz2
import json
import os
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from plenish import cli
from plenish.datasets import archives
from plenish.datasets.dataset import Dataset
from plenish.datasets.importing import import_dataset
from plenish.datasets.sources.git import commit_of
from plenish.datasets.sources.listing import SourceOptions
from plenish.errors import InputError


def picture(path, seed=0, shape=(20, 16, 3), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, np.uint8)).save(path, **options)


def lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(
        f"{row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)}\n" for row in rows
    )
    path.write_text(text, encoding="utf-8")


def imported(source, out, **options):
    reading = SourceOptions(preset="tagged", **options)
    data = import_dataset(source, out, 16, reading=reading, workers=1).dataset
    return data, pd.read_parquet(out / "samples.parquet").set_index("source")


def reasons(out):
    table = pd.read_csv(out / "rejected.csv")
    return dict(zip(table["source"], table["kind"]))


ROWS = [
    {
        "id": 7,
        "tags": ["1girl", "solo"],
        "artist": "ann",
        "license": "CC0-1.0",
        "rating": "g",
        "note": {"a": 1},
    },
    {"id": 8, "tags": ["1boy"], "artist": "bob", "license": "CC0-1.0", "rating": "s", "note": None},
    {"id": 12, "tags": [], "artist": None, "license": "CC0-1.0", "rating": "g", "note": None},
]


@pytest.mark.parametrize("form", ["beside", "list", "lines", "zip", "tar.gz"])
def test_every_form_gives_the_same_rows(tmp_path, form):
    root = tmp_path / "in"
    for row in ROWS:
        picture(root / f"0{row['id'] % 10}/{row['id']}.png", row["id"])
        if form == "beside":
            (root / f"0{row['id'] % 10}/{row['id']}.json").write_text(json.dumps(row))
    if form == "list":
        (root / "posts.json").write_text(json.dumps(ROWS))
    elif form != "beside":
        lines(root / "posts.jsonl", *ROWS)
    if form == "zip":
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as packed:
            for path in sorted(root.rglob("*.*")):
                packed.write(path, path.relative_to(root))
        root = tmp_path / "in.zip"
    elif form == "tar.gz":
        with tarfile.open(tmp_path / "in.tar.gz", "w:gz") as packed:
            packed.add(root, "corpus")
        root = tmp_path / "in.tar.gz"
    data, table = imported(root, tmp_path / "out")
    table = table.sort_values("id_")
    assert data.labels.kind == "none"
    assert [list(tags) for tags in table["tags"]] == [["1girl", "solo"], ["1boy"], []]
    assert table["artist"].fillna("").tolist() == ["ann", "bob", ""]
    assert table["group"].fillna("").tolist() == ["ann", "bob", ""]
    assert table["licence"].tolist() == ["CC0-1.0"] * 3
    assert table["note"].fillna("").tolist() == ['{"a": 1}', "", ""]
    assert (table["width"].tolist(), table["height"].tolist()) == ([16] * 3, [20] * 3)
    assert data.manifest.licence == "CC0-1.0"
    assert not (tmp_path / "out/rejected.csv").exists()
    assert data.manifest.extra["corpus"] == {
        "tags": 3, "untagged": 1, "artists": 2, "licences": {"CC0-1.0": 3},
    }  # fmt: skip


def test_tags_of_danbooru_become_lists_by_kind(tmp_path):
    for i in range(2):
        picture(tmp_path / f"in/{i}.png", i)
    tagged = [
        {"name": "1girl", "category": "0"},
        {"name": "x_(y)", "category": "4"},
        {"name": "z", "category": "1"},
    ]
    text = {"tag_string_general": "cat hat", "tag_string_character": "tom", "tag_string_artist": "z w",
            "tag_string": "cat hat tom z w"}  # fmt: skip
    lines(tmp_path / "in/2020000000000000", {"id": "0", "tags": tagged}, {"id": "1", **text})
    _, table = imported(tmp_path / "in", tmp_path / "out")
    assert [list(cell) for cell in table["tags"]] == [["1girl"], ["cat", "hat"]]
    assert [list(cell) for cell in table["characters"]] == [["x_(y)"], ["tom"]]
    assert table["artist"].tolist() == ["z", "w z"]
    assert "tag_string" not in table


def test_a_folder_for_each_character_with_and_without_metadata(tmp_path):
    for name, who in (("a/1.png", "ann"), ("b/2.png", "bob")):
        picture(tmp_path / "in" / name, len(who))
    data, table = imported(tmp_path / "in", tmp_path / "bare")
    assert data.labels.names == ("a", "b")
    lines(
        tmp_path / "in/all.jsonl",
        {"file_name": "a/1.png", "tags": "x y"},
        {"file_name": "2.png", "tags": "x"},
    )
    data, table = imported(tmp_path / "in", tmp_path / "out")
    assert data.labels.names == ("a", "b")
    assert [list(cell) for cell in table["tags"]] == [["x", "y"], ["x"]]
    data, _ = imported(tmp_path / "in", tmp_path / "labels", label_column="tags")
    assert (data.labels.kind, data.labels.names) == ("multilabel", ("x", "y"))


def test_what_does_not_fit_is_left_out_counted_and_listed(tmp_path):
    root = tmp_path / "in"
    for name in ("1.png", "2.png", "3.png", "sub/1.png", "A.png", "a.png"):
        picture(root / name, sum(map(ord, name)))
    lines(
        root / "posts.jsonl", {"file_name": "1.png", "tags": ["x"]}, '{"id": 2, "tags": ["x"', "[1, 2]",
        {"id": "gone", "tags": []}, {"file_name": "../../etc/passwd"}, {"id": "1", "tags": ["y"]},
        {"file_name": "A.png", "tags": ["upper"]}, {"file_name": "a.png", "tags": ["lower"]},
        {"file_name": "1.png", "tags": ["again"]}, {"file_name": "3.PNG", "tags": ["case"]}, "\xff",
    )  # fmt: skip
    data, table = imported(root, tmp_path / "out")
    assert {name: list(tags) for name, tags in table["tags"].items()} == {
        "1.png": ["x"], "3.png": ["case"], "A.png": ["upper"], "a.png": ["lower"],
    }  # fmt: skip
    assert reasons(tmp_path / "out") == {
        "posts.jsonl:2": "malformed", "posts.jsonl:3": "no-object", "posts.jsonl:4": "no-image",
        "posts.jsonl:5": "names-outside", "posts.jsonl:6": "several-images", "posts.jsonl:9": "named-twice",
        "posts.jsonl:11": "malformed", "2.png": "no-metadata", "sub/1.png": "no-metadata",
    }  # fmt: skip
    assert data.manifest.extra["rejected"] == 9
    told = " ".join(data.manifest.extra["import"]["warnings"])
    assert "2 images left out: without metadata" in told
    assert "2 entries of the metadata left out: no readable JSON" in told
    with pytest.raises(InputError, match="2 images have no metadata"):
        imported(root, tmp_path / "strict", missing="error")


def test_a_damaged_object_beside_an_image_costs_that_image_only(tmp_path):
    for i in range(3):
        picture(tmp_path / f"in/{i}.jpg", i)
        (tmp_path / f"in/{i}.jpg.json").write_text('{"tags": ["x"]}' if i else '{"tags": ')
    _, table = imported(tmp_path / "in", tmp_path / "out")
    assert table.index.tolist() == ["1.jpg", "2.jpg"]
    assert reasons(tmp_path / "out") == {"0.jpg.json": "malformed", "0.jpg": "no-metadata"}


def test_metadata_of_other_images_and_a_folder_without_any(tmp_path, capfd):
    picture(tmp_path / "in/1.png")
    lines(tmp_path / "in/posts.jsonl", {"id": 5, "tags": ["x"]})
    words = ["import", str(tmp_path / "in"), str(tmp_path / "out"), "--preset", "tagged"]
    assert cli.run(words) == 2
    assert "names an image" in " ".join(capfd.readouterr().err.split())
    (tmp_path / "in/1.png").unlink()
    assert cli.run(words) == 2
    assert not list(tmp_path.glob("out*"))


def test_tags_in_any_script_and_a_hundred_thousand_of_them(tmp_path):
    root = tmp_path / "in"
    tags = {str(i): [f"t{i}_{k}" for k in range(4000)] for i in range(1, 26)}
    tags["0"] = ["猫耳", "موسيقى", "🐈‍⬛", "cafe\u0301", "café"]
    for name in tags:
        picture(root / f"{name}.png", int(name), (4, 4, 3))
    lines(root / "posts.jsonl", *({"id": name, "tags": found} for name, found in tags.items()))
    data, table = imported(root, tmp_path / "out")
    assert list(table["tags"]["0.png"]) == ["猫耳", "موسيقى", "🐈‍⬛", "café"]
    assert len(table["tags"]["7.png"]) == 4000
    assert data.manifest.extra["corpus"]["tags"] == 100_004


def test_cells_of_any_kind_become_columns(tmp_path):
    root = tmp_path / "in"
    rows = [
        {"score": 10**30, "mixed": "high", "artist": {"name": "q"}, "tags": {"hat": 0.9, "cat": 0.1}},
        {"score": 1, "mixed": 2, "artist": ["a", "b"], "tags": "a|b"},
    ]
    for i in range(len(rows)):
        picture(root / f"{i}.png", i)
    lines(root / "posts.jsonl", *({"id": i} | row for i, row in enumerate(rows)))
    _, table = imported(root, tmp_path / "out")
    assert table["score"].tolist() == [str(10**30), "1"]
    assert table["mixed"].tolist() == ["high", "2"]
    assert table["artist"].tolist() == ["q", "a b"]
    assert table["artists"].map(list).tolist() == [["q"], ["a", "b"]]
    assert table["tags"].map(list).tolist() == [["hat", "cat"], ["a", "b"]]


def test_links_that_lead_outside_are_left_out(tmp_path):
    root = tmp_path / "in"
    picture(tmp_path / "private/9.png", 9)
    picture(root / "x/1.png", 1)
    (root / "x/2.png").symlink_to("1.png")
    (root / "x/3.png").symlink_to(tmp_path / "private/9.png")
    (root / "y").symlink_to(tmp_path / "private")
    lines(
        root / "posts.jsonl",
        *({"file_name": name, "tags": ["t"]} for name in ("x/1.png", "x/2.png", "x/3.png")),
    )
    _, table = imported(root, tmp_path / "out")
    assert table.index.tolist() == ["x/1.png", "x/2.png"]
    found = reasons(tmp_path / "out")
    assert found["x/3.png"] == found["y/9.png"] == "leads-outside"


def test_metadata_behind_links_that_lead_outside_are_not_read(tmp_path):
    root = tmp_path / "in"
    for i in (1, 2):
        picture(root / f"{i}.png", i)
    lines(root / "posts.jsonl", {"file_name": "1.png", "tags": ["t"]})
    lines(tmp_path / "private/posts.jsonl", {"file_name": "2.png", "tags": ["secret"]})
    (tmp_path / "private/beside.json").write_text('{"tags": ["secret"]}')
    (root / "2.json").symlink_to(tmp_path / "private/beside.json")
    (root / "more").symlink_to(tmp_path / "private")
    _, table = imported(root, tmp_path / "out")
    assert table.index.tolist() == ["1.png"]
    found = reasons(tmp_path / "out")
    assert [found[name] for name in ("2.json", "more/posts.jsonl", "more/beside.json")] == [
        "leads-outside"
    ] * 3
    assert found["2.png"] == "no-metadata"


def test_the_commit_is_read_of_files_of_the_checkout_alone(tmp_path):
    git = tmp_path / ".git"
    git.mkdir()
    (tmp_path / "elsewhere").write_text("0123456789" * 4)
    (git / "HEAD").write_text(f"ref: {tmp_path / 'elsewhere'}\n")
    assert commit_of(tmp_path) == ""
    (git / "HEAD").unlink()
    os.mkfifo(git / "HEAD")  # Reading it would wait for ever.
    assert commit_of(tmp_path) == ""


def test_an_opt_out_list_is_honoured_counted_and_kept(tmp_path, capfd):
    root = tmp_path / "in"
    who = ["Ann_B", "bob", ["carl", "Dora"], None, "ED", "ed_2"]
    for i in range(len(who)):
        picture(root / f"{i}.png", i)
    rows = [
        {"id": i, "tags": ["hat"] if i != 3 else ["ann_b"], "artist": artist} for i, artist in enumerate(who)
    ]
    lines(root / "posts.jsonl", *rows)
    (tmp_path / "list.txt").write_text("# names\nann b\nid:4 # this one\nartist:1\ndora\nnobody\n")
    words = ["import", str(root), str(tmp_path / "out"), "--preset", "tagged", "--size", "16", "--json"]
    assert cli.run([*words, "--opt-out", str(tmp_path / "list.txt")]) == 0
    summary = json.loads(capfd.readouterr().out)
    table = pd.read_parquet(tmp_path / "out/samples.parquet")
    assert table["source"].tolist() == ["1.png", "5.png"]
    kept = Dataset.open(tmp_path / "out").manifest.extra["opt_out"]
    assert summary["opted out"] == kept["images"] == 4
    assert (kept["by_artist"], kept["by_id"], kept["entries"], kept["entries_met"]) == (3, 1, 5, 3)
    assert table["artists"].map(list).tolist() == [["bob"], ["ed_2"]]
    assert list(reasons(tmp_path / "out").values()) == ["opted-out"] * 4
    (tmp_path / "list.txt").write_text("".join(f"id:{i}\n" for i in range(6)))
    with pytest.raises(InputError, match="names all"):
        imported(root, tmp_path / "none", opt_out=tmp_path / "list.txt")
    for content in ("", "\n# nothing\n"):
        (tmp_path / "list.txt").write_text(content)
        with pytest.raises(InputError, match="has no entries"):
            imported(root, tmp_path / "none", opt_out=tmp_path / "list.txt")
    with pytest.raises(InputError, match="cannot be read"):
        imported(root, tmp_path / "none", opt_out=tmp_path / "gone.txt")


def test_an_opt_out_list_names_whole_artists(tmp_path):
    root = tmp_path / "in"
    who = ["John Doe", "DOE", ["Jane Doe", "Eve"], "ann; doe", "Doe, John", "roe"]
    for i in range(len(who)):
        picture(root / f"{i}.png", i)
    lines(root / "posts.jsonl", *({"id": i, "tags": ["doe"], "artist": name} for i, name in enumerate(who)))
    (tmp_path / "list.txt").write_text("doe\njane\nEVE\n")
    imported(root, tmp_path / "out", opt_out=tmp_path / "list.txt")
    assert Dataset.open(tmp_path / "out").column("source") == ["0.png", "4.png", "5.png"]
    (tmp_path / "list.txt").write_text("john doe\nROE\n")
    for name, options in (("group", {"group_column": "artist"}), ("label", {"label_column": "artist"})):
        imported(root, tmp_path / name, opt_out=tmp_path / "list.txt", **options)
        assert Dataset.open(tmp_path / name).column("source") == [f"{i}.png" for i in (1, 2, 3, 4)]


def test_an_opt_out_list_holds_for_other_sources_too(tmp_path):
    for i in range(3):
        picture(tmp_path / f"in/{'ab'[i % 2]}/{i}.png", i)
    (tmp_path / "list.txt").write_text("2.png\n")
    made = import_dataset(
        tmp_path / "in", tmp_path / "out", 16, reading=SourceOptions(opt_out=tmp_path / "list.txt")
    )
    assert made.dataset.column("source") == ["a/0.png", "b/1.png"]
    assert "1 image was left out" in " ".join(made.warnings)


def test_a_checkout_says_its_commit_and_pointers_of_lfs_are_told(tmp_path):
    root, commit = tmp_path / "in", "0123456789" * 4
    picture(root / "1.png", 1)
    (root / "2.png").write_text(
        f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 12345\n"
    )
    lines(root / "posts.jsonl", {"id": 1, "tags": []}, {"id": 2, "tags": []})
    (root / ".git").mkdir()
    (root / ".git/HEAD").write_text("ref: refs/heads/main\n")
    (root / ".git/packed-refs").write_text(f"# pack-refs\n{commit} refs/heads/main\n")
    data, _ = imported(root, tmp_path / "out")
    assert data.manifest.extra["git_commit"] == commit
    assert reasons(tmp_path / "out") == {"2.png": "lfs"}


def test_bombs_are_refused_before_they_unpack(tmp_path, monkeypatch):
    inner = tmp_path / "1.png"
    picture(inner, 1)
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(inner, "1.png")
        packed.writestr("2.png", b"\x89PNG" + bytes(40 * 2**20))
        packed.writestr("3.json", b"{" + b" " * (40 * 2**20))
    with pytest.raises(InputError, match="decompression bomb"):
        imported(tmp_path / "in.zip", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "in2.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(inner, "1.png")
        packed.writestr("2.png", b"\x89PNG" + bytes(40 * 2**20))
        packed.writestr("p.jsonl", '{"id": 1, "tags": []}\n{"id": 2, "tags": []}\n')
    imported(tmp_path / "in2.zip", tmp_path / "out")
    assert reasons(tmp_path / "out") == {"2.png": "bomb"}
    monkeypatch.setattr(archives, "SAFE_BYTES", 2**20)
    (tmp_path / "b.tar.bz2").write_bytes(bz2.compress(bytes(20 * 2**20)))
    with pytest.raises(InputError, match="times its size"):
        imported(tmp_path / "b.tar.bz2", tmp_path / "none")
    assert not (tmp_path / "none.partial").exists()


def test_an_interrupted_import_ends_bit_identical(tmp_path, monkeypatch):
    root = tmp_path / "in"
    for i in range(40):
        picture(root / f"{i}.png", i, (8, 8 + i % 9, 3))
    lines(root / "posts.jsonl", *({"id": i, "tags": ["x"]} for i in range(1, 40)), "{")
    (tmp_path / "list.txt").write_text("id:5\n")
    monkeypatch.setattr("plenish.datasets.writer.shard_length", lambda size, channels: 7)
    reading = SourceOptions(preset="tagged", opt_out=tmp_path / "list.txt")

    def make(out):
        import_dataset(root, out, 16, reading=reading, workers=1, name="corpus")

    make(tmp_path / "whole")
    calls = []

    def stop(*args):
        calls.append(args)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return write(*args)

    from plenish.datasets import writer

    write = writer.write_rows
    monkeypatch.setattr(writer, "write_rows", stop)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "cut")
    assert not (tmp_path / "cut").exists()
    make(tmp_path / "cut")
    files = sorted(path.relative_to(tmp_path / "whole") for path in (tmp_path / "whole").rglob("*.*"))
    assert Path("dataset.json") in files
    for file in files:
        one, other = (tmp_path / name / file for name in ("whole", "cut"))
        if file.name == "dataset.json":
            one, other = (json.loads(path.read_text()) for path in (one, other))
            assert one["extra"] == other["extra"]
            assert one["table_hash"] == other["table_hash"]
        elif file.suffix != ".json":
            assert one.read_bytes() == other.read_bytes(), file
