"""Shrinking by area: every pixel of the result is the mean of exactly the area it covers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]


def shrink(pixels: NDArray[np.uint8], box: Box, width: int, height: int) -> NDArray[np.uint8]:
    """Average a box of an image down to width×height.

    Pixels that the box or a pixel of the result cuts count with the share that lies inside, unlike the box
    filter of most libraries, which takes a pixel whole or not at all and so shifts edges by up to half one.

    Args:
        pixels: H×W×3 uint8.
        box: left, top, right, bottom in pixels of the image, within it; not smaller than the result.
        width: of the result.
        height: of the result.

    Returns:
        height×width×3 uint8.
    """
    left, top, right, bottom = box
    if (width, height) == (right - left, bottom - top) and left == int(left) and top == int(top):
        return np.ascontiguousarray(pixels[int(top) : int(bottom), int(left) : int(right)])
    rows = _sums(pixels, top, bottom, height)
    columns = _sums(rows.transpose(1, 0, 2), left, right, width)
    mean = columns.transpose(1, 0, 2) * np.float32(width * height / ((right - left) * (bottom - top)))
    return np.ascontiguousarray((mean + np.float32(0.5)).clip(0, 255).astype(np.uint8))


def _sums(values: NDArray[Any], start: float, stop: float, count: int) -> NDArray[np.float32]:
    """Integrals over `count` equal stretches of the first axis between two positions."""
    edges = start + (stop - start) / count * np.arange(count + 1)
    whole = np.minimum(edges.astype(np.int64), len(values) - 1)
    part = (edges - whole).astype(np.float32)[:, None, None]
    cut = values[whole] * part  # What of the pixel that holds an edge lies before the edge.
    full: NDArray[np.float32] = np.add.reduceat(values[: whole[-1] + 1], whole, axis=0, dtype=np.float32)[
        :count
    ]
    full -= cut[:-1]
    full += cut[1:]
    return full
