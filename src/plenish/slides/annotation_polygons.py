"""Annotations as polygons: exact areas and exact shares of boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError
from plenish.slides.annotation_files import Drawing, Drawn
from plenish.slides.annotation_types import Annotations, LabelMatcher
from plenish.slides.remarks import Remark

if TYPE_CHECKING:
    import shapely

_VERTICES = 128
"""Vertices of a piece of a polygon at most: boxes are intersected with pieces, not with whole outlines."""
_BOXES = 8192
_LEAST_SHARE = 1e-6
"""Share of a label's area below which an overlap, or what lies off the slide, is rounding."""


class Polygons(Annotations):
    """Annotations that were drawn; see `Annotations`."""

    def __init__(self, path: Path, shapes: Mapping[str, Any], remarks: Sequence[Remark] = ()) -> None:
        """Take shapes that do not overlap.

        Args:
            path: the file.
            shapes: a valid shapely polygon or multipolygon for each label.
            remarks: what was repaired or left out.
        """
        super().__init__(path, tuple(shapes), remarks)
        self._shapes = dict(shapes)
        self._trees: dict[str, tuple[shapely.STRtree, NDArray[np.object_]]] = {}

    @classmethod
    def of(cls, path: Path, drawing: Drawing, rules: LabelMatcher, size: tuple[int, int]) -> Polygons:
        """Make outlines valid, cut holes, resolve overlaps and check that they lie on the slide.

        Raises:
            InputError: shapely is missing, or everything lies off the slide.
        """
        _require_shapely()
        import shapely

        remarks = [
            Remark("shapes-ignored", {"count": n, "kind": kind}) for kind, n in drawing.ignored.items()
        ]
        shapes: dict[str, list[Any]] = {}
        cut: list[Any] = []
        repaired = 0
        for drawn in drawing.outlines:
            label = rules.label(drawn.label)
            shape, was_repaired = _valid(drawn)
            repaired += was_repaired
            (cut if label is None else shapes.setdefault(label, [])).append(shape)
        if repaired:
            remarks.append(Remark("outlines-repaired", {"count": repaired}))
        hole = shapely.union_all(cut)
        whole = {
            label: shapely.difference(shapely.union_all(shapes[label]), hole)
            for label in rules.ordered(list(shapes))
        }
        disjoint, overlaps = _disjoint(whole, rules)
        found = cls(path, disjoint, remarks + overlaps)
        found._check_position(size)
        return found

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

    def coverage(self, boxes: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Share of each box (N×4 left, top, right, bottom) that each label covers, exact."""
        import shapely

        boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
        covered = {label: np.zeros(len(boxes)) for label in self.labels}
        for start in range(0, len(boxes), _BOXES):
            some = slice(start, start + _BOXES)
            frames = shapely.box(*boxes[some].T)
            area = shapely.area(frames)
            for label in self.labels:
                tree, pieces = self._pieces(label)
                box, piece = tree.query(frames, predicate="intersects")
                shared = shapely.area(shapely.intersection(frames[box], pieces[piece]))
                total = np.bincount(box, shared, minlength=len(frames))
                covered[label][some] = np.clip(total / np.maximum(area, 1e-12), 0, 1)
        return covered

    def _pieces(self, label: str) -> tuple[shapely.STRtree, NDArray[np.object_]]:
        """A label cut into pieces of few vertices, and an index of them."""
        import shapely

        if label not in self._trees:
            pieces = np.array(_divided(self._shapes[label]), object)
            shapely.prepare(pieces)
            self._trees[label] = shapely.STRtree(pieces), pieces
        return self._trees[label]

    def raster(self, width: int, height: int, downsample: float) -> dict[str, NDArray[np.bool_]]:
        """For each label a height×width map, for pictures."""
        import shapely
        from PIL import Image, ImageDraw

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


def _valid(drawn: Drawn) -> tuple[Any, bool]:
    """The outline as a valid shape, and whether it had to be repaired."""
    import shapely

    shape = shapely.Polygon(drawn.shell, drawn.holes)
    if shape.is_valid:
        return shape, False
    # Areas that a self-crossing outline encloses twice are inside, as the annotator meant.
    valid = shapely.make_valid(shape, method="structure", keep_collapsed=False)
    return shapely.union_all(_polygons(valid)), True


def _disjoint(shapes: Mapping[str, Any], rules: LabelMatcher) -> tuple[dict[str, Any], list[Remark]]:
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
    """Polygons of few vertices that add up to the shape: halved across the longer side until they are."""
    import shapely

    done: list[Any] = []
    waiting = _polygons(shape)
    while waiting:
        one = waiting.pop()
        if shapely.get_num_coordinates(one) <= _VERTICES:
            done.append(one)
            continue
        left, top, right, bottom = one.bounds
        if right - left >= bottom - top:
            middle = (left + right) / 2
            halves = [shapely.box(left, top, middle, bottom), shapely.box(middle, top, right, bottom)]
        else:
            middle = (top + bottom) / 2
            halves = [shapely.box(left, top, right, middle), shapely.box(left, middle, right, bottom)]
        parts = [part for half in halves for part in _polygons(shapely.intersection(one, half))]
        # Coincident vertices cannot be divided further.
        (waiting if len(parts) > 1 and middle not in (left, right, top, bottom) else done).extend(parts)
    return done


def _polygons(shape: Any) -> list[Any]:
    """The polygons a shape is made of; lines and points are dropped."""
    import shapely

    parts = shapely.get_parts(shapely.get_parts(shape))  # Twice: a collection may hold multipolygons.
    return [part for part in parts if part.geom_type == "Polygon" and not part.is_empty]


def _require_shapely() -> None:
    try:
        import shapely  # noqa: F401
    except ImportError:
        raise InputError(
            "Annotations need shapely, which is not installed; install it with: pip install 'plenish[slides]'"
        ) from None
