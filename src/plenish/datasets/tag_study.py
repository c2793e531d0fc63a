"""Tags of a Dataset: how often each is, which come together, and what the most typical image has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.dataset import Dataset

_TOP = 100
_STEPS = 8
_LEAST_SHARE = 0.02
"""Of the images, that a step of the typical composition may leave."""
_BEYOND = 1.05  # times chance, below which it is no more than chance
_PAIRS = 20
_SETS = 10
_EDGES = (1, 2, 3, 6, 11, 31, 101, 301, 1001, 3001, 10_001, 30_001, 100_001)
"""Images a tag, where the classes of the frequency distribution begin."""


def tag_columns(dataset: Dataset) -> list[str]:
    """Names of the columns that hold lists of texts."""
    path = dataset.path / "samples.parquet"
    with files.reading(path):
        schema = pq.read_schema(path)
    return [
        field.name
        for field in schema
        if (pa.types.is_list(field.type) or pa.types.is_large_list(field.type))
        and (pa.types.is_string(field.type.value_type) or pa.types.is_large_string(field.type.value_type))
    ]


def study_tags(dataset: Dataset, column: str, rows: NDArray[np.int64]) -> dict[str, Any]:
    """What a column of lists says of `rows`.

    Returns:
        JSON-able facts: `distinct` tags, images `without` any, `an_image` (mean and largest number), the
        `distribution` (how many tags have how many images), the 100 most common tags (`top`), how many
        images have each two of these (`together`, a matrix), the pairs that come together most beyond
        chance (`pairs`), the most frequent whole sets (`sets`) and the `typical` composition: from tag to
        tag the most frequent one among the images that have all before.
    """
    names, codes, counts = _coded(dataset, column, rows)
    n = len(rows)
    image = np.repeat(np.arange(n), counts)
    both = np.unique(image.astype(np.int64) * max(1, len(names)) + codes)  # A tag counts once an image.
    image, codes = both // max(1, len(names)), both % max(1, len(names))
    often = np.bincount(codes, minlength=len(names))
    order = np.lexsort((np.arange(len(names)), -often))
    top = order[:_TOP]
    has = np.zeros((n, len(top)), np.bool_)
    place = np.full(len(names), -1)
    place[top] = np.arange(len(top))
    known = place[codes] >= 0
    has[image[known], place[codes[known]]] = True
    flags = has.astype(np.float32)
    together = (flags.T @ flags).round().astype(np.int64)
    each = np.bincount(image, minlength=n)
    shown = [names[k] for k in top]
    return {
        "column": column, "images": n, "distinct": int((often > 0).sum()), "without": int((each == 0).sum()),
        "an_image": {"mean": float(each.mean()) if n else 0.0, "largest": int(each.max(initial=0))},
        "distribution": _distribution(often[often > 0]),
        "top": [{"tag": names[k], "images": int(often[k]), "share": float(often[k] / n)} for k in top],
        "together": together.tolist(), "pairs": _pairs(shown, together, n),
        "sets": _sets(names, image, codes, n), "typical": _typical(shown, has),
    }  # fmt: skip


def _coded(
    dataset: Dataset, column: str, rows: NDArray[np.int64]
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Distinct tags in the order of their names, the code of every entry, and entries an image."""
    path = dataset.path / "samples.parquet"
    with files.reading(path):
        cells = pq.read_table(path, columns=[column]).column(0).take(pa.array(rows))
    lists = pa.chunked_array(
        [chunk.cast(pa.list_(pa.string())) for chunk in cells.chunks], pa.list_(pa.string())
    )
    counts = np.asarray(pa.compute.fill_null(pa.compute.list_value_length(lists), 0), np.int64)
    entries = pa.compute.list_flatten(lists).combine_chunks()
    entries = pa.compute.fill_null(entries, "").dictionary_encode()
    found = entries.dictionary.to_pylist()
    order = sorted(range(len(found)), key=found.__getitem__)
    rank = np.empty(len(found), np.int64)
    rank[order] = np.arange(len(found))
    codes = rank[np.asarray(entries.indices, np.int64)] if len(found) else np.zeros(0, np.int64)
    return [found[i] for i in order], codes, counts


def _distribution(often: NDArray[np.int64]) -> list[dict[str, Any]]:
    """How many tags have how many images."""
    out = []
    for start, stop in zip(_EDGES, (*_EDGES[1:], None)):
        inside = (often >= start) & (often < stop if stop is not None else True)
        if inside.any():
            out.append({"from": start, "to": None if stop is None else stop - 1, "tags": int(inside.sum())})
    return out


def _pairs(names: list[str], together: NDArray[np.int64], n: int) -> list[dict[str, Any]]:
    """Pairs of the commonest tags by lift, how many times as often together as chance would have it.

    Those with a tag that nearly every image has are as often together as by chance, and left out.
    """
    single = np.diagonal(together)
    i, j = np.triu_indices(len(names), 1)
    enough = together[i, j] >= max(5, n // 1000)
    i, j = i[enough], j[enough]
    lift = together[i, j] * n / (single[i].astype(float) * single[j])
    best = [k for k in np.argsort(-lift, kind="stable")[:_PAIRS] if lift[k] >= _BEYOND]
    return [
        {"tags": [names[i[k]], names[j[k]]], "images": int(together[i[k], j[k]]), "lift": float(lift[k])}
        for k in best
    ]


def _sets(
    names: list[str], image: NDArray[np.int64], codes: NDArray[np.int64], n: int
) -> list[dict[str, Any]]:
    """The most frequent sets of all tags of an image; entries are sorted by image."""
    if not len(image):
        return []
    random = np.random.default_rng(0).integers(0, 2**63, len(names), dtype=np.uint64)
    starts = np.flatnonzero(np.r_[True, np.diff(image) > 0])
    sums = np.add.reduceat(random[codes], starts)  # 64 bits, modulo: sets that differ hardly share a sum.
    _, first, counts = np.unique(sums, return_index=True, return_counts=True)
    best = np.argsort(-counts, kind="stable")[:_SETS]
    stops = np.r_[starts[1:], len(codes)]
    return [
        {
            "tags": [names[k] for k in codes[starts[first[b]] : stops[first[b]]][:50]],
            "images": int(counts[b]), "share": float(counts[b] / n),
        }
        for b in best
    ]  # fmt: skip


def _typical(names: list[str], has: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """From tag to tag the most frequent one among the images that have all before."""
    out: list[dict[str, Any]] = []
    left, free = np.ones(len(has), np.bool_), np.ones(len(names), np.bool_)
    while len(out) < _STEPS and free.any() and left.any():
        counts = np.where(free, has[left].sum(axis=0), -1)
        k = int(counts.argmax())
        if counts[k] < max(1, _LEAST_SHARE * len(has)):
            break
        out.append({
            "tag": names[k], "images": int(counts[k]), "share": float(counts[k] / len(has)),
            "of_those_before": float(counts[k] / left.sum()),
        })  # fmt: skip
        left, free[k] = left & has[:, k], False
    return out
