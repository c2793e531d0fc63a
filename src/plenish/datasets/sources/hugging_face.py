"""Parquet files with the images inside, as the Hugging Face hub keeps data sets, or Arrow files, as
`datasets.save_to_disk` does.

A column of objects with `bytes` and `path` holds the encoded images, and the other columns are those of a
table. Names of classes come from the schema's metadata; files or folders called train, validation and test
are parts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from plenish.datasets.archives import PARQUET
from plenish.datasets.parquet_images import holds_bytes, is_image_column, read_rows, read_schema
from plenish.datasets.sources.accepted import COLUMNS, Accepted
from plenish.datasets.sources.columns import Row
from plenish.datasets.sources.container import Container
from plenish.datasets.sources.listing import Listing, SourceOptions, natural, part_of, shown
from plenish.datasets.sources.shards import take_parts
from plenish.datasets.sources.table import list_rows
from plenish.errors import InputError
from plenish.wording import plural

ACCEPTED = Accepted("A Parquet or Arrow file with images inside", COLUMNS)


def find(source: Path, scratch: Path, options: SourceOptions) -> Listing | None:
    """The Listing of Parquet files with images, or None where a source is something else.

    Args:
        source: such a file, or a folder that holds no pictures but such files, all of one format.
        scratch: a folder that lasts as long as the images are read.
        options: what columns mean.

    Raises:
        InputError: a file is damaged, or the files differ in their columns.
    """
    found = [source] if source.is_file() else _data_files(source)
    if not found or any(path.suffix.lower() not in (".parquet", ".arrow") for path in found):
        return None
    schemas = [read_schema(path) for path in found]
    columns = [[field.name for field in schema if is_image_column(field)] for schema in schemas]
    if not any(columns):
        return None
    ACCEPTED.check(options)
    if any(schema.names != schemas[0].names for schema in schemas):
        wrong = next(p for p, schema in zip(found, schemas) if schema.names != schemas[0].names)
        raise InputError(f"{wrong} has other columns than {found[0]}; import them one by one.")
    base = source.parent if source.is_file() else source
    names = [path.relative_to(base).with_suffix("").as_posix() for path in found]
    index = write_index(dict(zip(names, found)), columns[0][0], scratch)
    rows, refs = _rows(found, names, schemas[0])
    format = "Arrow" if found[0].suffix.lower() == ".arrow" else "Parquet"
    container = Container(source, str(index), f"{format} files with images", refs, [], [])
    out = list_rows(container, rows, refs, "", options, source.name)
    out.root = str(index)
    take_parts(out, names, lambda ref: ref.rpartition("/")[0])
    out.doubts += _gaps(names)
    if len(columns[0]) > 1:
        out.doubts.append(
            f"{plural(len(columns[0]), 'column')} hold images; those of '{columns[0][0]}' were taken."
        )
    return out


def write_index(found: Mapping[str, Path], column: str, scratch: Path) -> Path:
    """The file from which the images of Parquet files are read (see `archives`), by their names."""
    index = scratch / f"source{PARQUET}"
    about = {"column": column, "files": {name: str(path.resolve()) for name, path in found.items()}}
    index.write_text(json.dumps(about), encoding="utf-8")
    return index


def _data_files(folder: Path) -> list[Path]:
    """A folder's Parquet files, or else its Arrow files as far as they are data and no cache.

    Raises:
        InputError: rows were chosen or shuffled without their data, in an index that is not read.
    """
    found = sorted(folder.rglob("*.parquet"), key=lambda path: natural(str(path)))
    if found:
        return found
    for place in sorted(
        {path.parent for path in folder.rglob("*.arrow")}, key=lambda path: natural(str(path))
    ):
        found += _arrow_files(place)
    return found


def _arrow_files(folder: Path) -> list[Path]:
    state = folder / "state.json"
    if not state.is_file():
        names = sorted((path.name for path in folder.glob("*.arrow")), key=natural)
        return [folder / name for name in names if not name.startswith(("cache-", "tmp"))]
    try:
        about = json.loads(state.read_text(encoding="utf-8"))
        names = [str(file["filename"]) for file in about["_data_files"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{state} does not name the data files; save the data set again.") from None
    if about.get("_indices_data_files") or about.get("_indices_files"):
        raise InputError(
            f"{folder} holds rows chosen by an index; call flatten_indices() before save_to_disk, and save "
            "again."
        )
    lacking = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
    if lacking:
        raise InputError(f"{state} names {lacking[0]}, which is not in {folder}; save the data set again.")
    return [folder / name for name in names]


def _rows(found: Sequence[Path], names: Sequence[str], schema: pa.Schema) -> tuple[list[Row], list[str]]:
    """What the other columns say of each image, and what it is called."""
    kept = [field.name for field in schema if not holds_bytes(field.type)]
    classes = _classes(schema)
    rows: list[Row] = []
    refs: list[str] = []
    for path, name in zip(found, names):
        read = read_rows(path, kept)
        rows += [{key: _named(value, classes.get(key)) for key, value in row.items()} for row in read]
        refs += [f"{name}/{number}" for number in range(len(read))]
    return rows, refs


def _classes(schema: pa.Schema) -> dict[str, list[str]]:
    """Names of classes by column, from the metadata that `datasets` writes."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: feature["names"]
            for name, feature in features.items()
            if isinstance(feature, Mapping) and isinstance(feature.get("names"), list)
        }
    except (KeyError, TypeError, ValueError, AttributeError):
        return {}


def _named(value: Any, names: Sequence[str] | None) -> Any:
    if names and isinstance(value, int) and 0 <= value < len(names):
        return names[value]
    if names and isinstance(value, int) and value >= len(names):
        raise InputError(f"The class number {value} has no name; the file names {len(names)} classes.")
    return None if names and value == -1 else value  # The hub's number for no label.


def _gaps(names: Sequence[str]) -> list[str]:
    """Doubts about files that are missing from a series, and about several series of one name."""
    found = []
    series: dict[tuple[str, int], set[int]] = {}
    for name in names:
        if match := re.fullmatch(r"(.*)-(\d{5})-of-(\d{5})", name):
            series.setdefault((match[1], int(match[3])), set()).add(int(match[2]))
    for (name, count), there in series.items():
        if lacking := sorted(set(range(count)) - there):
            found.append(f"Of the {count} files {name} those with number {shown(lacking)} are missing.")
    ends: dict[str, set[str]] = {}
    for name, _ in series:
        folder, _, end = name.rpartition("/")
        ends.setdefault(end, set()).add(folder)
    for end, folders in ends.items():
        if len(folders) > 1 and not all(part_of(PurePosixPath(folder).name) for folder in folders):
            found.append(
                f"The folders {shown(sorted(folders))} all have files {end} and were put together; if they "
                "are different data sets, import one of them."
            )
            break
    return found
