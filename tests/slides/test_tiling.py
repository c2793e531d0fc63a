from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tifffile
from PIL import Image

from plenish.cli import run
from plenish.commands.slides import tile_slides
from plenish.datasets import writer
from plenish.datasets.dataset import Dataset
from plenish.datasets.rejections import Rejection
from plenish.errors import InputError
from plenish.slides.grid import Grid
from plenish.slides.names import SlideEntry
from plenish.slides.remarks import Remark
from plenish.slides.tile_jobs import TileWorker

SQUARE = """<ASAP_Annotations><Annotations>
<Annotation Name="a" Type="Polygon" PartOfGroup="{label}" Color="#F4FA58"><Coordinates>{points}</Coordinates>
</Annotation></Annotations></ASAP_Annotations>"""


def write_square(path: Path, box: tuple[float, float, float, float], label: str = "tumour") -> None:
    left, top, right, bottom = box
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    points = "".join(f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>' for i, (x, y) in enumerate(corners))
    path.parent.mkdir(exist_ok=True)
    path.write_text(SQUARE.format(label=label, points=points))


def rows_of(out: Path) -> pd.DataFrame:
    return pd.read_parquet(out / "samples.parquet")


def images_of(out: Path) -> np.ndarray:
    return np.concatenate([np.load(path) for path in sorted((out / "pixels").glob("*.npy"))])


def files_of(out: Path) -> dict[str, Any]:
    """The content of all files, without the record of the command, which names OUT and --workers."""
    paths = [path for path in sorted(out.rglob("*")) if path.is_file() and "caches" not in path.parts]
    found: dict[str, Any] = {str(path.relative_to(out)): path.read_bytes() for path in paths}
    found["dataset.json"] = json.loads(found["dataset.json"])
    del found["dataset.json"]["command"], found["dataset.json"]["checksum"]
    return found


def break_tile(path: Path, number: int, page: int = 0) -> None:
    with tifffile.TiffFile(path) as file:
        offset, count = file.pages[page].dataoffsets[number], file.pages[page].databytecounts[number]
    with path.open("r+b") as raw:
        raw.seek(offset)
        raw.write(b"\x00" * count)


def test_tiles_are_the_slides_pixels_with_their_places(make_slide, noise, tmp_path: Path) -> None:
    path = make_slide(pixels=noise)
    made = tile_slides(path, tmp_path / "out", size=64, level=0, min_tissue=0)
    table = rows_of(tmp_path / "out")
    images = images_of(tmp_path / "out")
    assert len(table) == 4 * 6 == made.slides[0]["tiles"]
    for row, image in zip(table.itertuples(), images):
        assert (row.x, row.y) == (row.col * 64, row.row * 64)
        np.testing.assert_array_equal(
            image, noise[int(row.y) : int(row.y) + 64, int(row.x) : int(row.x) + 64]
        )
    assert table["id"].tolist()[:2] == ["slide_0_0", "slide_0_1"]
    assert set(table["mpp"]) == {0.5}
    assert set(table["level"]) == {0}
    assert set(table["group"]) == {"slide"}
    assert set(table["source"]) == {"slide.tif"}
    assert not list((tmp_path / "out").glob("plans*"))


def test_only_tiles_with_tissue_are_taken_and_their_share_is_kept(make_slide, tmp_path: Path) -> None:
    make_slide()  # Tissue from (64, 64) to (448, 320) of 512 by 384.
    tile_slides(tmp_path / "slide.tif", tmp_path / "out", size=64, level=0)
    assert len(rows_of(tmp_path / "out")) == 6 * 4
    tile_slides(tmp_path / "slide.tif", tmp_path / "some", size=64, stride=32, level=0, min_tissue=0.2)
    table = rows_of(tmp_path / "some")
    inside = np.clip(np.minimum(table.x + 64, 448) - np.maximum(table.x, 64), 0, 64) / 64
    inside *= np.clip(np.minimum(table.y + 64, 320) - np.maximum(table.y, 64), 0, 64) / 64
    assert np.abs(table.tissue - inside).max() < 0.15  # The mask rounds corners off.
    assert table.tissue.min() >= 0.2


@pytest.mark.parametrize(
    ("options", "side", "mpp"),
    [
        ({"level": 0}, 32, 0.5),
        ({"level": 2}, 128, 2.0),
        ({"mpp": 1.0}, 64, 1.0),
        ({"mpp": 0.73}, 32 * 1.46, 0.73),
        ({"mpp": 1.6, "stride": 20}, 32 * 3.2, 1.6),
    ],
)
def test_coverage_is_that_of_the_polygon_at_every_scale(
    make_slide, tmp_path: Path, options: dict[str, Any], side: float, mpp: float
) -> None:
    make_slide()
    box = (100.5, 90.25, 330.0, 270.75)
    write_square(tmp_path / "xml" / "slide.xml", box)
    out = tmp_path / "out"
    tile_slides(tmp_path / "slide.tif", out, size=32, min_tissue=0, annotations=tmp_path / "xml", **options)
    table = rows_of(out)
    assert set(table.side.round(6)) == {round(side, 6)}
    assert table.mpp.round(9).unique().tolist() == [mpp]
    wide = np.clip(np.minimum(table.x + side, box[2]) - np.maximum(table.x, box[0]), 0, None) / side
    high = np.clip(np.minimum(table.y + side, box[3]) - np.maximum(table.y, box[1]), 0, None) / side
    np.testing.assert_allclose(table.coverage_tumour, wide * high, atol=1e-5)
    assert (table.label == np.where(wide * high >= 0.5 - 1e-5, "tumour", "normal")).all()
    assert 0 < (table.label == "tumour").mean() < 1


def test_ambiguous_tiles_can_be_dropped(make_slide, tmp_path: Path) -> None:
    make_slide()
    write_square(tmp_path / "xml" / "slide.xml", (100, 100, 300, 300))
    common = {"size": 64, "level": 0, "annotations": tmp_path / "xml", "label_threshold": 0.9}
    tile_slides(tmp_path / "slide.tif", tmp_path / "all", **common)
    tile_slides(tmp_path / "slide.tif", tmp_path / "clear", ambiguous="drop", **common)
    whole, clear = rows_of(tmp_path / "all"), rows_of(tmp_path / "clear")
    assert ((whole.coverage_tumour > 0) & (whole.coverage_tumour < 0.9)).any()
    assert sorted(clear.id) == sorted(whole.id[(whole.coverage_tumour == 0) | (whole.coverage_tumour >= 0.9)])


def test_labels_are_renamed_and_background_is_named(make_slide, tmp_path: Path) -> None:
    make_slide()
    write_square(tmp_path / "xml" / "slide.xml", (64, 64, 256, 320), label="_0")
    out = tmp_path / "out"
    options = ["--annotations", str(tmp_path / "xml"), "--rename", "_0=metastasis", "--background", "other"]
    assert (
        run(
            [
                "slides",
                "tile",
                str(tmp_path / "slide.tif"),
                str(out),
                "--size",
                "64",
                "--level",
                "0",
                *options,
            ]
        )
        == 0
    )
    assert Dataset.open(out).labels.names == ("other", "metastasis")
    assert rows_of(out).label.value_counts().to_dict() == {"other": 12, "metastasis": 12}


def test_the_bytes_are_the_same_for_any_number_of_workers(make_slide, tmp_path: Path) -> None:
    for i in range(3):
        make_slide(f"s/slide-{i}.tif", compression="jpeg", tile=48)
    break_tile(tmp_path / "s" / "slide-1.tif", 30)
    (tmp_path / "s" / "junk.svs").write_bytes(b"junk")
    made = {}
    for workers in (1, 3):
        folder = tmp_path / str(workers)
        folder.mkdir()
        tile_slides(
            tmp_path / "s", folder / "out", size=40, mpp=0.6, workers=workers, images="jpeg",
            min_sharpness=0.05, max_pen=0.5, per_slide=25,
        )  # fmt: skip
        made[workers] = files_of(folder / "out")
    assert made[1] == made[3]
    assert len([name for name in made[1] if name.startswith("images/")]) > 40


KILLED = """
import os, signal, sys
from plenish import cli
from plenish.datasets import writer

written = []

def kill_at_the_third(event, arguments):
    if event == "os.rename" and os.path.dirname(os.fspath(arguments[1])).endswith("rows"):
        written.append(arguments[1])
        if len(written) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

writer.shard_length = lambda size, channels: 50
sys.addaudithook(kill_at_the_third)
sys.exit(cli.run(sys.argv[1:]))
"""
"""Runs a command line and kills itself when the rows of two shards are written."""


def test_a_killed_tiling_goes_on_and_ends_the_same(make_slide, tmp_path: Path, monkeypatch, capsys) -> None:
    for i in range(3):
        make_slide(f"s/slide-{i}.tif", compression="jpeg", mpp=0.5)
    break_tile(tmp_path / "s" / "slide-0.tif", 19)
    (tmp_path / "s" / "another.svs").write_bytes(b"junk")
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    options = ["--size", "64", "--stride", "32", "--level", "0", "--min-tissue", "0.2", "--workers"]

    def words(folder: str, workers: int) -> list[str]:
        out = str(tmp_path / folder / "out")
        return ["slides", "tile", str(tmp_path / "s"), out, *options, str(workers)]

    monkeypatch.setattr(writer, "shard_length", lambda size, channels: 50)
    assert run(words("whole", 1)) == 0
    killed = subprocess.run([sys.executable, "-c", KILLED, *words("killed", 2)], capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    rows = tmp_path / "killed" / "out.partial" / "rows"
    assert len(list(rows.glob("*.json"))) == 2
    assert not (tmp_path / "killed" / "out").exists()
    before = {path.name: path.stat().st_mtime_ns for path in (rows.parent / "pixels").glob("*.npy")}
    capsys.readouterr()
    assert run(words("killed", 1)) == 0
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "killed" / "out" / "pixels").glob("*.npy")}
    assert sum(after[name] == when for name, when in before.items()) >= 2
    assert len(after) > 4
    assert files_of(tmp_path / "whole" / "out") == files_of(tmp_path / "killed" / "out")
    assert "slide-0.tif#" in (tmp_path / "killed" / "out" / "rejected.csv").read_text()
    assert "slides rejected  1" in capsys.readouterr().out


