from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import openslide
import pytest
import shapely
import tifffile
from PIL import Image, ImageDraw

from plenish.cli import run
from plenish.commands.slides import make_slides
from plenish.errors import InputError
from plenish.phantom import slide_writer
from plenish.phantom.fragment_layout import make_fragment_layout
from plenish.phantom.fragment_texture import FragmentPainter
from plenish.phantom.patient import patient_of
from plenish.phantom.slide_layout import area, make_layout
from plenish.phantom.slide_texture import Painter
from plenish.phantom.slide_writer import PhantomSlides, level_sizes
from plenish.slides.filters import SHARP, pen_share, sharpness


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PhantomSlides:
    out = tmp_path_factory.mktemp("phantom") / "slides"
    return make_slides(out, slides=2, normal=1, width=1400, height=1100, mpp=0.5, artefacts=True, seed=3)


def test_openslide_reads_the_pyramid_and_its_scale(made: PhantomSlides) -> None:
    with openslide.OpenSlide(made.out / "phantom-0000.tif") as slide:
        assert slide.level_dimensions == ((1400, 1100), (700, 550), (350, 275))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.5, rel=1e-4)
        assert float(slide.properties["openslide.mpp-y"]) == pytest.approx(0.5, rel=1e-4)
        fine = np.asarray(slide.read_region((256, 256), 0, (512, 512)), np.float64)[..., :3]
        coarse = np.asarray(slide.read_region((256, 256), 1, (256, 256)), np.float64)[..., :3]
    halved = fine.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
    assert np.abs(halved.mean((0, 1)) - coarse.mean((0, 1))).max() < 1
    assert np.abs(halved - coarse).mean() < 4  # The JPEG's loss, at either level.


@pytest.mark.parametrize("quality", [pytest.param(30, marks=pytest.mark.slow), 70])
def test_jpeg_2000_spends_as_much_on_glass_as_scanners_do(tmp_path: Path, quality: int) -> None:
    made = make_slides(
        tmp_path / "out", slides=1, content="fragments", width=1850, height=1850,
        mpp=1.0, compression="jpeg2000", quality=quality,
    )  # fmt: skip
    path = made.out / "phantom-0000.tif"
    with tifffile.TiffFile(path) as tiff:
        sizes = np.array([size for page in tiff.pages for size in page.databytecounts])
        assert sizes.max() <= 200 * quality + 60  # And its header.
        assert np.median(tiff.pages[0].databytecounts) > 0.95 * 200 * quality
    rng = np.random.default_rng([0, 0, 0x5CA7])
    painter = FragmentPainter(
        make_fragment_layout(1850, 1850, 1.0, rng), patient_of(0, 0), 1.0, int(rng.integers(2**63))
    )
    with openslide.OpenSlide(path) as slide:
        for x, y in ((0, 0), (512, 1024), (1280, 256), (1536, 1536)):
            seen = np.asarray(slide.read_region((x, y), 0, (256, 256)).convert("RGB"), np.float64)
            assert np.abs((seen - painter.paint(x, y, 256)).mean((0, 1))).max() < 0.2


def test_levels_end_where_a_slide_is_seen_at_a_glance() -> None:
    assert level_sizes(600, 512) == [(600, 512), (300, 256), (150, 128)]
    assert level_sizes(60_000, 40_001)[-1] == (937, 625)
    assert len(level_sizes(60_000, 40_001)) == 7


@pytest.mark.parametrize("seed", range(20))
def test_tumours_lie_in_the_tissue_apart_and_hold_their_holes(seed: int) -> None:
    layout = make_layout(3000, 2000, tumour=True, artefacts=True, rng=np.random.default_rng(seed))
    tissue = shapely.Polygon(layout.tissue)
    tumours = [shapely.Polygon(polygon) for polygon in layout.tumours]
    holes = [shapely.Polygon(polygon) for polygon in layout.holes]
    assert tissue.is_valid
    assert shapely.box(0, 0, 3000, 2000).contains(tissue)
    assert all(tumour.is_valid and tissue.contains(tumour) for tumour in tumours)
    assert not tumours[0].intersects(tumours[1])
    assert tumours[0].contains(holes[0])
    assert layout.tissue_area == pytest.approx(tissue.area)
    assert layout.tumour_area == pytest.approx(
        shapely.difference(tumours[0], holes[0]).area + tumours[1].area
    )
    assert 0.02 < layout.tumour_area / layout.tissue_area < 0.4


