"""Public data sets by name: which of their files say what, and what to warn of.

What is known of them is data, in `presets.yaml`; what the words there mean is done here.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import functools
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from plenish.datasets.sources import brats, columns, danbooru, pcam, tagged
from plenish.datasets.sources.accepted import COLUMNS, Accepted
from plenish.datasets.sources.columns import Row, read_table
from plenish.datasets.sources.container import Container, open_container
from plenish.datasets.sources.listing import Listing, SourceOptions, shown
from plenish.datasets.sources.names import clean, may_name, resolve
from plenish.datasets.sources.table import list_rows
from plenish.datasets.sources.unused import tell_unused
from plenish.errors import InputError, unknown
from plenish.wording import agree, plural
from plenish.yaml_reader import read_yaml

_ARRAYS: Mapping[str, Callable[[Container, SourceOptions], Listing | None]] = {
    "pcam": pcam.find, "brats": brats.find, "tagged": tagged.find,
}  # fmt: skip
"""Readers of presets that list images themselves."""
_TABLES = Accepted("A preset with a table", COLUMNS | {"labels", "file_column"})
_NAMES = Accepted("A preset whose files' names say everything", COLUMNS)
_ROWS: Mapping[str, Callable[[list[Row]], list[str]]] = {"danbooru": danbooru.complete}
"""What makes columns of a preset's rows in place, and returns notes."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """What is known of a public data set.

    Attributes:
        name: its name.
        about: what it is.
        tables: its tables: `file` (patterns of names), the `part` that its rows are, `join` with a second
            table `by` a column, and whether it holds JSON `lines`.
        needs: columns without which a table is another.
        options: fields of `SourceOptions`, where the user gives no others.
        names: a regular expression of paths of images, whose groups are columns.
        pattern: another of a `column` of the table, whose groups are columns.
        columns: further columns, put together of those.
        words: what the cells of a column are called, by column.
        findings: columns with 1 for yes, 0 for no and -1 for uncertain, which become tags in `findings`.
        no_tag: a tag that means there is none.
        parts: lists of file names, and the part that they are.
        other: patterns of other files that belong to the data set and are not needed.
        looks_for: what it is recognised by, where that is no table.
        reader: the code that reads it, where more is needed.
        domain: the kind of images, of `plenish.domains`.
        warnings: what its user should know.
    """

    name: str
    about: str
    tables: Sequence[Mapping[str, Any]] = ()
    needs: Sequence[str] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    names: str = ""
    pattern: Mapping[str, str] = dataclasses.field(default_factory=dict)
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    words: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    findings: Sequence[str] = ()
    no_tag: str = ""
    parts: Mapping[str, str] = dataclasses.field(default_factory=dict)
    other: Sequence[str] = ()
    looks_for: str = ""
    reader: str = ""
    domain: str = ""
    warnings: Sequence[str] = ()

    @property
    def sought(self) -> str:
        """What is looked for, in words."""
        return self.looks_for or " or ".join(table["file"][0] for table in self.tables)


@functools.cache
def presets() -> dict[str, Preset]:
    """All presets by name."""
    content = read_yaml(Path(__file__).with_name("presets.yaml"), "The presets")
    return {name: Preset(name, **facts) for name, facts in content.items()}


def find(source: Path, options: SourceOptions, scratch: Path) -> Listing:
    """The Listing of a data set as its preset knows it.

    Args:
        source: the folder or archive.
        options: name the preset, and what of it is meant otherwise.
        scratch: a folder that lasts as long as the images are read.

    Raises:
        InputError: there is no such preset, or `source` is not laid out as it says.
    """
    known = presets()
    if options.preset not in known:
        raise unknown("preset", str(options.preset), known)
    preset = known[options.preset]
    if preset.reader not in _ARRAYS:
        (_NAMES if preset.names else _TABLES).check(options)
    container = open_container(source, scratch)
    if container is None:
        raise _absent(preset, source)
    if preset.reader not in _ARRAYS:
        options = _completed(options, preset)
    found = _listed(container, preset, options)
    if found is None:
        raise _absent(preset, source)
    found.kind, found.preset = f"{preset.about.partition(',')[0]} ({found.kind})", preset.name
    found.caveats += preset.warnings
    if preset.domain:
        found.keep_domain(preset.domain, f"the preset {preset.name}")
    known_files = {name for name in container.others if _fits(name, preset.other)}
    found.described_by |= known_files
    tell_unused(found, container)
    return found


def _listed(container: Container, preset: Preset, options: SourceOptions) -> Listing | None:
    if preset.reader in _ARRAYS:
        return _ARRAYS[preset.reader](container, options)
    if preset.names:
        return _by_names(container, preset, options)
    return _by_tables(container, preset, options)


def _completed(options: SourceOptions, preset: Preset) -> SourceOptions:
    """What the user says, and what the preset says of the rest."""
    given = {f.name for f in dataclasses.fields(options) if getattr(options, f.name) != f.default}
    if given & {"label_column", "label_columns"}:
        given |= {"label_column", "label_columns", "label_kind", "label_separator"}
    lists = (list, tuple)
    said: dict[str, Any] = {
        name: tuple(value) if isinstance(value, lists) else value
        for name, value in preset.options.items()
        if name not in given
    }
    return dataclasses.replace(options, **said).completed()


def _absent(preset: Preset, source: Path) -> InputError:
    return InputError(
        f"{source} does not look like {preset.about.partition(',')[0]}: it has no {preset.sought}; give the "
        f"folder that holds this and the images, or leave out '--preset {preset.name}'."
    )


def _fits(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(PurePosixPath(name).name.lower(), pattern.lower()) for pattern in patterns)


# Data sets with tables


def _by_tables(container: Container, preset: Preset, options: SourceOptions) -> Listing | None:
    rows, used, places, notes = _rows(container, preset, options)
    if not rows:
        return None
    if not container.pictures:
        raise InputError(
            f"{container.path} holds the table {used[0]} but no images; give the folder of both."
        )
    called = str(options.labels) if options.labels else " and ".join(container.name(name) for name in used)
    _check(rows, preset, options, called)
    column = options.file_column or ""
    names = [clean(row.get(column)) for row in rows]
    refs, doubts = resolve(names, container.pictures, container.path, called, places, "known")
    if preset.reader:
        notes += _ROWS[preset.reader]([row for row, ref in zip(rows, refs) if ref] or rows)
    notes += _derive(rows, preset)
    parts, lists, lacking = _listed_parts(container, preset)
    doubts += lacking
    for row, name in zip(rows, names):
        if options.split_column:
            row.pop(_PART, None)
        elif parts:
            row[_PART] = parts.get(PurePosixPath(name).name.lower())
    options, empty = _without_empty(options, rows)
    notes += empty
    out, absent = _list(container, rows, refs, column, options, called)
    out.kind = f"{container.kind} with a table"
    out.described_by = frozenset((*used, *lists))
    out.notes += notes
    out.doubts += doubts
    if absent:
        out.caveats.append(f"{plural(absent, 'image')} in no list of parts left out.")
    return out


_PART = "part of the preset"
"""A column that says the part, which no table has."""


def _list(
    container: Container, rows: list[Row], refs: list[str | None], column: str, options: SourceOptions,
    called: str,
) -> tuple[Listing, int]:  # fmt: skip
    """The Listing of rows, those left out that no list of parts names."""
    absent = 0
    if any(_PART in row for row in rows):
        kept = [i for i, row in enumerate(rows) if row[_PART]]
        absent = sum(ref is not None for ref in refs) - sum(refs[i] is not None for i in kept)
        rows, refs = [rows[i] for i in kept], [refs[i] for i in kept]
        options = dataclasses.replace(options, split_column=_PART)
    out = list_rows(container, rows, refs, column, options, called)
    if "split" in out.meaning:
        out.meaning["split"] = out.meaning["split"].replace(f"column '{_PART}'", "the preset's part")
    return out, absent


def _rows(
    container: Container, preset: Preset, options: SourceOptions
) -> tuple[list[Row], list[str], list[str], list[str]]:
    """The rows of all tables that there are, the tables' names, the folder of each row's table, and notes."""
    if options.labels:
        rows = read_table(options.labels)
        return rows, [], ["."] * len(rows), []
    found: list[Row] = []
    used: list[str] = []
    places: list[str] = []
    passed_over = 0
    for table in preset.tables:
        for name in _find(container, table["file"], several=bool(table.get("lines"))):
            rows, others = _parsed(container, name, table, options)
            passed_over += others
            used.append(name)
            if "join" in table:
                used += _join(container, rows, table)
            if "part" in table:
                for row in rows:
                    row[_PART] = table["part"]
            found += rows
            places += [str(PurePosixPath(name).parent)] * len(rows)
    if len({row.get(_PART) for row in found}) == 1:  # One part is no split.
        for row in found:
            row.pop(_PART, None)
    notes = [f"{plural(passed_over, 'row')} of images that are not here passed over."] if passed_over else []
    return found, used, places, notes


def _parsed(
    container: Container, name: str, table: Mapping[str, Any], options: SourceOptions
) -> tuple[list[Row], int]:
    """A table's rows, and how many were passed over.

    The metadata of a whole site are read line by line, and only rows that may name a picture are kept, where
    others are to be left out.
    """
    lines = bool(table.get("lines"))
    if lines and options.missing == "skip" and options.file_column:
        read = columns.read_lines(container.lines(name), container.name(name))
        if read is not None:
            may_be_here = may_name(container.pictures)
            first, count, kept = next(read), 0, list[Row]()
            for row in itertools.chain([first], read):
                count += 1
                if may_be_here(clean(row.get(options.file_column))):
                    kept.append(row)
            kept = kept or [first]  # For the sentence that no row has an image.
            return kept, count - len(kept)
    return columns.parse_table(container.read(name), container.name(name), lines=lines), 0


def _find(container: Container, patterns: Sequence[str], several: bool = False) -> list[str]:
    """The file of the first pattern that fits any, nearest to the top; or all that fit one."""
    if several:
        return [name for name in container.others if _fits(name, patterns)]
    for pattern in patterns:
        fitting = [name for name in container.others if _fits(name, [pattern])]
        if fitting:
            return [min(fitting, key=lambda name: name.count("/"))]
    return []


def _join(container: Container, rows: list[Row], table: Mapping[str, Any]) -> list[str]:
    """Add the columns of a second table; nothing where it is not there, which is found out by `_check`."""
    names = _find(container, table["join"])
    on = table["by"]
    for name in names:
        others = {row.get(on): row for row in columns.parse_table(container.read(name), container.name(name))}
        lacking = [row[on] for row in rows if row.get(on) not in others]
        if lacking:
            raise InputError(
                f"{container.name(name)} lacks {plural(len(lacking), 'image')} of the labels "
                f"({shown(lacking)}); fetch both tables again."
            )
        for row in rows:
            row |= {key: value for key, value in others[row[on]].items() if key not in row}
    return names


def _check(rows: Sequence[Row], preset: Preset, options: SourceOptions, called: str) -> None:
    """Refuse tables without the columns that the preset names."""
    made = {*preset.columns, *re.findall(r"\(\?P<(\w+)>", preset.pattern.get("regex", ""))}
    made |= {"findings"} if preset.findings else set()
    made |= {*danbooru.COLUMNS} if preset.reader == "danbooru" else set()
    said = [options.file_column, options.label_column, options.group_column, *options.label_columns]
    there = {name for row in rows for name in row}
    lacking = [name for name in dict.fromkeys((*preset.needs, *said)) if name and name not in there | made]
    if lacking:
        joined = [name for table in preset.tables for name in table.get("join", ())]
        also = f" (it also reads {' and '.join(joined)})" if joined else ""
        raise InputError(
            f"{called} lacks {agree(len(lacking), 'column', 'that', 'that')} '--preset {preset.name}' reads: "
            f"{shown(lacking, 5)}{also}; there are {shown(sorted(map(str, there)), 12)}."
        )


def _derive(rows: Sequence[Row], preset: Preset) -> list[str]:
    """Make the columns that follow from others, and return notes."""
    notes: list[str] = []
    if preset.pattern:
        for row in rows:
            row |= _groups(preset.pattern["regex"], clean(row.get(preset.pattern["column"])))
    for row in rows:
        row |= {name: form.format(**row) for name, form in preset.columns.items()}
    if preset.findings:
        notes += _findings(rows, preset.findings)
    column = preset.options.get("label_column")
    if preset.no_tag and column:
        none = 0
        for row in rows:
            tags = [tag.strip() for tag in str(row.get(column) or "").split("|")]
            if row.get(column) is not None:
                row[column] = [tag for tag in tags if tag != preset.no_tag]
                none += not row[column]
        notes.append(f"'{preset.no_tag}' is no tag: {plural(none, 'image')} have none.")
    return notes


def _groups(pattern: str, text: str) -> dict[str, str | None]:
    match = re.search(pattern, text)
    names = re.compile(pattern).groupindex
    return match.groupdict() if match else dict.fromkeys(names)


def _findings(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Make tags of columns of 1, 0, -1 and nothing; the columns stay."""
    uncertain = unnamed = 0
    for i, row in enumerate(rows, 2):
        values = {}
        for name in names:
            cell = row.get(name)
            try:
                values[name] = None if cell is None else float(cell)
            except (TypeError, ValueError):
                values[name] = 2.0
            if values[name] not in (None, 1, 0, -1):
                raise InputError(
                    f"Column '{name}' holds {cell!r} in row {i}, where 1 (yes), 0 (no), -1 (uncertain) or "
                    "nothing is needed; correct the table."
                )
        row["findings"] = [name for name, value in values.items() if value == 1]
        uncertain += sum(value == -1 for value in values.values())
        unnamed += sum(value is None for value in values.values())
    return [
        f"Findings that are uncertain (-1: {uncertain:,} cells) or not mentioned ({unnamed:,} cells) are no "
        "tags; the columns keep what the table says."
    ]


