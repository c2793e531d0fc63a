"""What a Dataset holds beside pixels: its rows and splits (Parquet), and arrays with one row an image."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from plenish import files, invocation
from plenish.datasets import reads
from plenish.datasets.schema import PARTS, LabelSchema
from plenish.errors import InputError
from plenish.wording import plural

Cells = Literal["boolean", "integer", "float", "text"]
_WORTH_THREADS = 2**20
"""Bytes of a table from which on several threads read it sooner than one."""


def write_rows(
    path: Path,
    rows: Sequence[Mapping[str, Any]],
    labels: LabelSchema,
    types: Mapping[str, pa.DataType],
) -> None:
    """Write one shard's rows; columns keep the order of their first appearance.

    Args:
        path: the file to write.
        rows: the rows, column by name.
        labels: what their labels are.
        types: types of user columns; those of other columns are found from the values.
    """
    label = {
        "none": pa.null(), "categorical": pa.string(), "multilabel": pa.list_(pa.string()),
        "continuous": pa.list_(pa.float32()),
    }  # fmt: skip
    arrays = {}
    for column in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(column) for row in rows]
        if column == "label":
            arrays[column] = pa.array(values, label[labels.kind])
        elif column in ("id", "group", "origin", "sha256", "source", "part"):
            arrays[column] = _texts(values)
        else:
            try:
                arrays[column] = pa.array(values, types.get(column), from_pandas=True)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                arrays[column] = _texts(values)
    with files.flushed(path) as file:
        pq.write_table(pa.table(arrays), file)


def _texts(values: Sequence[Any]) -> pa.Array:
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def cells_of(kind: pa.DataType) -> Cells | None:
    """What a column's cells, or the items of its lists, are; None for what other programs may not know."""
    inner = kind.value_type if pa.types.is_list(kind) else kind
    if pa.types.is_boolean(inner):
        return "boolean"
    if pa.types.is_integer(inner):
        return "integer"
    if pa.types.is_floating(inner):
        return "float"
    return "text" if pa.types.is_string(inner) else None


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """A table that Plenish wrote, or some of its columns; InputError where the file is damaged."""
    with files.reading(path):
        return pq.read_table(path, columns=columns, use_threads=path.stat().st_size > _WORTH_THREADS)


def open_rows(parts: Sequence[Path]) -> ds.Dataset:
    """The shards' rows as one table.

    A column whose type differs between shards (all empty in one, say) is promoted; text wins.
    """
    types: dict[str, set[pa.DataType]] = {}
    for field in itertools.chain.from_iterable(map(pq.read_schema, parts)):
        types.setdefault(field.name, set()).add(field.type)
    schema = pa.schema([(name, _common_type(found)) for name, found in types.items()])
    return ds.dataset(list(map(str, parts)), schema=schema)


def _common_type(types: Iterable[pa.DataType]) -> pa.DataType:
    try:
        return pa.unify_schemas([pa.schema([("", t)]) for t in types], promote_options="permissive")[0].type
    except pa.ArrowTypeError:
        return pa.string()


def write_samples(rows: ds.Dataset, out: Path) -> str:
    """Write all rows but for their parts, row group by row group, and return the content's SHA-256."""
    schema = pa.schema([field for field in rows.schema if field.name != "part"])
    digest = hashlib.sha256(str(schema).encode())
    with files.flushed(out) as file, pq.ParquetWriter(file, schema) as writer:
        for shard in rows.get_fragments():
            table = shard.to_table(schema=schema)
            digest.update(repr(table.to_pydict()).encode())
            writer.write_table(table)
    return digest.hexdigest()


def split_hash(ids: Sequence[str], parts: Sequence[str | None], groups: Sequence[str | None] | None) -> str:
    """SHA-256 of an assignment; of splits whose manifest has no `covers`, groups (None) are no part of it."""
    if groups is None:
        content = "\n".join(f"{i}\t{part}" for i, part in zip(ids, parts))
    else:
        content = "\n".join(json.dumps(row) for row in zip(ids, parts, groups))
    return hashlib.sha256(content.encode()).hexdigest()


def split_table(
    ids: Sequence[str],
    parts: Sequence[str | None],
    groups: Sequence[str | None],
    manifest: Mapping[str, Any],
) -> tuple[pa.Table, dict[str, Any]]:
    """A split's table (id, part) and its manifest with the hash, which covers ids, parts and groups.

    Raises:
        InputError: lengths differ or a part is none of train, val and test.
    """
    if len(parts) != len(ids):
        raise InputError(
            f"The split has {plural(len(parts), 'row')} where the Dataset has {plural(len(ids), 'image')}."
        )
    wrong = sorted({str(part) for part in parts} - set(PARTS))
    if wrong:
        raise InputError(f"A split's parts are train, val and test, not '{wrong[0]}'.")
    counts = {part: list(parts).count(part) for part in PARTS}
    about = {"hash": split_hash(ids, parts, groups), "covers": ["id", "part", "group"], "counts": counts}
    made_by = {"command": invocation.record()}
    return pa.table({"id": list(ids), "part": list(parts)}), made_by | dict(manifest) | about


def write_table(path: Path, table: pa.Table) -> None:
    """Write a small table atomically."""
    path.parent.mkdir(exist_ok=True)
    with files.atomic_file(path) as file:
        pq.write_table(table, file)


def save_split(
    folder: Path,
    name: str,
    ids: Sequence[str],
    parts: Sequence[str],
    groups: Sequence[str | None],
    manifest: Mapping[str, Any],
) -> None:
    """Write a split's table and manifest into a Dataset's folder; InputError as in `split_table`."""
    table, about = split_table(ids, parts, groups, manifest)
    reads.start(folder)
    path = folder / "splits" / f"{name}.parquet"
    path.parent.mkdir(exist_ok=True)
    # The manifest goes first: a table without one could not be read.
    files.write_record(path.with_suffix(".json"), about)
    write_table(path, table)


def save_array(
    folder: Path, name: str, array: NDArray[Any], manifest: Mapping[str, Any], *, count: int
) -> None:
    """Write `arrays/<name>.npy` and its manifest into a Dataset's folder.

    Raises:
        InputError: the array does not have `count` rows.
    """
    if len(array) != count:
        raise InputError(
            f"The array '{name}' has {plural(len(array), 'row')} where the Dataset has "
            f"{plural(count, 'image')}."
        )
    path = folder / "arrays" / f"{name}.npy"
    path.parent.mkdir(exist_ok=True)
    with files.atomic_file(path) as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    about = {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": files.sha256_file(path)}
    files.write_record(path.with_suffix(".json"), about | {"command": invocation.record()} | dict(manifest))
