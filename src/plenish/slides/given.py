"""Which of the paths that a user gives are slides, where ordinary images may be given too."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from plenish.errors import InputError
from plenish.slides.names import SUFFIXES, SlideEntry
from plenish.slides.slide_list import TABLES, list_slides

_TIFF = frozenset((".tif", ".tiff"))
_DICOM = ".dcm"
_LISTS = frozenset((*TABLES, ".txt"))
_SLIDE_CLASS = b"1.2.840.10008.5.1.4.1.1.77.1.6"
"""DICOM's SOP class of whole-slide microscopy images."""
_HEADER = 2**16
_LOOKED_AT = 200
"""Files of a folder that may be images or slides and are opened to know which."""


def are_slides(paths: Sequence[Path]) -> bool:
    """Whether slides are among some paths: files, a folder with slides in it, or a list or table of slides.

    A TIFF is a slide if its pixels lie in tiles, a DICOM file if its class is that of slides.
    """
    return any(_holds_slides(path) for path in paths)


def _holds_slides(path: Path) -> bool:
    if path.is_dir():
        if (path / "dataset.json").is_file():
            return False
        found = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in SUFFIXES)
        return any(_is_slide(file) for file in itertools.islice(found, _LOOKED_AT))
    return path.suffix.lower() in _LISTS or _is_slide(path)


def _is_slide(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES or path.name.startswith(".") or not path.is_file():
        return False
    if suffix == _DICOM:
        with path.open("rb") as file:
            return _SLIDE_CLASS in file.read(_HEADER)
    return suffix not in _TIFF or _is_tiled(path)


def _is_tiled(path: Path) -> bool:
    """Whether a TIFF's first page is tiled; without the library that tells, it is an image."""
    try:
        import tifffile
    except ImportError:
        return False
    try:
        with tifffile.TiffFile(path) as file:
            return bool(getattr(file.pages[0], "is_tiled", False))
    except Exception:  # Damaged files make the library raise errors of any kind.
        return False


def slides_given(paths: Sequence[Path]) -> list[SlideEntry]:
    """The slides among some paths, each once.

    Args:
        paths: slides, folders of slides, lists or tables of slides.

    Raises:
        InputError: something else is among them, or two slides have one name.
    """
    found: dict[str, SlideEntry] = {}
    for path in paths:
        if not _holds_slides(path):
            raise InputError(f"{path} is no slide, and slides are among the others; give either by itself.")
        for entry in list_slides(path).entries:
            if path.is_dir() and not _is_slide(entry.path):
                continue
            other = found.setdefault(entry.name.casefold(), entry)
            if other.path.resolve() != entry.path.resolve():
                raise InputError(
                    f"Two slides are called {entry.name} ({other.path}, {entry.path}), as their results "
                    "would be; rename one."
                )
    return list(found.values())
