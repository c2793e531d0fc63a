"""GeoJSON for QuPath: valid shapes, the keys QuPath reads, and what our own reader makes of it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from plenish.commands.slides import draw_overlay, make_slides, tile_slides
from plenish.errors import InputError
from plenish.slides import geojson
from plenish.slides.annotation_files import read_geojson
from plenish.slides.annotation_masks import Mask
from plenish.slides.annotations import read_annotations
from plenish.slides.tiling_config import LabelRules

HOLED = shapely.box(10, 20, 300.25, 200).difference(shapely.box(50, 60.5, 90, 100))
APART = shapely.union(shapely.box(400, 20, 500, 90), shapely.box(600, 20, 700, 0.1 + 90))


def features(path: Path) -> list[dict[str, Any]]:
    """The features of a file, checked for what QuPath needs of all of them."""
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["type"] == "FeatureCollection"
    for one in content["features"]:
        assert one["type"] == "Feature"
        assert one["properties"]["objectType"] in ("annotation", "tile")
        coordinates = one["geometry"]["coordinates"]
        for polygon in coordinates if one["geometry"]["type"] == "MultiPolygon" else [coordinates]:
            for number, ring in enumerate(polygon):
                assert ring[0] == ring[-1], "JTS, QuPath's library, refuses open rings"
                assert shapely.LinearRing(ring).is_ccw == (number == 0)
        assert shapely.geometry.shape(one["geometry"]).is_valid
        if "classification" in one["properties"]:
            assert all(0 <= x <= 255 for x in one["properties"]["classification"]["color"])
    return list(content["features"])


def shape(feature: dict[str, Any]) -> Any:
    return shapely.geometry.shape(feature["geometry"])


def test_annotations_come_back_exactly(tmp_path: Path) -> None:
    shapes = {"tumour": HOLED, "Stroma: loose é": APART}
    written = geojson.areas(shapes, geojson.class_colours(list(shapes)))
    geojson.write(tmp_path / "a.geojson", written)
    found = features(tmp_path / "a.geojson")
    assert [one["properties"]["classification"]["name"] for one in found] == list(shapes)
    assert [one["geometry"]["type"] for one in found] == ["Polygon", "MultiPolygon"]
    assert len(found[0]["geometry"]["coordinates"]) == 2, "the hole is a ring of its own"
    for one, original in zip(found, shapes.values()):
        assert shape(one).equals(original)
    back = read_annotations(tmp_path / "a.geojson", (1000, 800), LabelRules()).shapes()
    assert list(back) == list(shapes)
    for label, original in shapes.items():
        assert back[label].equals(original)
        assert back[label].area == original.area
    geojson.write(tmp_path / "b.geojson", geojson.areas(back, geojson.class_colours(list(back))))
    again = read_annotations(tmp_path / "b.geojson", (1000, 800), LabelRules()).shapes()
    assert all(again[label].equals(back[label]) for label in shapes)


def test_tiles_have_class_colour_and_finite_measurements(tmp_path: Path) -> None:
    boxes = np.array([[0, 0, 64, 64], [64.5, 0, 128.5, 64]])
    measured = {"p_tumour": np.array([0.25, np.nan]), "tissue": np.array([1, 0.5], np.float32)}
    geojson.write(
        tmp_path / "t.geojson", geojson.tiles(boxes, ["tumour", None], measured, {"tumour": (1, 2, 3)})
    )
    first, second = features(tmp_path / "t.geojson")
    assert first["properties"] == {
        "objectType": "tile", "classification": {"name": "tumour", "color": [1, 2, 3]},
        "measurements": {"p_tumour": 0.25, "tissue": 1.0},
    }  # fmt: skip
    assert second["properties"] == {"objectType": "tile", "measurements": {"tissue": 0.5}}
    assert [shape(one).bounds for one in (first, second)] == [tuple(box) for box in boxes.tolist()]
    outlines = read_geojson(tmp_path / "t.geojson", Counter())
    np.testing.assert_array_equal(sorted(map(tuple, outlines[1][1][0])), sorted(
        [(64.5, 0), (128.5, 0), (128.5, 64), (64.5, 64)]
    ))  # fmt: skip


def test_nothing_to_write_is_an_empty_collection(tmp_path: Path) -> None:
    geojson.write(tmp_path / "t.geojson", geojson.tissue(np.zeros((4, 4), bool), 2.0))
    assert features(tmp_path / "t.geojson") == []


@settings(deadline=None, max_examples=60)
@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_the_shape_of_a_mask_covers_its_pixels_and_no_other(mask: NDArray[np.bool_]) -> None:
    found = geojson.mask_shape(mask, (3.0, 2.0))
    assert found.is_valid
    assert found.area == 6 * mask.sum()
    y, x = np.indices(mask.shape)
    inside = shapely.contains_xy(found, 3 * (x + 0.5), 2 * (y + 0.5))
    np.testing.assert_array_equal(inside, mask)


def test_the_shape_of_a_mask_has_no_vertices_within_edges() -> None:
    mask = np.zeros((30, 40), bool)
    mask[2:20, 5:35] = True
    mask[8:12, 10:20] = False
    found = geojson.mask_shape(mask, 4.0)
    assert shapely.get_num_coordinates(found) == 10
    assert found.equals(shapely.box(20, 8, 140, 80).difference(shapely.box(40, 32, 80, 48)))


def test_a_mask_of_annotations_is_written_with_the_edges_of_its_pixels(tmp_path: Path) -> None:
    from PIL import Image

    values = np.zeros((20, 30), np.uint8)
    values[3:9, 4:12], values[12:15, 20:29] = 1, 2
    Image.fromarray(values).save(tmp_path / "m.png")
    shapes = Mask(tmp_path / "m.png", LabelRules(), (300, 200)).shapes()
    assert shapes["1"].equals(shapely.box(40, 30, 120, 90))
    assert shapes["2"].equals(shapely.box(200, 120, 290, 150))


def test_an_overlay_is_written_as_it_is_drawn(tmp_path: Path) -> None:
    made = make_slides(tmp_path / "slides", slides=1, width=1024, height=768, seed=1)
    slide, plan = made.out / "phantom-0000.tif", made.slides[0].layout
    drawn = draw_overlay(
        slide, tmp_path / "o.png", annotations=made.out, geojson=True, size=64, mpp=1.0, side=512
    )
    assert drawn.facts["geojson"] == str(tmp_path / "o.geojson")
    found = features(tmp_path / "o.geojson")
    kinds = Counter(one["properties"]["objectType"] for one in found)
    assert kinds == {"annotation": 2, "tile": drawn.facts["tiles"]}
    tissue, tumour = found[:2]
    assert tissue["properties"]["classification"]["name"] == geojson.TISSUE_CLASS
    assert shape(tissue).area == pytest.approx(plan.tissue_area, rel=0.05)
    assert shape(tumour).area == pytest.approx(plan.tumour_area, rel=1e-6)
    assert all(shape(one).area == 128**2 for one in found[2:])
    (tmp_path / "o.png").unlink()
    with pytest.raises(InputError, match=r"o\.geojson already exists"):
        draw_overlay(slide, tmp_path / "o.png", geojson=True)
    tile_slides(made.out, tmp_path / "tiles", annotations=made.out, size=32, mpp=1.0, workers=1)
    draw_overlay(slide, tmp_path / "d.png", data=tmp_path / "tiles", geojson=True)
    labels = Counter(
        one["properties"]["classification"]["name"] for one in features(tmp_path / "d.geojson")[1:]
    )
    from plenish.datasets.dataset import Dataset

    assert labels == Counter(Dataset.open(tmp_path / "tiles").table["label"])
