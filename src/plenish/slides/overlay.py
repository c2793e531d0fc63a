"""`plenish slides overlay`: one picture of a slide with its tissue, its annotations and its tiles."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError
from plenish.wording import plural

if TYPE_CHECKING:
    from PIL import Image

    from plenish.slides.annotations import Annotations
    from plenish.slides.reader import Slide
    from plenish.slides.tissue import TissueSettings

TISSUE = (0, 140, 60)
TILE = (60, 60, 60)
LABELS = ((213, 94, 0), (0, 90, 200), (230, 159, 0), (120, 40, 160), (0, 170, 190), (150, 110, 60), (0, 0, 0))
"""Colours of labels in their order, repeated where there are more."""
_SUFFIXES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
_SIDES = (200, 10_000)
_TINT = 0.35
_LEAST_TILE = 4.0
"""Pixels of the picture a tile must measure for its border to be drawn; smaller ones are tinted."""


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
        holes: Annotations' labels that are holes in the others; left out, usual names such as Exclusion.
        side: Longer side of the picture, pixels.

    Returns:
        The picture's path and what it shows.

    Raises:
        InputError: the slide, its annotations or the Dataset cannot be used, or `out` exists.
    """
    from plenish import files
    from plenish.slides import scale
    from plenish.slides.grid import make_grid
    from plenish.slides.reader import open_slide
    from plenish.slides.tissue import TissueSettings, box_coverage

    slide, out = Path(slide), Path(out)
    _check(out, side, mpp, level, data)
    with open_slide(slide) as opened:
        known = scale.resolve(opened, None, assume_mpp)
        remarks: list[str] = []
        mask, coarse = _tissue(opened, known.mpp, TissueSettings(saturation=tissue_saturation))
        if not mask.any():
            remarks.append("No tissue was found; lower --tissue-saturation if there is some.")
        facts: dict[str, Any] = {
            "slide": opened.name, "picture": str(out), "mpp": known.mpp,
            "tissue": f"{100 * float(mask.mean()):.1f} % of the slide",
        }  # fmt: skip
        picture, downsample = opened.thumbnail(side)
        canvas = _Canvas(picture, downsample)
        canvas.outline(_resized(mask, coarse, picture.shape[:2], downsample), TISSUE, "tissue")
        if mpp is not None or level is not None:
            needed = scale.require(opened, known) if mpp is not None else known.mpp
            grid = make_grid(opened, size=size, stride=stride, mpp=mpp, level=level, slide_mpp=needed)
            rows, columns = (axis.ravel() for axis in np.indices((grid.rows, grid.columns)))
            boxes = grid.boxes(rows, columns)
            boxes = boxes[box_coverage(mask, boxes, coarse) >= min_tissue - 1e-9]
            canvas.boxes(boxes, TILE, "tiles")
            facts["tiles"] = len(boxes)
        elif data is not None:
            facts["tiles"] = _draw_dataset(canvas, data, opened.name)
        if annotations is not None:
            found = _annotations(Path(annotations), opened, priority, holes)
            facts["annotated"] = _draw_annotations(canvas, found, known.mpp)
            remarks += found.remarks
    with files.reporting_disk(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes(out, _encoded(canvas.finished(), _SUFFIXES[out.suffix.lower()]))
    return Overlay(facts | {"remarks": remarks})


def _check(out: Path, side: int, mpp: float | None, level: int | None, data: Path | None) -> None:
    if out.suffix.lower() not in _SUFFIXES:
        raise InputError(f"The picture {out} must end in .png or .jpg.")
    if out.exists():
        raise InputError(f"{out} already exists; choose another name or remove it first.")
    if not _SIDES[0] <= side <= _SIDES[1]:
        raise InputError(f"--side must be {_SIDES[0]} to {_SIDES[1]} pixels, not {side}.")
    if sum(option is not None for option in (mpp, level, data)) > 1:
        raise InputError("Tiles come from one of --mpp, --level and --data; leave the others out.")


def _tissue(slide: Slide, mpp: float | None, settings: TissueSettings) -> tuple[NDArray[np.bool_], float]:
    from plenish.slides.tissue import thumbnail_side, tissue_mask

    rgb, downsample = slide.thumbnail(thumbnail_side(slide.width, slide.height, mpp))
    return tissue_mask(rgb, settings, None if mpp is None else mpp * downsample), downsample


def _resized(
    mask: NDArray[np.bool_], downsample: float, shape: tuple[int, int], wanted: float
) -> NDArray[np.bool_]:
    """A mask at the picture's scale, by the nearest pixel."""
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * wanted / downsample).astype(np.int64), limit - 1)
        for n, limit in zip(shape, mask.shape)
    )
    return np.asarray(mask[rows[:, None], columns[None]])


def _annotations(
    path: Path, slide: Slide, priority: Sequence[str] | None, holes: Sequence[str] | None
) -> Annotations:
    from plenish.slides.annotations import find_annotations, read_annotations

    found = find_annotations(path, slide.name) if path.is_dir() else path
    if found is None:
        raise InputError(f"{path} has no annotations of {slide.name}; they are named like the slide.")
    size = slide.width, slide.height
    return read_annotations(found, size=size, priority=priority or (), holes=holes)


