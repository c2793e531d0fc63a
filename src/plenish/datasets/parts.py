"""Splits and the rows of their parts: what loaders, extractors and classifiers are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish.datasets.pixels import chunks
from plenish.datasets.schema import PARTS, Part
from plenish.errors import InputError

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset


@dataclasses.dataclass(frozen=True)
class Split:
    """A frozen division of a Dataset into train, val and test.

    Attributes:
        name: the split's name.
        part_of: id → part, in row order.
        manifest: how it was made, its counts and its hash.
    """

    name: str
    part_of: pd.Series[str]
    manifest: Mapping[str, Any]

    @property
    def hash(self) -> str:
        """SHA-256 of the assignment."""
        return str(self.manifest["hash"])

    def rows(self, part: Part) -> NDArray[np.int64]:
        """Row numbers of a part."""
        return np.flatnonzero(self.part_of.to_numpy() == part).astype(np.int64)


@dataclasses.dataclass(frozen=True)
class Subset:
    """Some rows of one part of a Dataset; what loaders, extractors and classifiers are given.

    Attributes:
        dataset: the Dataset.
        rows: row numbers, N int64.
        part: the part all rows belong to.
        split_name: name of the split.
        split_hash: hash of the split.
    """

    dataset: Dataset
    rows: NDArray[np.int64]
    part: Part
    split_name: str
    split_hash: str

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, index: NDArray[np.int64] | slice | None = None) -> NDArray[np.uint8]:
        """Images N×H×W×C uint8 of all rows, or of positions within this subset."""
        return self.dataset.pixels.read(self.rows if index is None else self.rows[index])

    def batches(self, batch: int = 256) -> Iterator[NDArray[np.uint8]]:
        """All images in order, in pieces of `batch`."""
        for index in chunks(len(self), batch):
            yield self.images(index)

    def y(self) -> NDArray[np.float32]:
        """Labels as numbers, N×K."""
        return self.dataset.y(self.rows)

    @property
    def labels(self) -> list[Any]:
        """Labels as the table holds them."""
        return list(self.dataset.table["label"].to_numpy()[self.rows])

    @property
    def codes(self) -> NDArray[np.int64]:
        """Class numbers, N; only for categorical labels."""
        if self.dataset.labels.kind != "categorical":
            kind = self.dataset.labels.kind.replace("none", "no")
            raise InputError(
                f"{self.dataset.path} has {kind} labels where classes are needed; "
                "import it with one class per image."
            )
        codes: NDArray[np.int64] = self.y().argmax(1).astype(np.int64)
        return codes

    @property
    def groups(self) -> NDArray[np.object_]:
        """Group (patient, lesion, slide) of each row, None where it has none."""
        return np.array(self.dataset.column("group"), object)[self.rows]

    @property
    def ids(self) -> list[str]:
        """Ids of the rows."""
        return [str(i) for i in self.dataset.table["id"].to_numpy()[self.rows]]

    def where(self, index: NDArray[Any]) -> Subset:
        """The rows a boolean mask or positions select."""
        return dataclasses.replace(self, rows=self.rows[index])


def reads_test(
    entry: Mapping[str, Any], split: Split, test: NDArray[np.bool_], others: Mapping[str, Split]
) -> bool:
    """Whether a reading was of images that are in the test part of a split."""
    part = entry.get("part")
    if part == "all" or entry.get("hash") == split.hash:
        return part in ("all", "test")
    other = others.get(str(entry.get("split")))
    if other is None or other.hash != entry.get("hash"):
        return True  # Of a split that is gone: which images they were is not known.
    if part != "test" and _of_one_cross_validation(split, other):
        return False
    return bool((test & (other.part_of.to_numpy() == part)).any())


def _of_one_cross_validation(a: Split, b: Split) -> bool:
    one, other = (
        (s.name.rpartition("-")[0], s.manifest.get("folds"), s.manifest.get("seed")) for s in (a, b)
    )
    return one == other and one[1] is not None


def groups_in_several_parts(parts: Sequence[str], groups: Sequence[Any]) -> str:
    """Which group has images in several parts, as a clause; empty where none has."""
    table = pd.DataFrame({"group": groups, "part": parts}).dropna(subset=["group"]).drop_duplicates()
    shared = table[table["group"].duplicated(keep=False)]
    if not len(shared):
        return ""
    first, more = shared["group"].iloc[0], shared["group"].nunique() - 1
    where = set(shared["part"][shared["group"] == first])
    return (
        f"the group '{first}'{f' (and {more:,} more)' if more else ''} is in "
        f"{' and '.join(part for part in PARTS if part in where)}"
    )
