"""MNIST's idx files, gzipped or not: one pair, or a folder of pairs for train and test.

Format: http://yann.lecun.com/exdb/mnist (two zero bytes, type code, number of dimensions, big-endian sizes,
values).
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.sources.accepted import Accepted
from plenish.datasets.sources.listing import ALIASES, Listing
from plenish.datasets.sources.pieces import (
    Piece,
    check_labels,
    check_length,
    check_pixels,
    joined,
    read_rows,
)  # fmt: skip
from plenish.errors import InputError
from plenish.wording import plural

ACCEPTED = Accepted("An idx file")
_UNSIGNED_BYTE = 8


def find(folder: Path) -> list[Path]:
    """The idx files of images in a folder (also in a folder `raw` inside it), sorted."""
    for place in (folder, folder / "raw"):
        if place.is_dir():
            # In reverse, so that a file that is there twice is taken as it is and not gzipped.
            paths = sorted(place.iterdir(), reverse=True)
            found = [path for path in paths if re.search(r"images[-.]idx3-ubyte(\.gz)?$", path.name)]
            if found:
                return sorted({path.name.removesuffix(".gz"): path for path in found}.values())
    return []


def listing(source: Path) -> Listing:
    """List one idx file of images, or a folder of them, with the files of labels next to them.

    Raises:
        InputError: a header is wrong, sizes differ, or labels are fewer than images.
    """
    paths = find(source) if source.is_dir() else [source]
    order = ("train", "val", "test", "")
    return joined("idx files", source, sorted(map(_piece, paths), key=lambda piece: order.index(piece.part)))


def _piece(path: Path) -> Piece:
    count, height, width = shape = _header(path, 3)

    def read(start: int) -> Iterator[NDArray[np.uint8]]:
        return (block[..., None] for block in _rows(path, shape, start))

    words = re.split(r"[-_.]", path.name.lower())
    part = next((ALIASES[word] for word in words if word in ALIASES), "")
    return Piece(path.name, (count, height, width, 1), read, part, _labels(path, count))


def _open(path: Path) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(path) if path.suffix == ".gz" else path.open("rb"))


def _header(path: Path, dimensions: int) -> tuple[int, ...]:
    try:
        with _open(path) as file:
            zero, kind, count = struct.unpack(">HBB", file.read(4))
            shape = struct.unpack(f">{count}I", file.read(4 * count)) if count <= 4 else ()
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise InputError(f"{path} is not a readable idx file ({error}); fetch it again.") from None
    if zero or kind != _UNSIGNED_BYTE or count != dimensions:
        what = "images" if dimensions == 3 else "labels"
        raise InputError(
            f"{path} is not an idx file of {what} (unsigned bytes in {plural(dimensions, 'dimension')})."
        )
    if 0 in shape:
        raise InputError(f"{path} holds no images; fetch it again.")
    if dimensions == 3:
        check_pixels(str(path), shape[1], shape[2])
    size, packed = path.stat().st_size, path.suffix == ".gz"
    length = {"packed": size} if packed else {"found": size - 4 - 4 * count}
    check_length(str(path), math.prod(shape), **length)
    return tuple(shape)


def _rows(path: Path, shape: tuple[int, ...], start: int = 0) -> Iterator[NDArray[np.uint8]]:
    with _open(path) as file:
        file.seek(4 + 4 * len(shape))
        yield from read_rows(file, np.dtype(np.uint8), shape, start, path)


def _labels(path: Path, count: int) -> NDArray[Any] | None:
    base = path.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    found = [other for name in (base, base + ".gz") if (other := path.with_name(name)).is_file()]
    if not found or found[0] == path:
        return None
    shape = _header(found[0], 1)
    check_labels(str(found[0]), shape[0], count)
    return np.concatenate(list(_rows(found[0], shape)))
