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
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.sources.listing import (
    ALIASES,
    Listing,
    categorical,
    check_payload,
    check_pixels,
)  # fmt: skip
from plenish.datasets.sources.pieces import BLOCK, Piece, chained
from plenish.errors import InputError
from plenish.wording import plural

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
    shapes = [_header(path, 3) for path in paths]
    if len({shape[1:] for shape in shapes}) > 1:
        raise InputError(f"The idx files of {source} hold images of different sizes; import them one by one.")
    order = sorted(range(len(paths)), key=lambda i: ("train", "val", "test", "").index(_part(paths[i])))
    pieces = [_piece(paths[i], *shapes[i]) for i in order]
    out = Listing("idx files", [ref for piece in pieces for ref in piece.refs], channels=1)
    out.size = shapes[0][1] if shapes[0][1] == shapes[0][2] else None
    labels: list[str] = []
    parts: list[str] = []
    for i in order:
        parts += [_part(paths[i])] * shapes[i][0]
        labels += _labels(paths[i], shapes[i][0])
    if labels:
        if len(labels) != len(out.refs):
            raise InputError(
                f"Only some of the idx files of {source} have files of labels; add or remove the others."
            )
        out.labels, out.schema = labels, categorical(labels)
    if len(set(parts)) > 1 and "" not in parts:
        out.parts = parts
    out.blocks = chained(pieces)
    return out


def _part(path: Path) -> str:
    words = re.split(r"[-_.]", path.name.lower())
    return next((ALIASES[word] for word in words if word in ALIASES), "")


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
    _check_length(path, 4 + 4 * count, math.prod(shape))
    return tuple(shape)


def _check_length(path: Path, before: int, payload: int) -> None:
    size = path.stat().st_size
    if path.suffix == ".gz":
        check_payload(str(path), payload, size)
    elif size != before + payload:
        raise InputError(
            f"{path} is {'truncated' if size < before + payload else 'damaged'}: its header says "
            f"{payload:,} bytes and {max(0, size - before):,} follow; fetch it again."
        )


def _labels(path: Path, count: int) -> list[str]:
    base = path.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(".gz")
    labels = next(
        (path.with_name(name) for name in (base, base + ".gz") if path.with_name(name).is_file()), None
    )
    if labels is None or labels == path:
        return []
    (found,) = _header(labels, 1)
    if found != count:
        raise InputError(
            f"{labels} has {plural(found, 'label')} and {path.name} {plural(count, 'image')}; give "
            "the labels of these images."
        )
    with _open(labels) as file:
        file.seek(8)
        values = _read(file, count, labels)
    return [str(value) for value in values.tolist()]


def _read(file: IO[bytes], n_bytes: int, path: Path) -> NDArray[np.uint8]:
    try:
        data = file.read(n_bytes)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} is damaged ({error}); fetch it again.") from None
    if len(data) != n_bytes:
        raise InputError(f"{path} is truncated; fetch it again.")
    return np.frombuffer(data, np.uint8)


def _piece(path: Path, count: int, height: int, width: int) -> Piece:
    def read(start: int) -> Iterator[NDArray[np.uint8]]:
        with _open(path) as file:
            file.seek(16 + start * height * width)
            for at in range(start, count, BLOCK):
                n = min(BLOCK, count - at)
                yield _read(file, n * height * width, path).reshape(n, height, width, 1)

    return Piece(path.name, count, read)
