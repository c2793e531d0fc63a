"""Which slides: a file, a folder, a list or a table; whose they are, and what is known about them."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from plenish.errors import InputError, unknown
from plenish.slides.names import SUFFIXES, barcode, slide_name

TABLES = (".csv", ".tsv", ".psv")
_CAMELYON17 = re.compile(r"(patient_\d{3})_node_\d")
SLIDE_COLUMNS = ("slide_id", "slide", "file", "filename", "file_name", "path", "image")
_WHOLE = re.compile(r"[+-]?(?:0|[1-9]\d{0,17})")
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?")
"""Numbers as people write them: 007 and 01_02 are codes, and stay text."""
_NOTHING = frozenset(("", "na", "nan", "null", "none", "--", "'--", "not reported"))
_GROUP_COLUMNS = ("patient", "patient_id", "case_id", "case")
_TAKEN = frozenset(
    (
        "id", "label", "group", "origin", "sha256", "source", "part", "slide", "x", "y", "row", "col",
        "side", "mpp", "level", "tissue", "sharpness", "pen", "case", "sample",
    )
)  # fmt: skip
"""Columns that a tile's row has already; the table's columns of that name are put behind `slide_`."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A slide to tile.

    Attributes:
        path: the file.
        name: what its tiles are named after.
        group: whose it is: the patient, else the slide itself.
        group_from: what says so: `table`, `barcode` (TCGA), `name` (CAMELYON17), else `slide`.
        case: by its TCGA barcode or the table, or None.
        sample: likewise.
        mpp: µm per pixel at level 0 by the table, or None.
        label: by the table, or None.
        metadata: the table's other columns.
        row: the table's row as it stands.
        missing: why there is no such file, or an empty text.
    """

    path: Path
    name: str
    group: str
    group_from: str = "slide"
    case: str | None = None
    sample: str | None = None
    mpp: float | None = None
    label: str | None = None
    metadata: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    row: Mapping[str, str] = dataclasses.field(default_factory=dict)
    missing: str = ""


@dataclasses.dataclass(frozen=True)
class SlideList:
    """The slides, and what did not go together.

    Attributes:
        entries: in the order of their names' paths.
        columns: of the metadata, with their kind: `integer`, `number` or `text`.
        rows_without_slide: names in the table that no slide has.
        slides_without_row: slides that the table does not name.
    """

    entries: tuple[Entry, ...]
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rows_without_slide: tuple[str, ...] = ()
    slides_without_row: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Table:
    path: Path
    key: str
    rows: Mapping[str, Mapping[str, str]]
    columns: tuple[str, ...]


def list_slides(
    source: Path, metadata: Path | None = None, *, group_column: str | None = None,
    label_column: str | None = None, leave_out: Path | None = None,
) -> SlideList:  # fmt: skip
    """Find the slides and what a table says about them.

    Args:
        source: a slide, a folder (searched through), a .txt with a path a line, or a table that names them.
        metadata: a table with a row a slide, parted by |, comma, semicolon or tab; where `source` is a table
            too, its values count before that one's.
        group_column: the table's column of patients; left out, patient, patient_id or case_id.
        label_column: the table's column of labels, one for a whole slide.
        leave_out: a folder in which there are no slides, such as that of annotations.

    Raises:
        InputError: nothing is found, a column is missing, no row of `metadata` names a slide, or two slides,
            rows or columns have one name.
    """
    if not source.exists():
        raise InputError(f"{source} is not there; give a slide, a folder, a .txt list or a .csv table.")
    named = _read_table(source) if source.suffix.lower() in TABLES else None
    told = None if metadata is None else _read_table(metadata)
    table = named if told is None else told if named is None else _joined(named, told)
    paths = _paths(source, leave_out) if named is None else _named_by(named)
    if not paths:
        raise InputError(
            f"There are no slides in {source}; their files end with {' '.join(sorted(SUFFIXES))}."
        )
    _refuse_same_names(paths)
    for option, column in (("--group-column", group_column), ("--label-column", label_column)):
        if column is not None and table is None:
            raise InputError(f"{option} names a column of a table; give that with --metadata.")
        if column is not None and table is not None and column not in table.columns:
            raise unknown(f"column of {table.path}", column, table.columns)
    rows = {} if table is None else table.rows
    told_of = rows if told is None else told.rows
    if told is not None and not any(name in told_of for name in paths):
        has = f"has '{next(iter(told_of))}'" if told_of else "has no rows"
        raise InputError(
            f"No row of {told.path} names a slide of {source}: its column '{told.key}' {has}, and a slide is "
            f"called '{next(iter(paths))}'; give the slides' own table."
        )
    kinds = {} if table is None else _kinds(table, label_column)
    entries = [
        _entry(path, rows.get(name), kinds, group_column, label_column) for name, path in paths.items()
    ]
    return SlideList(
        tuple(entries),
        {_free(column): kind for column, kind in kinds.items()},
        tuple(key for key in told_of if key not in paths),
        () if table is None else tuple(name for name in paths if name not in told_of),
    )


def _joined(named: _Table, told: _Table) -> _Table:
    """The table that names the slides, with what another tells of them, whose values count first."""
    columns = tuple(dict.fromkeys((*named.columns, *(name for name in told.columns if name != told.key))))
    _refuse_same_columns(told.path, columns)
    rows = {}
    for name, row in named.rows.items():
        more = {key: value for key, value in told.rows.get(name, {}).items() if key != told.key and value}
        rows[name] = dict.fromkeys(columns, "") | dict(row) | more | {named.key: row[named.key]}
    return _Table(told.path, named.key, rows, columns)


def _paths(source: Path, leave_out: Path | None) -> dict[str, Path]:
    if source.is_dir():
        return _found(source, leave_out)
    if source.suffix.lower() == ".txt":
        try:
            lines = source.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise InputError(f"{source} is no text; give a list with a slide's path in each line.") from None
        named = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
        return _by_name(source.parent / line for line in named)
    return _by_name([source])


def _found(folder: Path, leave_out: Path | None) -> dict[str, Path]:
    """The slides below a folder; of DICOM, whose slides are folders of files, one file of each."""
    skipped = leave_out.resolve() if leave_out is not None and leave_out.is_dir() else None
    files: list[Path] = []
    dicom: set[Path] = set()
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in SUFFIXES or not path.is_file() or path.name.startswith("."):
            continue
        if skipped is not None and skipped != folder.resolve() and skipped in path.resolve().parents:
            continue
        if path.suffix.lower() == ".dcm":
            if path.parent in dicom:
                continue
            dicom.add(path.parent)
        files.append(path)
    return _by_name(files)


def _by_name(files: Iterator[Path] | Sequence[Path]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for path in files:
        name = slide_name(path)
        other = paths.setdefault(name, path)
        if other != path:
            raise InputError(
                f"Two slides are called {name} ({other}, {path}), as their tiles would be; rename one, or "
                "give a .txt list with one of them."
            )
    return paths


def _named_by(table: _Table) -> dict[str, Path]:
    """The slides of a table: paths as they stand, names as slides below the table's folder."""
    folder = table.path.parent
    below: dict[str, Path] | None = None
    paths: dict[str, Path] = {}
    for key, row in table.rows.items():
        value = row[table.key]
        path = folder / value
        if not path.is_file():
            if below is None:
                below = {slide_name(p): p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES}
            path = below.get(key, path)
        paths[key] = path
    return paths


