"""What is known of a slide as GeoJSON that QuPath opens: outlines as annotations, tiles with measurements.

The keys are those that QuPath 0.4 and later write and read (its classes `QuPathTypeAdapters` and
`ROITypeAdapters`): `objectType`, `classification` with name and colour, `measurements` by name. Coordinates
are pixels of level 0. Rings are closed; as RFC 7946 asks, outer ones have a positive area and holes a
negative one. QuPath takes the colours for classes that it does not know yet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.slides.canvas import LABELS, TISSUE
from plenish.slides.reader import require_libraries

TISSUE_CLASS = "Tissue"
Colour = tuple[int, int, int]


def class_colours(names: Sequence[str]) -> dict[str, Colour]:
    """A colour for each class in its order, the same on the pictures."""
    return {name: LABELS[i % len(LABELS)] for i, name in enumerate(dict.fromkeys(names))}


def mask_shape(mask: NDArray[np.bool_], scale: float | tuple[float, float]) -> Any:
    """The area of a mask as a shape whose edges are those of its pixels.

    Args:
        mask: H×W.
        scale: pixels of level 0 that one of its pixels measures, or (across, down).
    """
    require_libraries("shapely")
    import shapely

    across, down = scale if isinstance(scale, tuple) else (scale, scale)
    steps = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    rows, starts = np.nonzero(steps == 1)  # Both are in the order of rows: the ends are those of these.
    ends = np.nonzero(steps == -1)[1]
    runs = shapely.box(starts, rows, ends, rows + 1)
    # Without tolerance, only vertices within straight edges go.
    whole = shapely.simplify(shapely.union_all(runs), 0.0)
    return shapely.transform(whole, lambda points: points * (across, down))


def areas(shapes: Mapping[str, Any], colours: Mapping[str, Colour]) -> list[dict[str, Any]]:
    """A feature for each class that is outlined.

    Args:
        shapes: polygons, or several as one, of each class; classes without an area are left out.
        colours: of the classes.
    """
    return [
        _feature("annotation", shape, name, colours[name])
        for name, shape in shapes.items() if not shape.is_empty
    ]  # fmt: skip


def tissue(mask: NDArray[np.bool_], scale: float) -> list[dict[str, Any]]:
    """The feature of the tissue, if there is some; the arguments are those of `mask_shape`."""
    return areas({TISSUE_CLASS: mask_shape(mask, scale)}, {TISSUE_CLASS: TISSUE})


def tiles(
    boxes: NDArray[np.float64], classes: Sequence[str | None], measurements: Mapping[str, NDArray[Any]],
    colours: Mapping[str, Colour],
) -> list[dict[str, Any]]:  # fmt: skip
    """A feature for each tile.

    Args:
        boxes: N×4 (left, top, right, bottom), pixels of level 0.
        classes: N classes, or None for a tile of no class.
        measurements: N numbers of each name; those that are not finite are left out.
        colours: of the classes.
    """
    require_libraries("shapely")
    import shapely

    found = []
    for i, (shape, name) in enumerate(zip(shapely.box(*boxes.T), classes, strict=True)):
        values = {key: float(column[i]) for key, column in measurements.items() if np.isfinite(column[i])}
        found.append(_feature("tile", shape, name, colours.get(name or "", TISSUE), values))
    return found


def _feature(
    kind: str, shape: Any, name: str | None, colour: Colour, measurements: Mapping[str, float] = {}
) -> dict[str, Any]:
    import shapely
    from shapely.geometry.polygon import orient

    parts = [orient(part) for part in shapely.get_parts(shape) if part.geom_type == "Polygon"]
    polygons = [[ring.coords[:] for ring in (part.exterior, *part.interiors)] for part in parts]
    geometry = {"type": "MultiPolygon", "coordinates": polygons}
    if len(polygons) == 1:
        geometry = {"type": "Polygon", "coordinates": polygons[0]}
    return {
        "type": "Feature",
        "geometry": geometry,
        "properties": {
            "objectType": kind,
            **({"classification": {"name": name, "color": list(colour)}} if name else {}),
            **({"measurements": dict(measurements)} if measurements else {}),
        },
    }  # fmt: skip


def write(path: Path, features: Sequence[Mapping[str, Any]]) -> None:
    """Write features as one file, a line each."""
    lines = ",\n".join(json.dumps(one, ensure_ascii=False, allow_nan=False) for one in features)
    text = '{"type": "FeatureCollection", "features": [\n' + lines + "\n]}\n"
    with files.reporting_disk(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    files.write_text(path, text)
