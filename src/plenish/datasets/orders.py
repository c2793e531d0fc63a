"""Orders of training images: which image is drawn at each number, as a function of that number alone."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Draw = Callable[[int], np.random.Generator]
"""The random stream of an epoch."""


class Order:
    """Shuffled epochs as a pure function of the global sample number.

    Sample n lies in epoch n // N; each epoch is a permutation drawn for that epoch alone, so any position can
    be reached without replaying what came before.

    Attributes:
        length: draws of an epoch.
    """

    def __init__(self, y: NDArray[Any], draw: Draw) -> None:
        """Shuffle the images of these labels, N or N×K; only their number counts."""
        self.length, self._draw = len(y), draw
        self._epoch, self._positions = -1, np.empty(0, np.int64)

    def epoch(self, rng: np.random.Generator) -> Ints:
        """The positions of one epoch, `length` of them."""
        return rng.permutation(self.length)

    def expected(self) -> NDArray[np.float64]:
        """How often each image is drawn in an epoch on average, N."""
        return np.ones(self.length)

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

    def __init__(self, y: NDArray[Any], draw: Draw, draws: int | None = None) -> None:
        """Prepare the classes of these class numbers, N.

        Args:
            y: class numbers.
            draw: random streams of the epochs.
            draws: draws of an epoch; what is left over of equal shares goes to some classes by chance. By
                default as many as there are images, rounded up to equal shares.
        """
        super().__init__(y, draw)
        self._classes = [np.flatnonzero(y == k) for k in np.unique(y)]
        self._images = len(y)
        self.length = draws or len(self._classes) * -(-len(y) // len(self._classes))

    def expected(self) -> NDArray[np.float64]:
        """How often each image is drawn in an epoch on average, N."""
        found = np.zeros(self._images)
        for members in self._classes:
            found[members] = self.length / (len(self._classes) * len(members))
        return found

    def epoch(self, rng: np.random.Generator) -> Ints:
        """The positions of one epoch."""
        share, left = divmod(self.length, len(self._classes))
        shares = np.full(len(self._classes), share)
        if left:
            shares[rng.permutation(len(self._classes))[:left]] += 1
        drawn = [
            np.concatenate(
                [members[:0], *(rng.permutation(members) for _ in range(-(-own // len(members))))]
            )[:own]
            for members, own in zip(self._classes, shares)
        ]
        return rng.permutation(np.concatenate(drawn))


class WeightedOrder(Order):
    """Epochs of independent draws with replacement, each class equally likely at every one.

    An image's weight is 1 over the number of images of its class: rare classes are over-sampled and frequent
    ones under-sampled, and how often each comes varies by chance.
    """

    def __init__(self, y: NDArray[Any], draw: Draw, draws: int | None = None) -> None:
        """Weigh the images of these class numbers, N; `draws` of an epoch are by default N."""
        super().__init__(y, draw)
        _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
        self._images, self.length = len(y), draws or len(y)
        self._p = 1 / (len(counts) * counts[codes])

    def expected(self) -> NDArray[np.float64]:
        """How often each image is drawn in an epoch on average, N."""
        return np.asarray(self.length * self._p)

    def epoch(self, rng: np.random.Generator) -> Ints:
        """The positions of one epoch."""
        return rng.choice(self._images, self.length, p=self._p)


class DopedOrder(Order):
    """Epochs of every real image once, and as many synthetic ones as fill each class up to a target.

    The class with the most real images is left alone, and so are classes that have as many as the target.
    Every epoch draws its synthetic images anew, without replacement.
    """

    def __init__(self, y: NDArray[Any], draw: Draw, real: int, target: int) -> None:
        """Prepare the classes.

        Args:
            y: class numbers N, of the real images first.
            draw: random streams of the epochs.
            real: how many of them are real.
            target: images of each class; 0 for real images alone.

        Raises:
            ValueError: a class has too few synthetic images; `missing_images` tells before.
        """
        super().__init__(y, draw)
        self._real = np.arange(real, dtype=np.int64)
        wanted = fill(np.bincount(y[:real], minlength=int(y.max()) + 1), target)
        members = [real + np.flatnonzero(y[real:] == k) for k in range(len(wanted))]
        if any(len(m) < n for m, n in zip(members, wanted)):
            raise ValueError("too few synthetic images for this target")
        self._wanted = [(m, int(n)) for m, n in zip(members, wanted) if n]
        self._images, self.length = len(y), real + int(wanted.sum())

    def expected(self) -> NDArray[np.float64]:
        """How often each image is drawn in an epoch on average, N."""
        found = np.zeros(self._images)
        found[self._real] = 1
        for members, wanted in self._wanted:
            found[members] = wanted / len(members)
        return found

    def epoch(self, rng: np.random.Generator) -> Ints:
        """The positions of one epoch."""
        drawn = [rng.permutation(members)[:wanted] for members, wanted in self._wanted]
        return rng.permutation(np.concatenate([self._real, *drawn]))


class SharedOrder(Order):
    """Batches of which the same share is synthetic, spread evenly over each.

    Real and synthetic images each come in epochs of their own. An epoch is as many batches as show as many
    real images as there are.
    """

    def __init__(
        self,
        y: NDArray[Any],
        draw: Draw,
        real: int,
        share: float,
        batch: int,
        kind: Callable[[NDArray[Any], Draw], Order] = Order,
    ) -> None:
        """Prepare both sides.

        Args:
            y: labels, of the real images first.
            draw: random streams of the epochs; the real side uses the even ones.
            real: how many of them are real.
            share: of synthetic images in a batch; at least one image of each side is drawn.
            batch: images of a batch.
            kind: order of each side.
        """
        super().__init__(y, draw)
        self._images, self._real, self._batch = len(y), real, batch
        self._made = synthetic_in_batch(share, batch)
        self._sides = (
            kind(y[:real], lambda epoch: draw(2 * epoch)),
            kind(y[real:], lambda epoch: draw(2 * epoch + 1)),
        )
        self.length = -(-real // (batch - self._made)) * batch

    def expected(self) -> NDArray[np.float64]:
        """How often each image is drawn in an epoch on average, N."""
        batches, drawn = self.length // self._batch, (self._batch - self._made, self._made)
        return np.concatenate(
            [
                side.expected() * (batches * number / side.length)
                for side, number in zip(self._sides, drawn, strict=True)
            ]
        )

    def __call__(self, numbers: Ints) -> Ints:
        """Positions of global sample numbers."""
        batches, places = np.divmod(numbers, self._batch)
        before = places * self._made // self._batch
        is_made = (places + 1) * self._made // self._batch > before
        made = batches * self._made + before  # Synthetic images drawn before each of these.
        found = np.empty(len(numbers), np.int64)
        found[~is_made] = self._sides[0]((numbers - made)[~is_made])
        found[is_made] = self._real + self._sides[1](made[is_made])
        return found


def synthetic_in_batch(share: float, batch: int) -> int:
    """Synthetic images in a batch that is to hold this share of them: at least one, and one real image."""
    return min(max(round(share * batch), 1), batch - 1)


def fill(counts: NDArray[np.int64], target: int) -> Ints:
    """Synthetic images of each class, K, that fill these real ones up to a target.

    None for the class with the most real images (for each of those, where several have the most), for
    classes with as many as the target, and for classes without real images.
    """
    spared = (counts == counts.max()) | (counts == 0)
    return np.where(spared, 0, np.maximum(0, target - counts)).astype(np.int64)


class PhasedOrder(Order):
    """Orders one after another, each for a number of images; the last has no end.

    Random streams are numbered on over the phases, so that one phase draws as its order alone would.
    """

    def __init__(self, phases: Sequence[tuple[int, Callable[[Draw], Order]]], draw: Draw) -> None:
        """Prepare the phases.

        Args:
            phases: of each, the images drawn in it and what makes its order.
            draw: random streams of all epochs.
        """
        self._starts, self._orders = [0], list[Order]()
        before = 0
        for images, make in phases:
            order = make(lambda epoch, before=before: draw(before + epoch))  # type: ignore[misc]
            self._orders.append(order)
            self._starts.append(self._starts[-1] + images)
            before += -(-images // order.length)
        self.length, self._draw = self._starts[-1], draw

    def __call__(self, numbers: Ints) -> Ints:
        """Positions of global sample numbers."""
        phase = np.minimum(np.searchsorted(self._starts, numbers, "right"), len(self._orders)) - 1
        found = np.empty(len(numbers), np.int64)
        for k in np.unique(phase):
            mine = phase == k
            found[mine] = self._orders[k](numbers[mine] - self._starts[k])
        return found


class SequentialOrder(Order):
    """Every image in the order of the Dataset, over and over."""

    def epoch(self, rng: np.random.Generator) -> Ints:
        """The positions of one epoch."""
        return np.arange(self.length)


class RandomOrder(Order):
    """Independent draws with replacement, every image equally likely: there are no true epochs."""

    def epoch(self, rng: np.random.Generator) -> Ints:
        """The positions of as many draws as there are images."""
        return rng.integers(self.length, size=self.length)


class FixedBatches(Order):
    """Batches formed once by shuffling; each epoch shows all of them, in the same order.

    The last batch is filled up with the first images of the first one, so that all are of one size.
    """

    def __init__(self, y: NDArray[Any], draw: Draw, batch: int) -> None:
        """Form the batches.

        Args:
            y: labels of the images; only their number counts.
            draw: random streams; the batches are formed from the first.
            batch: images of a batch.
        """
        super().__init__(y, draw)
        self._images = len(y)
        self._formed = np.resize(draw(0).permutation(len(y)), (-(-len(y) // batch), batch))
        self.length = self._formed.size

    def expected(self) -> NDArray[np.float64]:
        """How often each image is drawn in an epoch on average, N."""
        shares = np.bincount(self._formed.reshape(-1), minlength=self._images)
        return np.asarray(shares * (self.length / self._formed.size), np.float64)

    def epoch(self, rng: np.random.Generator) -> Ints:
        """The positions of one epoch."""
        return self._formed.reshape(-1)


class PreformedBatches(FixedBatches):
    """Batches formed once by shuffling; each step draws one of them with replacement.

    An "epoch" is one batch. Images of a batch always come together.
    """

    def __init__(self, y: NDArray[Any], draw: Draw, batch: int) -> None:
        """Form the batches as `FixedBatches` does; the choices are drawn from the next streams."""
        super().__init__(y, draw, batch)
        self._draw, self.length = lambda epoch: draw(epoch + 1), batch

    def epoch(self, rng: np.random.Generator) -> Ints:
        """The positions of one batch."""
        chosen: Ints = self._formed[rng.integers(len(self._formed))]
        return chosen


class RandomBatches(Order):
    """Each batch drawn anew from all images: none twice in a batch, as long as there are so many.

    An "epoch" is one batch.
    """

    def __init__(self, y: NDArray[Any], draw: Draw, batch: int) -> None:
        """Draw batches of `batch` images; of the labels only their number counts."""
        super().__init__(y, draw)
        self._images, self.length = len(y), batch

    def expected(self) -> NDArray[np.float64]:
        """How often each image is drawn in a batch on average, N."""
        return np.full(self._images, self.length / self._images)

    def epoch(self, rng: np.random.Generator) -> Ints:
        """The positions of one batch."""
        again = self.length > self._images
        return rng.choice(self._images, self.length, replace=again)


Composition = Literal[
    "shuffled", "sequential", "random", "fixed-batches", "random-batches", "preformed-batches"
]
"""How the batches of a generator's training are put together, by name."""
BATCHES: dict[str, type[FixedBatches] | type[RandomBatches]] = {
    "fixed-batches": FixedBatches, "random-batches": RandomBatches, "preformed-batches": PreformedBatches,
}  # fmt: skip
"""Orders that draw whole batches, by name; step k of a training takes the k-th of their batches."""
UNLABELLED: dict[str, type[Order]] = {
    "shuffled": Order, "sequential": SequentialOrder, "random": RandomOrder,
}  # fmt: skip
"""Orders of single images that need no class numbers, by name."""


def batch_order(name: str, batch: int) -> Callable[[NDArray[Any], Draw], Order]:
    """What makes an order of `BATCHES` or `UNLABELLED`, for steps of `batch` images."""
    if name in BATCHES:
        return functools.partial(BATCHES[name], batch=batch)
    return UNLABELLED[name]


ORDERS: dict[str, type[Order]] = {
    "shuffled": Order, "balanced": BalancedOrder, "weighted": WeightedOrder,
}  # fmt: skip
"""Orders of the training images by name."""
