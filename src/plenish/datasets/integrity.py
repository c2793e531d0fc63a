"""Whether a Dataset's pixels and table are what their hashes say, checked whenever a file has changed."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish import files
from plenish.datasets.pixels import chunks, shard_length
from plenish.errors import InputError
from plenish.progress import Bar, progress

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset

_LONG = 512 * 2**20
"""Bytes of pixels from which a check shows its progress."""


def verify(dataset: Dataset) -> None:
    """Check all pixels and the table against their hashes, in flat memory.

    Raises:
        InputError: either was altered after it was made.
    """
    check_table(dataset)
    listed, digest, altered = dataset.column("sha256"), hashlib.sha256(), list[int]()
    size = len(dataset) * dataset.size**2 * dataset.channels
    shown = progress("verify", len(dataset)) if size > _LONG else contextlib.nullcontext(Bar())
    with shown as bar:
        for rows in chunks(len(dataset), shard_length(dataset.size, dataset.channels)):
            found = [hashlib.sha256(image.data).hexdigest() for image in dataset.pixels.read(rows)]
            digest.update("".join(found).encode())
            altered += [row for row, one in zip(rows.tolist(), found) if one != listed[row]]
            bar.advance(len(rows))
    if altered or digest.hexdigest() != dataset.manifest.pixels_hash:
        first = f", row {altered[0]} first" if altered else ""
        raise InputError(
            f"{dataset.path / 'pixels'} does not match its hashes ({len(altered):,} of {len(dataset):,} "
            f"images differ{first}); it was altered after it was made. Restore it."
        )


def check_table(dataset: Dataset) -> None:
    """Check the table against its hash.

    Raises:
        InputError: it was altered after it was made.
    """
    path = dataset.path / "samples.parquet"
    if files.sha256_file(path) != dataset.manifest.table_file_sha256:
        raise InputError(f"{path} does not match its hash; it was altered after it was made. Restore it.")


def check(dataset: Dataset) -> None:
    """Verify a Dataset, unless no file of it has changed since that was done last.

    Raises:
        InputError: it was altered after it was made.
    """
    state = {"pixels_hash": dataset.manifest.pixels_hash, "files": _state(dataset.path)}
    record: Path | None = None
    with contextlib.suppress(InputError, OSError):  # A damaged record, or no place for a cache.
        record = dataset.cache_dir("checked") / "files.json"
        if record.exists() and files.read_record(record) == state:
            return
    verify(dataset)
    if record is not None:
        with contextlib.suppress(InputError, OSError):
            files.write_record(record, state)


def remember(folder: Path, pixels_hash: str) -> None:
    """Keep in a new Dataset's folder that its files are as they were written."""
    place = folder / "caches" / "checked"
    place.mkdir(parents=True, exist_ok=True)
    files.write_record(place / "files.json", {"pixels_hash": pixels_hash, "files": _state(folder)})


def _state(folder: Path) -> list[list[Any]]:
    """Name, size and time of the files that hashes cover."""
    paths = [folder / "samples.parquet", *sorted((folder / "pixels").glob("*.npy"))]
    facts = [(path, path.stat()) for path in paths]
    return [[path.name, stat.st_size, stat.st_mtime_ns] for path, stat in facts]
