"""Reading slides on several cores: plain processes that keep their slides open and never load torch.

Like the workers that decode pictures (`datasets.workers`), they are `python -m plenish.slides.workers`, read
jobs from their standard input and write answers to their standard output, each a JSON line and raw pixels.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.errors import InputError, PlenishError
from plenish.slides.grid import Grid
from plenish.slides.planning import Wanted, plan_slide
from plenish.slides.reader import Slide, UnreadableRegion, open_slide
from plenish.slides.settings import ImageFormat, TilingSettings

_AHEAD_BYTES = 64 * 2**20
_READY = b"ready\n"
_PIPE_BYTES = 2**20
BLURRED, PEN = "blurred: ", "pen marks: "
"""How the reasons of the filters begin."""


@dataclasses.dataclass(frozen=True)
class Order:
    """What all jobs of a tiling have in common.

    Attributes:
        settings: of the tiling.
        images: format of picture files to write beside the pixels, or None.
        folder: where these go.
        quality: of JPEG files, 1 to 100.
    """

    settings: TilingSettings
    images: ImageFormat | None = None
    folder: str = ""
    quality: int = 90


@dataclasses.dataclass(frozen=True)
class Job:
    """Some tiles of a slide to read; without tiles, a slide to plan.

    Attributes:
        wanted: the slide.
        plan: file to write the plan to, when it is to be planned.
        grid: of the slide, when tiles are to be read.
        tiles: rows and columns.
        digits: of rows and columns in the names of picture files.
        pixels: whether these are wanted, or only whether the tiles pass the filters.
    """

    wanted: Wanted
    plan: str = ""
    grid: Grid | None = None
    tiles: tuple[tuple[int, int], ...] = ()
    digits: tuple[int, int] = (1, 1)
    pixels: bool = True


@dataclasses.dataclass(frozen=True)
class Answer:
    """What became of a job.

    Attributes:
        error: why the slide cannot be used; empty when it can.
        items: for each tile, also of a slide that cannot be used, a reason why not (str), or (sha256,
            sharpness or None, share of ink or None).
        pixels: M×size×size×3 uint8 of those that could be read, in order.
    """

    error: str
    items: list[str | tuple[str, float | None, float | None]]
    pixels: NDArray[np.uint8]


class WorkerLost(PlenishError):
    """A worker process ended without an answer."""


class Bench:
    """Does jobs in this process, and keeps the slide it used last open."""

    def __init__(self, order: Order) -> None:
        """Nothing is open yet.

        Args:
            order: what all jobs have in common.
        """
        self.order = order
        self._slide: Slide | None = None
        self._path = ""

    def do(self, job: Job) -> Answer:
        """Do a job; whatever is wrong with its slide is an answer.

        Raises:
            InputError: what shall be written cannot be.
        """
        nothing = np.empty((0, self.order.settings.size, self.order.settings.size, 3), np.uint8)
        try:
            slide = self._opened(job.wanted.path)
            plan = None if job.grid is not None else plan_slide(slide, job.wanted, self.order.settings)
        except Exception as error:  # Damaged files make libraries raise errors of any kind.
            reason = _why_not(error, job.wanted)
            return Answer(reason, [fragment(reason, job.wanted)] * len(job.tiles), nothing)
        if plan is None:
            return self._read(slide, job)
        with files.reporting_disk(Path(job.plan)):
            plan.save(Path(job.plan))
        return Answer("", [], nothing)

    def _opened(self, path: str) -> Slide:
        if self._path != path or self._slide is None:
            self.close()
            self._slide, self._path = open_slide(path), path
        return self._slide

    def _read(self, slide: Slide, job: Job) -> Answer:
        assert job.grid is not None
        size = job.grid.size
        pixels = np.empty((len(job.tiles), size, size, 3), np.uint8)
        reasons: list[str] = []
        count = 0
        for row, column in job.tiles:
            try:
                pixels[count] = job.grid.read(slide, row, column)
                count += 1
                reasons.append("")
            except UnreadableRegion as error:
                reasons.append(str(error))
            except Exception as error:  # As above.
                reasons.append(f"it cannot be read ({_first_line(error)})")
        sharp, ink = self._measured(pixels[:count])
        items: list[str | tuple[str, float | None, float | None]] = []
        kept: list[int] = []
        at = -1
        for reason, (row, column) in zip(reasons, job.tiles):
            at += not reason
            reason = reason or self._filtered(sharp, ink, at)
            if reason:
                items.append(reason)
                continue
            kept.append(at)
            digest = hashlib.sha256(pixels[at].data).hexdigest() if job.pixels else ""
            items.append((digest, _at(sharp, at), _at(ink, at)))
            if self.order.images and job.pixels:
                self._write(pixels[at], job, row, column)
        if not job.pixels:
            kept = []
        return Answer("", items, pixels[kept] if len(kept) < len(pixels) else pixels)

    def _measured(
        self, pixels: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.float64] | None]:
        from plenish.slides import filters

        settings = self.order.settings
        # Rounded, so that a column does not depend on the order in which a processor sums.
        sharp = filters.sharpness(pixels).round(4) if settings.min_sharpness > 0 and len(pixels) else None
        ink = filters.pen_share(pixels).round(4) if settings.max_pen < 1 and len(pixels) else None
        return sharp, ink

    def _filtered(self, sharp: NDArray[np.float64] | None, ink: NDArray[np.float64] | None, at: int) -> str:
        settings = self.order.settings
        if sharp is not None and sharp[at] < settings.min_sharpness:
            return (
                f"{BLURRED}its sharpness is {sharp[at]:.3f}, below --min-sharpness {settings.min_sharpness:g}"
            )
        if ink is not None and ink[at] > settings.max_pen:
            return f"{PEN}{ink[at]:.0%} of it are ink, above --max-pen {settings.max_pen:g}"
        return ""

    def _write(self, tile: NDArray[np.uint8], job: Job, row: int, column: int) -> None:
        from PIL import Image

        name = tile_name(job.wanted.name, row, column, job.digits)
        file = io.BytesIO()
        picture = Image.fromarray(tile)
        if self.order.images == "jpeg":
            picture.save(file, "JPEG", quality=self.order.quality, subsampling=0)
        else:
            picture.save(file, "PNG", compress_level=1)
        path = Path(self.order.folder, f"{name}.{'jpg' if self.order.images == 'jpeg' else 'png'}")
        with files.reporting_disk(path):
            path.write_bytes(file.getvalue())

    def close(self) -> None:
        """Close the slide."""
        if self._slide is not None:
            self._slide.close()
            self._slide = None


def _why_not(error: Exception, wanted: Wanted) -> str:
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, UnreadableRegion):
        return f"{wanted.path} cannot be read: {error}."
    return f"{wanted.path} cannot be used ({_first_line(error)})."


def _first_line(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def fragment(reason: str, wanted: Wanted) -> str:
    """A sentence about a slide without its path and its full stop, to stand behind its name."""
    return reason.removeprefix(f"{wanted.path} ").removesuffix(".")


def tile_name(slide: str, row: int, column: int, digits: tuple[int, int]) -> str:
    """`<slide>_<row>_<column>`, rows and columns with as many digits as the slide's last has."""
    return f"{slide}_{row:0{digits[0]}d}_{column:0{digits[1]}d}"


