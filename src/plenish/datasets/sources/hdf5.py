"""Arrays in HDF5 files (`plenish[hdf5]`), none of which may lead to another file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from plenish.errors import InputError, first_line


@contextlib.contextmanager
def opened(path: Path, *keys: str) -> Iterator[list[Any]]:
    """The arrays of some keys of a file, as `h5py.Dataset`.

    Raises:
        InputError: h5py is not installed, the file is damaged, or lacks a key.
    """
    try:
        import h5py
    except ImportError:
        raise InputError(
            f"{path} is HDF5, which takes h5py; pip install 'plenish[hdf5]' brings it."
        ) from None
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} is no readable HDF5 file ({first_line(error)}); fetch it again.") from None
    with file:
        found = []
        for key in keys:
            linked = key in file and isinstance(file.get(key, getlink=True), h5py.HardLink)
            array = file[key] if linked else None
            if not isinstance(array, h5py.Dataset) or array.is_virtual or array.external:
                raise InputError(
                    f"{path} holds no array '{key}' of its own, but {', '.join(file) or 'nothing'}."
                )
            found.append(array)
        try:
            yield found
        except OSError as error:
            raise InputError(f"{path} is damaged ({first_line(error)}); fetch it again.") from None
