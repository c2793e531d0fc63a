"""Jobs for worker processes: plan a slide, or read some of its tiles."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.rejections import Kind, Rejection
from plenish.errors import InputError
from plenish.parallel import Executor, Halving
from plenish.slides import filters
from plenish.slides.grid import Grid
from plenish.slides.native import SlideError, UnreadableRegion
from plenish.slides.planning import Plan, plan_slide
from plenish.slides.reader import Slide, open_slide
from plenish.slides.slide_list import SlideEntry
from plenish.slides.tiling_config import ImageFormat, TilingConfig

_AHEAD_BYTES = 64 * 2**20
_JOB_BYTES, _JOB_TILES = 8 * 2**20, 64


@dataclasses.dataclass(frozen=True)
class JobContext:
    """What all jobs of a tiling have in common.

    Attributes:
        config: of the tiling.
        images: format of image files to write besides the pixels, or None.
        folder: where these go.
        quality: of JPEG files, 1 to 100.
    """

    config: TilingConfig
    images: ImageFormat | None = None
    folder: Path = Path()
    quality: int = 90


@dataclasses.dataclass(frozen=True)
class PlanJob:
    """A slide to plan.

    Attributes:
        slide: the slide.
        file: to write the plan to.
        picture: file for a picture if the slide has no tissue.
    """

    slide: SlideEntry
    file: Path
    picture: Path


@dataclasses.dataclass(frozen=True)
class TileJob:
    """Some tiles of a slide to read.

    Attributes:
        slide: the slide.
        grid: of the slide.
        tiles: rows and columns.
        start: place of the first of them among the slide's tiles.
        filter_only: whether only the results of the filters are wanted, not the pixels.
    """

    slide: SlideEntry
    grid: Grid
    tiles: Sequence[tuple[int, int]]
    start: int = 0
    filter_only: bool = False

    def tile_name(self, row: int, column: int) -> str:
        """`<slide>_<row>_<column>`, with as many digits as the slide's last row and column have."""
        high, wide = len(str(self.grid.rows - 1)), len(str(self.grid.columns - 1))
        return f"{self.slide.name}_{row:0{high}d}_{column:0{wide}d}"

    def rejected(self, tile: tuple[int, int], kind: Kind, **detail: Any) -> Rejection:
        """A rejection of one of the tiles."""
        where = {"slide": self.slide.name, "row": tile[0], "column": tile[1]}
        return Rejection(f"{self.slide.source}#{tile[0]}_{tile[1]}", kind, where | detail)


class TileFacts(NamedTuple):
    """What only a tile's pixels tell: hash, and where a filter is on, sharpness and share of ink."""

    sha256: str
    sharpness: float | None
    pen: float | None


@dataclasses.dataclass(frozen=True)
class TileResult:
    """The tiles of a job.

    Attributes:
        tiles: facts or rejection of each tile, in order.
        pixels: M×size×size×3 uint8 of those that are not rejected, in order; none with `filter_only`.
    """

    tiles: list[TileFacts | Rejection]
    pixels: NDArray[np.uint8]


def tile_jobs(slide: SlideEntry, plan: Plan, start: int = 0, filter_only: bool = False) -> Iterator[TileJob]:
    """A slide's tiles as jobs, from the tile at `start`."""
    length = _tiles_a_job(plan.grid.size)
    tiles = list(zip(plan.rows.tolist(), plan.columns.tolist()))
    for first in range(start, len(tiles), length):
        yield TileJob(slide, plan.grid, tiles[first : first + length], first, filter_only)


