"""Radii of balls by default, and as they are typed and written; without torch, as help does without it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import SupportsFloat

from plenish.errors import InputError
from plenish.wording import in_levels

_NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?"
_EPS = re.compile(rf"\s*({_NUMBER})\s*(?:/\s*({_NUMBER})\s*)?", re.ASCII)


HARDENED_EPS: Mapping[str, float] = {"linf": 4 / 255, "l2": 0.5}
"""What a classifier is hardened against by default, by norm: changes that are hardly seen."""
PERTURBED_EPS: Mapping[str, float] = {"linf": 8 / 255, "l2": 0.5}
"""How far a perturber changes images by default, by norm: in L∞ as in the AdvGAN paper on CIFAR-10, more than
`HARDENED_EPS`, since one pass of a network finds less in a ball than the steps of an attack."""


def parse_eps(typed: float | str) -> float:
    """A radius that is a number already, or text: a number ("0.03") or a quotient ("4/255").

    Whether it is too large depends on the norm, which `Threat` knows.

    Raises:
        InputError: the text is anything else.
    """
    # Text of NumPy says that it is a number, too.
    if isinstance(typed, SupportsFloat) and not isinstance(typed, str):
        return float(typed)
    text = str(typed)
    found = _EPS.fullmatch(text)
    if not found or not (divisor := float(found[2] or 1)) or math.isinf(eps := float(found[1]) / divisor):
        raise InputError(
            f"'{text}' is no distance: write eps in units of [0, 1] as 0.03 or 4/255, 0 or above.",
            code="eps",
            value=text,
        )
    return eps


def format_eps(eps: float, norm: str) -> str:
    """A radius as people write it: 4/255 of the largest change, 0.5 of a Euclidean length."""
    return (in_levels(eps) if norm == "linf" else None) or f"{eps:.4g}"
