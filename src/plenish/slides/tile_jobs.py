"""Jobs for worker processes: plan a slide, or read some of its tiles."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from plenish import files
from plenish.datasets.rejections import Rejection
from plenish.errors import InputError, first_line
from plenish.parallel import Executor, Halving
from plenish.slides import filters
from plenish.slides.names import SlideEntry
from plenish.slides.native import SlideError, UnreadableRegion
from plenish.slides.planning import Plan, plan_slide
from plenish.slides.reader import Slide, open_slide
from plenish.slides.tiling_config import OutputOptions, TilingConfig

_AHEAD_BYTES = 64 * 2**20
_JOB_BYTES, _JOB_TILES = 8 * 2**20, 64
_NO_IMAGES = OutputOptions()


@dataclasses.dataclass(frozen=True)
class TileJob:
    """Some tiles of a slide to read.

    Attributes:
        slide: the slide.
        plan: its plan, of these tiles alone.
        filter_only: whether only the results of the filters are wanted, not the pixels.
    """

    slide: SlideEntry
    plan: Plan
    filter_only: bool = False

    def tile_name(self, row: int, column: int) -> str:
        """`<slide>_<row>_<column>`, with as many digits as the slide's last row and column have."""
        grid = self.plan.grid
        high, wide = len(str(grid.rows - 1)), len(str(grid.columns - 1))
        return f"{self.slide.name}_{row:0{high}d}_{column:0{wide}d}"

    def rejected(self, tile: tuple[int, int], code: str, **values: Any) -> Rejection:
        """A rejection of one of the tiles."""
        where = {"slide": self.slide.name, "row": tile[0], "column": tile[1]}
        return Rejection(code, where | values, f"{self.slide.source}#{tile[0]}_{tile[1]}")


@dataclasses.dataclass(frozen=True)
class TileResult:
    """The tiles of a job.

    Attributes:
        tiles: of each tile, in order, its rejection, or the columns that only its pixels tell: sha256, and
            where a filter is on, sharpness and share of ink.
        pixels: M×size×size×3 uint8 of those that are not rejected, in order; none with `filter_only`.
    """

    tiles: list[dict[str, Any] | Rejection]
    pixels: NDArray[np.uint8]


def tile_jobs(slide: SlideEntry, plan: Plan, start: int = 0, filter_only: bool = False) -> Iterator[TileJob]:
    """A slide's tiles as jobs, from the tile at `start`."""
    plan = dataclasses.replace(plan, facts={}, remarks=())  # Not needed to read tiles.
    length = _tiles_a_job(plan.grid.size)
    for first in range(start, len(plan), length):
        yield TileJob(slide, plan.take(slice(first, first + length)), filter_only)


