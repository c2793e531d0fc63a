"""Class inversion: the same latents with another label (the published cDCGAN's `class inversion`)."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from plenish.errors import InputError
from plenish.latent.edits import Edit, write_edit
from plenish.latent.render import FilmOptions, Row, figure
from plenish.latent.render import film as make_film
from plenish.latent.space import LatentSpace, Points


def change_class(space: LatentSpace, points: Points, to: str | None, steps: int) -> list[Points]:
    """Points on the way from their class to another one, at fixed latents.

    Args:
        space: the generator.
        points: where it begins, N of them.
        to: the class to go to; by default the next one of the list, which is the other one of two.
        steps: how many points of the way, at least 2; the first and the last are the two classes, those
            between have soft labels.

    Returns:
        A list of `steps` times N points.

    Raises:
        InputError: the generator has no classes, or not this one.
    """
    labels = space.require_labels("Changing the class", "categorical")
    if steps < 2:
        raise InputError(f"--frames must be at least 2, not {steps}.")
    assert points.y is not None
    codes = points.y.argmax(1)
    aims = np.full(len(points), labels.code(to)) if to is not None else (codes + 1) % labels.width
    ends = np.eye(labels.width, dtype=np.float32)[aims]
    ways = np.linspace(0, 1, steps, dtype=np.float32)
    return [points.replaced(y=(1 - t) * points.y + t * ends) for t in ways]


def flip(space: LatentSpace, points: Points, out: Path, to: str | None, options: FilmOptions) -> Edit:
    """Write the class inversion of some points: a figure of two rows, and a film of the soft way.

    Raises:
        InputError: the generator has no classes, or OUT exists.
    """
    way = change_class(space, points, to, options.frames)
    first, last = way[0], way[-1]
    frames = [np.concatenate(list(space.images(one)), 1) for one in way]  # Side by side.
    rows = [
        Row(title, space.images(one), space.labels.decode(one.y))
        for title, one in (("before", first), ("after", last))
        if one.y is not None
    ]
    shown = dataclasses.replace(options, enlarge=options.enlarge or max(1, round(128 / space.network.size)))
    made = make_film(np.stack(frames + frames[::-1]), shown)
    return write_edit(
        out, space, Points.joined([first, last]), figure(rows), film=made, film_format=options.film
    )
