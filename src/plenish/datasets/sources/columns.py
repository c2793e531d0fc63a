"""Tables as rows: CSV, TSV, JSON, JSON Lines and Parquet."""

from __future__ import annotations

import csv
import io
import itertools
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from plenish.errors import InputError, first_line

Row = dict[str, Any]
_TEXT, _LINES, _PARQUET = (".csv", ".tsv", ".tab", ".txt", ""), (".jsonl", ".ndjson"), (".parquet", ".pq")
SUFFIXES = (".csv", ".tsv", ".tab", *_LINES, *_PARQUET)
"""Of files that can only be tables."""
_BEGINNING = 2**20
"""Bytes of a text in which its header ends."""
_NAMELESS = re.compile(r"|Unnamed: \d+|__index_level_\d+__")
_BOOLEANS = {"True": True, "true": True, "TRUE": True, "False": False, "false": False, "FALSE": False}


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
            f"The table {path} does not exist; give the path of a CSV, JSON, JSON Lines or Parquet file."
        )
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read as a table: {error.strerror or error}") from None
    return parse_table(content, str(path), portal=portal)


def parse_table(content: bytes, name: str, *, portal: bool = False, lines: bool = False) -> list[Row]:
    """The rows of a table's bytes; see `read_table`.

    Args:
        content: of the file.
        name: what it is called in sentences, with its suffix at the end or before ` in `.
        portal: as above.
        lines: it holds JSON Lines, whatever its suffix.

    Raises:
        InputError: empty, of an unknown kind or not readable.
    """
    suffix = PurePosixPath(name.partition(" in ")[0]).suffix.lower()
    try:
        if suffix == ".json":
            rows = _json_table(content.decode("utf-8-sig"), name, lines)
        elif lines or suffix in _LINES:
            rows = list(_json_lines(content.decode("utf-8-sig"), name))
        elif portal or suffix in _TEXT:
            rows = list(_text_rows(content.decode("utf-8-sig"), name, portal))
        elif suffix in _PARQUET:
            rows = pq.read_table(pa.BufferReader(content)).to_pylist()
        else:
            raise InputError(
                f"{name} is not a table that Plenish reads; give .csv, .tsv, .json, .jsonl or .parquet."
            )
    except UnicodeDecodeError:
        raise InputError(f"{name} is not UTF-8 text; save it as UTF-8.") from None
    except (ValueError, OSError, RecursionError, csv.Error) as error:
        raise InputError(f"{name} cannot be read as a table: {first_line(error)}") from None
    if not any(rows):
        raise InputError(f"{name} has no rows; give a table with a header and rows.")
    return rows


def read_lines(lines: Iterable[bytes], name: str) -> Iterator[Row] | None:
    """The rows of JSON Lines, one at a time; None where the first line is no JSON object.

    Raises:
        InputError: a later line is none.
    """
    numbered = enumerate((line.decode("utf-8-sig") for line in lines), 1)
    first = next((pair for pair in numbered if pair[1].strip()), (1, ""))
    try:
        if not isinstance(json.loads(first[1]), dict):
            return None
    except (ValueError, RecursionError):
        return None
    return _rows_of_lines(itertools.chain([first], numbered), name)


def column_names(content: bytes, name: str) -> list[str]:
    """Names of a table's columns, by its beginning; none if that cannot be read.

    Raises:
        InputError: the first line of a .jsonl file is no JSON object.
    """
    suffix = PurePosixPath(name.partition(" in ")[0]).suffix.lower()
    try:
        if suffix in _PARQUET:
            return list(pq.read_schema(pa.BufferReader(content)).names)
        text = content[:_BEGINNING].decode("utf-8-sig", "replace")
        if suffix in _LINES:
            return list(next(_json_lines(text, name), {}))
        return _opened(text, strict=True)[0]
    except (ValueError, OSError, RecursionError, csv.Error):
        return []


def _opened(text: str, strict: bool) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The header of delimited text, and the numbered rows behind it."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    said = re.fullmatch(r"sep=(.)", first.strip("\r\n"), re.IGNORECASE)  # Excel's.
    sign = said[1] if said else max((",", "\t", ";", "|"), key=first.count)
    rows = enumerate(csv.reader(io.StringIO(text, newline=""), delimiter=sign, strict=strict), 1)
    if said:
        next((row for _, row in rows if row), None)
    names = next((row for _, row in rows if row), [])
    return [column.strip() for column in names], rows


