"""Some rows of a Dataset as a Dataset of its own, with or without what only its makers may know."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from plenish import invocation
from plenish.datasets.dataset import Dataset
from plenish.datasets.partition import connected_units
from plenish.datasets.pixels import chunks
from plenish.datasets.synthetic import METHOD, generator_of, generator_words
from plenish.datasets.tables import read_parquet
from plenish.datasets.writer import DatasetWriter

_BATCH = 256
_OF_THE_ARRAY = ("shape", "dtype", "sha256", "command")
"""What `save_array` says of an array itself."""
_OF_THE_SPLIT = ("hash", "covers", "counts", "command", "duplicates_across_parts")
"""What a split's manifest says of its own rows."""
_OF_THE_IMPORT = ("rejected", "warnings", "corpus")
"""Facts of the files that a Dataset was made of, which do not hold for one made from it."""
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
    with _writer_of(dataset, out, config=config, name=name, extra=extra) as writer:
        _add(writer, dataset, rows, read_parquet(dataset.path / "samples.parquet"))
        writer.splits["default"] = ["train"] * len(rows)
        writer.split_manifest = {"method": METHOD}
        _keep_arrays(writer, dataset, rows)
        beside(writer.partial)
    return writer.dataset


def curated_rows(
    dataset: Dataset, out: Path, rows: NDArray[np.int64], *, config: Mapping[str, Any], name: str,
    extra: Mapping[str, Any], columns: Mapping[str, pa.Array], together: NDArray[np.int64] | None,
    beside: Callable[[Path], object],
) -> Dataset:  # fmt: skip
    """Write a Dataset of some rows, with all their columns and arrays and their parts of every split.

    Args:
        dataset: any Dataset.
        out: the folder to make; must not exist.
        rows: row numbers, ascending.
        config: what decides the content beside the rows.
        name: name of the new Dataset.
        extra: further facts for dataset.json.
        columns: further columns, one value a row.
        together: R numbers of sets of rows that may not lie in several parts; a set that does, with the
            groups of its rows, goes to train, in every split. None leaves all parts as they are.
        beside: writes further files into the folder, before it gets its name.
    """
    table = read_parquet(dataset.path / "samples.parquet").take(pa.array(rows))
    for column, values in columns.items():
        table = table.drop_columns([column] if column in table.column_names else [])
        table = table.append_column(column, values)
    with _writer_of(dataset, out, config=config, name=name, extra=extra) as writer:
        _add(writer, dataset, rows, table, taken=True)
        keep_splits(writer, dataset, rows)
        if together is not None:
            for split, before in writer.splits.items():
                parts, moved = _in_one_part(np.array(before), table["group"].to_pylist(), together)
                writer.splits[split] = [str(part) for part in parts]
                writer.split_manifests[split] = {**writer.split_manifests[split], "moved_to_train": moved}
        _keep_arrays(writer, dataset, rows)
        beside(writer.partial)
    return writer.dataset


def keep_splits(writer: DatasetWriter, dataset: Dataset, rows: NDArray[np.int64]) -> None:
    """Let a new Dataset of some rows have these rows' parts of every split, and what is known of each split.

    Args:
        writer: of the new Dataset.
        dataset: that it is made from.
        rows: row numbers, ascending.
    """
    for split in dataset.split_names():
        frozen = dataset.split(split)
        kept = {key: value for key, value in frozen.manifest.items() if key not in _OF_THE_SPLIT}
        writer.splits[split] = [str(part) for part in frozen.part_of.to_numpy()[rows]]
        writer.split_manifests[split] = kept | {"carried_from": frozen.hash}


def _in_one_part(
    parts: NDArray[Any], groups: Sequence[str | None], together: NDArray[np.int64]
) -> tuple[NDArray[Any], int]:
    """Parts in which no set of rows lies in several, and how many rows were moved to train."""
    names = [f"row {i}" if group is None else f"group {group}" for i, group in enumerate(groups)]
    _, group = np.unique(np.array(names), return_inverse=True)
    unit = connected_units(group.astype(np.int64), together)
    several = pd.Series(parts).groupby(unit).transform("nunique").to_numpy() > 1
    return np.where(several, "train", parts), int((several & (parts != "train")).sum())


def _writer_of(
    dataset: Dataset, out: Path, *, config: Mapping[str, Any], name: str, extra: Mapping[str, Any]
) -> DatasetWriter:
    manifest = dataset.manifest
    return DatasetWriter(
        out, name=name, size=dataset.size, channels=dataset.channels, labels=dataset.labels, config=config,
        licence=manifest.licence, source=manifest.source, intended_use=manifest.intended_use,
        extra={**carried_extra(dataset), **extra},
    )  # fmt: skip


def carried_extra(dataset: Dataset) -> dict[str, Any]:
    """The facts of a Dataset that hold for others made from it, too."""
    return {key: value for key, value in dataset.manifest.extra.items() if key not in _OF_THE_IMPORT}


def _keep_arrays(writer: DatasetWriter, dataset: Dataset, rows: NDArray[np.int64]) -> None:
    for array in dataset.array_names():
        about = dataset.array_manifest(array)
        kept = {key: value for key, value in about.items() if key not in _OF_THE_ARRAY}
        writer.arrays[array] = dataset.array(array)[rows], kept


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
            writer.splits["default"] = ["train"] * len(dataset)
            writer.split_manifest = {"method": METHOD}
        return writer.dataset


def public_generator(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record of a generator without the places of its Run and of its training data."""
    data = record.get("data") or {}
    return {
        **{key: value for key, value in record.items() if key not in ("run", "data")},
        "data": {key: data[key] for key in _PUBLIC_DATA if key in data},
    }  # fmt: skip


def _add(
    writer: DatasetWriter, dataset: Dataset, rows: NDArray[np.int64], table: pa.Table, *, taken: bool = False
) -> None:
    """Images and their rows of the table; what an earlier try wrote is there.

    Args:
        writer: of the new Dataset.
        dataset: where the images are.
        rows: their row numbers.
        table: the table of all images, or of `rows` alone where these are `taken` already.
        taken: see `table`.
    """
    writer.types = {field.name: field.type for field in table.schema}
    for at in chunks(len(rows), _BATCH):
        at = at[at >= writer.skip]
        if len(at):
            some: Sequence[dict[str, Any]] = table.take(pa.array(at if taken else rows[at])).to_pylist()
            writer.add(dataset.pixels.read(rows[at]), some)
