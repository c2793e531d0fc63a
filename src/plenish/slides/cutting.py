"""The work of a tiling: plan every slide, draw, then read tile after tile into the Dataset."""

from __future__ import annotations

import collections
import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plenish import files
from plenish.datasets.rejections import Rejection
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.progress import progress
from plenish.slides.ledger import Ledger, write_summary
from plenish.slides.planning import Plan
from plenish.slides.remarks import remarks_of
from plenish.slides.sheets import (
    Sheet,
    Work,
    covered,
    draw_all,
    jobs_of,
    label_of,
    labels_of,
    plan_all,
    refuse_if_none,
    types_of,
)
from plenish.slides.workers import Answer, Job, do_all, fragment, tile_name
from plenish.wording import agree


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
    sheets = plan_all(work, folder, writer.skip)
    refuse_if_none(work, sheets)
    _refuse_unknown_labels(work, sheets)
    labels = labels_of(work, sheets)
    writer.labels = LabelSchema("categorical", labels) if labels else LabelSchema()
    writer.types = types_of(work, sheets)
    if not work.drawing.everything:
        draw_all(work, sheets, folder, labels)
    if not writer.skip:  # What an earlier try has done is not thrown away for want of space.
        tile = work.order.settings.size**2 * 3
        files.require_space(out, sum(sheet.count for sheet in sheets) * tile)
    if work.order.images:
        Path(work.order.folder).mkdir(exist_ok=True)
    ledger = Ledger()
    sources = _sources(work)
    ledger.take_up(writer.partial, {source: name for name, source in sources.items()})
    _read(work, sheets, writer, ledger, sources)
    if not ledger.written():
        raise InputError(_nothing_left(ledger))
    rows = ledger.rows([(wanted.name, sheet.about) for wanted, sheet in zip(work.wanted, sheets)], labels)
    write_summary(writer.partial / "summary.csv", rows)
    writer.extra |= _facts(work, rows, ledger)
    shutil.rmtree(folder)
    return rows, remarks_of(work, sheets, ledger, labels, rows, out)


def _refuse_unknown_labels(work: Work, sheets: Sequence[Sheet]) -> None:
    """Refuse options that name labels which no file of annotations has, now that all are read."""
    from plenish.slides.annotations import refuse_unknown_labels

    read = [sheet.about["annotation_names"] for sheet in sheets if "annotation_names" in sheet.about]
    if not read:
        return
    how = work.order.settings
    refuse_unknown_labels(
        (name for names in read for name in names), holes=how.holes, priority=how.priority,
        rename=dict(how.rename),
    )  # fmt: skip


def _nothing_left(ledger: Ledger) -> str:
    """Why there is no tile, and which option gives some."""
    kinds = (
        ("blurred", "for blur", "lower --min-sharpness"), ("pen", "for pen marks", "raise --max-pen"),
        ("corrupt", "because the slide is damaged there", "restore it from a copy"),
    )  # fmt: skip
    found = [(ledger.total(kind), why, mend) for kind, why, mend in kinds if ledger.total(kind)]
    why = ", ".join(f"{agree(count, 'tile', 'was', 'were')} rejected {why}" for count, why, _ in found)
    slides = f" ({agree(len(ledger.slides), 'slide', 'was', 'were')} rejected as a whole)" * bool(
        ledger.slides
    )
    return f"No tile is left: {why}{slides}; {max(found)[2] if found else 'choose other slides'}."


def _sources(work: Work) -> dict[str, str]:
    """What rejected.csv and the column `source` call each slide: its path below the folder that was given."""
    from plenish.datasets.sources.listing import printable

    sources = {}
    for wanted in work.wanted:
        path = Path(wanted.path)
        below = path.relative_to(work.root) if path.is_relative_to(work.root) else path
        sources[wanted.name] = printable(str(below))
    return sources


@dataclasses.dataclass
class _Piece:
    """A job that was handed out, and what its tiles are."""

    sheet: Sheet
    plan: Plan
    start: int


def _read(
    work: Work, sheets: Sequence[Sheet], writer: DatasetWriter, ledger: Ledger, sources: Mapping[str, str]
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
            for job in jobs_of(work.wanted[sheet.index], plan, start):
                handed.append(_Piece(sheet, plan, start))
                start += len(job.tiles)
                yield job

    def refuse(before: int) -> None:
        while bare and bare[0].index < before:
            sheet = bare.popleft()
            wanted = work.wanted[sheet.index]
            ledger.reject_slide(wanted.name, fragment(sheet.reason, wanted))
            writer.reject(
                Rejection(sources[wanted.name], "slide", {"reason": fragment(sheet.reason, wanted)})
            )

    columns = covered(sheets)
    done = total - sum(sheet.count for sheet in todo) + first
    with progress("tile", total, "tiles", done=done) as bar:
        for job, answer in do_all(jobs(), work.order, work.crew):
            piece = handed.popleft()
            refuse(piece.sheet.index)
            _take(work, piece, job, answer, columns, writer, ledger, sources)
            bar.advance(len(job.tiles))
        refuse(len(sheets))


def _left(sheets: Sequence[Sheet], skip: int) -> tuple[list[Sheet], int]:
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
    rows = _rows(work, piece, job, columns, source)
    start = 0
    ready: list[dict[str, Any]] = []
    for item, row, (r, c) in zip(answer.items, rows, job.tiles, strict=True):
        if isinstance(item, str):
            start = _add(writer, answer, start, ready)
            ready = []
            rejection = Rejection(f"{source}#{r}_{c}", "tile", {"reason": item})
            ledger.reject_tile(name, rejection.source, item)
            writer.reject(rejection)
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
        shares = dict(zip(plan.labels, some.coverage[i].tolist()))
        rows.append(
            {
                "id": tile_name(entry.name, row, column, job.digits),
                "label": label_of(work, sheet, codes[i]),
                "group": entry.group, "origin": "real", "sha256": None, "source": source,
                "slide": entry.name, "x": float(boxes[i, 0]), "y": float(boxes[i, 1]), "row": row,
                "col": column, "side": plan.grid.side, "mpp": plan.grid.mpp, "level": plan.grid.level,
                "tissue": round(float(some.tissue[i]), 6),
                **{f"coverage_{label}": round(shares.get(label, 0.0), 6) for label in columns},
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


__all__ = ["cut"]