def _stop_before_reading(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_slide_that_was_replaced_is_not_mixed_with_its_old_plan(
    make_slide, tmp_path: Path, monkeypatch
) -> None:
    path = make_slide("s/a.tif")
    common = {"size": 64, "level": 0, "workers": 1}
    with monkeypatch.context() as patch:
        patch.setattr("plenish.slides.tiling._read_tiles", _stop_before_reading)
        with pytest.raises(KeyboardInterrupt):
            tile_slides(path, tmp_path / "out", **common)
    size = path.stat().st_size
    old = path.read_bytes()
    stamp = path.stat().st_mtime_ns
    make_slide("s/a.tif", pixels=np.full((384, 512, 3), 120, np.uint8))
    assert path.stat().st_size == size
    with pytest.raises(InputError, match=r"a\.tif.*out\.partial"):
        tile_slides(path, tmp_path / "out", **common)
    assert (tmp_path / "out.partial").exists()
    path.write_bytes(old)
    os.utime(path, ns=(stamp, stamp))
    assert len(tile_slides(path, tmp_path / "out", **common).dataset) == 24


def test_a_slide_that_was_refused_and_mended_is_tried_again(make_slide, tmp_path: Path, monkeypatch) -> None:
    make_slide("s/a.tif")
    path = make_slide("s/b.tif")
    good = path.read_bytes()
    path.write_bytes(bytes(len(good)))
    common = {"size": 64, "level": 0, "workers": 1}
    with monkeypatch.context() as patch:
        patch.setattr("plenish.slides.tiling._read_tiles", _stop_before_reading)
        with pytest.raises(KeyboardInterrupt):
            tile_slides(tmp_path / "s", tmp_path / "out", **common)
    path.write_bytes(good)
    made = tile_slides(tmp_path / "s", tmp_path / "out", **common)
    assert [row["status"] for row in made.slides] == ["tiled", "tiled"]


def test_a_tiling_stopped_while_it_planned_goes_on_and_ends_the_same(
    make_slide, tmp_path: Path, monkeypatch
) -> None:
    for name in "acd":
        make_slide(f"s/{name}.tif")
    (tmp_path / "s" / "b.tif").write_bytes(b"junk")
    common = {"size": 64, "level": 0, "workers": 1}
    for folder in ("whole", "stopped"):
        (tmp_path / folder).mkdir()
    tile_slides(tmp_path / "s", tmp_path / "whole" / "out", **common)
    plan_slide, planned = TileWorker.plan, list[str]()

    def stop_at_the_last(worker: TileWorker, job: tuple[SlideEntry, Path]) -> Rejection | None:
        planned.append(job[0].name)
        if planned == ["a", "b", "c", "d"]:
            raise KeyboardInterrupt
        return plan_slide(worker, job)

    monkeypatch.setattr(TileWorker, "plan", stop_at_the_last)
    out = tmp_path / "stopped" / "out"
    with pytest.raises(KeyboardInterrupt):
        tile_slides(tmp_path / "s", out, **common)
    kept = {path.name for path in (out.with_name("out.partial") / "plans").iterdir()}
    assert kept == {"00000.npz", "00001.json", "00002.npz", "modified.json"}
    tile_slides(tmp_path / "s", out, **common)
    assert planned[4:] == ["b", "d"]  # A slide that was rejected may have been repaired.
    assert files_of(out) == files_of(tmp_path / "whole" / "out")


def test_corrupt_regions_and_slides_are_listed_and_the_run_goes_on(make_slide, tmp_path: Path) -> None:
    make_slide("s/a.tif", compression="jpeg")
    make_slide("s/b.tif")
    make_slide("s/c.tif", mpp=None)
    (tmp_path / "s" / "d.svs").write_bytes(b"not a slide")
    break_tile(tmp_path / "s" / "a.tif", 10)  # Row 1, column 2 of 8.
    made = tile_slides(tmp_path / "s", tmp_path / "out", size=64, mpp=0.5)
    with (tmp_path / "out" / "rejected.csv").open() as file:
        rejected = {row["source"]: row["kind"] for row in csv.DictReader(file)}
    assert rejected == {"a.tif#1_2": "tile", "c.tif": "slide", "d.svs": "slide"}
    with (tmp_path / "out" / "summary.csv").open() as file:
        summary = {row["slide"]: row for row in csv.DictReader(file)}
    assert [summary[name]["tiles"] for name in "abcd"] == ["23", "24", "0", "0"]
    assert [summary[name]["status"] for name in "abcd"] == ["tiled", "tiled", "rejected", "rejected"]
    assert summary["a"]["corrupt"] == "1"
    assert (made.summary()["slides_rejected"], made.summary()["tiles_rejected"]) == (2, 1)
    assert "rejected" not in made.summary()
    found = {remark.code: remark.values for remark in made.remarks}
    assert (found["slides-rejected"]["count"], found["slides-rejected"]["total"]) == (2, 4)
    assert found["tiles-damaged"]["count"] == 1
    assert Dataset.open(tmp_path / "out").manifest.extra["rejected"] == 3


def test_glass_is_no_tissue_where_the_thumbnail_is_broken(make_slide, tmp_path: Path) -> None:
    pixels = np.full((512, 2048, 3), 244, np.uint8)
    rng = np.random.default_rng(0)
    pixels[128:384, 1024:1536] = np.clip(rng.normal((190, 110, 170), 15, (256, 512, 3)), 0, 255)
    common = {"size": 32, "level": 0, "min_tissue": 0.9}
    path = make_slide("whole.tif", pixels=pixels, compression="jpeg", factors=(1, 4))
    expected = tile_slides(path, tmp_path / "whole", **common)
    path = make_slide("broken.tif", pixels=pixels, compression="jpeg", factors=(1, 4))
    break_tile(path, 0, page=1)  # Glass only, of the level that the thumbnail is made from.
    break_tile(path, 4, page=1)  # Half of it tissue.
    made = tile_slides(path, tmp_path / "broken", **common)
    places = [rows_of(tmp_path / name)[["row", "col"]] for name in ("whole", "broken")]
    pd.testing.assert_frame_equal(*places)
    assert len(expected.dataset) == 8 * 16
    assert made.remarks == ()


def test_tissue_reaches_to_the_rim(make_slide, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = np.full((1008, 1600, 3), 244, np.uint8)  # Its thumbnail of 512 ends at row 1006.25.
    pixels[:, 800:] = np.clip(rng.normal((190, 110, 170), 15, (1008, 800, 3)), 0, 255)
    path = make_slide(pixels=pixels, factors=(1,))
    tile_slides(path, tmp_path / "out", size=48, level=0, min_tissue=1.0, workers=1)
    table = rows_of(tmp_path / "out")
    assert len(table) == 21 * 16
    assert set(table.tissue) == {1.0}


def test_where_no_level_tells_the_tissue_a_remark_does(make_slide, tmp_path: Path, monkeypatch) -> None:
    path = make_slide("s.tif", compression="jpeg", factors=(1,))
    break_tile(path, 10)  # Row 1, column 2 of tiles of 64, all tissue.
    made = tile_slides(path, tmp_path / "out", size=64, level=0)
    assert [row["corrupt"] for row in made.slides] == [1]
    [remark] = [one for one in made.remarks if one.code == "unreadable-area"]
    assert remark.slide == "s"
    assert remark.values == {"share": pytest.approx(64 * 64 / (512 * 384)), "left_out": 0}
    monkeypatch.setattr(Grid, "read", lambda grid, *_: np.zeros((grid.size, grid.size, 3), np.uint8))
    made = tile_slides(path, tmp_path / "other", size=64, level=0, workers=1)
    assert len(made.dataset) == 23
    assert made.remarks[0].values["left_out"] == 1


def test_a_slide_without_tissue_is_an_error_with_a_picture(make_slide, tmp_path: Path, capsys) -> None:
    path = make_slide("bare.tif", pixels=np.full((300, 400, 3), 240, np.uint8))
    assert run(["slides", "tile", str(path), str(tmp_path / "out"), "--size", "64", "--level", "0"]) == 2
    said = capsys.readouterr().err
    assert "bare" in said
    assert "out.no-tissue.bare.png" in said
    assert Image.open(tmp_path / "out.no-tissue.bare.png").height == 300
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_without_a_scale_it_is_refused_and_with_an_assumed_one_done(
    make_slide, tmp_path: Path, capsys
) -> None:
    path = make_slide(mpp=None)
    words = ["slides", "tile", str(path), str(tmp_path / "out"), "--size", "32", "--mpp", "1.0"]
    assert run(words) == 2
    assert "--assume-mpp" in capsys.readouterr().err
    assert run([*words, "--assume-mpp", "0.5"]) == 0
    assert set(rows_of(tmp_path / "out")["level"]) == {1}
    (tmp_path / "t.csv").write_text("slide,mpp\nslide,1.0\n")
    made = tile_slides(path, tmp_path / "table", size=32, mpp=1.0, metadata=tmp_path / "t.csv")
    assert (made.slides[0]["level"], made.slides[0]["mpp_source"]) == (0, "the table")


def test_a_level_of_unknown_scale_is_tiled_with_a_warning(make_slide, tmp_path: Path) -> None:
    make_slide("s/a.tif", mpp=None)
    make_slide("s/b.tif", mpp=0.5)
    make_slide("s/c.tif", mpp=1.0)
    made = tile_slides(tmp_path / "s", tmp_path / "out", size=64, level=0)
    table = rows_of(tmp_path / "out")
    assert table[table.slide == "a"].mpp.isna().all()
    assert Remark("scale-unknown", {"count": 1}) in made.remarks
    [differ] = [remark.values for remark in made.remarks if remark.code == "scales-differ"]
    assert (differ["least"], differ["most"]) == (pytest.approx(0.5), pytest.approx(1.0))


def test_metadata_follow_every_tile_and_mismatches_are_said(make_slide, tmp_path: Path) -> None:
    make_slide("s/a.tif")
    make_slide("s/b.tif")
    (tmp_path / "t.csv").write_text("slide_id|patient|kind|age\na|P1|x|61\nzz|P3|y|\n")
    made = tile_slides(
        tmp_path / "s", tmp_path / "out", size=64, level=0, metadata=tmp_path / "t.csv", label_column="kind"
    )
    table = rows_of(tmp_path / "out")
    assert set(table.group) == {"P1"}
    assert set(table.age) == {61.0}
    assert set(table.label) == {"x"}
    assert made.dataset.manifest.extra["rows_without_slide"] == ["zz"]
    assert made.dataset.manifest.extra["slides_without_row"] == ["b"]
    assert Remark("rows-without-slide", {"names": ["zz"]}) in made.remarks
    assert Remark("slides-without-row", {"names": ["b"]}) in made.remarks
    assert "kind" in made.slides[1]["reason"]


def test_a_slide_without_its_patient_is_no_group_in_silence(make_slide, tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        make_slide(f"s/{name}.tif")
    (tmp_path / "t.csv").write_text("slide,patient,stay\na,P1,12\nb,,3\n")
    made = tile_slides(
        tmp_path / "s", tmp_path / "out", size=64, level=0, metadata=tmp_path / "t.csv", workers=1
    )
    assert Remark("mixed-groups", {"names": {"table": ["a"], "slide": ["b", "c"]}}) in made.remarks
    assert pq.read_schema(tmp_path / "out" / "samples.parquet").field("stay").type == pa.int64()
    made = tile_slides(
        tmp_path / "s", tmp_path / "two", size=64, level=0, metadata=tmp_path / "t.csv", workers=1,
        group_column="patient",
    )  # fmt: skip
    assert [row["status"] for row in made.slides] == ["tiled", "rejected", "rejected"]
    assert "patient" in made.slides[1]["reason"]


def test_annotations_that_do_not_fit_are_said(make_slide, tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        make_slide(f"s/{name}.tif")
    write_square(tmp_path / "xml" / "a.xml", (100, 100, 300, 900))  # Reaches off the slide.
    (tmp_path / "xml" / "b.xml").write_text("<ASAP_Annotations><broken")
    write_square(tmp_path / "xml" / "c.xml", (5000, 5000, 6000, 6000))
    write_square(tmp_path / "xml" / "e.xml", (0, 0, 9, 9))
    made = tile_slides(tmp_path / "s", tmp_path / "out", size=64, level=0, annotations=tmp_path / "xml")
    by_name = {row["slide"]: row for row in made.slides}
    assert [by_name[name]["status"] for name in "abcd"] == ["tiled", "rejected", "rejected", "tiled"]
    assert "annotations-off-slide" in [remark.code for remark in made.remarks if remark.slide == "a"]
    found = {remark.code: remark.values for remark in made.remarks}
    assert (found["unannotated"]["names"], found["unannotated"]["treatment"]) == (["d"], "background")
    assert found["unmatched-annotations"]["names"] == ["e.xml"]
    skipped = tile_slides(
        tmp_path / "s", tmp_path / "skip", size=64, level=0, annotations=tmp_path / "xml", unannotated="skip"
    )
    assert {row["slide"]: row["status"] for row in skipped.slides}["d"] == "rejected"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"priority": ["tumor"]}, "--priority 'tumor'; did you mean 'tumour'"),
        ({"rename": ["tumuor=x"]}, "--rename 'tumuor'; did you mean 'tumour'"),
        ({"rename": ["_0=x", "tumours=x", "stroma=x"]}, "--rename 'tumours'; did you mean 'tumour'"),
        ({"holes": ["nix"]}, "--holes 'nix'"),
    ],
)
def test_labels_that_no_annotation_has_are_refused(make_slide, tmp_path: Path, options, words) -> None:
    make_slide("s/a.tif")
    make_slide("s/b.tif")
    write_square(tmp_path / "xml" / "a.xml", (64, 64, 192, 320))
    write_square(tmp_path / "xml" / "b.xml", (64, 64, 192, 320), label="stroma")
    common = {"size": 64, "level": 0, "annotations": tmp_path / "xml", "workers": 1}
    with pytest.raises(InputError, match=re.escape(words)):
        tile_slides(tmp_path / "s", tmp_path / "out", **common, **options)
    assert not list(tmp_path.glob("out*"))
    tile_slides(tmp_path / "s", tmp_path / "out", **common, rename=["_0=x", "tumour=x"], priority=["stroma"])
    assert Dataset.open(tmp_path / "out").labels.names == ("normal", "stroma", "x")


