"""Radii of balls by default, and as they are typed and written; without torch, as help does without it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import SupportsFloat

from plenish.errors import InputError
from plenish.wording import in_levels

_NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_EPS = re.compile(rf"\s*({_NUMBER})\s*(?:/\s*({_NUMBER})\s*)?", re.ASCII)


_SAME = 1e-6
"""Radii nearer than this are one, however they were typed."""

HARDENED_EPS: Mapping[str, float] = {"linf": 4 / 255, "l2": 0.5}
"""What a classifier is hardened against by default, by norm: changes that are hardly seen."""
PERTURBED_EPS: Mapping[str, float] = {"linf": 8 / 255, "l2": 0.5}
"""How far a perturber changes images by default, by norm: in L∞ as in the AdvGAN paper on CIFAR-10, more than
`HARDENED_EPS`, since one pass of a network finds less in a ball than the steps of an attack."""


def parse_eps(typed: float | str, what: str = "eps") -> float:
    """A radius that is a number already, or text: a number ("0.03") or a quotient ("4/255").

    Whether it is too large depends on the norm, which `Threat` knows.

    Args:
        typed: the radius, or another length.
        what: it is called in a message.

    Raises:
        InputError: the text is anything else, or the number is negative, infinite or NaN.
    """
    # Text of NumPy says that it is a number, too.
    if isinstance(typed, SupportsFloat) and not isinstance(typed, str):
        text, eps = f"{float(typed):g}", float(typed)
    else:
        text = str(typed)
        found = _EPS.fullmatch(text)
        divisor = float(found[2] or 1) if found else 0.0
        eps = float(found[1]) / divisor if found and divisor else math.nan
    if not (math.isfinite(eps) and eps >= 0):
        raise InputError(
            f"'{text}' is no distance: write {what} in units of [0, 1] as 0.03 or 4/255, 0 or above.",
            code="eps",
            value=text,
        )
    return eps


def measured_eps(asked: float | str, grid: Iterable[float], norm: str) -> float:
    """The radius among those measured that is asked for, up to rounding.

    Raises:
        InputError: it is none of them, or no distance.
    """
    eps, known = parse_eps(asked), sorted(grid)
    near = min(known, key=lambda one: abs(one - eps))
    if abs(near - eps) > _SAME:
        raise InputError(
            f"Nothing was measured at eps {format_eps(eps, norm)}; the radii measured are "
            f"{', '.join(format_eps(one, norm) for one in known)}.",
            code="eps",
            value=asked,
        )
    return near


def format_eps(eps: float, norm: str) -> str:
    """A radius as people write it: 4/255 of the largest change, 0.5 of a Euclidean length."""
    return (in_levels(eps) if norm == "linf" else None) or f"{eps:.4g}"
