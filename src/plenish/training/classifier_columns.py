"""Columns of a Dataset's table as numbers that a classifier is given beside each image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish.errors import InputError, unknown
from plenish.wording import plural

_NOT_INPUTS = ("id", "label", "group", "origin", "sha256", "source")
_MOST_VALUES = 64


@dataclasses.dataclass(frozen=True)
class Column:
    """How one column becomes numbers, the last of which says that the value is missing.

    Attributes:
        name: of the column.
        values: its values, one number each, 1 where it is that one; None of a column of numbers.
        mean: of numbers, on the training images; they are standardised, and 0 where missing.
        std: likewise.
    """

    name: str
    values: tuple[str, ...] | None = None
    mean: float = 0.0
    std: float = 1.0

    @property
    def width(self) -> int:
        """How many numbers it becomes."""
        return 2 if self.values is None else len(self.values) + 1

    def encode(self, cells: pd.Series[Any]) -> NDArray[np.float32]:
        """N cells → N×width; a value that no training image has counts as missing."""
        out = np.zeros((len(cells), self.width), np.float32)
        if self.values is None:
            numbers = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64, na_value=np.nan)
            known = np.isfinite(numbers)
            out[known, 0] = (numbers[known] - self.mean) / self.std
        else:
            place = {value: number for number, value in enumerate(self.values)}
            found = np.array([place.get(str(cell), -1) for cell in cells], np.int64)
            known = (found >= 0) & ~_missing(cells)
            out[np.flatnonzero(known), found[known]] = 1
        out[~known, -1] = 1
        return out


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a classifier, in order."""

    columns: tuple[Column, ...] = ()

    @property
    def width(self) -> int:
        """How many numbers an image gets."""
        return sum(column.width for column in self.columns)

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [column.name for column in self.columns]

    @classmethod
    def fit(cls, table: pd.DataFrame, rows: NDArray[np.int64], names: Sequence[str]) -> Columns:
        """Learn means, deviations and values.

        Args:
            table: of a Dataset.
            rows: the training rows, which alone are looked at.
            names: of columns.

        Raises:
            InputError: there is no such column, or one that cannot be an input.
        """
        offered = [str(name) for name in table.columns if name not in _NOT_INPUTS]
        for name in names:
            if name in _NOT_INPUTS:
                raise InputError(f"--columns cannot have '{name}', which says what an image is or whose.")
            if name not in offered:
                raise unknown("column for --columns", name, offered)
        return cls(tuple(_fit(name, table[name].iloc[rows]) for name in dict.fromkeys(names)))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Columns:
        """The inverse of `dataclasses.asdict`, from JSON."""
        made = []
        for column in content["columns"]:
            values = column["values"]
            made.append(Column(**{**column, "values": None if values is None else tuple(values)}))
        return cls(tuple(made))

    def encode(self, table: pd.DataFrame, where: str) -> NDArray[np.float32]:
        """Rows of a table → N×width float32.

        Args:
            table: with all these columns.
            where: whose table it is, for the message.

        Raises:
            InputError: a column is not there.
        """
        lacking = [name for name in self.names if name not in table.columns]
        if lacking:
            raise InputError(
                f"The classifier needs the {plural(len(lacking), 'column')} {', '.join(lacking)}, which "
                f"{where} does not have; import the images with a table that has them."
            )
        parts = [column.encode(table[column.name]) for column in self.columns]
        return np.concatenate([np.empty((len(table), 0), np.float32), *parts], axis=1)


NO_COLUMNS = Columns()
"""A classifier that is given images alone."""


def _fit(name: str, cells: pd.Series[Any]) -> Column:
    known = cells[~_missing(cells)]
    numbers = pd.to_numeric(known, errors="coerce")
    if not len(known):
        raise InputError(f"The column '{name}' has no value in the train part; leave it out of --columns.")
    booleans = any(isinstance(cell, (bool, np.bool_)) for cell in known)
    if numbers.notna().all() and not booleans:
        values = numbers.to_numpy(np.float64)
        return Column(name, None, float(values.mean()), float(values.std()) or 1.0)
    try:
        found = tuple(sorted({str(cell) for cell in known}))
    except TypeError:
        found = ()
    if not found or len(found) > _MOST_VALUES:
        raise InputError(
            f"The column '{name}' has {len(found):,} different values, and at most {_MOST_VALUES} can be "
            "inputs; leave it out of --columns."
        )
    return Column(name, found)


def _missing(cells: pd.Series[Any]) -> NDArray[np.bool_]:
    return np.asarray(cells.isna() | cells.map(lambda cell: isinstance(cell, str) and not cell.strip()), bool)
