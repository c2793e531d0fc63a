from __future__ import annotations

from types import SimpleNamespace

import pytest

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


def test_pixels_that_are_not_square_have_no_scale() -> None:
    def properties(x: str, y: str) -> dict[str, str]:
        return {"openslide.mpp-x": x, "openslide.mpp-y": y, "openslide.vendor": "aperio"}

    assert from_properties(properties("0.5", "0.51")).mpp == pytest.approx((0.5 * 0.51) ** 0.5)
    assert "not square" in from_properties(properties("0.5", "0.6")).source
    assert from_properties(properties("half", "0.5")).mpp is None
    assert from_properties({}).mpp is None
