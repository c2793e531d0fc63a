"""Tables as columns: CSV, TSV, JSON Lines and Parquet; their cells as labels, parts and numbers."""

from __future__ import annotations

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from plenish.datasets.schema import LabelSchema
from plenish.datasets.sources.listing import ALIASES, categorical, natural
from plenish.errors import InputError
from plenish.files import printable
from plenish.wording import plural

Row = dict[str, Any]
_CSV, _JSON, _PARQUET = (".csv", ".tsv", ".txt"), (".jsonl", ".ndjson"), (".parquet", ".pq")
SUFFIXES = (".csv", ".tsv", *_JSON, *_PARQUET)
"""Of files that can only be tables."""


def header(path: Path) -> list[str]:
    """Names of a table's columns; none if it cannot be read.

    Raises:
        InputError: its first line is JSON but no object.
    """
    try:
        if path.suffix == ".parquet":
            return list(pq.read_schema(path).names)
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            line = file.readline()
        if path.suffix == ".jsonl":
            row = json.loads(line)
            if not isinstance(row, dict):
                raise InputError(f"Line 1 of {path} is not a JSON object; write one object an image.")
            return list(row)
        return next(csv.reader([line], delimiter=_delimiter(line)), [])
    except (OSError, ValueError):
        return []


def _delimiter(line: str) -> str:
    return max((",", "\t", ";", "|"), key=line.count)


def read_table(path: Path, portal: bool = False) -> list[Row]:
    """A table's rows, at least one; text cells stay text, empty ones become None.

    Args:
        path: the file.
        portal: it is delimited text, whatever its suffix, as portals of slides export it: stray quotes are
            part of the text, and several columns may have no name.

    Raises:
        InputError: missing, empty, of an unknown kind or not readable.
    """
    if not path.is_file():
        raise InputError(
            f"The table {path} does not exist; give the path of a CSV, JSON Lines or Parquet file."
        )
    suffix = path.suffix.lower()
    try:
        if portal or suffix in _CSV:
            rows = list(_csv_rows(path, portal))
        elif suffix in _JSON:
            rows = list(_json_rows(path))
        elif suffix in _PARQUET:
            rows = pq.read_table(path).to_pylist()
        else:
            raise InputError(
                f"{path} is not a table that Plenish reads; give .csv, .tsv, .jsonl or .parquet."
            )
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it as UTF-8.") from None
    except (ValueError, OSError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a table: {' '.join(str(error).split())}") from None
    if not any(rows):
        raise InputError(f"{path} has no rows; give a table with a header and rows.")
    return rows


def _csv_rows(path: Path, portal: bool) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = next((line for line in file if line.strip()), "")
        file.seek(0)
        rows = enumerate(csv.reader(file, delimiter=_delimiter(first), strict=not portal), 1)
        _, names = next(((number, row) for number, row in rows if row), (0, []))
        header = [name.strip() for name in names]
        twice = [name for name, count in Counter(header).items() if count > 1 and (name or not portal)]
        if twice:
            raise InputError(f"{path} has two columns named '{twice[0]}'; rename one.")
        for number, row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise InputError(
                    f"Row {number} of {path} has {len(row)} cells where the header has {len(header)}."
                )
            yield {name: cell if cell.strip() else None for name, cell in zip(header, row)}


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            row = json.loads(line)
            if not isinstance(row, dict):
                raise InputError(f"Line {number} of {path} is not a JSON object; write one object an image.")
            yield row


def read_labels(values: Sequence[Any], kind: str, column: str) -> tuple[LabelSchema, list[Any]]:
    """Labels and their schema from a column's cells, none of them empty.

    Lists, and text separated by `|` when the kind is given, are several tags or numbers.

    Raises:
        InputError: a cell is not of the kind asked for.
    """
    lists = any(isinstance(value, (list, tuple)) for value in values)
    if kind == "auto":
        numbers = lists and all(isinstance(x, float) for value in values for x in (value or ()))
        kind = "continuous" if numbers else "multilabel" if lists else "categorical"
    if kind == "categorical":
        if lists:
            raise InputError(
                f"Column '{column}' holds lists where one class an image is needed; give '--label-kind "
                "multilabel'."
            )
        names = [str(value).strip() for value in values]
        return categorical(names), names
    cells = [list(value) if isinstance(value, (list, tuple)) else str(value).split("|") for value in values]
    if kind == "multilabel":
        tags = [sorted({str(tag).strip() for tag in cell} - {""}, key=natural) for cell in cells]
        every = sorted({tag for cell in tags for tag in cell}, key=natural)
        if not every:
            raise InputError(f"Column '{column}' holds no tags at all; name another with --label-column.")
        return LabelSchema("multilabel", tuple(every)), tags
    try:
        numbers_ = [[float(x) for x in cell] for cell in cells]
    except (TypeError, ValueError) as error:
        raise InputError(
            f"Column '{column}' is not all numbers ({error}); choose another --label-kind."
        ) from None
    width = len(numbers_[0])
    if any(len(cell) != width or not all(map(math.isfinite, cell)) for cell in numbers_):
        raise InputError(
            f"Column '{column}' needs {plural(width, 'finite number')} in every row; correct the table."
        )
    names_ = (column,) if width == 1 else tuple(f"{column}_{i}" for i in range(width))
    return LabelSchema("continuous", names_), numbers_


def parts(values: Sequence[Any], column: str) -> list[str]:
    """A column of train, val and test under their usual names; InputError for other words."""
    wrong = sorted({printable(str(value)) for value in values if str(value).strip().lower() not in ALIASES})
    if wrong:
        raise InputError(
            f"Column '{column}' has '{wrong[0]}' where train, val or test is needed; correct the table."
        )
    return [ALIASES[str(value).strip().lower()] for value in values]


def typed(values: Sequence[Any]) -> list[Any]:
    """Text that is all whole numbers or all numbers becomes numbers; `007` stays text."""
    texts = [value for value in values if value is not None]
    if not texts or not all(isinstance(value, str) for value in texts):
        mixed = len({type(value) for value in texts} - {int, float}) > 1
        return [None if value is None else str(value) for value in values] if mixed else list(values)
    for kind in (int, float):
        try:
            numbers = [None if value is None else kind(value) for value in values]
        except ValueError:
            continue
        codes = any("_" in text or re.match(r"\s*[+-]?0\d", text) for text in texts)
        too_large = any(isinstance(x, int) and abs(x) >= 2**63 for x in numbers)
        return list(values) if codes or too_large else numbers
    return list(values)
