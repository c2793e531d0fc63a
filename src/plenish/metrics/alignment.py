"""Thumbnails compared as crops and shifts of each other: few pairs, many ways to lay one over the other.

A window of 13×13 slides over the 16×16 thumbnail of a training image. It is compared with a window in the
middle of the other image, which finds shifts of up to a sixteenth of the side, and with all of the other image
made smaller, which finds crops to about nine tenths of the side, in steps of half a pixel and in all eight
orientations. Light and contrast are removed from each window by itself.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from plenish.metrics.kernels import row_pieces

Vectors = NDArray[np.float32]
_LESS = 3  # a window is so many pixels smaller than a thumbnail
_PLACES = 3  # of a window in each direction
_CROP = 0.9  # of the side
_LEAST_CONTRAST = 0.25  # of that of the whole thumbnail; less is not stretched into noise


def orientations(pixels: Vectors) -> list[Vectors]:
    """The eight flips and quarter turns of images n×S×S×C, the image itself first."""
    turns = [np.rot90(pixels, k, axes=(1, 2)) for k in range(4)]
    return [v for turn in turns for v in (turn, turn[:, :, ::-1])]


def _intervals(side: int, start: float, step: float) -> Vectors:
    """Weights (side − 3)×side that average over intervals of a length, one after the other, from `start`."""
    edges = start + step * np.arange(side - _LESS + 1)
    pixel = np.arange(side)
    share = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return np.asarray(np.maximum(share, 0) / step, np.float32)


def _queries(pixels: Vectors) -> Vectors:
    """Windows of unit length at each place of a thumbnail of zeros: n×(8·8)×9×(S·S·C).

    Of each orientation eight windows: the middle and the whole image, each as it is and half a pixel on, in
    rows and columns.
    """
    n, side, _, channels = pixels.shape
    inner = side - _LESS
    # The middle, at the second of three places, is a shift of nothing.
    middle = [_intervals(side, 1 + half, 1.0) for half in (0.0, 0.5)]
    whole = [_intervals(side, half / _CROP, 1 / _CROP) for half in (0.0, 0.5)]
    turned = np.stack(orientations(pixels), axis=1)
    found = np.zeros((n, 8, 2, 2, 2, _PLACES, _PLACES, side, side, channels), np.float32)
    for kind, weights in enumerate((middle, whole)):
        for y, down in enumerate(weights):
            rows = np.einsum("ih,nthwc->ntiwc", down, turned, optimize=True)
            for x, across in enumerate(weights):
                window = np.einsum("ntiwc,jw->ntijc", rows, across, optimize=True)
                window -= window.mean(axis=(2, 3, 4), keepdims=True)
                length = np.sqrt((window * window).sum(axis=(2, 3, 4), keepdims=True))
                window /= np.maximum(length, 1e-6)
                for row in range(_PLACES):
                    for column in range(_PLACES):
                        place = found[:, :, kind, y, x, row, column]
                        place[:, :, row : row + inner, column : column + inner] = window
    return found.reshape(n, 64, _PLACES**2, side * side * channels)


def window_lengths(pixels: Vectors) -> Vectors:
    """Length of each window of thumbnails n×S×S×C without its mean: n×9."""
    side, channels = pixels.shape[1], pixels.shape[3]
    inner = side - _LESS
    sums = (x[:, :-1, :-1].sum(axis=3) for x in (pixels, pixels * pixels))
    total, squares = (sliding_window_view(x, (inner, inner), (1, 2)).sum(axis=(3, 4)) for x in sums)
    size = inner * inner * channels
    lengths = np.sqrt(np.maximum(squares - total * total / size, 0.0)).reshape(len(pixels), -1)
    return np.asarray(np.maximum(lengths, _LEAST_CONTRAST * np.sqrt(size)), np.float32)


def aligned_distances(
    queries: Vectors, train: Vectors, lengths: Vectors, candidates: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Distance of each query to its candidates in the best of 576 ways to lay one over the other.

    Args:
        queries: n×S×S×C thumbnails.
        train: N×S×S×C.
        lengths: N×9 from :func:`window_lengths` of `train`.
        candidates: n×K positions in `train`.

    Returns:
        n×K distances between windows of zero mean and unit length: 0 for the same, √2 for unrelated ones.
    """
    n, count = candidates.shape
    flat = train.reshape(len(train), -1)
    best = np.empty((n, count), np.float32)
    for rows in row_pieces(n, flat.shape[1] * (64 * lengths.shape[1] + count)):
        near = candidates[rows]
        windows = _queries(queries[rows])
        products = windows.reshape(len(near), -1, flat.shape[1]) @ flat[near].transpose(0, 2, 1)
        products = products.reshape(*windows.shape[:3], count).max(axis=1)
        alike = (products / lengths[near].transpose(0, 2, 1)).max(axis=1)
        best[rows] = np.sqrt(np.maximum(2.0 - 2.0 * alike, 0.0))
    return best
