"""What a tiling made, from what was written: a row a slide, and what the user should know."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from plenish.datasets.rejections import Rejection
from plenish.datasets.tables import open_rows
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.slides.remarks import Remark
from plenish.slides.slide_plans import PlannedSlide, Tiling
from plenish.wording import agree

_COLUMNS = (
    "slide", "status", "tiles", "rejected", "blurred", "pen", "corrupt", "candidates", "positions", "level",
    "mpp", "slide_mpp", "mpp_source", "width", "height", "tissue_share", "reason",
)  # fmt: skip
_REASONS = {
    "blurred": ("for blur", "lower --min-sharpness"), "pen": ("for pen marks", "raise --max-pen"),
    "corrupt": ("because the slide is damaged there", "restore it from a copy"),
}  # fmt: skip


def summarise(tiling: Tiling, writer: DatasetWriter) -> tuple[list[dict[str, Any]], list[Remark]]:
    """Count what was written, also before an interruption, and write summary.csv and facts of dataset.json.

    Args:
        tiling: what was to be done.
        writer: has all tiles and rejections.

    Returns:
        A row a slide, and what the user should know.

    Raises:
        InputError: no tile is left.
    """
    writer.flush()
    parts = sorted((writer.partial / "rows").glob("*.parquet"))
    written = open_rows(parts).to_table(["slide", "label"]).to_pydict() if parts else {}
    tiles = Counter(zip(written.get("slide", ()), (label or "" for label in written.get("label", ()))))
    rejections = list(writer.rejections())
    whole = [slide.rejection for slide in tiling.slides if slide.rejection is not None]
    of_tiles = [one for one in rejections if "row" in one.values]
    rejected = Counter((one.values["slide"], _column(one)) for one in of_tiles)
    totals = Counter(map(_column, of_tiles))
    if not tiles:
        raise InputError(_nothing_left(totals, len(whole)))
    rows = [_row(slide, rejected, tiles, tiling.classes) for slide in tiling.slides]
    table = pd.DataFrame(rows, dtype=object)
    table.to_csv(writer.partial / "summary.csv", index=False, lineterminator="\r\n")
    writer.extra |= {
        "slides": rows, "rejected": len(rejections),
        "rows_without_slide": list(tiling.listed.rows_without_slide),
        "slides_without_row": list(tiling.listed.slides_without_row),
    }  # fmt: skip
    remarks = [remark for slide in tiling.usable if slide.plan is not None for remark in slide.plan.remarks]
    if whole:
        first = {"first": whole[0].values["slide"], "reason": str(whole[0])}
        remarks.append(Remark("slides-rejected", {"count": len(whole), "total": len(rows), **first}))
    damaged = next((tile for tile in of_tiles if _column(tile) == "corrupt"), None)
    if damaged is not None:
        first = {"source": damaged.source, "reason": str(damaged)}
        remarks.append(Remark("tiles-damaged", {"count": totals["corrupt"], **first}))
    for code, kind in (("tiles-blurred", "blurred"), ("tiles-inked", "pen")):
        if totals[kind]:
            remarks.append(Remark(code, {"count": totals[kind]}))
    bare = [label for label in tiling.annotated_labels if label not in tiling.classes]
    remarks += [Remark("label-without-tiles", {"label": label}) for label in bare[:1]]
    return rows, remarks + _scale_remarks(tiling, rows) + _class_remarks(tiling, rows)


def _column(rejection: Rejection) -> str:
    """The column of the summary that counts a rejected tile."""
    return rejection.code if rejection.code in ("blurred", "pen") else "corrupt"


def _nothing_left(totals: Mapping[str, int], slides: int) -> str:
    """Why there is no tile, and which option gives some."""
    found = [(totals[kind], *words) for kind, words in _REASONS.items() if totals[kind]]
    why = ", ".join(f"{agree(count, 'tile', 'was', 'were')} rejected {reason}" for count, reason, _ in found)
    whole = f" ({agree(slides, 'slide', 'was', 'were')} rejected as a whole)" if slides else ""
    return f"No tile is left: {why}{whole}; {max(found)[2] if found else 'choose other slides'}."


def _row(
    slide: PlannedSlide, rejected: Mapping[tuple[str, str], int], tiles: Mapping[tuple[str, str], int],
    classes: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    name = slide.entry.name
    facts: dict[str, Any] = {}
    if slide.plan is not None:
        grid = slide.plan.grid
        facts = {**slide.plan.facts, "candidates": slide.counts.total(), "level": grid.level, "mpp": grid.mpp}
    by_reason = {kind: rejected.get((name, kind), 0) for kind in _REASONS}
    row = {column: facts.get(column) for column in _COLUMNS} | {
        "slide": name, "status": "rejected" if slide.rejection else "tiled",
        "tiles": sum(count for (of, _), count in tiles.items() if of == name),
        "rejected": sum(by_reason.values()), **by_reason,
        "reason": str(slide.rejection) if slide.rejection else None,
    }  # fmt: skip
    row |= {f"tiles_{label}": tiles.get((name, label), 0) for label in classes}
    return row | {f"mm2_{label}": area for label, area in facts.get("annotated_mm2", {}).items()}


def _scale_remarks(tiling: Tiling, rows: Sequence[Mapping[str, Any]]) -> list[Remark]:
    """That a level has different scales on different slides, or unknown ones."""
    tiled = [row for row in rows if row["status"] == "tiled"]
    known = [row["mpp"] for row in tiled if row["mpp"] is not None]
    remarks = []
    if len(known) < len(tiled):
        remarks.append(Remark("scale-unknown", {"count": len(tiled) - len(known)}))
    if tiling.config.grid.level is not None and known and max(known) > 1.02 * min(known):
        values = {"level": tiling.config.grid.level, "least": min(known), "most": max(known)}
        remarks.append(Remark("scales-differ", values))
    return remarks


def _class_remarks(tiling: Tiling, rows: Sequence[Mapping[str, Any]]) -> list[Remark]:
    """Classes of which there are fewer tiles than were to be drawn, and why."""
    wanted, most = tiling.draw.per_class, tiling.draw.per_slide or math.inf
    remarks = []
    for label in tiling.classes if wanted is not None else ():
        found = sum(row[f"tiles_{label}"] for row in rows)
        possible = sum(min(slide.counts[label], most) for slide in tiling.usable)
        if wanted is not None and found < wanted:
            code = "class-too-small" if possible < wanted else "class-rejected"
            remarks.append(Remark(code, {"label": label, "found": found, "wanted": wanted}))
    return remarks
