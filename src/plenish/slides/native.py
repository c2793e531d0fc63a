"""The tiles of a TIFF file, read by position and decoded one by one.

OpenSlide draws every region through a compositor, even where the region is exactly one tile of the file.
Reading the tile directly saves most of that time, and gives exact pixels on levels whose downsample is not
a whole number.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError, PlenishError, first_line

if TYPE_CHECKING:
    import tifffile

_CODECS = frozenset({1, 5, 7, 8, 32773, 32946, 34925, 50000, 50001})
"""Supported TIFF compressions: none, LZW, JPEG, deflate, PackBits, LZMA, Zstandard, WebP. JPEG 2000 is left
to OpenSlide, which knows the vendors' colour spaces."""
_JPEG2000 = frozenset({33003, 33004, 33005, 34712})
_CACHE_BYTES = 24 * 2**20
_LARGEST_SEGMENT = 64 * 2**20


class SlideError(InputError):
    """A slide cannot be used.

    Attributes:
        problem: why, without the file's path and the full stop.
    """

    def __init__(self, path: Path | str, problem: str) -> None:
        """Compose the sentence from both."""
        super().__init__(f"{path} {problem}.")
        self.problem = problem


class UnreadableRegion(PlenishError):
    """A part of a slide cannot be decoded; the rest of it may be fine."""


