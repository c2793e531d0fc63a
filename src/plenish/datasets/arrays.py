"""Arrays of a Dataset with one row an image: latents, features."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files, invocation
from plenish.errors import InputError
from plenish.wording import plural


def save_array(
    folder: Path, name: str, array: NDArray[Any], manifest: Mapping[str, Any], *, count: int
) -> None:
    """Write `arrays/<name>.npy` and its manifest into a Dataset's folder.

    Raises:
        InputError: the array does not have `count` rows.
    """
    if len(array) != count:
        raise InputError(
            f"The array '{name}' has {plural(len(array), 'row')} where the Dataset has "
            f"{plural(count, 'image')}."
        )
    (folder / "arrays").mkdir(exist_ok=True)
    path = folder / "arrays" / f"{name}.npy"
    with files.atomic_file(path) as file:
        np.save(file, np.ascontiguousarray(array), allow_pickle=False)
    about = {"shape": list(array.shape), "dtype": str(array.dtype), "sha256": files.sha256_file(path)}
    files.write_json(path.with_suffix(".json"), about | {"command": invocation.record()} | dict(manifest))