class TileWorker:
    """Does jobs, and keeps the slide used last open; a context manager."""

    def __init__(self, context: JobContext) -> None:
        """No slide is open yet.

        Args:
            context: what all jobs have in common.
        """
        self.context = context
        self._slide: Slide | None = None

    def __enter__(self) -> TileWorker:
        return self

    def __exit__(self, *_: object) -> None:
        if self._slide is not None:
            self._slide.close()
            self._slide = None

    def _open(self, path: Path) -> Slide:
        if self._slide is None or self._slide.path != path:
            self.__exit__()
            self._slide = open_slide(path)
        return self._slide

    def plan(self, job: PlanJob) -> Rejection | None:
        """Plan a slide into a file; the reason if it cannot be used.

        Raises:
            InputError: the file cannot be written.
        """
        try:
            plan = plan_slide(self._open(job.slide.path), job.slide, self.context.config, job.picture)
        except Exception as error:  # Damaged files make libraries raise errors of any kind.
            return job.slide.rejected("slide", reason=_problem(error))
        with files.reporting_disk(job.file):
            plan.save(job.file)
        return None

    def read(self, job: TileJob) -> TileResult:
        """Read, filter and hash tiles, and write their image files; unreadable ones are rejected.

        Raises:
            InputError: an image file cannot be written.
        """
        pixels = np.empty((len(job.tiles), job.grid.size, job.grid.size, 3), np.uint8)
        try:
            slide = self._open(job.slide.path)
        except Exception as error:  # As above.
            reason = _problem(error)
            return TileResult([job.rejected(tile, "tile", reason=reason) for tile in job.tiles], pixels[:0])
        rejected: dict[tuple[int, int], Rejection] = {}
        count = 0
        for tile in job.tiles:
            try:
                pixels[count] = job.grid.read(slide, *tile)
                count += 1
            except UnreadableRegion as error:
                rejected[tile] = job.rejected(tile, "tile", reason=str(error))
            except Exception as error:  # As above.
                rejected[tile] = job.rejected(
                    tile, "tile", reason=f"it cannot be read ({_first_line(error)})"
                )
        readable = [tile for tile in job.tiles if tile not in rejected]
        facts = dict(zip(readable, self._filtered(job, readable, pixels[:count])))
        kept = [i for i, tile in enumerate(readable) if isinstance(facts[tile], TileFacts)]
        if job.filter_only:
            kept = []
        elif self.context.images:
            for i in kept:
                self._write_image(job.tile_name(*readable[i]), pixels[i])
        return TileResult(
            [rejected[tile] if tile in rejected else facts[tile] for tile in job.tiles],
            pixels[kept] if len(kept) < len(pixels) else pixels,
        )

    def _filtered(
        self, job: TileJob, tiles: Sequence[tuple[int, int]], pixels: NDArray[np.uint8]
    ) -> Iterator[TileFacts | Rejection]:
        options = self.context.config.filters
        # Rounded, so that a column does not depend on the order in which a processor sums.
        sharp = filters.sharpness(pixels).round(4) if options.min_sharpness > 0 and len(pixels) else None
        ink = filters.pen_share(pixels).round(4) if options.max_pen < 1 and len(pixels) else None
        for i, tile in enumerate(tiles):
            sharpness = None if sharp is None else float(sharp[i])
            pen = None if ink is None else float(ink[i])
            if sharpness is not None and sharpness < options.min_sharpness:
                yield job.rejected(tile, "blurred", sharpness=sharpness, limit=options.min_sharpness)
            elif pen is not None and pen > options.max_pen:
                yield job.rejected(tile, "pen", share=pen, limit=options.max_pen)
            else:
                digest = "" if job.filter_only else hashlib.sha256(pixels[i].data).hexdigest()
                yield TileFacts(digest, sharpness, pen)

    def _write_image(self, name: str, tile: NDArray[np.uint8]) -> None:
        from PIL import Image

        file = io.BytesIO()
        if self.context.images == "jpeg":
            Image.fromarray(tile).save(file, "JPEG", quality=self.context.quality, subsampling=0)
        else:
            Image.fromarray(tile).save(file, "PNG", compress_level=1)
        path = self.context.folder / f"{name}.{'jpg' if self.context.images == 'jpeg' else 'png'}"
        with files.reporting_disk(path):
            path.write_bytes(file.getvalue())


def map_plans(
    pool: Executor[TileWorker], jobs: Iterable[PlanJob]
) -> Iterator[tuple[PlanJob, Rejection | None]]:
    """Plan slides on worker processes, in order; see `TileWorker.plan`."""
    return pool.map_ordered(TileWorker.plan, jobs, ahead=pool.workers, reject=_crashed_plan)


def map_tiles(
    pool: Executor[TileWorker], jobs: Iterable[TileJob], size: int
) -> Iterator[tuple[TileJob, TileResult]]:
    """Read tiles on worker processes, in order; see `TileWorker.read`.

    Enough jobs are started ahead that workers stay busy while a shard is written, within 64 MiB of pixels.

    Args:
        pool: the workers.
        jobs: made lazily.
        size: height and width of the tiles, pixels.
    """
    job_bytes = _tiles_a_job(size) * size**2 * 3
    ahead = max(pool.workers, min(_AHEAD_BYTES // job_bytes, 16 * pool.workers))
    return pool.map_ordered(
        TileWorker.read, jobs, ahead=ahead, reject=_crashed_read, halving=Halving(_halves, _joined)
    )


def _tiles_a_job(size: int) -> int:
    return max(1, min(_JOB_TILES, _JOB_BYTES // (size**2 * 3)))


def _crashed_plan(job: PlanJob, exit_status: int) -> Rejection:
    return job.slide.rejected("crash", exit_status=exit_status)


def _crashed_read(job: TileJob, exit_status: int) -> TileResult:
    """The result of a job of one tile, which ends its process."""
    nothing = np.empty((0, job.grid.size, job.grid.size, 3), np.uint8)
    return TileResult([job.rejected(job.tiles[0], "crash", exit_status=exit_status)], nothing)


def _halves(job: TileJob) -> list[TileJob]:
    middle = len(job.tiles) // 2
    parts = (job.tiles[:middle], job.tiles[middle:]) if middle else ()
    return [dataclasses.replace(job, tiles=part) for part in parts]


def _joined(results: Sequence[TileResult]) -> TileResult:
    pixels = np.concatenate([result.pixels for result in results])
    return TileResult([tile for result in results for tile in result.tiles], pixels)


def _problem(error: Exception) -> str:
    """Why a slide cannot be used, without its path and a full stop."""
    if isinstance(error, SlideError):
        return error.problem
    if isinstance(error, InputError):
        return str(error).removesuffix(".")
    if isinstance(error, UnreadableRegion):
        return f"cannot be read: {error}"
    return f"cannot be used ({_first_line(error)})"


def _first_line(error: BaseException) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
