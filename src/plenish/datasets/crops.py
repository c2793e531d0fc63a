"""Which images show one picture although one is a crop of the other, down to nine tenths of the side.

Windows of nine tenths and of 95 hundredths of the side, at several places, are hashed as whole images are
(`perceptual_hash`), so that the hash of a crop is near that of some window of its original. The nearest
images of each window are found by cells (an inverted file: k-means centres, of which the nearest few are
searched), so that the work grows with the images and little more. Each such pair is then laid one over the
other: the window is moved and scaled until it fits best (Gauss-Newton on the correlation, Lucas and Kanade
1981), and what is then still different decides, as for whole pictures: details most of all.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Dataset
from plenish.datasets.near_duplicates import components, picture_edges
from plenish.datasets.perceptual_hash import (
    SMALLEST_SIDE,
    Floats,
    area_weights,
    coarse_hashes,
    grey,
    unit,
    views,
)
from plenish.datasets.pixels import chunks
from plenish.progress import progress

Ints = NDArray[np.int64]

SMALLEST_CROPPED = 24
"""Side of images, pixels, below which crops are not looked for."""
WINDOWS = (
    (0.0, 0.0, 1.0), *((y, x, 0.9) for y in (0.0, 0.05, 0.1) for x in (0.0, 0.05, 0.1)),
    *((y, x, 0.95) for y in (0.0, 0.05) for x in (0.0, 0.05)), (0.025, 0.025, 0.95),
)  # fmt: skip
"""Top, left and side of the windows, in sides of the image; the first is the image itself."""
RADIUS = 0.35
"""Distance of two coarse hashes up to which a window and an image are compared."""
_NEAREST = 4  # images compared with each image
_FEW = 2048  # images up to which there are no cells
_PROBES = 4  # cells searched for each window
_SHORTEST = 0.87  # side of a window that alignment may reach
_STEP = 0.03  # of alignment, in sides
_COARSE_SIDE, _FINE_SIDE, _LARGEST = 16, 32, 64  # pixels
_COARSE_ALIKE = 0.5  # correlation of 16×16 pictures before alignment
_ALIGNED = 0.85  # and after it
_SMOOTH, _ROUGHER = 0.05, 1.8  # 1 − correlation of an image with what 16×16 pixels show of it; ratio
_PAIRS = 256  # pairs in memory at a time
_PRODUCTS = 2**22  # pairs of hashes compared at a time: many images of nearly one hash are in one cell
_IMAGES = 2048  # images hashed at a time

# 1 − correlation of grey, details, colours of 32×32 pictures after alignment, of images of 32 px or less and
# of 64 px or more: between pixels, small images tell less.
_SMALL, _LARGE = (0.06, 0.09, 0.06), (0.04, 0.07, 0.06)


def crop_clusters(dataset: Dataset, rows: Ints) -> Ints:
    """The cluster of each of some images: R numbers from 0 on; images that show one picture have the same.

    Beside what `near_duplicates.clusters` joins (the same pixels, flips, quarter turns, compression, other
    brightness), crops are joined with what they were cut from, also mirrored and turned ones.

    Args:
        dataset: the Dataset.
        rows: R row numbers.
    """
    hashes = np.array(dataset.column("sha256"))[rows]
    _, alone, pixels = np.unique(hashes, return_index=True, return_inverse=True)
    if dataset.size < SMALLEST_SIDE or len(alone) < 2:
        return np.asarray(pixels, np.int64)
    some = np.asarray(rows[alone], np.int64)
    edges = picture_edges(dataset, some)
    if dataset.size >= SMALLEST_CROPPED:
        edges = np.concatenate([edges, _crop_edges(dataset, some, components(len(some), edges))])
    return components(len(some), edges)[pixels]


def _crop_edges(dataset: Dataset, rows: Ints, part: Ints) -> Ints:
    """Pairs of positions in `rows`, E×2, of which one is a crop of the other."""
    found = [np.empty((0, 2), np.int64)]
    whole = np.concatenate(
        [coarse_hashes(dataset.pixels.read(rows[at]), WINDOWS[0]) for at in chunks(len(rows), _IMAGES)]
    )
    cells = _Cells(whole)
    with progress("crops", len(rows)) as bar:
        for at in chunks(len(rows), _IMAGES):
            i, j, window = _nearest(dataset.pixels.read(rows[at]), at, cells)
            left = part[i] != part[j]
            i, j, window = i[left], j[left], window[left]
            for some in chunks(len(i), _PAIRS):
                same = is_crop(
                    dataset.pixels.read(rows[i[some]]), dataset.pixels.read(rows[j[some]]),
                    np.asarray(WINDOWS)[window[some]],
                )  # fmt: skip
                found.append(np.stack([i[some][same], j[some][same]], axis=1))
            bar.advance(len(at))
    return np.concatenate(found)


def _nearest(images: NDArray[np.uint8], at: Ints, cells: _Cells) -> tuple[Ints, Ints, Ints]:
    """Image, neighbour and window of pairs to compare: of each image the few nearest to its windows."""
    hits = [cells.near(coarse_hashes(images, window)) for window in WINDOWS]
    i, j = (np.concatenate([hit[k] for hit in hits]).astype(np.int64) for k in (0, 1))
    products = np.concatenate([hit[2] for hit in hits])
    window = np.repeat(np.arange(len(WINDOWS)), [len(hit[0]) for hit in hits])
    other = at[i] != j
    i, j, products, window = i[other], j[other], products[other], window[other]
    order = np.lexsort((-products, j, i))  # The best window of each pair,
    first = np.flatnonzero(np.diff(i[order] * len(cells) + j[order], prepend=-1))
    best = order[first]
    best = best[np.lexsort((-products[best], i[best]))]  # and the nearest of each image.
    counts = np.bincount(i[best], minlength=len(at))
    rank = np.arange(len(best)) - np.repeat(np.cumsum(counts) - counts, counts)
    best = best[rank < _NEAREST]
    return at[i[best]], j[best], window[best]


class _Cells:
    """Hashes in cells around k-means centres; a few cells are searched for the neighbours of a hash."""

    def __init__(self, hashes: Floats) -> None:
        """Divide N×35 hashes of unit length; those of length 0 are nobody's neighbours."""
        self._count = len(hashes)
        number = 1 if len(hashes) <= _FEW else int(4 * np.sqrt(len(hashes)))
        self._centres = _centres(hashes, number)
        of = np.concatenate(
            [(hashes[at] @ self._centres.T).argmax(axis=1) for at in chunks(len(hashes), 8192)]
        )
        self._order = np.argsort(of, kind="stable")
        self._hashes = hashes[self._order]
        self._starts = np.searchsorted(of[self._order], np.arange(number + 1))

    def __len__(self) -> int:
        return self._count

    def near(self, queries: Floats) -> tuple[Ints, Ints, Floats]:
        """Query, neighbour and product of the hashes within `RADIUS`, at most a few of each cell."""
        probes = min(_PROBES, len(self._centres))
        near = np.argpartition(queries @ self._centres.T, -probes, axis=1)[:, -probes:]
        owner, cell = np.repeat(np.arange(len(queries)), probes), near.ravel()
        order = np.argsort(cell, kind="stable")
        ends = np.searchsorted(cell[order], np.arange(len(self._centres) + 1))
        found: list[tuple[Ints, Ints, Floats]] = []
        for k in np.flatnonzero(np.diff(ends)):
            every = owner[order[ends[k] : ends[k + 1]]]
            start, stop = self._starts[k], self._starts[k + 1]
            for some in chunks(len(every), max(1, _PRODUCTS // max(1, stop - start))):
                mine = every[some]
                products = queries[mine] @ self._hashes[start:stop].T
                # An image is its own neighbour, so that one more is taken.
                if (most := 2 * _NEAREST + 1) < stop - start:
                    least = np.partition(products, -most, axis=1)[:, -most][:, None]
                else:
                    least = np.full((len(mine), 1), -1, np.float32)
                i, j = np.nonzero((products > 1 - RADIUS**2 / 2) & (products >= least))
                found.append((mine[i], self._order[start + j], products[i, j]))
        empty = np.empty(0, np.int64)
        one, two, three = zip(*found) if found else ((empty,), (empty,), (np.empty(0, np.float32),))
        return np.concatenate(one), np.concatenate(two), np.concatenate(three)


def _centres(hashes: Floats, number: int) -> Floats:
    """K-means centres of unit length, of a sample."""
    rng = np.random.default_rng(0xCE11)
    sample = hashes[np.sort(rng.permutation(len(hashes))[: 24 * number])]
    centres = sample[rng.permutation(len(sample))[:number]].copy()
    for _ in range(6 if number > 1 else 1):
        of = np.concatenate([(sample[at] @ centres.T).argmax(axis=1) for at in chunks(len(sample), 8192)])
        sums = np.zeros_like(centres)
        np.add.at(sums, of, sample)
        filled = np.bincount(of, minlength=number) > 0
        centres[filled] = sums[filled]
        centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-6)
    return centres


# Alignment


def is_crop(a: NDArray[np.uint8], b: NDArray[np.uint8], windows: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether b[i] is near a window of a[i], in some of the eight orientations.

    Args:
        a: P×H×H×C uint8.
        b: P×H×H×C uint8.
        windows: P×3, where to begin: top, left and side, in sides of `a`.
    """
    found = np.zeros(len(a), bool)
    first, second = _reduced(a, _LARGEST), _reduced(b, _FINE_SIDE)
    grey_a, grey_b = grey(first), grey(second)
    small_a, small_b = _area(grey_a, _FINE_SIDE), _area(grey_b, _COARSE_SIDE)
    turned = np.stack([_turned(small_b, k) for k in range(8)], axis=1)
    seen = unit(_warped(small_a, windows, _COARSE_SIDE))
    products = np.stack([(seen * unit(turned[:, k])).sum(axis=1) for k in range(8)], axis=1)
    way = products.argmax(axis=1)
    left = np.flatnonzero(products.max(axis=1) > _COARSE_ALIKE)
    if not len(left):
        return found
    places, alike = _aligned(small_a[left], turned[left, way[left]], windows[left], 4)
    left, places = left[alike > _ALIGNED], places[alike > _ALIGNED]
    if not len(left):
        return found
    upright = np.stack([_turned(second[i : i + 1], int(way[i]))[0] for i in left])
    places, _ = _aligned(grey_a[left], grey(upright), places, 5)
    seen, upright = _as_sharp(_warped(first[left], places, upright.shape[1]), upright)
    one, other = views(seen), views(upright)
    share = np.clip((a.shape[1] - _FINE_SIDE) / (_LARGEST - _FINE_SIDE), 0, 1)
    limits = (1 - share) * np.array(_SMALL) + share * np.array(_LARGE)
    unlike = [1 - (x * y).sum(axis=1) for x, y in zip(one, other)]
    found[left] = np.all([value <= most for value, most in zip(unlike, limits)], axis=0)
    return found


def _as_sharp(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """Where one image of a pair has far more that 16×16 pixels cannot show, both as such pixels show them.

    One of a much smaller original has lost these details, and is still the same picture.

    Args:
        a: P×S×S×C.
        b: P×S×S×C.
    """
    if (side := a.shape[1]) <= _COARSE_SIDE:
        return a, b
    down = area_weights(side, _COARSE_SIDE)
    through = (down / down.sum(axis=0)).T @ down
    coarse = [np.einsum("ij,njkc,lk->nilc", through, x, through, optimize=True) for x in (a, b)]
    fine = [1 - (unit(x) * unit(y)).sum(axis=1) for x, y in zip((a, b), coarse)]
    unequal = (np.minimum(*fine) <= _SMOOTH) & (np.maximum(*fine) >= _ROUGHER * np.minimum(*fine))
    where = unequal[:, None, None, None]
    return np.where(where, coarse[0], a), np.where(where, coarse[1], b)


def _aligned(
    a: Floats, b: Floats, windows: NDArray[np.float64], steps: int
) -> tuple[NDArray[np.float64], Floats]:
    """Windows of grey images `a`, P×S×S, that fit `b`, P×T×T, best, P×3, and their correlation.

    Args:
        a: where windows are moved.
        b: what they are compared with.
        windows: where to begin.
        steps: of Gauss-Newton.
    """
    side, target = b.shape[1], unit(b)
    now, best = windows.copy(), windows.copy()
    highest = np.full(len(a), -1, np.float32)
    change = np.array([(0.01, 0, 0), (0, 0.01, 0), (-0.005, -0.005, 0.01)])
    for step in range(steps + 1):
        seen = unit(_warped(a, now, side))
        products = (seen * target).sum(axis=1)
        better = products > highest
        highest[better], best[better] = products[better], now[better]
        if step == steps:
            break
        slope = np.stack([(unit(_warped(a, now + d, side)) - seen) / 0.01 for d in change], axis=2)
        curve = slope.transpose(0, 2, 1) @ slope + 1e-4 * np.eye(3, dtype=np.float32)
        pull = (slope * (target - seen)[:, :, None]).sum(axis=1)
        move = np.clip(np.linalg.solve(curve, pull[..., None])[..., 0], -_STEP, _STEP)
        now = now + move @ np.array([(1, 0, 0), (0, 1, 0), (-0.5, -0.5, 1)])
        now[:, 2] = np.clip(now[:, 2], _SHORTEST, 1)
        now[:, :2] = np.clip(now[:, :2], 0, 1 - now[:, 2:])
    return best, highest


def _warped(images: Floats, windows: NDArray[np.float64], side: int) -> Floats:
    """Windows of images P×S×S(×C), by area averaging: P×side×side(×C)."""
    down, across = (_weights(images.shape[1], windows[:, k], windows[:, 2], side) for k in (0, 1))
    if images.ndim == 3:
        return np.asarray(down @ images @ across.transpose(0, 2, 1))
    planes = [down @ images[..., c] @ across.transpose(0, 2, 1) for c in range(images.shape[3])]
    return np.stack(planes, axis=-1)


def _weights(
    size: int, start: NDArray[np.float64], length: NDArray[np.float64], side: int
) -> Floats:  # fmt: skip
    """P×side×size weights that average over the pixels of windows of one dimension."""
    first, step = start.astype(np.float32) * size, length.astype(np.float32) * size / side
    edges = first[:, None] + step[:, None] * np.arange(side + 1, dtype=np.float32)
    # The share of each pixel below each edge; differences are the shares between two edges.
    below = np.clip(edges[:, :, None] - np.arange(size, dtype=np.float32), 0, 1)
    share = np.diff(below, axis=1)
    return np.asarray(share / np.maximum(share.sum(axis=2, keepdims=True), 1e-6))


def _area(images: Floats, side: int) -> Floats:
    weights = area_weights(images.shape[1], min(side, images.shape[1]))
    return np.asarray(weights @ images @ weights.T)


def _reduced(images: NDArray[np.uint8], side: int) -> Floats:
    weights = area_weights(images.shape[1], min(side, images.shape[1]))
    planes = [weights @ images[..., c].astype(np.float32) @ weights.T for c in range(images.shape[3])]
    return np.stack(planes, axis=-1)


def _turned(images: Floats, way: int) -> Floats:
    turned = np.rot90(images, way % 4, axes=(1, 2))
    return turned[:, :, ::-1] if way >= 4 else turned
