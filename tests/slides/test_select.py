from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from plenish.cli import run
from plenish.commands.slides import make_slides, select_slides, tile_slides
from plenish.errors import InputError
from plenish.phantom.slide_writer import PhantomSlides
from plenish.slides.slide_list import list_slides


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PhantomSlides:
    out = tmp_path_factory.mktemp("select") / "slides"
    return make_slides(out, slides=4, normal=1, width=600, height=512, seed=2)


def test_slides_are_ranked_by_annotated_area(made: PhantomSlides) -> None:
    found = select_slides(made.out, made.out)
    truth = {one.name: one.layout.tumour_area * 0.25e-6 for one in made.slides[:3]}
    assert [row["name"] for row in found.rows] == sorted(truth, key=lambda name: -truth[name])
    assert [row["rank"] for row in found.rows] == [1, 2, 3]
    for row in found.rows:
        assert row["annotated_mm2"] == pytest.approx(truth[row["name"]], rel=1e-4)
        assert row["share"] == pytest.approx(truth[row["name"]] / (600 * 512 * 0.25e-6), rel=1e-3)
    assert found.unit == "mm²"
    assert found.unused == ({"slide": "phantom-0003", "reason": "it has no annotations"},)


def test_the_table_can_be_tiled(made: PhantomSlides, tmp_path: Path) -> None:
    found = select_slides(made.out, made.out, out=tmp_path / "deep" / "best.csv", top=2)
    with (tmp_path / "deep" / "best.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [row["name"] for row in found.rows]
    listed = list_slides(tmp_path / "deep" / "best.csv")
    assert {entry.path for entry in listed.entries} == {made.out / f"{row['name']}.tif" for row in rows}


def test_the_table_names_patients_only_where_they_are_known(made: PhantomSlides, tmp_path: Path) -> None:
    bare = tmp_path / "bare.csv"
    select_slides(made.out, made.out, out=bare)
    assert "patient" not in bare.read_text().splitlines()[0].split(",")
    assert {entry.group_from for entry in list_slides(bare).entries} == {"slide"}
    told = tmp_path / "told.csv"
    (tmp_path / "m.csv").write_text(
        "slide_id,case_id,kind,mpp,rank\nphantom-0000,C1,x,0.4,7\nphantom-0001,C1,y,0.4,8\nphantom-0002,,,,\n"
    )
    found = select_slides(made.out, made.out, out=told, metadata=tmp_path / "m.csv")
    assert {row["name"]: row.get("patient") for row in found.rows} == {
        "phantom-0000": "C1", "phantom-0001": "C1", "phantom-0002": None,
    }  # fmt: skip
    entries = {entry.name: entry for entry in list_slides(told).entries}
    one, two = entries["phantom-0000"], entries["phantom-0002"]
    assert (one.group, one.group_from, one.mpp) == ("C1", "table", 0.4)
    assert (two.group_from, two.mpp) == ("slide", None)
    assert one.metadata["kind"] == "x"
    assert one.metadata["slide_rank"] == 7
    assert one.metadata["rank"] in (1, 2, 3)


def test_an_assumed_scale_and_a_links_name_are_kept_in_the_table(make_slide, tmp_path: Path) -> None:
    make_slide("real/0f3a.tif", mpp=None)
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "S1.tif").symlink_to(tmp_path / "real" / "0f3a.tif")
    corners = "".join(
        f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>'
        for i, (x, y) in enumerate([(64, 64), (200, 64), (200, 200)])
    )
    (tmp_path / "s" / "S1.xml").write_text(
        f'<ASAP_Annotations><Annotation Type="Polygon" PartOfGroup="T"><Coordinates>{corners}</Coordinates>'
        "</Annotation></ASAP_Annotations>"
    )
    select_slides(tmp_path / "s", out=tmp_path / "best.csv", assume_mpp=0.5)
    made = tile_slides(
        tmp_path / "best.csv", tmp_path / "out", size=32, mpp=0.5, annotations=tmp_path / "s", workers=1
    )
    assert (made.slides[0]["slide"], made.slides[0]["mpp_source"]) == ("S1", "the table")
    assert made.slides[0]["tiles_T"] > 0


