"""Suffixes of picture files, and the optional packages that read some of them."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from collections.abc import Mapping

PLAIN = frozenset((
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".tif", ".tiff", ".webp",
    ".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".avif", ".tga",
))  # fmt: skip
"""Suffixes of what Pillow alone reads."""
READS = "Plenish reads PNG, JPEG, TIFF, BMP, GIF, WebP, AVIF, JPEG 2000, PNM and TGA files, and with extras "
READS += "DICOM, HEIC and JPEG XL."


@dataclasses.dataclass(frozen=True)
class Extra:
    """A format that an optional package reads.

    Attributes:
        name: of the format, for sentences.
        module: that is imported.
        extra: of Plenish, which installs the package.
        suffixes: of the files.
    """

    name: str
    module: str
    extra: str
    suffixes: tuple[str, ...]

    @property
    def installed(self) -> bool:
        """Whether the package is there."""
        return _is_installed(self.module)

    @property
    def command(self) -> str:
        """What installs the package."""
        return f"pip install 'plenish[{self.extra}]'"


DICOM = Extra("DICOM", "pydicom", "dicom", (".dcm", ".dicom", ".dic", ".ima"))
HEIC = Extra("HEIC", "pillow_heif", "formats", (".heic", ".heif", ".hif"))
JPEG_XL = Extra("JPEG XL", "pillow_jxl", "formats", (".jxl",))
EXTRAS: Mapping[str, Extra] = {suffix: one for one in (DICOM, HEIC, JPEG_XL) for suffix in one.suffixes}
"""The formats of optional packages by suffix."""

_PREAMBLE = 132
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")


@functools.cache
def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def suffix_of(name: str) -> str:
    """The suffix of a path's last part in lower case; empty for none and for a hidden file's name."""
    file = name[name.rfind("/") + 1 :]
    dot = file.rfind(".")
    return file[dot:].lower() if dot > 0 else ""


def is_picture(name: str) -> bool:
    """Whether a path ends like that of a picture file that can be read here."""
    suffix = suffix_of(name)
    return suffix in PLAIN or (suffix in EXTRAS and EXTRAS[suffix].installed)


def may_be_dicom(name: str) -> bool:
    """Whether a file may be DICOM by its name, which is often a UID or a number without a suffix."""
    suffix = suffix_of(name)
    return not name.upper().endswith("DICOMDIR") and (not suffix or suffix[1:].isdecimal())


def is_dicom(head: bytes) -> bool:
    """Whether a file begins with a DICOM preamble."""
    return head[128:_PREAMBLE] == b"DICM"


def extra_of(head: bytes) -> Extra | None:
    """The format of an optional package that a file's first bytes are of, or None."""
    if is_dicom(head):
        return DICOM
    if head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS:
        return HEIC
    return JPEG_XL if head.startswith(_JPEG_XL) else None
