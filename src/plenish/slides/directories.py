"""The chain of directories in a TIFF file, which must not lead back into itself: readers would never end."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import struct
from pathlib import Path

from plenish.slides.native import SlideError

_SUB_DIRECTORIES, _NDPI = 330, 65420
_MOST = 2**16
"""Directories that are looked at; no slide has so many."""
_MOST_TAGS = 4096


@dataclasses.dataclass(frozen=True)
class _Layout:
    """How a TIFF writes its numbers: byte order, and the formats of a count, an entry and an offset."""

    order: str
    count: str
    entry: str
    offset: str

    def size(self, kind: str) -> int:
        return struct.calcsize(self.order + kind)


def refuse_loops(path: Path) -> None:
    """Check that no directory of a TIFF is followed by, or inside, itself; other files are left alone.

    Raises:
        SlideError: one is.
    """
    with contextlib.suppress(OSError, struct.error, OverflowError), path.open("rb") as file:
        number = file.fileno()
        head = os.pread(number, 16, 0)
        if (start := _start(head)) is not None:
            _Walk(path, number, *start).check()


def _start(head: bytes) -> tuple[_Layout, int] | None:
    """The layout of a TIFF and the place of its first directory; None for what is no TIFF."""
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 16:
        return None
    version = struct.unpack_from(order + "H", head, 2)[0]
    if version == 42:
        return _Layout(order, "H", "HHI4s", "I"), struct.unpack_from(order + "I", head, 4)[0]
    if version == 43:
        return _Layout(order, "Q", "HHQ8s", "Q"), struct.unpack_from(order + "Q", head, 8)[0]
    return None


class _Walk:
    def __init__(self, path: Path, file: int, layout: _Layout, first: int) -> None:
        self._path, self._file, self._layout, self._first = path, file, layout, first
        self._left = _MOST
        self._next = layout.offset

    def check(self) -> None:
        """Follow all directories, those inside others with those that hold them."""
        waiting = [(self._first, frozenset[int]())]
        while waiting and self._left > 0:
            at, above = waiting.pop()
            seen = set(above)
            while at and self._left > 0:
                if at in seen:
                    raise SlideError(
                        self._path,
                        f"is a damaged TIFF: its directories lead back to the one at byte {at:,}, without an "
                        "end; restore it from a copy",
                    )
                seen.add(at)
                self._left -= 1
                at, inner = self._read(at)
                waiting += [(place, frozenset(seen)) for place in inner]

    def _read(self, at: int) -> tuple[int, list[int]]:
        """The place of the next directory, 0 for none, and of those inside this one."""
        layout = self._layout
        size, entry = layout.size(layout.count), layout.size(layout.entry)
        (tags,) = struct.unpack(layout.order + layout.count, os.pread(self._file, size, at))
        if tags > _MOST_TAGS:
            return 0, []
        content = os.pread(self._file, tags * entry, at + size)
        inner: list[int] = []
        for tag, kind, count, value in struct.iter_unpack(layout.order + layout.entry, content):
            if tag == _NDPI:  # Hamamatsu's, whose next places have 8 bytes in a TIFF of 4.
                self._next = "Q"
            if tag == _SUB_DIRECTORIES:
                inner += self._places(kind, count, value)
        end = at + size + tags * entry
        raw = os.pread(self._file, layout.size(self._next), end)
        return int(struct.unpack(layout.order + self._next, raw)[0]), inner

    def _places(self, kind: int, count: int, value: bytes) -> tuple[int, ...]:
        form = {4: "I", 13: "I", 16: "Q", 18: "Q"}.get(kind)
        if form is None or count > _MOST:
            return ()
        layout = self._layout
        width = layout.size(form) * count
        if width > len(value):
            (at,) = struct.unpack(layout.order + layout.offset, value)
            value = os.pread(self._file, width, at)
        return struct.unpack(f"{layout.order}{count}{form}", value[:width])