def _at(values: NDArray[np.float64] | None, at: int) -> float | None:
    return None if values is None else float(values[at])


def do_all(jobs: Iterable[Job], order: Order, workers: int) -> Iterator[tuple[Job, Answer]]:
    """Do all jobs, in order, with bounded memory; the answers do not depend on `workers`.

    Args:
        jobs: made lazily.
        order: what they have in common.
        workers: processes; 1 works in this one.
    """
    if workers <= 1:
        bench = Bench(order)
        with contextlib.closing(bench):
            for job in jobs:
                yield job, bench.do(job)
        return
    with contextlib.ExitStack() as stack:
        crew = _Crew(order)
        stack.callback(crew.close)
        pool = concurrent.futures.ThreadPoolExecutor(workers, initializer=crew.hire)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)
        stack.enter_context(_telling_of_lost_workers())
        waiting: collections.deque[tuple[Job, concurrent.futures.Future[Answer]]] = collections.deque()
        for job in jobs:
            waiting.append((job, pool.submit(crew.work, job)))
            if len(waiting) > _ahead(job, workers):
                done, future = waiting.popleft()
                yield done, future.result()
                del future
        while waiting:
            done, future = waiting.popleft()
            yield done, future.result()


@contextlib.contextmanager
def _telling_of_lost_workers() -> Iterator[None]:
    try:
        yield
    except concurrent.futures.BrokenExecutor:
        raise WorkerLost("A worker process could not start; try '--workers 1'.") from None


