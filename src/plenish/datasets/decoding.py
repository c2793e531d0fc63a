"""Decoding picture files and making them fit, on several cores."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import zipfile
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from plenish.datasets import images
from plenish.datasets.images import Fit
from plenish.datasets.rejections import Rejection, Unreadable
from plenish.parallel import Halving, executor

_AHEAD_BYTES = 48 * 2**20
CHUNK = 64
"""Images in one task: enough to hide the pipe, few enough to keep memory flat."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """What every image becomes: `size`×`size`×`channels`, by `fit`."""

    size: int
    channels: int
    fit: Fit


@dataclasses.dataclass(frozen=True)
class Task:
    """Some images to make fit: files of a folder, members of a zip archive, or pixels.

    Attributes:
        refs: relative paths or member names.
        root: the folder or the archive; empty when `pixels` holds the images.
        zipped: whether `root` is an archive.
        pixels: N×H×W×C uint8, or None.
    """

    refs: Sequence[str]
    root: str = ""
    zipped: bool = False
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


class Decoder(contextlib.ExitStack):
    """Decodes tasks; keeps the zip archives it reads from open, because listing a large one takes long."""

    def __init__(self, shape: Shape) -> None:
        """Nothing is open yet; all archives are closed when the `with` block ends.

        Args:
            shape: what every image becomes.
        """
        super().__init__()
        self._shape = shape
        self._archives: dict[str, zipfile.ZipFile] = {}

    def decode(self, task: Task) -> Result:
        """Read and fit the images of a task."""
        size, channels, fit = dataclasses.astuple(self._shape)
        items: list[Rejection | tuple[str, bool, bool, int]] = []
        pixels = np.empty((len(task.refs), size, size, channels), np.uint8)
        count = 0
        archive = self._archive(task.root) if task.zipped else None
        for i, ref in enumerate(task.refs):
            try:
                if task.pixels is not None:
                    fitted = images.fit_array(task.pixels[i], size, channels, fit)
                else:
                    fitted = images.fit_bytes(_read(ref, task.root, archive), size, channels, fit)
            except Unreadable as error:
                items.append(error.rejection(ref))
                continue
            pixels[count] = fitted.pixels
            digest = hashlib.sha256(pixels[count].data).hexdigest()
            items.append((digest, fitted.upscaled, fitted.coloured, fitted.peak))
            count += 1
        return Result(pixels[:count], items)

    def _archive(self, path: str) -> zipfile.ZipFile:
        if path not in self._archives:
            self._archives[path] = self.enter_context(zipfile.ZipFile(path))
        return self._archives[path]


def read_refs(refs: Sequence[str], root: str, zipped: bool) -> Iterator[bytes]:
    """The bytes of files or members one by one; nothing (b"") for those that cannot be read."""
    with contextlib.ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(root)) if zipped else None
        for ref in refs:
            try:
                yield _read(ref, root, archive)
            except Unreadable:
                yield b""


def _read(ref: str, root: str, archive: zipfile.ZipFile | None) -> bytes:
    return images.read_file(f"{root}/{ref}") if archive is None else _member(archive, ref)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        info = archive.getinfo(name)
        images.check_length(info.file_size)
        with archive.open(
            info
        ) as file:  # Bounded by the size the directory states, whatever the stream unpacks to.
            return file.read(info.file_size)
    except KeyError:
        raise Unreadable("no-member") from None
    except Unreadable:
        raise
    except Exception as error:  # Damaged archives raise zlib, struct, zipfile and other errors.
        raise Unreadable("cannot-unpack", reason=str(error)) from None


def decode_all(tasks: Iterable[Task], shape: Shape, workers: int) -> Iterator[tuple[Task, Result]]:
    """Decode all tasks, in order, with bounded memory; the result does not depend on `workers`.

    Args:
        tasks: the work, made lazily.
        shape: what every image becomes.
        workers: processes; 1 works in this one.
    """
    with executor(workers, Decoder, (shape,)) as pool:
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
    return Result(nothing, [Rejection(task.refs[0], "crash", {"exit_status": exit_status})])


def _halves(task: Task) -> list[Task]:
    middle = len(task.refs) // 2
    return [_part(task, slice(middle)), _part(task, slice(middle, None))] if middle else []


def _joined(results: Sequence[Result]) -> Result:
    pixels = np.concatenate([result.pixels for result in results])
    return Result(pixels, [item for result in results for item in result.items])


def _part(task: Task, part: slice) -> Task:
    pixels = None if task.pixels is None else task.pixels[part]
    return dataclasses.replace(task, refs=task.refs[part], pixels=pixels)
