"""The points an edit begins with: of seeds, latents as numbers, or generated images of a Dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from plenish.configuration import assignments
from plenish.errors import InputError
from plenish.latent.edit_options import GeneratorOptions, PointOptions
from plenish.latent.edits import LABELS, LATENTS
from plenish.latent.latent_files import read_latents
from plenish.latent.points import Floats, Points, Space
from plenish.latent.space import LatentSpace


def load_space(run: Path | str, how: GeneratorOptions) -> LatentSpace:
    """A generator as a space to edit in.

    Raises:
        InputError: no such Run, checkpoint or option.
    """
    chosen: dict[str, Any] = assignments(how.options or [])
    if how.truncation is not None:
        chosen["truncation"] = how.truncation
    return LatentSpace(run, how.checkpoint, options=chosen, weights=how.weights)


def chosen_points(space: LatentSpace, which: PointOptions, default: int = 4) -> Points:
    """The points that are asked for.

    Args:
        space: the generator.
        which: the options.
        default: so many seeds, from 0, where nothing is said.

    Raises:
        InputError: several of seeds, latents and data are given, or they do not fit the generator.
    """
    given = [name for name in ("seeds", "latents", "data") if getattr(which, name) is not None]
    if len(given) > 1:
        raise InputError(f"--{given[0]} and --{given[1]} both say which points; give one of them.")
    if which.ids is not None and which.data is None:
        raise InputError("--ids names images of --data, which is missing.")
    if which.space is not None and which.latents is None:
        raise InputError(f"--space {which.space} says what --latents holds; give both.")
    y: Floats | None = None if which.label is None else space.label(which.label)
    if which.data is not None:
        found = space.of_samples(which.data, which.ids or [])
        return found if y is None else found.replaced(y=np.repeat(y, len(found), 0))
    if which.latents is not None:
        return points_of_file(space, which.latents, which.space, y)
    seeds = list(range(default)) if which.seeds is None else which.seeds
    if not seeds:
        raise InputError("--seeds names no seed; give at least one number.")
    return space.draw(seeds, y)


def points_of_file(
    space: LatentSpace, path: Path, of: Space | None, y: Floats | None, *, option: str = "--latents",
    otherwise: Floats | None = None,
) -> Points:  # fmt: skip
    """Points of a file of latents; those of an edit have the labels and names that it wrote beside them.

    Args:
        space: the generator.
        path: a .npy or .csv file.
        of: what it holds; by default what the record beside it says, else z.
        y: labels, 1×K; by default those of the edit, or the classes in turn.
        option: the option that names the file, for messages.
        otherwise: labels, 1×K, of a file that has none beside it.

    Raises:
        InputError: it is no such file, or does not fit the generator.
    """
    values, known = read_latents(path, of, option=option)
    beside, width = path.with_name(LABELS), space.labels.width
    if y is None and width and path.name == LATENTS and beside.is_file():
        labels, _ = read_latents(beside, option=option)
        if labels.shape != (*values.shape[:1], width) or not np.isfinite(labels).all():
            raise InputError(f"{beside} does not hold a label for each row of {path}; give --label.")
        y = labels.astype(np.float32)
    return space.given(values, "w" if known == "w" else "z", otherwise if y is None else y, option=option)