def _draw_annotations(canvas: _Canvas, found: Annotations, mpp: float | None) -> dict[str, str]:
    height, width = canvas.pixels.shape[:2]
    maps = found.raster(width, height, canvas.downsample)
    for number, label in enumerate(found.labels):
        canvas.outline(maps[label], LABELS[number % len(LABELS)], label, tint=True)
    areas = found.areas()
    if mpp is None:
        return {label: f"{areas[label]:,.0f} px²" for label in found.labels}
    return {label: f"{areas[label] * mpp**2 / 1e6:.3f} mm²" for label in found.labels}


def _draw_dataset(canvas: _Canvas, data: Path, name: str) -> int:
    """Draw a Dataset's tiles of one slide, by label."""
    from plenish.datasets.dataset import Dataset

    table = Dataset.open(data).table
    if not {"slide", "x", "y", "side"} <= set(table.columns):
        raise InputError(f"{data} was not cut from slides; give a Dataset of 'plenish slides tile'.")
    mine = table[table["slide"] == name]
    if mine.empty:
        others = plural(table["slide"].nunique(), "other slide")
        raise InputError(f"{data} has no tiles of {name}, only those of {others}.")
    corner = mine[["x", "y"]].to_numpy(np.float64)
    boxes = np.concatenate([corner, corner + mine["side"].to_numpy(np.float64)[:, None]], axis=1)
    labels = mine["label"].astype(object).where(mine["label"].notna(), "tiles").to_numpy()
    for number, label in enumerate(sorted(set(labels))):
        colour = TILE if label == "tiles" else LABELS[number % len(LABELS)]
        canvas.boxes(boxes[labels == label], colour, f"tiles: {label}" if label != "tiles" else label)
    return len(mine)


class _Canvas:
    """The thumbnail that is drawn on, and what its colours mean."""

    def __init__(self, pixels: NDArray[np.uint8], downsample: float) -> None:
        self.pixels, self.downsample = pixels.copy(), downsample
        self._legend: list[tuple[str, tuple[int, int, int]]] = []
        self._line = max(1, round(max(pixels.shape) / 1000))

    def outline(
        self, mask: NDArray[np.bool_], colour: tuple[int, int, int], name: str, tint: bool = False
    ) -> None:
        """Draw the inner border of a mask, and lay a tint over it."""
        from scipy import ndimage

        if tint:
            self._blend(mask, colour, _TINT / 2)
        inner = ndimage.binary_erosion(mask, iterations=self._line + 1, border_value=True)
        self.pixels[mask & ~inner] = colour
        self._legend.append((name, colour))

    def boxes(self, boxes: NDArray[np.float64], colour: tuple[int, int, int], name: str) -> None:
        """Draw borders of boxes (N×4, pixels of level 0), or tint them where they are small."""
        height, width = self.pixels.shape[:2]
        limits = np.array([width, height, width, height])
        corners = np.clip(np.rint(boxes / self.downsample).astype(np.int64), 0, limits)
        sides = (boxes[:, 2] - boxes[:, 0]) / self.downsample
        drawn = np.zeros((height, width), bool)
        lines = len(boxes) > 0 and sides[0] >= _LEAST_TILE
        for left, top, right, bottom in corners.tolist():
            if not lines:
                drawn[top:bottom, left:right] = True
                continue
            # A border on the right is the left one of the next tile.
            low, far = min(bottom, height - 1), min(right, width - 1)
            drawn[[top, low], left : far + 1] = True
            drawn[top : low + 1, [left, far]] = True
        self._blend(drawn, colour, 0.8 if lines else _TINT)
        self._legend.append((name, colour))

    def _blend(self, where: NDArray[np.bool_], colour: tuple[int, int, int], weight: float) -> None:
        there = self.pixels[where].astype(np.float32)
        self.pixels[where] = np.rint(there + (np.array(colour, np.float32) - there) * weight).astype(np.uint8)

    def finished(self) -> Image.Image:
        """The picture with its legend below."""
        from PIL import Image, ImageDraw, ImageFont

        height, width = self.pixels.shape[:2]
        letters = max(12, round(max(width, height) / 70))
        font = ImageFont.load_default(letters)
        placed: list[tuple[int, int, str, tuple[int, int, int]]] = []
        x, line = letters, 0
        for name, colour in self._legend:
            wide = int(font.getlength(name)) + 3 * letters
            if x > letters and x + wide > width:
                x, line = letters, line + 1
            placed.append((x, line, name, colour))
            x += wide
        image = Image.new("RGB", (width, height + (line + 1) * 2 * letters), (255, 255, 255))
        image.paste(Image.fromarray(self.pixels), (0, 0))
        draw = ImageDraw.Draw(image)
        for x, line, name, colour in placed:
            y = height + line * 2 * letters + letters // 2
            draw.rectangle((x, y, x + letters, y + letters), fill=colour)
            draw.text((x + 1.5 * letters, y - letters // 8), name, fill=(0, 0, 0), font=font)
        return image


def _encoded(image: Image.Image, kind: str) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **({"quality": 90} if kind == "JPEG" else {}))
    return out.getvalue()


__all__ = ["Overlay", "draw_overlay"]