def test_area_of_known_shapes() -> None:
    assert area(np.array([(0, 0), (4, 0), (4, 3), (0, 3)], float)) == 12
    assert area(np.array([(0, 0), (0, 3), (4, 0)], float)) == 6


def test_the_picture_shows_what_the_truth_says(made: PhantomSlides) -> None:
    truth = json.loads((made.out / "truth.json").read_text())["truth"][0]
    with openslide.OpenSlide(made.out / "phantom-0000.tif") as slide:
        rgb = np.asarray(slide.read_region((0, 0), 0, (1400, 1100)))[..., :3].astype(np.float64)

    def drawn(polygons: list[list[list[float]]]) -> np.ndarray:
        image = Image.new("1", (1400, 1100))
        for polygon in polygons:
            ImageDraw.Draw(image).polygon([tuple(point) for point in polygon], fill=1)
        return np.asarray(image)

    tissue, ink = drawn(truth["tissue"]), drawn(truth["ink"])
    tumour = drawn(truth["tumours"]) & ~drawn(truth["holes"]) & ~ink
    assert tumour.sum() == pytest.approx(truth["tumour_area"], rel=0.02)
    assert tissue.sum() == pytest.approx(truth["tissue_area"], rel=0.01)
    green = rgb[..., 1]
    glass = green[~tissue & ~ink]
    assert glass.std() < 6
    assert green[tissue & ~ink].mean() < glass.mean() - 40
    # Tumour has larger, darker nuclei closer together: red is swallowed by haematoxylin alone.
    normal = tissue & ~tumour & ~ink & ~drawn(truth["tumours"])
    assert rgb[..., 0][tumour].mean() < rgb[..., 0][normal].mean() - 15
    assert (rgb[..., 1] > rgb[..., 0] + 30)[ink].mean() > 0.95


