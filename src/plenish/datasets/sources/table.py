"""Images in a folder (or zip) and a table about them: CSV, TSV, JSON Lines or Parquet, one row an image.

The Hugging Face convention (`metadata.csv`, `.jsonl` or `.parquet` with a column `file_name`, at the top or
in the folder of each part) is used without being asked for.
"""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from plenish.datasets.sources import archive, tree
from plenish.datasets.sources.columns import Row, header, parts, read_labels, read_table, typed
from plenish.datasets.sources.listing import (
    ALIASES,
    Listing,
    TableOptions,
    natural,
    shown,
    similar_classes,
)  # fmt: skip
from plenish.errors import InputError, unknown
from plenish.wording import agree, plural

_FILE_COLUMNS = (
    "file_name", "filename", "file", "file_path", "filepath", "path", "image_path", "image", "image_id", "id",
)  # fmt: skip
_LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "class_name", "diagnosis", "dx")
_GROUP_COLUMNS = (
    "patient_id", "patient", "group", "subject", "subject_id", "lesion_id", "slide_id", "slide", "case_id",
)  # fmt: skip
_CORE = ("id", "label", "group", "origin", "sha256", "source", "part")


def convention(folder: Path) -> list[Path]:
    """The tables of the Hugging Face convention in a folder or in its part folders."""
    try:
        inside = [path for path in folder.iterdir() if path.name.lower() in ALIASES and path.is_dir()]
    except NotADirectoryError:
        return []
    found = []
    for place in (folder, *sorted(inside)):
        for suffix in (".csv", ".jsonl", ".parquet"):
            path = place / f"metadata{suffix}"
            if path.is_file() and "file_name" in header(path):
                found.append(path)
                break
        if place == folder and found:
            break
    return found


def listing(source: Path, options: TableOptions) -> Listing:
    """List the images of a folder or zip as a table describes them.

    Raises:
        InputError: a column or file is missing (that of labels may be where the table was not asked for), a
            file is named twice or lies outside, a label is missing.
    """
    files = archive.pictures(source) if source.is_file() else tree.walk(source)[0]
    rows: list[Row] = []
    places: list[str] = []
    tables = [options.labels] if options.labels else convention(source)
    for path in tables:
        rows += read_table(path)
        folder = path.parent.resolve()
        inside = source.is_dir() and folder.is_relative_to(source.resolve())
        place = folder.relative_to(source.resolve()).as_posix() if inside else "."
        places += [place] * (len(rows) - len(places))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file_column = _choose(options.file_column, columns, "file", _FILE_COLUMNS)
    if not file_column:
        raise InputError(
            f"Which column names the files? Give it with --file-column; there are: {shown(columns, 20)}."
        )
    label_column = _choose(options.label_column, columns, "label", _LABEL_COLUMNS)
    _choose(options.group_column, columns, "group")
    _choose(options.split_column, columns, "split")
    names = [_clean(row.get(file_column)) for row in rows]
    refs = _resolve(names, files, source, tables[0], places)
    complete = _complete_rows(rows, refs, file_column, label_column, options, source)
    complete.sort(key=lambda row: natural(row[0]))  # Whatever the table's order.
    out = Listing("folder with a table", [ref for ref, _ in complete], root=str(source))
    repeated = [ref for ref, count in Counter(out.refs).items() if count > 1]
    if repeated:
        raise InputError(
            f"The table names {plural(len(repeated), 'file')} more than once ({shown(repeated)}); keep one "
            "row for each."
        )
    cells = {name: [row.get(name) for _, row in complete] for name in columns}
    _fill(out, cells, file_column, label_column, options)
    if len(complete) < len(rows):
        out.warnings.append(f"{plural(len(rows) - len(complete), 'row')} without a file or label left out.")
    unnamed = sorted(set(files) - {ref for ref in refs if ref}, key=natural)
    if unnamed:
        out.warnings.append(
            f"{plural(len(unnamed), 'image')} of {source} not named by the table left out ({shown(unnamed)})."
        )
    return out


def _choose(wanted: str | None, columns: Sequence[str], what: str, usual: Sequence[str] = ()) -> str:
    """The column asked for, or the first with a usual name, or nothing; InputError where it is not there."""
    if wanted and wanted not in columns:
        raise unknown(f"column for --{what}-column", wanted, columns)
    folded = {name.lower(): name for name in reversed(columns)}
    return wanted or next((folded[name] for name in usual if name in folded), "")


def _clean(value: Any) -> str:
    return "" if value is None else str(value).strip().replace("\\", "/")


# Finding the files


