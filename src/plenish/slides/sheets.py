"""What each slide will give: all plans, the classes they have, and the draw from them."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish import settings as common
from plenish.crew import available_cores
from plenish.errors import InputError
from plenish.progress import progress
from plenish.slides.drawing import Draw, Pick, draw
from plenish.slides.listing import SlideList
from plenish.slides.planning import Plan, Wanted
from plenish.slides.workers import Job, Order, do_all, fragment

_CHUNK_BYTES = 8 * 2**20
_CHUNK = 64
_NAMED = 5
_STAMPS, _DRAWN = "stamps.json", "draw.npz"


@dataclasses.dataclass(frozen=True)
class Work:
    """All that is to be done.

    Attributes:
        root: the folder that was given, or that of the file.
        listed: the slides, and what is known of them.
        wanted: the same slides, as workers are told of them.
        refused: slides that will not be tiled, with the reason.
        order: what all jobs have in common.
        drawing: how many tiles are kept.
        labelled: whether the table labels whole slides.
        crew: processes that read.
    """

    root: Path
    listed: SlideList
    wanted: Sequence[Wanted]
    refused: Mapping[str, str]
    order: Order
    drawing: Draw
    labelled: bool
    crew: int


@dataclasses.dataclass
class Sheet:
    """A slide in work: its plan lies in a file, and of it only this is kept.

    Attributes:
        index: among all slides.
        file: of its plan.
        about: facts for the summary.
        reason: why it cannot be tiled; empty when it can.
        labels: annotated on it.
        count: tiles that will be read.
        counts: tiles of each label, before a draw.
        chosen: tiles of the plan that were drawn; None is all.
    """

    index: int
    file: Path
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    reason: str = ""
    labels: tuple[str, ...] = ()
    count: int = 0
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    chosen: NDArray[np.intp] | None = None

    def plan(self) -> Plan:
        """The tiles that will be read."""
        whole = Plan.load(self.file)
        return whole if self.chosen is None else whole.take(self.chosen)


def crew(workers: int | None) -> int:
    """How many processes read, by default one a core."""
    if workers is not None:
        return workers
    return max(1, min(available_cores(), common.current().threads or available_cores()))


def refuse_changed(work: Work, folder: Path) -> None:
    """Stop before plans of slides that are others by now are gone on with.

    Args:
        work: what is to be done.
        folder: where an earlier try has left its plans, if there was one.

    Raises:
        InputError: a slide that was planned has been written since.
    """
    stamps = folder / _STAMPS
    before = files.read_json(stamps) if stamps.exists() else {}
    for i, wanted in enumerate(work.wanted):
        planned = (folder / f"{i:05d}.npz").exists() and wanted.name in before
        if planned and before[wanted.name] != _stamp(wanted):
            raise InputError(
                f"{wanted.path} has changed since this tiling was begun; remove {folder.parent} to begin "
                "anew."
            )


def _stamp(wanted: Wanted) -> int | None:
    """When a slide was written, ns; None where it is not there."""
    path = Path(wanted.path)
    return path.stat().st_mtime_ns if path.exists() else None


def plan_all(work: Work, folder: Path, done: int = 0) -> list[Sheet]:
    """Plan all slides that an earlier try has not.

    Args:
        work: what is to be done.
        folder: where plans lie, of the unfinished Dataset.
        done: tiles and refused slides that the Dataset has already; while it has none, slides that were
            refused are tried again, since they may have been mended.
    """
    files.write_json(folder / _STAMPS, {wanted.name: _stamp(wanted) for wanted in work.wanted})
    sheets = [Sheet(i, folder / f"{i:05d}.npz") for i in range(len(work.wanted))]
    for sheet, wanted in zip(sheets, work.wanted):
        sheet.reason = work.refused.get(wanted.name, "")
        if not done and not (folder / _DRAWN).exists():
            _refusal(sheet).unlink(missing_ok=True)
    todo = [s for s in sheets if not s.reason and not s.file.exists() and not _refusal(s).exists()]
    with progress("look at slides", len(sheets), "slides", done=len(sheets) - len(todo)) as bar:
        jobs = (Job(work.wanted[sheet.index], plan=str(sheet.file)) for sheet in todo)
        for sheet, (_, answer) in zip(todo, do_all(jobs, work.order, min(work.crew, len(todo)))):
            if answer.error:
                files.write_json(_refusal(sheet), {"error": answer.error})
            bar.advance(1)
    for sheet in sheets:
        if sheet.reason:
            continue
        if _refusal(sheet).exists():
            sheet.reason = files.read_json(_refusal(sheet))["error"]
            continue
        plan = Plan.load(sheet.file)
        sheet.count, sheet.labels, sheet.about = len(plan), plan.labels, dict(plan.about)
        sheet.about |= {"candidates": len(plan), "level": plan.grid.level, "mpp": plan.grid.mpp}
        sheet.about |= {"tile_side_px": plan.grid.side, **_areas(sheet.about)}
        sheet.counts = _counts(work, sheet, plan)
    return sheets


def _refusal(sheet: Sheet) -> Path:
    return sheet.file.with_suffix(".json")


def _areas(about: Mapping[str, Any]) -> dict[str, Any]:
    """Annotated areas in mm², where the scale is known."""
    mpp = about.get("slide_mpp")
    areas = about.get("annotated_px2")
    if mpp is None or not areas:
        return {}
    return {"annotated_mm2": {label: round(area * mpp**2 / 1e6, 6) for label, area in areas.items()}}


def refuse_if_none(work: Work, sheets: Sequence[Sheet]) -> None:
    """Stop when no slide can be tiled.

    Raises:
        InputError: with the reasons of the first slides.
    """
    if any(not sheet.reason for sheet in sheets):
        return
    if len(sheets) == 1:
        reason = sheets[0].reason
        path = work.wanted[0].path
        raise InputError(reason if path in reason or reason[:1].isupper() else f"{path}: {reason}.")
    named = "; ".join(
        f"{wanted.name}: {fragment(sheet.reason, wanted)}"
        for wanted, sheet in zip(work.wanted, sheets[:_NAMED])
    )
    more = f"; and {len(sheets) - _NAMED:,} more" if len(sheets) > _NAMED else ""
    raise InputError(f"None of the {len(sheets):,} slides could be tiled. {named}{more}.")


def label_of(work: Work, sheet: Sheet, code: int) -> str | None:
    """A tile's label by the position of its annotation; -1 is none."""
    if work.labelled:
        return work.listed.entries[sheet.index].label
    if not _annotated(work):
        return None
    return sheet.labels[code] if code >= 0 else work.order.settings.background


