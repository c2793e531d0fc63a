"""From images to batches: images in a stateless order, and a reader that runs ahead of the training step."""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.orders import ORDERS, Draw, Ints, Order
from plenish.datasets.parts import Subset
from plenish.errors import InputError


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
        order: name of their order, a key of `ORDERS`, or what makes one of labels and random streams; all
            but `shuffled` need class numbers.
        draw: (seed, attempt) → the random streams of the epochs.
        real: how many of them are real, which come first; None where all are.
        inputs: numbers given beside all images, N×D, or None.
    """

    read: Callable[[Ints], Any]
    y: NDArray[Any]
    order: str | Callable[[NDArray[Any], Draw], Order] = "shuffled"
    draw: Callable[[int, int], Draw] = epoch_draw
    real: int | None = None
    inputs: NDArray[np.float32] | None = None

    @property
    def n_real(self) -> int:
        """How many are real."""
        return len(self.y) if self.real is None else self.real

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
        make = ORDERS[self.order] if isinstance(self.order, str) else self.order
        order = make(self.y, self.draw(seed, attempt))

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


def join(sources: Sequence[tuple[Images, Ints]]) -> Images:
    """Several sources one after another, each by positions (which may repeat), as one."""
    starts = np.cumsum([0, *(len(positions) for _, positions in sources)])

    def read(index: Ints) -> NDArray[np.uint8]:
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

    return Images(read, np.concatenate([source.y[positions] for source, positions in sources]))


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
