"""Tables whose rows name several images, such as `front` and `side`: each becomes a row, in one group."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from plenish.datasets.formats import DICOM, is_picture, suffix_of
from plenish.datasets.sources.columns import Row
from plenish.datasets.sources.labels import is_missing
from plenish.datasets.sources.listing import SourceOptions, shown
from plenish.datasets.sources.names import clean
from plenish.errors import InputError, unknown
from plenish.wording import agree, plural

FILE, VIEW, ROW = "image_file", "image_column", "table_row"
"""Columns of the rows that `separated` makes."""


@dataclasses.dataclass(frozen=True)
class Views:
    """Rows with one image each.

    Attributes:
        rows: the rows.
        origin: the number of the table's row that each is made of.
        options: what their columns mean.
        notes: what was done.
    """

    rows: list[Row]
    origin: list[int]
    options: SourceOptions
    notes: list[str]


def image_columns(rows: Sequence[Row], columns: Sequence[str], files: Sequence[str]) -> list[str]:
    """Columns all whose cells look like names of pictures, some of which there are."""
    there = {PurePosixPath(path).name for path in files}
    return [
        name
        for name in columns
        if (cells := [row.get(name) for row in rows if not is_missing(row.get(name))])
        and all(isinstance(cell, str) and _names_picture(cell.strip()) for cell in cells)
        and any(PurePosixPath(clean(cell)).name in there for cell in cells)
    ]


def separated(rows: Sequence[Row], names: Sequence[str], options: SourceOptions) -> Views:
    """Make a row of each image that rows name; those of one row are a group, where nothing else says groups.

    Args:
        rows: of the table.
        names: the columns that name images.
        options: what the other columns mean.

    Raises:
        InputError: a column is not there, or has a name that is needed.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    for name in names:
        if name not in columns:
            raise unknown("column for --image-columns", name, columns)
    taken = [name for name in (FILE, VIEW, ROW) if name in columns]
    if taken:
        raise InputError(f"The table has a column '{taken[0]}', which --image-columns makes; rename it.")
    found: list[Row] = []
    origin: list[int] = []
    empty = 0
    for number, row in enumerate(rows):
        others: dict[str, Any] = {key: value for key, value in row.items() if key not in names}
        for name in names:
            if is_missing(row.get(name)):
                empty += 1
                continue
            found.append(others | {FILE: row[name], VIEW: name, ROW: str(number + 1)})
            origin.append(number)
    notes = [
        f"Each row of the table names {plural(len(names), 'image')} (columns {shown(names, 8)}): each became "
        f"an image of its own, with the column's name in '{VIEW}'."
    ]
    if empty:
        notes.append(f"{agree(empty, 'cell', 'names', 'name')} no image.")
    group = options.group_column or (None if "group" in options.folders else ROW)
    changed = dataclasses.replace(options, file_column=FILE, group_column=group, image_columns=())
    return Views(found, origin, changed, notes)


def _names_picture(cell: str) -> bool:
    return is_picture(cell) or suffix_of(cell) in DICOM.suffixes
