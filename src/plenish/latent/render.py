"""Pictures and films of generated images: rows with titles, strips, and animations."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import io
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from plenish.configuration import check_fields, option
from plenish.errors import InputError

Pixels = NDArray[np.uint8]
Format = Literal["gif", "webp", "png", "mp4"]
_TILE = 96
"""About how many pixels an image of a picture is wide; small ones are enlarged by a whole factor."""
_GAP, _LETTERS, _LINE = 6, 13, 15
_MOST_LINES = 4
"""Lines of a caption, at most."""
_PALETTE_FRAMES = 16
"""Frames of a film that its palette is made of."""


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a picture.

    Attributes:
        title: written at its left, in one line or several.
        images: uint8 N×H×W×C.
        captions: written below the images, in several lines where they are longer; empty for none.
    """

    title: str
    images: Pixels
    captions: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class FilmOptions:
    """The film of an edit.

    Attributes:
        film: kind of file: gif, webp, png (animated) or mp4, which needs plenish[film].
        frames: number of frames of one way.
        fps: frames a second.
        enlarge: by how much images are enlarged, each pixel repeated; by default small ones to about 256
            pixels.
    """

    film: Format = "gif"
    frames: int = option(60, least=2, most=10_000)
    fps: float = option(24.0, above=0, most=60)
    enlarge: int | None = option(None, least=1, most=64)

    def __post_init__(self) -> None:
        check_fields(self, "")


def to_image(pixels: Pixels, factor: int = 1) -> Image.Image:
    """An image H×W×C of 1 or 3 channels as RGB, each pixel repeated `factor` times along both sides."""
    one = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    return one.resize((one.width * factor, one.height * factor), Image.Resampling.NEAREST)


def figure(rows: Sequence[Row]) -> Image.Image:
    """Rows of images on white, each with its title at the left and captions below.

    Raises:
        ValueError: there are no rows.
    """
    if not rows:
        raise ValueError("a figure has rows")
    side = rows[0].images.shape[1]
    factor = max(1, round(_TILE / side))
    side *= factor
    font = _font()
    lines = [row.title.split("\n") for row in rows]
    left = max(int(font.getlength(line)) for title in lines for line in title)
    left += 2 * _GAP if left else 0
    below = [[_wrapped(text, side, font) for text in row.captions] for row in rows]
    heights = [
        side + _GAP + (_LINE * max(map(len, words)) + 2 if any(row.captions) else 0)
        for row, words in zip(rows, below)
    ]
    width = left + max(len(row.images) for row in rows) * (side + _GAP) + _GAP
    sheet = Image.new("RGB", (width, sum(heights) + _GAP), "white")
    draw, top = ImageDraw.Draw(sheet), _GAP
    for row, title, words, height in zip(rows, lines, below, heights):
        for i, line in enumerate(title):
            line_top = top + side // 2 + int((i - len(title) / 2) * (_LETTERS + 2))
            draw.text((_GAP, line_top), line, fill="black", font=font)
        for i, image in enumerate(row.images):
            x = left + _GAP + i * (side + _GAP)
            sheet.paste(to_image(image, factor), (x, top))
            for k, line in enumerate(words[i] if i < len(words) else ()):
                draw.text((x, top + side + 2 + k * _LINE), line, fill="black", font=font)
        top += height
    return sheet


@functools.cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Matplotlib's font, which has minus, times, arrows and accents; Pillow's own lacks them."""
    found = importlib.util.find_spec("matplotlib")
    home = Path(found.origin).parent if found is not None and found.origin else Path()
    with contextlib.suppress(OSError):
        return ImageFont.truetype(home / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", _LETTERS)
    return ImageFont.load_default(_LETTERS)


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """A text in lines of a width in pixels, broken at spaces; too long words, and further lines, are cut."""
    lines: list[str] = []
    for word in text.split(" "):
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and (font.getlength(joined) <= width or len(lines) == _MOST_LINES):
            lines[-1] = joined
        else:
            lines.append(word)
    return [_fitting(line, width, font) for line in lines]


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """A text cut to a width in pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def film(images: Pixels, options: FilmOptions, *, loop: bool = True) -> bytes:
    """Images N×H×W×C in a row as an animation.

    Args:
        images: the frames.
        options: kind of file, frames a second, enlargement.
        loop: whether it begins again at its end.

    Raises:
        InputError: mp4 is asked for and its library is not installed.
    """
    factor = options.enlarge or max(1, round(256 / images.shape[1]))
    if options.film == "mp4":
        return _mp4(images, factor, options.fps)
    made, duration = io.BytesIO(), round(1000 / options.fps)
    more: dict[str, Any] = {"loop": 0} if loop else {} if options.film == "gif" else {"loop": 1}
    if options.film == "gif":
        duration = max(20, duration)  # Browsers show faster ones at 10 frames a second.
        frames = _of_one_palette(images, factor)
    else:
        frames = [to_image(image, factor) for image in images]
    if options.film == "webp":
        more |= {"quality": 90, "method": 2}
    frames[0].save(
        made, options.film.upper(), save_all=True, append_images=frames[1:], duration=duration, **more
    )
    return made.getvalue()


def _of_one_palette(images: Pixels, factor: int) -> list[Image.Image]:
    """Frames with the 256 colours of some of them, found once and before they are enlarged, undithered.

    A palette for each frame flickers, takes most of the time of a film, and dithering makes enlarged dots.
    """
    some = images[np.unique(np.linspace(0, len(images) - 1, _PALETTE_FRAMES).astype(int))]
    palette = to_image(some.reshape(-1, *some.shape[2:])).quantize(256)
    found = []
    for image in images:
        one = to_image(image).quantize(palette=palette, dither=Image.Dither.NONE)
        found.append(one.resize((one.width * factor, one.height * factor), Image.Resampling.NEAREST))
    return found


def _mp4(images: Pixels, factor: int, fps: float) -> bytes:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise InputError(
            "--film mp4 needs the extra: pip install 'plenish[film]'; gif, webp and png need none."
        ) from None
    height, width = (side * factor for side in images.shape[1:3])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(path), (width, height), fps=fps, macro_block_size=2, quality=8, ffmpeg_log_level="error"
        )
        writer.send(None)
        for image in images:
            writer.send(np.asarray(to_image(image, factor)).tobytes())
        writer.close()
        return path.read_bytes()
