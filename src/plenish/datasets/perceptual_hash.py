"""Which images show the same picture: a hash that flips and quarter turns leave as it is, and a comparison.

The hash is made of the lowest coefficients of a two-dimensional cosine transform of the grey image. A flip
changes signs of coefficients only, and a transposition exchanges c[u, v] and c[v, u], so |c[u, u]| and
√(c[u, v]² + c[v, u]²) are the same for all eight orientations. Each coefficient is weighted with its
frequency, because large shapes that many images share (a bright field, a body on a table) have most of the
energy. The result has unit length: brightness and contrast are not in it.

Images with nearly the same hash are compared as pictures, in all eight orientations: the correlation of grey
images, of their details, and of colours must be close to 1. Thresholds lie between what copies have (one bit
changed, up to six levels brighter or darker, JPEG of quality 75) and what different images of histology,
dermoscopy, clothes, digits and sprites have; see docs/near-duplicates.md.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.pixels import chunks

Floats = NDArray[np.float32]

VERSION = 1
"""Rises when the hash or the comparison changes."""
SMALLEST_SIDE = 16
"""Images below this size hold too little to tell copies from images that are merely alike."""
RADIUS = 0.08
"""Distance of the coarse parts of two hashes up to which their images are compared."""
_ORDER, _COARSE = 16, 8
_WINDOW_SIDE = 48  # pixels of a window that is hashed as an image
COARSE = 35
"""Numbers of a hash that describe the coarse picture."""
_SIDE = 32
_BLOCKS = 8  # what is finer than an 8×8 picture is detail
_LEAST_FINE = 0.97  # product of the fine parts of two hashes from which their images are compared
_NEAREST = (
    32  # comparisons of an image with its nearest, and with others, of very many of nearly the same hash
)
_LEAST_CONTRAST = 1.0  # grey levels; flat images show nothing that could be recognised
_GREY, _DETAIL, _COLOUR = 0.01, 0.03, 0.04  # 1 − correlation
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)


def hashes(images: NDArray[np.uint8]) -> Floats:
    """Perceptual hashes of images N×H×H×C uint8: N×135; both parts are 0 where an image is flat.

    The first 35 numbers describe the coarse picture and decide which images are compared; the others are of
    finer coefficients (orders 8 to 15) and tell images apart that share their coarse picture, such as tiles
    of one illumination. Each part has unit length.
    """
    brightness = grey(images.astype(np.float32))
    basis = _cosines(brightness.shape[1])
    c = np.einsum("uh,nhw,vw->nuv", basis, brightness, basis, optimize=True)
    c[:, 0, 0] = 0
    coarse = c[:, :_COARSE, :_COARSE]
    flat = np.sqrt((coarse**2).sum(axis=(1, 2))) / brightness.shape[1] < _LEAST_CONTRAST
    order = np.arange(_ORDER)
    c *= np.hypot(order[:, None], order).astype(np.float32)
    upper = np.triu_indices(_ORDER, 1)
    values = np.concatenate(
        [np.hypot(c[:, *upper], c[:, *upper[::-1]]), np.abs(np.diagonal(c, axis1=1, axis2=2)[:, 1:])], axis=1
    )
    is_coarse = np.concatenate([upper[1], order[1:]]) < _COARSE
    parts = [values[:, is_coarse], values[:, ~is_coarse]]
    found = np.concatenate(
        [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-6) for part in parts], axis=1
    )
    found[flat] = 0
    return np.asarray(found, np.float32)


def coarse_hashes(images: NDArray[np.uint8], window: tuple[float, float, float]) -> Floats:
    """The first 35 numbers of the hashes that a window of each image would have as an image, N×35.

    Args:
        images: N×H×H×C uint8.
        window: its top, left and side, in sides of the image.
    """
    brightness = grey(images.astype(np.float32))
    top, left, length = window
    down, across = (_cosines_within(brightness.shape[1], start, length) for start in (top, left))
    c = down @ brightness @ across.T
    c[:, 0, 0] = 0
    flat = np.sqrt((c**2).sum(axis=(1, 2))) / _WINDOW_SIDE < _LEAST_CONTRAST
    order = np.arange(_COARSE)
    c *= np.hypot(order[:, None], order).astype(np.float32)
    upper = np.triu_indices(_COARSE, 1)
    values = np.concatenate(
        [np.hypot(c[:, *upper], c[:, *upper[::-1]]), np.abs(np.diagonal(c, axis1=1, axis2=2)[:, 1:])], axis=1
    )
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6)
    values[flat] = 0
    return np.asarray(values, np.float32)


def candidates(
    a: Floats, b: Floats, *, later: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions (i, j) of the pairs of hashes M×135 and N×135 whose images deserve a comparison.

    Of an i with very many such j (tiles of bare glass, say), the 32 nearest are taken and 32 more from the
    nearest to the farthest, so that the work grows with the images and not with their square, and many copies
    of one picture are still connected.

    Args:
        a: the first hashes.
        b: the second ones.
        later: M and N numbers of the rows, where only pairs are wanted in which that of j is larger.
    """
    i, j = np.nonzero(a[:, :COARSE] @ b[:, :COARSE].T > np.float32(1 - RADIUS**2 / 2))
    if later is not None:
        behind = later[1][j] > later[0][i]
        i, j = i[behind], j[behind]
    products = np.empty(len(i), np.float32)
    for piece in chunks(len(i), 2**16):
        products[piece] = np.einsum("nd,nd->n", a[i[piece], COARSE:], b[j[piece], COARSE:])
    near = products > _LEAST_FINE
    i, j, products = i[near], j[near], products[near]
    counts = np.bincount(i, minlength=len(a))
    if counts.max(initial=0) <= 2 * _NEAREST:
        return i, j
    order = np.lexsort((-products, i))
    count = np.repeat(counts, counts)
    rank = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
    beyond = rank - _NEAREST
    # Ranks spread evenly over those beyond the nearest, the last one always among them.
    places = np.maximum(count - _NEAREST - 1, 1)
    spread = (beyond * (_NEAREST - 1)) // places != ((beyond - 1) * (_NEAREST - 1)) // places
    kept = np.sort(order[(count <= 2 * _NEAREST) | (beyond <= 0) | spread])
    return i[kept], j[kept]


