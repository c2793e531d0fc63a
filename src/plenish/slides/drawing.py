"""A balanced draw: as many tiles of each class, and of each slide, as were asked for; seeded."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Pick = tuple[int, int]
"""A slide's position and a tile's in its plan."""


@dataclasses.dataclass(frozen=True)
class Draw:
    """How many tiles are kept.

    Attributes:
        per_class: at most so many of each class; None takes all.
        per_slide: at most so many of each class from one slide; None takes all.
        seed: of the draw.
    """

    per_class: int | None = None
    per_slide: int | None = None
    seed: int = 0

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self.per_class is None and self.per_slide is None


def draw(
    classes: Sequence[NDArray[np.int32]], names: Sequence[str], how: Draw,
    passing: Callable[[list[Pick]], list[bool]] | None = None,
) -> list[NDArray[np.intp]]:  # fmt: skip
    """Choose tiles.

    A tile's turn is a function of the seed, its slide's name and its place in the plan, so another slide in
    the list does not change which tiles of this one come first.

    Args:
        classes: for each slide the class of each tile, whole numbers.
        names: of the slides.
        how: how many.
        passing: says of tiles whether the filters let them pass; those that they do not are chosen
            too (and will be rejected, and listed, when they are read), but not counted.

    Returns:
        For each slide the chosen tiles, rising.
    """
    turns = [_turns(name, how.seed, len(kinds)) for name, kinds in zip(names, classes)]
    slide = np.repeat(np.arange(len(classes)), [len(kinds) for kinds in classes])
    tile = np.concatenate([np.arange(len(kinds)) for kinds in classes]) if len(classes) else slide
    kind = np.concatenate(classes) if len(classes) else slide
    turn = np.concatenate(turns) if turns else slide
    chosen: list[Pick] = []
    for one in np.unique(kind):
        mine = np.flatnonzero(kind == one)
        mine = mine[np.lexsort((tile[mine], slide[mine], turn[mine]))]
        queue = [(int(slide[i]), int(tile[i])) for i in mine]
        chosen += _accept(queue, how, passing)
    result: list[list[int]] = [[] for _ in classes]
    for which, place in chosen:
        result[which].append(place)
    return [np.array(sorted(places), np.intp) for places in result]


def _turns(name: str, seed: int, count: int) -> NDArray[np.float64]:
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.default_rng([seed, word]).random(count)


def _accept(queue: list[Pick], how: Draw, passing: Callable[[list[Pick]], list[bool]] | None) -> list[Pick]:
    """Go through one class in turn until there are enough; the filters are asked about batches ahead."""
    enough = len(queue) if how.per_class is None else how.per_class
    of_slide: dict[int, int] = {}
    accepted, failed = 0, 0
    chosen: list[Pick] = []
    at = 0
    while accepted < enough and at < len(queue):
        missing = enough - accepted
        batch: list[Pick] = []
        while at < len(queue) and len(batch) < missing + missing // 4 + 16:
            if how.per_slide is None or of_slide.get(queue[at][0], 0) < how.per_slide:
                batch.append(queue[at])
            at += 1
        verdicts = [True] * len(batch) if passing is None else passing(batch)
        for pick, passes in zip(batch, verdicts):
            full = how.per_slide is not None and of_slide.get(pick[0], 0) >= how.per_slide
            if full or accepted >= enough:
                continue
            chosen.append(pick)
            if passes:
                accepted += 1
                of_slide[pick[0]] = of_slide.get(pick[0], 0) + 1
            else:
                failed += 1
    return chosen


__all__ = ["Draw", "draw"]
