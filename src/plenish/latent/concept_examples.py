"""The examples a concept is learnt from: seeds, latents, images of a Dataset, and tables of their ids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from plenish.errors import InputError, first_line
from plenish.latent.concept_learning import default_space, in_space
from plenish.latent.mixing import MOST_SEEDS, rows_of
from plenish.latent.points import Floats, Points, Space
from plenish.latent.selection import points_of_file
from plenish.latent.space import LatentSpace

_SEEDS = re.compile(r"\d{1,9}(-\d{1,9})?")


def example_points(
    space: LatentSpace, words: Sequence[str], option: str, *, data: Path | None = None,
    label: str | None = None, of: Space | None = None,
) -> Points:  # fmt: skip
    """The points that words name.

    Args:
        space: the generator.
        words: seeds (`7`, `0-19`), files of latents (.npy, .csv), tables with a column `id` (.csv), or ids of
            images of `data`.
        option: what the words were given to, for messages: --with.
        data: a Dataset that this generator made.
        label: label of seeds and latents; by default the classes in turn.
        of: z or w; by default w where there are styles.

    Raises:
        InputError: a word is none of these, or does not fit the generator.
    """
    of = of or default_space(space)
    y: Floats | None = None if label is None else space.label(label)
    parts, seeds, ids = [], list[int](), list[str]()
    for word in words:
        path = Path(word)
        if _SEEDS.fullmatch(word) is not None:
            seeds += rows_of(word, MOST_SEEDS, option, "seeds")
        elif path.suffix.lower() == ".csv" and (listed := _ids(path, option)) is not None:
            ids += listed
        elif path.suffix.lower() in (".npy", ".csv"):
            parts.append(points_of_file(space, path, None, y, option=option))
        else:
            ids.append(word)
    if ids and data is None:
        raise InputError(
            f"{option} {ids[0]} is no seed and no file; an image's id needs its Dataset, --data."
        )
    if ids and data is not None:
        parts.append(space.of_samples(data, ids))
    if seeds:
        parts.append(space.draw(seeds, y))
    if not parts:
        raise InputError(f"{option} names no example; give seeds, latents or ids.")
    return Points.joined([in_space(space, part, of) for part in parts])


def _ids(path: Path, option: str) -> list[str] | None:
    """The ids of a table; None of a .csv file of numbers."""
    try:
        head = pd.read_csv(path, nrows=0).columns
        if "id" not in head:
            return None
        return [str(name) for name in pd.read_csv(path, usecols=["id"], dtype=str)["id"].dropna()]
    except FileNotFoundError:
        raise InputError(f"{option} {path} does not exist; give seeds, a file of latents, or ids.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{option} {path} cannot be read as a table ({first_line(error)}).") from None
