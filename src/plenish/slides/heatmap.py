"""Scores of tiles as colours over a slide, with a colour bar."""

from __future__ import annotations

import dataclasses
import io
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from plenish.configuration import option
from plenish.errors import InputError
from plenish.slides.canvas import Canvas

if TYPE_CHECKING:
    from matplotlib.cm import ScalarMappable

Kind = Literal["error", "difference", "share"]
"""The range of colours: of an error that of the values, of a difference symmetrical, of a share 0 to 1."""
OPAQUE = 0.75
"""Weight of a score's colour over the slide, which is faded to grey."""
_FADED = 0.45
_GREY = 210
"""About the grey of faded tissue; the bar's colours are blended with it, to look as on the slide."""
_TAILS = (2.0, 98.0)


@dataclasses.dataclass(frozen=True)
class HeatmapOptions:
    """Which scores are computed, and how they are drawn and written.

    Attributes:
        score: the score to draw; by default the most informative one.
        checkpoint: of autoencoders: best, last, or a checkpoint's name.
        stain: give tiles the stain of the Run's Dataset, if that was normalised.
        limits: lowest and highest score with a colour of its own.
        table: parquet or csv.
        workers: processes that read; left out, one a core.
    """

    score: str | None = None
    checkpoint: str = "best"
    stain: bool = True
    limits: list[float] | None = None
    table: Literal["parquet", "csv"] = "parquet"
    workers: int | None = option(None, least=1)

    def __post_init__(self) -> None:
        if self.limits is not None and not (
            len(self.limits) == 2 and self.limits[0] < self.limits[1] and np.isfinite(self.limits).all()
        ):
            raise InputError("--range takes two ascending numbers, such as --range 0 0.02.")


def colour_scale(
    values: NDArray[np.float64], kind: Kind, limits: Sequence[float] | None = None
) -> ScalarMappable:
    """The colours of a kind of scores; without limits, the lowest and highest 2 % may lie beyond its ends.

    Args:
        values: N scores; NaN is left out.
        kind: of the scores.
        limits: lowest and highest score with a colour of its own.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    known = values[np.isfinite(values)]
    if limits is not None:
        low, high = limits
    elif kind == "share":
        low, high = 0.0, 1.0
    elif kind == "difference":
        high = float(np.percentile(np.abs(known), _TAILS[1])) if len(known) else 1.0
        low = -high
    else:
        low, high = (float(end) for end in np.percentile(known, _TAILS)) if len(known) else (0.0, 1.0)
    if high <= low:
        low, high = low - 0.5 * max(abs(low), 1e-9), high + 0.5 * max(abs(high), 1e-9)
    # PuOr and viridis are safe for red-green colour blindness.
    return ScalarMappable(Normalize(low, high), "PuOr_r" if kind == "difference" else "viridis")


def spread(
    values: NDArray[np.float64], boxes: NDArray[np.float64], shape: tuple[int, int], downsample: float
) -> NDArray[np.float64]:
    """Map scores to a thumbnail: each pixel has the mean of the tiles that cover it.

    Args:
        values: N scores; tiles with NaN are ignored.
        boxes: N×4 (left, top, right, bottom), pixels of level 0.
        shape: height and width of the thumbnail.
        downsample: pixels of level 0 that one of its pixels measures.

    Returns:
        H×W, NaN where there is no tile.
    """
    known = np.isfinite(values)
    corners, size = np.rint(boxes[known] / downsample).astype(np.int64), np.array(shape[::-1])
    starts = np.clip(corners[:, :2], 0, size - 1)
    ends = np.clip(corners[:, 2:], starts + 1, size)
    total, count = np.zeros(shape), np.zeros(shape, np.int64)
    for value, (x0, y0), (x1, y1) in zip(values[known], starts, ends):
        total[y0:y1, x0:x1] += value
        count[y0:y1, x0:x1] += 1
    with np.errstate(invalid="ignore", divide="ignore"):
        return total / count


def paint(canvas: Canvas, field: NDArray[np.float64], scale: ScalarMappable) -> None:
    """Fade the slide to grey under the scores, and blend their colours over it.

    Args:
        canvas: drawn on.
        field: scores of its size, NaN where there are none.
        scale: their colours.
    """
    there = np.isfinite(field)
    grey = canvas.pixels[there] @ np.array([0.299, 0.587, 0.114])
    faded = 255 - (255 - grey) * (1 - _FADED)
    canvas.pixels[there] = np.rint(faded).astype(np.uint8)[:, None]
    canvas.blend(there, scale.to_rgba(field[there], bytes=True)[:, :3], OPAQUE)


def colour_bar(width: int, letters: int, scale: ScalarMappable, title: str) -> Image.Image:
    """A strip with the colours and their scores.

    Args:
        width: of the strip, pixels.
        letters: size of letters, pixels.
        scale: the colours.
        title: what the scores are, with their unit.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    lines = textwrap.wrap(title, max(10, int(1.6 * (width - 6 * letters) / letters)))
    high = round((3.5 + 1.3 * len(lines)) * letters)
    figure = Figure(figsize=(width / 100, high / 100), dpi=100)
    length = max(1, min(width - 6 * letters, 40 * letters)) / width
    axes = figure.add_axes((3 * letters / width, 2 * letters / high, length, letters / high))
    # Blended with grey, the colours are those on the slide.
    seen = ListedColormap(OPAQUE * scale.cmap(np.arange(256))[:, :3] + (1 - OPAQUE) * _GREY / 255)
    bar = figure.colorbar(
        ScalarMappable(scale.norm, seen), axes, orientation="horizontal",
        ticks=MaxNLocator(5 if length * width > 24 * letters else 3),
    )  # fmt: skip
    bar.ax.tick_params(labelsize=0.6 * letters)
    bar.ax.set_title("\n".join(lines), fontsize=0.65 * letters, loc="left")
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Image.open(file).convert("RGB")
