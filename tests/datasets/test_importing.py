"""An import is whole or absent, the same for any number of workers, and tells what it left out."""

import csv
import hashlib
import importlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plenish import cli
from plenish.commands.datasets import import_dataset
from plenish.datasets import decoding
from plenish.datasets.dataset import Dataset
from plenish.datasets.decoding import Decoder, Task, decode_all
from plenish.datasets.images import Shape
from plenish.datasets.rejections import Rejection
from plenish.datasets.split import split_dataset
from plenish.errors import InputError
from plenish.sizes import base_and_stages


def pictures(root, count=40, classes=("a", "b"), size=12, grey=False, suffix="png"):
    rng = np.random.default_rng(0)
    for i in range(count):
        folder = root / classes[i % len(classes)]
        folder.mkdir(parents=True, exist_ok=True)
        shape = (size, size) if grey else (size, size, 3)
        Image.fromarray(rng.integers(0, 256, shape, np.uint8)).save(folder / f"{i}.{suffix}")
    return root


def content(path):
    dataset = Dataset.open(path)
    return dataset.manifest.pixels_hash, dataset.manifest.table_hash, dataset.table.to_dict("list")


@pytest.mark.parametrize("change", ["option", "picture", "lost"])
def test_only_what_the_same_command_would_make_counts_as_made(tmp_path, capsys, change):
    source, out = pictures(tmp_path / "in"), tmp_path / "out"
    words = ["import", str(source), str(out), "--size", "12", "--quiet", "--json"]
    assert cli.run(words) == 0
    capsys.readouterr()
    assert cli.run(words) == 0
    assert json.loads(capsys.readouterr().out) == {"out": str(out), "made": "before"}
    if change == "option":
        words += ["--domain", "radiology"]
    elif change == "picture":
        Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(source / "a/0.png")
    else:
        shutil.rmtree(out / "pixels")
    assert cli.run(words) == 2
    said = "1 file is missing" if change == "lost" else "already exists"
    assert said in capsys.readouterr().err


def test_pixels_labels_and_hashes_of_a_folder(tmp_path):
    source = pictures(tmp_path / "in")
    made = import_dataset(source, tmp_path / "out", 12, licence="CC0", name="mine", intended_use="teaching")
    data = Dataset.open(tmp_path / "out")
    assert (len(data), data.size, data.channels, data.name) == (40, 12, 3, "mine")
    assert (data.manifest.licence, data.manifest.intended_use) == ("CC0", "teaching")
    assert made.summary()["classes"] == {"a": 20, "b": 20}
    images = data.pixels.read(np.arange(40))
    for i, (name, label) in enumerate(zip(data.table["source"], data.table["label"])):
        np.testing.assert_array_equal(images[i], np.asarray(Image.open(source / name)))
        assert label == name[0]
        assert data.table["sha256"][i] == hashlib.sha256(images[i].tobytes()).hexdigest()
    assert "Lanczos" in data.manifest.extra["import"]["resizer"]


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_any_number_of_workers_makes_the_same(tmp_path, kind):
    source = pictures(tmp_path / "in", 150)
    (source / "a/broken.png").write_bytes(b"nothing")
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
            for path in sorted(source.rglob("*.png")):
                archive.write(path, path.relative_to(source))
        source = tmp_path / "in.zip"
    for n in (1, 3):
        import_dataset(source, tmp_path / f"out{n}", 8, workers=n)
    assert content(tmp_path / "out1") == content(tmp_path / "out3")


