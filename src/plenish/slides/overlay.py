"""`plenish slides overlay`: one picture of a slide with its tissue, its annotations and its tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError
from plenish.slides.canvas import LABELS, SUFFIXES, TILE, TISSUE, Canvas, encoded, resized
from plenish.wording import plural

if TYPE_CHECKING:
    from plenish.slides.annotations import Annotations
    from plenish.slides.reader import Slide
    from plenish.slides.scale import Scale
    from plenish.slides.settings import TilingSettings
    from plenish.slides.tissue import TissueSettings

_SIDES = (200, 10_000)
_MEND = "give --assume-mpp, or draw the tiles of a --level"


@dataclasses.dataclass(frozen=True)
class Overlay:
    """What `plenish slides overlay` drew.

    Attributes:
        facts: the picture's path, share of tissue, tiles, annotated areas; JSON-able.
    """

    facts: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return dict(self.facts)


def draw_overlay(
    slide: Path,
    out: Path,
    annotations: Path | None = None,
    data: Path | None = None,
    size: int = 256,
    mpp: float | None = None,
    level: int | None = None,
    stride: int | None = None,
    min_tissue: float = 0.5,
    assume_mpp: float | None = None,
    tissue_saturation: float | None = None,
    priority: list[str] | None = None,
    holes: list[str] | None = None,
    side: int = 2000,
) -> Overlay:
    """Draw a slide in small with the outline of its tissue, its annotations and its tiles.

    Tiles are drawn where --mpp or --level says how large they are, as 'plenish slides tile' would lay them,
    or from the Dataset that it made.

    Args:
        slide: The slide.
        out: The picture to write, .png or .jpg; must not exist.
        annotations: The slide's file of annotations, or a folder with one named like the slide.
        data: A tile Dataset; its tiles of this slide are drawn, in the colour of their label.
        size: Height and width of a tile, pixels.
        mpp: µm per pixel of tiles.
        level: Level of the slide that tiles are taken from as it is.
        stride: From one tile to the next, pixels of tiles; left out, they lie side by side.
        min_tissue: Least share of tissue that a tile must have.
        assume_mpp: µm per pixel at level 0 if the slide does not say.
        tissue_saturation: HSV saturation above which a pixel is tissue; left out, it is found.
        priority: Annotations' labels; where they overlap, the one named first counts.
        holes: Annotations' labels that are holes in the others, besides usual names such as Exclusion; none
            leaves those out.
        side: Longer side of the picture, pixels.

    Returns:
        The picture's path and what it shows.

    Raises:
        InputError: the slide, its annotations or the Dataset cannot be used, or `out` exists.
    """
    from plenish import files
    from plenish.slides import scale
    from plenish.slides.reader import open_slide
    from plenish.slides.settings import TilingSettings

    slide, out = Path(slide), Path(out)
    _check(out, side, mpp, level, data)
    how = TilingSettings(
        size=size, stride=stride, mpp=mpp, level=0 if mpp is None and level is None else level,
        min_tissue=min_tissue, assume_mpp=assume_mpp, saturation=tissue_saturation,
        priority=tuple(priority or ()), holes=None if holes is None else tuple(holes),
    )  # fmt: skip
    with open_slide(slide) as opened:
        known = scale.resolve(opened, None, assume_mpp)
        remarks: list[str] = []
        mask, coarse = _tissue(opened, known.mpp, how.tissue())
        if not mask.any():
            remarks.append("No tissue was found; lower --tissue-saturation if there is some.")
        facts: dict[str, Any] = {
            "slide": opened.name, "picture": str(out), "slide_mpp": known.mpp,
            "tissue": f"{100 * float(mask.mean()):.1f} % of the slide",
        }  # fmt: skip
        picture, downsample = opened.thumbnail(side)
        damaged = opened.cut_off()
        if damaged or opened.unreadable:
            remarks.append(damaged or "Parts of the slide cannot be decoded and are drawn white.")
        canvas = Canvas(picture, downsample)
        canvas.outline(resized(mask, coarse, picture.shape[:2], downsample), TISSUE, "tissue")
        found = None if annotations is None else _read(Path(annotations), opened, slide.stem, how, remarks)
        if mpp is not None or level is not None:
            facts |= _draw_grid(canvas, opened, how, known, mask, coarse)
        elif data is not None:
            first = found.labels if found is not None else ()
            facts["tiles"] = _draw_dataset(canvas, data, opened.name, first)
        if found is not None:
            facts["annotated"] = _draw_annotations(canvas, found, known.mpp)
            remarks += found.remarks
    with files.reporting_disk(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(out, encoded(canvas.finished(), out.suffix))
    return Overlay(facts | {"remarks": remarks})


def _check(out: Path, side: int, mpp: float | None, level: int | None, data: Path | None) -> None:
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(f"The picture {out} must end in .png or .jpg.")
    if out.exists():
        raise InputError(f"{out} already exists; choose another name or remove it first.")
    if not _SIDES[0] <= side <= _SIDES[1]:
        raise InputError(f"--side must be {_SIDES[0]} to {_SIDES[1]} pixels, not {side}.")
    if sum(option is not None for option in (mpp, level, data)) > 1:
        raise InputError("Tiles come from one of --mpp, --level and --data; leave the others out.")


def _read(path: Path, slide: Slide, stem: str, how: TilingSettings, remarks: list[str]) -> Annotations | None:
    """The slide's annotations, from their file or a folder; None, with a remark, where there are none."""
    from plenish.slides.annotations import read_annotations, refuse_unknown_labels

    file = _annotations(path, (slide.name, stem))
    if file is None:
        remarks.append(f"{path} has no annotations of {slide.name}, so none are drawn.")
        return None
    found = read_annotations(file, size=(slide.width, slide.height), priority=how.priority, holes=how.holes)
    refuse_unknown_labels(found.names, priority=how.priority, holes=how.holes)
    return found


