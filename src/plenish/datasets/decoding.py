"""Decoding picture files and making them fit, on several cores."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plenish.datasets import dicom, images
from plenish.datasets.archives import open_archive
from plenish.datasets.formats import DICOM, is_dicom, suffix_of
from plenish.datasets.images import Fitted, Shape
from plenish.datasets.rejections import Rejection, Unreadable
from plenish.parallel import Halving, executor

_AHEAD_BYTES = 48 * 2**20
_HEADER_BYTES = 2**16
"""First bytes of a DICOM file in an archive, in which its header lies most often."""
CHUNK = 64
"""Images in one task: enough to hide the pipe, few enough to keep memory flat."""


@dataclasses.dataclass(frozen=True)
class Task:
    """Some images to make fit.

    Attributes:
        refs: what they are called: paths in a folder or archive.
        pixels: N×H×W×C uint8 where they are in no files, or None.
        frames: for each image None or, of a file with several, its number from 0; `[number + 1]` then ends
            its ref. None where no file has several.
    """

    refs: Sequence[str]
    pixels: NDArray[np.uint8] | None = None
    frames: Sequence[int | None] | None = None


class Decoded(NamedTuple):
    """An image's SHA-256, and what `images.Fitted` says of it."""

    digest: str
    upscaled: bool
    coloured: bool
    peak: int
    narrow: bool
    distortion: float
    trimmed: bool
    undetected: bool
    width: int
    height: int


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a Task.

    Attributes:
        pixels: M×size×size×channels uint8 of the images that could be read, in order.
        items: for each ref a Rejection, or the image's SHA-256 and facts.
    """

    pixels: NDArray[np.uint8]
    items: list[Rejection | Decoded]


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
            data = self.read(ref)
            if _is_dicom(ref, data):
                return dicom.is_grey(dicom.open_bytes(data), max_pixels)
            return images.is_grey(data, max_pixels)
        except Unreadable:
            return True

    def headers(self, job: tuple[Sequence[str], Sequence[str]]) -> list[dict[str, Any] | None]:
        """What DICOM files say, by `dicom.read_header`.

        Args:
            job: the files, and the keywords wanted beside the usual ones.
        """
        found: list[dict[str, Any] | None] = []
        for ref in job[0]:
            try:
                found.append(self._header(ref, job[1]))
            except Unreadable:
                found.append(None)
        return found

    def _header(self, ref: str, more: Sequence[str]) -> dict[str, Any] | None:
        if self._archive is None:
            with images.open_file(f"{self._root}/{ref}") as file:
                return dicom.read_header(file, more)
        start = io.BytesIO(self._archive.read_beginning(ref, _HEADER_BYTES))
        found = dicom.read_header(start, more)
        if found is not None and start.tell() < len(start.getvalue()):  # It ended before the pixels.
            return found
        return dicom.read_header(io.BytesIO(self._archive.read(ref)), more)


def _is_dicom(ref: str, data: bytes) -> bool:
    return is_dicom(data) or suffix_of(ref) in DICOM.suffixes


class Decoder(Source):
    """Decodes the images of tasks and makes them fit."""

    def __init__(self, root: str, shape: Shape) -> None:
        """Open the archive, as `Source` does; every image becomes `shape`."""
        super().__init__(root)
        self._shape = shape
        self._opened: tuple[str, dicom.File] | None = None

    def decode(self, task: Task) -> Result:
        """Read and fit the images of a task."""
        shape = self._shape
        items: list[Rejection | Decoded] = []
        pixels = np.empty((len(task.refs), shape.size, shape.size, shape.channels), np.uint8)
        count = 0
        for i, ref in enumerate(task.refs):
            try:
                if task.pixels is not None:
                    fitted = images.fit_array(task.pixels[i], shape)
                else:
                    fitted = self._fitted(ref, task.frames[i] if task.frames else None)
            except Unreadable as error:
                items.append(error.rejection(ref))
                continue
            pixels[count] = fitted.pixels
            digest = hashlib.sha256(pixels[count].data).hexdigest()
            items.append(
                Decoded(
                    digest, fitted.upscaled, fitted.coloured, fitted.peak, fitted.narrow, fitted.distortion,
                    fitted.trimmed, fitted.undetected, fitted.width, fitted.height,
                )
            )  # fmt: skip
            count += 1
        return Result(pixels[:count], items)

    def _fitted(self, ref: str, frame: int | None) -> Fitted:
        if frame is None:
            data = self.read(ref)
            if _is_dicom(ref, data):
                return dicom.fit_frame(dicom.open_bytes(data), 0, self._shape)
            return images.fit_bytes(data, self._shape)
        name = ref[: ref.rindex("[")]
        if self._opened is None or self._opened[0] != name:  # Its frames follow each other.
            self._opened = name, dicom.open_bytes(self.read(name))
        return dicom.fit_frame(self._opened[1], frame, self._shape)


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


def read_headers(
    root: str, refs: Sequence[str], more: Sequence[str], workers: int
) -> Iterator[dict[str, Any] | None]:
    """What DICOM files say, in their order; see `dicom.read_header`.

    Args:
        root: the folder or archive of the files.
        refs: the files.
        more: keywords beside the usual ones.
        workers: processes; 1 works in this one.
    """
    jobs = ((refs[at : at + CHUNK], more) for at in range(0, len(refs), CHUNK))
    with executor(workers, Source, (root,)) as pool:
        for _, found in pool.map_ordered(Source.headers, jobs, ahead=2 * workers, reject=_without_headers):
            yield from found


def _without_headers(job: tuple[Sequence[str], Sequence[str]], _: int) -> list[dict[str, Any] | None]:
    return [None] * len(job[0])


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
    return [
        Task(
            task.refs[half],
            None if task.pixels is None else task.pixels[half],
            None if task.frames is None else task.frames[half],
        )
        for half in halves
    ]


def _joined(results: Sequence[Result]) -> Result:
    pixels = np.concatenate([result.pixels for result in results])
    return Result(pixels, [item for result in results for item in result.items])