def test_unusable_files_are_listed_with_reasons_and_not_fatal(tmp_path):
    source = pictures(tmp_path / "in", 6)
    good = (source / "a/0.png").read_bytes()
    (source / "a/zero.png").touch()
    (source / "a/cut.png").write_bytes(good[:-40])
    (source / "b/page.jpg").write_text("<html>")
    (source / "b/link.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(source / "b/pipe.png")
    made = import_dataset(source, tmp_path / "out", 12)
    with (tmp_path / "out/rejected.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(made.dataset) == 6
    assert made.rejected == 5
    assert list(rows[0]) == ["source", "reason", "kind"]
    assert {row["source"]: row["kind"] for row in rows} == {
        "a/zero.png": "empty", "a/cut.png": "damaged", "b/page.jpg": "unknown-format",
        "b/link.png": "missing", "b/pipe.png": "not-a-file",
    }  # fmt: skip
    assert all(row["reason"] for row in rows)
    assert "5 of 11 files" in " ".join(made.warnings)


def test_nothing_is_left_behind_when_it_cannot_be_done(tmp_path):
    (tmp_path / "in/a").mkdir(parents=True)
    (tmp_path / "in/a/x.png").write_text("no picture")
    with pytest.raises(InputError, match=r"a/x\.png"):
        import_dataset(tmp_path / "in", tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    pictures(tmp_path / "in", 4)
    (tmp_path / "taken").mkdir()
    with pytest.raises(InputError, match="taken"):
        import_dataset(tmp_path / "in", tmp_path / "taken")
    for option, value in (("size", 0), ("size", 100_000), ("workers", 0)):
        with pytest.raises(InputError, match=f"--{option} .*{value}"):
            import_dataset(tmp_path / "in", tmp_path / "out", **{option: value})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "taken"]


def test_channels_follow_the_images(tmp_path):
    grey = pictures(tmp_path / "grey", 200, grey=True)
    assert import_dataset(grey, tmp_path / "g").dataset.channels == 1
    Image.new("RGB", (12, 12), (9, 200, 9)).save(grey / "a" / "1001.png")
    assert import_dataset(grey, tmp_path / "c").dataset.channels == 3
    made = import_dataset(grey, tmp_path / "f", channels=1)
    assert made.dataset.channels == 1
    assert "1 coloured image" in " ".join(made.warnings)


def test_enlarging_and_dark_sixteen_bit_are_said_once(tmp_path):
    (tmp_path / "in").mkdir()
    for i in range(3):
        Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / f"in/{i}.png")
    text = import_dataset(tmp_path / "in", tmp_path / "out", 16).warnings
    assert sum("16 pixels" in line for line in text) == 1
    assert sum("4095" in line for line in text) == 1


def test_a_sources_split_groups_and_columns_arrive(tmp_path):
    for i in range(6):
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / f"in/{i}.png")
    lines = ["file,label,patient,age,part"] + [
        f"{i}.png,{'ab'[i % 2]},P{i // 2},{i}.5,{['train', 'dev', 'test'][i // 2]}" for i in range(6)
    ]
    (tmp_path / "l.csv").write_text("\n".join(lines))
    import_dataset(
        tmp_path / "in",
        tmp_path / "out",
        8,
        labels=tmp_path / "l.csv",
        group_column="patient",
        split_column="part",
    )
    data = Dataset.open(tmp_path / "out")
    assert list(data.split().part_of) == ["train", "train", "val", "val", "test", "test"]
    assert list(data.table["group"]) == ["P0", "P0", "P1", "P1", "P2", "P2"]
    assert list(data.table["age"]) == [i + 0.5 for i in range(6)]
    assert [int(x[0, 0, 0]) for x in data.pixels.read(np.arange(6))] == list(range(6))


def test_tags_and_numbers_become_label_schemas(tmp_path):
    pictures(tmp_path / "in", 2, classes=("",))
    (tmp_path / "l.csv").write_text("file,label,dose\n0.png,a|b,0.5\n1.png,b,2\n")
    for kind, column, y in (("multilabel", "label", [[1, 1], [0, 1]]), ("continuous", "dose", [[0.5], [2]])):
        made = import_dataset(
            tmp_path / "in",
            tmp_path / kind,
            8,
            labels=tmp_path / "l.csv",
            label_kind=kind,
            label_column=column,
        )
        assert made.dataset.labels.kind == kind
        np.testing.assert_array_equal(made.dataset.y(), y)


def test_arrays_keep_their_size_or_are_resized(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (700, 9, 9), np.uint8)
    np.savez_compressed(tmp_path / "a.npz", images=x, labels=np.arange(700) % 3)
    made = import_dataset(tmp_path / "a.npz", tmp_path / "out")
    np.testing.assert_array_equal(made.dataset.pixels.read(np.arange(700))[..., 0], x)
    for n in (1, 2):
        import_dataset(tmp_path / "a.npz", tmp_path / f"small{n}", 6, channels=3, workers=n)
    assert content(tmp_path / "small1") == content(tmp_path / "small2")
    assert Dataset.open(tmp_path / "small1").pixels.shape == (6, 6, 3)


