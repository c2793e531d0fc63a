"""Points in words, of options, sets and examples: seeds, files of latents, generated images of a Dataset."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plenish import files
from plenish.configuration import assignments
from plenish.errors import InputError, first_line
from plenish.latent.edit_options import GeneratorOptions, PointOptions
from plenish.latent.edits import LABELS, LATENTS, RECORD
from plenish.latent.latent_files import read_latents
from plenish.latent.mixing import MOST_SEEDS, rows_of
from plenish.latent.points import Floats, Points, Space
from plenish.latent.space import LatentSpace
from plenish.progress import warn

_NAME = re.compile(r"[^\W\d]\w*")
_SEEDS = re.compile(r"\d{1,9}(-\d{1,9})?")


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
    _tell_other_options(space, path)
    return space.given(values, "w" if known == "w" else "z", otherwise if y is None else y, option=option)


def _tell_other_options(space: LatentSpace, path: Path) -> None:
    """Warn where an edit's latents were made with other options of the generator, such as steps of a flow."""
    record = path.with_name(RECORD)
    if path.name != LATENTS or not record.is_file():
        return
    made = files.read_record(record).get("options", {})
    asked = json.loads(json.dumps(space.options))
    if other := [f"{name}={value}" for name, value in made.items() if asked.get(name, value) != value]:
        warn(
            f"{path} was made with {', '.join(other)}, and images of these latents differ without; give "
            f"--options {' '.join(other)}."
        )


def parse_set(
    space: LatentSpace, text: str, data: Path | None, label: Floats | None = None
) -> tuple[str, Points]:
    """A set of points in words.

    Args:
        space: the generator.
        text: NAME=seeds:1,2,5-7, NAME=ids:ID,ID of --data, or NAME=FILE or FILE:0,2-4 with rows; behind it
            may be @LABEL.
        data: the Dataset whose ids are meant.
        label: of seeds, and files without labels of their own, without a @LABEL, 1×K.

    Raises:
        InputError: it is none of these, or does not fit the generator.
    """
    name, equals, source = text.partition("=")
    if not equals or _NAME.fullmatch(name.strip()) is None:
        raise InputError(f"'{text}' in --set is not NAME=POINTS, such as a=seeds:1,2,3 or a=latents.npy:0-2.")
    source, at, word = (
        source.rpartition("@") if "@" in source and not Path(source).exists() else (source, "", "")
    )
    y = space.label(word) if at else None
    kind, colon, rest = source.partition(":")
    if kind == "seeds" and colon:
        return name.strip(), space.draw(
            rows_of(rest, MOST_SEEDS, "--set", "seeds"), label if y is None else y
        )
    if kind == "ids" and colon:
        if data is None:
            raise InputError(f"'{text}' in --set names images of --data, which is missing.")
        found = space.of_samples(data, [one.strip() for one in rest.split(",")])
        return name.strip(), found if y is None else found.replaced(y=np.repeat(y, len(found), 0))
    path, colon, rows = source.rpartition(":")
    if not colon or not re.fullmatch(r"[\d,\s-]+", rows):
        path, rows = source, ""
    found = points_of_file(
        space, Path(path), None, None if y is label else y, option="--set", otherwise=label
    )
    chosen = found[rows_of(rows, len(found), "--set", "rows")] if rows else found
    return name.strip(), chosen


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
    of = of or ("w" if space.has_styles else "z")
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
    return Points.joined([space.in_space(part, of, "The concept") for part in parts])


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
