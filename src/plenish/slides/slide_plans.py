"""The plans of all slides of a tiling, kept in files so that it can be resumed, and the draw from them."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.rejections import Rejection, describe
from plenish.errors import InputError
from plenish.parallel import Executor
from plenish.progress import progress
from plenish.slides.annotations import refuse_unknown_labels
from plenish.slides.drawing import Pick, draw
from plenish.slides.planning import Plan
from plenish.slides.slide_list import SlideEntry, SlideList
from plenish.slides.tile_jobs import PlanJob, TileJob, TileWorker, map_plans, map_tiles, tile_jobs
from plenish.slides.tiling_config import DrawOptions, TilingConfig

_NAMED = 5
_TIMES, _DRAWN = "modified.json", "draw.npz"


@dataclasses.dataclass
class PlannedSlide:
    """A slide of a tiling. Its plan is in a file; this is what is kept in memory.

    Attributes:
        entry: the slide.
        file: of its plan.
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
    def items(self) -> int:
        """What the DatasetWriter counts of this slide: its tiles, or its rejection."""
        return 1 if self.rejection else self.count

    @property
    def labels(self) -> tuple[str, ...]:
        """The annotation labels on it."""
        return () if self.plan is None else self.plan.labels


@dataclasses.dataclass(frozen=True)
class Tiling:
    """What is to be tiled, and how.

    Attributes:
        out: the Dataset to make.
        listed: the slides.
        config: of the tiling.
        draw: how many tiles are kept.
        labelled: whether the table labels whole slides.
    """

    out: Path
    listed: SlideList
    config: TilingConfig
    draw: DrawOptions
    labelled: bool

    @property
    def partial(self) -> Path:
        """The Dataset while it is not finished."""
        return self.out.with_name(self.out.name + ".partial")

    @property
    def folder(self) -> Path:
        """Where plans are kept."""
        return self.partial / "plans"

    def label(self, slide: PlannedSlide, code: int) -> str | None:
        """A tile's label by the position of its annotation; -1 is none."""
        if self.labelled:
            return slide.entry.label
        if not self.annotated:
            return None
        return slide.labels[code] if code >= 0 else self.config.labels.background

    @property
    def annotated(self) -> bool:
        """Whether any slide has annotations."""
        return any(entry.annotations for entry in self.listed.entries)

    def classes(self, slides: Sequence[PlannedSlide]) -> tuple[str, ...]:
        """The labels that have tiles: background first, then by priority, then by name."""
        found = {label for slide in slides for label in slide.counts if label}
        first = (self.config.labels.background, *self.config.rules.priority) if self.annotated else ()
        return tuple(name for name in dict.fromkeys((*first, *sorted(found))) if name in found)


def annotated_labels(slides: Sequence[PlannedSlide]) -> tuple[str, ...]:
    """All annotation labels, each a column of coverage."""
    return tuple(sorted({label for slide in slides for label in slide.labels}))


def refuse_changed(tiling: Tiling) -> None:
    """Refuse to resume with plans of slides that have been modified since.

    Raises:
        InputError: a slide that was planned has been written since.
    """
    file = tiling.folder / _TIMES
    before = files.read_json(file) if file.exists() else {}
    for i, entry in enumerate(tiling.listed.entries):
        planned = (tiling.folder / f"{i:05d}.npz").exists() and entry.name in before
        if planned and before[entry.name] != _modified(entry.path):
            raise InputError(
                f"{entry.path} has changed since this tiling was started; remove {tiling.partial} to start "
                "again."
            )