def _annotated(work: Work) -> bool:
    return any(wanted.annotations for wanted in work.wanted)


def _counts(work: Work, sheet: Sheet, plan: Plan) -> collections.Counter[str]:
    """Tiles of each label."""
    codes, numbers = np.unique(plan.classes(work.order.settings), return_counts=True)
    counts: collections.Counter[str] = collections.Counter()
    for code, number in zip(codes, numbers):
        counts[label_of(work, sheet, code) or ""] += int(number)
    return counts


def labels_of(work: Work, sheets: Sequence[Sheet]) -> tuple[str, ...]:
    """The classes that have tiles: background first, then by priority, then by name."""
    there = {label for sheet in sheets for label in sheet.counts if label}
    first = (work.order.settings.background, *work.order.settings.priority) if _annotated(work) else ()
    return tuple(name for name in dict.fromkeys((*first, *sorted(there))) if name in there)


def covered(sheets: Sequence[Sheet]) -> tuple[str, ...]:
    """All annotated labels, each a column of coverage."""
    return tuple(sorted({label for sheet in sheets for label in sheet.labels}))


def types_of(work: Work, sheets: Sequence[Sheet]) -> dict[str, Any]:
    """The types of a tile's columns, so that an empty one has the same on every slide."""
    import pyarrow as pa

    numbers = ("x", "y", "side", "mpp", "tissue", *(f"coverage_{label}" for label in covered(sheets)))
    types = dict.fromkeys(numbers, pa.float64()) | dict.fromkeys(("row", "col", "level"), pa.int64())
    types |= dict.fromkeys(("sharpness", "pen"), pa.float64())
    types |= dict.fromkeys(("slide", "case", "sample"), pa.string())
    kinds = {"integer": pa.int64(), "number": pa.float64(), "text": pa.string()}
    return types | {column: kinds[kind] for column, kind in work.listed.columns.items()}


