"""The pixels of a phantom slide: any box of them, as a pure function of the slide's layout and seed.

Nuclei sit on a jittered lattice whose cells are hashed, so a box can be painted without its neighbours and
fits them without a seam; textures come from sheets that repeat. The stains become light by the law of Beer
and Lambert with the patient's own colours (`phantom.patient.patient_of`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from plenish.phantom.patient import Patient
from plenish.phantom.slide_layout import Polygon, SlideLayout

_SHEET = 1024
"""Side of the sheets of texture, pixels."""
_LATTICE_UM = 9.0
"""Distance of the possible positions of nuclei, µm."""
_MARGIN_UM = 10.0
"""How far beyond a box nuclei are looked for, µm."""
_DEFOCUS_UM = 2.0
"""Standard deviation of the blur of an area out of focus, µm."""
_INK = (28.0, 118.0, 74.0)

Floats = NDArray[np.float32]


class _Appearance(NamedTuple):
    """Parameters of a kind of tissue."""

    kept: float
    radius_um: float
    spread: float
    dark: float
    cytoplasm_h: float
    eosin: float


_NORMAL = _Appearance(kept=0.45, radius_um=2.6, spread=0.10, dark=0.75, cytoplasm_h=0.06, eosin=0.62)
_TUMOUR = _Appearance(kept=0.85, radius_um=3.9, spread=0.25, dark=1.05, cytoplasm_h=0.16, eosin=0.50)


class Painter:
    """Paints boxes of one phantom slide."""

    def __init__(
        self, layout: SlideLayout, patient: Patient, mpp: float, difference: float, seed: int
    ) -> None:
        """Prepare the sheets of texture.

        Args:
            layout: of the slide.
            patient: stain and camera.
            mpp: µm per pixel of level 0.
            difference: how far tumour differs from normal tissue, 0 not at all to 1.
            seed: of nuclei and textures.
        """
        self.layout, self.patient, self.mpp, self.seed = layout, patient, mpp, seed
        mixed = [normal + difference * (tumour - normal) for normal, tumour in zip(_NORMAL, _TUMOUR)]
        self._kinds = (_NORMAL, _Appearance(*mixed))
        rng = np.random.default_rng([seed, 0x51DE])
        self._fibres, self.patches, self._grain = (
            _sheet(rng, sigma_um / mpp) for sigma_um in (2.5, 12.0, 0.5)
        )
        self.noise: Floats = rng.standard_normal((_SHEET, _SHEET, 3), dtype=np.float32) * np.float32(
            0.5 * patient.noise
        )

    def paint(self, x: int, y: int, side: int) -> NDArray[np.uint8]:
        """side×side×3 pixels of level 0 with upper left corner (x, y); glass beyond the slide."""
        defocused = covered(self.layout.blurred, x, y, side)
        if not defocused.any():
            return self._sharp(x, y, side)
        from scipy.ndimage import gaussian_filter

        margin = math.ceil(3 * _DEFOCUS_UM / self.mpp)
        wide = self._sharp(x - margin, y - margin, side + 2 * margin).astype(np.float32)
        sigma = _DEFOCUS_UM / self.mpp
        inner = slice(margin, margin + side)
        soft = gaussian_filter(wide, (sigma, sigma, 0), truncate=3.0)[inner, inner]
        sharp = wide[inner, inner]
        return np.asarray(np.rint(sharp + (soft - sharp) * defocused[..., None]), np.uint8)

    def _sharp(self, x: int, y: int, side: int) -> NDArray[np.uint8]:
        tissue = covered((self.layout.tissue,), x, y, side)
        light = np.asarray(self.patient.light, np.float32)
        if tissue.any():
            h, e = self.stains(x, y, side)
            h, e = h * tissue, e * tissue
            density = h[..., None] * self.patient.haematoxylin.astype(np.float32)
            density += e[..., None] * self.patient.eosin.astype(np.float32)
            picture = np.exp(-density) * light
        else:
            picture = np.broadcast_to(light, (side, side, 3)).copy()
        ink = covered(self.layout.ink, x, y, side)
        if ink.any():
            picture += (np.asarray(_INK, np.float32) - picture) * (0.9 * ink[..., None])
        picture += cut(self.noise, x, y, side)
        return np.asarray(np.clip(np.rint(picture), 0, 255), np.uint8)

    def stains(self, x: int, y: int, side: int) -> tuple[Floats, Floats]:
        """Haematoxylin and eosin of a box full of tissue."""
        normal, tumour = self._kinds
        margin = math.ceil(_MARGIN_UM / self.mpp)
        kind = covered(self.layout.tumours, x - margin, y - margin, side + 2 * margin)
        kind *= 1 - covered(self.layout.holes, x - margin, y - margin, side + 2 * margin)
        inner = kind[margin : margin + side, margin : margin + side]
        fibres, patches, grain = (
            cut(sheet, x, y, side) for sheet in (self._fibres, self.patches, self._grain)
        )
        e = normal.eosin + (tumour.eosin - normal.eosin) * inner
        e = e * (1 + 0.18 * fibres + 0.10 * patches + 0.10 * grain)
        h = normal.cytoplasm_h + (tumour.cytoplasm_h - normal.cytoplasm_h) * inner
        h = h * (1 + 0.3 * fibres + 0.2 * grain)
        share, amount = self._nuclei(x, y, side, kind, margin)
        h = h + (amount * (1 + 0.22 * grain) - h) * share
        e = e * (1 - 0.5 * share)
        return (
            np.maximum(h, 0) * np.float32(self.patient.strength_h),
            np.maximum(e, 0) * np.float32(self.patient.strength_e),
        )

    def _nuclei(self, x: int, y: int, side: int, kind: Floats, margin: int) -> tuple[Floats, Floats]:
        """Share of each pixel covered by nuclei, and the haematoxylin of the nucleus there."""
        step = _LATTICE_UM / self.mpp
        columns = np.arange(math.floor((x - margin) / step), math.ceil((x + side + margin) / step))
        rows = np.arange(math.floor((y - margin) / step), math.ceil((y + side + margin) / step))
        i, j = (grid.ravel() for grid in np.meshgrid(columns, rows))
        chance = hashed(i, j, self.seed, 7)
        cx, cy = (i + 0.1 + 0.8 * chance[0]) * step - x, (j + 0.1 + 0.8 * chance[1]) * step - y
        u, v = (np.floor(c).astype(np.int64) + margin for c in (cx, cy))
        inside = (np.minimum(u, v) >= 0) & (np.maximum(u, v) < side + 2 * margin)
        cx, cy, u, v, chance = cx[inside], cy[inside], u[inside], v[inside], chance[:, inside]
        tumour = (kind[v, u] > 0.5).astype(np.int64)
        values = np.array(self._kinds)[tumour].T
        kept, radius, spread, dark = values[:4]
        alive = chance[2] < kept
        radius = radius / self.mpp * (1 + spread * 2.4 * (chance[3] - 0.5) * 1.2)
        shape = 1 + 0.35 * chance[4]
        facts = np.stack([cx, cy, radius * shape, radius / shape, chance[5] * math.pi], 1)[alive]
        return _ellipses(facts, (dark * (0.8 + 0.4 * chance[6]))[alive], side, self.mpp)


def _ellipses(
    facts: NDArray[np.float64], amounts: NDArray[np.float64], side: int, mpp: float
) -> tuple[Floats, Floats]:
    """Paint soft ellipses (middle x, y, half-axes, angle; pixels) and amounts; the larger share wins."""
    share = np.zeros((side, side), np.float32)
    amount = np.zeros((side, side), np.float32)
    for (cx, cy, a, b, angle), value in zip(facts.tolist(), amounts.tolist()):
        reach = max(a, b) + 1.0
        left, right = max(0, int(cx - reach)), min(side, int(cx + reach) + 2)
        top, bottom = max(0, int(cy - reach)), min(side, int(cy + reach) + 2)
        if left >= right or top >= bottom:
            continue
        dx = np.arange(left, right, dtype=np.float32) + np.float32(0.5 - cx)
        dy = (np.arange(top, bottom, dtype=np.float32) + np.float32(0.5 - cy))[:, None]
        c, s = math.cos(angle), math.sin(angle)
        rho = np.sqrt(((c * dx + s * dy) / a) ** 2 + ((c * dy - s * dx) / b) ** 2)
        soft = np.clip((1 - rho) * (min(a, b) / max(1.0, 0.5 / mpp)) + 0.5, 0, 1)
        box = (slice(top, bottom), slice(left, right))
        # The rim of a nucleus is its membrane, darker than its middle.
        np.copyto(amount[box], value * (0.8 + 0.3 * rho), where=soft > share[box])
        np.maximum(share[box], soft, out=share[box])
    return share, amount


def covered(polygons: tuple[Polygon, ...], x: int, y: int, side: int) -> Floats:
    """side×side map of the box at (x, y), 1 in pixels whose centre lies in a polygon."""
    from PIL import Image, ImageDraw

    corner = np.array([x, y])
    near = [p for p in polygons if (p.min(axis=0) < corner + side).all() and (p.max(axis=0) > corner).all()]
    if not near:
        return np.zeros((side, side), np.float32)
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    for polygon in near:
        draw.polygon([tuple(point) for point in (polygon - corner - 0.5).tolist()], fill=1)
    return np.asarray(image, np.float32)


def _sheet(rng: np.random.Generator, sigma: float) -> Floats:
    """Smooth noise of unit variance that repeats after `_SHEET` pixels."""
    from scipy.ndimage import gaussian_filter

    raw = rng.standard_normal((_SHEET, _SHEET), dtype=np.float32)
    smooth = gaussian_filter(raw, min(sigma, _SHEET / 16), mode="wrap")
    return np.asarray((smooth - smooth.mean()) / smooth.std(), np.float32)


def cut(sheet: Floats, x: int, y: int, side: int) -> Floats:
    """side×side of a sheet that repeats, from (x, y)."""
    rows, columns = np.arange(y, y + side), np.arange(x, x + side)
    return sheet.take(rows, axis=0, mode="wrap").take(columns, axis=1, mode="wrap")


def hashed(i: NDArray[np.int64], j: NDArray[np.int64], seed: int, count: int) -> NDArray[np.float64]:
    """count×n uniform numbers in [0, 1) that depend on a lattice cell and the seed alone (splitmix64)."""
    with np.errstate(over="ignore"):
        state = (
            i.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
            ^ j.astype(np.uint64) * np.uint64(0xC2B2AE3D27D4EB4F)
            ^ np.uint64(seed) * np.uint64(0x165667B19E3779F9)
        )
        drawn = []
        for _ in range(count + 1):
            state = state + np.uint64(0x9E3779B97F4A7C15)
            z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            drawn.append((z ^ (z >> np.uint64(31))) >> np.uint64(11))
    return np.stack(drawn[1:]).astype(np.float64) / 2.0**53