def _refuse_same_names(paths: Mapping[str, Path]) -> None:
    folded: dict[str, str] = {}
    for name in paths:
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise InputError(
                f"The slides {other} and {name} differ in capitals only, and so would the files of their "
                "tiles; rename one."
            )


def _read_table(path: Path) -> _Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}); give a CSV table.") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8 text; save it as a CSV in UTF-8.") from None
    if not text.strip():
        raise InputError(f"{path} is empty; its first line must name the columns.")
    mark = max("|,;\t", key=text.lstrip().splitlines()[0].count)
    try:
        lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=mark) if line]
    except csv.Error as error:
        raise InputError(f"{path} is no CSV table ({error}); save it again as a CSV in UTF-8.") from None
    columns = tuple(name.strip() for name in lines[0])
    _refuse_same_columns(path, columns)
    folded = {name.lower(): name for name in columns}
    key = next((folded[name] for name in SLIDE_COLUMNS if name in folded), None)
    if key is None:
        raise InputError(
            f"{path} has no column that names the slides ({', '.join(SLIDE_COLUMNS)}); it has "
            f"{', '.join(columns[:8])}."
        )
    rows: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(columns):
            raise InputError(f"Line {number} of {path} has more or fewer values than columns; mend it.")
        values = {column: _cleaned(value) for column, value in zip(columns, line)}
        name = slide_name(values[key])
        if not name:
            raise InputError(f"Line {number} of {path} names no slide in '{key}'; fill it in or remove it.")
        if name in rows:
            raise InputError(f"{path} has two rows for the slide {name}; keep one.")
        rows[name] = values
    return _Table(path, key, rows, columns)