def _listed_parts(container: Container, preset: Preset) -> tuple[dict[str, str], list[str], list[str]]:
    """The part of each file name that a list names, the lists, and a doubt where only some are there."""
    found: dict[str, str] = {}
    used: list[str] = []
    lacking = [pattern for pattern in preset.parts if not _find(container, [pattern])]
    for pattern, part in preset.parts.items():
        for name in _find(container, [pattern]):
            used.append(name)
            lines = container.read(name).decode("utf-8-sig", "replace").splitlines()
            found |= {PurePosixPath(line.strip()).name.lower(): part for line in lines if line.strip()}
    if not lacking:
        return found, used, []
    doubt = (
        f"The data set's own split was not used, since {container.path} holds {shown(used, 5)} and not "
        f"{shown(lacking, 5)}; fetch that too."
    )
    return {}, used, [doubt] if used else []


def _without_empty(options: SourceOptions, rows: Sequence[Row]) -> tuple[SourceOptions, list[str]]:
    """Options without columns of classes that no row has, and a note of these."""
    if not options.label_columns:
        return options, []
    used = [
        name for name in options.label_columns
        if any(str(row.get(name)).strip() not in ("0", "0.0") for row in rows)
    ]  # fmt: skip
    empty = [name for name in options.label_columns if name not in used]
    note = [f"No image is of the classes {shown(empty, 9)}, which were left out."] if empty else []
    return dataclasses.replace(options, label_columns=tuple(used)), note


# Data sets whose files' names say everything


def _by_names(container: Container, preset: Preset, options: SourceOptions) -> Listing | None:
    found = [(name, _groups(preset.names, name)) for name in container.pictures]
    fitting = [(name, row) for name, row in found if any(row.values())]
    if not fitting:
        return None
    rows: list[Row] = []
    for _, groups in fitting:
        words = {key: preset.words.get(key, {}).get(str(value), value) for key, value in groups.items()}
        rows.append(words | {name: form.format(**words) for name, form in preset.columns.items()})
    refs = [name for name, _ in fitting]
    whole = dataclasses.replace(container, pictures=refs)
    out = list_rows(whole, rows, refs, "", options, "the names of the files")
    out.kind = f"{container.kind} of images"
    if len(fitting) < len(found):
        others = [name for name, row in found if not any(row.values())]
        out.doubts.append(
            f"{plural(len(others), 'image')} with other names left out ({shown(others)}); the preset knows "
            f"{preset.sought}."
        )
    return out