def test_usual_holes_stay_beside_named_ones_unless_none_is_named(make_slide, tmp_path: Path) -> None:
    make_slide("s/a.tif")
    make_slide("s/b.tif")
    write_square(tmp_path / "xml" / "a.xml", (64, 64, 192, 320), label="Exclusion")
    write_square(tmp_path / "xml" / "b.xml", (64, 64, 192, 320), label="necrosis")
    common = {"size": 64, "level": 0, "annotations": tmp_path / "xml", "workers": 1}
    made = tile_slides(tmp_path / "s", tmp_path / "some", holes=["necrosis"], **common)
    assert made.dataset.labels.names == ("normal",)
    made = tile_slides(tmp_path / "s", tmp_path / "none", holes=["none"], **common)
    assert made.dataset.labels.names == ("normal", "Exclusion", "necrosis")


def test_only_annotations_that_belong_to_no_slide_are_told(make_slide, tmp_path: Path) -> None:
    a = make_slide("s/a.tif")
    make_slide("s/b.tif")
    for name in ("a", "b", "c"):
        write_square(tmp_path / "s" / f"{name}.xml", (64, 64, 192, 320))
    (tmp_path / "s" / "truth.json").write_text("{}")
    made = tile_slides(a, tmp_path / "out", size=64, level=0, annotations=tmp_path / "s", workers=1)
    values = {"names": ["c.xml"], "folder": str(tmp_path / "s")}
    assert made.remarks == (Remark("unmatched-annotations", values),)


