"""Is a Dataset still what was written? Its table and every pixel against the hashes in dataset.json."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from plenish import files
from plenish.datasets.pixels import chunks
from plenish.errors import InputError
from plenish.progress import progress

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset

_CHUNK_BYTES = 32 << 20


def table_problem(dataset: Dataset, *, old: bool = False) -> str:
    """What is wrong with samples.parquet, a sentence; empty if nothing is.

    Args:
        dataset: the Dataset.
        old: check Datasets of before the file's own hash was kept too, by the content's hash; that takes
            longer, and another release of pyarrow may write the same content otherwise.
    """
    from plenish.datasets.tables import content_hash

    manifest, path = dataset.manifest, dataset.path / "samples.parquet"
    if manifest.table_file_sha256:
        sound = files.sha256_file(path) == manifest.table_file_sha256
    else:
        sound = not old or content_hash(path) == manifest.table_hash
    return "" if sound else f"{path} does not match its hash; it was altered after it was made. Restore it."


def verify(dataset: Dataset) -> None:
    """Check the table and the pixels of a Dataset against its manifest; memory stays flat.

    Raises:
        InputError: the table or the pixels were altered after they were made.
    """
    import pyarrow.parquet as pq

    if problem := table_problem(dataset, old=True):
        raise InputError(problem)
    table = pq.read_table(dataset.path / "samples.parquet", columns=["sha256"])
    listed = table.column("sha256").to_pylist()
    digest = hashlib.sha256()
    altered: list[int] = []
    with progress("verify", len(dataset)) as bar:
        for rows in chunks(len(dataset), max(1, _CHUNK_BYTES // (dataset.size**2 * dataset.channels))):
            for row, image in zip(rows.tolist(), dataset.pixels.read(rows)):
                one = hashlib.sha256(image.data).hexdigest()
                digest.update(one.encode())
                if one != listed[row]:
                    altered.append(row)
            bar.advance(len(rows))
    if altered or digest.hexdigest() != dataset.manifest.pixels_hash:
        first = f", row {altered[0]} first" if altered else ""
        raise InputError(
            f"{dataset.path / 'pixels'} does not match its hashes ({len(altered):,} of {len(dataset):,} "
            f"images differ{first}); it was altered after it was made. Restore it."
        )
