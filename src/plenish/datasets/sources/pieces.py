"""Images in arrays: each piece (a file or a key of one) with its labels, read as one, flat in memory."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.images import MAX_BYTES, MAX_PIXELS
from plenish.datasets.schema import LabelSchema
from plenish.datasets.sources.listing import Blocks, Listing, categorical, vectors
from plenish.errors import InputError
from plenish.wording import plural

BLOCK = 256
"""Images read at once."""
_DEFLATE_MOST = 1032
"""What deflate can make of a byte at most."""
_SUSPICIOUS = 200


@dataclasses.dataclass(frozen=True)
class Piece:
    """Some images of a source, which can be read from any of them on.

    Attributes:
        key: what its images are called: the third one is `key[2]`.
        shape: their number, height, width and channels.
        read: yields n×H×W×C uint8 from a row on.
        part: train, val or test, or nothing.
        labels: one row an image, or None.
    """

    key: str
    shape: tuple[int, int, int, int]
    read: Blocks
    part: str = ""
    labels: NDArray[Any] | None = None

    @property
    def refs(self) -> list[str]:
        """What each image is called."""
        return [f"{self.key}[{i}]" for i in range(self.shape[0])]


def joined(kind: str, source: Path, pieces: Sequence[Piece], names: Sequence[Any] = ()) -> Listing:
    """All images, piece after piece, with the labels and parts they have.

    Args:
        kind: what the source is, in words.
        source: the file or folder, for sentences.
        pieces: where the images lie.
        names: class names, in the order of the numbers in the labels.

    Raises:
        InputError: the pieces do not go together, or their labels cannot be used.
    """
    if len({piece.shape[1:] for piece in pieces}) > 1:
        raise InputError(f"The parts of {source} hold images of different shapes; import them one by one.")
    labels = [piece.labels for piece in pieces if piece.labels is not None]
    if len(labels) not in (0, len(pieces)):
        raise InputError(f"Only some parts of {source} have labels; add or remove the others.")

    def blocks(start: int) -> Iterator[NDArray[np.uint8]]:
        for piece in pieces:
            if start < piece.shape[0]:
                yield from piece.read(start)
            start = max(0, start - piece.shape[0])

    _, height, width, channels = pieces[0].shape
    out = Listing(kind, [ref for piece in pieces for ref in piece.refs], blocks=blocks)
    out.channels = 1 if channels == 1 else 3
    out.size = height if height == width else None
    if labels:
        out.schema, out.labels = _labels(labels, names, source)
    parts = [piece.part for piece in pieces for _ in range(piece.shape[0])]
    if "" not in parts and len(set(parts)) > 1:
        out.parts = parts
    return out


def _labels(pieces: list[NDArray[Any]], names: Sequence[Any], source: Path) -> tuple[LabelSchema, list[Any]]:
    values = np.concatenate([piece.reshape(len(piece), -1) for piece in pieces])
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).any(1).sum())
        raise InputError(
            f"{source} has {plural(bad, 'label')} that cannot be used (NaN or infinite); correct them."
        )
    if values.shape[1] > 1:
        if values.dtype.kind not in "biuf":
            raise InputError(f"The labels of {source} are vectors of {values.dtype}; use finite numbers.")
        fitting = tuple(map(str, names)) if len(names) == values.shape[1] else None
        return vectors(values.astype(float).tolist(), fitting)
    flat = values[:, 0]
    if flat.dtype.kind == "f":
        if not (flat == np.floor(flat)).all():
            return LabelSchema("continuous", ("label",)), [[float(x)] for x in flat]
        flat = flat.astype(np.int64)
    if flat.dtype.kind == "S":
        flat = np.char.decode(flat, "utf-8")
    if flat.dtype.kind in "iu" and names:
        if int(flat.min()) < 0 or int(flat.max()) >= len(names):
            raise InputError(
                f"{source} has labels up to {flat.max()} and only {len(names)} class names; add the others."
            )
        known = tuple(map(str, names))
        return LabelSchema("categorical", known), [known[i] for i in flat]
    texts = list(map(str, flat.tolist()))
    return categorical(texts), texts


def interleaved(pieces: Sequence[Piece], refs: Sequence[str], what: Path) -> Blocks:
    """All images in the order of `refs`, each piece still read once from its begin to its end.

    Args:
        pieces: where the images lie.
        refs: what each image is called, the images of one piece in their order.
        what: the file that says so, for the sentence.

    Raises:
        InputError: `refs` names other images than there are, or those of a piece in another order.
    """
    number = {piece.key: i for i, piece in enumerate(pieces)}
    turns = np.array([number.get(ref.rpartition("[")[0], -1) for ref in refs])
    for i, piece in enumerate(pieces):
        named = [ref for ref, turn in zip(refs, turns) if turn == i]
        if named != piece.refs or (turns < 0).any():
            raise InputError(
                f"{what} has {plural(len(named), 'row')} for {plural(piece.shape[0], 'image')} of "
                f"'{piece.key}', or not in their order; export again."
            )

    def blocks(start: int) -> Iterator[NDArray[np.uint8]]:
        before = np.bincount(turns[:start], minlength=len(pieces)).tolist()
        streams = [
            itertools.chain.from_iterable(piece.read(done)) for piece, done in zip(pieces, before)
        ]  # Nothing is opened before the first image is asked for.
        for at in range(start, len(turns), BLOCK):
            yield np.stack([next(streams[turn]) for turn in turns[at : at + BLOCK]])

    return blocks


# Arrays in streams of bytes


def read_rows(
    file: IO[bytes], dtype: np.dtype[Any], shape: Sequence[int], start: int, source: Path
) -> Iterator[NDArray[Any]]:
    """Blocks of an array's rows from `start` on.

    Args:
        file: stands before the first value; they are in C order.
        dtype: type of the values.
        shape: of the array.
        start: the first row wanted.
        source: what is read, for the sentence.

    Raises:
        InputError: the stream is damaged or ends early.
    """
    row = math.prod(shape[1:]) * dtype.itemsize
    block = max(1, min(BLOCK, 2**24 // row))
    try:
        file.seek(start * row, 1)
        for at in range(start, shape[0], block):
            n = min(block, shape[0] - at)
            data = file.read(n * row)
            if len(data) != n * row:
                raise EOFError("it is truncated")
            yield np.frombuffer(data, dtype).reshape(n, *shape[1:])
    except Exception as error:  # zlib, gzip, zipfile and EOF errors alike.
        raise InputError(f"{source} is damaged ({error}); fetch or save it again.") from None


def check_length(what: str, stated: int, *, found: int | None = None, packed: int | None = None) -> None:
    """Refuse headers that cannot be true, and decompression bombs.

    Args:
        what: the file or member, for the sentence.
        stated: bytes that the header says follow.
        found: bytes that follow, where that is known.
        packed: bytes of the compressed data, where they are compressed.

    Raises:
        InputError: they must not be read.
    """
    if found is not None and stated != found:
        raise InputError(
            f"{what} is truncated or damaged: its header says {stated:,} bytes and {max(0, found):,} follow; "
            "fetch or save it again."
        )
    if packed is None:
        return
    if stated > _DEFLATE_MOST * packed + 1024:
        raise InputError(f"{what} is truncated: its header says {stated:,} bytes; fetch or save it again.")
    if stated > MAX_BYTES // 2 and stated > _SUSPICIOUS * packed:
        raise InputError(
            f"{what} unpacks {packed / 2**20:,.1f} MiB to {stated / 2**20:,.0f} MiB (a "
            "decompression bomb?); save it uncompressed if its content is right."
        )


def check_pixels(what: str, height: int, width: int) -> None:
    """InputError for images with more pixels than any picture file may have."""
    if height * width > MAX_PIXELS:
        raise InputError(
            f"{what} has images of {width:,}×{height:,} pixels, more than {MAX_PIXELS:,}; save smaller ones."
        )


def check_labels(what: str, count: int, images: int) -> None:
    """InputError unless there is a label for each image."""
    if count != images:
        raise InputError(
            f"{what} has {plural(count, 'label')} for {plural(images, 'image')}; they must match."
        )
