"""A TIFF whose directories lead back into themselves is refused at once, and no other is."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile

from plenish.cli import run
from plenish.errors import InputError
from plenish.slides.annotation_masks import Mask
from plenish.slides.directories import refuse_loops
from plenish.slides.reader import open_slide
from plenish.slides.tiling_config import LabelRules

PIXELS = np.full((64, 64, 3), 90, np.uint8)


def _write(path: Path, pages: int, inner: int, big: bool, order: str) -> list[tifffile.TiffPage]:
    with tifffile.TiffWriter(path, bigtiff=big, byteorder=order) as file:
        for i in range(pages):
            file.write(
                PIXELS, tile=(16, 16), photometric="rgb", subifds=inner if i == 0 else None, metadata=None
            )
            for _ in range(inner if i == 0 else 0):
                file.write(PIXELS[::2, ::2], tile=(16, 16), photometric="rgb", subfiletype=1, metadata=None)
    with tifffile.TiffFile(path) as file:
        return [page.aspage() for page in file.pages]


def _put(path: Path, place: int, value: int, big: bool, order: str) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        file.write(struct.pack(order + ("Q" if big else "I"), value))


def _next(path: Path, at: int, big: bool, order: str) -> int:
    """Where a directory keeps the place of the next one."""
    data = path.read_bytes()
    (tags,) = struct.unpack_from(order + ("Q" if big else "H"), data, at)
    return at + (8 + 20 * tags if big else 2 + 12 * tags)


@pytest.mark.parametrize(("big", "order"), [(False, "<"), (False, ">"), (True, "<")])
@pytest.mark.parametrize("loop", ["itself", "two", "inside", "inner chain"])
def test_loops_are_refused_in_a_sentence(tmp_path: Path, capfd, big: bool, order: str, loop: str) -> None:
    path = tmp_path / "in" / "loop.tif"
    path.parent.mkdir()
    found = _write(path, 2, 2, big, order)
    first, second = (page.offset for page in found)
    refuse_loops(path)
    with open_slide(path) as slide:
        assert slide.width == 64
    inner = found[0].subifds
    if loop == "itself":
        _put(path, _next(path, first, big, order), first, big, order)
    elif loop == "two":
        _put(path, _next(path, second, big, order), first, big, order)
    elif loop == "inside":  # The second directory inside the first is the first.
        place = found[0].tags[330].valueoffset
        _put(path, place + (8 if big else 4), first, big, order)
    else:
        _put(path, _next(path, inner[1], big, order), inner[1], big, order)
    with pytest.raises(InputError, match="back to the one at byte"):
        open_slide(path)
    assert run(["slides", "inspect", str(path)]) == 2
    assert "damaged TIFF" in capfd.readouterr().err
    with pytest.raises(InputError, match="back to the one at byte"):
        Mask(path, LabelRules(), (64, 64))
    # Its first picture, or a sentence that it has several; not for ever.
    assert run(["import", str(path.parent), str(tmp_path / "out"), "--size", "16"]) in (0, 2)


@pytest.mark.parametrize(
    "content", [b"", b"II*\0", b"II*\0\xff\xff\xff\x7f" + b"\0" * 9, b"MM\0*" + b"\xff" * 40]
)
def test_other_faults_are_left_to_the_readers(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    refuse_loops(tmp_path / "a.tif")


def test_long_chains_are_read(tmp_path: Path) -> None:
    _write(tmp_path / "many.tif", 300, 0, False, "<")
    refuse_loops(tmp_path / "many.tif")
