"""Style mixing: coarse features of one image, fine ones of another (StyleGAN, Karras et al. 2019)."""

from __future__ import annotations

import re

import numpy as np

from plenish.errors import InputError, unknown
from plenish.latent.points import Points

PARTS = ("coarse", "middle", "fine")
MOST_NUMBERS = 100_000
"""Of a range such as 0-7."""
MOST_SEEDS = 2**31
"""Seeds in words are below it."""


def layer_range(text: str, layers: int) -> list[int]:
    """Layers by name or number.

    Args:
        text: coarse, middle or fine, a third of the layers each, the first of which is the coarsest; or
            numbers from 0 such as 0-3 or 0,2,5-7.
        layers: how many there are.

    Raises:
        InputError: it is neither, or a layer that is not there.
    """
    if text in PARTS:
        return [int(i) for i in np.array_split(np.arange(layers), len(PARTS))[PARTS.index(text)]]
    if re.match(r"[^\W\d]", text):
        raise unknown("part of the layers", text, PARTS)
    return rows_of(text, layers, "--layers", "layers")


def rows_of(text: str, n: int, option: str, what: str) -> list[int]:
    """Numbers such as 0,2,5-7 below n.

    Raises:
        InputError: it is no such list, or a number that is not there.
    """
    found: list[int] = []
    for word in text.split(","):
        ends = re.fullmatch(r"\s*(\d{1,9})\s*(?:-\s*(\d{1,9})\s*)?", word)
        if ends is None:
            raise InputError(f"'{text}' of {option} is no list of numbers such as 0,2,5-7.")
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if last < first or last >= n:
            raise InputError(f"'{word.strip()}' of {option} is not within the {n} {what} 0 to {n - 1}.")
        if last - first >= MOST_NUMBERS:
            raise InputError(
                f"'{word.strip()}' of {option} are more than {MOST_NUMBERS:,} {what}; give fewer."
            )
        found += range(first, last + 1)
    return found


def mixed(base: Points, style: Points, layers: list[int]) -> Points:
    """Every point of `base` with some layers of every point of `style`.

    Args:
        base: N points of w.
        style: M points of w, whose layers are taken.
        layers: which.

    Returns:
        N·M points, those of the first base first, with the labels of `base`.
    """
    rows = np.repeat(np.arange(len(base)), len(style))
    other = np.tile(np.arange(len(style)), len(base))
    values = base.values[rows].copy()
    values[:, layers] = style.values[other][:, layers]
    names = [f"{base.names[i]} with layers of {style.names[j]}" for i, j in zip(rows, other)]
    return base[rows].replaced(values, names=names)
