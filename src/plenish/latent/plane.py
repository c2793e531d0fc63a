"""Planes through three points of a prior, on which every point has the distribution of the prior."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from plenish.latent.points import Points

PlaneKind = Literal["random", "triangle"]
_CORNERS = np.array([[np.cos(a), np.sin(a)] for a in np.deg2rad([90.0, 210.0, 330.0])])
_LAST = 1 - 1e-6
"""How far coordinates of a uniform prior go in the transform; at 1 it is infinite."""


def weights(kind: PlaneKind, x: float, y: float) -> NDArray[np.float64]:
    """How much of each of three points a place of the plane has; the squares sum to 1.

    Independent points of N(0, 1) with such weights add up to one of N(0, 1).

    Args:
        kind: `random`: the first point is in the middle, the others are ahead on the two axes; `triangle`:
            the points are corners, at 90°, 210° and 330° on the unit circle.
        x: the place, from left to right.
        y: the place, from bottom to top.
    """
    if kind == "random":
        found = np.array([1.0, x, y])
    else:  # Barycentric coordinates.
        found = (1 + 2 * _CORNERS @ np.array([x, y])) / 3
    return np.asarray(found / np.linalg.norm(found))


def on_plane(points: Points, kind: PlaneKind, x: float, y: float, *, uniform: bool = False) -> Points:
    """A point of the plane through three points of z, with the label of the first.

    Args:
        points: three points of z.
        kind: as of `weights`.
        x: the place, from left to right.
        y: the place, from bottom to top.
        uniform: whether the prior is U(-1, 1), which is then taken through the normal distribution function;
            else it is N(0, 1).

    Raises:
        ValueError: there are not three points of z.
    """
    if len(points) != 3 or points.space != "z":
        raise ValueError("a plane goes through three points of z")
    values = points.values.astype(np.float64)
    if uniform:
        values = ndtri((1 + np.clip(values, -_LAST, _LAST)) / 2)
    found = np.tensordot(weights(kind, x, y), values, 1)
    if uniform:
        found = 2 * ndtr(found) - 1
    return points[[0]].replaced(found[None], names=(f"plane {x:.3f}, {y:.3f}",))
