"""Near-duplicates: images of one picture that differ in a few bits, brightness, compression or orientation.

Images with the same pixels are known by their hash; this finds the others, within the radius of the
perceptual hash: all pairs, unless an image has more than 64 others there, of which 64 are compared. Of a
Dataset, hashes and what was found are kept in its caches.
"""

from __future__ import annotations

import contextlib
import itertools
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plenish import files, parallel
from plenish.datasets.dataset import Dataset
from plenish.datasets.perceptual_hash import (
    COARSE,
    RADIUS,
    SMALLEST_SIDE,
    VERSION,
    Floats,
    candidates,
    hashes,
    same_picture,
)
from plenish.datasets.pixels import RawShards, chunks, shard_length
from plenish.errors import InputError
from plenish.progress import progress

Ints = NDArray[np.int64]

_ROWS = 512  # rows of a block, which are compared with all that may be near
_DIRECTIONS = 12  # principal directions that tell which may be
_FARTHEST = 1.01 * RADIUS  # what is left out must lie beyond the radius, whatever was rounded
_LEAST = 1 - _FARTHEST**2 / 2  # product of coarse parts that may lie within it
_PRODUCTS = 2**22  # pairs of hashes compared at a time
_IMAGES = 1024  # pairs of images in memory at a time
_ALONE = 256 * 2**20  # bytes of pixels below which workers would take longer to start


def clusters(dataset: Dataset) -> Ints:
    """The cluster of each image: N numbers; images that show one picture have the same.

    Images with the same pixels are in one cluster too. Clusters are transitive: where a is like b and b like
    c, all three are one. Images below 16 px, and flat ones, are only like those with the same pixels.
    """
    _, pixels = np.unique(np.array(dataset.column("sha256")), return_inverse=True)
    if dataset.size < SMALLEST_SIDE:
        return np.asarray(pixels, np.int64)
    cached = _cached(dataset, "clusters", 1)
    if cached is not None:
        return np.asarray(cached, np.int64)
    _, alone = np.unique(pixels, return_index=True)  # One image of each set with the same pixels.
    edges = picture_edges(dataset, np.asarray(alone, np.int64))
    found = components(len(alone), edges)[pixels]
    _keep(dataset, "clusters", found)
    return found


def known_clusters(dataset: Dataset) -> Ints | None:
    """`clusters`, where they were found before; None where that would take a search."""
    cached = _cached(dataset, "clusters", 1)
    return None if cached is None else np.asarray(cached, np.int64)


def same_as(queries: Dataset, rows: Ints, others: Dataset, other_rows: Ints) -> Ints:
    """For each query an image of the others that shows the same picture.

    Args:
        queries: the Dataset of the queries.
        rows: their Q row numbers.
        others: a Dataset of images of the same size and channels.
        other_rows: R row numbers.

    Returns:
        Q positions in `other_rows`, -1 where there is none.
    """
    known = {value: i for i, value in enumerate(np.array(others.column("sha256"))[other_rows])}
    mine = np.array(queries.column("sha256"))[rows]
    found = np.array([known.get(value, -1) for value in mine], np.int64)
    if queries.size < SMALLEST_SIDE or not len(other_rows):
        return found
    a, b = image_hashes(queries)[rows], image_hashes(others)[other_rows]
    for piece in chunks(len(rows), _ROWS):
        i, j = candidates(a[piece], b)
        for some in chunks(len(i), _IMAGES):
            left = some[found[piece[i[some]]] < 0]
            q, r = piece[i[left]], j[left]
            same = same_picture(queries.pixels.read(rows[q]), others.pixels.read(other_rows[r]))
            found[q[same]] = r[same]
    return found


def image_hashes(dataset: Dataset) -> Floats:
    """The perceptual hash of every image, N×135, kept in the Dataset's caches."""
    cached = _cached(dataset, "hashes", 2)
    if cached is not None:
        return np.asarray(cached, np.float32)
    size = len(dataset) * dataset.size**2 * dataset.channels
    workers = 1 if size < _ALONE else None
    jobs = list(chunks(len(dataset), min(4096, shard_length(dataset.size, dataset.channels))))
    made = []
    pool = parallel.executor(workers, _store, (dataset.pixels,))
    with pool as run, progress("perceptual hashes", len(dataset)) as bar:
        for job, result in run.map_ordered(_hash_rows, jobs, ahead=2 * run.workers, reject=_lost):
            made.append(result)
            bar.advance(len(job))
    found = np.concatenate(made)
    _keep(dataset, "hashes", found)
    return found


def _store(pixels: RawShards) -> AbstractContextManager[RawShards]:
    return contextlib.nullcontext(pixels)


def _hash_rows(pixels: RawShards, rows: Ints) -> Floats:
    return np.concatenate([hashes(pixels.read(rows[piece])) for piece in chunks(len(rows), 256)])


def _lost(rows: Ints, status: int) -> Floats:
    raise parallel.WorkerLost("A worker process ended while images were hashed; try --threads 1.", status)