def test_a_normal_slide_alone_is_background_with_a_warning(make_slide, tmp_path: Path) -> None:
    b = make_slide("s/b.tif")
    write_square(tmp_path / "xml" / "a.xml", (64, 64, 192, 320))
    made = tile_slides(b, tmp_path / "out", size=64, level=0, annotations=tmp_path / "xml", workers=1)
    values = {"names": ["b"], "folder": str(tmp_path / "xml"), "treatment": "background"}
    assert Remark("unannotated", values) in made.remarks


def test_slides_without_a_tile_left_say_which_option_took_them(make_slide, tmp_path: Path) -> None:
    make_slide("s/a.tif")
    write_square(tmp_path / "xml" / "a.xml", (0, 0, 512, 20))
    common = {"size": 256, "level": 0, "min_tissue": 0.1, "workers": 1}
    with pytest.raises(InputError, match=r"2 tiles .*--min-sharpness"):
        tile_slides(tmp_path / "s", tmp_path / "out", min_sharpness=50, **common)
    cut = {"annotations": tmp_path / "xml", "ambiguous": "drop"}
    with pytest.raises(InputError, match=r"50%.*--label-threshold"):
        tile_slides(tmp_path / "s", tmp_path / "out", **cut, **common)
    make_slide("s/b.tif")
    made = tile_slides(tmp_path / "s", tmp_path / "out", **cut, **common)
    assert [(row["status"], row["tiles"]) for row in made.slides] == [("rejected", 0), ("tiled", 2)]
    assert "--ambiguous keep" in made.slides[0]["reason"]
    assert not list(tmp_path.glob("*.partial"))


