"""Encoded images in a column of Parquet or Arrow files, as the hub and `datasets` keep them, read like an
archive."""

from __future__ import annotations

import bisect
import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from plenish import files
from plenish.datasets.archives import ERRORS, Archive
from plenish.datasets.images import check_length
from plenish.datasets.rejections import Unreadable
from plenish.errors import first_line

_ARROW_FILE = b"ARROW1"
_NAMES = ("image", "img", "image_bytes", "bytes", "png", "jpg", "jpeg", "picture")


def read_schema(path: Path) -> pa.Schema:
    """The columns of a Parquet or Arrow file.

    Raises:
        InputError: it is damaged.
    """
    with files.reading(path):
        if path.suffix.lower() == ".parquet":
            return pq.read_schema(path)
        return _stream(path).schema


def read_rows(path: Path, columns: list[str]) -> list[dict[str, Any]]:
    """The rows of a Parquet or Arrow file, with some columns.

    Raises:
        InputError: it is damaged.
    """
    with files.reading(path):
        if path.suffix.lower() != ".parquet":
            table = _table(path)
            count = table.num_rows
            table = table.select(columns)
        elif columns:
            table = pq.read_table(path, columns=columns)
        else:
            count = pq.read_metadata(path).num_rows
        rows: list[dict[str, Any]] = table.to_pylist() if columns else [{} for _ in range(count)]
        return rows


def _stream(path: Path) -> Any:
    """A reader of Arrow's stream or file format, without a copy of its data."""
    mapped = pa.memory_map(str(path))
    if mapped.read_at(len(_ARROW_FILE), 0) == _ARROW_FILE:
        return pa.ipc.open_file(mapped)
    return pa.ipc.open_stream(mapped)


def _table(path: Path) -> pa.Table:
    return _stream(path).read_all()


def is_image_column(field: pa.Field) -> bool:
    """Whether a Parquet column holds encoded images: bytes of a usual name, or as on the Hugging Face hub."""
    return holds_bytes(field.type) and (pa.types.is_struct(field.type) or field.name.lower() in _NAMES)


def holds_bytes(kind: pa.DataType) -> bool:
    """Whether cells are bytes, or objects with a field `bytes` of them; a table's cells are neither."""
    if pa.types.is_struct(kind):
        return any(
            kind.field(i).name == "bytes" and holds_bytes(kind.field(i).type) for i in range(kind.num_fields)
        )
    return kind in (pa.binary(), pa.large_binary())


class ParquetImages(Archive):
    """Encoded images in a column of such files, which an index lists: `name/3` is the fourth row."""

    kind = "Parquet files"

    def __init__(self, path: Path) -> None:
        super().__init__()
        about = json.loads(path.read_text(encoding="utf-8"))
        self._paths, self._column = about["files"], about["column"]
        self._opened: tuple[str, Any, list[int]] = ("", None, [])
        self._group: tuple[str, int, Any] = ("", -1, None)

    def read(self, path: str) -> bytes:
        """An image's bytes; Unreadable as `Archive.read`."""
        try:
            content = self._read(path)
        except MemoryError:  # Arrow's is both; the file is sound.
            raise
        except (*ERRORS, KeyError, pa.ArrowException) as error:
            raise Unreadable("cannot-unpack", reason=first_line(error)) from None
        check_length(len(content))
        return content

    def _read(self, path: str, most: int | None = None) -> bytes:
        name, _, row = path.rpartition("/")
        if self._paths[name].endswith(".arrow"):
            return self._read_arrow(name, int(row))[:most]
        if self._opened[0] != name:
            file = self.enter_context(pq.ParquetFile(self._paths[name]))
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            self._opened = name, file, [0, *itertools.accumulate(sizes)]
        _, file, starts = self._opened
        number = bisect.bisect_right(starts, int(row)) - 1
        if self._group[:2] != (name, number):
            self._group = name, number, file.read_row_group(number, columns=[self._column]).column(0)
        return _content(self._group[2][int(row) - starts[number]].as_py())[:most]

    def _read_arrow(self, name: str, row: int) -> bytes:
        if self._opened[0] != name:
            self._opened = name, _table(Path(self._paths[name])).column(self._column), []
        return _content(self._opened[1][row].as_py())


def _content(value: Any) -> bytes:
    content = value.get("bytes") if isinstance(value, dict) else value
    if content is None:
        raise Unreadable("no-bytes")
    return bytes(content)
