"""Images in a folder (or zip) and a table about them: CSV, TSV, JSON Lines or Parquet, one row an image.

The Hugging Face convention (`metadata.csv`, `.jsonl` or `.parquet` with a column `file_name`, at the top or
in the folder of each part) is used without being asked for.
"""

from __future__ import annotations

import math
import posixpath
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plenish.datasets.sources import archive, tree
from plenish.datasets.sources.columns import Columns, header, parts, read_labels, read_table, typed
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
    tables = [options.labels] if options.labels else convention(source)
    columns, places = _read_all([path for path in tables if path is not None], source)
    file_column = _choose(options.file_column, columns, _FILE_COLUMNS, "file", required=True)
    label_column = _choose(options.label_column, columns, _LABEL_COLUMNS, "label", required=False)
    for what, column in (("group", options.group_column), ("split", options.split_column)):
        if column and column not in columns:
            raise unknown(f"column for --{what}-column", column, columns)
    names = [_clean(value) for value in columns[file_column]]
    refs = _resolve(names, files, source, tables[0] or source, places)
    keep = _complete_rows(columns, refs, file_column, label_column, options, source)
    keep.sort(key=lambda i: natural(str(refs[i])))  # Whatever the table's order.
    out = Listing("folder with a table", [str(refs[i]) for i in keep], root=str(source))
    repeated = [ref for ref, count in Counter(out.refs).items() if count > 1]
    if repeated:
        raise InputError(
            f"The table names {plural(len(repeated), 'file')} more than once ({shown(repeated)}); keep one "
            "row for each."
        )
    for name in columns:
        columns[name] = [columns[name][i] for i in keep]
    _fill(out, columns, file_column, label_column, options)
    if len(keep) < len(names):
        out.warnings.append(f"{plural(len(names) - len(keep), 'row')} without a file or label left out.")
    unnamed = sorted(set(files) - set(out.refs) - {ref for ref in refs if ref}, key=natural)
    if unnamed:
        out.warnings.append(
            f"{plural(len(unnamed), 'image')} of {source} not named by the table left out ({shown(unnamed)})."
        )
    return out


def _read_all(tables: Sequence[Path], source: Path) -> tuple[Columns, list[str]]:
    """All tables joined, and for each row the folder, relative to the source, its names start from."""
    joined: Columns = {}
    places: list[str] = []
    for path in tables:
        columns = read_table(path)
        count = len(next(iter(columns.values())))
        for name in (name for name in columns if name not in joined):
            joined[name] = [None] * len(places)
        for name in joined:
            joined[name] += columns.get(name, [None] * count)
        inside = path.parent.resolve().is_relative_to(source.resolve()) and source.is_dir()
        place = path.parent.resolve().relative_to(source.resolve()).as_posix() if inside else "."
        places += ["" if place == "." else place] * count
    return joined, places


def _choose(wanted: str | None, columns: Columns, usual: Sequence[str], what: str, *, required: bool) -> str:
    if wanted:
        if wanted not in columns:
            raise unknown(f"column for --{what}-column", wanted, columns)
        return wanted
    folded = {name.lower(): name for name in reversed(list(columns))}
    for name in usual:
        if name in folded:
            return folded[name]
    if required:
        raise InputError(
            f"Which column names the {what}s? Give it with --{what}-column; there are: "
            f"{shown(list(columns), 20)}."
        )
    return ""


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
        in_place = f"{place}/{path}" if place else path
        refs.append(in_place if in_place in known else path if path in known else None)
    return refs if any(refs) else _by_file_name(names, files, table)


def _by_file_name(names: Sequence[str], files: Sequence[str], table: Path) -> list[str | None]:
    for name_of in (posixpath.basename, _stem):
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


def _stem(path: str) -> str:
    return posixpath.splitext(posixpath.basename(path))[0]


def _complete_rows(
    columns: Columns,
    refs: Sequence[str | None],
    file_column: str,
    label_column: str,
    options: TableOptions,
    source: Path,
) -> list[int]:
    """Numbers of the rows that have a file and a label.

    Raises:
        InputError: some have not, and `options.missing` is not `skip`; or none has.
    """
    there = [i for i, ref in enumerate(refs) if ref is not None]
    if len(there) < len(refs) and (options.missing == "error" or not there):
        names = [columns[file_column][i] or f"(row {i + 2})" for i, ref in enumerate(refs) if ref is None]
        raise InputError(
            f"The table names {plural(len(names), 'file')} of {len(refs):,} that {source} does not hold "
            f"({shown(names)}); correct them or give '--missing skip'."
        )
    if not label_column:
        return there
    values = columns[label_column]
    unlabelled = [i for i in there if _no_label(values[i])]
    if unlabelled and (options.missing == "error" or len(unlabelled) == len(there)):
        raise InputError(
            f"The table has {plural(len(unlabelled), 'row')} without a label in column '{label_column}' "
            f"(row {shown([i + 2 for i in unlabelled])}); fill them in or give '--missing skip'."
        )
    return [i for i in there if not _no_label(values[i])]


def _no_label(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and not value.strip())
    )


# Labels, groups, parts and the other columns


def _fill(out: Listing, columns: Columns, file_column: str, label_column: str, options: TableOptions) -> None:
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