def test_a_balanced_draw(make_slide, tmp_path: Path) -> None:
    make_slide("s/a.tif")
    make_slide("s/b.tif")
    write_square(tmp_path / "xml" / "a.xml", (64, 64, 192, 320))
    write_square(tmp_path / "xml" / "b.xml", (64, 64, 128, 128))
    common = {"size": 32, "level": 0, "annotations": tmp_path / "xml"}
    tile_slides(tmp_path / "s", tmp_path / "one", per_class=12, seed=1, **common)
    tile_slides(tmp_path / "s", tmp_path / "two", per_class=12, seed=2, **common)
    one, two = rows_of(tmp_path / "one"), rows_of(tmp_path / "two")
    assert (
        one.label.value_counts().to_dict()
        == two.label.value_counts().to_dict()
        == {"normal": 12, "tumour": 12}
    )
    assert set(one.id) != set(two.id)
    made = tile_slides(tmp_path / "s", tmp_path / "few", per_class=1000, per_slide=5, **common)
    counts = rows_of(tmp_path / "few").groupby(["slide", "label"]).size()
    assert counts.to_dict() == {
        ("a", "normal"): 5,
        ("a", "tumour"): 5,
        ("b", "normal"): 5,
        ("b", "tumour"): 4,
    }
    assert Remark("class-too-small", {"label": "tumour", "found": 9, "wanted": 1000}) in made.remarks


