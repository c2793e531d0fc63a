"""Encoded images in a column of Parquet files, as the Hugging Face hub keeps them, read like an archive."""

from __future__ import annotations

import bisect
import itertools
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from plenish.datasets.archives import ERRORS, Archive
from plenish.datasets.images import check_length
from plenish.datasets.rejections import Unreadable
from plenish.errors import first_line

_NAMES = ("image", "img", "image_bytes", "bytes", "png", "jpg", "jpeg", "picture")


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
    """Encoded images in a column of Parquet files, listed in an index file: `name/3` is the fourth row."""

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
        if self._opened[0] != name:
            file = self.enter_context(pq.ParquetFile(self._paths[name]))
            sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
            self._opened = name, file, [0, *itertools.accumulate(sizes)]
        _, file, starts = self._opened
        number = bisect.bisect_right(starts, int(row)) - 1
        if self._group[:2] != (name, number):
            self._group = name, number, file.read_row_group(number, columns=[self._column]).column(0)
        value = self._group[2][int(row) - starts[number]].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if content is None:
            raise Unreadable("no-bytes")
        return bytes(content)[:most]