def _annotations(path: Path, names: Sequence[str]) -> Path | None:
    """The slide's file of annotations; None where a folder of annotations has none of it."""
    from plenish.slides.annotations import find_annotations, has_annotations, the_annotations

    if path.is_dir() and has_annotations(path):
        return next(filter(None, (find_annotations(path, name) for name in dict.fromkeys(names))), None)
    return the_annotations(path, *names)


def _tissue(slide: Slide, mpp: float | None, settings: TissueSettings) -> tuple[NDArray[np.bool_], float]:
    from plenish.slides.tissue import thumbnail_side, tissue_mask

    rgb, downsample = slide.thumbnail(thumbnail_side(slide.width, slide.height, mpp))
    return tissue_mask(rgb, settings, None if mpp is None else mpp * downsample), downsample


def _draw_grid(
    canvas: Canvas, slide: Slide, how: TilingSettings, known: Scale, mask: NDArray[np.bool_], coarse: float
) -> dict[str, Any]:
    """Draw the tiles that a tiling would take; `coarse` pixels of level 0 are one of the tissue's `mask`."""
    from plenish.slides import scale
    from plenish.slides.grid import make_grid
    from plenish.slides.tissue import box_coverage, with_rim

    needed = scale.require(slide, known, _MEND) if how.mpp is not None else known.mpp
    grid = make_grid(slide, size=how.size, stride=how.stride, mpp=how.mpp, level=how.level, slide_mpp=needed)
    rows, columns = (axis.ravel() for axis in np.indices((grid.rows, grid.columns)))
    boxes = grid.boxes(rows, columns)
    boxes = boxes[box_coverage(with_rim(mask), boxes, coarse) >= how.min_tissue - 1e-9]
    canvas.boxes(boxes, TILE, "tiles")
    return {"tile_mpp": grid.mpp, "tiles": len(boxes)}


def _draw_annotations(canvas: Canvas, found: Annotations, mpp: float | None) -> dict[str, str]:
    height, width = canvas.pixels.shape[:2]
    maps = found.raster(width, height, canvas.downsample)
    for number, label in enumerate(found.labels):
        canvas.outline(maps[label], LABELS[number % len(LABELS)], label, tint=True)
    areas = found.areas()
    if mpp is None:
        return {label: f"{areas[label]:,.0f} px²" for label in found.labels}
    return {label: f"{areas[label] * mpp**2 / 1e6:.3f} mm²" for label in found.labels}


def _draw_dataset(canvas: Canvas, data: Path, name: str, first: Sequence[str]) -> int:
    """Draw a Dataset's tiles of one slide, in the colours that their labels have as annotations.

    Args:
        canvas: drawn on.
        data: the Dataset.
        name: of the slide.
        first: the labels of the annotations, which have the first colours.
    """
    from plenish.datasets.dataset import Dataset

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
    labels = mine["label"].astype(object).where(mine["label"].notna(), "tiles").to_numpy()
    background = (dataset.manifest.config.get("settings") or {}).get("background")
    numbered = list(dict.fromkeys((*first, *sorted(set(labels) - {"tiles", background}))))
    for label in sorted(set(labels), key=lambda one: (one in numbered, one)):
        colour = LABELS[numbered.index(label) % len(LABELS)] if label in numbered else TILE
        canvas.boxes(boxes[labels == label], colour, f"tiles: {label}" if label != "tiles" else label)
    return len(mine)


__all__ = ["Overlay", "draw_overlay"]
