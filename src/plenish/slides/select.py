"""`plenish slides select`: which slides have most of what was annotated, to choose those worth tiling."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish.errors import InputError, unknown
from plenish.wording import agree

if TYPE_CHECKING:
    from plenish.slides.listing import Entry

_NAMED = 5


@dataclasses.dataclass(frozen=True)
class Selection:
    """The slides by annotated area.

    Attributes:
        rows: a mapping a slide, largest area first.
        unused: slides that have no rank, with the reason.
        unit: `mm²`, or `px²` where the scale of one is not known.
        remarks: what the user should know.
        out: the table that was written, or None.
    """

    rows: tuple[Mapping[str, Any], ...]
    unused: tuple[Mapping[str, str], ...]
    unit: str
    remarks: tuple[str, ...]
    out: Path | None = None

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        facts: dict[str, Any] = {"ranked": len(self.rows), "unit": self.unit}
        facts |= {"table": str(self.out)} if self.out else {}
        return facts | {
            "slides": [{key: value for key, value in row.items() if key != "path"} for row in self.rows],
            "without_rank": [dict(row) for row in self.unused], "remarks": list(self.remarks),
        }  # fmt: skip


def select_slides(
    slides: Path,
    annotations: Path | None = None,
    out: Path | None = None,
    label: str | None = None,
    top: int | None = None,
    metadata: Path | None = None,
    assume_mpp: float | None = None,
    priority: list[str] | None = None,
    holes: list[str] | None = None,
) -> Selection:
    """Rank slides by how much of them is annotated.

    Slides without annotations, and those whose slide or annotations cannot be read, have no rank and are
    listed with the reason.

    Args:
        slides: A slide, a folder, a .txt list or a table of slides.
        annotations: The folder of the annotations, files named like the slides; left out, that of the
            slides.
        out: A .csv to write the ranking to; 'plenish slides tile' takes it for the slides. Must not exist.
        label: The label whose area counts; left out, all labels together.
        top: Only so many slides, the first.
        metadata: A table with a row a slide; its column mpp counts before what slides say.
        assume_mpp: µm per pixel at level 0 of slides that do not say.
        priority: Annotations' labels; where they overlap, the one named first counts.
        holes: Annotations' labels that are holes in the others, besides usual names such as Exclusion; none
            leaves those out.

    Returns:
        The slides by area, in mm² where the scale of all is known.

    Raises:
        InputError: there are no slides, none has annotations, none has the label, or `out` exists.
    """
    from plenish import files
    from plenish.slides.annotations import refuse_unknown_labels
    from plenish.slides.listing import list_slides
    from plenish.slides.reader import require_libraries

    require_libraries()
    slides = Path(slides)
    apart = annotations is not None
    annotations = (
        Path(annotations) if annotations is not None else slides if slides.is_dir() else slides.parent
    )
    _check(out, top, annotations)
    listed = list_slides(slides, metadata, leave_out=annotations if apart else None)
    measured: list[_Measured] = []
    unused: list[dict[str, str]] = []
    for entry in listed.entries:
        try:
            measured.append(_measure(entry, annotations, assume_mpp, priority or (), holes))
        except InputError as error:
            unused.append({"slide": entry.name, "reason": str(error)})
    if not measured:
        reason = f"; of {unused[0]['slide']}: {unused[0]['reason']}" if unused else "."
        raise InputError(f"None of the slides in {slides} has annotations in {annotations} to go by{reason}")
    refuse_unknown_labels(
        (name for one in measured for name in one.names), holes=holes, priority=priority or ()
    )
    labels = list(dict.fromkeys(name for one in measured for name in one.areas))
    if label is not None and label not in labels:
        raise unknown("label", label, labels)
    in_mm2 = all(one.mpp is not None for one in measured)
    ranked = sorted(measured, key=lambda one: (-one.size(label, in_mm2), one.entry.name))
    rows = [_row(rank, one, labels, label, in_mm2) for rank, one in enumerate(ranked[:top], 1)]
    remarks = [f"{one.entry.name}: {remark}" for one in ranked for remark in one.remarks]
    remarks += _idle(annotations, [entry.path for entry in listed.entries])
    if out is not None:
        with files.reporting_disk(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(out, _csv(rows).encode())
    return Selection(tuple(rows), tuple(unused), "mm²" if in_mm2 else "px²", tuple(remarks), out)


@dataclasses.dataclass(frozen=True)
class _Measured:
    entry: Entry
    file: Path
    mpp: float | None
    pixels: int
    areas: Mapping[str, float]
    remarks: Sequence[str]
    names: Sequence[str]
    told_mpp: bool

    def size(self, label: str | None, in_mm2: bool) -> float:
        """Annotated area, of one label or of all, mm² or px² of level 0."""
        area = sum(self.areas.values()) if label is None else self.areas.get(label, 0.0)
        return self.in_unit(area, in_mm2)

    def in_unit(self, area: float, in_mm2: bool) -> float:
        """px² of level 0 in the unit of the table."""
        return area * (self.mpp / 1000) ** 2 if in_mm2 and self.mpp is not None else area


def _check(out: Path | None, top: int | None, annotations: Path) -> None:
    if out is not None and out.suffix.lower() != ".csv":
        raise InputError(f"The table {out} must end in .csv.")
    if out is not None and out.exists():
        raise InputError(f"{out} already exists; choose another name or remove it first.")
    if top is not None and top < 1:
        raise InputError(f"--top must be at least 1, not {top}.")
    if not annotations.is_dir():
        raise InputError(f"{annotations} is no folder; give the folder of the annotations.")


def _measure(
    entry: Entry, folder: Path, assume_mpp: float | None, priority: Sequence[str], holes: Sequence[str] | None
) -> _Measured:
    from plenish.slides import scale
    from plenish.slides.annotations import find_annotations, read_annotations
    from plenish.slides.reader import open_slide

    if entry.missing:
        raise InputError(entry.missing)
    with open_slide(entry.path) as slide:
        file = find_annotations(folder, entry.name) or find_annotations(folder, entry.path.stem)
        if file is None:
            raise InputError("it has no annotations")
        size, known = (slide.width, slide.height), scale.resolve(slide, entry.mpp, assume_mpp)
        told = known.mpp is not None and (entry.mpp is not None or slide.mpp is None)
    found = read_annotations(file, size=size, priority=priority, holes=holes)
    return _Measured(
        entry, file, known.mpp, size[0] * size[1], found.areas(), found.remarks, found.names, told
    )


def _row(rank: int, one: _Measured, labels: Sequence[str], label: str | None, in_mm2: bool) -> dict[str, Any]:
    unit = "mm2" if in_mm2 else "px2"
    area = one.areas.get(label, 0.0) if label is not None else sum(one.areas.values())
    row: dict[str, Any] = {"rank": rank, "name": one.entry.name}
    if one.entry.group_from != "slide":  # A slide's own name is no patient, and would be taken for one.
        row["patient"] = one.entry.group
    row |= {f"annotated_{unit}": _rounded(one.size(label, in_mm2)), "share": round(area / one.pixels, 6)}
    if len(labels) > 1:
        row |= {f"{name}_{unit}": _rounded(one.in_unit(one.areas.get(name, 0.0), in_mm2)) for name in labels}
    if one.told_mpp:  # Else 'plenish slides tile' would not know it.
        row["mpp"] = one.mpp
    # `path` is what 'plenish slides tile' looks for in a table; a link is named as it is, not what it is to.
    row |= {"path": str(one.entry.path.absolute()), "annotations": one.file.name}
    return row | _carried(one.entry, row)


def _carried(entry: Entry, row: Mapping[str, Any]) -> dict[str, str]:
    """The metadata's columns; behind `slide_` where the name is taken, or would name slides in a table."""
    from plenish.slides.listing import SLIDE_COLUMNS, slide_name

    own = {*row, "patient", "mpp"}
    carried: dict[str, str] = {}
    for column, value in entry.row.items():
        names = column.lower() in SLIDE_COLUMNS
        if not column or column.lower() in ("patient", "mpp") or (names and slide_name(value) == entry.name):
            continue
        carried[f"slide_{column}" if column in own or names else column] = value
    return carried


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _idle(folder: Path, slides: Sequence[Path]) -> list[str]:
    from plenish.slides.annotations import strangers

    idle = strangers(folder, slides)
    if not idle:
        return []
    more = f" and {len(idle) - _NAMED} more" if len(idle) > _NAMED else ""
    return [f"{agree(len(idle), 'file', 'belongs', 'belong')} to no slide: {', '.join(idle[:_NAMED])}{more}."]


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    file = io.StringIO()
    columns = dict.fromkeys(column for row in rows for column in row)
    table = csv.DictWriter(file, list(columns), restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return file.getvalue()


__all__ = ["Selection", "select_slides"]
