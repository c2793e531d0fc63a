"""The pixels of a phantom slide with fragments: any box of them, from the layout and a seed.

Stains become light by the law of Beer and Lambert. Haematoxylin and eosin are those of `slide_texture`;
diaminobenzidine (DAB) has the colour of Ruifrok and Johnston (2001).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from plenish.phantom.fragment_layout import Artefact, Fragment, FragmentLayout
from plenish.phantom.patient import Patient
from plenish.phantom.slide_layout import Polygon, SlideLayout
from plenish.phantom.slide_texture import Floats, Painter, covered, cut, hashed

_DAB = np.array((0.268, 0.570, 0.776), np.float32)
_FAT_CELL_UM = 65.0
_SEPTUM_UM = 3.5
_FOLD_UM = 12.0
"""Half-width of a fold."""
_UNEVEN = 0.006, 0.004, 0.001
"""Amplitude of the unevenness of bare glass in R, G, B, as a share of the light."""
_UNEVEN_PX = 2048
"""Its period, as of a scanner's strips, pixels."""


class FragmentPainter:
    """Paints boxes of one phantom slide with fragments."""

    def __init__(self, layout: FragmentLayout, patient: Patient, mpp: float, seed: int) -> None:
        """Prepare the sheets of texture.

        Args:
            layout: of the slide.
            patient: stain and camera.
            mpp: µm per pixel of level 0.
            seed: of nuclei and textures.
        """
        plain = SlideLayout(layout.width, layout.height, np.empty((0, 2)), (), ())
        self.layout, self.patient, self.mpp, self.seed = layout, patient, mpp, seed
        self._painter = Painter(plain, patient, mpp, 0.0, seed)

    def paint(self, x: int, y: int, side: int) -> NDArray[np.uint8]:
        """side×side×3 pixels of level 0 with upper left corner (x, y); glass beyond the slide."""
        light = np.asarray(self.patient.light, np.float32)
        picture = light * self._shading(x, y, side)
        for fragment in self.layout.fragments:
            if _near(fragment.outline, x, y, side):
                inside = covered((fragment.outline,), x, y, side)
                picture *= np.exp(-self._density(fragment, x, y, side) * inside[..., None])
        for artefact in self.layout.artefacts:
            if _near(artefact.outline, x, y, side):
                picture *= self._transmitted(artefact, x, y, side)
        picture += cut(self._painter.noise, x, y, side)
        return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)

    def _shading(self, x: int, y: int, side: int) -> Floats:
        """The unevenness of the lamp and of the mounting medium, side×side×3 about 1."""
        rows, columns = (
            np.sin(
                (np.arange(start, start + side, dtype=np.float32) % _UNEVEN_PX) * (2 * math.pi / _UNEVEN_PX)
            )
            for start in (y, x)
        )
        wave = (columns + 0.5 * rows[:, None]).astype(np.float32)
        return np.asarray(1 + wave[..., None] * np.array(_UNEVEN, np.float32), np.float32)

    def _density(self, fragment: Fragment, x: int, y: int, side: int) -> Floats:
        """Optical density, side×side×3, of a box full of this kind of tissue."""
        h, e = self._painter.stains(x, y, side)
        dab = np.zeros_like(h)
        patches = cut(self._painter.patches, x, y, side)
        nuclei = np.clip(h / (0.75 * self.patient.strength_h), 0, 1)
        strength = np.float32(fragment.strength)
        if fragment.kind == "dab":
            h, e = 0.4 * h + 0.04, 0.05 * e
            dab = strength * np.clip(0.5 + 0.35 * patches + 0.4 * nuclei, 0.08, None)
        elif fragment.kind == "counterstain":
            h, e = strength * (0.6 * h + 0.1), np.zeros_like(e)
        elif fragment.kind == "dark":
            # Half are clumped nuclei, half a strong reaction, as of necrosis or pigment.
            if fragment.strength > 1:
                h, e = strength * (h + 1.3 + 0.2 * patches), strength * (e + 0.6)
            else:
                h, e, dab = 0.6 * h + 1.4, 0.3 * e, strength * np.clip(2.2 + 0.3 * patches, 0, None)
        elif fragment.kind == "fat":
            septa = self._septa(fragment, x, y, side)
            h, e = strength * septa * (0.25 * h + 0.03), strength * septa * e
        else:
            h, e = strength * h, strength * e
        if fragment.folds:
            folds = 1 + 1.3 * self._folds(fragment, x, y, side)
            h, e = h * folds, e * folds
        density = h[..., None] * self.patient.haematoxylin.astype(np.float32)
        density += e[..., None] * self.patient.eosin.astype(np.float32)
        return np.asarray(density + dab[..., None] * _DAB, np.float32)

    def _septa(self, fragment: Fragment, x: int, y: int, side: int) -> Floats:
        """1 in the walls between fat cells and around the fragment, 0 in the fat.

        Cells are those of the points nearest to jittered positions of a lattice (Worley, 1996).
        """
        step, reach = _FAT_CELL_UM / self.mpp, 2
        columns = np.arange(math.floor(x / step) - reach, math.floor((x + side) / step) + reach + 1)
        rows = np.arange(math.floor(y / step) - reach, math.floor((y + side) / step) + reach + 1)
        i, j = (grid.ravel() for grid in np.meshgrid(columns, rows))
        chance = hashed(i, j, self.seed ^ 0xFA7, 2)
        px, py = ((i + 0.15 + 0.7 * chance[0]) * step - x, (j + 0.15 + 0.7 * chance[1]) * step - y)
        line = np.arange(side, dtype=np.float32) + np.float32(0.5)
        first = np.full((side, side), np.inf, np.float32)
        second = first.copy()
        for u, v in zip(px.tolist(), py.tolist()):
            distance = np.hypot(line - np.float32(u), (line - np.float32(v))[:, None])
            np.minimum(second, np.maximum(first, distance), out=second)
            np.minimum(first, distance, out=first)
        walls = np.clip((_SEPTUM_UM / self.mpp - (second - first)) + 0.5, 0, 1)
        middle = fragment.outline.mean(axis=0)
        radius = float(np.hypot(*(fragment.outline - middle).T).min())
        inner = middle + (fragment.outline - middle) * (1 - _SEPTUM_UM / self.mpp / radius)
        return np.asarray(np.maximum(walls, 1 - covered((inner,), x, y, side)), np.float32)

    def _folds(self, fragment: Fragment, x: int, y: int, side: int) -> Floats:
        """1 in folds, where tissue lies over itself."""
        line = np.arange(side, dtype=np.float32)
        folded = np.zeros((side, side), np.float32)
        for u, v, angle in fragment.folds:
            across = (line - np.float32(u - x)) * np.float32(math.sin(angle))
            across = across - ((line - np.float32(v - y)) * np.float32(math.cos(angle)))[:, None]
            folded = np.maximum(folded, np.clip(_FOLD_UM / self.mpp - np.abs(across), 0, 1))
        return folded

    def _transmitted(self, artefact: Artefact, x: int, y: int, side: int) -> Floats:
        """Share of the light that passes an artefact, side×side×3."""
        outer = covered((artefact.outline,), x, y, side)
        inner = covered((artefact.inner,), x, y, side)
        if artefact.kind == "bubble":
            amount = outer * (1 - 0.96 * inner)
        elif artefact.kind == "pen":
            streaks = cut(self._painter.patches, x, y, side)
            amount = outer * np.clip(0.45 + 0.45 * inner + 0.06 * streaks, 0.2, 1.0)
        else:
            amount = outer
        density = -np.log(np.asarray(artefact.colour, np.float32))
        return np.asarray(np.exp(-amount[..., None] * density), np.float32)


def _near(polygon: Polygon, x: int, y: int, side: int) -> bool:
    """Whether a polygon's bounding box meets a box."""
    corner = np.array([x, y])
    return bool((polygon.min(axis=0) < corner + side).all() and (polygon.max(axis=0) > corner).all())
