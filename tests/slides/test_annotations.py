from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from plenish.errors import InputError
from plenish.phantom.slide_layout import make_layout
from plenish.phantom.slide_writer import asap_xml
from plenish.slides.annotation_polygons import Polygons
from plenish.slides.annotations import Annotations, find_annotations, read_annotations
from plenish.slides.remarks import Remark
from plenish.slides.tiling_config import LabelRules

SIZE = (1000, 800)
NO_RULES = LabelRules()


def asap(*drawn: tuple[str, list[tuple[float, float]]], kind: str = "Polygon") -> str:
    parts = []
    for number, (group, points) in enumerate(drawn):
        dots = "".join(
            f'<Coordinate Order="{i}" X="{x}" Y="{y}" />' for i, (x, y) in reversed(list(enumerate(points)))
        )
        parts.append(
            f'<Annotation Name="a{number}" Type="{kind}" PartOfGroup="{group}"><Coordinates>{dots}'
            "</Coordinates></Annotation>"
        )
    inner = "".join(parts)
    return f"<?xml version='1.0'?><ASAP_Annotations><Annotations>{inner}</Annotations></ASAP_Annotations>"


def feature(geometry: dict[str, Any], **properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def square(x: float, y: float, side: float) -> list[tuple[float, float]]:
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]


def read(tmp_path: Path, text: str, name: str = "s.xml", **rules: Any) -> Annotations:
    (tmp_path / name).write_text(text)
    return read_annotations(tmp_path / name, SIZE, LabelRules(**rules))


def grid(step: float, width: float = 1000, height: float = 800) -> NDArray[np.float64]:
    x, y = np.meshgrid(np.arange(0, width, step), np.arange(0, height, step))
    left, top = x.ravel(), y.ravel()
    return np.stack([left, top, left + step, top + step], 1)


