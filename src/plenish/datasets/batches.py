"""From shards to batches: a stateless shuffled order, and a reader that runs ahead of the training step."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.parts import Subset
from plenish.errors import InputError

Ints = NDArray[np.int64]
Draw = Callable[[int], np.random.Generator]
"""The random stream of an epoch."""


class Order:
    """Shuffled epochs as a pure function of the global sample number.

    Sample n lies in epoch n // N; each epoch is a permutation drawn for that epoch alone, so any position can
    be reached without replaying what came before.
    """

    def __init__(self, y: NDArray[Any], draw: Draw) -> None:
        """Shuffle the images of these labels, N or N×K; only their number counts."""
        self.length, self._draw = len(y), draw
        self._epoch, self._positions = -1, np.empty(0, np.int64)

    def epoch(self, rng: np.random.Generator) -> Ints:
        """The positions of one epoch, `length` of them."""
        return rng.permutation(self.length)

    def __call__(self, numbers: Ints) -> Ints:
        """Positions of global sample numbers."""
        epochs, places = np.divmod(numbers, self.length)
        found = np.empty(len(numbers), np.int64)
        for epoch in np.unique(epochs):
            if epoch != self._epoch:
                self._epoch, self._positions = int(epoch), self.epoch(self._draw(int(epoch)))
            mine = epochs == epoch
            found[mine] = self._positions[places[mine]]
        return found


class BalancedOrder(Order):
    """Epochs that hold every class equally often.

    Each class goes through a new order of its own before any of its images comes again.
    """

    def __init__(self, y: NDArray[Any], draw: Draw) -> None:
        """Prepare the classes of these class numbers, N."""
        super().__init__(y, draw)
        self._classes = [np.flatnonzero(y == k) for k in np.unique(y)]
        self.length = len(self._classes) * -(-len(y) // len(self._classes))

    def epoch(self, rng: np.random.Generator) -> Ints:
        """The positions of one epoch."""
        share = self.length // len(self._classes)
        drawn = [
            np.concatenate([rng.permutation(members) for _ in range(-(-share // len(members)))])[:share]
            for members in self._classes
        ]
        return rng.permutation(np.concatenate(drawn))


ORDERS: dict[str, type[Order]] = {"shuffled": Order, "balanced": BalancedOrder}
"""Orders of the training images by name."""


class Batch(NamedTuple):
    """One training batch, or a process's share of it.

    Attributes:
        start: global number of the first sample of the whole batch.
        total: images of the whole batch, over all processes.
        numbers: global sample numbers of these images, N.
        pixels: uint8 N×H×W×C: an array, or a torch tensor on the device.
        y: labels of these images, N×K or N.
        waited: seconds the training loop waited for it.
        inputs: numbers given beside these images, N×D, or None.
    """

    start: int
    total: int
    numbers: Ints
    pixels: Any
    y: NDArray[Any]
    waited: float
    inputs: NDArray[np.float32] | None = None


def epoch_draw(seed: int, attempt: int = 0) -> Draw:
    """Random streams of the epochs of a training; `attempt` rises when it is rolled back."""
    return lambda epoch: np.random.default_rng((seed, attempt, epoch))


@dataclasses.dataclass(frozen=True)
class Images:
    """Images with their labels, and the order they come in where they are trained on.

    Attributes:
        read: positions → their images, uint8 N×H×W×C: an array, or a torch tensor on the device.
        y: labels of all images, N×K, or class numbers N.
        order: name of their order, a key of `ORDERS`; `balanced` needs class numbers.
        draw: (seed, attempt) → the random streams of the epochs.
        inputs: numbers given beside all images, N×D, or None.
    """

    read: Callable[[Ints], Any]
    y: NDArray[Any]
    order: str = "shuffled"
    draw: Callable[[int, int], Draw] = epoch_draw
    inputs: NDArray[np.float32] | None = None

    @classmethod
    def of(cls, subset: Subset) -> Images:
        """The rows of a Dataset's train part.

        Raises:
            InputError: they belong to another part.
        """
        if subset.part != "train":
            raise InputError(f"Training takes rows of the train part; these are {subset.part} rows.")
        return cls(subset.images, subset.y())

    def batches(
        self, batch: int | Callable[[int], int], *, seed: int, attempt: int = 0, start: int = 0,
        rank: int = 0, world: int = 1, ahead: int = 3,
    ) -> Generator[Batch, None, None]:  # fmt: skip
        """Endless batches in a stateless order; close the generator to end its thread.

        Args:
            batch: images a batch over all processes, or a function of the global number of its first sample.
            seed: seed of the order.
            attempt: rises when a training is rolled back, so that it does not replay the same order.
            start: global number of the first sample.
            rank: number of this process, which gets a slice of each batch.
            world: how many processes share a batch.
            ahead: batches kept ready by a thread; 0 reads when asked, without a thread.

        Raises:
            InputError: the processes cannot share a batch equally.
        """
        order = ORDERS[self.order](self.y, self.draw(seed, attempt))

        def made() -> Generator[Batch, None, None]:
            position = start
            while True:
                total = batch if isinstance(batch, int) else batch(position)
                check_divisible(total, world)
                first, last = (position + total * part // world for part in (rank, rank + 1))
                numbers = np.arange(first, last)
                where = order(numbers)
                inputs = None if self.inputs is None else self.inputs[where]
                yield Batch(position, total, numbers, self.read(where), self.y[where], 0.0, inputs)
                position += total

        source = _read_ahead(made(), ahead) if ahead else made()
        try:
            while True:
                before = time.perf_counter()
                item = next(source)
                yield item._replace(waited=time.perf_counter() - before)
        finally:
            source.close()


def check_divisible(batch: int, world: int) -> None:
    """Refuse a batch that the processes of a training cannot share equally.

    Raises:
        InputError: it is no multiple of their number.
    """
    if batch % world:
        raise InputError(
            f"A batch of {batch} cannot be divided equally among {world} processes; give a multiple with "
            "--batch, or start another number of processes."
        )


def _read_ahead(batches: Iterator[Batch], ahead: int) -> Generator[Batch, None, None]:
    """Draw batches in a thread, which ends with the generator."""
    # SimpleQueue, because an interrupt of the main thread cannot leave it locked.
    wanted: queue.SimpleQueue[bool] = queue.SimpleQueue()
    ready: queue.SimpleQueue[Batch | BaseException] = queue.SimpleQueue()
    stop = threading.Event()

    def work() -> None:
        try:
            while wanted.get() and not stop.is_set():
                ready.put(next(batches))
        except BaseException as error:
            ready.put(error)

    reader = threading.Thread(target=work, name="plenish-reader", daemon=True)
    reader.start()
    for _ in range(ahead):
        wanted.put(True)
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            wanted.put(True)
            yield item
    finally:
        stop.set()
        wanted.put(False)
        reader.join(timeout=5)
