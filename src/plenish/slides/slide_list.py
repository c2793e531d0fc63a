"""The slides to work on: from a file, a folder, a list or a table, with their patients and metadata."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from plenish.datasets.sources.columns import read_table, typed
from plenish.errors import InputError, unknown
from plenish.files import printable
from plenish.slides import dicom_series
from plenish.slides.names import SUFFIXES, SlideEntry, barcode, slide_name
from plenish.slides.tiling_config import TableOptions

_NO_TABLE = TableOptions()
TABLES = (".csv", ".tsv", ".psv")
_CAMELYON17 = re.compile(r"(patient_\d{3})_node_\d")
SLIDE_COLUMNS = ("slide_id", "slide", "file", "filename", "file_name", "path", "image")
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
class SlideList:
    """The slides, and what table and slides do not have in common.

    Attributes:
        entries: in the order of their paths, or of the table.
        columns: of the metadata, with their kind: `integer`, `number` or `text`.
        rows_without_slide: names in the table that no slide has.
        slides_without_row: slides that the table does not name.
    """

    entries: tuple[SlideEntry, ...]
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    rows_without_slide: tuple[str, ...] = ()
    slides_without_row: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Table:
    path: Path
    key: str
    rows: Mapping[str, Mapping[str, str]]
    columns: tuple[str, ...]


_NOTHING_SAID = _Table(Path(), "", {}, ())


def list_slides(source: Path, table: TableOptions = _NO_TABLE, leave_out: Path | None = None) -> SlideList:
    """Find the slides and what a table says about them.

    Args:
        source: a slide, a folder (searched through), a .txt with a path a line, or a table that names them.
        table: a table with a row a slide, and the columns of it that say patient and label.
        leave_out: a folder in which there are no slides, such as that of annotations.

    Raises:
        InputError: nothing is found, a column is missing, no row of `metadata` names a slide, or two slides,
            rows or columns have one name.
    """
    if not source.exists():
        raise InputError(f"{source} is not there; give a slide, a folder, a .txt list or a .csv table.")
    named = _read_table(source) if source.suffix.lower() in TABLES else None
    about = None if table.metadata is None else _read_table(table.metadata)
    joined = _joined(named, about) if named and about else named or about or _NOTHING_SAID
    if named is None:
        paths = _unique((slide_name(path), path) for path in _paths(source, leave_out))
    else:
        paths = _unique(_paths_of_table(named))
    if not paths:
        raise InputError(
            f"There are no slides in {source}; their files end with {' '.join(sorted(SUFFIXES))}."
        )
    for option, column in (("--group-column", table.group_column), ("--label-column", table.label_column)):
        if column is not None and not joined.columns:
            raise InputError(f"{option} names a column of a table; give that with --metadata.")
        if column is not None and column not in joined.columns:
            raise unknown(f"column of {joined.path}", column, joined.columns)
    described = (about or joined).rows
    if about is not None and not any(name in described for name in paths):
        raise InputError(
            f"No row of {about.path} names a slide of {source}: its column '{about.key}' has "
            f"'{next(iter(described))}', and a slide is called '{next(iter(paths))}'; give the slides' own "
            "table."
        )
    carried = _carried(joined, table.label_column)
    root = source if source.is_dir() else source.parent
    return SlideList(
        tuple(_entry(path, root, joined.rows.get(name, {}), carried, table) for name, path in paths.items()),
        {column: _kind(values.values()) for column, values in carried.items()},
        tuple(key for key in described if key not in paths),
        tuple(name for name in paths if name not in described) if joined.columns else (),
    )


def _joined(named: _Table, about: _Table) -> _Table:
    """The table that names the slides, with the columns of another, whose values have precedence."""
    columns = tuple(dict.fromkeys((*named.columns, *(name for name in about.columns if name != about.key))))
    _refuse_same_columns(about.path, columns)
    rows = {}
    for name, row in named.rows.items():
        more = {key: value for key, value in about.rows.get(name, {}).items() if key != about.key and value}
        rows[name] = dict.fromkeys(columns, "") | dict(row) | more | {named.key: row[named.key]}
    return _Table(about.path, named.key, rows, columns)


def _paths(source: Path, leave_out: Path | None) -> list[Path]:
    if source.is_dir():
        return _found(source, leave_out)
    if source.suffix.lower() != ".txt":
        return [source]
    try:
        lines = source.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{source} is not text; give a list with a slide's path in each line.") from None
    return [source.parent / line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _found(folder: Path, leave_out: Path | None) -> list[Path]:
    skipped = leave_out.resolve() if leave_out is not None and leave_out.is_dir() else None
    files: list[Path] = []
    series: dict[Path, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES or not path.is_file() or path.name.startswith("."):
            continue
        if skipped is not None and skipped != folder.resolve() and skipped in path.resolve().parents:
            continue
        if suffix == dicom_series.SUFFIX:
            series.setdefault(path.parent, []).append(path)
        else:
            files.append(path)
    return sorted((*files, *(dicom_series.one_file(*found) for found in series.items())))


def _unique(named: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    """Slides by name, which must differ in more than capitals, as files of their tiles do."""
    paths: dict[str, Path] = {}
    folded: dict[str, tuple[str, Path]] = {}
    for name, path in named:
        other = folded.setdefault(name.casefold(), (name, path))
        if other != (name, path):
            raise InputError(
                f"Two slides are called {name}, apart from capitals ({other[1]}, {path}), as their tiles "
                "would be; rename one, or give a .txt list with one of them."
            )
        paths[name] = path
    return paths


def _paths_of_table(table: _Table) -> Iterator[tuple[str, Path]]:
    """The slides of a table: paths relative to its folder, or names of slides anywhere below it."""
    folder = table.path.parent
    below: dict[str, Path] | None = None
    for key, row in table.rows.items():
        path = folder / row[table.key]
        if not path.is_file():
            if below is None:
                below = {slide_name(p): p for p in sorted(folder.rglob("*")) if p.suffix.lower() in SUFFIXES}
            path = below.get(key, path)
        yield key, path


def _read_table(path: Path) -> _Table:
    lines = read_table(path, portal=True)
    columns = tuple(lines[0])
    _refuse_same_columns(path, columns)
    folded = {name.lower(): name for name in columns}
    key = next((folded[name] for name in SLIDE_COLUMNS if name in folded), None)
    if key is None:
        raise InputError(
            f"{path} has no column that names the slides ({', '.join(SLIDE_COLUMNS)}); it has "
            f"{', '.join(columns[:8])}."
        )
    rows: dict[str, dict[str, str]] = {}
    for number, line in enumerate(lines, 2):
        values = {column: _cleaned(value or "") for column, value in line.items()}
        name = slide_name(values[key])
        if not name:
            raise InputError(f"Line {number} of {path} names no slide in '{key}'; fill it in or remove it.")
        if name in rows:
            raise InputError(f"{path} has two rows for the slide {name}; keep one.")
        rows[name] = values
    return _Table(path, key, rows, columns)


def _refuse_same_columns(path: Path, columns: Iterable[str]) -> None:
    """Two columns of one name among a tile's columns; those without a name do not count."""
    taken: dict[str, str] = {}
    for column in filter(None, columns):
        name = _free(column)
        if taken.setdefault(name, column) != column:
            raise InputError(
                f"The columns '{taken[name]}' and '{column}' of {path} would both be called '{name}' in the "
                "tiles' table; rename one."
            )