def _ahead(job: Job, workers: int) -> int:
    """Jobs handed out ahead: enough that nobody rests while a shard is written, within 64 MiB of pixels."""
    size = 0 if job.grid is None or not job.pixels else len(job.tiles) * job.grid.size**2 * 3
    return max(workers, min(_AHEAD_BYTES // max(size, 1), 16 * workers))


class _Crew:
    """The worker processes, one for each thread of the pool."""

    def __init__(self, order: Order) -> None:
        self._order = order
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
                [sys.executable, "-m", "plenish.slides.workers"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | one,
            )
            self._all.append(process)
        if process.stdout is None or process.stdin is None or process.stdout.readline() != _READY:
            raise WorkerLost("A worker process could not start; try '--workers 1'.")
        with contextlib.suppress(
            OSError, AttributeError
        ):  # Fewer turns for each answer, where it is allowed.
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        process.stdin.write(json.dumps(dataclasses.asdict(self._order)).encode() + b"\n")
        self._mine.process = process

    def work(self, job: Job) -> Answer:
        """Have a job done; a tile that brings the process down is found by halving, and rejected."""
        process = self._mine.process
        try:
            process.stdin.write(json.dumps(dataclasses.asdict(job)).encode() + b"\n")
            process.stdin.flush()
            return _read_answer(process.stdout)
        except (OSError, WorkerLost):
            process.kill()
            code = process.wait()
            if self._closed:
                raise
            self.hire()
        size = self._order.settings.size
        nothing = np.empty((0, size, size, 3), np.uint8)
        crashed = f"reading it crashed a worker process (exit status {code})"
        if job.grid is None:
            return Answer(f"{job.wanted.path} cannot be used: {crashed}.", [], nothing)
        if len(job.tiles) == 1:
            return Answer("", [crashed], nothing)
        middle = len(job.tiles) // 2
        halves = [
            self.work(dataclasses.replace(job, tiles=job.tiles[part]))
            for part in (slice(middle), slice(middle, None))
        ]
        pixels = np.concatenate([half.pixels for half in halves])
        return Answer(halves[0].error or halves[1].error, halves[0].items + halves[1].items, pixels)

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


def _read_answer(pipe: IO[bytes]) -> Answer:
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise WorkerLost("a worker process ended without an answer")
    head = json.loads(line)
    if "failure" in head:  # As if it had happened in this process.
        raise InputError(head["failure"]) if head["sentence"] else RuntimeError(head["failure"])
    pixels = np.empty(tuple(head["shape"]), np.uint8)
    view = memoryview(pixels.reshape(-1))
    while len(view):
        got = pipe.readinto(view)  # type: ignore[attr-defined]
        if not got:
            raise WorkerLost("a worker process ended in the middle of an answer")
        view = view[got:]
    items = [item if isinstance(item, str) else tuple(item) for item in head["items"]]
    return Answer(head["error"], items, pixels)


def _job(content: Mapping[str, Any]) -> Job:
    grid = None if content["grid"] is None else Grid(**content["grid"])
    tiles = tuple((row, column) for row, column in content["tiles"])
    rest = {"grid": grid, "tiles": tiles, "digits": tuple(content["digits"])}
    return Job(**{**content, "wanted": Wanted(**content["wanted"]), **rest})


def _serve(source: IO[bytes], sink: IO[bytes]) -> None:
    content = json.loads(source.readline())
    bench = Bench(Order(**content | {"settings": TilingSettings.from_dict(content["settings"])}))
    for line in source:
        try:
            answer = bench.do(_job(json.loads(line)))
        except Exception as error:
            sentence = isinstance(error, PlenishError)
            failure = {"failure": str(error) if sentence else _first_line(error), "sentence": sentence}
            sink.write(json.dumps(failure).encode() + b"\n")
            sink.flush()
            continue
        head = {"error": answer.error, "items": answer.items, "shape": answer.pixels.shape}
        sink.write(json.dumps(head).encode() + b"\n")
        sink.write(np.ascontiguousarray(answer.pixels).data)
        sink.flush()


def main() -> None:
    """Serve jobs until the pipe closes; an interrupt is the parent's business."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.buffer.write(_READY)
        sys.stdout.buffer.flush()
        _serve(sys.stdin.buffer, sys.stdout.buffer)
    os._exit(0)  # Nothing is left to clean, and a closed standard output would complain.


if __name__ == "__main__":
    main()