def _modified(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.exists() else None


def plan_slides(tiling: Tiling, pool: Executor[TileWorker], retry: bool) -> list[PlannedSlide]:
    """Plan all slides that are not planned yet.

    Args:
        tiling: what is to be done.
        pool: worker processes.
        retry: whether slides that were rejected are tried again, since they may have been repaired.

    Raises:
        InputError: no slide can be tiled, or an option names a label that no annotation has.
    """
    folder, entries = tiling.folder, tiling.listed.entries
    folder.mkdir(exist_ok=True)
    files.write_json(folder / _TIMES, {entry.name: _modified(entry.path) for entry in entries})
    slides = [PlannedSlide(one, folder / f"{i:05d}.npz", one.rejection) for i, one in enumerate(entries)]
    jobs = []
    for slide in slides:
        rejected = slide.file.with_suffix(".json")
        if retry and not (folder / _DRAWN).exists():
            rejected.unlink(missing_ok=True)
        if slide.rejection is None and not slide.file.exists() and not rejected.exists():
            picture = tiling.out.with_name(f"{tiling.out.name}.no-tissue.{slide.entry.name}.png")
            jobs.append(PlanJob(slide.entry, slide.file, picture))
    with progress("plan slides", len(slides), "slides", done=len(slides) - len(jobs)) as bar:
        for job, rejection in map_plans(pool, jobs):
            if rejection is not None:
                files.write_json(job.file.with_suffix(".json"), dataclasses.asdict(rejection))
            bar.advance(1)
    for slide in slides:
        rejected = slide.file.with_suffix(".json")
        if slide.rejection is None and rejected.exists():
            slide.rejection = Rejection(**files.read_json(rejected))
        elif slide.rejection is None:
            plan = Plan.load(slide.file)
            slide.plan, slide.count = plan.take(np.empty(0, np.intp)), len(plan)
            for code, count in zip(*np.unique(plan.classes(tiling.config.labels), return_counts=True)):
                slide.counts[tiling.label(slide, code) or ""] += int(count)
    _refuse_if_none(slides)
    names = [one.plan.facts.get("annotation_names") for one in slides if one.plan is not None]
    read = [found for found in names if found is not None]
    if read:
        refuse_unknown_labels(itertools.chain(*read), tiling.config.rules)
    return slides


def _refuse_if_none(slides: Sequence[PlannedSlide]) -> None:
    """Refuse when no slide can be tiled, with the reasons of the first."""
    rejections = [slide.rejection for slide in slides if slide.rejection is not None]
    if len(rejections) < len(slides):
        return
    named = "; ".join(f"{one.source}: {describe(one)}" for one in rejections[:_NAMED])
    if len(slides) == 1:
        raise InputError(f"{named}.")
    more = f"; and {len(slides) - _NAMED:,} more" if len(slides) > _NAMED else ""
    raise InputError(f"None of the {len(slides):,} slides could be tiled. {named}{more}.")


def draw_tiles(
    tiling: Tiling, slides: Sequence[PlannedSlide], classes: Sequence[str], pool: Executor[TileWorker]
) -> None:
    """Choose the tiles to read; a draw made before an interruption is kept.

    Args:
        tiling: what is to be done.
        slides: all slides.
        classes: the labels that have tiles.
        pool: asked which tiles pass the filters, where there are some.
    """
    usable = [slide for slide in slides if slide.rejection is None]
    file = tiling.folder / _DRAWN
    if not file.exists():
        codes = {label: code for code, label in enumerate(classes)}
        of_tiles = []
        for slide in usable:
            table = [codes.get(tiling.label(slide, code) or "", 0) for code in range(-1, len(slide.labels))]
            of_tiles.append(np.array(table, np.int32)[slide.tiles().classes(tiling.config.labels) + 1])
        size = tiling.config.grid.size
        passing = (
            (lambda picks: _passing(usable, picks, pool, size)) if tiling.config.filters.active else None
        )
        chosen = draw(of_tiles, [slide.entry.name for slide in usable], tiling.draw, passing)
        aside = file.with_name("draw.partial.npz")
        arrays: dict[str, Any] = {slide.entry.name: some for slide, some in zip(usable, chosen)}
        np.savez(aside, **arrays)
        aside.replace(file)
    with np.load(file, allow_pickle=False) as found:
        for slide in usable:
            slide.chosen = found[slide.entry.name]
            slide.count = len(slide.chosen)


def _passing(
    slides: Sequence[PlannedSlide], picks: Sequence[Pick], pool: Executor[TileWorker], size: int
) -> list[bool]:
    """Which tiles pass the filters."""
    by_slide: dict[int, list[int]] = {}
    for number, place in picks:
        by_slide.setdefault(number, []).append(place)
    jobs: list[TileJob] = []
    read: list[Pick] = []
    for number in sorted(by_slide):
        places = np.sort(np.array(by_slide[number]))
        jobs += tile_jobs(slides[number].entry, slides[number].tiles().take(places), filter_only=True)
        read += [(number, int(place)) for place in places]
    tiles = [tile for _, result in map_tiles(pool, jobs, size) for tile in result.tiles]
    passed = {pick: not isinstance(tile, Rejection) for pick, tile in zip(read, tiles, strict=True)}
    return [passed[pick] for pick in picks]