def test_one_label_can_count(made: PhantomSlides, tmp_path: Path) -> None:
    shutil.copy(made.out / "phantom-0000.tif", tmp_path / "a.tif")
    shutil.copy(made.out / "phantom-0000.tif", tmp_path / "b.tif")
    marks = tmp_path / "marks"
    marks.mkdir()
    for name, pale, dark in (("a", 10, 300), ("b", 200, 20)):
        features = [
            {
                "type": "Feature", "properties": {"classification": {"name": label}},
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [[[x, 0], [x + side, 0], [x + side, side], [x, side]]],
                },
            }
            for label, side, x in (("pale", pale, 0), ("dark", dark, 300))
        ]  # fmt: skip
        (marks / f"{name}.geojson").write_text(
            json.dumps({"type": "FeatureCollection", "features": features})
        )
    (marks / "c.xml").write_text("<ASAP_Annotations/>")
    assert [row["name"] for row in select_slides(tmp_path, marks).rows] == ["a", "b"]
    found = select_slides(tmp_path, marks, label="pale")
    assert [row["name"] for row in found.rows] == ["b", "a"]
    assert found.rows[0]["annotated_mm2"] == pytest.approx(200**2 * 0.25e-6)
    assert found.rows[0]["dark_mm2"] == pytest.approx(20**2 * 0.25e-6)
    assert [remark.values["names"] for remark in found.remarks] == [["c.xml"]]
    with pytest.raises(InputError, match="did you mean 'pale'"):
        select_slides(tmp_path, marks, label="pal")


def test_without_a_scale_areas_are_in_pixels(made: PhantomSlides, tmp_path: Path) -> None:
    import numpy as np
    import tifffile

    pixels = np.full((300, 300, 3), 200, np.uint8)
    tifffile.imwrite(tmp_path / "plain.tif", pixels, tile=(256, 256), photometric="rgb", metadata=None)
    square = "".join(
        f'<Coordinate Order="{i}" X="{x}" Y="{y}"/>'
        for i, (x, y) in enumerate([(0, 0), (50, 0), (50, 40), (0, 40)])
    )
    (tmp_path / "plain.xml").write_text(
        f'<ASAP_Annotations><Annotation Type="Polygon" PartOfGroup="T"><Coordinates>{square}</Coordinates>'
        "</Annotation></ASAP_Annotations>"
    )
    found = select_slides(tmp_path, tmp_path)
    assert (found.unit, found.rows[0]["annotated_px2"]) == ("px²", 2000)
    assert select_slides(tmp_path, tmp_path, assume_mpp=0.5).rows[0]["annotated_mm2"] == 0.0005


def test_broken_annotations_are_listed_and_others_ranked(made: PhantomSlides, tmp_path: Path) -> None:
    for one in made.out.glob("*.xml"):
        shutil.copy(one, tmp_path)
    (tmp_path / "phantom-0001.xml").write_text("<ASAP_Annotations>")
    found = select_slides(made.out, tmp_path)
    assert len(found.rows) == 2
    assert "unmatched-annotations" not in [remark.code for remark in found.remarks]
    assert "phantom-0001.xml" in {row["slide"]: row["reason"] for row in found.unused}["phantom-0001"]
    for path in tmp_path.glob("*.xml"):
        path.unlink()
    with pytest.raises(InputError, match="None of the slides"):
        select_slides(made.out, tmp_path)


def test_what_is_no_slide_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "notes.svs").write_text("notes")
    with pytest.raises(InputError, match=r"notes\.svs"):
        select_slides(tmp_path / "notes.svs")


def test_the_verb(made: PhantomSlides, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["slides", "select", str(made.out), "--annotations", str(made.out)]
    assert run([*words, "--json", "--quiet", "--top", "1", "--out", str(tmp_path / "best.csv")]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert len(shown["slides"]) == 1
    assert shown["without_rank"][0]["slide"] == "phantom-0003"
    assert run([*words, "--out", str(tmp_path / "best.csv")]) == 2
    assert "already exists" in capsys.readouterr().err
    assert run([*words, "--top", "0"]) == 2
    assert "--top" in capsys.readouterr().err
