"""Directions of a latent space by name: concepts of the generator's Run, or files of numbers."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from plenish import files
from plenish.errors import InputError, unknown
from plenish.latent.latent_files import read_latents
from plenish.latent.points import Floats, Space
from plenish.latent.space import LatentSpace

FOLDER = "concepts"


@dataclasses.dataclass(frozen=True)
class Direction:
    """What one unit of strength adds to a point.

    Attributes:
        name: of the concept, or of the file.
        step: float32; z_shape, w_dim for all layers, or num_ws×w_dim.
        space: z or w.
    """

    name: str
    step: Floats
    space: Space


def named(space: LatentSpace, name: str) -> Direction:
    """A concept or direction that the generator's Run keeps, by name.

    Raises:
        InputError: there is none of that name; the nearest one is told.
    """
    folder = space.loaded.run.path / FOLDER
    record = folder / f"{name}.json"
    if not record.is_file():
        known = sorted(path.stem for path in folder.glob("*.json"))
        raise unknown("concept", name, known)
    about = files.read_record(record)
    with files.reading(record.with_suffix(".npy")):
        vector = np.load(record.with_suffix(".npy"), allow_pickle=False)
    step = np.asarray(vector, np.float32) * np.float32(about["scale"])
    if about["space"] == "z":
        return Direction(name, step.reshape(space.network.z_shape), "z")
    network = space.require_styles(f"The concept '{name}'")
    layers = np.zeros((network.num_ws, 1), np.float32)
    layers[list(about["layers"]) or slice(None)] = 1
    return Direction(name, layers * step, "w")


def direction(space: LatentSpace, name: str) -> Direction:
    """A direction of a .npy or .csv file, or by name.

    Raises:
        InputError: the file holds more than one row, or numbers of another width or not finite; or there is
            no such concept.
    """
    path = Path(name)
    if path.suffix.lower() not in (".npy", ".csv"):
        return named(space, name)
    values, known = read_latents(path, option="--direction")
    row = np.asarray(values, np.float32)
    if row.ndim > 1 and len(row) == 1:
        row = row[0]
    widths = {int(np.prod(space.network.z_shape)): "z"}
    if space.has_styles:
        network = space.require_styles("A direction")
        widths |= {network.w_dim: widths.get(network.w_dim, "w"), network.num_ws * network.w_dim: "w"}
    of = widths.get(row.size)
    if of is None:
        wanted = " or ".join(map(str, widths))
        raise InputError(
            f"--direction {path} is {' × '.join(map(str, values.shape))} numbers, and a direction of this "
            f"generator is one row of {wanted}."
        )
    if not np.isfinite(row).all():
        raise InputError(f"--direction {path} holds values that are not finite.")
    if known == "w" or of == "w":
        network = space.require_styles(f"--direction {path}, which is of w,")
        return Direction(path.stem, row.reshape(-1, network.w_dim), "w")
    return Direction(path.stem, row.reshape(space.network.z_shape), "z")
