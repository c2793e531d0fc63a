"""The grid of tiles on a slide: level they are read from, spacing and number."""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from numpy.typing import NDArray

from plenish.slides.native import SlideError
from plenish.slides.reader import Slide
from plenish.slides.resample import shrink_in_bands
from plenish.slides.scale import Scale
from plenish.slides.tiling_config import GridOptions

_BAND_PIXELS = 2**22
TABLE_OR_LEVEL = "give --assume-mpp, a column mpp in the table of --metadata, or a --level instead of --mpp"
MAX_POSITIONS = 20_000_000
"""Positions of tiles on a slide at most; planning takes about 100 bytes for each."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """The tiles of one slide, row by row from its top left corner; only whole ones.

    Attributes:
        size: height and width of a tile, pixels.
        step: from one tile to the next, pixels of tiles.
        level: the level they are read from.
        scale: pixels of that level to one of a tile, at least 1.
        downsample: pixels of level 0 to one of that level.
        columns: tiles in a row.
        rows: rows of tiles.
        mpp: µm per pixel of a tile; None if the slide's scale is not known.
    """

    size: int
    step: int
    level: int
    scale: float
    downsample: float
    columns: int
    rows: int
    mpp: float | None = None

    def __len__(self) -> int:
        return self.rows * self.columns

    @property
    def side(self) -> float:
        """Width of a tile, pixels of level 0."""
        return self.size * self.scale * self.downsample

    def boxes(self, rows: NDArray[np.integer], columns: NDArray[np.integer]) -> NDArray[np.float64]:
        """Where tiles lie, N×4 (left, top, right, bottom), pixels of level 0."""
        pitch = self.step * self.scale * self.downsample
        corners = np.stack([columns, rows], axis=1).astype(np.float64) * pitch
        return np.concatenate([corners, corners + self.side], axis=1)

    def read(self, slide: Slide, row: int, column: int) -> NDArray[np.uint8]:
        """The pixels of a tile, size×size×3 uint8, averaged by area where the level is finer.

        Raises:
            UnreadableRegion: they cannot be decoded.
        """
        if self.scale == 1:
            return slide.read(self.level, column * self.step, row * self.step, self.size, self.size)
        pitch = self.step * self.scale
        read = functools.partial(slide.read, self.level)
        corner, size = (column * pitch, row * pitch), (self.size, self.size)
        return shrink_in_bands(read, corner, self.scale, size, _BAND_PIXELS)

    def order(
        self, rows: NDArray[np.integer], columns: NDArray[np.integer], file_tile: int | None
    ) -> NDArray[np.intp]:
        """The order of reading in which each tile of the file is decoded about once.

        Args:
            rows: of the tiles.
            columns: of the tiles.
            file_tile: height of the file's own tiles, pixels of the level; None when not known.

        Returns:
            Indices; row by row where the grids agree, else by bands of rows a few tiles of the file high.
        """
        band = 1
        pitch = self.step * self.scale
        if file_tile is not None and not (self.scale == 1 and self.size == self.step == file_tile):
            aligned = pitch == int(pitch) and file_tile % int(pitch) == 0 and self.size == self.step
            band = max(1, round((1 if aligned else 4) * file_tile / pitch))
        return np.lexsort((rows, columns, rows // band))


def make_grid(slide: Slide, options: GridOptions, known: Scale, remedy: str = TABLE_OR_LEVEL) -> Grid:
    """Lay tiles over a slide, at a scale or at a level.

    Args:
        slide: the open slide.
        options: size, spacing, and either the scale or the level.
        known: the scale of level 0.
        remedy: how the user of this verb can give it.

    Raises:
        SlideError: the scale is needed and not known, or the slide has no such level, is not fine enough, is
            smaller than one tile, or has too many positions.
    """
    size, slide_mpp = options.size, known.mpp
    if options.mpp is None:
        level, scale = options.level or 0, 1.0
        if level >= len(slide.levels):
            raise SlideError(
                slide.path,
                f"has no level {level}; it has {len(slide.levels)}, counted from 0. Choose one of them, or "
                "give --mpp",
            )
    elif slide_mpp is None:
        raise SlideError(
            slide.path,
            f"does not state the size of its pixels ({known.source}); {remedy}",
        )
    else:
        level, scale = _source_level(slide, options.mpp, slide_mpp, options.tolerance)
    one = slide.levels[level]
    step = options.stride or size
    columns, rows = (
        math.floor((side - size * scale) / (step * scale) + 1e-6) + 1 for side in (one.width, one.height)
    )
    mpp = None if slide_mpp is None else slide_mpp * one.downsample
    if options.mpp is not None and scale != 1:
        mpp = options.mpp
    if min(columns, rows) < 1:
        at = "" if mpp is None else f" at {mpp:.3g} µm per pixel"
        raise SlideError(
            slide.path,
            f"has {int(one.width / scale)} by {int(one.height / scale)} pixels{at}, less than a tile of "
            f"{size}; choose a smaller --size or a finer scale",
        )
    if columns * rows > MAX_POSITIONS:
        raise SlideError(
            slide.path,
            f"would have {columns * rows:,} positions of tiles at a stride of {step}; the limit is "
            f"{MAX_POSITIONS:,}: choose a greater --stride or a coarser scale",
        )
    return Grid(size, step, level, scale, one.downsample, columns, rows, mpp)


def _source_level(slide: Slide, mpp: float, slide_mpp: float, tolerance: float) -> tuple[int, float]:
    """The level to read from, the next finer one, and how many of its pixels one of a tile has."""
    ratios = [mpp / slide_mpp / level.downsample for level in slide.levels]
    near = min(range(len(ratios)), key=lambda i: abs(math.log(ratios[i])))
    if abs(ratios[near] - 1) <= tolerance:
        return near, 1.0
    finer = [i for i, ratio in enumerate(ratios) if ratio >= 1]
    if not finer:
        raise SlideError(
            slide.path,
            f"has {slide_mpp:.4g} µm per pixel, and enlarging it to --mpp {mpp:g} would invent detail; ask "
            f"for {slide_mpp:.4g} or more",
        )
    best = min(finer, key=lambda i: ratios[i])
    return best, ratios[best]
