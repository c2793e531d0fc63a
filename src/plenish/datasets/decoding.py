"""Decoding picture files and making them fit, on several cores."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plenish.datasets import images
from plenish.datasets.archives import open_archive
from plenish.datasets.images import Shape
from plenish.datasets.rejections import Rejection, Unreadable
from plenish.parallel import Halving, executor

_AHEAD_BYTES = 48 * 2**20
CHUNK = 64
"""Images in one task: enough to hide the pipe, few enough to keep memory flat."""


@dataclasses.dataclass(frozen=True)
class Task:
    """Some images to make fit.

    Attributes:
        refs: what they are called: paths in a folder or archive.
        pixels: N×H×W×C uint8 where they are in no files, or None.
    """

    refs: Sequence[str]
    pixels: NDArray[np.uint8] | None = None


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a Task.

    Attributes:
        pixels: M×size×size×channels uint8 of the images that could be read, in order.
        items: for each ref a Rejection, or (sha256, upscaled, coloured, peak).
    """

    pixels: NDArray[np.uint8]
    items: list[Rejection | tuple[str, bool, bool, int]]


class Source(contextlib.ExitStack):
    """Files of a folder or archive, which stays open: listing a large one takes long."""

    def __init__(self, root: str) -> None:
        """Open the archive, which is closed when the `with` block ends.

        Args:
            root: the folder or archive; empty for images in no files.
        """
        super().__init__()
        self._root = root
        self._archive = self.enter_context(open_archive(Path(root))) if Path(root).is_file() else None

    def read(self, ref: str) -> bytes:
        """The bytes of a file; Unreadable where there are none to be had."""
        if self._archive is not None:
            return self._archive.read(ref)
        return images.read_file(f"{self._root}/{ref}")

    def is_grey(self, ref: str, max_pixels: int) -> bool:
        """Whether an image has no colours; one that cannot be read counts as grey."""
        try:
            return images.is_grey(self.read(ref), max_pixels)
        except Unreadable:
            return True


class Decoder(Source):
    """Decodes the images of tasks and makes them fit."""

    def __init__(self, root: str, shape: Shape) -> None:
        """Open the archive, as `Source` does; every image becomes `shape`."""
        super().__init__(root)
        self._shape = shape

    def decode(self, task: Task) -> Result:
        """Read and fit the images of a task."""
        shape = self._shape
        items: list[Rejection | tuple[str, bool, bool, int]] = []
        pixels = np.empty((len(task.refs), shape.size, shape.size, shape.channels), np.uint8)
        count = 0
        for i, ref in enumerate(task.refs):
            try:
                if task.pixels is not None:
                    fitted = images.fit_array(task.pixels[i], shape)
                else:
                    fitted = images.fit_bytes(self.read(ref), shape)
            except Unreadable as error:
                items.append(error.rejection(ref))
                continue
            pixels[count] = fitted.pixels
            digest = hashlib.sha256(pixels[count].data).hexdigest()
            items.append((digest, fitted.upscaled, fitted.coloured, fitted.peak))
            count += 1
        return Result(pixels[:count], items)


def decode_all(tasks: Iterable[Task], root: str, shape: Shape, workers: int) -> Iterator[tuple[Task, Result]]:
    """Decode all tasks, in order, with bounded memory; the result does not depend on `workers`.

    Args:
        tasks: the work, made lazily.
        root: the folder or archive of the images.
        shape: what every image becomes.
        workers: processes; 1 works in this one.
    """
    with executor(workers, Decoder, (root, shape)) as pool:
        yield from pool.map_ordered(
            Decoder.decode, tasks, ahead=_ahead(shape, workers), reject=functools.partial(_rejected, shape),
            halving=Halving(_halves, _joined),
        )  # fmt: skip


def _ahead(shape: Shape, workers: int) -> int:
    """Tasks started ahead: enough that no worker waits while a shard is written, within 48 MiB of pixels."""
    task = CHUNK * shape.size * shape.size * shape.channels
    return max(workers + 1, min(_AHEAD_BYTES // task, 16 * workers))


def _rejected(shape: Shape, task: Task, exit_status: int) -> Result:
    """The result of a task of one image, which ends its process."""
    nothing = np.empty((0, shape.size, shape.size, shape.channels), np.uint8)
    return Result(nothing, [Rejection("crash", {"exit_status": exit_status}, task.refs[0])])


def _halves(task: Task) -> list[Task]:
    middle = len(task.refs) // 2
    halves = (slice(middle), slice(middle, None)) if middle else ()
    return [Task(task.refs[half], None if task.pixels is None else task.pixels[half]) for half in halves]


def _joined(results: Sequence[Result]) -> Result:
    pixels = np.concatenate([result.pixels for result in results])
    return Result(pixels, [item for result in results for item in result.items])
