"""Class inversion: the same latents with another label (the published cDCGAN's `class inversion`)."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.latent.edits import Edit, write_edit
from plenish.latent.interpolation import class_way, label_words
from plenish.latent.path_edits import images, tables, tiled
from plenish.latent.points import Points
from plenish.latent.render import FilmOptions, Pixels, Row, figure
from plenish.latent.render import film as make_film
from plenish.latent.space import LatentSpace
from plenish.wording import significant

_ACROSS = 8
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
    way = class_way(points, labels, to, options.frames if soft else 2)
    size, channels = space.network.size, space.network.channels
    made = images(space, Points.joined(way)).reshape(len(way), len(points), size, size, channels)
    first, last = made[0], made[-1]
    shares = np.linspace(0, 1, options.frames)
    frames = made if soft else np.stack([blended(first, last, share) for share in shares])
    difference, factor = amplified(first, last)
    rows = [
        Row("before", first, label_words(space.labels, way[0].y)),
        Row("after", last, label_words(space.labels, way[-1].y)),
        Row("both, overlaid", blended(first, last, 0.5)),
        Row(f"difference × {factor:g}", difference),
    ]
    held = np.concatenate([frames[:1].repeat(_HOLD, 0), frames, frames[-1:].repeat(_HOLD, 0), frames[::-1]])
    across = min(_ACROSS, len(points))
    shown = dataclasses.replace(options, enlarge=options.enlarge or max(1, round(128 / size)))
    film = make_film(tiled(held.swapaxes(0, 1), across), shown)
    kept = Points.joined([way[0], way[-1]])
    change = np.abs(first.astype(np.float64) - last).mean((1, 2, 3)) / 255
    facts = {
        "soft": soft, "difference_factor": factor, "film_frames": len(held),
        "mean_change": [round(float(value), 4) for value in change],
        "classes": _by_classes(space, way, change),
    }  # fmt: skip
    written = write_edit(
        out, space, kept, figure(rows), result=facts, film=film, film_format=options.film,
        more=tables(kept, csv),
    )  # fmt: skip
    return FlippedEdit(written.path, written.facts)


def _by_classes(space: LatentSpace, way: list[Points], change: NDArray[np.float64]) -> list[dict[str, Any]]:
    """A row for each pair of classes: how many images went that way, and how much they changed on average."""
    ends = [points.y.argmax(1) for points in (way[0], way[-1]) if points.y is not None]
    pairs, which = np.unique(np.stack(ends, 1), axis=0, return_inverse=True)
    names = space.labels.names
    return [
        {
            "from": names[a], "to": names[b], "images": int((which.ravel() == k).sum()),
            "mean change": significant(float(change[which.ravel() == k].mean())),
        }
        for k, (a, b) in enumerate(pairs)
    ]  # fmt: skip


def blended(first: Pixels, last: Pixels, share: float) -> Pixels:
    """Images laid over each other: so much of the last ones, the rest of the first."""
    mean = (1 - share) * first.astype(np.float32) + share * last
    return np.clip(np.rint(mean), 0, 255).astype(np.uint8)


def amplified(first: Pixels, last: Pixels) -> tuple[Pixels, float]:
    """The difference of images on grey, brighter where the last ones are; amplified by 1, 2, 4 or 8.

    Returns:
        Images, and the factor: the greatest at which 99 % of the values stay in the range.
    """
    change = last.astype(np.float32) - first
    most = float(np.percentile(np.abs(change), 99))
    factor = next((f for f in (8, 4, 2) if f * most <= 127), 1)
    return np.clip(np.rint(128 + factor * change), 0, 255).astype(np.uint8), float(factor)