@st.composite
def rings(draw: st.DrawFn) -> NDArray[np.float64]:
    """A star-shaped outline of up to 700 vertices, within the slide."""
    n = draw(st.sampled_from([3, 4, 7, 40, 700]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    angle = (np.arange(n) + rng.uniform(0, 0.9, n)) * (2 * math.pi / n)
    reach = rng.uniform(20, 190, n)
    middle = rng.uniform(200, 600, 2)
    return middle + reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)


@settings(max_examples=40, deadline=None)
@given(rings(), st.floats(11, 300), st.floats(-40, 0), st.floats(-40, 0))
def test_shares_of_a_partition_add_up_to_the_polygon(
    ring: NDArray[np.float64], step: float, x: float, y: float
) -> None:
    found = Polygons(Path("s.xml"), [("tumour", [ring])], {}, NO_RULES, SIZE)
    truth = shapely.make_valid(shapely.Polygon(ring), method="structure", keep_collapsed=False).area
    boxes = grid(step, 1100, 900) + np.array([x, y, x, y])
    total = found.coverage(boxes)["tumour"].sum() * step**2
    assert total == pytest.approx(truth, rel=1e-6)
    assert found.areas()["tumour"] == pytest.approx(truth, rel=1e-6)


@settings(max_examples=25, deadline=None)
@given(rings(), rings(), st.floats(0.5, 400), st.floats(-300, 300), st.floats(-300, 300))
def test_moving_polygon_and_box_together_changes_nothing(
    ring: NDArray[np.float64], hole: NDArray[np.float64], side: float, dx: float, dy: float
) -> None:
    start = np.full(2, 300.0)  # so that no shift moves the outlines off the slide
    shift = np.array([dx, dy])
    middle = ring.mean(axis=0) + start
    box = np.array([[*middle, *(middle + side)]])
    one, other = (
        Polygons(Path("s.xml"), [("tumour", [ring + by]), ("_2", [hole + by])], {}, NO_RULES, (3000, 3000))
        for by in (start, start + shift)
    )
    moved = other.coverage(box + np.concatenate([shift, shift]))["tumour"]
    assert moved == pytest.approx(one.coverage(box)["tumour"], abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(rings(), rings(), rings())
def test_labels_never_cover_a_place_twice(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]
) -> None:
    outlines = [("a", [a]), ("b", [b]), ("c", [c])]
    found = Polygons(Path("s.xml"), outlines, {}, LabelRules(priority=["C"]), SIZE)
    assert found.labels == ("c", "a", "b")
    shares = sum(found.coverage(grid(37.0)).values())
    assert shares.max() <= 1 + 1e-9
    shapes = [
        shapely.make_valid(shapely.Polygon(ring), method="structure", keep_collapsed=False)
        for ring in (a, b, c)
    ]
    assert sum(found.areas().values()) == pytest.approx(shapely.union_all(shapes).area, rel=1e-6)
    assert found.areas()["c"] == pytest.approx(shapes[2].area, rel=1e-6)


def test_boxes_of_every_level_and_scale_agree_with_the_truth(tmp_path: Path) -> None:
    plan = make_layout(4000, 3000, tumour=True, artefacts=False, rng=np.random.default_rng(0))
    (tmp_path / "p.xml").write_text(asap_xml(plan))
    found = read_annotations(tmp_path / "p.xml", (4000, 3000))
    assert found.labels == ("tumour",)
    assert found.areas()["tumour"] == pytest.approx(plan.tumour_area, rel=1e-9)
    assert found.remarks == ()
    for downsample in (1, 2, 4, 8, 1.37, 0.5):
        step = 256 * downsample
        total = found.coverage(grid(step, 4000, 3000))["tumour"].sum() * step**2
        assert total == pytest.approx(plan.tumour_area, rel=1e-6)
    truth = shapely.difference(
        shapely.union_all([shapely.Polygon(p) for p in plan.tumours]), shapely.Polygon(plan.holes[0])
    )
    boxes = grid(171.3, 4000, 3000)
    expected = shapely.area(shapely.intersection(shapely.box(*boxes.T), truth)) / 171.3**2
    assert found.coverage(boxes)["tumour"] == pytest.approx(expected, abs=1e-9)


def test_asap_groups_holes_rectangles_and_what_is_no_area(tmp_path: Path) -> None:
    text = asap(
        ("Tumor", square(100, 100, 200)), ("_2", square(150, 150, 50)), ("None", square(500, 500, 10))
    )
    point = '<Coordinates><Coordinate Order="0" X="1" Y="1"/></Coordinates>'
    dot, thin = (
        f'<Annotation Name="d" Type="{kind}" PartOfGroup="Tumor">{point}</Annotation>'
        for kind in ("Dot", "Polygon")
    )
    found = read(tmp_path, text.replace("</Annotations>", dot + thin + "</Annotations>"))
    assert found.areas() == {"Tumor": 200**2 - 50**2, "annotated": 100}
    inside = found.coverage(np.array([(150, 150, 200, 200), (140, 150, 160, 170), (100, 100, 120, 120)]))
    assert inside["Tumor"] == pytest.approx([0, 0.5, 1])
    assert len(found.remarks) == 2
    assert found.remarks[0] == Remark("shapes-ignored", {"count": 1, "kind": "dot"})
    corners = read(tmp_path, asap(("Tumor", [(10, 20), (40, 80)]), kind="Rectangle"), "r.xml")
    assert corners.areas() == {"Tumor": 30 * 60}


def test_holes_can_be_named_and_labels_renamed(tmp_path: Path) -> None:
    text = asap(("_0", square(0, 0, 100)), ("_1", square(200, 0, 100)), ("necrosis", square(20, 20, 10)))
    assert read(tmp_path, text).labels == ("_0", "_1", "necrosis")
    found = read(tmp_path, text, holes=["NECROSIS"], rename=["_0=tumour", "_1=tumour"])
    assert found.areas() == {"tumour": 2 * 100**2 - 10**2}


def test_an_annotation_called_none_is_no_hole() -> None:
    assert LabelRules(holes=["none"]).label("None") == "None"
    rules = LabelRules(holes=["None", "necrosis"])
    assert [rules.label(name) for name in ("none", "Necrosis", "Exclusion")] == ["none", None, "Exclusion"]


def test_decimal_commas_of_asap_are_read(tmp_path: Path) -> None:
    text = asap(("T", square(10, 10, 2))).replace('X="12"', 'X="12,5"')
    assert read(tmp_path, text).areas()["T"] == pytest.approx(5)


def test_overlaps_go_to_the_label_named_first(tmp_path: Path) -> None:
    text = asap(("a", square(0, 0, 100)), ("b", square(50, 0, 100)))
    found = read(tmp_path, text)
    assert found.areas() == {"a": 10_000, "b": 5_000}
    assert found.remarks[0].code == "labels-overlap"
    other = read(tmp_path, text, priority=("B", "a"))
    assert other.areas() == {"b": 10_000, "a": 5_000}
    assert other.remarks == ()


def test_a_line_that_crosses_itself_is_made_valid_and_counted(tmp_path: Path) -> None:
    bow = [(0, 0), (100, 100), (100, 0), (0, 100)]
    found = read(tmp_path, asap(("T", bow)))
    assert found.areas()["T"] == pytest.approx(5_000)
    assert found.remarks == (Remark("outlines-repaired", {"count": 1}),)
    # A stroke drawn past its beginning: what is enclosed twice is still inside.
    loop = [(0, 0), (100, 0), (100, 100), (0, 100), (0, 0), (50, 0), (50, 50), (0, 50)]
    assert read(tmp_path, asap(("T", loop))).areas()["T"] == pytest.approx(10_000)


def test_qupath_geojson_with_holes_and_several_parts(tmp_path: Path) -> None:
    ring, hole = square(100, 100, 100), square(120, 120, 20)
    closed, inner = [*ring, ring[0]], [*hole, hole[0]]
    features = [
        feature({"type": "Polygon", "coordinates": [closed, inner]}, classification={"name": "Tumor"}),
        feature(
            {"type": "MultiPolygon", "coordinates": [[[*square(400, 0, 10)]], [[*square(500, 0, 20)]]]},
            classification={"names": ["Stroma", "pale"]},
        ),
        feature({"type": "Point", "coordinates": [3, 4]}, classification={"name": "Tumor"}),
        feature({"type": "Polygon", "coordinates": [square(700, 0, 5)]}),
        feature(
            {"type": "Polygon", "coordinates": [square(100, 100, 10)]}, classification={"name": "Ignore*"}
        ),
        feature({"type": "Polygon", "coordinates": [square(800, 0, 6)]}, classification="Necrosis"),
    ]
    text = json.dumps({"type": "FeatureCollection", "features": features})
    found = read(tmp_path, text, "s.geojson")
    assert found.areas() == pytest.approx(
        {"Tumor": 100**2 - 20**2 - 10**2, "Stroma: pale": 500, "annotated": 25, "Necrosis": 36}
    )
    assert found.remarks == (Remark("shapes-ignored", {"count": 1, "kind": "Point"}),)
    for form in (features, features[0], features[0]["geometry"]):
        assert sum(read(tmp_path, json.dumps(form), "t.geojson").areas().values()) >= 100**2 - 20**2 - 10**2


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.xml", "<ASAP_Annotations><Annotations>", "XML"),
        ("a.xml", "", "0 bytes"),
        ("a.xml", "<Annotations><Annotation/></Annotations>", "<Annotations>"),
        ("a.xml", asap(("T", [(0, 0), (1, math.nan), (2, 2)])), "Annotation 'a0'"),
        ("a.xml", asap(("T", square(5, 5, 5))).replace('X="5"', 'X="five"'), "Annotation 'a0'"),
        ("a.xml", asap(("T", square(5, 5, 5))).replace('Order="1"', 'Order="one"'), "Order.*'one'"),
        ("a.geojson", '{"type": "FeatureCollection", "features": [', "JSON"),
        ("a.geojson", '{"type": "Topology", "objects": {}}', "Topology"),
        ("a.geojson", '{"tiles": 3}', "GeoJSON"),
        ("a.json", "3", "GeoJSON"),
        ("a.geojson", '{"type": "Circle", "coordinates": [1, 2]}', "Circle"),
        ("a.geojson", '{"type": "Polygon", "coordinates": [["a", "b"]]}', "Feature 1"),
        ("a.geojson", '{"type": "Polygon", "coordinates": [[[1, 2], [3], [4, 5]]]}', "Feature 1"),
        ("a.csv", "x,y", r"\.xml, \.geojson"),
        ("a.xml", asap(("T", square(5000, 5, 50))), "1000×800"),
        ("a.geojson", json.dumps({"type": "Polygon", "coordinates": [square(5, -90, 50)]}), "1000×800"),
    ],
)
def test_what_cannot_be_used_gets_one_sentence(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read(tmp_path, text, name)
    assert "\n" not in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_what_lies_off_the_slide_is_told(tmp_path: Path) -> None:
    found = read(tmp_path, asap(("in", square(0, 0, 100)), ("out", square(950, 0, 100))))
    assert [remark.code for remark in found.remarks] == ["annotations-off-slide"]
    assert found.remarks[0].values["percent"] == pytest.approx(25)
    assert read(tmp_path, asap()).labels == ()


def test_a_mask_is_scaled_to_the_slide(tmp_path: Path) -> None:
    mask = np.zeros((80, 100), np.uint8)
    mask[10:30, 20:60], mask[50:60, 50:60], mask[0:2, 0:2] = 1, 7, 9
    Image.fromarray(mask).save(tmp_path / "s.png")
    found = read_annotations(tmp_path / "s.png", SIZE, LabelRules(rename=["1=tumour"], holes=["9"]))
    assert found.labels == ("tumour", "7")
    assert found.areas() == {"tumour": 800 * 100, "7": 100 * 100}
    shares = found.coverage(np.array([(195, 95, 205, 105), (500, 500, 600, 620), (0, 0, 20, 20)]))
    assert shares["tumour"] == pytest.approx([0.25, 0, 0])
    assert shares["7"] == pytest.approx([0, 100 * 100 / 12_000, 0])
    total = found.coverage(grid(33.3, 1100, 900))["tumour"].sum() * 33.3**2
    assert total == pytest.approx(80_000)


@pytest.mark.parametrize("kind", ["1", "P", "RGB", "LA", "I;16"])
def test_masks_of_all_kinds_of_pixels(tmp_path: Path, kind: str) -> None:
    mask = np.zeros((40, 50), np.uint8)
    mask[10:20, 10:20] = 1
    picture = {
        "1": lambda: Image.fromarray(mask.astype(bool)),
        "P": lambda: Image.fromarray(mask, "L").convert("P"),
        "RGB": lambda: Image.fromarray(np.repeat(mask[..., None], 3, 2)),
        "LA": lambda: Image.fromarray(mask).convert("LA"),
        "I;16": lambda: Image.fromarray(mask.astype(np.uint16)),
    }[kind]()
    picture.save(tmp_path / "s.png")
    found = read_annotations(tmp_path / "s.png", SIZE)
    assert list(found.areas().values()) == [100 * 20 * 20]


def test_of_a_pyramid_the_finest_level_that_fits_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tifffile

    monkeypatch.setattr("plenish.slides.annotation_masks._SIDE", 300)
    mask = np.zeros((400, 500), np.uint8)
    mask[100:200, 100:200] = 255
    with tifffile.TiffWriter(tmp_path / "s.tif") as tiff:
        for step in (1, 2, 4):
            tiff.write(mask[::step, ::step], tile=(64, 64), photometric="minisblack", metadata=None)
    found = read_annotations(tmp_path / "s.tif", SIZE)
    assert found.areas() == {"255": 200 * 200}
    assert found.raster(250, 200, 4.0)["255"].shape == (200, 250)
    assert found._values.shape == (200, 250)  # type: ignore[attr-defined]


def test_masks_that_are_none_get_one_sentence(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 2, (80, 80), np.uint8)).save(tmp_path / "square.png")
    Image.fromarray(rng.integers(0, 255, (80, 100, 3), np.uint8)).save(tmp_path / "colours.png")
    Image.fromarray(rng.integers(0, 255, (80, 100), np.uint8)).save(tmp_path / "greys.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    (tmp_path / "broken.tif").write_bytes(b"II*\x00" + bytes(20))
    for name, words in [
        ("square", "80×80"), ("colours", "one channel"), ("greys", "different values"),
        ("broken", "broken.*restore"), ("absent", "absent"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=words) as caught:
            read_annotations(tmp_path / f"{name}.png", SIZE)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=r"broken\.tif"):
        read_annotations(tmp_path / "broken.tif", SIZE)


def test_annotations_are_found_by_the_slides_name(tmp_path: Path) -> None:
    assert find_annotations(tmp_path, "Tumor_001") is None
    grey = Image.fromarray(np.zeros((8, 10), np.uint8))
    Image.fromarray(np.zeros((8, 10, 3), np.uint8)).save(tmp_path / "tumor_001.tif")
    assert find_annotations(tmp_path, "Tumor_001") is None  # The slide itself.
    grey.save(tmp_path / "tumor_001_Mask.tif")
    assert find_annotations(tmp_path, "Tumor_001") == tmp_path / "tumor_001_Mask.tif"
    (tmp_path / "Tumor_001.xml").write_text(asap())
    (tmp_path / "Tumor_0011.xml").write_text(asap())
    assert find_annotations(tmp_path, "Tumor_001") == tmp_path / "Tumor_001.xml"
    (tmp_path / "tumor_001.geojson").write_text("{}")
    with pytest.raises(InputError, match=r"tumor_001\.geojson|Tumor_001\.xml"):
        find_annotations(tmp_path, "Tumor_001")
    assert find_annotations(tmp_path, "Tumor_002") is None
    with pytest.raises(InputError, match="Tumor_002"):
        find_annotations(tmp_path, "Tumor_002", required=True)


def test_maps_for_pictures_show_holes_and_islands_in_them(tmp_path: Path) -> None:
    text = asap(("T", square(0, 0, 400)), ("hole", square(100, 100, 200)))
    island = {"type": "Polygon", "coordinates": [square(150, 150, 100)]}
    ring = {"type": "Polygon", "coordinates": [square(0, 0, 400), square(100, 100, 200)]}
    found = read(
        tmp_path, json.dumps({"type": "GeometryCollection", "geometries": [island, ring]}), "s.geojson"
    )
    seen = found.raster(100, 80, 10.0)["annotated"]
    assert seen.sum() == pytest.approx(40**2 - 20**2 + 10**2, rel=0.05)  # Pillow draws borders too.
    assert seen[20, 20]
    assert not seen[12, 12]
    assert read(tmp_path, text).raster(100, 80, 10.0)["T"].sum() == pytest.approx(40**2 - 20**2, rel=0.05)
