"""A thumbnail of a slide, and what is drawn over it: outlines, tiles, and a legend below."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from plenish import files
from plenish.configuration import option
from plenish.errors import InputError
from plenish.slides.remarks import Remark
from plenish.wording import Sentences

TISSUE = (0, 140, 60)
TILE = (0, 0, 0)
LABELS = (
    (213, 94, 0),
    (0, 90, 200),
    (230, 159, 0),
    (120, 40, 160),
    (0, 170, 190),
    (150, 110, 60),
    (90, 90, 90),
)
"""Colours of labels in their order, repeated where there are more."""
_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
"""Suffixes of pictures, and their formats."""
_TINT = 0.35
_LEAST_TILE = 4.0
"""Pixels of the picture a tile must measure for its border to be drawn; smaller ones are tinted."""


@dataclasses.dataclass(frozen=True)
class PictureOptions:
    """The picture to write.

    Attributes:
        side: longer side of the picture, pixels.
        geojson: also write what is drawn, tissue, annotations and tiles, as GeoJSON for QuPath, beside the
            picture.
    """

    side: int = option(2000, least=200, most=10_000)
    geojson: bool = False

    def geojson_file(self, out: Path) -> Path | None:
        """The GeoJSON to write beside a picture, or None."""
        return out.with_suffix(".geojson") if self.geojson else None

    def check(self, out: Path, *others: Path) -> None:
        """Refuse another format than PNG and JPEG, and files that exist, that beside it too.

        Raises:
            InputError: with the file.
        """
        if out.suffix.lower() not in _FORMATS:
            raise InputError(f"The picture {out} must end in .png or .jpg.")
        beside = self.geojson_file(out)
        for path in (out, *others, *([beside] if beside else [])):
            files.refuse_existing(path)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture that was drawn.

    Attributes:
        facts: its path, and what it shows; JSON-able.
        remarks: what the user should know.
    """

    facts: Mapping[str, Any]
    remarks: Sequence[Remark]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**self.facts, "remarks": Sentences(map(str, self.remarks))}


class Canvas:
    """A thumbnail that is drawn on, and the legend of its colours.

    Attributes:
        pixels: H×W×3 uint8, as drawn so far.
        downsample: pixels of level 0 that one of these measures.
    """

    def __init__(self, pixels: NDArray[np.uint8], downsample: float) -> None:
        """Copy a thumbnail."""
        self.pixels, self.downsample = pixels.copy(), downsample
        self._legend: list[tuple[str, tuple[int, int, int]]] = []
        self._line = max(1, round(max(pixels.shape) / 1000))

    @property
    def letters(self) -> int:
        """Size of legible letters, pixels."""
        height, width = self.pixels.shape[:2]
        return max(12, int(max(width, height) / 70 + 0.5))

    def outline(
        self, mask: NDArray[np.bool_], colour: tuple[int, int, int], name: str, tint: bool = False
    ) -> None:
        """Draw the inner border of a mask, and lay a tint over it."""
        from scipy import ndimage

        if tint:
            self.blend(mask, colour, _TINT / 2)
        inner = ndimage.binary_erosion(mask, iterations=self._line + 1, border_value=True)
        self.pixels[mask & ~inner] = colour
        self._legend.append((name, colour))

    def boxes(self, boxes: NDArray[np.float64], colour: tuple[int, int, int], name: str) -> None:
        """Draw borders of boxes (N×4, pixels of level 0), or tint them where they are small."""
        height, width = self.pixels.shape[:2]
        limits = np.array([width, height, width, height])
        corners = np.clip(np.rint(boxes / self.downsample).astype(np.int64), 0, limits)
        side = (boxes[0, 2] - boxes[0, 0]) / self.downsample if len(boxes) else 0.0
        lines = side >= _LEAST_TILE
        thick = 2 if side >= 2 * _LEAST_TILE else 1  # One pixel is hardly visible.
        mask = Image.new("1", (width, height))
        draw = ImageDraw.Draw(mask)
        for left, top, right, bottom in corners.tolist():
            if left >= right or top >= bottom:  # Off the picture, or less than a pixel of it.
                continue
            if lines:  # A border on the right is the left one of the next tile.
                box = left, top, min(right, width - 1), min(bottom, height - 1)
                draw.rectangle(box, outline=1, width=thick)
            else:
                draw.rectangle((left, top, right - 1, bottom - 1), fill=1)
        drawn = np.asarray(mask, bool)
        self.blend(drawn, colour, 1.0 if lines else _TINT)
        self._legend.append((name, colour))

    def blend(
        self, where: NDArray[np.bool_], colour: Sequence[int] | NDArray[np.uint8], weight: float
    ) -> None:
        """Blend a colour, or one for each of these pixels (N×3), into them; a weight of 1 replaces them."""
        there = self.pixels[where].astype(np.float32)
        self.pixels[where] = np.rint(there + (np.asarray(colour, np.float32) - there) * weight).astype(
            np.uint8
        )

    def picture(self, below: Sequence[Image.Image] = ()) -> Image.Image:
        """The picture, strips of its width below it, and the legend."""
        return Image.fromarray(np.concatenate([self.pixels, *map(np.asarray, below), self._drawn_legend()]))

    def save(self, out: Path, below: Sequence[Image.Image] = ()) -> None:
        """Write the same."""
        picture = self.picture(below)
        with files.reporting_disk(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_file(out) as file:
            picture.save(file, _FORMATS[out.suffix.lower()], quality=90)

    def _drawn_legend(self) -> NDArray[np.uint8]:
        width, letters = self.pixels.shape[1], self.letters
        font = ImageFont.load_default(letters)
        high = 2 * letters
        image = Image.new("RGB", (width, high * max(1, len(self._legend))), (255, 255, 255))
        draw = ImageDraw.Draw(image)
        x, line = letters, 0
        for name, colour in self._legend:
            wide = int(font.getlength(name)) + 3 * letters
            if x > letters and x + wide > width:
                x, line = letters, line + 1
            y = line * high + letters // 2
            draw.rectangle((x, y, x + letters, y + letters), fill=colour)
            draw.text((x + 1.5 * letters, y - letters // 8), name, fill=(0, 0, 0), font=font)
            x += wide
        return np.asarray(image)[: (line + 1) * high]
