from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from plenish.cli import run
from plenish.commands.slides import draw_overlay, make_slides, tile_slides
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.phantom.slide_writer import PhantomSlides
from plenish.slides.canvas import LABELS, TILE, TISSUE, Canvas
from plenish.slides.remarks import Remark

from .conftest import cut_off


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> PhantomSlides:
    out = tmp_path_factory.mktemp("overlay") / "slides"
    return make_slides(out, slides=2, normal=1, width=1024, height=768, seed=1)


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def coloured(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> NDArray[np.bool_]:
    return (picture == colour).all(axis=2)


def test_outlines_lie_where_the_truth_is(made: PhantomSlides, tmp_path: Path) -> None:
    slide = made.out / "phantom-0000.tif"
    drawn = draw_overlay(slide, tmp_path / "o.png", annotations=made.out, side=1024)
    picture = pixels(tmp_path / "o.png")[:768]
    plan = made.slides[0].layout
    for colour, polygons, within in (
        (TISSUE, [plan.tissue], 20),
        (LABELS[0], [*plan.tumours, *plan.holes], 4),
    ):
        y, x = np.nonzero(coloured(picture, colour))
        assert len(x) > 500
        vertices = np.concatenate(polygons)
        away = np.hypot(x[:, None] - vertices[:, 0], y[:, None] - vertices[:, 1]).min(axis=1)
        assert away.max() < within  # Vertices are up to 15 pixels apart on the tissue, 4 on a tumour.
    assert drawn.facts["annotated"] == {"tumour": f"{plan.tumour_area * 0.25 / 1e6:.3f} mm²"}
    share = plan.tissue_area / (1024 * 768)
    assert float(drawn.facts["tissue"].split()[0]) == pytest.approx(100 * share, abs=2)


def test_tiles_are_those_with_enough_tissue(made: PhantomSlides, tmp_path: Path) -> None:
    slide = made.out / "phantom-0000.tif"
    half = draw_overlay(slide, tmp_path / "a.png", size=64, mpp=1.0, side=512)
    all_ = draw_overlay(slide, tmp_path / "b.png", size=64, level=1, min_tissue=0.0, side=512)
    few = draw_overlay(slide, tmp_path / "c.jpg", size=64, mpp=1.0, min_tissue=1.0, side=512)
    assert all_.facts["tiles"] == 8 * 6
    assert 0 < few.facts["tiles"] < half.facts["tiles"] < 48
    assert (pixels(tmp_path / "a.png") != pixels(tmp_path / "b.png")).any()


def test_tiles_of_a_dataset_are_drawn_by_label(made: PhantomSlides, tmp_path: Path) -> None:
    writer = DatasetWriter(
        tmp_path / "tiles", name="t", size=16, channels=3, config={},
        labels=LabelSchema("categorical", ("normal", "tumour")),
    )  # fmt: skip
    with writer:
        rows = [
            {"label": label, "slide": "phantom-0000", "x": x, "y": 256.0, "side": 128.0}
            for label, x in (("normal", 128.0), ("tumour", 512.0))
        ]
        writer.add(np.zeros((2, 16, 16, 3), np.uint8), rows)
    slide = made.out / "phantom-0000.tif"
    drawn = draw_overlay(slide, tmp_path / "o.png", data=tmp_path / "tiles", side=1024)
    assert drawn.facts["tiles"] == 2
    bare = draw_overlay(slide, tmp_path / "bare.png", side=1024)
    assert "tiles" not in bare.facts
    changed = (pixels(tmp_path / "o.png")[:768] != pixels(tmp_path / "bare.png")[:768]).any(axis=2)
    y, x = np.nonzero(changed)
    assert (y.min(), y.max()) == (256, 384)
    assert set(np.unique(x)) == {*range(128, 257), *range(512, 641)}
    with pytest.raises(InputError, match="no tiles of phantom-0001"):
        draw_overlay(made.out / "phantom-0001.tif", tmp_path / "p.png", data=tmp_path / "tiles")


@pytest.mark.parametrize("named", ["TCGA-HZ-7926-01Z-00-DX1", "TCGA-HZ-7926-01Z-00-DX1.ab12"])
def test_a_gdc_slide_has_the_tiles_and_annotations_that_tiling_gives_it(
    made: PhantomSlides, tmp_path: Path, named: str
) -> None:
    slide = tmp_path / "TCGA-HZ-7926-01Z-00-DX1.ab12.tif"
    shutil.copy(made.out / "phantom-0000.tif", slide)
    (tmp_path / "drawn").mkdir()
    shutil.copy(made.out / "phantom-0000.xml", tmp_path / "drawn" / f"{named}.xml")
    tiled = tile_slides(
        slide, tmp_path / "tiles", size=128, level=0, annotations=tmp_path / "drawn", workers=1
    )
    drawn = draw_overlay(
        slide, tmp_path / "o.png", data=tmp_path / "tiles", annotations=tmp_path / "drawn", side=300
    )
    assert drawn.facts["slide"] == "TCGA-HZ-7926-01Z-00-DX1"
    assert drawn.facts["tiles"] == len(tiled.dataset) > 0
    assert "tumour" in drawn.facts["annotated"]


def test_a_normal_slide_is_drawn_without_annotations(made: PhantomSlides, tmp_path: Path) -> None:
    drawn = draw_overlay(made.out / "phantom-0001.tif", tmp_path / "o.png", annotations=made.out, side=300)
    assert drawn.remarks == [Remark("no-annotations", {"path": str(made.out), "name": "phantom-0001"})]
    slide = made.out / "phantom-0000.tif"
    with pytest.raises(InputError, match="did you mean 'tumour'"):
        draw_overlay(slide, tmp_path / "p.png", annotations=made.out, priority=["tumor"])


def test_a_label_has_one_colour_as_annotation_and_as_tile(made: PhantomSlides, tmp_path: Path) -> None:
    slide = made.out / "phantom-0000.tif"
    tile_slides(slide, tmp_path / "tiles", size=64, level=0, annotations=made.out, workers=1)
    draw_overlay(slide, tmp_path / "t.png", data=tmp_path / "tiles", side=1024)
    draw_overlay(slide, tmp_path / "a.png", annotations=made.out, side=1024)
    for name in ("t", "a"):
        picture = pixels(tmp_path / f"{name}.png")[:768]
        assert coloured(picture, LABELS[0]).sum() > 300
        assert not coloured(picture, LABELS[1]).any()
    assert coloured(pixels(tmp_path / "t.png")[:768], TILE).sum() > 300


def test_lines_of_tiles_are_two_pixels_wide(made: PhantomSlides) -> None:
    canvas = Canvas(np.full((60, 60, 3), 255, np.uint8), 1.0)
    canvas.boxes(np.array([[10.0, 10, 40, 40]]), TILE, "tiles")
    assert np.flatnonzero(coloured(canvas.pixels, TILE)[25]).tolist() == [10, 11, 39, 40]
    assert np.flatnonzero(coloured(canvas.pixels, TILE)[:, 25]).tolist() == [10, 11, 39, 40]


@pytest.mark.parametrize("side", [2.0, 30.0])
def test_tiles_off_the_picture_are_left_out(side: float) -> None:
    canvas = Canvas(np.full((60, 60, 3), 255, np.uint8), 1.0)
    corners = np.array([[70.0, 10], [10, 70], [-40, 10], [60, 60]])
    canvas.boxes(np.concatenate([corners, corners + side], axis=1), TILE, "tiles")
    assert (canvas.pixels == 255).all()


def test_the_scale_of_the_slide_and_of_tiles_are_told_apart(made: PhantomSlides, tmp_path: Path) -> None:
    facts = draw_overlay(made.out / "phantom-0000.tif", tmp_path / "o.png", mpp=1.0, side=300).facts
    assert (facts["slide_mpp"], facts["tile_mpp"]) == (pytest.approx(0.5), pytest.approx(1.0))


def test_a_slide_that_is_cut_off_is_drawn_with_a_remark(
    make_slide, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = make_slide()
    cut_off(path, 5)
    drawn = draw_overlay(path, tmp_path / "o.png", side=300)
    assert drawn.remarks[0] == Remark("file-truncated", {"tiles": 5})
    assert "tifffile" not in capfd.readouterr().err


def test_without_a_scale_only_what_overlay_has_is_advised(make_slide, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="give --assume-mpp, or draw the tiles of a --level"):
        draw_overlay(make_slide(mpp=None), tmp_path / "o.png", mpp=1.0)


def test_a_slide_without_tissue_is_shown_all_the_same(tmp_path: Path) -> None:
    import tifffile

    glass = np.full((512, 640, 3), 240, np.uint8)
    tifffile.imwrite(tmp_path / "glass.tif", glass, tile=(256, 256), photometric="rgb", metadata=None)
    drawn = draw_overlay(tmp_path / "glass.tif", tmp_path / "o.png", side=640)
    assert drawn.facts["tissue"].startswith("0.0 %")
    assert drawn.remarks[0].code == "no-tissue"
    assert (pixels(tmp_path / "o.png")[:512] == 240).all()


def test_what_cannot_be_drawn_gets_one_sentence(
    made: PhantomSlides, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slide, out = str(made.out / "phantom-0001.tif"), str(tmp_path / "o.png")
    for words, sentence in [
        ([slide, str(tmp_path / "o.gif")], "o.gif"),
        ([str(tmp_path / "absent.svs"), out], "absent.svs"),
        ([slide, out, "--annotations", str(tmp_path)], "phantom-0001"),
        ([slide, out, "--size", "0", "--level", "0"], "--size"),
        ([slide, out, "--mpp", "0"], "--mpp"),
        ([slide, out, "--level", "-1"], "--level"),
        ([slide, out, "--stride", "0", "--level", "0"], "--stride"),
        ([slide, out, "--mpp", "0.5", "--level", "0"], "--mpp, --level"),
        ([slide, out, "--level", "7"], "level 7"),
        ([slide, out, "--side", "5"], "--side"),
    ]:
        assert run(["slides", "overlay", *words, "--quiet"]) == 2
        assert sentence in capsys.readouterr().err
        assert not list(tmp_path.iterdir())
    assert run(["slides", "overlay", slide, out, "--quiet", "--side", "300"]) == 0
    assert run(["slides", "overlay", slide, out, "--quiet"]) == 2
    assert "already exists" in capsys.readouterr().err
