"""Decoding picture files on several cores.

A task crosses the pipe to a worker process (`plenish.crew`) as a JSON line and raw pixels, and so does its
result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from plenish import crew
from plenish.datasets import images
from plenish.datasets.images import Fit
from plenish.datasets.rejections import Rejection, Unreadable

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


class Archives(contextlib.ExitStack):
    """The zip archives in use, each opened once: the directory of a large one takes long to read."""

    def __init__(self) -> None:
        """Nothing is open yet; all are closed when the `with` block ends."""
        super().__init__()
        self._open: dict[str, zipfile.ZipFile] = {}

    def open(self, path: str) -> zipfile.ZipFile:
        """The archive at `path`, opened at the first call."""
        if path not in self._open:
            self._open[path] = self.enter_context(zipfile.ZipFile(path))
        return self._open[path]


def fit_task(task: Task, shape: Shape, archives: Archives | None = None) -> Result:
    """Read and fit the images of a task, in this process.

    Args:
        task: the work.
        shape: what every image becomes.
        archives: keeps zip archives open from task to task; None opens them for this one.
    """
    items: list[Rejection | tuple[str, bool, bool, int]] = []
    pixels = np.empty((len(task.refs), shape.size, shape.size, shape.channels), np.uint8)
    count = 0
    with contextlib.ExitStack() as stack:
        if archives is None:
            archives = stack.enter_context(Archives())
        archive = archives.open(task.root) if task.zipped else None
        for i, ref in enumerate(task.refs):
            try:
                if task.pixels is not None:
                    fitted = images.fit_array(task.pixels[i], *dataclasses.astuple(shape))
                else:
                    fitted = images.fit_bytes(_read(ref, task.root, archive), *dataclasses.astuple(shape))
            except Unreadable as error:
                items.append(error.rejection(ref))
                continue
            pixels[count] = fitted.pixels
            digest = hashlib.sha256(pixels[count].data).hexdigest()
            items.append((digest, fitted.upscaled, fitted.coloured, fitted.peak))
            count += 1
    return Result(pixels[:count], items)


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


def fit_all(tasks: Iterable[Task], shape: Shape, workers: int) -> Iterator[tuple[Task, Result]]:
    """Fit all tasks' images, in order, with bounded memory; the result does not depend on `workers`.

    Args:
        tasks: the work, made lazily.
        shape: what every image becomes.
        workers: processes; 1 works in this one.
    """
    if workers <= 1:
        with Archives() as archives:
            for task in tasks:
                yield task, fit_task(task, shape, archives)
        return
    ahead = _ahead(shape, workers)
    yield from crew.in_order(tasks, _Crew(shape), workers, lambda _: ahead)


def _ahead(shape: Shape, workers: int) -> int:
    """Tasks handed out ahead: enough that nobody rests while a shard is written, within 48 MiB of pixels."""
    task = CHUNK * shape.size * shape.size * shape.channels
    return max(workers + 1, min(_AHEAD_BYTES // task, 16 * workers))


class _Crew(crew.Crew[Task, Result]):
    def __init__(self, shape: Shape) -> None:
        super().__init__("plenish.datasets.workers")
        self._shape = shape

    def ask(self, tell: IO[bytes], hear: IO[bytes], job: Task) -> Result:
        _write_task(tell, job, self._shape)
        return _read_result(hear, self._shape)

    def without_worker(self, job: Task, code: int) -> Result:
        """An image that brings the process down is found by halving, and rejected."""
        if len(job.refs) == 1:
            nothing = np.empty((0, self._shape.size, self._shape.size, self._shape.channels), np.uint8)
            return Result(nothing, [Rejection(job.refs[0], "crash", {"exit_status": code})])
        middle = len(job.refs) // 2
        halves = [self.work(_part(job, part)) for part in (slice(middle), slice(middle, None))]
        return Result(np.concatenate([half.pixels for half in halves]), halves[0].items + halves[1].items)


def _part(task: Task, part: slice) -> Task:
    return dataclasses.replace(
        task, refs=task.refs[part], pixels=None if task.pixels is None else task.pixels[part]
    )


def _write_task(pipe: IO[bytes], task: Task, shape: Shape) -> None:
    header: dict[str, Any] = {"refs": list(task.refs), "root": task.root, "zipped": task.zipped}
    header |= {
        "shape": dataclasses.astuple(shape),
        "pixels": None if task.pixels is None else task.pixels.shape,
    }
    pipe.write(json.dumps(header).encode() + b"\n")
    if task.pixels is not None:
        pipe.write(np.ascontiguousarray(task.pixels).data)
    pipe.flush()


def _read_result(pipe: IO[bytes], shape: Shape) -> Result:
    items = [
        Rejection(**item) if isinstance(item, dict) else tuple(item)
        for item in json.loads(crew.read_line(pipe))
    ]
    count = sum(not isinstance(item, Rejection) for item in items)
    return Result(crew.read_array(pipe, (count, shape.size, shape.size, shape.channels)), items)


def _serve(
    source: IO[bytes], sink: IO[bytes], done: Callable[[Task, Shape, Archives], Result] = fit_task
) -> None:
    archives = Archives()  # Kept until the process ends.
    for line in source:
        header = json.loads(line)
        pixels = None if header["pixels"] is None else crew.read_array(source, header["pixels"])
        task = Task(header["refs"], header["root"], header["zipped"], pixels)
        result = done(task, Shape(*header["shape"]), archives)
        items = [dataclasses.asdict(item) if isinstance(item, Rejection) else item for item in result.items]
        sink.write(json.dumps(items).encode() + b"\n")
        sink.write(np.ascontiguousarray(result.pixels).data)
        sink.flush()


def main() -> None:
    """Serve tasks until the pipe closes."""
    crew.serve_until_closed(_serve)


if __name__ == "__main__":
    main()