def test_a_draw_from_a_damaged_slide_says_why_it_is_short(make_slide, tmp_path: Path) -> None:
    path = make_slide("s/a.tif", compression="jpeg")
    write_square(tmp_path / "xml" / "a.xml", (64, 64, 256, 320))
    for number in (9, 10, 11):  # Of 12 of the class.
        break_tile(path, number)
    common = {"size": 64, "level": 0, "annotations": tmp_path / "xml", "workers": 1}
    made = tile_slides(path, tmp_path / "out", per_class=12, **common)
    [short] = [remark for remark in made.remarks if remark.code.startswith("class-")]
    assert short == Remark("class-rejected", {"label": "tumour", "found": 9, "wanted": 12})
    made = tile_slides(path, tmp_path / "more", per_class=13, **common)
    assert Remark("class-too-small", {"label": "tumour", "found": 9, "wanted": 13}) in made.remarks


def test_blurred_and_inked_tiles_are_rejected_with_the_reason(make_slide, tmp_path: Path) -> None:
    from scipy import ndimage

    rng = np.random.default_rng(0)
    pixels = np.clip(np.array([190, 110, 170]) + rng.normal(0, 25, (256, 384, 1)), 0, 255).astype(np.uint8)
    pixels[:, :128] = ndimage.gaussian_filter(pixels[:, :128].astype(float), (4, 4, 0)).astype(np.uint8)
    pixels[:, 256:] = np.where(rng.random((256, 128, 1)) < 0.9, (20, 60, 160), pixels[:, 256:])
    made = tile_slides(
        make_slide(pixels=pixels), tmp_path / "out", size=64, level=0, min_tissue=0, min_sharpness=0.2,
        max_pen=0.5,
    )  # fmt: skip
    assert {"blurred": 8, "pen": 8, "corrupt": 0, "tiles": 8}.items() <= made.slides[0].items()
    table = rows_of(tmp_path / "out")
    assert (table.sharpness > 0.2).all()
    assert (table.pen <= 0.5).all()
    kinds = pd.read_csv(tmp_path / "out" / "rejected.csv")["kind"]
    assert kinds.value_counts().to_dict() == {"blurred": 8, "pen": 8}


