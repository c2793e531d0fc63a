"""How the answer for a slide follows from its tiles, and how it moves when some of them change."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What the mean of probabilities says of a slide.

    Attributes:
        mean: probabilities K, the mean over the tiles.
        to: number of the class that is asked for.
        tags: whether each class is a tag of its own.
    """

    mean: Floats
    to: int
    tags: bool

    @property
    def other(self) -> int:
        """The class with the largest mean beside the one asked for; of tags that itself."""
        if self.tags:
            return self.to
        return int(np.where(np.arange(len(self.mean)) == self.to, -1, self.mean).argmax())

    @property
    def turned(self) -> bool:
        """Whether the slide is of the class asked for: its mean is the largest, of tags at least one half."""
        if self.tags:
            return bool(self.mean[self.to] >= 0.5)
        return bool(self.mean[self.to] > self.mean[self.other])


def decisive(sure: Floats, to: int, *, tags: bool) -> NDArray[np.int64]:
    """Tiles in the order in which they speak against a class, those that most decide the answer first.

    That is the probability of the slide's answer less that of the class; of tags one less that of the tag.

    Args:
        sure: probabilities N×K of the tiles.
        to: number of the class asked for.
        tags: whether each class is a tag of its own.
    """
    against = 1 - sure[:, to] if tags else sure[:, Answer(sure.mean(0), to, tags).other] - sure[:, to]
    return np.argsort(-against, kind="stable")


def least_tiles(sure: Floats, to: int, *, tags: bool, reached: float = 1.0) -> int | None:
    """How many tiles at least must be of a class with some probability, so that the slide is.

    Each other class, or tag, is looked at by itself, so that with more than two classes it may take more.

    Args:
        sure: probabilities N×K of the tiles.
        to: number of the class.
        tags: whether each class is a tag of its own.
        reached: probability of the class that a tile gets, the rest going to one other.

    Returns:
        The number; None where all tiles do not suffice.
    """
    if tags:
        needs = [_least(0.5 - sure[:, to], 0.5 - reached, strict=False)]
    else:
        others = [k for k in range(sure.shape[1]) if k != to]
        needs = [_least(sure[:, k] - sure[:, to], 1 - 2 * reached, strict=True) for k in others]
    found = [need for need in needs if need is not None]
    return max(found) if len(found) == len(needs) else None


def _least(against: Floats, becomes: float, *, strict: bool) -> int | None:
    """How many of some numbers must become another one so that their sum is below 0, or at most 0."""
    gain = np.sort(against - becomes)[::-1]
    sums = against.sum() - np.concatenate([[0.0], np.cumsum(gain)])
    reached = sums < -1e-12 if strict else sums <= 1e-12
    return int(reached.argmax()) if reached.any() else None


def means_after(sure: Floats, rows: NDArray[np.int64], new: Floats) -> Floats:
    """Mean probabilities of a slide after one tile after another is replaced.

    Args:
        sure: probabilities N×K of the tiles.
        rows: the tiles that are replaced, n, in order.
        new: their probabilities afterwards, n×K.

    Returns:
        (n+1)×K; the first row is that of no tile.
    """
    steps = np.concatenate([np.zeros((1, sure.shape[1])), np.cumsum(new - sure[rows], axis=0)])
    return np.asarray(sure.mean(0) + steps / len(sure))


def first_turned(means: Floats, to: int, *, tags: bool) -> int | None:
    """After how many tiles the slide is of the class asked for; None where it never is."""
    turned = [k for k, mean in enumerate(means) if Answer(mean, to, tags).turned]
    return turned[0] if turned else None


def curve_rows(
    turned: Floats, inverted: Floats, to: int, *, tags: bool, names: tuple[str, ...]
) -> list[dict[str, Any]]:
    """A row for each number of tiles turned.

    Args:
        turned: mean probabilities (n+1)×K after k tiles are turned.
        inverted: the same where these tiles are replaced by their inversions alone.
        to: number of the class asked for.
        tags: whether each class is a tag of its own.
        names: of the classes.
    """
    return [
        {
            "tiles": k, **{f"mean_{name}": float(turned[k, i]) for i, name in enumerate(names)},
            "turned": Answer(turned[k], to, tags).turned,
            "inverted_only": float(inverted[k, to]),
            "inverted_turned": Answer(inverted[k], to, tags).turned,
        }
        for k in range(len(turned))
    ]  # fmt: skip