def _resolve(
    names: Sequence[str], files: Sequence[str], source: Path, table: Path, places: Sequence[str]
) -> list[str | None]:
    """For each row the file it names, or None.

    A name is a path relative to the source or to its table's folder; where no name of the table is, all are
    compared as file names without folders, then also without suffix.
    """
    known = set(files)
    root = source.resolve().as_posix()
    refs: list[str | None] = []
    for name, place in zip(names, places):
        path = posixpath.relpath(name, root) if name.startswith("/") else posixpath.normpath(name or ".")
        if path.startswith("../"):
            joined = posixpath.normpath(posixpath.join(place, path))
            if joined.startswith("../") or name.startswith("/"):
                raise InputError(
                    f"{table} names '{name}', which lies outside {source}; name files inside it."
                )
            path = joined
        in_place = posixpath.normpath(posixpath.join(place, path))
        refs.append(in_place if in_place in known else path if path in known else None)
    return refs if any(refs) else _by_file_name(names, files, table)


def _by_file_name(names: Sequence[str], files: Sequence[str], table: Path) -> list[str | None]:
    for name_of in (posixpath.basename, lambda path: PurePosixPath(path).stem):
        places: dict[str, list[str]] = {}
        for path in files:
            places.setdefault(name_of(path), []).append(path)
        keys = [posixpath.basename(name) for name in names]
        found = [places.get(key) for key in keys]
        if any(found):
            for key, at in zip(keys, found):
                if at is not None and len(at) > 1:
                    raise InputError(
                        f"{table} names '{key}', and there are {len(at)}: {shown(at)}; name the folder too."
                    )
            return [at[0] if at else None for at in found]
    return [None] * len(names)


def _complete_rows(
    rows: Sequence[Row], refs: Sequence[str | None], file_column: str, label_column: str,
    options: TableOptions, source: Path,
) -> list[tuple[str, Row]]:  # fmt: skip
    """The rows that have a file and a label, each with its file.

    Raises:
        InputError: some have not, and `options.missing` is not `skip`; or none has.
    """
    there = [(i, ref) for i, ref in enumerate(refs) if ref is not None]
    if len(there) < len(refs) and (options.missing == "error" or not there):
        names = [rows[i].get(file_column) or f"(row {i + 2})" for i, ref in enumerate(refs) if ref is None]
        raise InputError(
            f"The table names {plural(len(names), 'file')} of {len(refs):,} that {source} does not hold "
            f"({shown(names)}); correct them or give '--missing skip'."
        )
    unlabelled = {i for i, _ in there if label_column and _no_label(rows[i].get(label_column))}
    if unlabelled and (options.missing == "error" or len(unlabelled) == len(there)):
        raise InputError(
            f"The table has {plural(len(unlabelled), 'row')} without a label in column '{label_column}' "
            f"(row {shown([i + 2 for i in sorted(unlabelled)])}); fill them in or give '--missing skip'."
        )
    return [(ref, rows[i]) for i, ref in there if i not in unlabelled]


def _no_label(value: Any) -> bool:
    """Whether a cell is empty, NaN (which differs from itself) or blank."""
    return value is None or value != value or (isinstance(value, str) and not value.strip())


# Labels, groups, parts and the other columns


def _fill(
    out: Listing, columns: Mapping[str, list[Any]], file_column: str, label_column: str, options: TableOptions
) -> None:
    if label_column:
        out.schema, out.labels = read_labels(columns[label_column], options.label_kind, label_column)
        out.warnings += similar_classes(out.schema.names) if out.schema.kind == "categorical" else []
    arranged = tree.arrange(out.refs)
    if not label_column and arranged.schema.kind != "none" and len(arranged.refs) == len(out.refs):
        out.schema, out.labels = arranged.schema, arranged.labels
        out.notes.append("The table has no column of labels; the folders' names are the classes.")
    elif not label_column and options.labels:
        raise InputError(
            f"{options.labels} has no column of labels with a usual name; name it with --label-column "
            f"(there are: {shown(list(columns), 20)})."
        )
    elif not label_column:
        there = shown(list(columns), 12)
        out.notes.append(f"The table has no column of labels ({there}), so the images are unlabelled.")
    if options.group_column:
        groups = columns[options.group_column]
        out.groups = [None if _no_label(value) else str(value).strip() for value in groups]
        if None in out.groups:
            out.warnings.append(
                f"{agree(list(out.groups).count(None), 'image', 'has', 'have')} no group in "
                f"'{options.group_column}'."
            )
    else:
        likely = [name for name in columns if name.lower() in _GROUP_COLUMNS]
        if likely:
            out.warnings.append(
                f"Column '{likely[0]}' looks like a group that must stay in one part of a split; if so, give "
                f"'--group-column {likely[0]}'."
            )
    if options.split_column:
        out.parts = parts(columns[options.split_column], options.split_column)
    elif arranged.parts is not None and len(arranged.refs) == len(out.refs):
        out.parts = arranged.parts
    used = {file_column, label_column, options.group_column, options.split_column}
    for name, values in columns.items():
        if name not in used:
            kept = f"{name}_" if name in _CORE else name
            out.columns[kept if kept not in columns or kept == name else f"{kept}_"] = typed(values)