def test_file_names_that_are_no_text_arrive(tmp_path):
    source = pictures(tmp_path / "in", 3)
    (source / "a/0.png").rename(os.fsdecode(os.fsencode(source / "a") + b"/caf\xe9 \n.png"))
    names = list(import_dataset(source, tmp_path / "out", 8, workers=2).dataset.table["source"])
    assert "a/caf\\xe9 \n.png" in names


def test_a_killed_import_goes_on(tmp_path, monkeypatch):
    source = pictures(tmp_path / "in", 60, size=8)
    (source / "a/0.png").write_text("broken early")
    monkeypatch.setattr("plenish.datasets.writer.shard_length", lambda size, channels: 16)
    monkeypatch.setattr("plenish.datasets.sources.listing.CHUNK", 5)
    import_dataset(source, tmp_path / "whole", 8)
    seen = []
    decode = Decoder.decode

    def interrupted(self, task):
        seen.extend(task.refs)
        if len(seen) > 40:
            raise KeyboardInterrupt
        return decode(self, task)

    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            import_dataset(source, tmp_path / "out", 8, workers=1)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out.partial").exists()
    again = []
    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "decode", lambda self, task: again.extend(task.refs) or decode(self, task))
        made = import_dataset(source, tmp_path / "out", 8, workers=1)
    assert len(again) < 60
    assert made.rejected == 1
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_changed_source_is_not_continued(tmp_path, monkeypatch):
    source = pictures(tmp_path / "in", 10)
    monkeypatch.setattr("plenish.datasets.writer.shard_length", lambda size, channels: 2)
    monkeypatch.setattr("plenish.datasets.sources.listing.CHUNK", 4)
    done = []
    decode = Decoder.decode

    def interrupted(self, task):
        done.extend(task.refs)
        if len(done) > 4:  # A try that has finished nothing leaves nothing to go on from.
            raise KeyboardInterrupt
        return decode(self, task)

    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "decode", interrupted)
        with pytest.raises(KeyboardInterrupt):
            import_dataset(source, tmp_path / "out", 8, workers=1)
    (source / "a/0.png").unlink()
    with pytest.raises(InputError, match=r"out\.partial"):
        import_dataset(source, tmp_path / "out", 8)


# Kept splits


