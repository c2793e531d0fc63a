"""Detectors for drawings by dghs-imgutils (plenish[anime]), which downloads its weights when first used."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Row = tuple[float, float, float, float, float]


def anime_face(pixels: NDArray[np.uint8]) -> list[Row]:
    """Faces of drawn figures; see `detectors` for what comes in and goes out."""
    from imgutils.detect import detect_faces

    return _rows(detect_faces, pixels)


def anime_head(pixels: NDArray[np.uint8]) -> list[Row]:
    """Heads of drawn figures."""
    from imgutils.detect import detect_heads

    return _rows(detect_heads, pixels)


def anime_person(pixels: NDArray[np.uint8]) -> list[Row]:
    """Whole drawn figures."""
    from imgutils.detect import detect_person

    return _rows(detect_person, pixels)


def _rows(find: Callable[[Image.Image], Iterable[Any]], pixels: NDArray[np.uint8]) -> list[Row]:
    """What is found as left, top, right, bottom and score; the library gives a box, a word and a score."""
    found = []
    for (left, top, right, bottom), _, score in find(Image.fromarray(pixels)):
        found.append((float(left), float(top), float(right), float(bottom), float(score)))
    return found
