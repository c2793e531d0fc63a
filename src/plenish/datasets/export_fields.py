"""Columns and arrays of a Dataset as the fields that programs for browsing images show and filter by.

A field has a name that these programs accept, one type, and no NaN: what is missing or not finite is None.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.tables import Cells, cells_of
from plenish.progress import say
from plenish.wording import plural

if TYPE_CHECKING:
    from plenish.datasets.export import Job

Kind = Literal[Cells, "day", "time"]
BATCH = 256
"""Rows that are in memory as Python values at once."""
CLUSTER = "near_duplicate_cluster"
_LONGEST = 2**63 - 1


@dataclasses.dataclass(frozen=True)
class Field:
    """One value an image.

    Attributes:
        name: the field's name.
        of: what it is made from: a column, an array or a split.
        kind: of a value; a `day` is a datetime.date, a `time` a datetime in UTC without a time zone.
        many: whether a value is a list of such.
        values: the values of the rows of the export, in their order.
    """

    name: str
    of: str
    kind: Kind
    many: bool
    values: pa.ChunkedArray

    def read(self, start: int, stop: int) -> list[Any]:
        """Values of the rows from `start` to `stop`; None where they are missing or not finite."""
        values = self.values.slice(start, stop - start).to_pylist()
        return [files.finite(value) for value in values] if self.kind == "float" else values


@dataclasses.dataclass(frozen=True)
class Embedding:
    """An array with more than one number an image, as one vector an image.

    Attributes:
        name: the field's name.
        of: the array's name.
        dimension: D, numbers in a vector.
        array: the array of the whole Dataset, N×….
        rows: rows of the export.
    """

    name: str
    of: str
    dimension: int
    array: NDArray[Any]
    rows: NDArray[np.int64]

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Vectors of the rows from `start` to `stop`, B×D float32; one with NaN or infinity is all NaN."""
        vectors = np.asarray(self.array[self.rows[start:stop]]).reshape(-1, self.dimension)
        with np.errstate(over="ignore"):
            vectors = vectors.astype(np.float32)
        vectors[~np.isfinite(vectors).all(1)] = np.nan
        return vectors


@dataclasses.dataclass(frozen=True)
class Fields:
    """The fields of an export, and what its labels are called."""

    columns: Sequence[Field]
    embeddings: Sequence[Embedding]
    label: str
    variables: Sequence[str]
    """Field names of the variables of continuous labels."""

    def rows(self, start: int, stop: int) -> list[dict[str, Any]]:
        """Values by field name of the rows from `start` to `stop`."""
        columns = [field.read(start, stop) for field in self.columns]
        names = [field.name for field in self.columns]
        return [dict(zip(names, values)) for values in zip(*columns)]

    def renamed(self) -> list[dict[str, str]]:
        """What is called otherwise than in the Dataset: `of` and `field`."""
        called = [(one.of, one.name) for one in self.columns] + [
            (one.of, one.name) for one in self.embeddings
        ]
        return [{"of": of, "field": name} for of, name in called if of != name]


def batches(total: int) -> Iterator[tuple[int, int]]:
    """(start, stop) of every BATCH rows."""
    for start in range(0, total, BATCH):
        yield start, min(total, start + BATCH)


def fields_of(job: Job, reserved: Iterable[str]) -> Fields:
    """The fields of an export.

    `image_id`, `split` (and `split_<name>` of others), the label and the cluster keep their names; columns
    and arrays that would be called the same get a number, and those with other characters than letters,
    digits and underscores have them replaced.

    Args:
        job: the rows.
        reserved: names that the program keeps for itself.
    """
    dataset, labels = job.dataset, job.dataset.labels
    taken = {name.casefold() for name in reserved}
    made = [_column(_name("image_id", taken), "id", job.table["id"])]
    for split in sorted(dataset.split_names(), key=lambda name: (name != job.split, name)):
        name = _name("split" if split == job.split else f"split_{split}", taken)
        parts = dataset.split(split).part_of.to_numpy()[job.rows]
        made.append(_column(name, f"split.{split}", pa.chunked_array([pa.array(parts, pa.string())])))
    label = _name("label", taken)
    variables = (
        [_name(f"label_{name}", taken) for name in labels.names] if labels.kind == "continuous" else []
    )
    if job.clusters is not None:
        made.append(_clusters(job.clusters, job.rows, _name(CLUSTER, taken)))
    made += [
        _column(_name(name, taken), name, job.table[name])
        for name in job.table.column_names
        if name not in ("id", "label")
    ]
    embeddings = []
    for name in dataset.array_names():
        array = job.array(name)
        if array.ndim == 1:
            values = pa.chunked_array([pa.array(array[job.rows])])
            made.append(_column(_name(name, taken), f"array.{name}", values))
        elif array.dtype.kind in "fiub" and array.size:
            dimension = array.size // len(array)
            embeddings.append(Embedding(_name(name, taken), name, dimension, array, job.rows))
        else:
            say(f"Array '{name}' does not hold real numbers and is only in metadata.parquet.")
    fields = Fields(made, embeddings, label, variables)
    _tell(fields, len(job.rows))
    return fields


def _name(text: str, taken: set[str]) -> str:
    """A name of letters, digits and underscores that is not taken, in lower or upper case."""
    safe = re.sub(r"\W", "_", text).lstrip("_") or "field"
    numbered = (f"{safe}_{n}" for n in itertools.count(2))
    name = next(name for name in itertools.chain([safe], numbered) if name.casefold() not in taken)
    taken.add(name.casefold())
    return name


def _clusters(clusters: NDArray[np.int64], rows: NDArray[np.int64], name: str) -> Field:
    """Cluster numbers, None of images that are alone."""
    alone = np.bincount(clusters)[clusters] == 1
    values = pa.array(clusters[rows], pa.int64(), mask=alone[rows])
    return Field(name, CLUSTER, "integer", False, pa.chunked_array([values]))


def _column(name: str, of: str, values: pa.ChunkedArray) -> Field:
    """A field of the type of a column; of types that these programs lack, its values are text."""
    kind, many = values.type, pa.types.is_list(values.type)
    known = cells_of(kind)
    if (
        known == "integer"
        and not many
        and pa.types.is_uint64(kind)
        and (pc.max(values).as_py() or 0) > _LONGEST
    ):
        known = None
    if known is not None:
        return Field(name, of, known, many, values)
    if pa.types.is_date(kind):
        return Field(name, of, "day", False, values)
    if pa.types.is_timestamp(kind):
        return Field(name, of, "time", False, values.cast(pa.timestamp("ms"), safe=False))
    if pa.types.is_null(kind):
        return Field(name, of, "text", False, values.cast(pa.string()))
    texts = [None if value is None else _text(value) for value in values.to_pylist()]
    return Field(name, of, "text", False, pa.chunked_array([pa.array(texts, pa.string())]))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _tell(fields: Fields, total: int) -> None:
    """What is not as in the Dataset."""
    for embedding in fields.embeddings:
        lost = sum(int(np.isnan(embedding.read(start, stop)[:, 0]).sum()) for start, stop in batches(total))
        if lost:
            say(
                f"Array '{embedding.of}' has {plural(lost, 'row')} with NaN, infinity or more than float32 "
                "holds; these images have no such embedding."
            )
    told = [
        pair for pair in fields.renamed()
        if pair["of"] != "id" and not pair["of"].startswith(("split.", "array."))
    ]  # fmt: skip
    if told:
        some = ", ".join(f"'{pair['of']}' is '{pair['field']}'" for pair in told[:5])
        say(f"{plural(len(told), 'column')} renamed: {some}{' …' if len(told) > 5 else ''}.")