def _text_rows(text: str, name: str, portal: bool) -> Iterator[Row]:
    header, rows = _opened(text, strict=not portal)
    twice = [column for column, count in Counter(header).items() if count > 1 and (column or not portal)]
    if twice:
        raise InputError(f"{name} has two columns named '{twice[0]}'; rename one.")
    for number, row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) != len(header):
            raise InputError(
                f"Row {number} of {name} has {len(row)} cells where the header has {len(header)}."
            )
        yield {column: cell if cell.strip() else None for column, cell in zip(header, row)}


def _json_lines(text: str, name: str) -> Iterator[Row]:
    return _rows_of_lines(enumerate(text.split("\n"), 1), name)


def _rows_of_lines(lines: Iterable[tuple[int, str]], name: str) -> Iterator[Row]:
    for number, line in lines:
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"Line {number} of {name} is not JSON ({first_line(error)}); correct it."
            ) from None
        if not isinstance(row, dict):
            raise InputError(f"Line {number} of {name} is not a JSON object; write one object an image.")
        yield row


def _json_table(text: str, name: str, lines: bool) -> list[Row]:
    """Rows of a JSON list, or of JSON Lines, which often end with .json too."""
    try:
        content = json.loads(text)
    except ValueError as error:
        first = [line for line in text.split("\n", 2)[:2] if line.lstrip().startswith("{")]
        if len(first) < 2:
            raise InputError(f"{name} cannot be read as a table: {first_line(error)}") from None
        return list(_json_lines(text, name))
    content = [content] if lines and isinstance(content, dict) else content
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise InputError(f"{name} is not a table: it needs a JSON list with one object an image.")
    return content


def named(rows: Sequence[Row]) -> tuple[list[Row], list[str]]:
    """Rows without columns that have no name and hold nothing or the rows' numbers, and notes of the latter.

    Programs write such a column for their own index; another that has no name is called `unnamed`, with a
    number where a column has that name.
    """
    notes: list[str] = []
    renamed: dict[str, str] = {}
    there = {name for row in rows for name in row}
    taken = {name for name in there if not _NAMELESS.fullmatch(name)}
    for name in sorted(name for name in there if _NAMELESS.fullmatch(name)):
        cells = [row.get(name) for row in rows]
        if any(cell is not None for cell in cells):
            numbers = {str(cell).strip() for cell in cells}
            if len(numbers) == len(cells) and all(re.fullmatch(r"\d+(\.0)?", text) for text in numbers):
                notes.append(
                    f"A column without a name{f' ({name})' if name else ''} only numbers the rows and was "
                    "not used."
                )
            else:
                renamed[name] = name if name and not name.startswith("__") else _free("unnamed", taken)
                taken.add(renamed[name])
                continue
        renamed[name] = ""
    if not renamed:
        return list(rows), []
    kept = [
        {renamed.get(key, key): value for key, value in row.items() if renamed.get(key, key)} for row in rows
    ]
    return kept, notes


def _free(name: str, taken: Collection[str]) -> str:
    """The name, or the first of `name_2`, `name_3`, … that is not taken."""
    names = itertools.chain([name], (f"{name}_{number}" for number in itertools.count(2)))
    return next(each for each in names if each not in taken)


def typed(values: Sequence[Any]) -> list[Any]:
    """Text that is all whole numbers, numbers, or true and false, becomes such; `007` stays text."""
    texts = [value for value in values if value is not None]
    if not texts or not all(isinstance(value, str) for value in texts):
        kinds = {float if type(value) is int else type(value) for value in texts}
        mixed = len(kinds) > 1 or any(map(_is_too_large, texts))
        return [_json_text(value) for value in values] if mixed else list(values)
    if all(text in _BOOLEANS for text in texts):
        return [None if value is None else _BOOLEANS[value] for value in values]
    for kind in (int, float):
        try:
            numbers = [None if value is None else kind(value) for value in values]
        except ValueError:
            continue
        codes = any("_" in text or re.match(r"\s*[+-]?0\d", text) for text in texts)
        return list(values) if codes or any(map(_is_too_large, numbers)) else numbers
    return list(values)


def _is_too_large(value: Any) -> bool:
    """Whether it is a whole number that no column of numbers holds."""
    return isinstance(value, int) and abs(value) >= 2**63


def _json_text(value: Any) -> str | None:
    """A cell of a column that mixes kinds, as text; lists and objects as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, default=str) if isinstance(value, (list, dict)) else str(value)
