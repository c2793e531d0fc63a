"""A radius as it is typed and written, without torch, so that a command's help need not load it."""

from __future__ import annotations

import math
import re
from typing import SupportsFloat

from plenish.errors import InputError
from plenish.wording import in_levels

_NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_EPS = re.compile(rf"\s*({_NUMBER})\s*(?:/\s*({_NUMBER})\s*)?", re.ASCII)


def parse_eps(text: str) -> float:
    """A radius from text, as a number ("0.03") or a quotient ("4/255"); InputError for anything else.

    Whether it is too large depends on the norm, which `Threat` knows.
    """
    found = _EPS.fullmatch(text)
    if not found or not (divisor := float(found[2] or 1)) or math.isinf(eps := float(found[1]) / divisor):
        raise InputError(
            f"'{text}' is no distance: write eps in units of [0, 1] as 0.03 or 4/255, 0 or above.",
            code="eps",
            value=text,
        )
    return eps


def distance(eps: float, norm: str) -> str:
    """A radius as people write it: 4/255 of the largest change, 0.5 of a Euclidean length."""
    return (in_levels(eps) if norm == "linf" else None) or f"{eps:.4g}"


def as_eps(typed: float | str) -> float:
    """A radius that is a number already, or text as `parse_eps` reads it; InputError for anything else."""
    # Text of NumPy says that it is a number, too.
    is_number = isinstance(typed, SupportsFloat) and not isinstance(typed, str)
    return float(typed) if is_number else parse_eps(str(typed))