def test_a_slide_that_is_lost_between_plan_and_draw_is_listed(
    make_slide, tmp_path: Path, monkeypatch
) -> None:
    from plenish.slides import tiling

    for name in "ab":
        make_slide(f"s/{name}.tif")
    plan_slides = tiling.plan_slides

    def lose(*given: Any, **options: Any) -> Any:
        planned = plan_slides(*given, **options)
        (tmp_path / "s" / "a.tif").unlink()
        return planned

    monkeypatch.setattr(tiling, "plan_slides", lose)
    made = tile_slides(
        tmp_path / "s", tmp_path / "out", size=64, level=0, max_pen=0.9, per_class=10, workers=1
    )
    assert [row["tiles"] for row in made.slides] == [0, 10]
    assert "a.tif#" in (tmp_path / "out" / "rejected.csv").read_text()


def test_picture_files_are_named_by_slide_row_and_column(make_slide, tmp_path: Path) -> None:
    make_slide(pixels=np.random.default_rng(0).integers(0, 256, (400, 800, 3), dtype=np.uint8))
    tile_slides(tmp_path / "slide.tif", tmp_path / "out", size=64, level=0, min_tissue=0, images="png")
    names = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    assert (names[0], names[-1], len(names)) == ("slide_0_00.png", "slide_5_11.png", 72)
    images = images_of(tmp_path / "out")
    table = rows_of(tmp_path / "out")
    for i in (0, 40, 71):
        np.testing.assert_array_equal(
            np.asarray(Image.open(tmp_path / "out" / "images" / f"{table.id[i]}.png")), images[i]
        )


def test_options_that_cannot_be_are_refused_before_anything_is_made(
    make_slide, tmp_path: Path, capsys
) -> None:
    path = str(make_slide())
    out = str(tmp_path / "out")
    for options, words in (
        ([], "--mpp nor --level"),
        (["--mpp", "1", "--level", "0"], "--mpp and --level"),
        (["--level", "0", "--size", "4"], "--size"),
        (["--mpp", "0"], "--mpp must"),
        (["--level", "7"], "level 7"),
        (["--level", "0", "--size", "1024"], "a tile of 1024"),
        (["--mpp", "0.1"], "--mpp 0.1"),
        (["--level", "0", "--min-tissue", "2"], "--min-tissue"),
        (["--level", "0", "--tissue-saturation", "1.5"], "--tissue-saturation"),
        (["--level", "0", "--tissue-close-um", "-1"], "--tissue-close-um"),
        (["--level", "0", "--tissue-speck-um2", "nan"], "--tissue-speck-um2"),
        (["--level", "0", "--workers", "0"], "--workers"),
        (["--level", "0", "--label-column", "x"], "--label-column"),
        (["--level", "0", "--annotations", out], "out does not exist"),
        (["--level", "0", "--annotations", str(tmp_path)], "slide.xml"),
        (["--level", "0", "--rename", "a"], "--rename"),
        (["--level", "0", "--priority", "a", "--holes", "a"], "'a' .*--priority"),
        (["--level", "0", "--label-threshold", "0"], "--label-threshold"),
        (["--level", "0", "--metadata", str(tmp_path / "none.csv")], "none.csv"),
    ):  # fmt: skip
        assert run(["slides", "tile", path, out, "--quiet", *options]) == 2, options
        said = capsys.readouterr().err
        assert re.search(words, said), said
        assert said.count("\n") == 1
        assert not (tmp_path / "out").exists()
        assert not (tmp_path / "out.partial").exists()
    Path(out).mkdir()
    with pytest.raises(InputError, match="already exists"):
        tile_slides(Path(path), Path(out), level=0)


