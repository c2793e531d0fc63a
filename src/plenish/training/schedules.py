"""Quantities that fall while a training goes on, as functions of the images seen alone."""

from __future__ import annotations

import math

from plenish.errors import InputError


def cosine_fall(nimg: int, to: float, kimg: float) -> float:
    """What is left after `nimg` images of a quantity that is 1 at the start.

    Args:
        nimg: images seen.
        to: what is left in the end, 0 to 1.
        kimg: thousands of images in which it falls, by half a cosine wave; 0 for one that does not fall.
    """
    if not kimg:
        return 1.0
    past = min(1.0, nimg / (1000 * kimg))
    return to + (1 - to) * 0.5 * (1 + math.cos(math.pi * past))


def check_fall(name: str, to: float, kimg: float) -> None:
    """Refuse a fall of `name` that is none.

    Raises:
        InputError: `<name>_to` is no share, or only one of `<name>_to` and `<name>_kimg` was given.
    """
    if not 0 <= to <= 1:
        raise InputError(f"{name}_to is a share from 0 to 1, not {to}.")
    if (to < 1) != (kimg > 0):
        raise InputError(f"{name}_to is {to:g} and {name}_kimg {kimg:g}; one does nothing alone: give both.")
