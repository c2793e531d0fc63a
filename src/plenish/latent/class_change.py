"""Class inversion: the same latents with another label (the published cDCGAN's `class inversion`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.latent.edits import Edit, write_edit
from plenish.latent.interpolation import class_way, label_words
from plenish.latent.path_edits import images, images_of_ways, tables, tell_shown
from plenish.latent.points import Points
from plenish.latent.render import (
    FILMED,
    SHOWN,
    FilmOptions,
    Row,
    amplified_difference,
    blended,
    figure,
    film_beside,
    film_order,
)  # fmt: skip
from plenish.latent.space import LatentSpace
from plenish.wording import significant

_HOLD = 12
"""Frames that each end of the film stays."""


class FlippedEdit(Edit):
    """A class inversion that was written."""

    def summary(self) -> dict[str, Any]:
        """The files, and a row for each pair of classes; edit.json has a value for each image."""
        found = super().summary()
        del found["mean_change"]
        return found


def flip(
    space: LatentSpace, points: Points, out: Path, to: str | None, options: FilmOptions, *, soft: bool = True,
    csv: bool = False,
) -> FlippedEdit:  # fmt: skip
    """Write the class inversion of some points: both rows, their overlay and difference, and a film.

    Args:
        space: the generator, of classes.
        points: what is turned.
        out: the folder.
        to: the class to go to; by default the next one of the list.
        options: of the film.
        soft: whether the film goes through soft labels; else it blends the two images, which lays one over
            the other.
        csv: whether latents.csv is written too.

    Raises:
        InputError: the generator has no classes, or OUT exists.
    """
    labels = space.require_labels("Changing the class", "categorical")
    tell_shown(len(points), filmed=FILMED)
    ends = class_way(points, labels, to, 2)
    first, last = (images(space, end) for end in ends)
    if soft:
        frames = images_of_ways(space, class_way(points[:FILMED], labels, to, options.frames))
    else:
        shares = np.linspace(0, 1, options.frames)
        frames = np.stack([blended(first[:FILMED], last[:FILMED], share) for share in shares])
    before, after = first[:SHOWN], last[:SHOWN]
    difference, factor = amplified_difference(before, after)
    rows = [
        Row("before", before, label_words(labels, ends[0].y)),
        Row("after", after, label_words(labels, ends[1].y)),
        Row("both, overlaid", blended(before, after, 0.5)),
        Row(f"difference × {factor:g}", difference),
    ]
    kept = Points.joined(ends)
    change = np.abs(first.astype(np.float32) - last).mean((1, 2, 3)) / 255
    facts = {
        "soft": soft, "difference_factor": factor, "film_frames": len(film_order(options.frames, _HOLD)),
        "mean_change": [round(float(value), 4) for value in change],
        "classes": _by_classes(space, ends, change),
    }  # fmt: skip
    written = write_edit(
        out, space, kept, figure(rows), result=facts, film=film_beside(frames, options, _HOLD),
        film_format=options.film, more=tables(kept, csv),
    )  # fmt: skip
    return FlippedEdit(written.path, written.facts)


def _by_classes(space: LatentSpace, ends: list[Points], change: NDArray[np.floating]) -> list[dict[str, Any]]:
    """A row for each pair of classes: how many images went that way, and how much they changed on average."""
    codes = [points.y.argmax(1) for points in ends if points.y is not None]
    pairs, which = np.unique(np.stack(codes, 1), axis=0, return_inverse=True)
    names = space.labels.names
    return [
        {
            "from": names[a], "to": names[b], "images": int((which.ravel() == k).sum()),
            "mean change": significant(float(change[which.ravel() == k].mean())),
        }
        for k, (a, b) in enumerate(pairs)
    ]  # fmt: skip
