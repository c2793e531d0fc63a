"""One picture of a slide with its tissue, its annotations and its tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.slides import geojson, scale
from plenish.slides.annotations import (
    Annotations,
    find_annotations,
    has_annotations,
    read_annotations,
    refuse_unknown_labels,
)
from plenish.slides.canvas import TILE, TISSUE, Canvas, Picture, PictureOptions
from plenish.slides.geojson import class_colours
from plenish.slides.grid import make_grid
from plenish.slides.reader import Slide, open_slide
from plenish.slides.remarks import Remark
from plenish.slides.tiling_config import GridOptions, LabelRules
from plenish.slides.tissue import TissueOptions, box_coverage, resized, slide_tissue, with_rim
from plenish.wording import plural


def draw_overlay(
    slide: Path, out: Path, *, annotations: Path | None = None, data: Path | None = None, grid: GridOptions,
    tissue: TissueOptions, rules: LabelRules, picture: PictureOptions,
) -> Picture:  # fmt: skip
    """Draw a slide in small with the outline of its tissue, its annotations and its tiles.

    Tiles are drawn if --mpp or --level gives their size, as 'plenish slides tile' would cut them, or from the
    Dataset that it made.

    Args:
        slide: the slide.
        out: the picture to write, .png or .jpg; must not exist.
        annotations: the slide's file of annotations, or a folder with one named like the slide.
        data: a tile Dataset; its tiles of this slide are drawn, in the colour of their label.
        grid: size, scale and spacing of tiles.
        tissue: where there is tissue, and how much a tile needs.
        rules: how labels in files of annotations become labels.
        picture: its size.

    Raises:
        InputError: the slide, its annotations or the Dataset cannot be used, or `out` exists.
    """
    picture.check(out)
    beside = picture.geojson_file(out)
    if sum(option is not None for option in (grid.mpp, grid.level, data)) > 1:
        raise InputError("Tiles come from one of --mpp, --level and --data; leave the others out.")
    remarks: list[Remark] = []
    with open_slide(slide) as opened:
        known = scale.resolve(opened.scale, None, grid.assume_mpp)
        mask, _, coarse = slide_tissue(opened, tissue, known.mpp)
        if not mask.any() and not opened.unreadable:
            remarks.append(Remark("no-tissue"))
        pixels, downsample = opened.thumbnail(picture.side)
        if lost := opened.missing_tiles():
            remarks.append(Remark("file-truncated", {"tiles": lost}))
        elif opened.unreadable:
            remarks.append(Remark("unreadable-parts"))
        canvas = Canvas(pixels, downsample)
        canvas.outline(resized(mask, coarse, pixels.shape[:2], downsample), TISSUE, "tissue")
        facts: dict[str, Any] = {
            "slide": opened.name, "picture": str(out), "slide_mpp": known.mpp,
            "tissue": f"{100 * float(mask.mean()):.1f} % of the slide",
        }  # fmt: skip
        found = None if annotations is None else _read(annotations, opened, rules)
        tiles = _Tiles.none()
        if grid.mpp is not None or grid.level is not None:
            cut = make_grid(opened, grid, known, "give --assume-mpp, or draw the tiles of a --level")
            rows, columns = (axis.ravel() for axis in np.indices((cut.rows, cut.columns)))
            boxes = cut.boxes(rows, columns)
            boxes = boxes[box_coverage(with_rim(mask), boxes, coarse) >= tissue.min_tissue - 1e-9]
            tiles = _Tiles(boxes, np.full(len(boxes), None, object), {})
            facts |= {"tile_mpp": cut.mpp, "tiles": len(boxes)}
        elif data is not None:
            tiles = _of_dataset(data, opened.name, found.labels if found else ())
            facts["tiles"] = len(tiles.boxes)
        tiles.draw(canvas)
        if found is not None:
            facts["annotated"] = _draw_annotations(canvas, found, known.mpp)
            remarks += found.remarks
        elif annotations is not None:
            remarks.append(Remark("no-annotations", {"path": str(annotations), "name": opened.name}))
    if (beside := picture.geojson_file(out)) is not None:
        outlined = {} if found is None else found.shapes()
        features = [
            *geojson.tissue(mask, coarse), *geojson.areas(outlined, class_colours(list(outlined))),
            *geojson.tiles(tiles.boxes, list(tiles.labels), {}, tiles.colours),
        ]  # fmt: skip
        geojson.write(beside, features)
        facts["geojson"] = str(beside)
    canvas.save(out)
    return Picture(facts, remarks)


@dataclasses.dataclass(frozen=True)
class _Tiles:
    """Tiles to draw.

    Attributes:
        boxes: N×4 (left, top, right, bottom), pixels of level 0.
        labels: N, None for a tile without one.
        colours: of labels.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.object_]
    colours: Mapping[str, geojson.Colour]

    @classmethod
    def none(cls) -> _Tiles:
        """No tiles."""
        return cls(np.empty((0, 4)), np.empty(0, object), {})

    def draw(self, canvas: Canvas) -> None:
        """Draw them, in the order of their colours."""
        unlabelled = np.array([label is None for label in self.labels], bool)
        if unlabelled.any():
            canvas.boxes(self.boxes[unlabelled], TILE, "tiles")
        for label, colour in self.colours.items():
            if (mine := self.labels == label).any():
                canvas.boxes(self.boxes[mine], colour, f"tiles: {label}")


def _read(path: Path, slide: Slide, rules: LabelRules) -> Annotations | None:
    """The slide's annotations, from their file or a folder; None where a folder of others has none."""
    required = not (path.is_dir() and has_annotations(path))
    file = find_annotations(path, slide.name, slide.path.stem, required=required)
    if file is None:
        return None
    found = read_annotations(file, (slide.width, slide.height), rules)
    refuse_unknown_labels(found.names, rules)
    return found


def _draw_annotations(canvas: Canvas, found: Annotations, mpp: float | None) -> dict[str, str]:
    height, width = canvas.pixels.shape[:2]
    colours = class_colours(found.labels)
    for label, area in found.raster(width, height, canvas.downsample).items():
        canvas.outline(area, colours[label], label, tint=True)
    areas = found.areas()
    if mpp is None:
        return {label: f"{areas[label]:,.0f} px²" for label in found.labels}
    return {label: f"{areas[label] * mpp**2 / 1e6:.3f} mm²" for label in found.labels}


def _of_dataset(data: Path, name: str, first: Sequence[str]) -> _Tiles:
    """A Dataset's tiles of one slide, in the colours that their labels have as annotations.

    Args:
        data: the Dataset.
        name: of the slide.
        first: the labels of the annotations, which have the first colours.
    """
    dataset = Dataset.open(data)
    table = dataset.table
    if not {"slide", "x", "y", "side"} <= set(table.columns):
        raise InputError(f"{data} was not cut from slides; give a Dataset of 'plenish slides tile'.")
    mine = table[table["slide"] == name]
    if mine.empty:
        others = plural(table["slide"].nunique(), "other slide")
        raise InputError(f"{data} has no tiles of {name}, only those of {others}.")
    corner = mine[["x", "y"]].to_numpy(np.float64)
    boxes = np.concatenate([corner, corner + mine["side"].to_numpy(np.float64)[:, None]], axis=1)
    labels = np.array([x if isinstance(x, str) else None for x in mine["label"]], object)
    there = sorted({label for label in labels if label is not None})
    background = (dataset.manifest.config.get("settings") or {}).get("labels", {}).get("background")
    colours = class_colours([*first, *(label for label in there if label != background)])
    return _Tiles(boxes, labels, ({background: TILE} if background in there else {}) | colours)
