"""Reading slides on several cores: worker processes (`plenish.crew`) that keep their slides open.

A job crosses the pipe as a JSON line, its answer as a JSON line and raw pixels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from plenish import crew, files
from plenish.errors import InputError, PlenishError
from plenish.slides.grid import Grid
from plenish.slides.planning import Wanted, plan_slide
from plenish.slides.reader import Slide, UnreadableRegion, open_slide
from plenish.slides.settings import ImageFormat, TilingSettings

_AHEAD_BYTES = 64 * 2**20
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
    yield from crew.in_order(jobs, _Crew(order), workers, lambda job: _ahead(job, workers))


def _ahead(job: Job, workers: int) -> int:
    """Jobs handed out ahead: enough that nobody rests while a shard is written, within 64 MiB of pixels."""
    size = 0 if job.grid is None or not job.pixels else len(job.tiles) * job.grid.size**2 * 3
    return max(workers, min(_AHEAD_BYTES // max(size, 1), 16 * workers))


class _Crew(crew.Crew[Job, Answer]):
    def __init__(self, order: Order) -> None:
        super().__init__("plenish.slides.workers")
        self._order = order

    def welcome(self, tell: IO[bytes], hear: IO[bytes]) -> None:
        with contextlib.suppress(
            OSError, AttributeError
        ):  # Fewer turns for each answer, where it is allowed.
            fcntl.fcntl(hear, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        tell.write(json.dumps(dataclasses.asdict(self._order)).encode() + b"\n")

    def ask(self, tell: IO[bytes], hear: IO[bytes], job: Job) -> Answer:
        tell.write(json.dumps(dataclasses.asdict(job)).encode() + b"\n")
        tell.flush()
        return _read_answer(hear)

    def without_worker(self, job: Job, code: int) -> Answer:
        """A tile that brings the process down is found by halving, and rejected."""
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


def _read_answer(pipe: IO[bytes]) -> Answer:
    head = json.loads(crew.read_line(pipe))
    if "failure" in head:  # As if it had happened in this process.
        raise InputError(head["failure"]) if head["sentence"] else RuntimeError(head["failure"])
    pixels = crew.read_array(pipe, head["shape"])
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
    """Serve jobs until the pipe closes."""
    crew.serve_until_closed(_serve)


if __name__ == "__main__":
    main()
