"""Paint a laid-out phantom tile: stain concentrations, Beer-Lambert absorption, optics and camera.

The picture is built as two maps, haematoxylin and eosin, which become light by the Beer-Lambert law with
the patient's own optical-density vectors (Ruifrok and Johnston, 2001, for the idea of separating stains
this way). Structures have soft edges of a fixed width in µm and textures come from lattices spaced in µm,
so the same tile at two sizes is the same tissue seen sharper.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from plenish.phantom.patient import (
    FIELD_UM,
    Floats,
    Nuclei,
    Patient,
    Tissue,
    blob_distance,
    nest_field,
)

_FINEST = 128
"""Least number of grid points along the side; below it, small nuclei would lose their chromatin."""


@lru_cache(maxsize=64)
def _spline(n: int, spacing: float) -> NDArray[np.float32]:
    """Cubic B-spline weights (n × lattice points) that spread a lattice `spacing` µm apart over n pixels."""
    at = (np.arange(n) + 0.5) * (FIELD_UM / n) / spacing + 1.0
    d = np.abs(at[:, None] - np.arange(math.ceil(FIELD_UM / spacing) + 4)[None])
    near, far = 2 / 3 - d**2 + d**3 / 2, np.maximum(2 - d, 0) ** 3 / 6
    return np.asarray(np.where(d < 1, near, far), dtype=np.float32)


class _Noise:
    """Smooth noises over the field, the same tissue at every grid size."""

    def __init__(self, rng: np.random.Generator, n: int) -> None:
        self.rng, self.n = rng, n

    def even(self, spacing: float) -> NDArray[np.float32]:
        """n×n noise of about unit variance with features of about `spacing` µm."""
        w = _spline(self.n, spacing)
        lattice = self.rng.standard_normal((w.shape[1], w.shape[1]), dtype=np.float32)
        return np.asarray((w @ lattice @ w.T) / 0.479, dtype=np.float32)

    def along(self, v: NDArray[np.float32], spacing: float) -> NDArray[np.float32]:
        """Noise that varies only with the coordinate `v` (µm): fibres."""
        values = self.rng.standard_normal(256)
        return np.asarray(np.interp(v / spacing + 128.0, np.arange(256), values), dtype=np.float32)


def _step(x: Floats | NDArray[np.float32]) -> NDArray[np.float32]:
    """Smooth step from 0 at x = -1 to 1 at x = 1."""
    t = np.clip(np.asarray(x, dtype=np.float32) * 0.5 + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def _stroma(tissue: Tissue, noise: _Noise, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Wavy collagen with clefts: haematoxylin and eosin maps."""
    c, s = math.cos(tissue.fibre_angle), math.sin(tissue.fibre_angle)
    across = (c * y - s * x - FIELD_UM / 2 * (c - s)).astype(np.float32)
    v = across + 3.4 * noise.even(17.0) + 1.2 * noise.even(6.0)
    fibre, bundle = noise.along(v, 1.5), noise.along(v + 0.8 * noise.even(4.0), 4.6)
    fray = noise.even(9.0)
    e = 0.60 + 0.11 * fibre + 0.15 * bundle + 0.10 * fray
    cleft = _step((noise.along(v, 3.6) + 0.7 * fray - 1.75 + 1.5 * tissue.looseness) / 0.35)
    h = 0.10 + 0.02 * bundle
    if tissue.architecture == "lymphoid":
        # A node's mesh is loose: cells lie in pale gaps rather than between fibres.
        e, cleft = 0.34 + 0.10 * fray + 0.08 * noise.even(3.0), _step((noise.even(4.5) - 0.5) / 0.5) * 0.8
        h = h + 0.08
    keep = 1 - (0.45 + 0.45 * tissue.looseness) * cleft
    return h * keep, np.maximum(e, 0.05) * keep


