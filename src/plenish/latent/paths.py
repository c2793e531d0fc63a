"""Paths between vectors: straight, along a great circle, tours, grids and random loops. Needs numpy alone.

A path's positions are numbers t from 0, its beginning, to 1, its end; both ends are met bit for bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Vectors = NDArray[Any]
PathKind = Literal["linear", "slerp"]
Loop = Literal["ping-pong", "closed", "open"]
_PARALLEL = 1e-7
"""Sine of the angle below which two directions are one, or opposite."""


def linear(a: Vectors, b: Vectors, t: Vectors) -> Vectors:
    """The straight way from a to b at constant speed.

    Args:
        a: an array of any shape.
        b: another one of the same shape.
        t: positions, n.

    Returns:
        n×shape, float64.
    """
    start, end = np.asarray(a, np.float64), np.asarray(b, np.float64)
    at = np.asarray(t, np.float64).reshape(-1, *(1,) * start.ndim)
    return _with_ends((1 - at) * start + at * end, start, end, t)


def slerp(a: Vectors, b: Vectors, t: Vectors) -> Vectors:
    """From a to b with the direction on a great circle (after Shoemake 1985) and the length linear.

    The angle from a is t times that between a and b, and the norm (1-t)·|a| + t·|b|. What has no one great
    circle is defined as follows. Of vectors of one direction that direction is kept. To an opposite vector
    the way turns through the coordinate axis on which |a| is smallest, the first of equal ones, made
    perpendicular to a. From or to zero, which has no direction, the way is the straight one.

    Args:
        a: an array of any shape, taken as one vector.
        b: another one of the same shape.
        t: positions, n.

    Returns:
        n×shape, float64.
    """
    start, end = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = np.linalg.norm(start), np.linalg.norm(end)
    if not all(lengths):
        return linear(a, b, t)
    at = np.asarray(t, np.float64)[:, None]
    one, other = start.ravel() / lengths[0], end.ravel() / lengths[1]
    cosine = float(one @ other)
    beside = other - cosine * one
    sine = float(np.linalg.norm(beside))
    if sine < _PARALLEL:
        beside, sine = _perpendicular(one), 0.0
    angle = np.arctan2(sine, cosine)
    turned = np.cos(at * angle) * one + np.sin(at * angle) * (beside / np.linalg.norm(beside))
    found = ((1 - at) * lengths[0] + at * lengths[1]) * turned
    return _with_ends(found.reshape(-1, *start.shape), start, end, t)


def _perpendicular(direction: Vectors) -> Vectors:
    """A vector perpendicular to a unit vector; zero in one dimension, where there is none."""
    axis = np.zeros_like(direction)
    axis[np.abs(direction).argmin()] = 1
    beside = axis - (axis @ direction) * direction
    length = np.linalg.norm(beside)
    return beside / length if length > _PARALLEL else axis


def _with_ends(found: Vectors, start: Vectors, end: Vectors, t: Vectors) -> Vectors:
    found[np.asarray(t) == 0] = start
    found[np.asarray(t) == 1] = end
    return found


PATHS: dict[PathKind, Callable[[Vectors, Vectors, Vectors], Vectors]] = {"linear": linear, "slerp": slerp}
"""The ways between two vectors, by name."""


def positions(n: int, smooth: bool = False) -> Vectors:
    """n positions from 0 to 1: evenly, or starting and ending at rest (the polynomial 3t²-2t³)."""
    t = np.linspace(0, 1, n)
    return t * t * (3 - 2 * t) if smooth else t


def legs(n: int, loop: Loop) -> list[tuple[int, int]]:
    """The legs of a tour through n points, as pairs of their numbers; a closed one returns to the first."""
    found = list(itertools.pairwise(range(n)))
    return [*found, (n - 1, 0)] if loop == "closed" and n > 1 else found


def tour(points: Sequence[Vectors], frames: int, kind: PathKind = "linear", loop: Loop = "open") -> Vectors:
    """A path through points, in their order.

    Args:
        points: at least two arrays of one shape.
        frames: frames of each leg, both of its ends counted; the legs share them.
        kind: the way of each leg.
        loop: `open` and `ping-pong` end at the last point, `closed` comes back to just before the first, so
            that a repeated film has no frame twice in a row.

    Returns:
        Frames×shape, float64: (n-1)·(frames-1)+1 of n points, or n·(frames-1) of a closed tour.
    """
    t = positions(frames)[:-1]
    found = [PATHS[kind](points[a], points[b], t) for a, b in legs(len(points), loop)]
    end = [] if loop == "closed" else [np.asarray(points[-1], np.float64)[None]]
    return np.concatenate([*found, *end])


def ping_pong(n: int) -> NDArray[np.int64]:
    """Rows of n frames forward and back, no frame twice in a row when repeated: 0 1 2 1 for 3."""
    return np.concatenate([np.arange(n), np.arange(n - 2, 0, -1)])


def corners(points: Sequence[Vectors], side: int, kind: PathKind = "linear") -> Vectors:
    """A square between four corners: its left and right sides are ways, and each row is one between these.

    Args:
        points: upper left, upper right, lower left, lower right.
        side: points along a side.
        kind: the ways.

    Returns:
        side×side×shape, float64.
    """
    t, way = positions(side), PATHS[kind]
    left, right = way(points[0], points[2], t), way(points[1], points[3], t)
    return np.stack([way(a, b, t) for a, b in zip(left, right)])


def gaussian_loop(shape: tuple[int, ...], n: int, bends: int, rng: np.random.Generator) -> Vectors:
    """A random smooth closed path, each point of which has the distribution N(0, 1) in every coordinate.

    It is a trigonometric polynomial Σ_k (a_k cos 2πkt + b_k sin 2πkt)/√K with a_k, b_k ~ N(0, 1), k = 1 … K,
    a stationary Gaussian process on a circle.

    Args:
        shape: of a point.
        n: number of points; the one behind the last is the first.
        bends: K, how often it turns at most.
        rng: randomness.

    Returns:
        n×shape, float64.
    """
    phase = 2 * np.pi * np.arange(n)[:, None] * np.arange(1, bends + 1) / n
    waves = np.concatenate([np.cos(phase), np.sin(phase)], 1) / np.sqrt(bends)
    found: Vectors = np.tensordot(waves, rng.standard_normal((2 * bends, *shape)), 1)
    return found


def uniform_loop(shape: tuple[int, ...], n: int, bends: int, rng: np.random.Generator) -> Vectors:
    """The same for U(-1, 1): a Gaussian loop through the normal distribution function."""
    found: Vectors = 2 * ndtr(gaussian_loop(shape, n, bends, rng)) - 1
    return found
