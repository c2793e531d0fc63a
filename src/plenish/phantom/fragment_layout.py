"""The layout of a phantom slide that is mostly empty: small fragments of tissue, and what is not tissue.

Fragments are 100 to 600 µm wide, as of small biopsies, in seven kinds; pen strokes, air bubbles, the edge of
the coverslip, dust and fibres lie beside them. All coordinates are pixels of level 0.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError
from plenish.phantom.slide_layout import Polygon, area, oval

TISSUE_KINDS = ("h&e", "pale", "dab", "counterstain", "dark", "fat", "folded")
ARTEFACT_KINDS = ("pen", "bubble", "coverslip", "dust", "fibre")
PENS = {
    "black": (25.0, 25.0, 30.0),
    "blue": (35.0, 60.0, 150.0),
    "green": (28.0, 118.0, 74.0),
    "red": (205.0, 40.0, 55.0),
}
"""Colours of undiluted ink, grey levels of 255."""
_PER_KIND = 2
_DIAMETER_UM = 100.0, 600.0
_LEAST_SIDE_UM = 1800.0
_GAP_UM = 60.0
_TRIES = 2000
_COLOURS = dict(
    zip(TISSUE_KINDS, ("#c83c96", "#f0a0d2", "#8c5a28", "#6e82be", "#3c1446", "#ffc8b4", "#a03ca0"))
)


@dataclasses.dataclass(frozen=True)
class Fragment:
    """A fragment of tissue.

    Attributes:
        kind: one of `TISSUE_KINDS`.
        outline: of the tissue; of fat, the cells with the fat they hold.
        strength: amount of stain, 1 for the average.
        folds: middle lines of folds, each a point and a direction (x, y, angle).
    """

    kind: str
    outline: Polygon
    strength: float
    folds: tuple[tuple[float, float, float], ...] = ()


@dataclasses.dataclass(frozen=True)
class Artefact:
    """Something on the glass that is not tissue.

    Attributes:
        kind: one of `ARTEFACT_KINDS`.
        outline: of the area that it darkens or colours; a bubble's is its outer edge.
        inner: where it is less so: the inside of a bubble, or the full middle of a pen stroke.
        colour: share of the light that it transmits in R, G, B.
    """

    kind: str
    outline: Polygon
    inner: Polygon
    colour: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class FragmentLayout:
    """The layout of a phantom slide with fragments.

    Attributes:
        width: pixels of level 0.
        height: pixels of level 0.
        fragments: disjoint, and clear of all artefacts but dust and fibres.
        artefacts: what is not tissue.
    """

    width: int
    height: int
    fragments: tuple[Fragment, ...]
    artefacts: tuple[Artefact, ...]
    tumours: tuple[Polygon, ...] = ()
    tumour_area: float = 0.0

    @property
    def tissue_area(self) -> float:
        """Area of the fragments, px²."""
        return sum(area(one.outline) for one in self.fragments)

    def polygons(self) -> dict[str, Any]:
        """Fragments by kind and artefacts by kind, as lists of vertices; JSON-able."""
        return {
            "tissue": [one.outline.tolist() for one in self.fragments],
            "kinds": [one.kind for one in self.fragments],
            "artefacts": [{"kind": one.kind, "outline": one.outline.tolist()} for one in self.artefacts],
        }

    def geojson(self) -> dict[str, Any]:
        """The truth as QuPath's GeoJSON: each outline with its kind as the classification."""
        shapes = [(one.kind, one.outline, "tissue") for one in self.fragments]
        shapes += [(one.kind, one.outline, "artefact") for one in self.artefacts]
        return {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "geometry": {
                        "type": "Polygon",
                        "coordinates": [[*outline.tolist(), outline[0].tolist()]],
                    },
                    "properties": {
                        "objectType": "annotation",
                        "classification": {"name": kind, "color": _rgb(_COLOURS.get(kind, "#808080"))},
                        "metadata": {"role": role},
                    },
                }
                for kind, outline, role in shapes
            ],
        }


