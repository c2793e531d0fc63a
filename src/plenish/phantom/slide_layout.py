"""The layout of a phantom slide: tissue, tumours, a hole, ink and an area out of focus, as polygons.

All coordinates are pixels of level 0. Outlines are wavy ovals, star-shaped about their centre, with bounded
radii: by construction, tumours lie within the tissue, do not touch each other, and contain their holes.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

Polygon = NDArray[np.float64]
"""n×2 vertices (x, y), not closed."""

_VERTICES = 160
_WAVES = (2, 3, 4, 5)
_WAVINESS = 0.05
"""Largest amplitude of one wave: four of them reach 0.2 of the radius."""


@dataclasses.dataclass(frozen=True)
class SlideLayout:
    """The layout of one phantom slide.

    Attributes:
        width: pixels of level 0.
        height: pixels of level 0.
        tissue: outline of the tissue.
        tumours: outlines of tumours, disjoint, within the tissue.
        holes: outlines of normal tissue within tumours.
        ink: outline of a pen stroke on the glass and the edge of the tissue; none without artefacts.
        blurred: outline of an area out of focus; none without artefacts.
    """

    width: int
    height: int
    tissue: Polygon
    tumours: tuple[Polygon, ...]
    holes: tuple[Polygon, ...]
    ink: tuple[Polygon, ...] = ()
    blurred: tuple[Polygon, ...] = ()

    def polygons(self) -> dict[str, list[list[list[float]]]]:
        """Vertices of all outlines by kind; JSON-able."""
        return {"tissue": [self.tissue.tolist()]} | {
            kind: [polygon.tolist() for polygon in getattr(self, kind)]
            for kind in ("tumours", "holes", "ink", "blurred")
        }

    @property
    def tissue_area(self) -> float:
        """Area of the tissue, px²."""
        return area(self.tissue)

    @property
    def tumour_area(self) -> float:
        """Area of the tumours without their holes, px²."""
        return sum(map(area, self.tumours)) - sum(map(area, self.holes))


def make_layout(
    width: int, height: int, *, tumour: bool, artefacts: bool, rng: np.random.Generator
) -> SlideLayout:
    """Lay out a slide.

    Args:
        width: pixels of level 0.
        height: pixels of level 0.
        tumour: whether there is any.
        artefacts: add a stroke of ink and an area out of focus.
        rng: source of randomness.
    """

    def placed(angle: float, share: float) -> NDArray[np.float64]:
        """The point at this share of the tissue's radius in a direction."""
        return np.asarray(middle + share * radius * [math.cos(angle), math.sin(angle)])

    middle = np.array([width, height]) * rng.uniform(0.48, 0.52, 2)
    radius = 0.38 * np.array([width, height])
    tissue = oval(middle, radius, rng)
    tumours: list[Polygon] = []
    holes: list[Polygon] = []
    turn = rng.uniform(0, 2 * math.pi)
    if tumour:
        # 0.38 + 0.28 · 1.2 stays below the tissue's narrowest, 0.8; 0.28 · 1.2 below 0.38, half their way.
        tumours = [oval(placed(turn + side, 0.38), 0.28 * radius, rng) for side in (0.0, math.pi)]
        holes = [oval(placed(turn, 0.38), 0.11 * radius, rng)]
    if not artefacts:
        return SlideLayout(width, height, tissue, tuple(tumours), tuple(holes))
    blurred = oval(placed(turn + math.pi / 2, 0.45), 0.2 * radius, rng)
    left = middle[0] - 0.72 * radius[0]
    ink = np.array([(left, 0.05 * height), (left + 0.12 * radius[0], 0.05 * height)])
    ink = np.concatenate([ink, ink[::-1] + np.array([0.05 * width, 0.55 * height])])
    return SlideLayout(width, height, tissue, tuple(tumours), tuple(holes), (ink,), (blurred,))


def area(polygon: Polygon) -> float:
    """Area of a polygon without crossings, in the square of its unit (shoelace formula)."""
    x, y = polygon.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def oval(middle: NDArray[np.float64], radius: NDArray[np.float64], rng: np.random.Generator) -> Polygon:
    """A wavy oval about a middle (x, y), with half-axes (x, y) that its waves change by up to a fifth."""
    angle = np.arange(_VERTICES) * (2 * math.pi / _VERTICES)
    reach = np.ones(_VERTICES)
    for wave in _WAVES:
        amplitude, phase = rng.uniform(0.3, 1.0) * _WAVINESS, rng.uniform(0, 2 * math.pi)
        reach += amplitude * np.cos(wave * angle + phase)
    points = middle + radius * np.stack([np.cos(angle), np.sin(angle)], 1) * reach[:, None]
    # The XML has two digits, and the truth must agree with it.
    return np.asarray(np.round(points, 2))