def test_artefacts_are_found_by_the_filters(made: PhantomSlides) -> None:
    truth = made.slides[0].layout
    with openslide.OpenSlide(made.out / "phantom-0000.tif") as slide:

        def tile(x: float, y: float, side: int = 128) -> np.ndarray:
            corner = (int(x) - side // 2, int(y) - side // 2)
            return np.asarray(slide.read_region(corner, 0, (side, side)))[None, ..., :3]

        blurred = tile(*truth.blurred[0].mean(axis=0), 64)
        sharp = tile(*truth.tumours[0].mean(axis=0), 64)
        inked = tile(*truth.ink[0].mean(axis=0), 32)
    assert sharpness(blurred)[0] < SHARP < 1.3 * SHARP < sharpness(sharp)[0]
    assert pen_share(inked)[0] > 0.9
    assert pen_share(sharp)[0] < 0.01


def test_slides_are_a_function_of_the_seed(made: PhantomSlides, tmp_path: Path) -> None:
    again = make_slides(
        tmp_path / "again", slides=2, normal=1, width=1400, height=1100, mpp=0.5, artefacts=True, seed=3
    )
    for path in sorted(made.out.iterdir()):
        assert (again.out / path.name).read_bytes() == path.read_bytes()
    other = make_slides(tmp_path / "other", slides=1, width=512, height=512, seed=4)
    assert other.slides[0].layout.tissue[0, 0] != made.slides[0].layout.tissue[0, 0]


def test_without_difference_tumour_looks_like_normal(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    layout = make_layout(2048, 2048, tumour=True, artefacts=False, rng=rng)
    bare = make_layout(2048, 2048, tumour=False, artefacts=False, rng=np.random.default_rng(0))
    x, y = (int(v) - 128 for v in layout.tumours[0].mean(axis=0))
    same = [Painter(p, patient_of(0, 0), 0.5, 0.0, 5).paint(x, y, 256) for p in (layout, bare)]
    assert (same[0] == same[1]).all()
    apart = [Painter(p, patient_of(0, 0), 0.5, 1.0, 5).paint(x, y, 256) for p in (layout, bare)]
    assert apart[0].mean() < apart[1].mean() - 8


def test_boxes_fit_each_other_without_a_seam() -> None:
    layout = make_layout(2048, 2048, tumour=True, artefacts=True, rng=np.random.default_rng(1))
    painter = Painter(layout, patient_of(0, 0), 0.5, 1.0, 5)
    x, y = (int(v) - 128 for v in layout.blurred[0].mean(axis=0))
    large = painter.paint(x, y, 256)
    parts = [[painter.paint(x + 128 * i, y + 128 * j, 128) for i in (0, 1)] for j in (0, 1)]
    joined = np.concatenate([np.concatenate(row, axis=1) for row in parts])
    # Polygons' edges are drawn to the nearest pixel of the box; nothing else may differ.
    assert (joined != large).any(axis=2).mean() < 0.01


def test_the_xml_is_the_layout(made: PhantomSlides) -> None:
    root = ET.parse(made.out / "phantom-0000.xml").getroot()
    layout = made.slides[0].layout
    found = {"tumour": 0.0, "exclusion": 0.0}
    for drawn in root.iter("Annotation"):
        points = [(float(c.get("X", "")), float(c.get("Y", ""))) for c in drawn.iter("Coordinate")]
        found[drawn.get("PartOfGroup", "")] += area(np.array(points))
    assert found["tumour"] - found["exclusion"] == pytest.approx(layout.tumour_area)
    assert not (made.out / "phantom-0001.xml").exists()
    rows = (made.out / "slides.csv").read_text().splitlines()
    assert rows[0] == "slide_id,case_id,sample_type"
    assert rows[1].startswith("phantom-0000,patient-0000,Primary")
    assert rows[2].startswith("phantom-0001,patient-0001,Solid")


@pytest.mark.parametrize(
    "wrong", [{"width": 100}, {"mpp": 9.0}, {"difference": 1.5}, {"slides": 2, "normal": 3}, {"seed": -1}]
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"--{list(wrong)[-1]}"):
        make_slides(tmp_path / "out", **wrong)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_a_killed_run_keeps_its_slides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_slides(tmp_path / "whole", slides=2, width=512, height=512)
    write = slide_writer.write_slide
    monkeypatch.setattr(slide_writer, "write_slide", lambda path, *rest: _stop_at_second(path, write, rest))
    with pytest.raises(KeyboardInterrupt):
        make_slides(tmp_path / "out", slides=2, width=512, height=512)
    kept = tmp_path / "out.partial" / "phantom-0000.tif"
    before = kept.stat().st_mtime_ns
    monkeypatch.setattr(slide_writer, "write_slide", write)
    again = make_slides(tmp_path / "out", slides=2, width=512, height=512)
    assert (again.out / kept.name).stat().st_mtime_ns == before
    assert {p.name: p.read_bytes() for p in again.out.iterdir() if p.suffix == ".tif"} == {
        p.name: p.read_bytes() for p in whole.out.iterdir() if p.suffix == ".tif"
    }


def _stop_at_second(path: Path, write: object, rest: tuple[object, ...]) -> None:
    if "0001" in path.name:
        raise KeyboardInterrupt
    write(path, *rest)  # type: ignore[operator]


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    words = [
        "slides",
        "phantom",
        out,
        "--slides",
        "1",
        "--width",
        "512",
        "--height",
        "512",
        "--json",
        "--quiet",
    ]
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out)["slides"][0]["slide"] == "phantom-0000"
    assert run(["slides", "phantom", out, "--quiet"]) == 2
    assert "already exists" in capsys.readouterr().err