def make_fragment_layout(width: int, height: int, mpp: float, rng: np.random.Generator) -> FragmentLayout:
    """Lay out a mostly empty slide: two fragments of each kind, and artefacts.

    Args:
        width: pixels of level 0.
        height: pixels of level 0.
        mpp: µm per pixel of level 0.
        rng: source of randomness.

    Raises:
        InputError: the slide is too small.
    """
    side = min(width, height) * mpp
    if side < _LEAST_SIDE_UM:
        raise InputError(
            f"--content fragments needs slides of at least {_LEAST_SIDE_UM:g} µm a side; --width, --height "
            f"and --mpp give {side:g} µm."
        )
    greatest = min(_DIAMETER_UM[1], side / 10)
    size = np.array([width, height]) * mpp
    taken: list[tuple[float, float, float]] = []
    artefacts = [_coverslip(size, rng)]
    for ink in PENS.values():
        long, wide = side * rng.uniform(0.12, 0.25), min(side / 16, rng.uniform(500, 1000))
        x, y = _place(taken, size, math.hypot(0.62 * long, wide / 2), rng)
        artefacts.append(_stroke(x, y, long, wide, ink, rng))
    for _ in range(4):
        radius = min(side / 20, rng.uniform(150, 700))
        x, y = _place(taken, size, radius, rng)
        artefacts.append(_bubble(x, y, radius, rng))
    diameters = np.sort(
        np.exp(rng.uniform(np.log(_DIAMETER_UM[0]), np.log(greatest), _PER_KIND * len(TISSUE_KINDS)))
    )
    kinds = [str(kind) for kind in rng.permutation(TISSUE_KINDS * _PER_KIND)]
    fragments = [_fragment(kind, size, d, taken, rng) for kind, d in zip(kinds, diameters[::-1])]
    artefacts += [_dust(size, rng) for _ in range(25)] + [_fibre(size, rng) for _ in range(2)]
    return FragmentLayout(
        width, height,
        tuple(
            dataclasses.replace(
                one, outline=np.round(one.outline / mpp, 2),
                folds=tuple((x / mpp, y / mpp, angle) for x, y, angle in one.folds),
            )
            for one in fragments
        ),
        tuple(
            dataclasses.replace(one, outline=np.round(one.outline / mpp, 2), inner=one.inner / mpp)
            for one in artefacts
        ),
    )  # fmt: skip


