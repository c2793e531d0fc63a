"""Files of drawn outlines: ASAP's XML and GeoJSON as QuPath writes it, read into rings with a label.

Coordinates are pixels of level 0, as both programs write them. Points, lines and outlines of fewer than
three vertices are counted and left out.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.images import read_file
from plenish.datasets.rejections import Unreadable
from plenish.errors import InputError

Ring = NDArray[np.float64]
"""n×2 vertices (x, y) in pixels of level 0."""

UNNAMED = "annotated"
"""Label of outlines that have neither a group nor a class."""
_TOO_SHORT = "outline of fewer than three vertices"
_AREAS = ("polygon", "spline", "rectangle")


Outlines = list[tuple[str, list[Ring]]]
"""The group or class of each outline, its outer ring and its holes, in the order of the file."""


def read_asap(path: Path, ignored: Counter[str]) -> Outlines:
    """Read ASAP's XML (CAMELYON16 and 17): polygons, splines by their vertices, rectangles.

    Args:
        path: the file.
        ignored: counts what is left out, by kind.

    Raises:
        InputError: the file cannot be read, is damaged, of another kind, or a coordinate is not a number.
    """
    try:
        root = ElementTree.fromstring(_bytes(path))
    except ElementTree.ParseError as error:
        raise InputError(
            f"{path} is damaged XML ({error}); save the annotations again in ASAP, or restore a copy."
        ) from None
    if root.tag != "ASAP_Annotations":
        raise InputError(
            f"{path} is XML of another kind (it begins with <{root.tag}>, not <ASAP_Annotations>); save the "
            "annotations in ASAP, or as GeoJSON in QuPath."
        )
    outlines: Outlines = []
    for one in root.iter("Annotation"):
        kind = one.get("Type", "Polygon").lower()
        if kind not in _AREAS:
            ignored[kind] += 1
            continue
        found = sorted(one.iter("Coordinate"), key=lambda point: _order(path, point))
        name = one.get("Name") or "unnamed"
        ring = _ring([(_comma(p.get("X")), _comma(p.get("Y"))) for p in found], path, f"Annotation '{name}'")
        if kind == "rectangle" and len(ring) == 2:
            (a, b), (c, d) = ring
            ring = np.array([(a, b), (c, b), (c, d), (a, d)])
        if len(ring) < 3:
            ignored[_TOO_SHORT] += 1
            continue
        group = one.get("PartOfGroup") or "None"
        outlines.append((UNNAMED if group == "None" else group, [ring]))
    return outlines


def read_geojson(path: Path, ignored: Counter[str]) -> Outlines:
    """Read GeoJSON: polygons with their holes; the class is where QuPath puts it, or `label` or `name`.

    Args:
        path: the file.
        ignored: counts what is left out, by kind.

    Raises:
        InputError: the file cannot be read, is damaged, of another kind, or a coordinate is not a number.
    """
    try:
        content = json.loads(_bytes(path))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            f"{path} is damaged JSON ({error}); export the annotations again, or restore a copy."
        ) from None
    outlines: Outlines = []
    for number, (geometry, label) in enumerate(_features(content, path), 1):
        for polygon in _polygons(geometry, ignored, path):
            there = polygon if isinstance(polygon, list) else ()
            rings = [_ring(ring, path, f"Feature {number}") for ring in there]
            if not rings or len(rings[0]) < 3:
                ignored[_TOO_SHORT] += 1
                continue
            outlines.append((label, [ring for ring in rings if len(ring) >= 3]))
    return outlines


def _features(content: Any, path: Path) -> Iterable[tuple[Any, str]]:
    """Geometries with their labels, of any of the forms GeoJSON has and of QuPath's bare list."""
    kind = content.get("type") if isinstance(content, Mapping) else None
    items = content.get("features") if kind == "FeatureCollection" else content
    if isinstance(items, list):
        for item in items:
            yield from _features(item, path)
    elif kind == "Feature":
        yield content.get("geometry"), _label(content.get("properties"))
    elif isinstance(kind, str) and ("coordinates" in content or "geometries" in content):
        yield content, UNNAMED
    else:
        shown = f"its type is '{kind}'" if kind else "it has no type"
        raise InputError(
            f"{path} is JSON of another kind than GeoJSON ({shown}); export the annotations as a GeoJSON "
            "FeatureCollection, as QuPath does."
        )


def _label(properties: Any) -> str:
    if not isinstance(properties, Mapping):
        return UNNAMED
    found = properties.get("classification")
    if isinstance(found, Mapping):
        names = found.get("names")
        found = found.get("name") or (": ".join(map(str, names)) if isinstance(names, list) else None)
    for value in (found, properties.get("label"), properties.get("class"), properties.get("name")):
        if isinstance(value, (str, int)) and str(value).strip():
            return str(value).strip()
    return UNNAMED


def _polygons(geometry: Any, ignored: Counter[str], path: Path) -> Iterable[Any]:
    if not isinstance(geometry, Mapping):
        ignored["feature without a geometry"] += 1
        return
    kind, coordinates = geometry.get("type"), geometry.get("coordinates")
    if kind == "Polygon":
        yield coordinates
    elif kind == "MultiPolygon" and isinstance(coordinates, list):
        yield from coordinates
    elif kind == "GeometryCollection" and isinstance(geometry.get("geometries"), list):
        for part in geometry["geometries"]:
            yield from _polygons(part, ignored, path)
    elif kind in ("Point", "MultiPoint", "LineString", "MultiLineString"):
        ignored[str(kind)] += 1
    else:
        raise InputError(
            f"{path} holds a geometry of the type '{kind}', which GeoJSON does not have; correct it."
        )


def _order(path: Path, point: ElementTree.Element) -> float:
    try:
        return float(point.get("Order", "0"))
    except ValueError:
        raise InputError(
            f"{path} has a coordinate whose Order is '{point.get('Order')}'; it must be a number."
        ) from None


def _comma(text: str | None) -> str:
    """Some versions of ASAP wrote decimal commas where the system's language has them."""
    return (text or "").replace(",", ".")


def _ring(points: Any, path: Path, where: str) -> Ring:
    """Vertices as an array, without one that repeats the first at the end."""
    try:
        ring = np.array([(float(point[0]), float(point[1])) for point in points], np.float64).reshape(-1, 2)
    except (TypeError, ValueError, IndexError, KeyError):
        ring = np.full((1, 2), math.nan)
    if not np.isfinite(ring).all():
        raise InputError(
            f"{where} of {path} has a coordinate that is not a number; correct it or draw it again."
        )
    return ring[:-1] if len(ring) > 1 and (ring[0] == ring[-1]).all() else ring


def _bytes(path: Path) -> bytes:
    try:
        return read_file(path)
    except Unreadable as reason:
        raise InputError(f"{path} holds no annotations: {reason}; give another file.") from None
