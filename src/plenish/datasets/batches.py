"""From shards to batches: a stateless shuffled order, and a reader that runs ahead of the training step."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Generator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Subset
from plenish.errors import InputError


class Order:
    """Shuffled epochs as a pure function of the global sample number.

    Sample n lies in epoch n // N; each epoch is a permutation drawn from (seed, attempt, epoch) alone, so any
    position can be reached without replaying what came before.
    """

    def __init__(self, length: int, seed: int, attempt: int = 0) -> None:
        """Shuffle `length` positions."""
        self.length, self._key = length, (seed, attempt)
        self._epoch, self._permutation = -1, np.empty(0, np.int64)

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            seed, attempt = self._key
            self._permutation = np.random.default_rng((seed, attempt, epoch)).permutation(self.length)
            self._epoch = epoch
        return self._permutation

    def positions(self, start: int, count: int) -> NDArray[np.int64]:
        """Positions of samples start .. start+count-1."""
        pieces = []
        while count:
            epoch, offset = divmod(start, self.length)
            piece = self._epoch_order(epoch)[offset : offset + count]
            pieces.append(piece)
            start, count = start + len(piece), count - len(piece)
        return np.concatenate(pieces)


class Batch(NamedTuple):
    """One training batch.

    Attributes:
        start: global number of its first sample.
        pixels: uint8 N×H×W×C.
        y: float32 N×K.
        waited: seconds the training loop waited for it.
    """

    start: int
    pixels: NDArray[np.uint8]
    y: NDArray[np.float32]
    waited: float


def training_batches(
    subset: Subset,
    batch: int | Callable[[int], int],
    *,
    seed: int,
    attempt: int = 0,
    start: int = 0,
    ahead: int = 3,
) -> Generator[Batch, None, None]:
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
    if subset.part != "train":
        raise InputError(f"Training takes rows of the train part; these are {subset.part} rows.")
    order = Order(len(subset), seed, attempt)
    y = subset.y()
    ready: queue.Queue[Batch | BaseException] = queue.Queue(ahead)
    stop = threading.Event()

    def read() -> None:
        position = start
        try:
            while not stop.is_set():
                count = batch if isinstance(batch, int) else batch(position)
                index = order.positions(position, count)
                made = Batch(position, subset.images(index), y[index], 0.0)
                position += count
                while not stop.is_set():
                    try:
                        ready.put(made, timeout=0.1)
                        break
                    except queue.Full:
                        continue
        except BaseException as error:
            ready.put(error)

    reader = threading.Thread(target=read, name="plenish-reader", daemon=True)
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
