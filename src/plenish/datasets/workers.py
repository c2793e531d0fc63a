"""Decoding picture files on several cores.

The workers are plain `python -m plenish.datasets.workers` processes that read tasks from their standard
input and write results to their standard output, each a JSON line and raw bytes. Unlike multiprocessing's,
they do not run the caller's main script again, so they start fast, never import torch, and need no `if
__name__ == "__main__"` around a user's call; and what crosses the pipe cannot run code.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets import images
from plenish.datasets.images import Fit, Unreadable
from plenish.errors import PlenishError

_AHEAD_BYTES = 48 * 2**20
_READY = b"ready\n"
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
        items: for each ref a reason why not (str), or (sha256, upscaled, coloured, peak).
    """

    pixels: NDArray[np.uint8]
    items: list[str | tuple[str, bool, bool, int]]


class WorkerLost(PlenishError):
    """A worker process ended without an answer."""


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
    items: list[str | tuple[str, bool, bool, int]] = []
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
            except Unreadable as reason:
                items.append(str(reason))
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
        raise Unreadable("the archive has no such member") from None
    except Unreadable:
        raise
    except Exception as error:  # Damaged archives raise zlib, struct, zipfile and other errors.
        raise Unreadable(f"cannot be unpacked: {error}") from None


def available_cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
    with contextlib.ExitStack() as stack:
        crew = _Crew(shape)
        stack.callback(crew.close)
        pool = concurrent.futures.ThreadPoolExecutor(workers, initializer=crew.hire)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        ahead = _ahead(shape, workers)
        waiting: collections.deque[tuple[Task, concurrent.futures.Future[Result]]] = collections.deque()
        for task in tasks:
            waiting.append((task, pool.submit(crew.work, task)))
            if len(waiting) > ahead:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


def _ahead(shape: Shape, workers: int) -> int:
    """Tasks handed out ahead: enough that nobody rests while a shard is written, within 48 MiB of pixels."""
    task = CHUNK * shape.size * shape.size * shape.channels
    return max(workers + 1, min(_AHEAD_BYTES // task, 16 * workers))


class _Crew:
    """The worker processes, one for each thread of the pool."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._all: list[subprocess.Popen[bytes]] = []
        self._closed = False

    def hire(self) -> None:
        """Start this thread's process."""
        home = str(Path(__file__).resolve().parents[2])
        paths = os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH"))))
        one = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        with self._lock:
            if self._closed:
                raise WorkerLost("closed")
            process = subprocess.Popen(
                [sys.executable, "-m", "plenish.datasets.workers"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | one,
            )
            self._all.append(process)
        if process.stdout is None or process.stdout.readline() != _READY:
            raise WorkerLost("A worker process could not start; try '--workers 1'.")
        self._mine.process = process

    def work(self, task: Task) -> Result:
        """Have a task done; an image that brings the process down is found by halving, and rejected."""
        process = self._mine.process
        try:
            _write_task(process.stdin, task, self._shape)
            return _read_result(process.stdout, self._shape)
        except (OSError, WorkerLost):
            process.kill()
            code = process.wait()
            if self._closed:
                raise
            self.hire()
        if len(task.refs) == 1:
            nothing = np.empty((0, self._shape.size, self._shape.size, self._shape.channels), np.uint8)
            return Result(nothing, [f"decoding it crashed a worker process (exit status {code})"])
        middle = len(task.refs) // 2
        halves = [self.work(_part(task, part)) for part in (slice(middle), slice(middle, None))]
        return Result(np.concatenate([half.pixels for half in halves]), halves[0].items + halves[1].items)

    def close(self) -> None:
        """End all processes."""
        with self._lock:
            self._closed = True
            for process in self._all:
                process.kill()
            for process in self._all:
                process.wait()
                for pipe in (process.stdin, process.stdout):
                    with contextlib.suppress(OSError):
                        if pipe is not None:
                            pipe.close()


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


def _read_exactly(pipe: IO[bytes], shape: Sequence[int]) -> NDArray[np.uint8]:
    array = np.empty(tuple(shape), np.uint8)
    view = memoryview(array.reshape(-1))
    while len(view):
        got = pipe.readinto(view)  # type: ignore[attr-defined]
        if not got:
            raise WorkerLost("a worker process ended in the middle of an answer")
        view = view[got:]
    return array


def _read_result(pipe: IO[bytes], shape: Shape) -> Result:
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise WorkerLost("a worker process ended without an answer")
    items = [item if isinstance(item, str) else tuple(item) for item in json.loads(line)]
    count = sum(not isinstance(item, str) for item in items)
    return Result(_read_exactly(pipe, (count, shape.size, shape.size, shape.channels)), items)


def _serve(
    source: IO[bytes], sink: IO[bytes], done: Callable[[Task, Shape, Archives], Result] = fit_task
) -> None:
    archives = Archives()  # Kept until the process ends.
    for line in source:
        header = json.loads(line)
        pixels = None if header["pixels"] is None else _read_exactly(source, header["pixels"])
        task = Task(header["refs"], header["root"], header["zipped"], pixels)
        result = done(task, Shape(*header["shape"]), archives)
        sink.write(json.dumps(result.items).encode() + b"\n")
        sink.write(np.ascontiguousarray(result.pixels).data)
        sink.flush()


def main() -> None:
    """Serve tasks until the pipe closes; an interrupt is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError, WorkerLost):
        sys.stdout.buffer.write(_READY)
        sys.stdout.buffer.flush()
        _serve(sys.stdin.buffer, sys.stdout.buffer)
    os._exit(0)  # Nothing is left to clean, and a closed standard output would complain.


if __name__ == "__main__":
    main()
