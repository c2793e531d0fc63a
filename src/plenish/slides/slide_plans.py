"""The plans of all slides of a tiling, kept in files so that it can be resumed, and the draw from them."""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.rejections import Rejection
from plenish.errors import InputError
from plenish.parallel import Executor
from plenish.progress import progress
from plenish.slides.annotations import refuse_unknown_labels
from plenish.slides.drawing import Pick, draw
from plenish.slides.names import SlideEntry
from plenish.slides.planning import Plan
from plenish.slides.slide_list import SlideList
from plenish.slides.tile_jobs import TileJob, TileWorker, map_plans, map_tiles, tile_jobs
from plenish.slides.tiling_config import DrawOptions, TilingConfig

_NAMED = 5
_TIMES, _DRAWN = "modified.json", "draw.npz"


@dataclasses.dataclass
class PlannedSlide:
    """A slide of a tiling. Its plan is in a file; this is what is kept in memory.

    Attributes:
        entry: the slide.
        file: of its plan; if it cannot be tiled, the reason is beside it, with the suffix .json.
        rejection: why it cannot be tiled, or None.
        plan: its facts and remarks, without tiles; None if it cannot be tiled.
        count: tiles to read.
        counts: tiles of each label, before the draw; the label None is an empty text.
        chosen: tiles of the plan that were drawn; None is all.
    """

    entry: SlideEntry
    file: Path
    rejection: Rejection | None
    plan: Plan | None = None
    count: int = 0
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    chosen: NDArray[np.intp] | None = None

    def tiles(self) -> Plan:
        """The plan with the tiles to read."""
        plan = Plan.load(self.file)
        return plan if self.chosen is None else plan.take(self.chosen)

    @property
    def labels(self) -> tuple[str, ...]:
        """The annotation labels on it."""
        return () if self.plan is None else self.plan.labels