def pre_split(root, groups, copies=0):
    """Eight pictures, four in train and four in test, and a table of their groups."""
    pictures(root / "train", 4)
    for i, path in enumerate(sorted(pictures(root / "more", 8).rglob("[4-7].png"))):
        (root / "test" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        path.rename(root / "test" / "ab"[i % 2] / f"{i}.png")
    shutil.rmtree(root / "more")
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    for source, twin in list(zip([f for f in files if f[1] == "r"], [f for f in files if f[1] == "e"]))[
        :copies
    ]:
        shutil.copyfile(root / source, root / twin)
    lines = [f"{name},{group}" for name, group in zip(files, groups)]
    (root.parent / "groups.csv").write_text("file,patient\n" + "\n".join(lines) + "\n")
    return root


def test_groups_in_several_parts_of_the_sources_split_are_refused_and_can_be_left_out(tmp_path):
    source = pre_split(tmp_path / "in", ["p0", "p1", "p2", "p3", "p1", "p4", "p5", "p2"])
    options = {"size": 12, "labels": tmp_path / "groups.csv", "group_column": "patient"}
    with pytest.raises(InputError, match=r"2 groups .* 'default' .*'p1', in test and train") as no:
        import_dataset(source, tmp_path / "out", **options)
    assert "--no-keep-split" in str(no.value)
    assert not (tmp_path / "out.partial").exists()
    made = import_dataset(source, tmp_path / "out", **options, keep_split=False)
    assert (len(made.dataset), made.dataset.split_names()) == (8, [])
    again = split_dataset(tmp_path / "out", ratios=(0.5, 0, 0.5)).splits[0].part_of
    by_group = again.groupby(made.dataset.table["group"].to_numpy()).nunique()
    assert by_group.max() == 1


def test_whole_groups_keep_the_sources_split(tmp_path):
    source = pre_split(tmp_path / "in", ["p0", "p1", "p2", "p3", "p4", "p4", "p5", "p5"])
    made = import_dataset(
        source, tmp_path / "out", 12, labels=tmp_path / "groups.csv", group_column="patient"
    )
    manifest = made.dataset.split().manifest
    assert (manifest["counts"]["train"], manifest["duplicates_across_parts"]) == (4, 0)
    assert "'default'" not in " ".join(made.warnings)


def test_the_command_line_leaves_a_split_out(tmp_path, capsys):
    source = pre_split(tmp_path / "in", "abcdefgh")
    assert cli.run(["import", str(source), str(tmp_path / "out"), "--size", "12", "--no-keep-split"]) == 0
    assert Dataset.open(tmp_path / "out").split_names() == []
    assert "'default'" not in capsys.readouterr().err


def test_a_sources_split_without_a_part_is_told(tmp_path, capsys):
    pictures(tmp_path / "in" / "train", 4)
    pictures(tmp_path / "in" / "test", 2)
    assert cli.run(["import", str(tmp_path / "in"), str(tmp_path / "out"), "--size", "12"]) == 0
    (note,) = [line for line in capsys.readouterr().err.splitlines() if "4 train" in line]
    assert all(word in note for word in ("'default'", "2 test", "no val"))


@pytest.mark.parametrize(("size", "near"), [(50, (48, 56)), (100, (96, 112)), (8, (12, 16))])
def test_a_size_no_generator_can_make_is_told_with_the_nearest(tmp_path, capsys, size, near):
    source = pictures(tmp_path / "in", 4, size=size)
    told = [text for text in import_dataset(source, tmp_path / "out", size).warnings if "--size" in text]
    assert len(told) == 1
    assert f"{near[0]} and {near[1]}," in told[0]
    assert capsys.readouterr().err.count(told[0]) == 1
    for fitting in near:
        assert base_and_stages(fitting)
        assert not import_dataset(
            pictures(tmp_path / f"{fitting}", 4, size=fitting), tmp_path / f"out{fitting}", fitting
        ).warnings


@pytest.mark.parametrize("n", [1, 2])
def test_remarks_agree_with_their_numbers(tmp_path, n):
    source = pictures(tmp_path / "in", n, classes=("a",), size=8)
    for i in range(n):
        (source / f"a/broken{i}.png").write_bytes(b"")
    text = " ".join(import_dataset(source, tmp_path / "out", 12).warnings)
    was, images = ("was", "1 image ") if n == 1 else ("were", "2 images ")
    assert f"{n} of {2 * n} files {was} " in text
    assert f"{images}{was} smaller than 12 " in text


def test_a_dataset_is_called_like_its_folder_and_messages_name_the_path(tmp_path):
    source = pictures(tmp_path / "in.v1", 4)
    assert import_dataset(source, tmp_path / "tiles.v2", 12).dataset.name == "tiles.v2"
    assert import_dataset(source, tmp_path / "b", 12, name="asked for").dataset.name == "asked for"
    shutil.move(tmp_path / "b", tmp_path / "renamed")
    data = Dataset.open(tmp_path / "renamed")
    import_dataset(pictures(tmp_path / "flat", 8, classes=("",)), tmp_path / "plain", 12)
    shutil.move(tmp_path / "plain", tmp_path / "moved")
    split_dataset(tmp_path / "moved", ratios=(0.5, 0, 0.5))
    with pytest.raises(InputError, match=r"moved .*labels"):
        _ = Dataset.open(tmp_path / "moved").part("train", purpose="train").codes
    assert data.name == "asked for"


def test_each_warning_is_shown_once_and_is_in_the_json(tmp_path, capsys):
    source = pictures(tmp_path / "in", 6, size=8)
    assert cli.run(["import", str(source), str(tmp_path / "out"), "--size", "16"]) == 0
    shown = capsys.readouterr()
    assert (shown.out + shown.err).count("smaller than 16 pixels") == 1
    assert shown.err.count("smaller than 16 pixels") == 1
    assert cli.run(["import", str(source), str(tmp_path / "again"), "--size", "16", "--json"]) == 0
    (text,) = json.loads(capsys.readouterr().out)["warnings"]
    assert "smaller than 16 pixels" in text


def test_identical_pixels_across_the_sources_parts_are_told(tmp_path):
    made = import_dataset(pre_split(tmp_path / "in", "abcdefgh", copies=3), tmp_path / "out", 12)
    assert made.dataset.split().manifest["duplicates_across_parts"] == 3
    assert "'default' has 3 images" in " ".join(made.warnings)


# Workers


def test_a_zip_is_opened_once_for_all_tasks(tmp_path, monkeypatch):
    source = pictures(tmp_path / "in", 30)
    names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.png"))
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for name in names:
            archive.write(source / name, name)
    opened = []

    def listed(self, *args, real=zipfile.ZipFile.__init__, **options):
        opened.append(self)
        real(self, *args, **options)

    tasks = [Task(names[i : i + 2]) for i in range(0, 30, 2)]
    place = str(tmp_path / "in.zip"), Shape(8, 3, "crop")
    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "__init__", listed)
        found = [result.items for _, result in decode_all(tasks, *place, 1)]
    assert len(opened) == 1
    assert opened[0].fp is None
    assert found == [result.items for _, result in decode_all(tasks, *place, 2)]


