"""Labelled images for training a classifier: joined from sources, and the statistics of their pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Subset

Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]


class Labelled(Protocol):
    """Images with a class each: what is trained on or evaluated."""

    @property
    def codes(self) -> Ints:
        """Class numbers, N."""

    def read(self, index: Ints) -> Pixels:
        """Images N×H×W×C uint8 at positions."""


@dataclasses.dataclass(frozen=True)
class Images:
    """Labelled images read when needed.

    Attributes:
        reader: positions → uint8 N×H×W×C.
        codes: class numbers, N.
    """

    reader: Callable[[Ints], Pixels]
    codes: Ints

    def read(self, index: Ints) -> Pixels:
        """Images N×H×W×C uint8 at positions."""
        return self.reader(index)

    @classmethod
    def of(cls, subset: Subset) -> Images:
        """The images of a Dataset's part, read from disk batch by batch.

        Raises:
            InputError: the labels are not classes.
        """
        return cls(subset.images, subset.codes)

    @classmethod
    def held(cls, pixels: Pixels, codes: Ints) -> Images:
        """Images held in memory."""
        return cls(lambda index: pixels[index], codes)


@dataclasses.dataclass(frozen=True)
class Joined:
    """Several sources one after another, each by positions (which may repeat), as one."""

    sources: Sequence[Labelled]
    positions: Sequence[Ints]

    @property
    def codes(self) -> Ints:
        """Class numbers, N."""
        return np.concatenate([s.codes[p] for s, p in zip(self.sources, self.positions)])

    def read(self, index: Ints) -> Pixels:
        """Images N×H×W×C uint8 at positions of the whole."""
        starts = np.cumsum([0, *map(len, self.positions)])
        owner = np.searchsorted(starts, index, side="right") - 1
        pixels: Pixels | None = None
        for number, (source, positions) in enumerate(zip(self.sources, self.positions)):
            mine = np.flatnonzero(owner == number)
            if len(mine):
                part = source.read(positions[index[mine] - starts[number]])
                if pixels is None:
                    pixels = np.empty((len(index), *part.shape[1:]), np.uint8)
                pixels[mine] = part
        assert pixels is not None
        return pixels


def channel_statistics(images: Labelled, batch: int = 512) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel over all pixels of all images, on the scale [-1, 1]."""
    total: Any = 0.0
    squares: Any = 0.0
    count, levels = 0, np.arange(256)
    for start in range(0, len(images.codes), batch):
        index = np.arange(start, min(start + batch, len(images.codes)))
        pixels = images.read(index)
        flat = pixels.reshape(-1, pixels.shape[-1])
        # Counts of the 256 values make the sums exact, whatever the order of the images.
        counts = np.stack([np.bincount(flat[:, c], minlength=256) for c in range(flat.shape[1])], axis=1)
        total = total + levels @ counts
        squares = squares + levels**2 @ counts
        count += len(flat)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1.0))
    return tuple(map(float, mean / 127.5 - 1)), tuple(map(float, std / 127.5))