class TileWorker(contextlib.AbstractContextManager["TileWorker"]):
    """Does jobs, and keeps the slide used last open; a context manager."""

    def __init__(self, config: TilingConfig, out: Path = Path(), output: OutputOptions = _NO_IMAGES) -> None:
        """No slide is open yet.

        Args:
            config: of the tiling.
            out: the Dataset to make.
            output: which image files to write besides the pixels.
        """
        self.config, self.out, self.output = config, out, output
        self._slide: Slide | None = None

    def __exit__(self, *_: object) -> None:
        if self._slide is not None:
            self._slide.close()
            self._slide = None

    def _open(self, path: Path) -> Slide:
        if self._slide is None or self._slide.path != path:
            self.__exit__()
            self._slide = open_slide(path)
        return self._slide

    def plan(self, job: tuple[SlideEntry, Path]) -> Rejection | None:
        """Plan a slide into a file, because plans can be large; the reason if it cannot be used.

        Raises:
            InputError: the file cannot be written.
        """
        slide, file = job
        picture = self.out.with_name(f"{self.out.name}.no-tissue.{slide.name}.png")
        try:
            plan = plan_slide(self._open(slide.path), slide, self.config, picture)
        except Exception as error:  # Damaged files make libraries raise errors of any kind.
            return slide.rejected("slide", reason=_problem(error))
        plan.save(file)
        return None

    def read(self, job: TileJob) -> TileResult:
        """Read, filter and hash tiles, and write their image files; unreadable ones are rejected.

        Raises:
            InputError: an image file cannot be written.
        """
        grid, kept = job.plan.grid, 0
        pixels = np.empty((len(job.plan), grid.size, grid.size, 3), np.uint8)
        tiles: list[dict[str, Any] | Rejection] = []
        for tile in job.plan.tiles:
            try:
                pixels[kept] = grid.read(self._open(job.slide.path), *tile)
            except Exception as error:  # As above.
                tiles.append(job.rejected(tile, "tile", reason=_problem(error)))
                continue
            found = self._filtered(job, tile, pixels[kept : kept + 1])
            tiles.append(found)
            if not (job.filter_only or isinstance(found, Rejection)):
                found["sha256"] = hashlib.sha256(pixels[kept].data).hexdigest()
                self._write_image(job.tile_name(*tile), pixels[kept])
                kept += 1
        return TileResult(tiles, pixels[:kept])

    def _filtered(
        self, job: TileJob, tile: tuple[int, int], pixels: NDArray[np.uint8]
    ) -> dict[str, Any] | Rejection:
        """What the filters that are on measure of a tile (1×H×W×3), or its rejection."""
        options, measured = self.config.filters, dict[str, Any]()
        # Rounded, so that a column does not depend on the order in which a processor sums.
        if options.min_sharpness > 0:
            measured["sharpness"] = value = filters.sharpness(pixels).round(4).item()
            if value < options.min_sharpness:
                return job.rejected(tile, "blurred", sharpness=value, limit=options.min_sharpness)
        if options.max_pen < 1:
            measured["pen"] = value = filters.pen_share(pixels).round(4).item()
            if value > options.max_pen:
                return job.rejected(tile, "pen", share=value, limit=options.max_pen)
        return measured

    def _write_image(self, name: str, tile: NDArray[np.uint8]) -> None:
        if self.output.images is None:
            return
        folder = self.out.with_name(f"{self.out.name}.partial") / "images"
        path = folder / f"{name}.{'jpg' if self.output.images == 'jpeg' else 'png'}"
        with files.reporting_disk(path):  # Each format ignores the other's options.
            Image.fromarray(tile).save(path, quality=self.output.quality, subsampling=0, compress_level=1)


def map_plans(
    pool: Executor[TileWorker], jobs: Iterable[tuple[SlideEntry, Path]]
) -> Iterator[tuple[tuple[SlideEntry, Path], Rejection | None]]:
    """Plan slides on worker processes, in order; see `TileWorker.plan`."""
    return pool.map_ordered(
        TileWorker.plan, jobs, ahead=pool.workers,
        reject=lambda job, exit_status: job[0].rejected("crash", exit_status=exit_status),
    )  # fmt: skip


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


def _crashed_read(job: TileJob, exit_status: int) -> TileResult:
    """The result of a job of one tile, which ends its process."""
    size, [tile] = job.plan.grid.size, job.plan.tiles
    nothing = np.empty((0, size, size, 3), np.uint8)
    return TileResult([job.rejected(tile, "crash", exit_status=exit_status)], nothing)


def _halves(job: TileJob) -> list[TileJob]:
    middle = len(job.plan) // 2
    parts = (slice(middle), slice(middle, None)) if middle else ()
    return [dataclasses.replace(job, plan=job.plan.take(part)) for part in parts]


def _joined(results: Sequence[TileResult]) -> TileResult:
    pixels = np.concatenate([result.pixels for result in results])
    return TileResult([tile for result in results for tile in result.tiles], pixels)


def _problem(error: Exception) -> str:
    """Why a slide or a tile cannot be used, without the slide's path and a full stop."""
    if isinstance(error, SlideError):
        return error.problem
    if isinstance(error, (InputError, UnreadableRegion)):
        return str(error).removesuffix(".")
    return f"it cannot be read ({type(error).__name__}: {first_line(error)})"