class Tiling:
    """What is to be tiled, and how.

    Attributes:
        out: the Dataset to make.
        listed: the slides.
        config: of the tiling.
        draw: how many tiles are kept.
        labelled: whether the table labels whole slides.
        partial: the Dataset while it is not finished.
        folder: where plans are kept.
        slides: all of them, with their plans once these are made.
    """

    def __init__(
        self, out: Path, listed: SlideList, config: TilingConfig, draw: DrawOptions, labelled: bool
    ) -> None:
        """Nothing is planned yet."""
        self.out, self.listed, self.config, self.draw, self.labelled = out, listed, config, draw, labelled
        self.partial = out.with_name(out.name + ".partial")
        self.folder = self.partial / "plans"
        self.slides = [
            PlannedSlide(entry, self.folder / f"{i:05d}.npz", entry.rejection)
            for i, entry in enumerate(listed.entries)
        ]
        self._annotated = any(entry.annotations for entry in listed.entries)

    def label(self, slide: PlannedSlide, code: int) -> str | None:
        """A tile's label by the position of its annotation; -1 is none."""
        if self.labelled:
            return slide.entry.label
        if not self._annotated:
            return None
        return slide.labels[code] if code >= 0 else self.config.labels.background

    @property
    def usable(self) -> list[PlannedSlide]:
        """The slides that are not rejected."""
        return [slide for slide in self.slides if slide.rejection is None]

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels that have tiles: background first, then by priority, then by name."""
        found = {label for slide in self.slides for label in slide.counts if label}
        first = (self.config.labels.background, *self.config.rules.priority) if self._annotated else ()
        return tuple(name for name in dict.fromkeys((*first, *sorted(found))) if name in found)

    @property
    def annotated_labels(self) -> tuple[str, ...]:
        """All annotation labels, each a column of coverage."""
        return tuple(sorted({label for slide in self.slides for label in slide.labels}))


def refuse_changed(tiling: Tiling) -> None:
    """Refuse to resume with plans of slides that have been modified since.

    Raises:
        InputError: a slide that was planned has been written since.
    """
    file = tiling.folder / _TIMES
    before = files.read_record(file) if file.exists() else {}
    for slide in tiling.slides:
        name, path = slide.entry.name, slide.entry.path
        if slide.file.exists() and name in before and before[name] != _modified(path):
            raise InputError(
                f"{path} has changed since this tiling was started; remove {tiling.partial} to start again."
            )


def _modified(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def plan_slides(tiling: Tiling, pool: Executor[TileWorker], retry: bool) -> None:
    """Plan all slides that are not planned yet.

    Args:
        tiling: what is to be done.
        pool: worker processes.
        retry: whether slides that were rejected are tried again, since they may have been repaired.

    Raises:
        InputError: no slide can be tiled, or an option names a label that no annotation has.
    """
    folder, slides = tiling.folder, tiling.slides
    folder.mkdir(exist_ok=True)
    times = {slide.entry.name: _modified(slide.entry.path) for slide in slides}
    files.write_record(folder / _TIMES, times)
    again = retry and not (folder / _DRAWN).exists()
    for slide in tiling.usable:
        rejected = slide.file.with_suffix(".json")
        if again:
            rejected.unlink(missing_ok=True)
        elif rejected.exists():
            slide.rejection = Rejection(**files.read_record(rejected))
    todo = [slide for slide in tiling.usable if not slide.file.exists()]
    with progress("plan slides", len(slides), "slides", done=len(slides) - len(todo)) as bar:
        jobs = ((slide.entry, slide.file) for slide in todo)
        for slide, (_, rejection) in zip(todo, map_plans(pool, jobs)):
            if rejection is not None:
                slide.rejection = rejection
                files.write_record(slide.file.with_suffix(".json"), dataclasses.asdict(rejection))
            bar.advance(1)
    _refuse_if_all([slide.rejection for slide in slides if slide.rejection is not None], len(slides))
    names: list[str] | None = None
    for slide in tiling.usable:
        plan = Plan.load(slide.file)
        slide.plan, slide.count = plan.take(slice(0)), len(plan)
        for code, count in zip(*np.unique(plan.classes(tiling.config.labels), return_counts=True)):
            slide.counts[tiling.label(slide, code) or ""] += int(count)
        if "annotation_names" in plan.facts:
            names = [*(names or ()), *plan.facts["annotation_names"]]
    if names is not None:
        refuse_unknown_labels(names, tiling.config.rules)


def _refuse_if_all(rejections: Sequence[Rejection], slides: int) -> None:
    """Refuse when no slide can be tiled, with the reasons of the first."""
    if len(rejections) < slides:
        return
    named = "; ".join(f"{one.source}: {one}" for one in rejections[:_NAMED])
    if slides == 1:
        raise InputError(f"{named}.")
    more = f"; and {slides - _NAMED:,} more" if slides > _NAMED else ""
    raise InputError(f"None of the {slides:,} slides could be tiled. {named}{more}.")


def draw_tiles(tiling: Tiling, pool: Executor[TileWorker]) -> None:
    """Choose the tiles to read; a draw made before an interruption is kept.

    Args:
        tiling: what is to be done.
        pool: asked which tiles pass the filters, where there are some.
    """
    usable, config = tiling.usable, tiling.config
    file = tiling.folder / _DRAWN
    if not file.exists():
        codes = {label: code for code, label in enumerate(tiling.classes)}
        of_tiles = []
        for slide in usable:
            table = [codes.get(tiling.label(slide, code) or "", 0) for code in range(-1, len(slide.labels))]
            of_tiles.append(np.array(table, np.int32)[slide.tiles().classes(config.labels) + 1])
        names = [slide.entry.name for slide in usable]
        passing = None
        if config.filters.min_sharpness > 0 or config.filters.max_pen < 1:
            passing = functools.partial(_passing, usable, pool, config.grid.size)
        arrays: dict[str, Any] = dict(zip(names, draw(of_tiles, names, tiling.draw, passing)))
        with files.atomic_file(file) as whole:
            np.savez(whole, **arrays)
    with np.load(file, allow_pickle=False) as found:
        for slide in usable:
            slide.chosen = found[slide.entry.name]
            slide.count = len(slide.chosen)


def _passing(
    slides: Sequence[PlannedSlide], pool: Executor[TileWorker], size: int, picks: Sequence[Pick]
) -> list[bool]:
    """Which tiles pass the filters."""
    read = sorted(picks)
    jobs: list[TileJob] = []
    for number, some in itertools.groupby(read, key=lambda pick: pick[0]):
        plan = slides[number].tiles().take(np.array([place for _, place in some]))
        jobs += tile_jobs(slides[number].entry, plan, filter_only=True)
    tiles = [tile for _, result in map_tiles(pool, jobs, size) for tile in result.tiles]
    passed = {pick: not isinstance(tile, Rejection) for pick, tile in zip(read, tiles, strict=True)}
    return [passed[pick] for pick in picks]
