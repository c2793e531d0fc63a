from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from plenish.errors import InputError
from plenish.slides.grid import make_grid
from plenish.slides.reader import open_slide
from plenish.slides.scale import Scale, from_properties, from_tags, resolve
from plenish.slides.tiling_config import GridOptions


def test_the_scale_comes_from_the_tags(make_slide) -> None:
    with open_slide(make_slide(mpp=0.25)) as slide:
        assert slide.scale.mpp == pytest.approx(0.25)
        assert "tags" in slide.scale.source
    with open_slide(make_slide("zstd.tif", mpp=0.25, compression="zstd")) as slide:
        assert slide.scale.mpp == pytest.approx(0.25)


def test_a_table_counts_before_the_slide_and_an_assumption_behind_it(make_slide) -> None:
    with open_slide(make_slide(mpp=0.25)) as slide:
        assert resolve(slide.scale).mpp == pytest.approx(0.25)
        assert resolve(slide.scale, assumed=0.7).mpp == pytest.approx(0.25)
        assert resolve(slide.scale, override=0.6) == Scale(0.6, "the table")
    with open_slide(make_slide("none.tif", mpp=None)) as slide:
        assert resolve(slide.scale).mpp is None
        assert resolve(slide.scale, assumed=0.7) == Scale(0.7, "--assume-mpp")


def test_without_a_scale_there_is_a_sentence_with_the_ways_out(make_slide) -> None:
    ways = r"none\.tif.*--assume-mpp.*--metadata.*--level"
    with open_slide(make_slide("none.tif", mpp=None)) as slide, pytest.raises(InputError, match=ways):
        make_grid(slide, GridOptions(mpp=0.5), resolve(slide.scale))


@pytest.mark.parametrize("dots", [72, 96, 300, 600])
def test_dots_per_inch_of_screens_and_printers_are_no_scale(make_slide, dots: int) -> None:
    with open_slide(make_slide(mpp=25400 / dots)) as slide:
        assert slide.scale.mpp is None
        assert f"{25400 / dots:.4g} µm" in slide.scale.source


def _page(unit: int, x: tuple[int, int], y: tuple[int, int]) -> SimpleNamespace:
    values = {"ResolutionUnit": unit, "XResolution": x, "YResolution": y}
    return SimpleNamespace(tags={key: SimpleNamespace(value=value) for key, value in values.items()})


def test_inches_and_centimetres_are_told_apart() -> None:
    assert from_tags(_page(2, (50800, 1), (50800, 1))).mpp == pytest.approx(0.5)  # type: ignore[arg-type]
    assert from_tags(_page(3, (20000, 1), (20000, 1))).mpp == pytest.approx(0.5)  # type: ignore[arg-type]
    assert from_tags(_page(1, (20000, 1), (20000, 1))).mpp is None  # type: ignore[arg-type]
    assert from_tags(_page(3, (20000, 0), (20000, 1))).mpp is None  # type: ignore[arg-type]


def test_ome_xml_counts_before_the_tags() -> None:
    ome = '<Pixels PhysicalSizeX="0.3" PhysicalSizeXUnit="µm" PhysicalSizeY="0.3" PhysicalSizeYUnit="µm"/>'
    page = _page(3, (20000, 1), (20000, 1))
    assert from_tags(page, ome).mpp == pytest.approx(0.3)  # type: ignore[arg-type]
    assert from_tags(page, ome.replace("µm", "mm")).mpp == pytest.approx(0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("inner", [0, 2])
@pytest.mark.parametrize(
    ("size", "unit"), [(0.25, None), (0.25, "µm"), (250, "nm"), (0.00025, "mm"), (2500, "Å"), (2.5e-5, "cm")]
)
def test_the_scale_of_every_ome_tiff_is_found(tmp_path: Path, kind, inner: int, size: float, unit) -> None:
    pixels = np.full((128, 128, 3), 90, kind)
    units = {} if unit is None else {"PhysicalSizeXUnit": unit, "PhysicalSizeYUnit": unit}
    path = tmp_path / "slide.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as file:
        about = {"axes": "YXS", "PhysicalSizeX": size, "PhysicalSizeY": size, **units}
        file.write(pixels, tile=(32, 32), photometric="rgb", subifds=inner, metadata=about)
        for i in range(inner):
            file.write(pixels[:: 2 << i, :: 2 << i], tile=(32, 32), photometric="rgb", subfiletype=1)
    with open_slide(path) as slide:
        assert slide.scale.mpp == pytest.approx(0.25)
        assert slide.scale.source == "the OME-XML"


def test_ome_xml_in_other_spellings() -> None:
    def scale(attributes: str) -> float | None:
        first = f"<OME:Pixels ID='1' {attributes} SizeX='9'><Channel/></OME:Pixels>"
        xml = f"<OME:OME>{first}<Pixels PhysicalSizeX='9' PhysicalSizeY='9'/>"
        properties = {"openslide.vendor": "generic-tiff", "tiff.ImageDescription": xml}
        return from_properties(properties | {"openslide.mpp-x": "0.5", "openslide.mpp-y": "0.5"}).mpp

    assert scale("PhysicalSizeY='0.3' PhysicalSizeX='0.3' PhysicalSizeXUnit='&#181;m'") == pytest.approx(0.3)
    assert scale("PhysicalSizeX='300' PhysicalSizeXUnit='nm' PhysicalSizeY='0.3'") == pytest.approx(0.3)
    assert scale("PhysicalSizeX='0.3' PhysicalSizeY='0.3' PhysicalSizeXUnit='pixel'") == pytest.approx(0.5)
    assert scale("PhysicalSizeX='0.3'") == pytest.approx(0.5)
    assert scale("") == pytest.approx(0.5)


def test_pixels_that_are_not_square_have_no_scale() -> None:
    def properties(x: str, y: str) -> dict[str, str]:
        return {"openslide.mpp-x": x, "openslide.mpp-y": y, "openslide.vendor": "aperio"}

    assert from_properties(properties("0.5", "0.51")).mpp == pytest.approx((0.5 * 0.51) ** 0.5)
    assert "not square" in from_properties(properties("0.5", "0.6")).source
    assert from_properties(properties("half", "0.5")).mpp is None
    assert from_properties({}).mpp is None
