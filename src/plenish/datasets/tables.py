"""Parquet: the rows of a Dataset and of its splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from plenish import files, invocation
from plenish.datasets.schema import PARTS, LabelSchema
from plenish.errors import InputError
from plenish.wording import plural


def _label_type(labels: LabelSchema) -> Any:
    kinds = {
        "none": pa.null(), "categorical": pa.string(), "multilabel": pa.list_(pa.string()),
        "continuous": pa.list_(pa.float32()),
    }  # fmt: skip
    return kinds[labels.kind]


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
    arrays = {}
    for column in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(column) for row in rows]
        if column == "label":
            arrays[column] = pa.array(values, _label_type(labels))
        elif column in ("id", "group", "origin", "sha256", "source", "part"):
            arrays[column] = _texts(values)
        else:
            try:
                arrays[column] = pa.array(values, types.get(column), from_pandas=True)
            except (pa.ArrowInvalid, pa.ArrowTypeError):
                arrays[column] = _texts(values)
    pq.write_table(pa.table(arrays), path)


def _texts(values: Sequence[Any]) -> pa.Array:
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def join_rows(parts: Sequence[Path], out: Path, leave_out: tuple[str, ...] = ()) -> str:
    """Join the shards' rows into one table, row group by row group, and return the content's SHA-256.

    A column whose type differs between shards (all empty in one, say) is promoted; text wins.
    """
    schema = _common_schema([pq.read_schema(path) for path in parts], leave_out)
    digest = hashlib.sha256(str(schema).encode())
    with pq.ParquetWriter(out, schema) as writer:
        for path in parts:
            table = pq.read_table(path)
            for field in schema:
                if field.name not in table.column_names:
                    table = table.append_column(field.name, pa.nulls(len(table)))
            aligned = table.select(schema.names).cast(schema)
            digest.update(repr(aligned.to_pydict()).encode())
            writer.write_table(aligned)
    return digest.hexdigest()


def _common_schema(schemas: Sequence[pa.Schema], leave_out: tuple[str, ...]) -> pa.Schema:
    types: dict[str, Any] = {}
    for schema in schemas:
        for field in schema:
            if field.name in leave_out:
                continue
            known = types.get(field.name)
            if known is None or pa.types.is_null(known):
                types[field.name] = field.type
            elif not pa.types.is_null(field.type) and field.type != known:
                numeric = all(pa.types.is_integer(t) or pa.types.is_floating(t) for t in (known, field.type))
                types[field.name] = pa.float64() if numeric else pa.string()
    return pa.schema(list(types.items()))


def read_column(parts: Sequence[Path], column: str) -> list[Any] | None:
    """One column over all shards, or None where no shard has it."""
    values: list[Any] = []
    found = False
    for path in parts:
        if column in pq.read_schema(path).names:
            found = True
            values += pq.read_table(path, columns=[column]).column(0).to_pylist()
        else:
            values += [None] * pq.read_metadata(path).num_rows
    return values if found else None


def shared_across(hashes: Sequence[str], parts: Sequence[str]) -> int:
    """How many different images (by hash) are in more than one part."""
    first: dict[str, str] = {}
    return len({one for one, part in zip(hashes, parts) if first.setdefault(one, part) != part})


def split_table(
    ids: Sequence[str], parts: Sequence[str | None], manifest: Mapping[str, Any]
) -> tuple[pa.Table, dict[str, Any]]:
    """A split's table (id, part) and its manifest with the hash.

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
    digest = hashlib.sha256()
    for row, (i, part) in enumerate(zip(ids, parts, strict=True)):
        digest.update(f"{chr(10) if row else ''}{i}\t{part}".encode())
    counts = Counter(str(part) for part in parts)
    about = {"hash": digest.hexdigest(), "counts": {part: counts.get(part, 0) for part in PARTS}}
    made_by = {"command": invocation.record()}
    return pa.table({"id": list(ids), "part": list(parts)}), made_by | dict(manifest) | about


def write_table(path: Path, table: pa.Table) -> None:
    """Write a small table atomically."""
    path.parent.mkdir(exist_ok=True)
    with files.atomic_file(path) as file:
        pq.write_table(table, file)
