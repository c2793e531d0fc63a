"""Reduction by area: every pixel of the result is the mean of exactly the area it covers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Box = tuple[float, float, float, float]
_FEW = 8
"""Source pixels to one of the result up to which weighting each is faster than summing intervals."""


def shrink(pixels: NDArray[np.uint8], box: Box, width: int, height: int) -> NDArray[np.uint8]:
    """Average a box of an image down to width×height.

    Pixels on a border count with the share that lies inside, unlike in the box filter of most libraries,
    which takes a pixel whole or not at all and so shifts edges by up to half a pixel. Sums are taken in a
    fixed order, so the result is the same on every machine.

    Args:
        pixels: H×W×3 uint8.
        box: left, top, right, bottom in pixels of the image, within it; not smaller than the result.
        width: of the result.
        height: of the result.

    Returns:
        height×width×3 uint8.
    """
    left, top, right, bottom = box
    across, down = (right - left) / width, (bottom - top) / height
    # Pillow truncates the reciprocal of the pixel count: for odd factors a mean may be rounded down to
    # 0.56 below the true one.
    exact = across == 1 or across % 2 == 0
    if across == down and exact and left == int(left) and top == int(top):
        return _reduced(pixels[int(top) : int(bottom), int(left) : int(right)], int(across))
    rows = _sums(pixels, top, down, height)
    columns = _sums(np.ascontiguousarray(rows.transpose(1, 0, 2)), left, across, width)
    columns *= np.float32(1 / (across * down))
    columns += np.float32(0.5)
    return np.ascontiguousarray(columns.clip(0, 255).astype(np.uint8).transpose(1, 0, 2))


def shrink_in_bands(
    read: Callable[[int, int, int, int], NDArray[np.uint8]], corner: tuple[float, float], scale: float,
    size: tuple[int, int], band: int,
) -> NDArray[np.uint8]:  # fmt: skip
    """Read a region and average it, some lines at a time, to bound memory.

    Args:
        read: of x, y, width and height, whole pixels, the pixels there.
        corner: x and y of the region.
        scale: pixels that one of the result measures.
        size: width and height of the result.
        band: pixels that are read at once, about.

    Returns:
        height×width×3 uint8.
    """
    (x, y), (width, height) = corner, size
    right = x + width * scale
    left, wide = int(x), math.ceil(right - 1e-6) - int(x)
    lines = max(1, int(band / (wide * scale)))
    result = np.empty((height, width, 3), np.uint8)
    for first in range(0, height, lines):
        last = min(first + lines, height)
        upper, lower = y + first * scale, y + last * scale
        top = int(upper)
        pixels = read(left, top, wide, math.ceil(lower - 1e-6) - top)
        box = (x - left, upper - top, right - left, lower - top)
        result[first:last] = shrink(pixels, box, width, last - first)
    return result


def _reduced(pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Averages of squares of whole pixels."""
    if factor == 1:
        return np.ascontiguousarray(pixels)
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).reduce(factor))


def _sums(values: NDArray[Any], start: float, step: float, count: int) -> NDArray[np.float32]:
    """Integrals over `count` intervals of the first axis, each `step` long, from `start`."""
    edges = start + step * np.arange(count + 1, dtype=np.float64)
    if step > _FEW:
        return _long_sums(values, edges)
    first = np.floor(edges[:-1] + 1e-9).astype(np.int64)
    total = np.zeros((count, *values.shape[1:]), np.float32)
    part = np.empty_like(total)
    for pixel in range(int(np.ceil(step)) + 1):
        at = first + pixel
        weight = np.clip(np.minimum(edges[1:], at + 1) - np.maximum(edges[:-1], at), 0, 1).astype(np.float32)
        if weight.any():
            np.multiply(values[np.minimum(at, len(values) - 1)], weight[:, None, None], out=part)
            total += part
    return total


def _long_sums(values: NDArray[Any], edges: NDArray[np.floating]) -> NDArray[np.float32]:
    """The same for long intervals: sums of whole pixels, corrected for the parts that edges cut."""
    whole = np.minimum(edges.astype(np.int64), len(values) - 1)
    part = (edges - whole).astype(np.float32)[:, None, None]
    cut = values[whole] * part  # The part of an edge's pixel that lies before the edge.
    full = np.add.reduceat(values[: whole[-1] + 1], whole, axis=0, dtype=np.float32)
    sums: NDArray[np.float32] = full[:-1]
    sums -= cut[:-1]
    sums += cut[1:]
    return sums
