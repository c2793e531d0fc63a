"""Pictures of the report: equal sheets of images and `data:` addresses that keep the file small."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

GAP = 3  # pixels between the tiles of a sheet


@dataclass(frozen=True)
class Picture:
    """One picture: `address` is a `data:` URI; `alt` is read aloud; width and height are in pixels."""

    address: str
    alt: str
    width: int
    height: int
    caption: str = ""


def address(image: Image.Image, budget: int = 400_000) -> str:
    """The picture as a `data:` URI of WebP: lossless where that fits `budget` bytes, else of less quality."""
    image = image.convert("RGBA" if image.mode in ("RGBA", "LA", "P") else "RGB")
    for options in ({"lossless": True}, {"quality": 90}, {"quality": 80}, {"quality": 65}):
        buffer = io.BytesIO()
        image.save(buffer, "WEBP", method=4, **options)
        if buffer.tell() <= budget:
            break
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()


def sheet(
    images: NDArray[np.uint8], alt: str, *, columns: int = 6, tile: int = 84, caption: str = ""
) -> Picture:
    """Lay images out in a grid with transparent gaps.

    Args:
        images: N×H×W×C, uint8, C = 1 or 3.
        alt: Read aloud in place of the picture.
        columns: Tiles in a row; the last row may be short.
        tile: About how many pixels a tile is wide. Small images are enlarged by a whole factor without
            smoothing (a pixel stays a pixel), large ones are reduced with an area filter.
        caption: Words under the picture.
    """
    n = len(images)
    rows = max(1, -(-n // columns))
    tiles = [_resized(image, tile) for image in images]
    side = tiles[0].width if tiles else tile
    canvas = Image.new("RGBA", (columns * (side + GAP) - GAP, rows * (side + GAP) - GAP), (0, 0, 0, 0))
    for i, one in enumerate(tiles):
        canvas.paste(one, ((i % columns) * (side + GAP), (i // columns) * (side + GAP)))
    return Picture(address(canvas), alt, canvas.width, canvas.height, caption)


def _resized(image: NDArray[np.uint8], tile: int) -> Image.Image:
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).convert("RGB")
    if picture.width > 2 * tile:
        return picture.resize((2 * tile, 2 * tile), Image.Resampling.BOX)
    factor = max(1, round(tile / picture.width))
    return ImageOps.scale(picture, factor, Image.Resampling.NEAREST)


def from_file(
    path: Path, alt: str, caption: str = "", *, widest: int = 1100, least: int = 0
) -> Picture | None:
    """A picture file, reduced to `widest` pixels; None where it is missing or cannot be read.

    Args:
        path: PNG, JPEG, …
        alt: Read aloud in place of the picture.
        caption: Words under the picture.
        widest: Largest width in pixels.
        least: Smallest width; a narrower picture is enlarged by a whole factor without smoothing.
    """
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    picture.thumbnail((widest, picture.height), Image.Resampling.BOX, reducing_gap=None)
    if picture.width < least:
        picture = ImageOps.scale(picture, -(-least // picture.width), Image.Resampling.NEAREST)
    return Picture(address(picture), alt, picture.width, picture.height, caption)


def pick(n: int, most: int) -> list[int]:
    """At most `most` of `n` positions, evenly spaced, with the first and the last among them."""
    positions: list[int] = np.rint(np.linspace(0, n - 1, min(n, most))).astype(int).tolist()
    return positions


def choose(rows: Sequence[int] | NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """`most` of `rows`, drawn without replacement by `seed`: chance decides what is shown."""
    rows = np.asarray(rows, np.int64)
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