def test_json_has_a_row_for_every_slide(make_slide, tmp_path: Path, capsys) -> None:
    make_slide("s/a.tif")
    make_slide("s/b.tif", mpp=None)
    words = [
        "slides",
        "tile",
        str(tmp_path / "s"),
        str(tmp_path / "out"),
        "--size",
        "64",
        "--mpp",
        "0.5",
        "--json",
    ]
    assert run(words) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [row["status"] for row in answer["slides"]] == ["tiled", "rejected"]
    assert answer["slides"][0]["positions"] == 48
    assert len(answer["warnings"]) == 1


def test_neither_the_command_nor_its_workers_load_torch(make_slide, tmp_path: Path) -> None:
    make_slide()
    write_square(tmp_path / "xml" / "slide.xml", (100, 100, 300, 300))
    words = [
        "slides",
        "tile",
        str(tmp_path / "slide.tif"),
        str(tmp_path / "out"),
        "--size",
        "64",
        "--mpp",
        "0.5",
    ]
    more = [
        "--workers",
        "2",
        "--annotations",
        str(tmp_path / "xml"),
        "--min-sharpness",
        "0.01",
        "--images",
        "jpeg",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "plenish", *words, *more], check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONPROFILEIMPORTTIME": "1"},
    )  # fmt: skip
    imported = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line]
    assert imported.count("plenish.slides.grid") >= 2  # The command's and a worker's.
    assert not [name for name in imported if name.split(".")[0] in ("torch", "torchvision", "timm")]


def test_the_recipe_for_camelyon_is_runnable_and_options_count_before_it(make_slide, tmp_path: Path) -> None:
    pixels = np.full((768, 1024, 3), 244, np.uint8)
    pixels[64:704, 64:960] = np.random.default_rng(0).normal((190, 110, 170), 15, (640, 896, 3)).clip(0, 255)
    make_slide("s/tumor_001.tif", pixels=pixels)
    make_slide("s/normal_001.tif")
    write_square(tmp_path / "xml" / "tumor_001.xml", (64, 64, 512, 704), label="_0")
    words = ["recipe", "run", "camelyon-tiles", str(tmp_path / "s"), str(tmp_path / "out")]
    words += ["--annotations", str(tmp_path / "xml"), "--size", "64", "--level", "1", "--per-class", "7"]
    assert run([*words, "--quiet"]) == 0
    table = rows_of(tmp_path / "out")
    assert table.label.value_counts().to_dict() == {"negative": 7, "positive": 7}
    assert set(table.level) == {1}
    assert set(table.slide) == {"tumor_001"}  # The other has no annotations.


def test_a_disk_that_is_too_small_is_found_before_the_work(make_slide, tmp_path: Path, monkeypatch) -> None:
    usage = type("Usage", (), {"free": 2**20})
    monkeypatch.setattr("plenish.files.shutil.disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="free some space"):
        tile_slides(make_slide(), tmp_path / "out", size=64, level=0)
    assert not (tmp_path / "out.partial").exists()


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_slide_whose_pixels_are_lost_is_not_said_to_have_no_tissue(
    make_slide, tmp_path: Path, damage: str
) -> None:
    path = make_slide(compression="jpeg")
    with tifffile.TiffFile(path) as file:
        spans = [span for page in file.pages for span in zip(page.dataoffsets, page.databytecounts)]
        tiles = [len(page.dataoffsets) for page in file.pages]
    if damage == "cut":
        with tifffile.TiffFile(path, mode="r+b") as file:
            for page, count in zip(file.pages, tiles):
                end = path.stat().st_size
                page.tags["TileOffsets"].overwrite([end] * count if count > 1 else end)
    else:
        content = bytearray(path.read_bytes())
        for start, length in spans:
            content[start : start + length] = bytes(length)
        path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        tile_slides(path, tmp_path / "out", size=64, level=0, workers=1)
    said = str(caught.value)
    assert "tissue-" not in said
    assert "restore it from a copy" in said
    assert not list(tmp_path.glob("*.png"))


def test_a_slide_whose_readable_rest_is_bare_is_not_said_to_have_no_tissue(
    make_slide, tmp_path: Path
) -> None:
    path = make_slide(compression="jpeg", factors=(1,))
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        spans = list(zip(file.pages[0].dataoffsets, file.pages[0].databytecounts))
    for start, length in spans[8:]:  # All but the first row of tiles, which is glass.
        content[start : start + length] = bytes(length)
    path.write_bytes(content)
    with pytest.raises(InputError, match="83% of its area cannot be decoded"):
        tile_slides(path, tmp_path / "out", size=64, level=0, workers=1)
