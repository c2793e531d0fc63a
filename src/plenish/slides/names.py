"""Names of slides: those of their files, or TCGA barcodes in them."""

from __future__ import annotations

import re
from pathlib import Path

SUFFIXES = frozenset(
    (
        ".svs", ".tif", ".tiff", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif", ".czi",
        ".dcm", ".avs",
    )
)  # fmt: skip
"""Suffixes of the formats that OpenSlide reads; others are read if a list names them."""
_TCGA = re.compile(r"(TCGA-\w{2}-\w{4})(-\d{2}[A-Z])?(-\d{2}[A-Z]?(?:-[A-Z0-9]+)?)?(?=\.|_|$)")


def slide_name(path: Path | str) -> str:
    """The name of a slide: the file's name without suffix; for files of the GDC the barcode only."""
    path = Path(path)
    stem = path.stem if path.suffix.lower() in SUFFIXES else path.name
    barcode = _TCGA.match(stem)
    return stem[: barcode.end()] if barcode and barcode[2] else stem


def barcode(name: str) -> tuple[str, str] | None:
    """Case and sample of a TCGA barcode (`TCGA-HZ-7926`, `TCGA-HZ-7926-01A`), or None for another name."""
    found = _TCGA.match(name)
    return (found[1], found[1] + found[2]) if found and found[2] else None