def same_picture(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether a[i] and b[i], N×H×H×C uint8 each, are one picture in some of the eight orientations.

    Brightness and contrast may differ, and noise as that of a JPEG of quality 75.
    """
    if not len(a):
        return np.zeros(0, bool)
    first, second = _reduced(a), _reduced(b)
    known = views(first)
    found = np.zeros(len(a), bool)
    for k in range(4):
        turned = np.rot90(second, k, axes=(1, 2))
        for view in (turned, turned[:, :, ::-1]):
            unlike = (1 - (x * y).sum(axis=1) for x, y in zip(known, views(view)))
            limits = (_GREY, _DETAIL, _COLOUR)
            found |= np.all([x <= most for x, most in zip(unlike, limits)], axis=0)
    return found


def area_weights(size: int, side: int) -> Floats:
    """side×size matrix of area averaging, fractional at borders; each row sums to 1."""
    edges = np.linspace(0, size, side + 1)
    pixel = np.arange(size)
    low = np.maximum(edges[:-1, None], pixel)
    high = np.minimum(edges[1:, None], pixel + 1)
    share = np.maximum(high - low, 0)
    return np.asarray(share / share.sum(1, keepdims=True), dtype=np.float32)


def grey(images: Floats) -> Floats:
    """N×H×W of N×H×W×C."""
    return images[..., 0] if images.shape[-1] == 1 else images @ _LUMINANCE


def _cosines(size: int) -> Floats:
    """The first rows of the orthonormal cosine transform (DCT-II), 16×size."""
    k = np.arange(_ORDER)[:, None]
    rows = np.cos(np.pi * (2 * np.arange(size) + 1) * k / (2 * size)) * np.sqrt(2 / size)
    rows[0] /= np.sqrt(2)
    return np.asarray(rows, np.float32)


@functools.cache
def _cosines_within(size: int, start: float, length: float) -> Floats:
    """8×size: the first rows of the cosine transform of what area averaging makes of a window."""
    edges = np.linspace(start * size, (start + length) * size, _WINDOW_SIDE + 1)
    below = np.clip(edges[:, None] - np.arange(size), 0, 1)
    share = np.diff(below, axis=0)
    rows = _cosines(_WINDOW_SIDE)[:_COARSE] @ (share / share.sum(axis=1, keepdims=True))
    return np.asarray(rows, np.float32)


def _reduced(images: NDArray[np.uint8]) -> Floats:
    """At most 32×32 pixels, by area averaging, which noise hardly changes."""
    weights = area_weights(images.shape[1], min(_SIDE, images.shape[1]))
    out = np.einsum("ih,nhwc,jw->nijc", weights, images.astype(np.float32), weights, optimize=True)
    return np.asarray(out, np.float32)


def views(images: Floats) -> tuple[Floats, Floats, Floats]:
    """What is compared of images N×S×S×C: grey, detail and colour, each N×D of zero mean and unit length.

    Colours lose one mean over all channels, so that a change of brightness is none of colour.
    """
    brightness = grey(images)
    down = area_weights(brightness.shape[1], _BLOCKS)
    up = (down / down.sum(axis=0)).T
    coarse = np.einsum("ih,nhw,jw->nij", down, brightness, down, optimize=True)
    detail = brightness - np.einsum("hi,nij,wj->nhw", up, coarse, up, optimize=True)
    return unit(brightness), unit(detail), unit(images)


def unit(values: Floats) -> Floats:
    """N×D of zero mean and unit length, of N×…."""
    flat = values.reshape(len(values), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6), np.float32)