def picture_edges(dataset: Dataset, rows: Ints) -> Ints:
    """Pairs of positions in `rows`, E×2, that join all images of one picture; few where many are alike."""
    found, part = np.empty((0, 2), np.int64), np.arange(len(rows))
    for pairs in _pairs(image_hashes(dataset)[rows]):
        left = pairs[part[pairs[:, 0]] != part[pairs[:, 1]]]
        while len(left):
            some, left = left[:_IMAGES], left[_IMAGES:]
            a, b = (dataset.pixels.read(rows[some[:, k]]) for k in (0, 1))
            same = same_picture(a, b)
            if same.any():  # What is in one cluster already need not be compared.
                found = np.concatenate([found, some[same]])
                part = components(len(rows), found)
                left = left[part[left[:, 0]] != part[left[:, 1]]]
    return found


def _pairs(vectors: Floats) -> Iterator[Ints]:
    """Pairs of rows i < j whose hashes lie within the radius, block by block.

    The rows are divided into blocks by halves along their principal directions. Rows that lie further than
    the radius from the box around a block need no comparison with it, so that none is missed.
    """
    order, edges, points = _blocks(vectors)
    vectors = np.ascontiguousarray(vectors[order])
    coarse = np.ascontiguousarray(vectors[:, :COARSE])
    low, high = (bound.reduceat(points, edges[:-1]) for bound in (np.minimum, np.maximum))
    for block, (start, stop) in enumerate(itertools.pairwise(edges.tolist())):
        apart = np.maximum(low[block:] - high[block], low[block] - high[block:])
        near = block + np.flatnonzero(_norms(apart) <= _FARTHEST)
        others = np.concatenate([np.arange(edges[k], edges[k + 1]) for k in near])
        apart = np.maximum(low[block] - points[others], points[others] - high[block])
        others = others[_norms(apart) <= _FARTHEST]
        columns = (others[piece] for piece in chunks(len(others), _PRODUCTS // _ROWS))
        others = np.concatenate(
            [some[(coarse[start:stop] @ coarse[some].T).max(axis=0) > _LEAST] for some in columns]
        )
        if not len(others):  # Flat images are like none, themselves among them.
            continue
        second = vectors[others]
        for piece in chunks(stop - start, max(1, _PRODUCTS // len(others))):
            rows = start + piece
            i, j = candidates(vectors[rows], second, later=(rows, others))
            if len(i):
                yield np.sort(np.stack([order[rows[i]], order[others[j]]], axis=1), axis=1)


def _norms(apart: Floats) -> Floats:
    """Lengths of N vectors of distances N×K, those below 0 taken for 0."""
    return np.asarray(np.sqrt((np.maximum(apart, 0) ** 2).sum(axis=1)), np.float32)


def _blocks(vectors: Floats) -> tuple[Ints, Ints, Floats]:
    """An order of the rows in blocks of neighbours, the blocks' edges, and their points in that order.

    Points are the coarse parts along their first principal directions, where distances are at most those of
    the hashes.
    """
    centred = vectors[:, :COARSE] - vectors[:, :COARSE].mean(axis=0)
    points = centred @ np.linalg.eigh(centred.T @ centred)[1][:, : -1 - _DIRECTIONS : -1]
    todo, blocks = [np.arange(len(points))], list[Ints]()
    while todo:
        rows = todo.pop()
        if len(rows) <= _ROWS:
            blocks.append(rows)
            continue
        along = points[rows, int(points[rows].var(axis=0).argmax())]
        halves = np.argpartition(along, len(rows) // 2)
        todo += [rows[halves[len(rows) // 2 :]], rows[halves[: len(rows) // 2]]]
    order = np.concatenate(blocks)
    edges = np.cumsum([0, *map(len, blocks)])
    return np.asarray(order, np.int64), edges, np.asarray(points[order], np.float32)


def components(count: int, edges: Ints) -> Ints:
    """The connected component of each of `count` nodes."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    graph = coo_matrix((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def _place(dataset: Dataset, what: str) -> Path:
    key = dataset.manifest.pixels_hash[:16]
    return dataset.cache_dir("near-duplicates") / f"{what}-{VERSION}-{key}.npz"


def _cached(dataset: Dataset, what: str, dimensions: int) -> NDArray[np.generic] | None:
    """What was kept, or None where it is missing or damaged: the members of a .npz have a checksum."""
    with contextlib.suppress(OSError, ValueError, EOFError, KeyError, InputError, zipfile.BadZipFile):
        with np.load(_place(dataset, what), allow_pickle=False) as content:
            array: NDArray[np.generic] = content["kept"]
        if array.ndim == dimensions and len(array) == len(dataset):
            return array
    return None


def _keep(dataset: Dataset, what: str, array: NDArray[np.generic]) -> None:
    """Keep it in the caches, where these can be written."""
    with contextlib.suppress(OSError, InputError), files.atomic_file(_place(dataset, what)) as file:
        np.savez(file, kept=array)