def _place(
    taken: list[tuple[float, float, float]],
    size: NDArray[np.float64],
    radius: float,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """A place for a disc that touches no other, right of the coverslip's edge; µm."""
    gap = min(_GAP_UM, float(size.min()) / 60)
    low, high = radius + gap + np.array([0.05 * size[0], 0.0]), size - radius - gap
    for _ in range(_TRIES):
        x, y = rng.uniform(low, high)
        if all(math.hypot(x - u, y - v) > radius + r + gap for u, v, r in taken):
            taken.append((float(x), float(y), radius))
            return float(x), float(y)
    raise InputError("--content fragments needs a larger slide; raise --width and --height.")


def _fragment(
    kind: str, size: NDArray[np.float64], diameter: float, taken: list[tuple[float, float, float]],
    rng: np.random.Generator,
) -> Fragment:  # fmt: skip
    """A fragment whose area is that of a disc of this diameter, up to twice as long as wide."""
    aspect = math.sqrt(rng.uniform(1.0, 2.0))
    outline = oval(np.zeros(2), diameter / 2 * np.array([aspect, 1 / aspect]), rng)
    outline = outline * (math.sqrt(math.pi / 4) * diameter / math.sqrt(area(outline)))
    outline = _turned(outline, rng.uniform(0, math.pi))
    place = np.array(_place(taken, size, float(np.hypot(*outline.T).max()), rng))
    low, high = {"pale": (0.3, 0.5), "dab": (0.35, 1.1)}.get(kind, (0.8, 1.2))
    folds: tuple[tuple[float, float, float], ...] = ()
    if kind == "folded":
        folds = tuple(
            (*(place + rng.uniform(-0.15, 0.15, 2) * diameter).tolist(), rng.uniform(0, math.pi))
            for _ in range(2)
        )
    return Fragment(kind, outline + place, float(rng.uniform(low, high)), folds)


def _stroke(
    x: float, y: float, long: float, wide: float, ink: tuple[float, ...], rng: np.random.Generator
) -> Artefact:
    """A slightly bent stroke of a pen, with paler ink along its edges."""
    t = np.linspace(-1, 1, 25)
    bend = rng.uniform(-0.12, 0.12) * long

    def outline(half: float, reach: float) -> Polygon:
        middle = np.stack([t * long / 2 * reach, bend * (1 - t**2)], 1)
        return np.concatenate([middle + np.array([0, half]), middle[::-1] - np.array([0, half])])

    angle, place = rng.uniform(0, math.pi), np.array([x, y])
    outer, inner = (
        _turned(outline(half, reach), angle) + place
        for half, reach in ((wide / 2, 1.0), (wide / 2 - min(40.0, wide / 6), 1 - 60 / long))
    )
    red, green, blue = (value / 255 for value in ink)
    return Artefact("pen", outer, inner, (red, green, blue))


def _bubble(x: float, y: float, radius: float, rng: np.random.Generator) -> Artefact:
    """An air bubble: a grey ring, within it glass that is hardly changed."""
    outline = oval(np.zeros(2), np.full(2, radius / 1.2), rng)
    ring = rng.uniform(12, 35)
    place, inner = np.array([x, y]), outline * (1 - ring / radius)
    return Artefact("bubble", outline + place, inner + place, _grey(0.35, 0.65, rng))


def _coverslip(size: NDArray[np.float64], rng: np.random.Generator) -> Artefact:
    """The edge of the coverslip: a thin grey line across the slide."""
    x, wide = rng.uniform(0.01, 0.04) * size[0], rng.uniform(15, 35)
    slope = rng.uniform(-0.005, 0.005) * size[0]
    outline = np.array([(x, 0.0), (x + wide, 0.0), (x + wide + slope, size[1]), (x + slope, size[1])])
    return Artefact("coverslip", outline, outline, _grey(0.55, 0.75, rng))


def _dust(size: NDArray[np.float64], rng: np.random.Generator) -> Artefact:
    radius = np.exp(rng.uniform(math.log(5), math.log(25))) / np.sqrt(rng.uniform([1, 1], [1.5, 1.5]))
    outline = oval(rng.uniform(0.02, 0.98, 2) * size, radius, rng)
    red = rng.uniform(0.2, 0.5)
    return Artefact(
        "dust", outline, outline, (red, red * rng.uniform(0.85, 1.0), red * rng.uniform(0.7, 1.0))
    )


def _fibre(size: NDArray[np.float64], rng: np.random.Generator) -> Artefact:
    t = np.linspace(-1, 1, 25)
    long, bend = rng.uniform(150, 350), rng.uniform(-60, 60)
    middle = np.stack([t * long, bend * np.cos(2 * t)], 1)
    outline = np.concatenate([middle + np.array([0, 3.0]), middle[::-1] - np.array([0, 3.0])])
    place = rng.uniform(0.06, 0.94, 2) * size
    outline = _turned(outline, rng.uniform(0, math.pi)) + place
    return Artefact("fibre", outline, outline, (0.55, 0.6, 0.72))


def _grey(low: float, high: float, rng: np.random.Generator) -> tuple[float, float, float]:
    """A share of light with a slight tint."""
    red, green, blue = (rng.uniform(low, high) * rng.uniform(0.97, 1.03, 3)).tolist()
    return red, green, blue


def _turned(polygon: Polygon, angle: float) -> Polygon:
    c, s = math.cos(angle), math.sin(angle)
    return np.asarray(polygon @ np.array([[c, s], [-s, c]]))


def _rgb(colour: str) -> list[int]:
    return [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
