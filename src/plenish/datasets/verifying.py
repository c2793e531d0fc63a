"""Is a Dataset still what was written? Its table and every pixel against the hashes in dataset.json."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow.parquet as pq

from plenish import files
from plenish.datasets.pixels import PixelStore, chunks
from plenish.datasets.schema import Manifest
from plenish.errors import InputError
from plenish.progress import progress

_CHUNK_BYTES = 32 << 20


def table_problem(folder: Path, manifest: Manifest) -> str:
    """What is wrong with samples.parquet, a sentence; empty if nothing is."""
    path = folder / "samples.parquet"
    if files.sha256_file(path) == manifest.table_file_sha256:
        return ""
    return f"{path} does not match its hash; it was altered after it was made. Restore it."


def verify(folder: Path, manifest: Manifest, pixels: PixelStore) -> None:
    """Check the table and the pixels of the Dataset in `folder` against its manifest; memory stays flat.

    Raises:
        InputError: the table or the pixels were altered after they were made.
    """
    if problem := table_problem(folder, manifest):
        raise InputError(problem)
    table = pq.read_table(folder / "samples.parquet", columns=["sha256"])
    listed = table.column("sha256").to_pylist()
    digest = hashlib.sha256()
    altered: list[int] = []
    with progress("verify", len(pixels)) as bar:
        for rows in chunks(len(pixels), max(1, _CHUNK_BYTES // (manifest.size**2 * manifest.channels))):
            for row, image in zip(rows.tolist(), pixels.read(rows)):
                one = hashlib.sha256(image.data).hexdigest()
                digest.update(one.encode())
                if one != listed[row]:
                    altered.append(row)
            bar.advance(len(rows))
    if altered or digest.hexdigest() != manifest.pixels_hash:
        first = f", row {altered[0]} first" if altered else ""
        raise InputError(
            f"{folder / 'pixels'} does not match its hashes ({len(altered):,} of {len(pixels):,} "
            f"images differ{first}); it was altered after it was made. Restore it."
        )
