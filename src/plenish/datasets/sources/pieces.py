"""Arrays of images in several pieces (a file or key each), read as one, flat in memory."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError
from plenish.wording import plural

Blocks = Callable[[int], Iterator[NDArray[np.uint8]]]
"""Makes an iterator over pieces (n×H×W×C uint8) of the images from a row on."""
BLOCK = 256
"""Images read at once."""


@dataclasses.dataclass(frozen=True)
class Piece:
    """Some images of a source, which can be read from any of them on.

    Attributes:
        key: what its images are called: the third one is `key[2]`.
        count: their number.
        read: yields n×H×W×C uint8 from a row on.
    """

    key: str
    count: int
    read: Blocks

    @property
    def refs(self) -> list[str]:
        """What each image is called."""
        return [f"{self.key}[{i}]" for i in range(self.count)]


def chained(pieces: Sequence[Piece]) -> Blocks:
    """All images, piece after piece."""

    def blocks(start: int) -> Iterator[NDArray[np.uint8]]:
        for piece in pieces:
            if start < piece.count:
                yield from piece.read(start)
            start = max(0, start - piece.count)

    return blocks


def interleaved(pieces: Sequence[Piece], refs: Sequence[str], what: str) -> Blocks:
    """All images in the order of `refs`, each piece still read once from its begin to its end.

    Args:
        pieces: where the images lie.
        refs: what each image is called, the images of one piece in their order.
        what: the file that says so, for the sentence.

    Raises:
        InputError: `refs` names other images than there are, or those of a piece in another order.
    """
    turns = np.empty(len(refs), np.int16)
    met = dict.fromkeys((piece.key for piece in pieces), 0)
    number = {piece.key: i for i, piece in enumerate(pieces)}
    for row, ref in enumerate(refs):
        key = ref.rpartition("[")[0]
        if key not in met or ref != f"{key}[{met[key]}]":
            raise InputError(f"{what} names '{ref}' in another order than the images have; export again.")
        turns[row] = number[key]
        met[key] += 1
    for piece in pieces:
        if met[piece.key] != piece.count:
            raise InputError(
                f"{what} has {plural(met[piece.key], 'row')} for {plural(piece.count, 'image')} of "
                f"{piece.key}; export again."
            )

    def blocks(start: int) -> Iterator[NDArray[np.uint8]]:
        before = np.bincount(turns[:start], minlength=len(pieces)).tolist()
        streams = [
            itertools.chain.from_iterable(piece.read(done)) for piece, done in zip(pieces, before)
        ]  # Nothing is opened before the first image is asked for.
        for at in range(start, len(turns), BLOCK):
            yield np.stack([next(streams[turn]) for turn in turns[at : at + BLOCK]])

    return blocks