def _carried(table: _Table, label_column: str | None) -> dict[str, dict[str, Any]]:
    """The columns to carry over, under the names they get: for each slide a number, a text or None."""
    skipped = {table.key, label_column, "mpp"}
    return {
        _free(column): dict(zip(table.rows, typed([row[column] or None for row in table.rows.values()])))
        for column in table.columns
        if column not in skipped and column
    }


def _kind(values: Iterable[Any]) -> str:
    found = next((value for value in values if value is not None), "")
    return "integer" if isinstance(found, int) else "number" if isinstance(found, float) else "text"


def _cleaned(text: str) -> str:
    """A cell; words for a missing value become the empty text."""
    text = text.strip()
    return "" if text.lower() in _NOTHING else text


def _free(column: str) -> str:
    return f"slide_{column}" if column in _TAKEN or column.startswith("coverage_") else column


def _entry(
    path: Path,
    root: Path,
    row: Mapping[str, str],
    carried: Mapping[str, Mapping[str, Any]],
    table: TableOptions,
) -> SlideEntry:
    name = slide_name(path)
    folded = {key.lower(): value for key, value in row.items()}
    case, sample = barcode(name) or (None, None)
    case, sample = folded.get("case_id") or case, folded.get("sample_id") or sample
    patient = row.get(table.group_column, "") if table.group_column else ""
    if not table.group_column:
        patient = next((folded[key] for key in _GROUP_COLUMNS if folded.get(key)), "")
    camelyon = _CAMELYON17.match(name)
    stated = dicom_series.read_instance(path).patient if path.suffix.lower() == dicom_series.SUFFIX else ""
    groups = (
        ("table", patient), ("barcode", case), ("name", camelyon and camelyon[1]), ("dicom", stated),
        ("slide", name),
    )  # fmt: skip
    group_from, group = next((origin, str(found)) for origin, found in groups if found)
    below = path.relative_to(root) if path.is_relative_to(root) else path
    entry = SlideEntry(
        path, name, printable(str(below)), group, group_from, case, sample,
        mpp=_stated_mpp(name, folded.get("mpp", "")),
        label=(row.get(table.label_column) or None) if table.label_column else None,
        metadata={column: values.get(name) for column, values in carried.items()}, row=row,
    )  # fmt: skip
    # What else stands for the patient could put one patient into two groups.
    asked = ((table.label_column, entry.label), (table.group_column, patient))
    empty = [column for column, value in asked if column and not value]
    if not path.is_file():
        return dataclasses.replace(entry, rejection=entry.rejected("missing"))
    return (
        dataclasses.replace(entry, rejection=entry.rejected("no-value", column=empty[0])) if empty else entry
    )


def _stated_mpp(name: str, text: str) -> float | None:
    if not text:
        return None
    with contextlib.suppress(ValueError):
        if 0 < (mpp := float(text)) < math.inf and "_" not in text:
            return mpp
    raise InputError(f"The table gives the slide {name} the mpp '{text}'; it must be a number above 0.")
