"""Which DICOM files are one slide: a series, one file a level, which OpenSlide opens by any of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from plenish.slides.native import SlideError

SUFFIX = ".dcm"
_HEADER = 2**18
"""Bytes in which patient, study and series are named, before what describes the pixels."""
# Attributes in explicit little endian, as slides have them. Those of the file itself follow each other; in
# what it refers to they do not.
_PATIENT = re.compile(rb"\x10\x00\x10\x00PN(..)[^\0]{0,256}?\x10\x00\x20\x00LO(..)", re.DOTALL)
_SERIES = re.compile(rb"\x20\x00\x0d\x00UI..[\d.\0]{0,64}\x20\x00\x0e\x00UI(..)", re.DOTALL)


class Instance(NamedTuple):
    """What a DICOM file says it belongs to; empty where it does not.

    Attributes:
        series: its SeriesInstanceUID.
        patient: its PatientID.
    """

    series: str
    patient: str


def read_instance(path: Path) -> Instance:
    """Series and patient of a DICOM file, without reading its pixels."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEADER)
    except OSError:
        return Instance("", "")
    if head[128:132] != b"DICM":
        return Instance("", "")
    return Instance(_value(_SERIES.search(head), 1), _value(_PATIENT.search(head), 2))


def _value(found: re.Match[bytes] | None, length: int) -> str:
    if found is None:
        return ""
    end = found.end() + int.from_bytes(found[length], "little")
    return found.string[found.end() : end].decode("utf-8", "replace").strip("\0 ")


def one_file(folder: Path, files: Iterable[Path]) -> Path:
    """The first DICOM file of a folder, which stands for its slide.

    Args:
        folder: that holds them.
        files: its DICOM files, at least one.

    Raises:
        SlideError: they are of several series, so of several slides.
    """
    ordered = sorted(files)
    series = {read_instance(path).series for path in ordered} - {""}
    if len(series) > 1:
        raise SlideError(
            folder,
            f"holds DICOM files of {len(series)} series, which are as many slides; put each into a folder of "
            "its own",
        )
    return ordered[0]
