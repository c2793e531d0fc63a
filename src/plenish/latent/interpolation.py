"""Points on paths in a latent space: through points, in a square, at random, along a direction or a label."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.latent import paths
from plenish.latent.paths import Loop, PathKind
from plenish.latent.points import Floats, Points

LabelPath = Literal["soft", "held"]
MOST_FRAMES = 100_000


def check_points(points: Points, least: int, what: str, most: int | None = None) -> None:
    """Refuse too few or too many points.

    Raises:
        InputError: their number is another.
    """
    if len(points) < least or (most is not None and len(points) > most):
        wanted = f"{least}" if most == least else f"at least {least}"
        raise InputError(
            f"{what} needs {wanted} points, not {len(points)}; choose them by --seeds, --latents or --ids."
        )


def check_frames(points: int, frames: int) -> None:
    """Refuse ways of fewer than two frames, and more frames of all points than can be kept.

    Raises:
        InputError: their number is another.
    """
    if frames < 2:
        raise InputError(f"--frames must be at least 2, not {frames}: a way has two ends.")
    if points * frames > MOST_FRAMES:
        raise InputError(f"{points} points with --frames {frames} are too many frames; take fewer.")


def interpolate(
    points: Points, frames: int, kind: PathKind, loop: Loop = "open", labels: LabelPath = "soft"
) -> Points:
    """Points on a path through points; of a ping-pong loop also those on the way back.

    Args:
        points: where it goes through, at least two.
        frames: frames of each leg, both ends counted.
        kind: straight, or along great circles.
        loop: forward and back, closed through the first point, or open.
        labels: `soft` moves them as the latents, in straight lines; with `held` a leg has the label of the
            point that it leaves. A closed tour through one point of each of two classes thus goes from A to B
            in A's class, and back in B's. The last point of an open tour has its own label.

    Raises:
        InputError: there are fewer than two points, or too many frames.
    """
    check_points(points, 2, "An interpolation")
    check_frames(len(points), frames)
    values = paths.tour(list(points.values), frames, kind, loop)
    y = None if points.y is None else _labels(points.y, frames, loop, labels)
    names = _names(points.names, frames, loop)
    made = Points(values.astype(np.float32), points.space, y, tuple(names))
    return made[paths.ping_pong(len(made))] if loop == "ping-pong" else made


def _labels(y: Floats, frames: int, loop: Loop, labels: LabelPath) -> Floats:
    if labels == "soft":
        return paths.tour(list(y), frames, "linear", loop).astype(np.float32)
    starts = [start for start, _ in paths.legs(len(y), loop)]
    held = np.repeat(y[starts], frames - 1, 0)
    return held if loop == "closed" else np.concatenate([held, y[-1:]])


def _names(names: tuple[str, ...], frames: int, loop: Loop) -> list[str]:
    way = paths.legs(len(names), loop)
    found = []
    for a, b in way:
        found += [names[a]] + [
            f"{names[a]} → {names[b]}, {k / (frames - 1):.3f}" for k in range(1, frames - 1)
        ]
    return found if loop == "closed" else [*found, names[-1]]


def grid(points: Points, side: int, kind: PathKind) -> Points:
    """The square between four points, row by row; labels move in straight lines.

    Args:
        points: upper left, upper right, lower left, lower right.
        side: points along a side.
        kind: straight, or along great circles.

    Raises:
        InputError: there are not four points.
    """
    check_points(points, 4, "A grid", most=4)
    values = paths.corners(list(points.values), side, kind)
    y = None
    if points.y is not None:
        y = paths.corners(list(points.y), side).reshape(side**2, -1).astype(np.float32)
    names = tuple(f"row {i}, column {j}" for i in range(side) for j in range(side))
    return Points(values.reshape(side**2, *values.shape[2:]).astype(np.float32), points.space, y, names)


SIX_WAYS = ((0, 1), (2, 3), (0, 2), (1, 3), (0, 3), (1, 2))
"""The ways between four corners: two rows, two columns, two diagonals."""


def random_loop(
    z_shape: tuple[int, ...], uniform: bool, frames: int, bends: int, rng: np.random.Generator
) -> Floats:
    """A random smooth closed path of z, each point of which has the distribution of the prior.

    Args:
        z_shape: shape of one z.
        uniform: whether the prior is U(-1, 1); else it is N(0, 1).
        frames: number of points; the one behind the last is the first.
        bends: how often it turns at most.
        rng: randomness.
    """
    make = paths.uniform_loop if uniform else paths.gaussian_loop
    return make(z_shape, frames, bends, rng).astype(np.float32)


def moved(points: Points, direction: NDArray[np.floating], strengths: NDArray[np.floating]) -> list[Points]:
    """The points with so many times a direction added, for each strength.

    Args:
        points: N of them.
        direction: of the shape of a point, or, for w, of one style, which all layers then get.
        strengths: S factors.

    Returns:
        S times N points.

    Raises:
        InputError: the direction is of another width, or not finite.
    """
    step = fitted_direction(points, direction)
    return [points.replaced(points.values + np.float32(s) * step) for s in strengths]


def fitted_direction(points: Points, direction: NDArray[np.floating]) -> Floats:
    """A direction in the shape of a point, or of a style.

    Raises:
        InputError: it is of another width, or not finite.
    """
    shape = points.values.shape[1:]
    flat = np.asarray(direction, np.float32).ravel()
    if not np.isfinite(flat).all():
        raise InputError("The direction holds values that are not finite.")
    if flat.size == np.prod(shape):
        return flat.reshape(shape)
    if points.space == "w" and flat.size == shape[-1]:
        return flat.reshape(1, -1)
    raise InputError(
        f"The direction is {flat.size} numbers wide, and a point of {points.space} has {np.prod(shape)}; "
        "give a direction of the same space of this generator."
    )


def class_way(points: Points, labels: LabelSchema, to: str | None, steps: int) -> list[Points]:
    """Points on the way from their class to another one, at fixed latents.

    Args:
        points: where it begins, N of them.
        labels: categorical ones.
        to: the class to go to; by default the next one of the list, which is the other one of two.
        steps: how many points of the way, at least 2; the first and the last are the two classes, those
            between have soft labels.

    Returns:
        A list of `steps` times N points.

    Raises:
        InputError: there is no such class.
    """
    assert points.y is not None
    codes = points.y.argmax(1)
    aims = np.full(len(points), labels.code(to)) if to is not None else (codes + 1) % labels.width
    ends = np.eye(labels.width, dtype=np.float32)[aims]
    return [
        points.replaced(y=(1 - t) * points.y + t * ends) for t in paths.positions(steps).astype(np.float32)
    ]


def label_words(labels: LabelSchema, y: Floats | None) -> list[str]:
    """Labels as captions: a class, the share of the greater of two, tags, or values."""
    if y is None or not labels.width:
        return []
    if labels.kind == "multilabel":
        return [", ".join(tags) for tags in labels.decode(y)]
    if labels.kind == "continuous":
        return [", ".join(f"{value:.2g}" for value in row) for row in y]
    first, share = y.argmax(1), y.max(1)
    return [
        labels.names[i] if part > 0.995 else f"{labels.names[i]}: {100 * part:.0f} %"
        for i, part in zip(first, share)
    ]
