"""From shards to batches: a stateless shuffled order, and a reader that runs ahead of the training step."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Subset
from plenish.errors import InputError

Ints = NDArray[np.int64]
Draw = Callable[[int], np.random.Generator]
"""The random stream of an epoch."""


class Order:
    """Shuffled epochs as a pure function of the global sample number.

    Sample n lies in epoch n // N; each epoch is a permutation drawn for that epoch alone, so any position can
    be reached without replaying what came before.
    """

    def __init__(self, codes: Ints, draw: Draw) -> None:
        """Shuffle the images of these class numbers, N; here only their number counts."""
        self.length, self._draw, self._codes = len(codes), draw, codes
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

    def __init__(self, codes: Ints, draw: Draw) -> None:
        """Prepare the classes of `codes`."""
        super().__init__(codes, draw)
        self._classes = [np.flatnonzero(codes == k) for k in np.unique(codes)]
        self.length = len(self._classes) * -(-len(codes) // len(self._classes))

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
    """

    start: int
    total: int
    numbers: Ints
    pixels: Any
    y: NDArray[Any]
    waited: float


class Feed:
    """Endless batches in a stateless order.

    Args:
        read: positions → their images, uint8 N×H×W×C.
        y: labels of all images.
        order: which image a global sample number is.
        batch: images a batch over all processes, a function of the global number of its first sample.
        start: global number of the first sample.
        rank: number of this process, which gets a slice of each batch.
        world: how many processes share a batch.
        ahead: batches kept ready by a thread; 0 reads when asked, without a thread.
    """

    def __init__(
        self, read: Callable[[Ints], Any], y: NDArray[Any], order: Order, batch: Callable[[int], int], *,
        start: int = 0, rank: int = 0, world: int = 1, ahead: int = 3,
    ) -> None:  # fmt: skip
        self._read, self._y, self._order, self._batch = read, y, order, batch
        self._position, self._rank, self._world, self._ahead = start, rank, world, ahead

    def _next(self) -> Batch:
        start, total = self._position, self._batch(self._position)
        first, last = (total * part // self._world for part in (self._rank, self._rank + 1))
        numbers = np.arange(start + first, start + last)
        positions = self._order(numbers)
        self._position += total
        return Batch(start, total, numbers, self._read(positions), self._y[positions], 0.0)

    def __iter__(self) -> Generator[Batch, None, None]:
        """The batches; close the generator to end the reading thread."""
        if self._ahead:
            yield from self._read_ahead()
        while True:
            before = time.perf_counter()
            made = self._next()
            yield made._replace(waited=time.perf_counter() - before)

    def _read_ahead(self) -> Generator[Batch, None, None]:
        ready: queue.Queue[Batch | BaseException] = queue.Queue(self._ahead)
        stop = threading.Event()

        def work() -> None:
            try:
                while not stop.is_set():
                    made = self._next()
                    while not stop.is_set():
                        try:
                            ready.put(made, timeout=0.1)
                            break
                        except queue.Full:
                            continue
            except BaseException as error:
                ready.put(error)

        reader = threading.Thread(target=work, name="plenish-reader", daemon=True)
        reader.start()
        try:
            while True:
                before = time.perf_counter()
                item = ready.get()
                if isinstance(item, BaseException):
                    raise item
                yield item._replace(waited=time.perf_counter() - before)
        finally:
            stop.set()
            reader.join(timeout=5)


def epoch_draw(seed: int, attempt: int = 0) -> Draw:
    """Random streams of the epochs of a training; `attempt` rises when it is rolled back."""
    return lambda epoch: np.random.default_rng((seed, attempt, epoch))


def training_batches(
    subset: Subset, batch: int | Callable[[int], int], *, seed: int, attempt: int = 0, start: int = 0,
    ahead: int = 3,
) -> Generator[Batch, None, None]:  # fmt: skip
    """Endless shuffled batches of a train part, read ahead by one thread.

    Args:
        subset: rows of part `train`.
        batch: images a batch, or a function of the global number of its first sample.
        seed: seed of the order.
        attempt: rises when a run is rolled back, so that it does not replay the same order.
        start: global number of the first sample.
        ahead: batches kept ready.

    Raises:
        InputError: the rows are not training rows.
    """
    require_train_part(subset)
    order = Order(np.zeros(len(subset), np.int64), epoch_draw(seed, attempt))
    size = (lambda _: batch) if isinstance(batch, int) else batch
    return iter(Feed(subset.images, subset.y(), order, size, start=start, ahead=ahead))


def require_train_part(subset: Subset) -> None:
    """Refuse rows of another part than `train`.

    Raises:
        InputError: the rows are not training rows.
    """
    if subset.part != "train":
        raise InputError(f"Training takes rows of the train part; these are {subset.part} rows.")
