"""Open whole-slide images and read regions: every format of OpenSlide's, and plain pyramidal TIFF."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError
from plenish.slides import dicom_series
from plenish.slides.directories import refuse_loops
from plenish.slides.names import slide_name
from plenish.slides.native import (
    NativeLevel,
    SlideError,
    UnreadableRegion,
    on_white,
    pages,
    pyramid,
    readable,
)
from plenish.slides.resample import shrink_in_bands
from plenish.slides.scale import from_properties, from_tags

if TYPE_CHECKING:
    import openslide
    import tifffile

_NATIVE_VENDORS = ("generic-tiff", "aperio", "philips")
"""Vendors whose levels are single pages of a TIFF in RGB."""
_BAND_PIXELS = 4 * 2**20 // 3
_SMALLEST_PATCH = 256


@dataclasses.dataclass(frozen=True)
class Level:
    """One resolution of a slide.

    Attributes:
        width: pixels.
        height: pixels.
        downsample: how many times smaller than level 0.
    """

    width: int
    height: int
    downsample: float


class Slide(contextlib.AbstractContextManager["Slide"]):
    """An open slide; a context manager.

    Attributes:
        path: the file.
        name: what its tiles are named after: the file without suffix, or its TCGA barcode.
        width: of level 0, pixels.
        height: of level 0, pixels.
        levels: the resolutions, finest first.
        scale: that the slide or its tags state.
        vendor: OpenSlide's name of the format; `tiff` for a plain TIFF that OpenSlide does not read.
        properties: OpenSlide's properties; empty for a plain TIFF.
        unreadable: boxes (left, top, right, bottom, pixels of level 0) that the last thumbnail found damaged
            at every level.
    """

    def __init__(self, path: Path, slide: openslide.OpenSlide | None) -> None:
        """Use `open_slide`.

        Args:
            path: the file.
            slide: OpenSlide's handle, or None when tifffile alone reads it.
        """
        self.path, self.name = path, slide_name(path)
        self._slide = slide
        self._open = contextlib.ExitStack()
        self.unreadable: list[tuple[float, float, float, float]] = []
        self.properties: dict[str, str] = dict(slide.properties) if slide is not None else {}
        self.vendor: str = self.properties.get("openslide.vendor", "tiff")
        try:
            self.levels: tuple[Level, ...] = self._open_levels()
        except BaseException:
            self.close()
            raise
        self.width, self.height = self.levels[0].width, self.levels[0].height

    def _open_levels(self) -> tuple[Level, ...]:
        """The levels; opens the pages of a TIFF that hold them, where these are read without OpenSlide."""
        import tifffile

        found: Sequence[tifffile.TiffPage | None]
        if self._slide is None:
            tiff = self._open.enter_context(tifffile.TiffFile(self.path))
            found = plain = pyramid(tiff, self.path)
            self.scale = from_tags(plain[0], tiff.ome_metadata)
            sizes = [(int(page.imagewidth), int(page.imagelength)) for page in plain]
            full = sizes[0]
            stated = [(full[0] / width + full[1] / height) / 2 for width, height in sizes]
        else:
            self.scale = from_properties(self.properties)
            sizes, stated = list(self._slide.level_dimensions), list(self._slide.level_downsamples)
            found = self._pages(sizes)
        file = os.open(self.path, os.O_RDONLY)
        self._open.callback(os.close, file)
        self._native = [None if page is None else NativeLevel(page, file) for page in found]
        for native in filter(None, self._native):
            self._open.callback(native.tile.cache_clear)
        return tuple(
            Level(*size, _downsample(sizes[0], size, downsample)) for size, downsample in zip(sizes, stated)
        )

    def _pages(self, sizes: Sequence[tuple[int, int]]) -> list[tifffile.TiffPage | None]:
        """For each level of OpenSlide's the page that holds it; None where only OpenSlide reads it."""
        import tifffile

        tiled: list[tifffile.TiffPage] = []
        if self.vendor in _NATIVE_VENDORS:
            # OpenSlide has opened it, and reads what tifffile cannot.
            with contextlib.suppress(Exception):
                tiff = self._open.enter_context(tifffile.TiffFile(self.path))
                tiled = [page for page in pages(tiff) if page.is_tiled and page.samplesperpixel == 3]
        same = [[page for page in tiled if (page.imagewidth, page.imagelength) == size] for size in sizes]
        return [found[0] if len(found) == 1 and readable(found[0]) else None for found in same]

    def tile_size(self, level: int) -> tuple[int, int] | None:
        """Width and height of the file's own tiles at a level, pixels; None where only OpenSlide knows."""
        native = self._native[level]
        return None if native is None else (native.tile_width, native.tile_height)

    def read(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """A region.

        Args:
            level: which resolution.
            x: left edge, pixels of that level; may lie outside the slide.
            y: top edge, pixels of that level.
            width: pixels of that level.
            height: pixels of that level.

        Returns:
            height×width×3 uint8; what is outside the slide or transparent is white.

        Raises:
            UnreadableRegion: the pixels cannot be decoded; the slide stays usable.
        """
        native = self._native[level]
        if native is not None:
            return native.read(x, y, width, height)
        import openslide

        if self._slide is None:  # After an error, OpenSlide refuses all further reads.
            try:
                self._slide = openslide.OpenSlide(self.path)
            except (openslide.OpenSlideError, OSError) as error:
                raise UnreadableRegion(f"the slide cannot be opened again ({error})") from None
        stated = self._slide.level_downsamples[level]  # By which OpenSlide will divide again.
        corner = (round(x * stated), round(y * stated))
        try:
            drawn = self._slide.read_region(corner, level, (width, height))
        except openslide.OpenSlideError as error:
            self._slide.close()
            self._slide = None
            raise UnreadableRegion(f"its pixels cannot be decoded ({error})") from None
        return on_white(np.asarray(drawn))

    def thumbnail(self, max_side: int) -> tuple[NDArray[np.uint8], float]:
        """The whole slide, reduced by averaging areas.

        Where its level cannot be decoded, another level is used; what none has is white and in `unreadable`.

        Args:
            max_side: longest side, pixels.

        Returns:
            height×width×3 uint8, and how many pixels of level 0 one of its pixels is wide: thumbnail pixel
            (u, v) covers level 0 from (u·d, v·d) to ((u + 1)·d, (v + 1)·d). A rim narrower than one of
            them is left out at the right and at the bottom.
        """
        self.unreadable = []
        downsample = max(1.0, max(self.width, self.height) / max_side)
        index = self.level_for(downsample)
        scale = downsample / self.levels[index].downsample
        wide, high = (max(1, int(side / downsample + 1e-6)) for side in (self.width, self.height))
        read = functools.partial(self._patched, index)
        return shrink_in_bands(read, (0.0, 0.0), scale, (wide, high), _BAND_PIXELS), downsample

    def _patched(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """A region; what cannot be decoded, found by halving between the file's tiles, is of other levels."""
        with contextlib.suppress(UnreadableRegion):
            return self.read(level, x, y, width, height)
        across, down = self.tile_size(level) or (_SMALLEST_PATCH, _SMALLEST_PATCH)
        column, row = _between(x, width, across), _between(y, height, down)
        if column is not None and (row is None or width >= height):
            parts = [(x, y, column - x, height), (column, y, x + width - column, height)]
        elif row is not None:
            parts = [(x, y, width, row - y), (x, row, width, y + height - row)]
        elif level > 0:
            return self._from_finer(level, x, y, width, height)
        else:
            return self._from_coarser(x, y, width, height)
        beside = parts[0][1] == parts[1][1]
        return np.concatenate([self._patched(level, *part) for part in parts], axis=int(beside))

    def _from_finer(self, level: int, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """A region that is damaged in its own level, averaged from the next finer one."""
        ratio = self.levels[level].downsample / self.levels[level - 1].downsample
        read = functools.partial(self._patched, level - 1)
        return shrink_in_bands(read, (x * ratio, y * ratio), ratio, (width, height), _BAND_PIXELS)

    def _from_coarser(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """A region that is damaged in level 0, enlarged from a coarser level; white if all are damaged."""
        for level, one in enumerate(self.levels[1:], 1):
            columns = ((x + np.arange(width) + 0.5) / one.downsample).astype(np.int64)
            rows = ((y + np.arange(height) + 0.5) / one.downsample).astype(np.int64)
            size = int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1
            try:
                small = self.read(level, int(columns[0]), int(rows[0]), *size)
            except UnreadableRegion:
                continue
            return np.asarray(small[rows - rows[0]][:, columns - columns[0]])
        self.unreadable.append((x, y, x + width, y + height))
        return np.full((height, width, 3), 255, np.uint8)

    def missing_tiles(self) -> int:
        """How many of the file's tiles lie beyond its end, as far as that is known."""
        size = self.path.stat().st_size
        return sum(native.beyond(size) for native in self._native if native is not None)

    def level_for(self, downsample: float) -> int:
        """The coarsest level that is not coarser than `downsample`, by up to half a per mille."""
        fine = [i for i, level in enumerate(self.levels) if level.downsample <= downsample * 1.0005]
        return max(fine, key=lambda i: self.levels[i].downsample) if fine else 0

    def close(self) -> None:
        """Close the file."""
        if self._slide is not None:
            self._slide.close()
            self._slide = None
        self._open.close()

    def __exit__(self, *_: object) -> None:
        self.close()


def open_slide(path: Path | str) -> Slide:
    """Open a whole-slide image.

    Args:
        path: the file; of a DICOM slide any of its files, or their folder.

    Raises:
        InputError: there is no such file, it is no slide, or a library is missing.
    """
    path = Path(path)
    require_libraries()
    if not path.exists():
        raise SlideError(path, "does not exist; give a slide's path")
    if path.is_dir():
        files = [one for one in path.iterdir() if one.suffix.lower() == dicom_series.SUFFIX]
        if not files:
            raise SlideError(path, "is a folder, not a slide; give one of its files")
        path = dicom_series.one_file(path, files)
    refuse_loops(path)
    import openslide
    import tifffile

    try:
        slide = Slide(path, openslide.OpenSlide(path))
        return _with_all_levels(slide) if slide.vendor == "generic-tiff" else slide
    except openslide.OpenSlideUnsupportedFormatError:
        pass  # Perhaps a plain TIFF.
    except openslide.OpenSlideError as error:
        raise SlideError(path, f"is a damaged slide ({error}); restore it from a copy") from None
    except OSError as error:
        raise SlideError(path, f"cannot be read ({error.strerror or error})") from None
    try:
        return Slide(path, None)
    except InputError:
        raise
    except (tifffile.TiffFileError, ValueError, OSError, KeyError, IndexError, struct.error):
        raise SlideError(
            path,
            "is not a slide: neither OpenSlide nor tifffile can read it; give a slide in one of "
            "OpenSlide's formats or a tiled TIFF",
        ) from None


def _between(start: int, length: int, tile: int) -> int | None:
    """The border of tiles next to the middle of an interval; None if it lies within one tile."""
    first, last = start // tile + 1, (start + length - 1) // tile
    middle = round((start + length / 2) / tile)
    return None if first > last else tile * min(max(middle, first), last)


def _with_all_levels(slide: Slide) -> Slide:
    """A plain TIFF with the levels that OpenSlide ignores because they are not marked as such."""
    if len(slide.levels) > 1 or None in slide._native:
        return slide
    plain = Slide(slide.path, None)
    if len(plain.levels) == 1:
        plain.close()
        return slide
    slide.close()
    return plain


def _downsample(full: tuple[int, int], size: tuple[int, int], stated: float) -> float:
    """A level's true downsample: the whole number that its sizes, cut or rounded up, agree with, or `stated`.

    OpenSlide takes the mean ratio of the sides, which is wrong by pixels at the far edge of a level.
    """
    whole = round(stated)
    agrees = all(abs(side - whole * small) < whole for side, small in zip(full, size))
    return float(whole) if whole >= 1 and agrees else stated


def require_libraries(*modules: str) -> None:
    """Refuse to work without the libraries that slides need: those that read them, or `modules`.

    Raises:
        InputError: a library is missing.
    """
    log = logging.getLogger("tifffile")
    if not log.handlers:  # Damaged files are reported in our own messages.
        log.addHandler(logging.NullHandler())
    missing = []
    for module in modules or ("openslide", "tifffile", "imagecodecs"):
        try:
            __import__(module)
        except (ImportError, OSError):
            missing.append(module)
    if missing:
        raise InputError(
            f"Slides need {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed; install them with: pip install 'plenish[slides]'"
        )
