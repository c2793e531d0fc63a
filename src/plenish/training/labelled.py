"""Labelled images for training a classifier: joined from sources, drawn in a stateless order."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Subset
from plenish.training.engine import stable_seed

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


class Sampler:
    """Which images step after step, a function of (seed, global sample index).

    Every epoch is a new order of all images; balanced, an epoch holds every class equally often, each class
    going through a new order of its own before any of its images comes again.
    """

    def __init__(self, codes: Ints, seed: int, *, balanced: bool = False) -> None:
        """Prepare the orders of `codes`' images."""
        self._codes, self._seed, self._balanced = codes, seed, balanced
        self._classes = [np.flatnonzero(codes == k) for k in np.unique(codes)] if balanced else []
        self.length = (
            len(codes) if not balanced else len(self._classes) * -(-len(codes) // len(self._classes))
        )
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def __call__(self, index: Ints) -> Ints:
        """Positions among the images of global sample numbers."""
        epochs, places = np.divmod(index, self.length)
        positions = np.empty(len(index), np.int64)
        for epoch in np.unique(epochs):
            mine = epochs == epoch
            positions[mine] = self._epoch_order(int(epoch))[places[mine]]
        return positions

    def frequencies(self, num_classes: int) -> NDArray[np.float64]:
        """Share of each of K classes among the images drawn, K."""
        drawn = self._codes[self(np.arange(self.length))]
        return np.asarray(np.bincount(drawn, minlength=num_classes) / self.length)

    def _epoch_order(self, epoch: int) -> Ints:
        if epoch != self._epoch:
            rng = np.random.default_rng(stable_seed(self._seed, "order", epoch))
            if self._balanced:
                share = self.length // len(self._classes)
                drawn = [
                    np.concatenate([rng.permutation(members) for _ in range(-(-share // len(members)))])[
                        :share
                    ]
                    for members in self._classes
                ]
                self._order = rng.permutation(np.concatenate(drawn))
            else:
                self._order = rng.permutation(len(self._codes))
            self._epoch = epoch
        return self._order


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
