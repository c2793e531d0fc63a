"""Why a source could not become an image, as a record, and the words for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

from plenish.wording import Message


@dataclasses.dataclass(frozen=True)
class Rejection(Message):
    """A source that could not become an image; its text is the reason.

    Attributes:
        source: a file's relative path, an archive's member, an array's row, a slide or its tile.
    """

    source: str = ""
    words: ClassVar[Mapping[str, str]] = {
        "missing": "the file does not exist (a broken link?)",
        "not-a-file": "not an ordinary file",
        "unreadable": "the file cannot be read: {reason}",
        "empty": "the file is empty (0 bytes)",
        "too-large": "the file has {mib:,.0f} MiB; the limit is {limit} MiB",
        "zeros": "the file contains only zeros",
        "unknown-format": "not an image of a known format",
        "bad-header": "truncated or damaged: it starts as {format}, but the header cannot be read",
        "damaged": "truncated or damaged: {reason}",
        "memory": "not enough memory to decode it",
        "too-many-pixels": "{width:,}×{height:,} pixels; if it is sound, give --max-pixels above {limit:,}, "
        "or cut it with 'plenish slides tile'",
        "bands": "it has {count} channels; save 1 (grey), 3 (RGB) or 4 (with transparency) of them",
        "frames": "it has {count} frames (animated); save the one you want as a separate file",
        "pages": "it has {count} pages; save the one you want as a separate file",
        "signed": "its pixels are signed numbers; save it with 8 or 16 bits without a sign",
        "sixteen-bit-colours": "it has 16 bits a colour, to which --bits and --window do not apply; "
        "save it with 8",
        "float-pixels": "its pixels are floats without a stated range; save it with 8 or 16 bits",
        "integer-pixels": "its pixels are 32-bit integers without a stated range; save it with 8 or 16 bits",
        "value-range": "its pixels range from {low} to {high}; save it with 8 or 16 bits",
        "extra": "it is {format}; to read it: {command}",
        "dicom-object": "a DICOM object without a picture ({kind})",
        "dicom-codec": "its pixels are compressed by {syntax}; to read them: pip install {packages}",
        "dicom-colours": "its colours are {kind}; save it as grey or RGB",
        "no-bytes": "the table holds only a path for it, not the image",
        "no-member": "the archive has no such member",
        "cannot-unpack": "cannot be unpacked: {reason}",
        "crash": "decoding it crashed a worker process (exit status {exit_status})",
        "detector": "the detector {detector} failed on it: {reason}",
        "undetected": "the detector {detector} finds nothing in it",
        "slide": "{reason}",
        "no-value": "the table has no {column} for it",
        "unannotated": "it has no annotations in {folder}",
        "tile": "{reason}",
        "blurred": "blurred: its sharpness is {sharpness:.3f}, below --min-sharpness {limit:g}",
        "malformed": "not readable JSON: {reason}",
        "no-object": "not a JSON object",
        "no-image": "no image here has the name or id '{name}'",
        "several-images": "several images have the name or id '{name}'",
        "named-twice": "{name} has metadata already",
        "names-outside": "it names '{name}', which lies outside the corpus",
        "no-metadata": "no metadata are about it",
        "leads-outside": "a symbolic link that leads outside the corpus",
        "opted-out": "the opt-out list names its {kind}",
        "lfs": "a pointer of Git LFS, not the image; run 'git lfs pull'",
        "bomb": "it unpacks to {ratio:,} times its size: a decompression bomb?",
        "pen": "pen marks: {share:.0%} of it are ink, above --max-pen {limit:g}",
    }


class Unreadable(Exception):
    """A file that cannot become an image.

    Args:
        code: what is wrong, as in `Rejection`.
        values: what its words name.
    """

    def __init__(self, code: str, **values: Any) -> None:
        super().__init__(code, values)
        self.code, self.values = code, values

    def __str__(self) -> str:
        return str(self.rejection(""))

    def rejection(self, source: str) -> Rejection:
        """The same as a record about `source`."""
        return Rejection(self.code, self.values, source)
