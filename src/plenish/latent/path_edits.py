"""Films and figures of paths in a latent space, as folders: interpolation, grid and walks."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plenish.latent import paths
from plenish.latent.edits import Edit, write_edit
from plenish.latent.interpolation import SIX_WAYS, LabelPath, check_frames, check_points, label_words
from plenish.latent.named import Direction
from plenish.latent.paths import Loop, PathKind
from plenish.latent.points import Floats, Points, Space
from plenish.latent.render import (
    FILMED,
    SHOWN,
    FilmOptions,
    Pixels,
    Row,
    check_film,
    figure,
    film_beside,
    tiled,
)  # fmt: skip
from plenish.latent.render import film as make_film
from plenish.latent.space import AT_ONCE, LatentSpace
from plenish.progress import progress, say, warn
from plenish.wording import signed

_ACROSS = 8
"""Images of a row of a figure that shows a path."""


def images(space: LatentSpace, points: Points) -> Pixels:
    """Images of points with a bar of progress, uint8 N×H×W×C."""
    n = len(points)
    if n <= AT_ONCE:
        return space.images(points)
    _tell_slow(space, n)
    made = []
    with progress("making images", n, "images") as bar:
        for start in range(0, n, AT_ONCE):
            made.append(space.images(points[start : start + AT_ONCE]))
            bar.advance(len(made[-1]))
    return np.concatenate(made)


def tell_shown(n: int, shown: int = SHOWN, filmed: int | None = None) -> None:
    """Say how many of n points picture and film show, where these are not all."""
    if n > min(shown, filmed or shown):
        film = "" if filmed is None else f", the film the first {filmed}"
        say(f"picture.png shows the first {min(n, shown)} of {n} points{film}; latents.npy has all.")


def _tell_slow(space: LatentSpace, n: int) -> None:
    steps = space.options.get("steps")
    if isinstance(steps, int) and steps > 5:
        warn(
            f"each of these {n} images takes {steps} steps of the {space.family}; --options steps=5 or fewer "
            "--frames is faster."
        )


def images_of_ways(space: LatentSpace, ways: Sequence[Points]) -> Pixels:
    """Images of N points at T places of their ways, uint8 T×N×H×W×C."""
    return images(space, Points.joined(ways)).reshape(len(ways), len(ways[0]), *_shape(space))


def latents_table(points: Points) -> bytes:
    """Latents as a .csv file: a row a point, a column a number."""
    text = io.StringIO()
    flat = points.values.reshape(len(points), -1)
    header = ",".join(f"{points.space}{i}" for i in range(flat.shape[1]))
    np.savetxt(text, flat, delimiter=",", fmt="%.9g", header=header, comments="")
    return text.getvalue().encode()


def tables(points: Points, csv: bool) -> dict[str, bytes]:
    """The further files of an edit: latents.csv where it is asked for."""
    return {"latents.csv": latents_table(points)} if csv else {}


def write_interpolation(
    space: LatentSpace, points: Points, out: Path, *, kind: PathKind | None, loop: Loop, labels: LabelPath,
    options: FilmOptions, csv: bool = False,
) -> Edit:  # fmt: skip
    """Write the film of a path through points, and a figure with a row for each leg.

    Args:
        space: the generator.
        points: where it goes through.
        out: the folder.
        kind: straight or along great circles; by default `LatentSpace.usual_path`.
        loop: how the film goes on at its end.
        labels: whether labels move softly.
        options: of the film; `frames` is that of each leg.
        csv: whether latents.csv is written too.

    Raises:
        InputError: there are fewer than two points, or OUT exists.
    """
    kind = kind or space.usual_path(points)
    one_way: Loop = "open" if loop == "ping-pong" else loop
    path = space.interpolate(points, options.frames, kind, loop=one_way, labels=labels)
    order = paths.ping_pong(len(path)) if loop == "ping-pong" else np.arange(len(path))
    check_film(len(order), space.network.size, space.network.size, options)
    made, rows, legs = images(space, path), [], paths.legs(len(points), one_way)
    if len(legs) > SHOWN:
        say(f"picture.png shows the first {SHOWN} of {len(legs)} legs; the film has all.")
    for k, (a, b) in enumerate(legs[:SHOWN]):
        at = k * (options.frames - 1) + np.linspace(0, options.frames - 1, _ACROSS).round().astype(int)
        at = np.unique(at) % len(path)
        y = None if path.y is None else path.y[at]
        rows.append(Row(f"{points.names[a]} →\n{points.names[b]}", made[at], label_words(space.labels, y)))
    shown = path[order]
    film = make_film(made[order], options, loop=loop != "open")
    facts = {"path": kind, "loop": loop, "label_path": labels, "film_frames": len(shown)}
    return write_edit(
        out, space, shown, figure(rows), result=facts, film=film, film_format=options.film,
        more=tables(shown, csv),
    )  # fmt: skip


def write_grid(
    space: LatentSpace, points: Points, out: Path, *, side: int, kind: PathKind | None, options: FilmOptions,
    csv: bool = False,
) -> Edit:  # fmt: skip
    """Write the square between four points, and the six ways between them, as figure and film.

    The figure shows the square, whose sides are four of the ways, above a row for each way. The diagonals of
    the square are not the two other ways: the middle of a square is the mean of four corners.

    Raises:
        InputError: there are not four points, or OUT exists.
    """
    check_points(points, 4, "A grid", most=4)
    kind = kind or space.usual_path(points)
    square = space.grid(points, side, kind)
    rows = [Row("", row) for row in images(space, square).reshape(side, side, *_shape(space))]
    ways = [space.interpolate(points[list(pair)], options.frames, kind, loop="open") for pair in SIX_WAYS]
    made = images_of_ways(space, ways)
    at = np.linspace(0, options.frames - 1, side).round().astype(int)
    for (a, b), way in zip(SIX_WAYS, made):
        rows.append(Row(f"{points.names[a]} →\n{points.names[b]}", way[at]))
    order = paths.ping_pong(options.frames)
    film = make_film(tiled(made[:, order], 3), options, loop=True)
    sheet = figure(rows)
    return write_edit(
        out, space, square, sheet, result={"path": kind, "side": side, "corners": list(points.names)},
        film=film, film_format=options.film, more=tables(square, csv),
    )  # fmt: skip


def _shape(space: LatentSpace) -> tuple[int, int, int]:
    return space.network.size, space.network.size, space.network.channels


def write_walk(
    space: LatentSpace, out: Path, *, seed: int, bends: int, y: Floats | None, where: Space | None,
    options: FilmOptions, csv: bool = False,
) -> Edit:  # fmt: skip
    """Write a random closed walk in the prior: the film, and a figure of frames at equal distances.

    Raises:
        InputError: w is asked for and the family has none, or OUT exists.
    """
    check_film(options.frames, space.network.size, space.network.size, options)
    path = space.in_space(space.walk(options.frames, seed, bends, y), where)
    made = images(space, path)
    at = np.unique(np.linspace(0, len(path), 4 * _ACROSS, endpoint=False).astype(int))
    rows = [Row("", made[part]) for part in np.split(at, range(_ACROSS, len(at), _ACROSS))]
    facts = {"walk": "random", "bends": bends, "film_frames": len(path)}
    return write_edit(
        out, space, path, figure(rows), result=facts, film=make_film(made, options),
        film_format=options.film, more=tables(path, csv),
    )  # fmt: skip


def write_move(
    space: LatentSpace, points: Points, way: Direction, strength: tuple[float, float], out: Path, *,
    options: FilmOptions, csv: bool = False,
) -> Edit:  # fmt: skip
    """Write what a direction does to points: a row for each, and a film of some side by side.

    Args:
        space: the generator.
        points: what is changed; z becomes w where the direction is of w.
        way: the direction.
        strength: the first and last strength.
        out: the folder.
        options: of the film; `frames` is that of one way.
        csv: whether latents.csv is written too.

    Raises:
        InputError: the direction is of z and the points are w, or OUT exists.
    """
    points = space.in_space(points, way.space, f"The direction '{way.name}'")
    check_frames(len(points), options.frames)
    tell_shown(len(points), filmed=FILMED)
    strengths = np.linspace(*strength, options.frames)
    joined = Points.joined(space.move(points, way.step, strengths.tolist()))
    filmed = np.arange(min(FILMED, len(points)))
    made = images_of_ways(space, space.move(points[filmed], way.step, strengths.tolist()))
    at = np.linspace(0, options.frames - 1, min(_ACROSS - 1, options.frames)).round().astype(int)
    captions = [signed(strengths[i]) for i in at]
    shown = images_of_ways(space, space.move(points[:SHOWN], way.step, strengths[at].tolist()))
    rows = [Row(name, shown[:, k], captions) for k, name in enumerate(points.names[:SHOWN])]
    film = film_beside(made, options)
    names = [f"{name}, {way.name} {s:+.3g}" for s in strengths for name in points.names]
    facts = {"walk": "direction", "direction": way.name, "strength": [float(s) for s in strength]}
    kept = joined.replaced(names=names)
    return write_edit(
        out, space, kept, figure(rows), result=facts, film=film, film_format=options.film,
        more={"direction.npy": _npy(way.step), **tables(kept, csv)},
    )  # fmt: skip


def _npy(array: Any) -> bytes:
    made = io.BytesIO()
    np.save(made, array)
    return made.getvalue()
