"""`plenish nearest`: the images whose encodings are nearest to those of some images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError, unknown_id
from plenish.latent.projection import Floats, Ints, encodings_of
from plenish.training.logs import sample_grid

_AT_ONCE = 512  # queries whose distances to all rows are in memory at a time


def find_nearest(
    data: Path, *, query: list[str], out: Path | None = None, array: str = "cae", n: int = 8,
    same_group: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Find the images whose encodings are nearest to those of some images.

    Images of the query's own group are left out, since neighbours on the same slide are no discovery.

    Args:
        data: the Dataset.
        query: ids of images.
        out: a folder for neighbours.csv and nearest.png; must not exist.
        array: name of the array, from `plenish encode`.
        n: neighbours of each.
        same_group: also images of the query's own group.

    Returns:
        The neighbours, and the share of them with their query's label, beside what chance would give.
    """
    if n < 1:
        raise InputError(f"-n must be at least 1, not {n}.")
    dataset = Dataset.open(data)
    encodings = encodings_of(dataset, array)
    if out is not None:
        files.refuse_existing(out, unless_made=True)
    ids = [str(i) for i in dataset.column("id")]
    queries = pd.Index(ids).get_indexer(pd.Index(query)).astype(np.int64)
    if (queries < 0).any():
        raise unknown_id(query[queries.argmin()], ids, str(data))
    groups = [None if g != g else g for g in dataset.column("group")]
    rows, distances = nearest(encodings, queries, n, groups=None if same_group else groups)
    labels = dataset.column("label") if dataset.labels.kind == "categorical" else None
    found = [
        {
            "query": ids[q], "rank": rank + 1, "id": ids[row], "distance": float(distance),
            **({"label": labels[row]} if labels else {}), **({"group": groups[row]} if groups[row] else {}),
        }
        for q, neighbours, apart in zip(queries, rows, distances)
        for rank, (row, distance) in enumerate(zip(neighbours, apart))
        if row >= 0
    ]  # fmt: skip
    if not found:
        raise InputError("There is no image of another group; give --same-group.")
    shown = np.union1d(queries, rows[rows >= 0])
    if any(np.isin(dataset.split(name).rows("test"), shown).any() for name in dataset.split_names()):
        dataset.record_read("nearest")
    agreement = _agreement(labels, queries, rows) if labels else {}
    if out is not None:
        config = {"nearest": array, "sha256": dataset.array_manifest(array)["sha256"], "query": query, "n": n}
        with files.atomic_dir(out, config | {"same_group": same_group}) as folder:
            pd.DataFrame(found).to_csv(folder / "neighbours.csv", index=False)
            _picture(dataset, queries, rows).save(folder / "nearest.png")
    return {**agreement, **({"folder": str(out)} if out else {}), "neighbours": found}


def nearest(
    encodings: NDArray[Any], queries: Ints, k: int, *, groups: Sequence[Any] | None = None
) -> tuple[Ints, Floats]:
    """The k rows nearest to each query by Euclidean distance, without itself.

    Args:
        encodings: N×F.
        queries: Q row numbers.
        k: neighbours of each.
        groups: N groups; rows of the query's own group are left out. None leaves out the query alone.

    Returns:
        Rows Q×k, nearest first, and distances Q×k; −1 and infinity where fewer rows are left.
    """
    x = np.asarray(encodings, np.float32)
    x = x - x.mean(0)  # Else the distances of what lies far from 0 would be rounded away.
    squares = np.einsum("nf,nf->n", x, x, dtype=np.float64)
    names = None if groups is None else np.asarray(groups, dtype=object)
    found = []
    for piece in np.split(queries, range(_AT_ONCE, len(queries), _AT_ONCE)):
        products = (x[piece] @ x.T).astype(np.float64)
        d = np.maximum(squares[piece][:, None] + squares - 2 * products, 0)
        d[np.arange(len(piece)), piece] = np.inf
        for row, query in zip(d, piece):
            if names is not None and names[query] is not None:
                row[names == names[query]] = np.inf
        d = np.pad(d, ((0, 0), (0, k)), constant_values=np.inf)
        order = np.argsort(d, axis=1, kind="stable")[:, :k]
        found.append((order, np.sqrt(np.take_along_axis(d, order, axis=1))))
    rows, distances = (np.concatenate(pieces) for pieces in zip(*found))
    return np.where(np.isfinite(distances), rows, -1), distances


def _agreement(labels: list[Any], queries: Ints, rows: Ints) -> dict[str, float]:
    names = np.array([str(label) for label in labels])
    present = rows >= 0
    same = (names[np.maximum(rows, 0)] == names[queries][:, None])[present]
    chance = np.mean([(names == names[q]).mean() for q in queries])
    return {"same_label": float(same.mean()), "same_label_by_chance": float(chance)}


def _picture(dataset: Dataset, queries: Ints, rows: Ints) -> Any:
    """A row for each query: itself, a gap, its neighbours from the nearest on."""
    size, channels = dataset.size, dataset.channels
    sheet = np.full((len(queries), rows.shape[1] + 2, size, size, channels), 255, np.uint8)
    sheet[:, 0] = dataset.pixels.read(queries)
    for i, neighbours in enumerate(rows):
        kept = neighbours[neighbours >= 0]
        if len(kept):
            sheet[i, 2 : 2 + len(kept)] = dataset.pixels.read(kept)
    grid = sample_grid(sheet.reshape(-1, size, size, channels), rows.shape[1] + 2)
    factor = max(1, round(64 / size))
    return grid.resize((grid.width * factor, grid.height * factor), 0)
