"""Lay out one tile of the tissue phantom: class, atypia, architecture, tubules, nests and every nucleus."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from plenish.phantom.patient import (
    ATYPIA_MEANS,
    ATYPIA_SD,
    FIELD_UM,
    MARGIN_UM,
    Blobs,
    Floats,
    Nuclei,
    Patient,
    Tissue,
    blob_distance,
    nest_field,
)

BENIGN = {"tubule": 0.56, "stroma": 0.18, "lymphoid": 0.16, "adipose": 0.10}
MALIGNANT = {"solid": 0.46, "cords": 0.24, "cribriform": 0.18, "scattered": 0.12}
_ATYPIA_OF_ARCHITECTURE = 0.07


def _waves(rng: np.random.Generator, n: int, amplitude: float | Floats) -> Floats:
    """n×3×2 amplitude and phase of harmonics 2, 3, 4, falling with the harmonic."""
    fall = np.array([1.0, 0.7, 0.45])
    size = rng.normal(0, 1, (n, 3)) * fall * np.reshape(amplitude, (-1, 1))
    return np.stack([size, rng.uniform(0, 2 * math.pi, (n, 3))], axis=2)


def _blobs(rng: np.random.Generator, centre: Floats, size: Floats, oval: float, rough: float) -> Blobs:
    """Ovals of mean radii `size` (n, µm) at `centre` (n×2, µm), stretched and waved about the given means."""
    n = len(centre)
    stretch = np.exp(np.abs(rng.normal(0, oval, n)) / 2)
    radius = np.stack([size * stretch, size / stretch], axis=1)
    return Blobs(centre, radius, rng.uniform(0, math.pi, n), _waves(rng, n, rough))


def _lattice(rng: np.random.Generator, spacing: float, jitter: float, keep: float = 1.0) -> Floats:
    """Points of a randomly turned, jittered hexagonal lattice over the field and its margin (n×2, µm)."""
    reach = FIELD_UM + 2 * MARGIN_UM
    k = math.ceil(1.5 * reach / spacing)
    i, j = np.meshgrid(np.arange(-k, k + 1), np.arange(-k, k + 1))
    points = np.stack([i + 0.5 * (j % 2), j * math.sqrt(3) / 2], axis=-1).reshape(-1, 2) * spacing
    turn = rng.uniform(0, math.pi)
    spin = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    points = points @ spin.T + FIELD_UM / 2 + rng.uniform(-spacing, spacing, 2)
    points = points[np.all((points > -MARGIN_UM) & (points < FIELD_UM + MARGIN_UM), axis=1)]
    points = points + rng.normal(0, jitter * spacing, points.shape)
    return np.asarray(points[rng.random(len(points)) < keep])


def _nuclei(
    rng: np.random.Generator,
    xy: Floats,
    radius: float,
    spread: float,
    oval: float,
    dark: float,
    vesicular: float,
    rough: float,
    angle: Floats | None = None,
) -> Nuclei:
    """Nuclei at `xy` with sizes, shapes and darkness spread about the given means."""
    n = len(xy)
    size = radius * np.exp(rng.normal(0, spread, n) - 0.5 * spread**2)
    stretch = np.exp(np.abs(rng.normal(oval, 0.35 * oval + 0.04, n)) / 2)
    turn = rng.uniform(0, math.pi, n) if angle is None else angle + rng.normal(0, 0.18, n)
    return Nuclei(
        xy=xy,
        axes=np.clip(np.stack([size * stretch, size / stretch], axis=1), 1.0, 9.0),
        angle=turn,
        dark=np.clip(dark * np.exp(rng.normal(0, 0.13 + 0.3 * spread, n)), 0.4, 2.6),
        vesicular=np.clip(rng.normal(vesicular, 0.18, n), 0, 1),
        waves=_waves(rng, n, rough),
    )


def _join(*parts: Nuclei) -> Nuclei:
    return Nuclei(*map(np.concatenate, zip(*parts)))


def _select(nuclei: Nuclei, keep: NDArray[np.bool_] | NDArray[np.int64]) -> Nuclei:
    return Nuclei(*(field[keep] for field in nuclei))


def _gland_nuclei(
    rng: np.random.Generator, lumens: Blobs, wall: Floats, t: float, scale: float, gap: float
) -> Nuclei:
    """Nuclei of the epithelium around lumens: a basal palisade when benign, piled up with atypia."""
    parts = []
    layers = 1 if t < 0.45 else 2
    for k in range(len(wall)):
        for layer in range(layers):
            depth = wall[k] * ((0.60, 0.0) if layers == 1 else (0.72, 0.34))[layer]
            rim = lumens.radius[k] + depth
            circumference = math.pi * float(rim.sum())
            n = max(4, int(circumference / (gap * (6.6 + 1.6 * t))))
            theta = (np.arange(n) + rng.uniform(0, 1) + rng.normal(0, 0.10 + 0.2 * t, n)) * 2 * math.pi / n
            push = 1 + sum(
                lumens.waves[k, h, 0] * np.cos((h + 2) * theta + lumens.waves[k, h, 1]) for h in range(3)
            ) * float(lumens.radius[k].mean() / rim.mean())
            u = np.stack([rim[0] * push * np.cos(theta), rim[1] * push * np.sin(theta)], axis=1)
            u += rng.normal(0, 0.35 + 1.3 * t, u.shape)
            c, s = math.cos(lumens.angle[k]), math.sin(lumens.angle[k])
            xy = lumens.centre[k] + u @ np.array([[c, s], [-s, c]])
            outward = np.arctan2(u[:, 1], u[:, 0]) + lumens.angle[k]
            parts.append(
                cells(rng, xy, t, scale, oval=0.42 - 0.2 * t, angle=outward + rng.normal(0, 0.6 * t, n))
            )
    return _join(*parts)


def cells(
    rng: np.random.Generator,
    xy: Floats,
    t: float,
    scale: float,
    oval: float = 0.25,
    angle: Floats | None = None,
) -> Nuclei:
    """Epithelial nuclei at `xy`, larger, more varied, darker or more vesicular the higher the atypia `t`."""
    return _nuclei(
        rng,
        xy,
        radius=scale * (2.45 + 1.95 * t),
        spread=0.07 + 0.22 * t,
        oval=oval,
        dark=1.18 + 0.30 * t + float(rng.normal(0, 0.12)),
        vesicular=float(np.clip(rng.normal(0.25 + 0.35 * t, 0.22), 0, 1)),
        rough=0.02 + 0.07 * t,
        angle=angle,
    )


def _stroma_nuclei(
    rng: np.random.Generator, angle: float, spacing: float, t: float, inflamed: float
) -> Nuclei:
    """Spindle nuclei along the fibres, and a few lymphocytes."""
    spindle_at = _lattice(rng, spacing, 0.25, keep=0.72)
    along = np.full(len(spindle_at), angle)
    spindle = _nuclei(rng, spindle_at, 2.15 + 0.5 * t, 0.16, 1.15, 1.35, 0.1, 0.04, along)
    lymph_at = _lattice(rng, 6.4 if inflamed > 0.5 else 7.5, 0.2, keep=inflamed)
    lymph = _nuclei(rng, lymph_at, 2.55, 0.07, 0.10, 1.75, 0.05, 0.02)
    return _join(spindle, lymph)


def _tubules(rng: np.random.Generator, t: float) -> tuple[Blobs, Floats]:
    """One tubule or several, each with a lumen; small, many and irregular with atypia."""
    count = int(rng.integers(1, 3)) if t < 0.5 else int(rng.integers(2, 5))
    start = rng.uniform(0, 2 * math.pi)
    reach = 0.0 if count == 1 else rng.uniform(17, 23)
    turn = start + 2 * math.pi * np.arange(count) / count + rng.normal(0, 0.2, count)
    centre = FIELD_UM / 2 + reach * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    centre = centre + rng.normal(0, 8.0 if count == 1 else 2.5, (count, 2))
    size = rng.uniform(5.5, 13.0 if count == 1 else 8.5, count) * (1.0 - 0.30 * t)
    lumens = _blobs(rng, centre, size, 0.28, 0.04 + 0.10 * t)
    return lumens, rng.uniform(8.0, 10.5, count) * (1.0 + 0.45 * max(0.0, t - 0.4))


def _vacuoles(rng: np.random.Generator) -> Blobs:
    """Fat cells: large empty ovals pressed against each other."""
    centre = _lattice(rng, 26.0, 0.16, keep=0.9)
    return _blobs(rng, centre, rng.uniform(11.5, 16.5, len(centre)), 0.15, 0.05)


def _architecture(rng: np.random.Generator, t: float) -> str:
    """Tissue pattern: malignant ones more likely with atypia, both possible around the middle."""
    odds = 1.0 / (1.0 + math.exp(-(t - 0.5) / _ATYPIA_OF_ARCHITECTURE))
    table = MALIGNANT if rng.random() < odds else BENIGN
    return str(rng.choice(list(table), p=list(table.values())))


def tissue_of(seed: int, patient: Patient, number: int, tile: int) -> Tissue:
    """Lay out one tile: class, atypia, architecture and every nucleus.

    Args:
        seed: Seed of the phantom.
        patient: The patient, from :func:`patient_of` with the same seed and `number`.
        number: The patient's number.
        tile: The tile's number within the patient.

    Returns:
        The tissue; nuclei in lumens and vacuoles are already removed.
    """
    rng = np.random.default_rng([seed, number, tile, 0x711E])
    label = patient.label_of(tile)
    t = float(np.clip(rng.normal(ATYPIA_MEANS[label], ATYPIA_SD), 0.0, 1.0))
    kind = _architecture(rng, t)
    angle = float(rng.uniform(0, math.pi))
    scale, gap = patient.nuclear_scale, patient.density_scale
    none = Blobs(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), np.zeros((0, 3, 2)))
    lumens, wall, vacuoles = none, np.zeros(0), none
    level, nest_scale, stretch, looseness = math.inf, 20.0, 1.0, float(rng.uniform(0.1, 0.9))
    waves = np.column_stack([rng.normal(0, 1.9, (10, 2)), rng.uniform(0, 2 * math.pi, 10)])
    spacing = gap * (9.6 - 1.6 * t) * scale
    inflamed = float(np.clip(rng.normal(0.02 + 0.06 * t, 0.05), 0, 0.3))
    stroma_gap = float(rng.uniform(11, 16))
    nests = _join(cells(rng, np.zeros((0, 2)), t, scale))
    if kind in ("tubule", "cribriform"):
        lumens, wall = _tubules(rng, t)
        nests = _gland_nuclei(rng, lumens, wall, t, scale, gap)
        if kind == "cribriform":
            level, nest_scale = float(rng.uniform(-0.9, 0.1)), 24.0
    elif kind == "solid":
        level, nest_scale = float(rng.uniform(-2.2, -0.5)), float(rng.uniform(18, 30))
    elif kind == "cords":
        level, nest_scale, stretch = float(rng.uniform(-0.5, 0.3)), float(rng.uniform(9, 13)), 3.5
    elif kind == "lymphoid":
        inflamed, stroma_gap = float(rng.uniform(0.55, 0.95)), 18.0
    elif kind == "adipose":
        vacuoles = _vacuoles(rng)
    if level < math.inf:
        nests = _join(nests, cells(rng, _lattice(rng, spacing, 0.12 + 0.08 * t, 0.96), t, scale, 0.3))
    elif kind == "scattered":
        nests = cells(rng, _lattice(rng, spacing * 1.35, 0.3, 0.6), t, scale, 0.35)
    stroma = _stroma_nuclei(rng, angle, stroma_gap, t, inflamed)
    capillary = _capillary(rng, angle) if rng.random() < 0.22 else np.zeros((0, 2))
    tissue = Tissue(
        label, t, kind, angle, level, nest_scale, stretch, waves, lumens, wall, vacuoles, capillary,
        nests, 0.10 + 0.22 * t + float(rng.normal(0, 0.04)), looseness,
    )  # fmt: skip
    return _settle(tissue, nests, stroma)


def _capillary(rng: np.random.Generator, angle: float) -> Floats:
    """Centres (n×2, µm) of red blood cells queueing along the fibres."""
    along = np.array([math.cos(angle), math.sin(angle)])
    start = rng.uniform(5, FIELD_UM - 5, 2)
    steps = np.arange(int(rng.integers(3, 9)))[:, None] * 5.6
    return np.asarray(start + steps * along + rng.normal(0, 1.1, (len(steps), 2)))


def _settle(tissue: Tissue, nests: Nuclei, stroma: Nuclei) -> Tissue:
    """Send each nucleus to its compartment: no epithelium in stroma, nothing in a lumen, few overlaps."""

    def outside(nuclei: Nuclei, clearance: float | Floats, blobs: Blobs) -> NDArray[np.bool_]:
        d = blob_distance(blobs, nuclei.xy[:, 0], nuclei.xy[:, 1])
        return np.asarray(np.all(d > np.reshape(clearance, (-1, 1)), axis=0))

    keep = outside(nests, 1.5, tissue.lumens)
    if tissue.nest_level < math.inf:
        in_nest = nest_field(tissue, nests.xy[:, 0], nests.xy[:, 1]) > tissue.nest_level + 0.1
        of_gland = ~outside(nests, tissue.wall, tissue.lumens)
        keep &= in_nest | of_gland
    nests = _select(nests, keep)
    free = outside(stroma, tissue.wall + 1.0, tissue.lumens)
    free &= outside(stroma, 0.6, tissue.vacuoles)
    if tissue.nest_level < math.inf:
        free &= nest_field(tissue, stroma.xy[:, 0], stroma.xy[:, 1]) < tissue.nest_level - 0.1
    stroma = _select(stroma, free)
    return replace(tissue, nuclei=_apart(_join(stroma, nests)))


def _apart(nuclei: Nuclei) -> Nuclei:
    """Drop nuclei that all but cover a later one (a section is thin: few overlap)."""
    gap = np.linalg.norm(nuclei.xy[:, None] - nuclei.xy[None], axis=2)
    reach = np.sqrt(nuclei.axes.prod(axis=1))
    crowded = gap < 0.80 * (reach[:, None] + reach[None])
    return _select(nuclei, ~np.any(np.triu(crowded, 1), axis=1))
