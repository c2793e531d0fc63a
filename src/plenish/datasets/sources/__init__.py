"""Outside formats: one file for each, and `recognise`, which identifies them.

Every format becomes a `Listing`: what images there are, in a fixed order, with labels, groups, parts and
columns, before any pixel is read.
"""

from __future__ import annotations

from pathlib import Path

from plenish.datasets.images import SUFFIXES
from plenish.datasets.sources import archive, columns, idx, npz, sidecar, table, tree
from plenish.datasets.sources.listing import Listing, TableOptions
from plenish.errors import InputError

__all__ = ["Listing", "TableOptions", "recognise"]

_IDX = ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz")


def recognise(source: Path, options: TableOptions) -> Listing:
    """Find out what `source` is and list its images.

    Args:
        source: a folder, an `.npz`, a zip archive or an idx file.
        options: where labels are to be taken from.

    Raises:
        InputError: it is missing, of no known kind, empty, or its labels do not fit its images.
    """
    if not source.exists():
        raise InputError(f"{source} does not exist; give a folder of images, an .npz, a .zip or idx files.")
    try:
        restored = None if options.labels else sidecar.find(source)
        if restored is not None:
            return restored
        name = source.name.lower()
        if options.labels and source.is_file() and not name.endswith(".zip"):
            raise InputError(f"--labels goes with a folder of images, and {source} is a file; leave it out.")
        if options.labels or table.convention(source):
            return table.listing(source, options)
        if source.is_dir():
            return idx.listing(source) if idx.find(source) else tree.listing(source, options)
        for suffixes, listing in ((".npz", npz.listing), (".zip", archive.listing), (_IDX, idx.listing)):
            if name.endswith(suffixes):
                return listing(source)
    except PermissionError as error:
        raise InputError(f"{error.filename or source} may not be read; change its permissions.") from None
    if source.suffix.lower() in SUFFIXES:
        raise InputError(f"{source} is a single image; give the folder that holds the images.")
    if source.suffix.lower() in columns.SUFFIXES:
        raise InputError(
            f"{source} is a table, not images; give the folder of the images first: "
            f"'plenish import FOLDER OUT --labels {source}'."
        )
    raise InputError(
        f"{source} is not a source Plenish knows; give a folder of images, an .npz, a .zip or idx files "
        "(-ubyte)."
    )
