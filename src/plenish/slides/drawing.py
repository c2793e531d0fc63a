"""A balanced draw: as many tiles of each class, and of each slide, as were asked for; seeded."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Pick = tuple[int, int]
"""A slide's position and a tile's in its plan."""
_BATCH = 20_000
"""Tiles that the filters are asked about at once, at most."""


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
    chosen = [np.empty(0, np.intp)]
    for one in np.unique(kind):
        mine = np.flatnonzero(kind == one)
        mine = mine[np.lexsort((tile[mine], slide[mine], turn[mine]))]
        chosen.append(mine[_accept(slide[mine], tile[mine], how, passing)])
    all_ = np.sort(np.concatenate(chosen))
    ends = np.searchsorted(slide[all_], np.arange(len(classes) + 1))
    return [tile[all_[first:last]].astype(np.intp) for first, last in itertools.pairwise(ends)]


def _turns(name: str, seed: int, count: int) -> NDArray[np.float64]:
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.default_rng([seed, word]).random(count)


def _accept(
    slides: NDArray[np.intp], tiles: NDArray[np.intp], how: Draw,
    passing: Callable[[list[Pick]], list[bool]] | None,
) -> NDArray[np.intp]:  # fmt: skip
    """Go through one class in turn until there are enough.

    Args:
        slides: N, of the class's tiles in turn.
        tiles: N, their places.
        how: how many.
        passing: the filters, asked about batches ahead.

    Returns:
        Positions among the N of the tiles that are chosen.
    """
    enough = len(slides) if how.per_class is None else how.per_class
    if passing is None:
        several = np.arange(len(slides)) if how.per_slide is None else _first_of_each(slides, how.per_slide)
        return several[:enough]
    of_slide: dict[int, int] = {}
    accepted = at = 0
    chosen: list[int] = []
    while accepted < enough and at < len(slides):
        missing = enough - accepted
        batch: list[int] = []
        while at < len(slides) and len(batch) < min(_BATCH, missing + missing // 4 + 16):
            if how.per_slide is None or of_slide.get(int(slides[at]), 0) < how.per_slide:
                batch.append(at)
            at += 1
        verdicts = passing([(int(slides[i]), int(tiles[i])) for i in batch])
        for i, passes in zip(batch, verdicts, strict=True):
            mine = int(slides[i])
            full = how.per_slide is not None and of_slide.get(mine, 0) >= how.per_slide
            if full or accepted >= enough:
                continue
            chosen.append(i)
            if passes:
                accepted += 1
                of_slide[mine] = of_slide.get(mine, 0) + 1
    return np.array(chosen, np.intp)


def _first_of_each(slides: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    """Positions, rising, of the first so many of each slide."""
    order = np.argsort(slides, kind="stable")
    _, starts, counts = np.unique(slides[order], return_index=True, return_counts=True)
    place = np.arange(len(slides)) - np.repeat(starts, counts)
    return np.asarray(np.sort(order[place < most]), np.intp)


__all__ = ["Draw", "draw"]