def _membranes(nuclei: Nuclei, n: int) -> NDArray[np.float32]:
    """n×n map, 1 where a point is as far from one nucleus as from the next: the walls between cells."""
    coarse = max(64, n // 2)
    at = (np.arange(coarse) + 0.5) * (FIELD_UM / coarse)
    if len(nuclei.xy) < 2:
        return np.zeros((n, n), dtype=np.float32)
    dx = (at[None, :] - nuclei.xy[:, :1]).astype(np.float32) ** 2
    dy = (at[None, :] - nuclei.xy[:, 1:]).astype(np.float32) ** 2
    first = np.full((coarse, coarse), 1e6, dtype=np.float32)
    second = first.copy()
    for k in range(len(nuclei.xy)):
        d = dy[k][:, None] + dx[k][None, :]
        np.minimum(second, np.maximum(first, d), out=second)
        np.minimum(first, d, out=first)
    wall = np.exp(-(((np.sqrt(second) - np.sqrt(first)) / 1.1) ** 2)) * (second < 14.0**2)
    return _enlarged(wall, n)


def _enlarged(coarse: Floats | NDArray[np.float32], n: int) -> NDArray[np.float32]:
    """Spread an m×m map over n×n points, linearly."""
    m = len(coarse)
    at = np.clip((np.arange(n) + 0.5) * m / n - 0.5, 0, m - 1)
    i = np.minimum(at.astype(int), m - 2)
    weight = np.zeros((n, m), dtype=np.float32)
    weight[np.arange(n), i] = 1 - (at - i)
    weight[np.arange(n), i + 1] = at - i
    return np.asarray(weight @ coarse.astype(np.float32) @ weight.T)


def _epithelium(
    tissue: Tissue, noise: _Noise, h: Floats, e: Floats, lumen: Floats | None
) -> tuple[Floats, Floats]:
    """Lay cytoplasm over the stroma where there are nests or tubule walls."""
    n = noise.n
    mask, cleft = np.zeros((n, n), dtype=np.float32), np.zeros((n, n), dtype=np.float32)
    if tissue.nest_level < math.inf:
        at = ((np.arange(n // 2) + 0.5) * (FIELD_UM / (n // 2))).astype(np.float32)
        half = np.broadcast_arrays(at[None, :], at[:, None])
        f = (
            _enlarged(nest_field(tissue, half[0], half[1]), n) - tissue.nest_level
        ) * 3.0 + 0.25 * noise.even(3.0)
        mask = _step(f / 0.35)
        cleft = np.exp(-(((f + 0.5) / 0.4) ** 2))
    if lumen is not None:
        f = np.max(tissue.wall[:, None, None] - lumen, axis=0) + 0.5 * noise.even(4.0)
        mask = np.maximum(mask, _step(f / 0.8))
        cleft = np.maximum(cleft * (1 - mask), np.exp(-(((f + 1.2) / 0.8) ** 2)))
    if tissue.architecture == "scattered":
        return h, e
    grain = noise.even(1.7)
    patchy = noise.even(7.0)
    cyto_e = 0.60 + 0.09 * grain + 0.13 * patchy
    cyto_h = tissue.basophilia * (1 + 0.3 * grain + 0.2 * patchy)
    # Membranes read as pale gaps in some fixations and as dark lines in others.
    wall = _membranes(tissue.nuclei, n) * (0.55 + 0.25 * patchy)
    sign = float(noise.rng.uniform(-0.9, 0.35))
    cyto_e, cyto_h = cyto_e * (1 + sign * wall), cyto_h * (1 + sign * wall)
    h, e = h + (cyto_h - h) * mask, e + (cyto_e - e) * mask
    torn = float(np.clip(noise.rng.normal(0.25, 0.3), 0, 0.9)) * np.clip(0.6 + 0.5 * patchy, 0, 1)
    return h * (1 - torn * cleft), e * (1 - torn * cleft)


def _paint_nuclei(nuclei: Nuclei, noise: _Noise, h: Floats, e: Floats) -> NDArray[np.float32]:
    """Paint every nucleus into `h` and `e` in place and return the n×n share of each pixel they cover."""
    n = noise.n
    px = FIELD_UM / n
    fine, coarse = noise.even(0.8), noise.even(1.7)
    count = len(nuclei.xy)
    spots, spot_size = noise.rng.normal(0, 0.28, (count, 2)), noise.rng.uniform(0.6, 1.05, count)
    pad = 2 * math.ceil(20 / px)
    padded = np.zeros((3, n + 2 * pad, n + 2 * pad), dtype=np.float32)
    inner = (slice(None), slice(pad, pad + n), slice(pad, pad + n))
    padded[inner] = h, e, np.zeros_like(h)
    chroma = np.zeros((n + 2 * pad, n + 2 * pad), dtype=np.float32)
    chroma[inner[1:]] = 0.55 * fine + 0.75 * coarse
    order = np.argsort(-nuclei.axes.max(axis=1), kind="stable")
    for group in np.split(order, range(12, count, 12)) if count else ():
        reach, corner, depth, z = _outlines(nuclei, group, px)
        mask = _step(depth / 0.45)
        ves = nuclei.vesicular[group, None, None].astype(np.float32)
        area = nuclei.axes[group].prod(axis=1)[:, None, None].astype(np.float32)
        rim = np.exp(-(((depth - 0.35) / 0.55) ** 2)) * (0.12 + 0.62 * ves)
        spot = np.abs(z - (spots[group] @ np.array([1, 1j])).astype(np.complex64)[:, None, None]) ** 2 * area
        nucleolus = np.exp(-spot / spot_size[group, None, None].astype(np.float32) ** 2) * (
            0.85 * ves * (ves > 0.35)
        )
        body = 1.0 - 0.58 * ves + rim + nucleolus
        for k, nucleus in enumerate(group):
            row, column = corner[k] + pad
            if min(row, column) < 0 or max(row, column) + 2 * reach + 1 > n + 2 * pad:
                continue
            box = (slice(row, row + 2 * reach + 1), slice(column, column + 2 * reach + 1))
            dark = np.float32(nuclei.dark[nucleus])
            dyed = dark * np.maximum(body[k] + chroma[box] * (0.13 + 0.17 * ves[k]), 0.15)
            padded[0][box] += (dyed - padded[0][box]) * mask[k]
            padded[1][box] += (np.float32(0.30) - padded[1][box]) * (mask[k] * np.float32(0.7))
            np.maximum(padded[2][box], mask[k], out=padded[2][box])
    h[...], e[...], covered = padded[inner]
    return np.asarray(covered)


def _outlines(
    nuclei: Nuclei, group: NDArray[np.int64], px: float
) -> tuple[int, NDArray[np.int64], NDArray[np.float32], NDArray[np.complex64]]:
    """Square patches around a group of nuclei.

    Returns:
        Half side of the patches in grid points; row and column of their first points (g×2); depth below the
        border in µm (g×P×P, negative outside); position in the nucleus's own frame in units of its
        half-axes, as complex numbers.
    """
    xy, axes = nuclei.xy[group], nuclei.axes[group]
    reach = math.ceil((axes.max() * 1.3 + 0.8) / px)
    middle = xy / px - 0.5
    nearest = np.rint(middle).astype(np.int64)
    span = np.arange(-reach, reach + 1)
    offset = ((span[None, None] + (nearest - middle)[:, :, None]) * px).astype(np.float32)
    turned = (offset[:, 0, None, :] + 1j * offset[:, 1, :, None]) * np.exp(-1j * nuclei.angle[group])[
        :, None, None
    ].astype(np.complex64)
    a, b = (axes[:, k, None, None].astype(np.float32) for k in (0, 1))
    z = turned.real / a + np.complex64(1j) * (turned.imag / b)
    rho = np.abs(z)
    unit = z / np.maximum(rho, np.float32(1e-4))
    waves = nuclei.waves[group, :, 0] * np.exp(1j * nuclei.waves[group, :, 1])
    w = waves.astype(np.complex64)[:, :, None, None]
    border = 1 + (unit * unit * (w[:, 0] + unit * (w[:, 1] + unit * w[:, 2]))).real
    return reach, nearest[:, ::-1] - reach, np.asarray((border - rho) * np.sqrt(a * b), np.float32), z


def _blood(tissue: Tissue, noise: _Noise, x: Floats, y: Floats, h: Floats, e: Floats) -> None:
    """Red blood cells in a pale channel, painted in place."""
    if not len(tissue.capillary):
        return
    channel = np.zeros_like(h)
    cells = np.zeros_like(h)
    wobble = 0.4 * noise.even(5.0)
    for cx, cy in tissue.capillary:
        d = np.sqrt((x - cx) ** 2 + (y - cy) ** 2) + wobble
        channel = np.maximum(channel, _step((4.2 - d) / 0.8))
        cells = np.maximum(cells, _step((2.9 - d) / 0.5) * (1 - 0.25 * np.exp(-((d / 1.2) ** 2))))
    h *= 1 - 0.8 * channel
    e *= 1 - 0.8 * channel
    e += 1.15 * cells


def _empty(
    tissue: Tissue, noise: _Noise, lumen: Floats | None, x: Floats, y: Floats, h: Floats, e: Floats
) -> NDArray[np.float32]:
    """Carve lumens and fat vacuoles in place; returns the n×n map of lumen."""
    n = noise.n
    hollow = np.zeros((n, n), dtype=np.float32)
    if lumen is not None:
        d = np.min(lumen, axis=0) + 0.45 * noise.even(2.2)
        hollow = _step(-d / 0.6)
        brush = np.exp(-(((d - 0.6) / 0.7) ** 2)) * 0.28
        e += brush
        secretion = np.clip(0.10 + 0.16 * noise.even(4.0), 0.02, 0.5) * float(
            noise.rng.uniform(0, 1) ** 2 + 0.05
        )
        h *= 1 - hollow
        e += (secretion - e) * hollow
    if len(tissue.vacuoles.angle):
        both = np.partition(
            blob_distance(tissue.vacuoles, x, y), min(1, len(tissue.vacuoles.angle) - 1), axis=0
        )
        d = both[0] + 0.15 * noise.even(3.0)
        # Where two cells press against each other their membranes make one straight wall.
        wall = np.exp(-(((both[min(1, len(both) - 1)] - both[0]) / 0.9) ** 2)) if len(both) > 1 else 0.0
        fat = _step(-d / 0.5) * (1 - wall)
        thin = _step((d - 1.8) / 0.8)
        # Between vacuoles there is only a membrane; wider gaps keep their stroma.
        e += (0.55 - e) * (1 - thin) * (1 - fat) * 0.5
        h *= 1 - fat
        e += (0.015 - e) * fat
    return hollow


def paint(
    tissue: Tissue, patient: Patient, size: int, key: tuple[int, ...]
) -> tuple[NDArray[np.uint8], dict[str, float]]:
    """Render a tile.

    Args:
        tissue: The layout.
        patient: Its patient's stain and camera.
        size: Pixels along the side of the picture.
        key: Integers that seed textures and camera noise.

    Returns:
        The picture (uint8, size×size×3) and the truths that only the picture's geometry tells: `lumen`
        (share of the field's area that is tubule lumen) and `cellularity` (share covered by nuclei).
    """
    factor = max(2 if size > 32 else 1, math.ceil(_FINEST / size))
    n = size * factor
    noise = _Noise(np.random.default_rng([*key, 0x7E87]), n)
    at = (np.arange(n) + 0.5) * (FIELD_UM / n)
    at = at.astype(np.float32)
    x, y = np.broadcast_to(at[None, :], (n, n)), np.broadcast_to(at[:, None], (n, n))
    lumen = blob_distance(tissue.lumens, x, y) if len(tissue.lumens.angle) else None
    h, e = _stroma(tissue, noise, x, y)
    _blood(tissue, noise, x, y, h, e)
    h, e = _epithelium(tissue, noise, h, e, lumen)
    covered = _paint_nuclei(tissue.nuclei, noise, h, e)
    hollow = _empty(tissue, noise, lumen, x, y, h, e)
    # Thickness of the section, and the granules that keep cytoplasm and collagen from looking painted.
    grain = 0.11 * noise.even(0.9) + 0.09 * noise.even(1.7)
    uneven = np.maximum(1 + 0.09 * noise.even(28.0) + grain * patient.grain, 0.2)
    h, e = np.maximum(h, 0) * uneven * patient.strength_h, np.maximum(e, 0) * uneven * patient.strength_e
    truth = {"lumen": float(hollow.mean()), "cellularity": float((covered * (1 - hollow)).mean())}
    return _photograph(h, e, patient, size, factor, noise), truth


def _photograph(
    h: Floats, e: Floats, patient: Patient, size: int, factor: int, noise: _Noise
) -> NDArray[np.uint8]:
    """Stain maps (n×n) to a size×size×3 picture: absorption, blur, pixels, camera noise."""
    from scipy.ndimage import gaussian_filter

    density = np.stack([h * patient.haematoxylin[c] + e * patient.eosin[c] for c in range(3)]).astype(
        np.float32
    )
    light = np.exp(-density)

    def blurred(picture: NDArray[np.float32], sigma_um: float) -> NDArray[np.float32]:
        sigma = sigma_um * noise.n / FIELD_UM
        return np.asarray(gaussian_filter(picture, (0, sigma, sigma), mode="nearest", truncate=2.5))

    light = blurred(light, patient.blur_um)
    # Scanners sharpen what their optics blurred.
    light = light + patient.sharpening * (light - blurred(light, 1.1))
    pixels = light.reshape(3, size, factor, size, factor).mean(axis=(2, 4)) * patient.light[:, None, None]
    grain = noise.rng.standard_normal((size, size, 1), dtype=np.float32) * 0.8
    grain = grain + noise.rng.standard_normal((size, size, 3), dtype=np.float32) * 0.6
    picture = pixels.transpose(1, 2, 0) + grain * patient.noise
    return np.asarray(np.clip(np.rint(picture), 0, 255), dtype=np.uint8)
