"""Classical augmentation of a batch, each image's draws derived from (seed, global sample index) alone.

Flips, right-angle rotations and a small shift are one gather of pixels, brightness and contrast one product;
small rotations, of images that keep their up and down, one resampling.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish.domains import Domain, Symmetry
from plenish.training.augment import resample
from plenish.training.engine import stable_seed

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFT, _LIGHT = 1 / 12, 0.2
_STEP = np.uint64(0x9E3779B97F4A7C15)


def uniforms(index: NDArray[np.int64], columns: int, *key: object) -> NDArray[np.float64]:
    """Uniform draws in [0, 1), N×columns, each a function of its sample's index, its column and `key` only.

    Counter-based (SplitMix64's finaliser; Steele, Lea & Flood, OOPSLA 2014), so that a draw never depends on
    how samples are grouped into batches or on what was drawn before.
    """
    counter = index.astype(np.uint64)[:, None] * np.uint64(columns) + np.arange(columns, dtype=np.uint64)
    with np.errstate(over="ignore"):
        x: NDArray[Any] = np.uint64(stable_seed(*key)) + (counter + np.uint64(1)) * _STEP
        for shift, factor in zip((30, 27), _MIX):
            x = (x ^ np.right_shift(x, np.uint64(shift))) * factor
        x = x ^ np.right_shift(x, np.uint64(31))
    return np.asarray(np.right_shift(x, np.uint64(11)).astype(np.float64) * 2.0**-53)


def augment(
    images: Tensor, index: NDArray[np.int64], seed: int, *, domain: Domain,
    symmetry: Symmetry | None = None,
) -> Tensor:  # fmt: skip
    """Augment a batch of square images.

    Args:
        images: N×C×H×W in [-1, 1].
        index: N global sample numbers, which decide all draws.
        seed: the experiment's seed.
        domain: what may be done. Shifts reach 1/12 of the side, with the border mirrored; brightness changes
            by up to 0.2 of half the range, contrast by up to 20 % about each image's mean.
        symmetry: orientations to show instead of the domain's.

    Returns:
        N×C×H×W, float32, within [-1, 1].
    """
    draws = torch.from_numpy(uniforms(index, 7, seed, "augment")).to(images.device, torch.float32)
    side = images.shape[-1]
    symmetry = symmetry or domain.symmetry
    i, j = (
        (
            torch.arange(side, device=images.device)
            + torch.round((2 * draws[:, k, None] - 1) * (_SHIFT * side)).long()
        )
        for k in (0, 1)
    )
    i, j = (_mirror(coordinate, side) for coordinate in (i, j))
    if symmetry != "none":
        j = torch.where(draws[:, 2, None] < 0.5, side - 1 - j, j)
    if symmetry == "dihedral":
        i = torch.where(draws[:, 3, None] < 0.5, side - 1 - i, i)
    place = i[:, :, None] * side + j[:, None, :]
    if symmetry == "dihedral":  # a transposition and two flips make all eight symmetries of the square
        place = torch.where(draws[:, 4, None, None] < 0.5, place.transpose(1, 2), place)
    n, channels = images.shape[:2]
    pixels = images.permute(0, 2, 3, 1).reshape(n, side * side, channels)
    pixels = pixels.gather(1, place.reshape(n, -1, 1).expand(-1, -1, channels))
    gain = 1 + min(_LIGHT, domain.contrast) * (2 * draws[:, 5, None, None] - 1)
    offset = min(_LIGHT, domain.brightness) * (2 * draws[:, 6, None, None] - 1)
    mean = pixels.mean(dim=(1, 2), keepdim=True)
    changed = ((pixels - mean) * gain + mean + offset).clamp_(-1, 1)
    out = changed.reshape(n, side, side, channels).permute(0, 3, 1, 2)
    return _tilted(out, index, seed, domain.rotation) if domain.rotation else out


def _tilted(images: Tensor, index: NDArray[np.int64], seed: int, most: float) -> Tensor:
    """Images rotated by up to so many degrees about their centre; the border is mirrored."""
    draws = torch.from_numpy(uniforms(index, 1, seed, "tilt")[:, 0]).to(images.device, torch.float32)
    angle = (2 * draws - 1) * math.radians(most)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    affine = torch.stack([cos, -sin, zero, sin, cos, zero], 1).view(-1, 2, 3)
    return resample(images, affine, "bilinear", "reflection")


def _mirror(coordinate: Tensor, side: int) -> Tensor:
    """Coordinates outside 0…side−1 reflected back in, the border pixel not repeated."""
    period = max(1, 2 * side - 2)
    folded = coordinate.remainder(period)
    return torch.minimum(folded, period - folded)
