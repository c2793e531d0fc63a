"""Rank slides by how much of them is annotated, to choose those worth tiling."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from plenish import files
from plenish.configuration import check_bounds
from plenish.errors import InputError, unknown
from plenish.slides import scale
from plenish.slides.annotations import (
    Annotations,
    find_annotations,
    read_annotations,
    refuse_unknown_labels,
    unmatched_remarks,
)
from plenish.slides.names import SlideEntry, slide_name
from plenish.slides.reader import open_slide, require_libraries
from plenish.slides.remarks import Remark
from plenish.slides.slide_list import SLIDE_COLUMNS, list_slides
from plenish.slides.tiling_config import LabelRules, TableOptions
from plenish.wording import Sentences, significant


@dataclasses.dataclass(frozen=True)
class Selection:
    """The slides by annotated area.

    Attributes:
        rows: a mapping a slide, largest area first.
        unused: slides that have no rank, with the reason.
        unit: `mm²`, or `px²` if the scale of a slide is not known.
        remarks: what the user should know.
        out: the table that was written, or None.
    """

    rows: tuple[Mapping[str, Any], ...]
    unused: tuple[Mapping[str, str], ...]
    unit: str
    remarks: tuple[Remark, ...]
    out: Path | None = None

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        facts: dict[str, Any] = {"ranked": len(self.rows), "unit": self.unit}
        facts |= {"table": str(self.out)} if self.out else {}
        return facts | {
            "slides": [{key: value for key, value in row.items() if key != "path"} for row in self.rows],
            "without_rank": [dict(row) for row in self.unused],
            "remarks": Sentences(map(str, self.remarks)),
        }  # fmt: skip


def select_slides(
    slides: Path, annotations: Path | None = None, out: Path | None = None, *, label: str | None = None,
    top: int | None = None, metadata: Path | None = None, assume_mpp: float | None = None,
    rules: LabelRules,
) -> Selection:  # fmt: skip
    """Rank slides by how much of them is annotated.

    Slides without annotations, and those whose slide or annotations cannot be read, have no rank and are
    listed with the reason.

    Args:
        slides: a slide, a folder, a .txt list or a table of slides.
        annotations: the folder of the annotations, files named like the slides; left out, that of the slides.
        out: a .csv to write the ranking to; 'plenish slides tile' takes it for the slides. Must not exist.
        label: the label whose area counts; left out, all labels together.
        top: only so many slides, the first.
        metadata: a table with a row a slide; its column mpp has precedence over the slides' own.
        assume_mpp: µm per pixel at level 0 of slides that do not state it.
        rules: how labels in files of annotations become labels.

    Returns:
        The slides by area, in mm² if the scale of all is known.

    Raises:
        InputError: there are no slides, none has annotations, none has the label, or `out` exists.
    """
    require_libraries()
    folder = annotations or (slides if slides.is_dir() else slides.parent)
    if out is not None and out.suffix.lower() != ".csv":
        raise InputError(f"The table {out} must end in .csv.")
    if out is not None:
        files.refuse_existing(out)
    check_bounds("--top", top, {"least": 1})
    check_bounds("--assume-mpp", assume_mpp, {"above": 0})
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder; give the folder of the annotations.")
    measured: list[_Measured] = []
    unused: list[dict[str, str]] = []
    entries = list_slides(slides, TableOptions(metadata), annotations).entries
    for entry in entries:
        try:
            measured.append(_measure(entry, folder, assume_mpp, rules))
        except InputError as error:
            unused.append({"slide": entry.name, "reason": str(error)})
    if not measured:
        raise InputError(
            f"None of the slides in {slides} has annotations in {folder} that can be used; of "
            f"{unused[0]['slide']}: {unused[0]['reason']}"
        )
    refuse_unknown_labels((name for one in measured for name in one.found.names), rules)
    labels = list(dict.fromkeys(name for one in measured for name in one.areas))
    if label is not None and label not in labels:
        raise unknown("label", label, labels)
    in_mm2 = all(one.mpp is not None for one in measured)
    counted = labels if label is None else [label]
    ranked = sorted(measured, key=lambda one: (-one.size(counted, in_mm2), one.entry.name))
    rows = [_row(rank, one, labels, counted, in_mm2) for rank, one in enumerate(ranked[:top], 1)]
    remarks = [
        dataclasses.replace(remark, slide=one.entry.name) for one in ranked for remark in one.found.remarks
    ]
    remarks += unmatched_remarks(folder, entries)
    if out is not None:
        with files.reporting_disk(out):
            out.parent.mkdir(parents=True, exist_ok=True)
        table = pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n")
        files.write_text(out, table)
    return Selection(tuple(rows), tuple(unused), "mm²" if in_mm2 else "px²", tuple(remarks), out)


@dataclasses.dataclass(frozen=True)
class _Measured:
    """A slide with its annotations; `areas` in px² of level 0."""

    entry: SlideEntry
    found: Annotations
    areas: Mapping[str, float]
    mpp: float | None
    pixels: int
    is_own_scale: bool

    def size(self, labels: Iterable[str], in_mm2: bool) -> float:
        """Annotated area of some labels, mm² or px² of level 0."""
        area = sum(self.areas.get(label, 0.0) for label in labels)
        return area * (self.mpp / 1000) ** 2 if in_mm2 and self.mpp is not None else area


def _measure(entry: SlideEntry, folder: Path, assume_mpp: float | None, rules: LabelRules) -> _Measured:
    if entry.rejection is not None:
        raise InputError(str(entry.rejection))
    with open_slide(entry.path) as slide:
        file = find_annotations(folder, entry.name, entry.path.stem)
        if file is None:
            raise InputError("it has no annotations")
        size, known = (slide.width, slide.height), scale.resolve(slide.scale, entry.mpp, assume_mpp)
        found = read_annotations(file, size, rules)
        return _Measured(entry, found, found.areas(), known.mpp, size[0] * size[1], known is slide.scale)


def _row(rank: int, one: _Measured, labels: list[str], counted: list[str], in_mm2: bool) -> dict[str, Any]:
    def area(*of: str) -> float:
        return significant(one.size(of, in_mm2), 6)

    unit = "mm2" if in_mm2 else "px2"
    name = one.entry.name
    row: dict[str, Any] = {"rank": rank, "name": name}
    if one.entry.group_from != "slide":  # A slide's own name is not a patient.
        row["patient"] = one.entry.group
    row[f"annotated_{unit}"] = area(*counted)
    row["share"] = round(one.size(counted, False) / one.pixels, 6)
    if len(labels) > 1:
        row |= {f"{label}_{unit}": area(label) for label in labels}
    if not one.is_own_scale:  # Else 'plenish slides tile' would not know it.
        row["mpp"] = one.mpp
    # `path` is what 'plenish slides tile' looks for in a table; a link keeps its own name.
    row |= {"path": str(one.entry.path.absolute()), "annotations": one.found.path.name}
    taken = set(row)
    for column, value in one.entry.row.items():
        is_name = column.lower() in SLIDE_COLUMNS
        if column.lower() not in ("", "patient", "mpp") and not (is_name and slide_name(value) == name):
            row[f"slide_{column}" if column in taken or is_name else column] = value
    return row
