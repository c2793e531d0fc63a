"""Thumbnails compared as crops and shifts of each other: few pairs, many ways to lay one over the other.

A window of 13×13 slides over the 16×16 thumbnail of a training image. It is compared with a window in the
middle of the other image, which finds shifts of up to a sixteenth of the side, and with all of the other
image made smaller, which finds crops to about nine tenths of the side, in steps of half a pixel and in all
eight orientations. Between pixels the middle is read by a cubic: a linear mean would blur one of the two.
Light and contrast are removed from each window by itself.
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


def _sampled(side: int, start: float) -> Vectors:
    """Weights (side − 3)×side that read pixels from `start` on, between them by a cubic (Keys 1981)."""
    away = np.abs(start + np.arange(side - _LESS)[:, None] - np.arange(side))
    near = (1.5 * away - 2.5) * away**2 + 1
    far = ((-0.5 * away + 2.5) * away - 4) * away + 2
    return np.where(away <= 1, near, np.where(away < 2, far, 0)).astype(np.float32)


def _queries(pixels: Vectors) -> Vectors:
    """Windows of unit length of thumbnails n×S×S×C: n×(8·8)×(C·13·13).

    Of each orientation eight windows: the middle and the whole image, each as it is and half a pixel on, in
    rows and columns.
    """
    n, side, _, channels = pixels.shape
    inner = side - _LESS
    # The middle, at the second of three places, is a shift of nothing.
    middle = [_sampled(side, 1 + half) for half in (0.0, 0.5)]
    whole = [_intervals(side, half / _CROP, 1 / _CROP) for half in (0.0, 0.5)]
    turned = np.ascontiguousarray(np.stack(orientations(pixels), axis=1).transpose(0, 1, 4, 2, 3))
    found = np.empty((n, 8, 2, 2, 2, channels, inner, inner), np.float32)
    for kind, weights in enumerate((middle, whole)):
        for y, down in enumerate(weights):
            rows = down @ turned
            for x, across in enumerate(weights):
                found[:, :, kind, y, x] = rows @ across.T
    windows = found.reshape(n, 64, -1)
    windows -= windows.mean(axis=2, keepdims=True)
    windows /= np.maximum(np.sqrt(np.einsum("ntd,ntd->nt", windows, windows))[..., None], 1e-6)
    return windows


def _windows(pixels: Vectors) -> Vectors:
    """Windows of thumbnails …×S×S×C at all places: …×9×(C·13·13)."""
    inner = pixels.shape[-2] - _LESS
    shape = (*pixels.shape[:-3], _PLACES**2, pixels.shape[-1] * inner * inner)
    return sliding_window_view(pixels[..., :-1, :-1, :], (inner, inner), (-3, -2)).reshape(shape)


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
    best = np.empty((n, count), np.float32)
    places = lengths.shape[1]
    for rows in row_pieces(n, places * count * train[0].size):
        near = candidates[rows]
        windows = _windows(train[near]).reshape(len(near), count * places, -1)
        products = (_queries(queries[rows]) @ windows.transpose(0, 2, 1)).max(axis=1)
        alike = (products.reshape(len(near), count, places) / lengths[near]).max(axis=2)
        best[rows] = np.sqrt(np.maximum(2.0 - 2.0 * alike, 0.0))
    return best
