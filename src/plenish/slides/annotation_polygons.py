"""Annotations as polygons: exact areas and exact shares of boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from plenish.errors import InputError
from plenish.slides.annotation_files import Outlines, Ring
from plenish.slides.reader import require_libraries
from plenish.slides.remarks import Remark
from plenish.slides.tiling_config import LabelRules

_VERTICES = 128
"""Vertices of a piece of a polygon at most: boxes are intersected with pieces, not with whole outlines."""
_BOXES = 8192
_LEAST_SHARE = 1e-6
"""Share of a label's area below which an overlap, or what lies off the slide, is rounding."""


class Polygons:
    """Annotated areas of one slide that were drawn, in pixels of level 0.

    Attributes:
        path: the file they are from.
        labels: names, in the order of priority.
        remarks: what was repaired, left out or lies off the slide.
        names: all labels and holes as the file names them, before renaming.
    """

    def __init__(
        self, path: Path, outlines: Outlines, ignored: Mapping[str, int], rules: LabelRules,
        size: tuple[int, int],
    ) -> None:  # fmt: skip
        """Make outlines valid, cut holes, resolve overlaps and check that they lie on the slide.

        Args:
            path: the file.
            outlines: that it has.
            ignored: what was left out of it, by kind.
            rules: how its names become labels.
            size: width and height of the slide at level 0, pixels.

        Raises:
            InputError: shapely is missing, or everything lies off the slide.
        """
        require_libraries("shapely")
        import shapely

        remarks = [Remark("shapes-ignored", {"count": n, "kind": kind}) for kind, n in ignored.items()]
        shapes: dict[str, list[Any]] = {}
        cut: list[Any] = []
        repaired = 0
        for name, rings in outlines:
            label = rules.label(name)
            shape, was_repaired = _valid(rings)
            repaired += was_repaired
            (cut if label is None else shapes.setdefault(label, [])).append(shape)
        if repaired:
            remarks.append(Remark("outlines-repaired", {"count": repaired}))
        hole = shapely.union_all(cut)
        whole = {
            label: shapely.difference(shapely.union_all(shapes[label]), hole)
            for label in rules.ordered(shapes)
        }
        self._shapes, overlaps = _disjoint(whole, rules)
        self.path, self.labels, self.remarks = path, tuple(self._shapes), (*remarks, *overlaps)
        self.names = tuple(dict.fromkeys(name for name, _ in outlines))
        self._check_position(size)

    def _check_position(self, size: tuple[int, int]) -> None:
        import shapely

        slide = shapely.box(0, 0, *size)
        areas = {label: max(shape.area, 1.0) for label, shape in self._shapes.items()}
        off = {label: shapely.difference(shape, slide).area for label, shape in self._shapes.items()}
        lost = sum(area for label, area in off.items() if area > _LEAST_SHARE * areas[label])
        total = sum(self.areas().values())
        if total > 0 and lost >= total * (1 - _LEAST_SHARE):
            left, top, right, bottom = shapely.total_bounds(np.array(list(self._shapes.values()), object))
            raise InputError(
                f"All of {self.path} lies off the slide: it reaches from ({left:.0f}, {top:.0f}) to "
                f"({right:.0f}, {bottom:.0f}) and the slide has {size[0]}×{size[1]} pixels; give the "
                "slide's own annotations, in pixels of level 0."
            )
        if lost:
            self.remarks += (Remark("annotations-off-slide", {"percent": 100 * float(lost) / total}),)

    def areas(self) -> dict[str, float]:
        """Area of each label, px² of level 0."""
        return {label: float(shape.area) for label, shape in self._shapes.items()}

    def shapes(self) -> dict[str, Any]:
        """The area of each label as one of shapely's shapes, pixels of level 0."""
        return dict(self._shapes)

    def coverage(self, boxes: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Share of each box (N×4 left, top, right, bottom) that each label covers, exact.

        Returns:
            For each label N values in [0, 1]; over labels they sum to 1 at most.
        """
        import shapely

        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        covered = {label: np.zeros(len(boxes)) for label in self.labels}
        for label, shape in self._shapes.items():
            pieces = np.array(_divided(shape), object)
            shapely.prepare(pieces)
            tree = shapely.STRtree(pieces)
            for start in range(0, len(boxes), _BOXES):
                some = slice(start, start + _BOXES)
                frames = shapely.box(*boxes[some].T)
                box, piece = tree.query(frames, predicate="intersects")
                shared = shapely.area(shapely.intersection(frames[box], pieces[piece]))
                total = np.bincount(box, shared, minlength=len(frames))
                covered[label][some] = np.clip(total / np.maximum(shapely.area(frames), 1e-12), 0, 1)
        return covered

    def raster(self, width: int, height: int, downsample: float) -> dict[str, NDArray[np.bool_]]:
        """For each label a height×width map, for pictures: pixels whose centre it covers.

        Args:
            width: of the map, pixels.
            height: of the map.
            downsample: pixels of level 0 that a pixel of the map measures.
        """
        import shapely

        maps: dict[str, NDArray[np.bool_]] = {}
        for label, shape in self._shapes.items():
            image = Image.new("1", (width, height))
            draw = ImageDraw.Draw(image)
            # Larger polygons first, shells before their holes: a shell in a hole comes after the hole.
            for part in sorted(_polygons(shape), key=lambda one: -shapely.Polygon(one.exterior).area):
                for ring, fill in [(part.exterior, 1), *((inner, 0) for inner in part.interiors)]:
                    points = np.asarray(ring.coords)[:-1, :2] / downsample - 0.5
                    draw.polygon([tuple(point) for point in points.tolist()], fill=fill)
            maps[label] = np.asarray(image, bool)
        return maps


def _valid(rings: Sequence[Ring]) -> tuple[Any, bool]:
    """The outline as a valid shape, and whether it had to be repaired."""
    import shapely

    shape = shapely.Polygon(rings[0], rings[1:])
    if shape.is_valid:
        return shape, False
    # Areas that a self-crossing outline encloses twice are inside, as the annotator meant.
    valid = shapely.make_valid(shape, method="structure", keep_collapsed=False)
    return shapely.union_all(_polygons(valid)), True


def _disjoint(shapes: Mapping[str, Any], rules: LabelRules) -> tuple[dict[str, Any], list[Remark]]:
    """Shapes without overlaps (the earlier keeps the area), and remarks on overlaps without a priority."""
    import shapely

    disjoint: dict[str, Any] = {}
    remarks: list[Remark] = []
    for label, shape in shapes.items():
        for earlier in disjoint:
            shared = shapely.intersection(shape, disjoint[earlier]).area
            if shared > _LEAST_SHARE * shape.area and not rules.decides(earlier, label):
                overlap = {"label": label, "earlier": earlier, "area": float(shared)}
                remarks.append(Remark("labels-overlap", overlap))
        rest = shapely.difference(shape, shapely.union_all(list(disjoint.values())))
        disjoint[label] = shapely.union_all(_polygons(rest))
    return disjoint, remarks


def _divided(shape: Any) -> list[Any]:
    """Polygons of few vertices that add up to the shape: quartered until they are."""
    import shapely

    done: list[Any] = []
    waiting = _polygons(shape)
    while waiting:
        one = waiting.pop()
        if shapely.get_num_coordinates(one) <= _VERTICES:
            done.append(one)
            continue
        left, top, right, bottom = one.bounds
        x, y = (left + right) / 2, (top + bottom) / 2
        corners = ([left, x, left, x], [top, top, y, y], [x, right, x, right], [y, y, bottom, bottom])
        quarters = shapely.intersection(one, shapely.box(*corners))
        parts = [part for quarter in quarters for part in _polygons(quarter)]
        # Coincident vertices cannot be divided further.
        (waiting if len(parts) > 1 and left < x < right and top < y < bottom else done).extend(parts)
    return done


def _polygons(shape: Any) -> list[Any]:
    """The polygons a shape is made of; lines and points are dropped."""
    import shapely

    parts = shapely.get_parts(shapely.get_parts(shape))  # Twice: a collection may hold multipolygons.
    return [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]