def draw_all(work: Work, sheets: Sequence[Sheet], folder: Path, labels: Sequence[str]) -> None:
    """Choose the tiles; what an earlier try has chosen stays chosen."""
    usable = [sheet for sheet in sheets if not sheet.reason]
    kept = folder / _DRAWN
    if not kept.exists():
        codes = {label: code for code, label in enumerate(labels)}
        classes = []
        for sheet in usable:
            plan = Plan.load(sheet.file)
            table = [codes.get(label_of(work, sheet, code) or "", 0) for code in range(-1, len(plan.labels))]
            classes.append(np.array(table, np.int32)[plan.classes(work.order.settings) + 1])
        how = work.order.settings
        filtered = how.min_sharpness > 0 or how.max_pen < 1
        names = [work.wanted[sheet.index].name for sheet in usable]
        passing = (lambda picks: _passing(work, usable, picks)) if filtered else None
        chosen = draw(classes, names, work.drawing, passing)
        aside = folder / "draw.partial.npz"
        np.savez(aside, **{str(sheet.index): some for sheet, some in zip(usable, chosen)})  # type: ignore[arg-type]
        aside.replace(kept)
    with np.load(kept, allow_pickle=False) as found:
        for sheet in usable:
            sheet.chosen = found[str(sheet.index)]
            sheet.count = len(sheet.chosen)


def _passing(work: Work, sheets: Sequence[Sheet], picks: list[Pick]) -> list[bool]:
    """Which tiles the filters let pass, read only to be judged."""
    by_slide: dict[int, list[int]] = {}
    for which, place in picks:
        by_slide.setdefault(which, []).append(place)
    jobs: list[Job] = []
    asked: list[Pick] = []
    for which in sorted(by_slide):
        places = np.sort(np.array(by_slide[which]))
        plan = Plan.load(sheets[which].file).take(places)
        jobs += jobs_of(work.wanted[sheets[which].index], plan, 0, pixels=False)
        asked += [(which, int(place)) for place in places]
    items = [item for _, answer in do_all(jobs, work.order, work.crew) for item in answer.items]
    verdicts = {pick: not isinstance(item, str) for pick, item in zip(asked, items, strict=True)}
    return [verdicts[pick] for pick in picks]


def jobs_of(wanted: Wanted, plan: Plan, start: int, pixels: bool = True) -> list[Job]:
    """A slide's tiles in pieces, from the one at `start`."""
    length = max(1, min(_CHUNK, _CHUNK_BYTES // (plan.grid.size**2 * 3)))
    tiles = list(zip(plan.rows.tolist(), plan.columns.tolist()))
    digits = len(str(plan.grid.rows - 1)), len(str(plan.grid.columns - 1))
    return [
        Job(wanted, grid=plan.grid, tiles=tuple(tiles[at : at + length]), digits=digits, pixels=pixels)
        for at in range(start, len(tiles), length)
    ]


__all__ = [
    "Sheet", "Work", "covered", "crew", "draw_all", "jobs_of", "label_of", "labels_of",
    "plan_all", "refuse_changed", "refuse_if_none", "types_of",
]  # fmt: skip
