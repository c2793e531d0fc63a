"""Pictures and films of generated images: rows with titles, strips, and animations."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from plenish.configuration import check_fields, option
from plenish.errors import InputError
from plenish.latent.paths import ping_pong

Pixels = NDArray[np.uint8]
Format = Literal["gif", "webp", "png", "mp4"]
_TILE = 96
"""About how many pixels an image of a picture is wide; small ones are enlarged by a whole factor."""
_GAP, _LETTERS, _LINE = 6, 13, 15
_MOST_LINES = 4
"""Lines of a caption, at most."""
_PALETTE_FRAMES = 16
"""Frames of a film that its palette is made of."""
_BETWEEN = 2
"""Pixels between the images of a film, before they are enlarged."""
SHOWN, FILMED = 24, 16
"""Points that a picture and a film show, at most; an edit's latents are all of them."""
_LONGEST_SIDE: Mapping[str, int] = {"gif": 65_535, "webp": 16_383, "mp4": 16_384}
"""Of the formats of films that have one, pixels."""
_MOST_BYTES = 2**31
"""Of a film's frames, which are all in memory at once."""


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


def check_film(frames: int, height: int, width: int, options: FilmOptions) -> int:
    """By which factor the frames of a film are enlarged.

    Raises:
        InputError: the film would be larger than its format or the memory allows.
    """
    factor = options.enlarge or max(1, round(256 / height))
    longest, most = factor * max(height, width), _LONGEST_SIDE.get(options.film)
    if most is not None and longest > most:
        raise InputError(
            f"The film would be {longest:,} px long or wide, and {options.film} takes {most:,}; give a "
            "smaller --enlarge, or --film png."
        )
    if (size := frames * height * width * 3 * factor**2) > _MOST_BYTES:
        raise InputError(
            f"A film of {frames:,} frames of {factor * width}×{factor * height} px takes "
            f"{size / 2**30:.1f} GiB of memory, and at most {_MOST_BYTES / 2**30:.0f} are taken; give fewer "
            "--frames or points, or a smaller --enlarge."
        )
    return factor


def film(images: Pixels, options: FilmOptions, *, loop: bool = True) -> bytes:
    """Images N×H×W×C in a row as an animation.

    Args:
        images: the frames.
        options: kind of file, frames a second, enlargement.
        loop: whether it begins again at its end.

    Raises:
        InputError: it is too large (`check_film`), or mp4 is asked for and its library is not installed.
    """
    factor = check_film(len(images), images.shape[1], images.shape[2], options)
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


def film_order(frames: int, hold: int = 0) -> NDArray[np.int64]:
    """Rows of frames there and back, of which each end stays `hold` frames longer."""
    order = ping_pong(frames)
    return np.repeat(order, np.where((order == 0) | (order == frames - 1), 1 + hold, 1))


def film_beside(made: Pixels, options: FilmOptions, hold: int = 0) -> bytes:
    """The ways of N points there and back, at most eight beside each other.

    Args:
        made: frames T×N×H×W×C of one way, of which the first `FILMED` points are shown.
        options: of the film; unless they say otherwise, images are enlarged to about 128 pixels.
        hold: frames that each end stays.

    Raises:
        InputError: as of `film`.
    """
    shown = dataclasses.replace(options, enlarge=options.enlarge or max(1, round(128 / made.shape[2])))
    films = made[:, :FILMED].swapaxes(0, 1)
    return film(tiled(films, min(8, len(films)))[film_order(len(made), hold)], shown)


def tiled(films: Pixels, across: int) -> Pixels:
    """Films M×N×H×W×C beside and below each other as one, N×…, with white between them."""
    missing, (_, n, height, width, channels) = -len(films) % across, films.shape
    down = (len(films) + missing) // across
    padded = np.full((down, across, n, height + _BETWEEN, width + _BETWEEN, channels), 255, np.uint8)
    padded.reshape(-1, *padded.shape[2:])[: len(films), :, :height, :width] = films
    sheet = padded.transpose(2, 0, 3, 1, 4, 5).reshape(
        n, down * (height + _BETWEEN), across * (width + _BETWEEN), channels
    )
    return sheet[:, :-_BETWEEN, :-_BETWEEN]


def blended(first: Pixels, last: Pixels, share: float) -> Pixels:
    """Images laid over each other: so much of the last ones, the rest of the first."""
    mean = (1 - share) * first.astype(np.float32) + share * last
    return np.clip(np.rint(mean), 0, 255).astype(np.uint8)


def amplified_difference(before: Pixels, after: Pixels) -> tuple[Pixels, float]:
    """What changed between images, on grey, as many times as strong as fits, and how many times that is."""
    change = after.astype(np.float32) - before.astype(np.float32)
    greatest = float(np.quantile(np.abs(change), 0.995)) if change.size else 0.0
    factor = max(1.0, round(120 / max(greatest, 1.0), 1))
    return np.rint(np.clip(128 + factor * change, 0, 255)).astype(np.uint8), factor


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
