"""Images in a folder or archive and a table about them, one row an image.

The Hugging Face convention (`metadata.csv`, `.jsonl` or `.parquet` with a column `file_name`, at the top or
in the folder of each part) is used without being asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from plenish.datasets.sources import tree, views
from plenish.datasets.sources.accepted import COLUMNS, Accepted
from plenish.datasets.sources.columns import Row, column_names, named, parse_table, read_table, typed
from plenish.datasets.sources.container import Container
from plenish.datasets.sources.labels import (
    blanks,
    find_unlabelled,
    is_missing,
    one_hot,
    read_groups,
    read_labels,
    read_parts,
)  # fmt: skip
from plenish.datasets.sources.listing import (
    CORE,
    Listing,
    SourceOptions,
    alike,
    natural,
    part_of,
    shown,
)  # fmt: skip
from plenish.datasets.sources.names import clean, likeliest, resolve
from plenish.errors import InputError, unknown
from plenish.wording import agree, plural

ACCEPTED = Accepted(
    "A table of images", COLUMNS | {"labels", "file_column", "image_columns", "dicom_columns"}
)
_FILE_COLUMNS = (
    "file_name", "filename", "file", "file_path", "filepath", "path", "image_path", "image", "image_id",
    "image index", "id",
)  # fmt: skip
_LABEL_COLUMNS = (
    "label", "labels", "class", "category", "target", "class_name", "diagnosis", "dx", "finding labels",
    "tags", "tag_string",
)  # fmt: skip
_GROUP_COLUMNS = (
    "patient_id", "patient", "group", "subject", "subject_id", "lesion_id", "slide_id", "slide", "case_id",
    "patient id", "patientid", "subjectid",
)  # fmt: skip


def convention(container: Container) -> dict[str, bytes]:
    """The tables of the Hugging Face convention in a container or in its part folders, by name."""
    tables = {name for name in container.others if PurePosixPath(name).stem == "metadata"}
    top = {name.split("/")[0] for name in (*container.pictures, *tables) if "/" in name}
    found: dict[str, bytes] = {}
    for place in ("", *sorted(f"{name}/" for name in top if part_of(name))):
        for suffix in (".csv", ".jsonl", ".parquet"):
            name = f"{place}metadata{suffix}"
            content = container.read(name) if name in tables else b""
            if "file_name" in column_names(content, name):
                found[name] = content
                break
        if not place and found:
            break
    return found


def listing(container: Container, options: SourceOptions, tables: Mapping[str, bytes]) -> Listing:
    """List the images of a container as a table describes them.

    Args:
        container: holds the images.
        options: name the table, or what its columns mean.
        tables: those in the container, where the options name none.

    Raises:
        InputError: a column or file is missing (that of labels may be where the table was not asked for), a
            file is named twice or lies outside, a label is missing.
    """
    rows: list[Row] = []
    places: list[str] = []
    used, called = list(tables), " and ".join([*tables][:3])
    for name, content in tables.items():
        rows += parse_table(content, container.name(name))
        places += [str(PurePosixPath(name).parent)] * (len(rows) - len(places))
    if options.labels:
        called = str(options.labels)
        rows = read_table(options.labels)
        folder, source = options.labels.parent.resolve(), container.path.resolve()
        inside = source.is_dir() and folder.is_relative_to(source)
        place = folder.relative_to(source) if inside else PurePosixPath()
        places, used = [place.as_posix()] * len(rows), [(place / options.labels.name).as_posix()]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    file_column = _choose(options.file_column, columns, "file", _FILE_COLUMNS)
    several = views.image_columns(rows, columns, container.pictures)
    wanted = options.image_columns or ([] if file_column or len(several) < 2 else several)
    if options.image_columns and options.file_column:
        raise InputError("--file-column and --image-columns both say where images are; give one of them.")
    notes: list[str] = []
    doubts = _doubt_images(several, file_column, wanted, options)
    if wanted:
        made = views.separated(rows, wanted, options)
        rows, options, notes, file_column = made.rows, made.options, made.notes, views.FILE
        places = [places[number] for number in made.origin]
    if not file_column:
        raise InputError(
            f"Which column names the files? Give it with --file-column; there are: {shown(columns, 20)}."
        )
    names = [clean(row.get(file_column)) for row in rows]
    refs, similar = resolve(names, container.pictures, container.path, called, places)
    out = list_rows(container, rows, refs, file_column, options, called)
    out.kind = f"{container.kind} with a table"
    out.described_by = frozenset(used)
    out.notes += notes
    out.doubts += [*doubts, *similar]
    if options.group_column == views.ROW:
        out.meaning["group"] = f"rows of {called}"
    return out


def list_rows(
    container: Container, rows: Sequence[Row], refs: Sequence[str | None], file_column: str,
    options: SourceOptions, called: str, usual: Sequence[str] = _LABEL_COLUMNS,
) -> Listing:  # fmt: skip
    """List the images that rows are about.

    Args:
        container: holds the images.
        rows: one an image.
        refs: the file of each, or None.
        file_column: the column that names the files; empty where none does.
        options: what the columns mean.
        called: where the rows come from, for sentences.
        usual: names of columns that hold labels where the options name none.

    Raises:
        InputError: as `listing`.
    """
    rows, nameless = named(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    label_column = "" if options.label_columns else _choose(
        options.label_column, columns, "label", [name for name in usual if name != file_column]
    )  # fmt: skip
    for name in options.label_columns:
        _choose(name, columns, "label")
    _choose(options.group_column, columns, "group")
    _choose(options.split_column, columns, "split")
    complete = _complete_rows(rows, refs, file_column, label_column, options, container)
    complete.sort(key=lambda row: natural(row[0]))  # Whatever the table's order.
    out = Listing(container.kind, [ref for ref, _ in complete], root=container.root)
    repeated = [ref for ref, count in Counter(out.refs).items() if count > 1]
    if repeated:
        raise InputError(
            f"{called} names {plural(len(repeated), 'file')} more than once ({shown(repeated)}); keep one "
            "row for each."
        )
    out.notes += nameless
    cells = {name: [row.get(name) for _, row in complete] for name in columns}
    _fill(out, cells, file_column, label_column, options, called)
    if len(complete) < len(rows):
        out.doubts.append(f"{plural(len(rows) - len(complete), 'row')} without a file or label left out.")
    unnamed = sorted(set(container.pictures) - {ref for ref in refs if ref}, key=natural)
    if unnamed:
        out.doubts.append(
            f"{plural(len(unnamed), 'image')} of {container.path} not named by the table left out "
            f"({shown(unnamed)})."
        )
    return out


def _doubt_images(
    several: Sequence[str], file_column: str, wanted: Sequence[str], options: SourceOptions
) -> list[str]:
    """Doubts about columns that name images and were not asked for."""
    if options.image_columns:
        return []
    if wanted:
        return [
            f"The columns {shown(wanted, 8)} all name images, and all were taken; '--file-column "
            f"{wanted[0]}' takes one, '--image-columns {' '.join(wanted)}' says that all are meant."
        ]
    others = [name for name in several if name != file_column]
    if not others or not file_column:
        return []
    return [
        f"{agree(len(others), 'column', 'names', 'name')} images too ({shown(others)}) and "
        f"{'was' if len(others) == 1 else 'were'} not used; '--image-columns {file_column} "
        f"{' '.join(others)}' makes an image of each."
    ]


def _choose(wanted: str | None, columns: Sequence[str], what: str, usual: Sequence[str] = ()) -> str:
    """The column asked for, or the first with a usual name, or nothing; InputError where it is not there."""
    if wanted and wanted not in columns:
        raise unknown(f"column for --{what}-column", wanted, columns)
    folded = {name.lower(): name for name in reversed(columns)}
    return wanted or next((folded[name] for name in usual if name in folded), "")


def _complete_rows(
    rows: Sequence[Row], refs: Sequence[str | None], file_column: str, label_column: str,
    options: SourceOptions, container: Container,
) -> list[tuple[str, Row]]:  # fmt: skip
    """The rows that have a file and a label, each with its file.

    Raises:
        InputError: some have not, and `options.missing` is not `skip`; or none has.
    """
    there = [(i, ref) for i, ref in enumerate(refs) if ref is not None]
    if len(there) < len(refs) and (options.missing != "skip" or not there):
        names = [rows[i].get(file_column) or f"(row {i + 2})" for i, ref in enumerate(refs) if ref is None]
        raise InputError(
            f"The table names {plural(len(names), 'file')} of {len(refs):,} that {container.path} does not "
            f"hold ({shown(names)}{likeliest(str(names[0]), container.pictures)}); correct them or give "
            "'--missing skip'."
        )
    unlabelled = find_unlabelled(
        [rows[i].get(label_column) for i, _ in there] if label_column else [], options,
        lambda lacking: f"The table has {plural(len(lacking), 'row')} without a label in column "
        f"'{label_column}' (row {shown([there[at][0] + 2 for at in lacking])}",
    )  # fmt: skip
    return [(ref, rows[i]) for at, (i, ref) in enumerate(there) if at not in unlabelled]


# Labels, groups, parts and the other columns


def _fill(
    out: Listing, columns: Mapping[str, list[Any]], file_column: str, label_column: str,
    options: SourceOptions, called: str,
) -> None:  # fmt: skip
    arranged = tree.arrange(out.refs, options=options)
    whole = len(arranged.refs) == len(out.refs)
    if options.label_columns:
        rows = [dict(zip(columns, cells)) for cells in zip(*columns.values())]
        out.schema, out.labels = one_hot(rows, options.label_columns, options.label_kind)
        out.meaning["label"] = f"columns {shown(options.label_columns, 8)} of {called}"
    elif label_column:
        out.schema, out.labels, doubts = read_labels(
            columns[label_column], options.label_kind, label_column, options.label_separator,
            options.missing_words,
        )  # fmt: skip
        out.doubts += doubts
        out.meaning["label"] = f"column '{label_column}' of {called}"
    elif arranged.labels is not None and whole:
        out.schema, out.labels = arranged.schema, arranged.labels
        out.meaning["label"] = arranged.meaning["label"]
        out.notes.append("The table has no column of labels; the folders' names are the classes.")
    elif options.labels and not (options.group_column or options.split_column):
        raise InputError(
            f"{options.labels} has no column of labels with a usual name; name it with --label-column "
            + (f"or with {advice} " if (advice := _one_hot_advice(columns)) else "")
            + f"(there are: {shown(list(columns), 20)})."
        )
    else:
        there = shown(list(columns), 12)
        out.notes.append(f"The table has no column of labels ({there}), so the images are unlabelled.")
        if advice := _one_hot_advice(columns):
            out.doubts.append(f"Columns of the table look like labels: name them with {advice}.")
    _doubt_columns(out, columns, label_column, options)
    _fill_groups(out, columns, options, arranged if whole else None, called)
    if options.split_column:
        out.parts = read_parts(columns[options.split_column], options.split_column, options.split_map)
        out.meaning["split"] = f"column '{options.split_column}' of {called}"
    elif arranged.parts is not None and whole:
        out.parts = arranged.parts
        out.meaning["split"] = arranged.meaning["split"]
    used = {file_column, label_column, options.group_column, options.split_column, *options.label_columns}
    for name, values in ((arranged.columns if whole else {}) | dict(columns)).items():
        if name not in used:
            kept = f"{name}_" if name in CORE else name
            out.columns[kept if kept not in columns or kept == name else f"{kept}_"] = typed(values)


def _doubt_columns(
    out: Listing, columns: Mapping[str, list[Any]], label_column: str, options: SourceOptions
) -> None:
    """Doubts about columns that look like labels or parts and were not used."""
    asked = {label_column, *options.label_columns, options.group_column, options.split_column}
    others = [name for name in columns if name.lower() in _LABEL_COLUMNS and name not in asked]
    if label_column and others and not options.label_column:
        out.doubts.append(
            f"{agree(len(others), 'column', 'looks', 'look')} like labels too ({shown(others)}); "
            f"'{label_column}' was taken, --label-column names another."
        )
    by_table = label_column or options.label_columns
    if by_table and "class" in options.folders:
        out.doubts.append("The labels are those of the table, not of the folders that --folders names.")
    for level, column in (("group", options.group_column), ("split", options.split_column)):
        if column and level in options.folders:
            out.doubts.append(
                f"The {level}s are those of column '{column}', not of the folders that --folders names."
            )
    for name, cells in columns.items() if not options.split_column else ():
        words = {str(cell) for cell in cells if not is_missing(cell)}
        if name not in asked and len(words) > 1 and all(map(part_of, words)):
            out.doubts.append(
                f"Column '{name}' holds {shown(sorted(words))} and was not used; give "
                f"'--split-column {name}'."
            )


def _fill_groups(
    out: Listing, columns: Mapping[str, list[Any]], options: SourceOptions, arranged: Listing | None,
    called: str,
) -> None:  # fmt: skip
    if options.group_column:
        groups = read_groups(columns[options.group_column], options.missing_words)
        out.groups = groups
        out.meaning["group"] = f"column '{options.group_column}' of {called}"
        out.doubts += blanks(columns[options.group_column], "groups")
        out.doubts += alike(sorted({group for group in groups if group}, key=natural), "groups")
        if None in groups:
            out.doubts.append(
                f"{agree(groups.count(None), 'image', 'has', 'have')} no group in '{options.group_column}'."
            )
        if options.group_column != views.ROW:
            return
    elif arranged is not None and arranged.groups is not None:
        out.groups, out.meaning["group"] = arranged.groups, arranged.meaning["group"]
    likely = [name for name in columns if name.lower() in _GROUP_COLUMNS]
    if likely:
        out.doubts.append(
            f"Column '{likely[0]}' looks like a group that must stay in one part of a split; if so, give "
            f"'--group-column {likely[0]}'."
        )


def _one_hot_advice(columns: Mapping[str, Sequence[Any]]) -> str:
    """`'--label-columns …'`, where some columns together say one class of each image."""
    flags = {
        name: [str(cell).strip() for cell in cells]
        for name, cells in columns.items()
        if {str(cell).strip() for cell in cells} <= {"0", "1", "0.0", "1.0"}
    }
    sums = [sum(cell in ("1", "1.0") for cell in cells) for cells in zip(*flags.values())]
    if len(flags) < 2 or set(sums) != {1}:
        return ""
    names = " ".join(f"'{name}'" if " " in name else name for name in flags)
    return f"'--label-columns {names}'"
