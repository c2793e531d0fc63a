"""A slide to work on, and its name: that of its file, or a TCGA barcode in it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish.datasets.rejections import Rejection

SUFFIXES = frozenset(
    (
        ".svs", ".tif", ".tiff", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif", ".czi",
        ".dcm", ".avs",
    )
)  # fmt: skip
"""Suffixes of the formats that OpenSlide reads; others are read if a list names them."""
_TCGA = re.compile(r"(TCGA-\w{2}-\w{4})(-\d{2}[A-Z])?(-\d{2}[A-Z]?(?:-[A-Z0-9]+)?)?(?=\.|_|$)")


@dataclasses.dataclass(frozen=True)
class SlideEntry:
    """A slide to tile.

    Attributes:
        path: the file.
        name: what its tiles are named after.
        source: the file's path below the folder that was given, as in rejected.csv.
        group: the patient, else the slide itself.
        group_from: where the group is from: `table`, `barcode` (TCGA), `name` (CAMELYON17), `dicom`,
            else `slide`.
        case: by its TCGA barcode or the table, or None.
        sample: likewise.
        mpp: µm per pixel at level 0 by the table, or None.
        label: by the table, or None.
        metadata: the table's other columns.
        row: the table's row, unchanged.
        annotations: file of its annotations, or None.
        rejection: why it cannot be used, or None.
    """

    path: Path
    name: str
    source: str = ""
    group: str = ""
    group_from: str = "slide"
    case: str | None = None
    sample: str | None = None
    mpp: float | None = None
    label: str | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    row: Mapping[str, str] = dataclasses.field(default_factory=dict)
    annotations: Path | None = None
    rejection: Rejection | None = None

    def rejected(self, code: str, **values: Any) -> Rejection:
        """A rejection of the whole slide."""
        return Rejection(code, {"slide": self.name, **values}, self.source)


def slide_name(path: Path | str) -> str:
    """The name of a slide: the file's name without suffix; for files of the GDC the barcode only.

    A DICOM slide, which is a folder of files, is called as its folder.
    """
    path = Path(path)
    if path.suffix.lower() == ".dcm" and path.parent.name:
        path = path.parent
    stem = path.stem if path.suffix.lower() in SUFFIXES else path.name
    barcode = _TCGA.match(stem)
    return stem[: barcode.end()] if barcode and barcode[2] else stem


def barcode(name: str) -> tuple[str, str] | None:
    """Case and sample of a TCGA barcode (`TCGA-HZ-7926`, `TCGA-HZ-7926-01A`), or None for another name."""
    found = _TCGA.match(name)
    return (found[1], found[1] + found[2]) if found and found[2] else None
