"""Labelled images for training a classifier: joined from sources, and the statistics of their pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Subset
from plenish.datasets.pixels import chunks

Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Images:
    """Images with a class each, read when needed: what is trained on or evaluated.

    Attributes:
        read: positions → uint8 N×H×W×C.
        codes: class numbers, N.
    """

    read: Callable[[Ints], Pixels]
    codes: Ints

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


def join(sources: Sequence[tuple[Images, Ints]]) -> Images:
    """Several sources one after another, each by positions (which may repeat), as one."""
    starts = np.cumsum([0, *(len(positions) for _, positions in sources)])

    def read(index: Ints) -> Pixels:
        owner = np.searchsorted(starts, index, side="right") - 1
        parts = []
        for number, (source, positions) in enumerate(sources):
            mine = np.flatnonzero(owner == number)
            if len(mine):
                parts.append((mine, source.read(positions[index[mine] - starts[number]])))
        pixels = np.empty((len(index), *parts[0][1].shape[1:]), np.uint8)
        for mine, part in parts:
            pixels[mine] = part
        return pixels

    return Images(read, np.concatenate([source.codes[positions] for source, positions in sources]))


def channel_statistics(images: Images, batch: int = 512) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel over all pixels of all images, on the scale [-1, 1]."""
    total: Any = 0.0
    squares: Any = 0.0
    count, levels = 0, np.arange(256)
    for index in chunks(len(images.codes), batch):
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
