from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import openslide
import pytest
import shapely

from plenish.commands.slides import make_slides
from plenish.errors import InputError
from plenish.phantom.fragment_layout import ARTEFACT_KINDS, PENS, TISSUE_KINDS, make_fragment_layout
from plenish.phantom.fragment_texture import FragmentPainter
from plenish.phantom.patient import patient_of
from plenish.slides.annotation_files import read_geojson


@pytest.mark.parametrize("seed", range(5))
def test_fragments_are_small_apart_and_of_every_kind(seed: int) -> None:
    layout = make_fragment_layout(30_000, 20_000, 0.5, np.random.default_rng(seed))
    assert Counter(one.kind for one in layout.fragments) == dict.fromkeys(TISSUE_KINDS, 2)
    assert {one.kind for one in layout.artefacts} == set(ARTEFACT_KINDS)
    shapes = [shapely.Polygon(one.outline) for one in layout.fragments]
    slide = shapely.box(0, 0, 30_000, 20_000)
    diameters = [2 * (shape.area / np.pi) ** 0.5 * 0.5 for shape in shapes]
    assert all(shape.is_valid and slide.contains(shape) for shape in shapes)
    assert min(diameters) > 99
    assert max(diameters) < 601
    others = [shapely.Polygon(one.outline) for one in layout.artefacts if one.kind not in ("dust", "fibre")]
    assert not any(a.intersects(b) for i, a in enumerate(shapes) for b in [*shapes[:i], *others])
    assert layout.tissue_area == pytest.approx(sum(shape.area for shape in shapes))
    assert layout.tissue_area < 0.02 * slide.area


def test_a_slide_too_small_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1800 µm"):
        make_slides(tmp_path / "out", content="fragments", width=2000, height=2000, mpp=0.5)
    assert not list(tmp_path.iterdir())


def test_boxes_fit_each_other_without_a_seam() -> None:
    layout = make_fragment_layout(4000, 4000, 0.5, np.random.default_rng(0))
    painter = FragmentPainter(layout, patient_of(0, 0), 0.5, 5)
    for kind in TISSUE_KINDS:
        outline = next(one.outline for one in layout.fragments if one.kind == kind)
        x, y = (int(v) - 128 for v in outline.mean(axis=0))
        large = painter.paint(x, y, 256)
        parts = [[painter.paint(x + 128 * i, y + 128 * j, 128) for i in (0, 1)] for j in (0, 1)]
        joined = np.concatenate([np.concatenate(row, axis=1) for row in parts])
        assert (joined != large).any(axis=2).mean() < 0.01


def test_kinds_look_as_they_are_called() -> None:
    layout = make_fragment_layout(4000, 4000, 0.5, np.random.default_rng(0))
    patient = patient_of(0, 0)
    painter = FragmentPainter(layout, patient, 0.5, 5)
    seen: dict[str, list[float]] = {}
    for one in layout.fragments:
        x, y = (int(v) - 24 for v in one.outline.mean(axis=0))
        seen.setdefault(one.kind, []).append(float((painter.paint(x, y, 48) / patient.light).mean()))
    mean = {kind: float(np.mean(values)) for kind, values in seen.items()}
    assert mean["dark"] < 0.4 < mean["folded"] < mean["pale"] < 0.97
    assert mean["counterstain"] > 0.8
    assert mean["fat"] > 0.85
    for stroke in (one for one in layout.artefacts if one.kind == "pen"):
        x, y = (int(v) - 16 for v in stroke.inner.mean(axis=0))
        ink = np.array(min(PENS.values(), key=lambda p: np.abs(np.array(p) / 255 - stroke.colour).sum()))
        # A bent stroke's middle may lie beside it; then there is glass.
        found = painter.paint(x, y, 32).reshape(-1, 3).mean(0)
        assert np.abs(found - ink).max() < 60 or found.min() > 200


@pytest.mark.parametrize("compression", ["jpeg", "jpeg2000"])
def test_a_slide_is_read_back_with_its_truth(tmp_path: Path, compression: str) -> None:
    made = make_slides(
        tmp_path / "out", slides=1, content="fragments", compression=compression, width=1850, height=1850,
        mpp=1.0,
    )  # fmt: skip
    layout = made.slides[0].layout
    with openslide.OpenSlide(made.out / "phantom-0000.tif") as slide:
        assert slide.dimensions == (1850, 1850)
        assert slide.level_count == len(made.slides[0].levels)
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(1.0, rel=1e-3)
        dark = next(one for one in layout.fragments if one.kind == "dark")  # type: ignore[union-attr]
        x, y = (int(v) - 32 for v in dark.outline.mean(axis=0))
        seen = np.asarray(slide.read_region((x, y), 0, (64, 64)).convert("RGB"), np.float64)
    rng = np.random.default_rng([0, 0, 0x5CA7])
    again = make_fragment_layout(1850, 1850, 1.0, rng)
    painted = FragmentPainter(again, patient_of(0, 0), 1.0, int(rng.integers(2**63))).paint(x, y, 64)
    assert np.abs(seen - painted).mean() < 6
    outlines = read_geojson(made.out / "phantom-0000.geojson", Counter())
    kinds = Counter(kind for kind, _ in outlines)
    assert {kind: kinds[kind] for kind in TISSUE_KINDS} == dict.fromkeys(TISSUE_KINDS, 2)
    area = sum(shapely.Polygon(rings[0]).area for kind, rings in outlines if kind in TISSUE_KINDS)
    assert area == pytest.approx(layout.tissue_area)
    truth = json.loads((made.out / "truth.json").read_text())["truth"][0]
    assert truth["tissue_area"] == pytest.approx(area)
    assert truth["kinds"] == [one.kind for one in layout.fragments]  # type: ignore[union-attr]
