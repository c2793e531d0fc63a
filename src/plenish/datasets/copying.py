"""Some rows of a synthetic Dataset as a Dataset of its own, with or without what only its makers may know."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plenish import invocation
from plenish.datasets.dataset import Dataset
from plenish.datasets.pixels import chunks
from plenish.datasets.synthetic import METHOD, generator_of, generator_words
from plenish.datasets.tables import read_parquet
from plenish.datasets.writer import DatasetWriter

_BATCH = 256
_OF_THE_ARRAY = ("shape", "dtype", "sha256", "command")
"""What `save_array` says of an array itself."""
_PUBLIC = ("id", "label", "origin", "sha256", "generator", "checkpoint", "seed", "latent_row")
"""Columns that may be given away: what `plenish generate` writes."""
_PUBLIC_DATA = ("name", "pixels_hash", "table_hash", "split_name", "split_hash", "part")
_PUBLIC_EXTRA = ("phantom", "domain", "filters")
_PLAIN_ID = re.compile(r"s\d{7,}")


def keep_rows(
    dataset: Dataset, out: Path, rows: NDArray[np.int64], *, config: Mapping[str, Any], name: str,
    extra: Mapping[str, Any], beside: Callable[[Path], object] = lambda folder: None,
) -> Dataset:  # fmt: skip
    """Write a Dataset of some rows, with all their columns and arrays, and the generator that made them.

    Args:
        dataset: a synthetic Dataset.
        out: the folder to make; must not exist.
        rows: row numbers, ascending.
        config: what decides the content beside the rows.
        name: name of the new Dataset.
        extra: further facts for dataset.json.
        beside: writes further files into the folder, before it gets its name.
    """
    manifest = dataset.manifest
    writer = DatasetWriter(
        out, name=name, size=dataset.size, channels=dataset.channels, labels=dataset.labels, config=config,
        licence=manifest.licence, source=manifest.source, intended_use=manifest.intended_use,
        extra={**manifest.extra, **extra},
    )  # fmt: skip
    with writer:
        _add(writer, dataset, rows, read_parquet(dataset.path / "samples.parquet"))
        for array in dataset.array_names():
            about = dataset.array_manifest(array)
            kept = {key: value for key, value in about.items() if key not in _OF_THE_ARRAY}
            writer.arrays[array] = dataset.array(array)[rows], kept
        beside(writer.partial)
    return writer.dataset


def publishable(dataset: Dataset, out: Path, *, licence: str, intended_use: str) -> Dataset:
    """Write a Dataset of all images, without anything but what anyone may know.

    Columns are those that `plenish generate` writes. Left out are the user's own columns, file names,
    latents and other arrays (latents may be those of real images), all paths, and the commands that made it.
    Ids that are not Plenish's own become numbers.

    Args:
        dataset: a synthetic Dataset.
        out: the folder to make; must not exist.
        licence: of the images, as they are given away.
        intended_use: what they may be used for.
    """
    generator = public_generator(generator_of(dataset.manifest.extra))
    table = read_parquet(dataset.path / "samples.parquet")
    table = table.select([column for column in _PUBLIC if column in table.column_names])
    ids = table["id"].to_pylist()
    if not all(_PLAIN_ID.fullmatch(one) for one in ids):
        ids = [f"s{i:07d}" for i in range(len(ids))]
    run = generator.get("run_id")
    made_by = [f"{run}/{generator.get('checkpoint')}" if run else generator_words(generator)] * len(ids)
    table = table.set_column(table.column_names.index("id"), "id", pa.array(ids, pa.string()))
    table = table.append_column("source", pa.array(made_by, pa.string()))
    kept = {key: value for key, value in dataset.manifest.extra.items() if key in _PUBLIC_EXTRA}
    with invocation.unrecorded():
        writer = DatasetWriter(
            out, name=dataset.name, size=dataset.size, channels=dataset.channels, labels=dataset.labels,
            config={"verb": "release"}, licence=licence, source=generator_words(generator),
            intended_use=intended_use, extra={**kept, "generator": generator},
        )  # fmt: skip
        with writer:
            _add(writer, dataset, np.arange(len(dataset), dtype=np.int64), table)
        return writer.dataset


def public_generator(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a generator without the places of its Run and of its training data."""
    data = record.get("data") or {}
    return {
        **{key: value for key, value in record.items() if key not in ("run", "data")},
        "data": {key: data[key] for key in _PUBLIC_DATA if key in data},
    }  # fmt: skip


def _add(writer: DatasetWriter, dataset: Dataset, rows: NDArray[np.int64], table: pa.Table) -> None:
    """Images and their rows of the table, all of them training data; what an earlier try wrote is there."""
    writer.types = {field.name: field.type for field in table.schema}
    for at in chunks(len(rows), _BATCH):
        todo = rows[at[at >= writer.skip]]
        if len(todo):
            taken: Sequence[dict[str, Any]] = table.take(pa.array(todo)).to_pylist()
            writer.add(dataset.pixels.read(todo), taken)
    writer.splits["default"] = ["train"] * len(rows)
    writer.split_manifest = {"method": METHOD}
