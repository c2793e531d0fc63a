"""Anatomy of the tissue phantom: what lies where in one field of view, before any colour.

Every length is in µm and nothing here knows the picture's size, so a tile is the same piece of tissue at
every size. A single number, the *atypia* of a tile, carries the class: it is drawn from one of two
overlapping normal distributions, and everything that can be seen (architecture, nuclear size and darkness,
crowding) depends on the class through it alone. No classifier can therefore be better, on average, than a
threshold on the atypia (:data:`BEST_ACCURACY`).
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]

FIELD_UM = 64.0
"""Side of the field of view in µm, whatever the number of pixels."""
MARGIN_UM = 8.0
"""Tissue is laid out this far beyond the field, so that the border cuts through cells."""
CLASSES = ("normal", "tumour")
ATYPIA_MEANS = (0.32, 0.68)
ATYPIA_SD = 0.11
BEST_ACCURACY = 0.5 * (
    1.0 + math.erf((ATYPIA_MEANS[1] - ATYPIA_MEANS[0]) / (2.0 * ATYPIA_SD) / math.sqrt(2.0))
)
"""Accuracy of the best possible classifier on balanced classes: Φ(d'/2) of two equal normals."""


@dataclass(frozen=True)
class Patient:
    """What the tiles of one patient share: stain, camera and biology.

    Attributes:
        name: Identifier, used as the group of the patient's tiles.
        haematoxylin: Optical density per unit of stain in R, G, B (unit length).
        eosin: The same for eosin.
        strength_h: Amount of haematoxylin, 1 for the average laboratory.
        strength_e: Amount of eosin.
        light: Grey level of empty glass in R, G, B, of 255.
        blur_um: Standard deviation of the optics' blur in µm.
        sharpening: Strength of the scanner's unsharp mask (radius 1.1 µm).
        grain: Strength of the tissue's fine granules.
        noise: Standard deviation of the camera's noise in grey levels, of 255.
        tumour_share: Share of the patient's tiles that are tumour.
        label_phase: Where in the patient's regular sequence of labels tile 0 stands, in [0, 1).
        nuclear_scale: Factor on every nuclear diameter of the patient.
        density_scale: Factor on the distance between nuclei.
    """

    name: str
    haematoxylin: Floats
    eosin: Floats
    strength_h: float
    strength_e: float
    light: Floats
    blur_um: float
    sharpening: float
    grain: float
    noise: float
    tumour_share: float
    label_phase: float
    nuclear_scale: float
    density_scale: float

    def stain_columns(self) -> dict[str, float]:
        """The stain as numbers for a table: hue of either dye in degrees, and their strengths."""
        hues = [
            360.0 * colorsys.rgb_to_hsv(*(float(v) for v in np.exp(-dye)))[0]
            for dye in (self.haematoxylin, self.eosin)
        ]
        return {
            "stain_hue_h": hues[0],
            "stain_hue_e": hues[1],
            "stain_strength_h": self.strength_h,
            "stain_strength_e": self.strength_e,
        }

    def label_of(self, tile: int) -> int:
        """Class code of a tile: the patient's share of tumour, spread evenly over the tiles."""
        f, phase = self.tumour_share, self.label_phase
        return int(math.floor((tile + 1) * f + phase) - math.floor(tile * f + phase))


class Blobs(NamedTuple):
    """Round or oval outlines with a wavy border: lumens, vacuoles.

    Attributes:
        centre: n×2 positions (x, y) in µm.
        radius: n×2 half-axes in µm.
        angle: n angles of the first axis in radians.
        waves: n×3×2 amplitude and phase of harmonics 2, 3 and 4 of the border, relative to the radius.
    """

    centre: Floats
    radius: Floats
    angle: Floats
    waves: Floats


class Nuclei(NamedTuple):
    """Nuclei in the order they are painted.

    Attributes:
        xy: n×2 centres in µm.
        axes: n×2 half-axes in µm.
        angle: n angles of the first axis in radians.
        dark: n amounts of haematoxylin.
        vesicular: n in [0, 1]: 0 evenly dark, 1 pale with a dark rim and a nucleolus.
        waves: n×3×2 amplitude and phase of the border's harmonics.
    """

    xy: Floats
    axes: Floats
    angle: Floats
    dark: Floats
    vesicular: Floats
    waves: Floats

    @property
    def area(self) -> Floats:
        """n areas in µm² (of the mean oval)."""
        return math.pi * self.axes[:, 0] * self.axes[:, 1]

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Which centres lie in the field of view."""
        return np.asarray(np.all((self.xy >= 0) & (self.xy < FIELD_UM), axis=1))


@dataclass(frozen=True)
class Tissue:
    """One field of view, ready to be painted.

    Attributes:
        label: Class code (0 normal, 1 tumour).
        atypia: The hidden severity the class acts through.
        architecture: Name of the tissue pattern.
        fibre_angle: Direction of the stroma's fibres in radians.
        nest_level: Threshold on a unit-variance noise above which there is epithelium; inf for none.
        nest_scale: Size of nests in µm.
        nest_stretch: Elongation of nests along the fibres (cords).
        nest_waves: k×3 wave vector (x, y; radians per nest size) and phase of the waves whose sum outlines
            the nests.
        lumens: Lumens of tubules.
        wall: Thickness in µm of the epithelium around each lumen.
        vacuoles: Fat cells, empty.
        capillary: Red blood cells in the stroma.
        nuclei: All nuclei.
        basophilia: Haematoxylin in the cytoplasm of the epithelium.
        looseness: How far fibres stand apart, in [0, 1].
    """

    label: int
    atypia: float
    architecture: str
    fibre_angle: float
    nest_level: float
    nest_scale: float
    nest_stretch: float
    nest_waves: Floats
    lumens: Blobs
    wall: Floats
    vacuoles: Blobs
    capillary: Floats
    nuclei: Nuclei
    basophilia: float
    looseness: float


def patient_of(seed: int, patient: int) -> Patient:
    """Stain, camera and biology of patient number `patient`; the same for the same two numbers."""
    rng = np.random.default_rng([seed, patient, 0x5EED])
    h = np.array([0.62, 0.70, 0.30]) + rng.normal(0, [0.075, 0.035, 0.06])
    e = np.array([0.15, 0.86, 0.40]) + rng.normal(0, [0.05, 0.03, 0.10])
    white = float(np.clip(rng.normal(241, 4), 228, 250))
    return Patient(
        name=f"patient-{patient:04d}",
        haematoxylin=h / np.linalg.norm(h),
        eosin=e / np.linalg.norm(e),
        strength_h=float(np.clip(rng.lognormal(0.08, 0.22), 0.65, 1.7)),
        strength_e=float(np.clip(rng.lognormal(0.0, 0.25), 0.55, 1.8)),
        light=np.clip(white + rng.normal(0, 2.5, 3), 222, 252),
        blur_um=float(rng.uniform(0.25, 0.55)),
        sharpening=float(rng.uniform(0.1, 0.9)),
        grain=float(rng.uniform(0.5, 1.5)),
        noise=float(rng.uniform(1.0, 3.0)),
        tumour_share=float(rng.uniform(0.35, 0.65)),
        label_phase=float(rng.random()),
        nuclear_scale=float(np.clip(rng.normal(1.0, 0.05), 0.88, 1.12)),
        density_scale=float(np.clip(rng.normal(1.0, 0.06), 0.85, 1.15)),
    )


def blob_distance(blobs: Blobs, x: Floats, y: Floats) -> Floats:
    """Signed distance (about, in µm) from points to each outline, negative inside: n×(shape of x)."""
    lead = (slice(None),) + (None,) * x.ndim
    centre, radius = blobs.centre.astype(x.dtype), blobs.radius.astype(x.dtype)
    dx, dy = x - centre[:, 0][lead], y - centre[:, 1][lead]
    c, s = np.cos(blobs.angle)[lead].astype(x.dtype), np.sin(blobs.angle)[lead].astype(x.dtype)
    z = (c * dx + s * dy) / radius[:, 0][lead] + np.complex64(1j) * ((c * dy - s * dx) / radius[:, 1][lead])
    rho = np.abs(z)
    unit = z / np.maximum(rho, 1e-4)
    w = (blobs.waves[..., 0] * np.exp(1j * blobs.waves[..., 1])).astype(z.dtype)
    border = 1 + (unit * unit * (w[:, 0][lead] + unit * (w[:, 1][lead] + unit * w[:, 2][lead]))).real
    return np.asarray((rho - border) * np.sqrt(radius.prod(axis=1))[lead])


def nest_field(tissue: Tissue, x: Floats, y: Floats) -> Floats:
    """A smooth noise of unit variance (random waves) whose level set outlines the nests; shape of `x`."""
    c, s = math.cos(tissue.fibre_angle), math.sin(tissue.fibre_angle)
    half = FIELD_UM / 2
    u = (c * (x - half) + s * (y - half)) / (tissue.nest_scale * tissue.nest_stretch)
    v = (c * (y - half) - s * (x - half)) / tissue.nest_scale
    total = np.zeros_like(u)
    for kx, ky, phase in tissue.nest_waves:
        total += np.cos(kx * u + ky * v + phase)
    return np.asarray(total * math.sqrt(2.0 / len(tissue.nest_waves)))
