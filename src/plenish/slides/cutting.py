"""The work of a tiling: plan every slide, draw, then read tile after tile into the Dataset."""

from __future__ import annotations

import collections
import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish import settings as common
from plenish.datasets.schema import LabelSchema
from plenish.datasets.workers import available_cores
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.progress import progress
from plenish.slides.drawing import Draw, Pick, draw
from plenish.slides.ledger import Ledger, write_summary
from plenish.slides.listing import SlideList
from plenish.slides.planning import Plan, Wanted
from plenish.slides.workers import Answer, Job, Order, do_all, tile_name
from plenish.wording import agree, plural

_CHUNK_BYTES = 8 * 2**20
_CHUNK = 64
_NAMED = 5


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
class _Sheet:
    """A slide in work: its plan lies in a file, and of it only this is kept."""

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


def cut(work: Work, writer: DatasetWriter, out: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Fill a Dataset with the tiles of all slides.

    Args:
        work: what is to be done.
        writer: entered; gets labels, types, rows, rejects and summary.csv.
        out: the Dataset's final place, for messages.

    Returns:
        A row a slide for the summary, and what the user should know.

    Raises:
        InputError: no slide can be used.
    """
    folder = writer.partial / "plans"
    folder.mkdir(exist_ok=True)
    sheets = _plan(work, folder)
    _refuse_if_none(work, sheets)
    labels = _labels(work, sheets)
    writer.labels = LabelSchema("categorical", labels) if labels else LabelSchema()
    writer.types = _types(work, sheets)
    if not work.drawing.everything:
        _draw(work, sheets, folder, labels)
    if work.order.images:
        Path(work.order.folder).mkdir(exist_ok=True)
    ledger = Ledger()
    sources = _sources(work)
    ledger.take_up(writer.partial, {source: name for name, source in sources.items()})
    _read(work, sheets, writer, ledger, sources)
    rows = ledger.rows([(wanted.name, sheet.about) for wanted, sheet in zip(work.wanted, sheets)], labels)
    write_summary(writer.partial / "summary.csv", rows)
    writer.extra |= _facts(work, rows, ledger)
    shutil.rmtree(folder)
    return rows, _remarks(work, sheets, ledger, labels, rows, out)


def _plan(work: Work, folder: Path) -> list[_Sheet]:
    """Plan all slides that an earlier try has not."""
    sheets = [_Sheet(i, folder / f"{i:05d}.npz") for i in range(len(work.wanted))]
    for sheet, wanted in zip(sheets, work.wanted):
        sheet.reason = work.refused.get(wanted.name, "")
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


def _refusal(sheet: _Sheet) -> Path:
    return sheet.file.with_suffix(".json")


def _areas(about: Mapping[str, Any]) -> dict[str, Any]:
    """Annotated areas in mm², where the scale is known."""
    mpp = about.get("slide_mpp")
    areas = about.get("annotated_px2")
    if mpp is None or not areas:
        return {}
    return {"annotated_mm2": {label: round(area * mpp**2 / 1e6, 6) for label, area in areas.items()}}


def _refuse_if_none(work: Work, sheets: Sequence[_Sheet]) -> None:
    if any(not sheet.reason for sheet in sheets):
        return
    if len(sheets) == 1:
        reason = sheets[0].reason
        path = work.wanted[0].path
        raise InputError(reason if path in reason or reason[:1].isupper() else f"{path}: {reason}.")
    named = "; ".join(
        f"{wanted.name}: {_fragment(sheet.reason, wanted)}"
        for wanted, sheet in zip(work.wanted, sheets[:_NAMED])
    )
    more = f"; and {len(sheets) - _NAMED:,} more" if len(sheets) > _NAMED else ""
    raise InputError(f"None of the {len(sheets):,} slides could be tiled. {named}{more}.")


def _fragment(reason: str, wanted: Wanted) -> str:
    """A sentence about a slide without its path and its full stop, to stand behind its name."""
    return reason.removeprefix(f"{wanted.path} ").removesuffix(".")


def _label(work: Work, sheet: _Sheet, code: int) -> str | None:
    """A tile's label by the position of its annotation; -1 is none."""
    if work.labelled:
        return work.listed.entries[sheet.index].label
    if not _annotated(work):
        return None
    return sheet.labels[code] if code >= 0 else work.order.settings.background


def _annotated(work: Work) -> bool:
    return any(wanted.annotations for wanted in work.wanted)


def _counts(work: Work, sheet: _Sheet, plan: Plan) -> collections.Counter[str]:
    """Tiles of each label."""
    codes, numbers = np.unique(plan.classes(work.order.settings), return_counts=True)
    counts: collections.Counter[str] = collections.Counter()
    for code, number in zip(codes, numbers):
        counts[_label(work, sheet, code) or ""] += int(number)
    return counts


def _labels(work: Work, sheets: Sequence[_Sheet]) -> tuple[str, ...]:
    """The classes that have tiles: background first, then by priority, then by name."""
    there = {label for sheet in sheets for label in sheet.counts if label}
    first = (work.order.settings.background, *work.order.settings.priority) if _annotated(work) else ()
    return tuple(name for name in dict.fromkeys((*first, *sorted(there))) if name in there)


def _covered(sheets: Sequence[_Sheet]) -> tuple[str, ...]:
    """All annotated labels, each a column of coverage."""
    return tuple(sorted({label for sheet in sheets for label in sheet.labels}))


def _types(work: Work, sheets: Sequence[_Sheet]) -> dict[str, Any]:
    import pyarrow as pa

    numbers = ("x", "y", "side", "mpp", "tissue", *(f"coverage_{label}" for label in _covered(sheets)))
    types = dict.fromkeys(numbers, pa.float64()) | dict.fromkeys(("row", "col", "level"), pa.int64())
    types |= dict.fromkeys(("sharpness", "pen"), pa.float64())
    types |= dict.fromkeys(("slide", "case", "sample"), pa.string())
    kinds = {"number": pa.float64(), "text": pa.string()}
    return types | {column: kinds[kind] for column, kind in work.listed.columns.items()}


def _sources(work: Work) -> dict[str, str]:
    """What rejected.csv and the column `source` call each slide: its path below the folder that was given."""
    from plenish.datasets.sources.listing import printable

    sources = {}
    for wanted in work.wanted:
        path = Path(wanted.path)
        below = path.relative_to(work.root) if path.is_relative_to(work.root) else path
        sources[wanted.name] = printable(str(below))
    return sources


def _draw(work: Work, sheets: Sequence[_Sheet], folder: Path, labels: Sequence[str]) -> None:
    """Choose the tiles; what an earlier try has chosen stays chosen."""
    usable = [sheet for sheet in sheets if not sheet.reason]
    kept = folder / "draw.npz"
    if not kept.exists():
        codes = {label: code for code, label in enumerate(labels)}
        classes = []
        for sheet in usable:
            plan = Plan.load(sheet.file)
            table = [codes.get(_label(work, sheet, code) or "", 0) for code in range(-1, len(plan.labels))]
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


def _passing(work: Work, sheets: Sequence[_Sheet], picks: list[Pick]) -> list[bool]:
    """Which tiles the filters let pass, read only to be judged."""
    by_slide: dict[int, list[int]] = {}
    for which, place in picks:
        by_slide.setdefault(which, []).append(place)
    jobs: list[Job] = []
    asked: list[Pick] = []
    for which in sorted(by_slide):
        places = np.sort(np.array(by_slide[which]))
        plan = Plan.load(sheets[which].file).take(places)
        jobs += _jobs(work.wanted[sheets[which].index], plan, 0, pixels=False)
        asked += [(which, int(place)) for place in places]
    items = [item for _, answer in do_all(jobs, work.order, work.crew) for item in answer.items]
    verdicts = {pick: not isinstance(item, str) for pick, item in zip(asked, items, strict=True)}
    return [verdicts[pick] for pick in picks]


def _jobs(wanted: Wanted, plan: Plan, start: int, pixels: bool = True) -> list[Job]:
    """A slide's tiles in pieces, from the one at `start`."""
    length = max(1, min(_CHUNK, _CHUNK_BYTES // (plan.grid.size**2 * 3)))
    tiles = list(zip(plan.rows.tolist(), plan.columns.tolist()))
    digits = len(str(plan.grid.rows - 1)), len(str(plan.grid.columns - 1))
    return [
        Job(wanted, grid=plan.grid, tiles=tuple(tiles[at : at + length]), digits=digits, pixels=pixels)
        for at in range(start, len(tiles), length)
    ]


@dataclasses.dataclass
class _Piece:
    """A job that was handed out, and what its tiles are."""

    sheet: _Sheet
    plan: Plan
    start: int


def _read(
    work: Work, sheets: Sequence[_Sheet], writer: DatasetWriter, ledger: Ledger, sources: Mapping[str, str]
) -> None:
    """Read all tiles that an earlier try has not, and hand them to the writer in their order."""
    handed: collections.deque[_Piece] = collections.deque()
    todo, first = _left(sheets, writer.skip)
    bare = collections.deque(sheet for sheet in todo if sheet.reason)
    total = sum(sheet.count for sheet in sheets)

    def jobs() -> Iterator[Job]:
        for sheet in todo:
            if sheet.reason:
                continue
            plan = sheet.plan()
            start = first if sheet is todo[0] else 0
            for job in _jobs(work.wanted[sheet.index], plan, start):
                handed.append(_Piece(sheet, plan, start))
                start += len(job.tiles)
                yield job

    def refuse(before: int) -> None:
        while bare and bare[0].index < before:
            sheet = bare.popleft()
            wanted = work.wanted[sheet.index]
            ledger.reject_slide(wanted.name, _fragment(sheet.reason, wanted))
            writer.reject(sources[wanted.name], _fragment(sheet.reason, wanted))

    columns = _covered(sheets)
    done = total - sum(sheet.count for sheet in todo) + first
    with progress("tile", total, "tiles", done=done) as bar:
        for job, answer in do_all(jobs(), work.order, work.crew):
            piece = handed.popleft()
            refuse(piece.sheet.index)
            _take(work, piece, job, answer, columns, writer, ledger, sources)
            bar.advance(len(job.tiles))
        refuse(len(sheets))


def _left(sheets: Sequence[_Sheet], skip: int) -> tuple[list[_Sheet], int]:
    """The slides an earlier try has not finished, and the first tile to read of the first of them."""
    for i, sheet in enumerate(sheets):
        items = 1 if sheet.reason else sheet.count
        if skip < items:
            return list(sheets[i:]), skip
        skip -= items
    return [], 0


def _take(
    work: Work, piece: _Piece, job: Job, answer: Answer, columns: Sequence[str], writer: DatasetWriter,
    ledger: Ledger, sources: Mapping[str, str],
) -> None:  # fmt: skip
    """Hand a piece over to the writer, tiles and rejected ones in their order."""
    name = job.wanted.name
    source = sources[name]
    items = answer.items or [_fragment(answer.error, job.wanted)] * len(job.tiles)
    rows = _rows(work, piece, job, columns, source)
    start = 0
    ready: list[dict[str, Any]] = []
    for item, row, (r, c) in zip(items, rows, job.tiles):
        if isinstance(item, str):
            start = _add(writer, answer, start, ready)
            ready = []
            ledger.reject_tile(name, f"{source}#{r}_{c}", item)
            writer.reject(f"{source}#{r}_{c}", item)
            continue
        row["sha256"] = item[0]
        row |= {key: value for key, value in zip(("sharpness", "pen"), item[1:]) if value is not None}
        ledger.tile(name, row["label"])
        ready.append(row)
    _add(writer, answer, start, ready)


def _add(writer: DatasetWriter, answer: Answer, start: int, rows: list[dict[str, Any]]) -> int:
    if rows:
        writer.add(answer.pixels[start : start + len(rows)], rows)
    return start + len(rows)


def _rows(work: Work, piece: _Piece, job: Job, columns: Sequence[str], source: str) -> list[dict[str, Any]]:
    """The table's rows of a job's tiles, without what only their pixels say."""
    plan, sheet = piece.plan, piece.sheet
    part = slice(piece.start, piece.start + len(job.tiles))
    some = plan.take(np.arange(part.start, part.stop))
    entry = work.listed.entries[sheet.index]
    boxes = plan.grid.boxes(some.rows, some.columns)
    codes = some.classes(work.order.settings)
    rows = []
    for i, (row, column) in enumerate(job.tiles):
        covered = dict(zip(plan.labels, some.coverage[i].tolist()))
        rows.append(
            {
                "id": tile_name(entry.name, row, column, job.digits), "label": _label(work, sheet, codes[i]),
                "group": entry.group, "origin": "real", "sha256": None, "source": source,
                "slide": entry.name, "x": float(boxes[i, 0]), "y": float(boxes[i, 1]), "row": row,
                "col": column, "side": plan.grid.side, "mpp": plan.grid.mpp, "level": plan.grid.level,
                "tissue": round(float(some.tissue[i]), 6),
                **{f"coverage_{label}": round(covered.get(label, 0.0), 6) for label in columns},
                "case": entry.case, "sample": entry.sample, **entry.metadata,
            }
        )  # fmt: skip
    return rows


def _facts(work: Work, rows: Sequence[Mapping[str, Any]], ledger: Ledger) -> dict[str, Any]:
    """What dataset.json keeps beside the configuration."""
    return {
        "slides": [dict(row) for row in rows],
        "rejected": len(ledger.slides) + sum(counts.total() for counts in ledger.lost.values()),
        "rows_without_slide": list(work.listed.rows_without_slide),
        "slides_without_row": list(work.listed.slides_without_row),
    }


def _remarks(
    work: Work, sheets: Sequence[_Sheet], ledger: Ledger, labels: Sequence[str],
    rows: Sequence[Mapping[str, Any]], out: Path,
) -> list[str]:  # fmt: skip
    texts = [f"{work.wanted[s.index].name}: {text}" for s in sheets for text in s.about.get("remarks", ())]
    if ledger.slides:
        name, reason = next(iter(ledger.slides.items()))
        texts.append(
            f"{len(ledger.slides):,} of {plural(len(sheets), 'slide')} "
            f"{'was' if len(ledger.slides) == 1 else 'were'} rejected, see {out.name}/rejected.csv; the "
            f"first was {name}: {reason}."
        )
    if ledger.first is not None:
        source, reason = ledger.first
        texts.append(
            f"{agree(ledger.total('corrupt'), 'tile', 'was', 'were')} rejected because the slide is damaged "
            f"there; the first was {source}: {reason}."
        )
    filtered = [(ledger.total(kind), words) for kind, words in (("blurred", "blur"), ("pen", "pen marks"))]
    texts += [f"{agree(n, 'tile', 'was', 'were')} rejected for {words}." for n, words in filtered if n]
    empty = [label for label in _covered(sheets) if label not in labels]
    if empty:
        texts.append(
            f"No tile is covered far enough by '{empty[0]}' to be labelled so; lower --label-threshold or "
            "choose a smaller --size."
        )
    return texts + _scales(work, rows) + _short(work, rows, labels)


def _scales(work: Work, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be said of a level that means different scales on different slides."""
    tiled = [row for row in rows if row["status"] == "tiled"]
    known = [row["mpp"] for row in tiled if row["mpp"] is not None]
    texts = []
    if len(known) < len(tiled):
        texts.append(
            f"{agree(len(tiled) - len(known), 'slide', 'does', 'do')} not say how large "
            "pixels are, so the column mpp is empty there."
        )
    if known and max(known) > 1.02 * min(known):
        texts.append(
            f"Level {work.order.settings.level} is {min(known):.3g} µm per pixel on one slide and "
            f"{max(known):.3g} on another; --mpp makes them the same."
        )
    return texts


def _short(work: Work, rows: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> list[str]:
    """Classes of which there were fewer tiles than were to be drawn."""
    wished = work.drawing.per_class
    if wished is None:
        return []
    found = {label: sum(row[f"tiles_{label}"] for row in rows) for label in labels}
    return [
        f"Of class '{label}' there were only {plural(count, 'tile')}, not {wished:,}."
        for label, count in found.items()
        if count < wished
    ]


__all__ = ["Work", "crew", "cut"]
