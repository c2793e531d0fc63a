"""A Dataset's pixels: a row of `.npy` shards of raw uint8, N×H×W×C.

They are read with positioned reads into a new buffer: unlike a memory map, a shuffled epoch leaves nothing
behind in the process's resident memory.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError
from plenish.wording import agree

SHARD_BYTES = 32 * 2**20


def shard_length(size: int, channels: int) -> int:
    """Images in a full shard: about 32 MiB of them, at least one."""
    return max(1, SHARD_BYTES // (size * size * channels))


def shard_name(index: int) -> str:
    """File name of a shard inside `pixels/`."""
    return f"{index:05d}.npy"


class RawShards:
    """Images by row number: `pixels/00000.npy`, … each with `shard` images, the last with fewer."""

    def __init__(self, folder: Path, count: int, shape: tuple[int, int, int], shard: int) -> None:
        """Open the store.

        Args:
            folder: the Dataset's `pixels/`.
            count: number of images.
            shape: height, width and channels of one image.
            shard: images in a full shard.

        Raises:
            InputError: a shard is missing or has the wrong size.
        """
        self.folder, self.shape, self.shard = folder, shape, shard
        self._count = count
        self._bytes = int(np.prod(shape))
        self._files: dict[int, int] = {}
        self._lock = threading.Lock()
        self._headers = [
            self._header(folder / shard_name(start // shard), min(shard, count - start))
            for start in range(0, count, shard)
        ]

    def _header(self, path: Path, images: int) -> int:
        """Bytes before the first image."""
        try:
            actual = path.stat().st_size
        except FileNotFoundError:
            raise InputError(
                f"{path} is missing; restore it from a copy or make the Dataset again."
            ) from None
        with path.open("rb") as file:
            try:
                np.lib.format.read_magic(file)
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            except (ValueError, EOFError, OSError):
                shape, dtype = (), np.dtype(np.uint8)
            before = file.tell()
        payload = images * self._bytes
        if (shape, dtype) != ((images, *self.shape), np.dtype(np.uint8)) or actual != before + payload:
            raise InputError(
                f"{path} has {actual:,} bytes where {agree(images, 'image', 'needs', 'need')} {payload:,} "
                "behind a header; restore it from a copy or make the Dataset again."
            )
        return before

    def _open(self, index: int) -> int:
        with self._lock:
            if index not in self._files:
                self._files[index] = os.open(self.folder / shard_name(index), os.O_RDONLY)
                if len(self._files) > 512:
                    os.close(self._files.pop(next(iter(self._files))))
            return self._files[index]

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The images of `rows`, N×H×W×C uint8, in that order; neighbouring rows are read in one go."""
        rows = np.asarray(rows, np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= self._count):
            raise IndexError(f"row {int(rows.min())}..{int(rows.max())} of {self._count}")
        out = np.empty((len(rows), *self.shape), np.uint8)
        flat = memoryview(out.reshape(-1))
        shards = rows // self.shard
        breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(shards) != 0)) + 1
        edges = [0, *breaks.tolist(), len(rows)] if len(rows) else [0]
        for start, stop in itertools.pairwise(edges):
            shard = int(shards[start])
            descriptor = self._open(shard)
            offset = self._headers[shard] + (int(rows[start]) - shard * self.shard) * self._bytes
            view = flat[start * self._bytes : stop * self._bytes]
            while len(view):
                got = os.preadv(descriptor, [view], offset)
                if got == 0:
                    raise InputError(
                        f"{self.folder / shard_name(shard)} ended early; restore it from a copy."
                    )
                view, offset = view[got:], offset + got
        return out

    def __del__(self) -> None:
        for descriptor in getattr(self, "_files", {}).values():
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def __reduce__(self) -> tuple[Any, ...]:
        return RawShards, (self.folder, self._count, self.shape, self.shard)


def chunks(total: int, size: int) -> Iterator[NDArray[np.int64]]:
    """Consecutive row numbers 0..total-1 in pieces of `size`."""
    for start in range(0, total, size):
        yield np.arange(start, min(start + size, total), dtype=np.int64)
