"""A balanced, seeded draw of tiles by class and slide."""

from __future__ import annotations

import collections
import hashlib
import itertools
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from plenish.slides.tiling_config import DrawOptions

Pick = tuple[int, int]
"""A slide's position and a tile's in its plan."""
_BATCH = 20_000
"""Tiles that are filtered at once, at most."""


def draw(
    classes: Sequence[NDArray[np.int32]], names: Sequence[str], how: DrawOptions,
    passing: Callable[[list[Pick]], list[bool]] | None = None,
) -> list[NDArray[np.intp]]:  # fmt: skip
    """Choose tiles.

    A tile's rank is a function of the seed, its slide's name and its place in the plan, so another slide in
    the list does not change which tiles of this one come first.

    Args:
        classes: for each slide the class of each tile, whole numbers.
        names: of the slides.
        how: how many.
        passing: which of some tiles pass the filters; those that do not are chosen too (they are rejected,
            and listed, when they are read), but not counted.

    Returns:
        For each slide the chosen tiles, ascending.
    """
    ranks = [_ranks(name, how.seed, len(kinds)) for name, kinds in zip(names, classes)]
    slide = np.repeat(np.arange(len(classes)), [len(kinds) for kinds in classes])
    tile = np.concatenate([np.arange(len(kinds)) for kinds in classes]) if len(classes) else slide
    kind = np.concatenate(classes) if len(classes) else slide
    rank = np.concatenate(ranks) if ranks else slide
    chosen = [np.empty(0, np.intp)]
    for one in np.unique(kind):
        mine = np.flatnonzero(kind == one)
        mine = mine[np.lexsort((tile[mine], slide[mine], rank[mine]))]
        chosen.append(mine[_accept(slide[mine], tile[mine], how, passing)])
    all_ = np.sort(np.concatenate(chosen))
    ends = np.searchsorted(slide[all_], np.arange(len(classes) + 1))
    return [tile[all_[first:last]].astype(np.intp) for first, last in itertools.pairwise(ends)]


def _ranks(name: str, seed: int, count: int) -> NDArray[np.float64]:
    word = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.random.default_rng([seed, word]).random(count)


def _accept(
    slides: NDArray[np.intp], tiles: NDArray[np.intp], how: DrawOptions,
    passing: Callable[[list[Pick]], list[bool]] | None,
) -> NDArray[np.intp]:  # fmt: skip
    """Go through one class by rank until there are enough.

    Args:
        slides: N, of the class's tiles by rank.
        tiles: N, their places.
        how: how many.
        passing: the filters, applied to batches.

    Returns:
        Positions among the N of the tiles that are chosen.
    """
    enough, most = how.per_class or len(slides), how.per_slide or len(slides)
    remaining = iter(range(len(slides)))
    of_slide: collections.Counter[int] = collections.Counter()
    accepted = 0
    chosen: list[int] = []
    while accepted < enough:
        missing = enough - accepted
        wanted = (i for i in remaining if of_slide[int(slides[i])] < most)
        batch = list(itertools.islice(wanted, min(_BATCH, missing + missing // 4 + 16)))
        if not batch:
            break
        picks = [(int(slides[i]), int(tiles[i])) for i in batch]
        passed = passing(picks) if passing else itertools.repeat(True)
        for i, (slide, _), passes in zip(batch, picks, passed):
            if of_slide[slide] < most and accepted < enough:
                chosen.append(i)
                of_slide[slide] += passes
                accepted += passes
    return np.array(chosen, np.intp)