def _refuse_same_columns(path: Path, columns: Sequence[str]) -> None:
    """Two columns of one name, in the table or among a tile's columns; those without a name do not count."""
    taken: dict[str, str] = {}
    for column in filter(None, columns):
        name = _free(column)
        if taken.setdefault(name, column) != column or columns.count(column) > 1:
            raise InputError(
                f"The columns '{taken[name]}' and '{column}' of {path} would both be called '{name}' in the "
                "tiles' table; rename one."
            )


def _kinds(table: _Table, label_column: str | None) -> dict[str, str]:
    """The columns to carry over, and whether all their values are (whole) numbers."""
    skipped = {table.key, label_column, "mpp"}
    return {
        column: _kind([row[column] for row in table.rows.values() if row[column]])
        for column in table.columns
        if column not in skipped and column
    }


def _kind(values: Sequence[str]) -> str:
    if values and all(_WHOLE.fullmatch(value) for value in values):
        return "integer"
    return "number" if values and all(_number(value) is not None for value in values) else "text"


def _cleaned(text: str) -> str:
    """A cell without the words that stand for nothing."""
    text = text.strip()
    return "" if text.lower() in _NOTHING else text


def _number(text: str) -> float | None:
    number = float(text) if _NUMBER.fullmatch(text) else math.nan
    return number if math.isfinite(number) else None


def _free(column: str) -> str:
    return f"slide_{column}" if column in _TAKEN or column.startswith("coverage_") else column


def _entry(
    path: Path, row: Mapping[str, str] | None, kinds: Mapping[str, str], group_column: str | None,
    label_column: str | None,
) -> Entry:  # fmt: skip
    name = slide_name(path)
    row = row or {}
    folded = {key.lower(): value for key, value in row.items()}
    case, sample = barcode(name) or (None, None)
    case, sample = folded.get("case_id") or case, folded.get("sample_id") or sample
    group = row.get(group_column, "") if group_column else ""
    if not group_column:
        group = next((folded[key] for key in _GROUP_COLUMNS if folded.get(key)), "")
    camelyon = _CAMELYON17.match(name)
    whose = (("table", group), ("barcode", case), ("name", camelyon and camelyon[1]), ("slide", name))
    group_from, group = next((source, str(found)) for source, found in whose if found)
    mpp = _stated_mpp(name, folded.get("mpp", ""))
    return Entry(
        path=path,
        name=name,
        group=group,
        group_from=group_from,
        case=case,
        sample=sample,
        mpp=mpp,
        label=(row.get(label_column) or None) if label_column else None,
        metadata={_free(key): _value(row.get(key, ""), kind) for key, kind in kinds.items()},
        row=row,
        missing="" if path.is_file() else "there is no such file",
    )


def _value(text: str, kind: str) -> Any:
    if not text:
        return None
    return int(text) if kind == "integer" else float(text) if kind == "number" else text


def _stated_mpp(name: str, text: str) -> float | None:
    if not text:
        return None
    number = _number(text)
    if number is None or number <= 0:
        raise InputError(f"The table gives the slide {name} the mpp '{text}'; it must be a number above 0.")
    return number


__all__ = ["SLIDE_COLUMNS", "SUFFIXES", "Entry", "SlideList", "barcode", "list_slides", "slide_name"]