class NativeLevel:
    """One page of a TIFF, read tile by tile (or strip by strip).

    Attributes:
        width: of the page, pixels.
        height: of the page, pixels.
        tile_width: of the file's tiles, pixels; strips are as wide as the page.
        tile_height: of the file's tiles, pixels.
    """

    def __init__(self, page: tifffile.TiffPage, file: int) -> None:
        """Use a page that `readable` accepts.

        Args:
            page: of the TIFF.
            file: descriptor the bytes are read from, with positioned reads.
        """
        self.width, self.height = int(page.imagewidth), int(page.imagelength)
        if page.is_tiled:
            self.tile_width, self.tile_height = int(page.tilewidth), int(page.tilelength)
        else:
            self.tile_width, self.tile_height = self.width, int(min(page.rowsperstrip, self.height))
        self.columns = -(-self.width // self.tile_width)
        self._page, self._file = page, file
        self._tables = page.jpegtables
        limit = max(1, _CACHE_BYTES // (3 * self.tile_width * self.tile_height))
        self.tile = functools.lru_cache(limit)(self._decoded)

    def beyond(self, size: int) -> int:
        """How many of the file's tiles end beyond a file of so many bytes."""
        places = zip(self._page.dataoffsets, self._page.databytecounts)
        return sum(count > 0 and offset + count > size for offset, count in places)

    def _decoded(self, row: int, column: int) -> NDArray[np.uint8]:
        """A tile of the file, tile_height×tile_width×3 uint8; white where the file has no data for it.

        Raises:
            UnreadableRegion: its bytes are missing or broken.
        """
        index = row * self.columns + column
        if index >= len(self._page.databytecounts):
            raise UnreadableRegion(f"tile {index} is not in the file")
        count, offset = self._page.databytecounts[index], self._page.dataoffsets[index]
        try:
            segment = os.pread(self._file, count, offset)
        except (OSError, OverflowError, MemoryError, ValueError) as error:  # Places beyond all files, too.
            raise UnreadableRegion(f"its bytes cannot be read ({first_line(error)})") from None
        if len(segment) < count:
            raise UnreadableRegion("the file ends before this region's pixels")
        try:
            decoded = self._page.decode(segment, index, jpegtables=self._tables)[0] if count else None
        except Exception as error:  # Codecs raise errors of their own kinds.
            raise UnreadableRegion(f"its pixels cannot be decoded ({first_line(error)})") from None
        if decoded is None:
            return np.full((self.tile_height, self.tile_width, 3), 255, np.uint8)
        return on_white(decoded[0])

    def read(self, x: int, y: int, width: int, height: int) -> NDArray[np.uint8]:
        """A region of the page, height×width×3 uint8; what lies outside is white.

        Raises:
            UnreadableRegion: a tile that it touches cannot be decoded.
        """
        row, column = y // self.tile_height, x // self.tile_width
        is_tile = (x, y, width, height) == (
            column * self.tile_width, row * self.tile_height, self.tile_width, self.tile_height,
        )  # fmt: skip
        if is_tile and 0 <= x <= self.width - width and 0 <= y <= self.height - height:
            return self._decoded(row, column)
        region = np.full((height, width, 3), 255, np.uint8)
        right, bottom = min(x + width, self.width), min(y + height, self.height)
        left, top = max(x, 0), max(y, 0)
        if left >= right or top >= bottom:
            return region
        for row in range(top // self.tile_height, -(-bottom // self.tile_height)):
            for column in range(left // self.tile_width, -(-right // self.tile_width)):
                x0, y0 = column * self.tile_width, row * self.tile_height
                x1, x2 = max(left, x0), min(right, x0 + self.tile_width)
                y1, y2 = max(top, y0), min(bottom, y0 + self.tile_height)
                tile = self.tile(row, column)
                region[y1 - y : y2 - y, x1 - x : x2 - x] = tile[y1 - y0 : y2 - y0, x1 - x0 : x2 - x0]
        return region


def readable(page: tifffile.TiffPage) -> bool:
    """Whether a page holds 8-bit pixels in tiles or strips of a supported compression and size."""
    sizes = (page.tilewidth, page.tilelength) if page.is_tiled else (page.imagewidth, page.rowsperstrip)
    return (
        page.dtype == np.uint8
        and page.samplesperpixel in (1, 3, 4)
        and (page.samplesperpixel == 1 or page.planarconfig == 1)
        and int(page.compression) in _CODECS
        and int(page.photometric) in (1, 2, 6)
        and min(page.imagewidth, page.imagelength) > 0
        and getattr(page, "imagedepth", 1) == 1
        and sizes[0] * min(sizes[1], page.imagelength) * 3 <= _LARGEST_SEGMENT
    )


def pages(tiff: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
    """All pages of a TIFF; nested pages (pyramids of OME-TIFF) follow their parent."""
    for page in tiff.pages:
        whole = page.aspage()
        yield whole
        for inner in whole.pages or ():
            yield inner.aspage()


def pyramid(tiff: tifffile.TiffFile, path: Path) -> list[tifffile.TiffPage]:
    """The levels of a plain pyramidal TIFF, largest first.

    Raises:
        SlideError: the first page cannot be read tile by tile.
    """
    found = list(pages(tiff))
    if not found or not readable(found[0]):
        raise SlideError(path, f"is not a slide: {_why_not(found)}")
    first = found[0]
    levels = [first]
    for page in found[1:]:
        if not (page.imagewidth and page.imagelength):  # Overwritten, or cut off.
            continue
        scale_x, scale_y = first.imagewidth / page.imagewidth, first.imagelength / page.imagelength
        smaller = page.imagewidth < levels[-1].imagewidth
        if page.is_tiled and smaller and abs(scale_x / scale_y - 1) < 0.02 and readable(page):
            levels.append(page)
    return levels


def _why_not(found: list[tifffile.TiffPage]) -> str:
    if not found:
        return "this TIFF has no image within it; if it was cut off, restore it from a copy"
    page = found[0]
    if page.dtype != np.uint8 or page.samplesperpixel not in (1, 3, 4):
        return f"it holds {page.samplesperpixel} channels of {page.dtype}, and slides are 8-bit RGB"
    if int(page.compression) in _JPEG2000:
        return "OpenSlide, which reads JPEG 2000, cannot open it; if it was cut off, restore it from a copy"
    return (
        "its pixels are not in tiles of a known compression; 'vips tiffsave IN OUT --tile --pyramid "
        "--compression jpeg' writes one that can be read"
    )


def on_white(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Grey, RGB or RGBA, H×W×C uint8, laid on white: H×W×3 uint8; without alpha, a read-only view."""
    if pixels.shape[-1] < 4:
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    alpha = pixels[..., 3:]
    if alpha.min() == 255:
        return np.ascontiguousarray(pixels[..., :3])
    mixed = pixels[..., :3].astype(np.uint16) * alpha + 255 * (255 - alpha.astype(np.uint16)) + 127
    return np.asarray(mixed // 255, np.uint8)
