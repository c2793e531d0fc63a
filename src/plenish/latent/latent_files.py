"""Latents as files: .npy or .csv, one row an image. Needs no torch."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish import files
from plenish.errors import InputError, first_line


def read_latents(
    path: Path, space: str | None = None, *, option: str = "--latents"
) -> tuple[NDArray[Any], str | None]:
    """The array of a .npy file (nothing is unpickled), or the rows of numbers of a .csv file.

    Args:
        path: the file. A .csv file has a row an image and a column a number, with or without a header.
        space: what the user says that it holds, `z` or `w`; None when nothing was said.
        option: the option that names it, for messages.

    Returns:
        The array, N×…, and its space: that of the record beside it, as the arrays of a Dataset and the
        latents of an edit have one, else `space`.

    Raises:
        InputError: it is no such file, or the record beside it says another space.
    """
    known = None
    with contextlib.suppress(InputError):  # There is none, or it is another program's.
        known = files.read_record(path.with_suffix(".json")).get("space")
    if known in ("z", "w") and space is not None and known != space:
        raise InputError(
            f"{option} {path} holds {known}, as the record beside it says; give --space {known}."
        )
    found = _read_csv(path, option) if path.suffix.lower() == ".csv" else _read_npy(path, option)
    return found, known if known in ("z", "w") else space


def _read_npy(path: Path, option: str) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        if not path.exists():
            raise InputError(
                f"{option} {path} does not exist; give a .npy or .csv file of latents."
            ) from None
        reason = getattr(error, "strerror", None) or "it holds no array of numbers"
        raise InputError(f"{option} {path} cannot be read as a .npy file ({reason}).") from None
    if not isinstance(found, np.ndarray):
        raise InputError(f"{option} {path} is an archive of several arrays; give a .npy file.")
    return found


def _read_csv(path: Path, option: str) -> NDArray[Any]:
    try:
        table = pd.read_csv(path, header=None)
        with contextlib.suppress(ValueError):
            return table.to_numpy(np.float64)
        # A first row of names.
        return pd.read_csv(path).to_numpy(np.float64)
    except FileNotFoundError:
        raise InputError(f"{option} {path} does not exist; give a .npy or .csv file of latents.") from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"{option} {path} cannot be read as rows of numbers ({first_line(error)})."
        ) from None