def test_workers_keep_order_and_bounded_work(tmp_path, monkeypatch):
    source = pictures(tmp_path, 60)
    names = sorted(path.relative_to(source).as_posix() for path in source.rglob("*.png"))
    taken = []
    monkeypatch.setattr(decoding, "_AHEAD_BYTES", 1000)

    def tasks():
        for i in range(0, 60, 3):
            taken.append(i)
            yield Task(names[i : i + 3])

    results = decode_all(tasks(), str(source), Shape(8, 3, "crop"), 2)
    first = next(results)
    assert len(taken) == 4
    seen = [first, *results]
    assert [ref for task, _ in seen for ref in task.refs] == names
    for task, result in seen:
        expected = Decoder(str(source), Shape(8, 3, "crop")).decode(task)
        np.testing.assert_array_equal(result.pixels, expected.pixels)
        assert result.items == expected.items


CRASHING = """
import os
from plenish.datasets import decoding

class Decoder(decoding.Decoder):
    def decode(self, task):
        if "4.png" in task.refs:
            os._exit(11)
        return super().decode(task)
"""


def test_an_image_that_kills_its_worker_is_rejected_and_the_others_kept(tmp_path, monkeypatch):
    source = pictures(tmp_path / "in", 9, classes=("",))
    (tmp_path / "crashing.py").write_text(CRASHING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(decoding, "Decoder", importlib.import_module("crashing").Decoder)
    names = [f"{i}.png" for i in range(9)]
    ((_, result),) = decode_all([Task(names)], str(source), Shape(8, 3, "crop"), 2)
    assert result.items[4] == Rejection("crash", {"exit_status": 11}, "4.png")
    assert [i for i, item in enumerate(result.items) if isinstance(item, Rejection)] == [4]
    assert len(result.pixels) == 8


def test_workers_import_neither_torch_nor_pandas():
    code = "import sys, plenish.datasets.decoding; print({'torch', 'pandas', 'pyarrow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def alive(pid):
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_workers_end_with_a_killed_parent(tmp_path):
    pictures(tmp_path / "in", 40, size=400)
    code = (
        "import sys; from plenish.datasets.decoding import *\n"
        f"names = ['a/' + str(i) + '.png' for i in range(0, 40, 2)] * 500\n"
        "tasks = (Task(names[i:i+8]) for i in range(0, len(names), 8))\n"
        f"for n, _ in enumerate(decode_all(tasks, {str(tmp_path / 'in')!r}, Shape(64, 3, 'crop'), 2)):\n"
        "    if n == 2: print('going', flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout.readline() == b"going\n"
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(parent.pid)], capture_output=True, text=True
    ).stdout.split()
    if not found:
        pytest.skip("no ps to look with")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for _ in range(1200):
        if not any(alive(pid) for pid in found):
            break
        time.sleep(0.1)
    else:
        pytest.fail("workers outlive their parent")


def test_a_zip_member_that_unpacks_to_more_than_it_says_is_rejected(tmp_path):
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("good.png", out.getvalue())
        archive.writestr("bad.png", out.getvalue() + b"\0" * 10_000)
    data = bytearray((tmp_path / "a.zip").read_bytes())
    at = data.rindex(b"bad.png") - 46 + 24  # The uncompressed size in the central directory.
    data[at : at + 4] = (40).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(data)
    made = import_dataset(tmp_path / "a.zip", tmp_path / "out", 8)
    assert (len(made.dataset), made.rejected) == (1, 1)
