"""Glass and colour on the thumbnail of a slide: transmittance, its saturation, and the threshold of tissue.

Colours are taken relative to the glass (transmittance, as in the law of Beer and Lambert), which corrects for
a tinted lamp.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_FLAT = 3.0
"""Standard deviation over 5×5 pixels, grey levels, below which a pixel may be glass."""
_GLASS_SHARE = 0.02
"""Share of the thumbnail that a flat colour must have to be glass."""
_GLASS_LEAST = 150
"""Brightest channel of glass at least, grey levels; a darker flat colour is not lit glass."""
USUAL_BOUNDS = 0.05, 0.12
"""Bounds of Otsu's threshold: glass with dust and JPEG noise stays below the lower bound, pale tissue beside
dark tissue lies above the upper one."""
_LEAST = 0.02
"""Least threshold on glass without noise: unevenness of lamp and mounting medium stays below."""
_DEVIATIONS = 3.0
"""Robust standard deviations of the saturation of glass that tissue must exceed it by."""
SAMPLE = 1 << 18
"""Pixels that the noise of glass is measured on, about."""


def transmittance(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The picture relative to its glass, 0 to 255: H×W×3 float32 whose glass is white.

    Glass is the brightest colour that covers some of the picture without any texture; where there is none
    (a slide full of tissue), the picture stays as it is.
    """
    from scipy import ndimage

    is_flat = np.ones(rgb.shape[:2], bool)
    for channel in range(3):
        values = rgb[..., channel].astype(np.float32)
        mean = ndimage.uniform_filter(values, 5, mode="nearest")
        square = ndimage.uniform_filter(values**2, 5, mode="nearest")
        is_flat &= square - mean**2 < _FLAT**2
    flat = rgb[is_flat]
    bins = flat.astype(np.uint16) // 16 @ np.array((256, 16, 1), np.uint16)
    counts = np.bincount(bins, minlength=4096)
    common = np.flatnonzero(counts >= _GLASS_SHARE * rgb[..., 0].size)
    if not len(common):
        return rgb.astype(np.float32)
    colours = [np.median(flat[bins == one], axis=0) for one in common]
    glass = max(colours, key=lambda colour: float(colour @ (0.299, 0.587, 0.114)))
    if glass.max() < _GLASS_LEAST:
        return rgb.astype(np.float32)
    relative = rgb * (255.0 / np.maximum(glass, 1.0)).astype(np.float32)
    return np.asarray(np.minimum(relative, np.float32(255), out=relative))


def saturation(rgb: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """HSV saturation (largest minus smallest channel, over the largest), 0 to 1, of …×3 values 0 to 255."""
    # Channel by channel, which is ten times faster than along an axis of three.
    high = np.maximum(np.maximum(rgb[..., 0], rgb[..., 1]), rgb[..., 2]).astype(np.float32)
    low = np.minimum(np.minimum(rgb[..., 0], rgb[..., 1]), rgb[..., 2])
    return np.asarray((high - low) / np.maximum(high, np.float32(1)), np.float32)


def threshold(values: NDArray[np.float32], fixed: float | None = None) -> float:
    """The saturation above which a pixel is tissue: the one that is set, or Otsu's within its bounds,
    or where most of the slide is glass, a lower one that is still above that of glass.

    Args:
        values: saturations, any shape, 0 to 1.
        fixed: the threshold, if it is set.
    """
    if fixed is not None:
        return fixed
    return min(float(np.clip(otsu(values), *USUAL_BOUNDS)), max(_LEAST, _above_glass(values)))


def _above_glass(values: NDArray[np.float32]) -> float:
    """A saturation that bare glass does not reach, where most of the slide is glass."""
    if not len(values):
        return USUAL_BOUNDS[1]
    some = values.ravel()[:: max(1, values.size // SAMPLE)]
    middle = float(np.median(some))
    return middle + _DEVIATIONS * 1.4826 * float(np.median(np.abs(some - middle)))


def otsu(values: NDArray[np.float32]) -> float:
    """The threshold that separates values in 0 to 1 into the two classes of least variance (Otsu, 1979).

    Returns:
        Upper border of the lower class on a scale of 256 steps; 0 where all values are the same.
    """
    steps = np.minimum(values.ravel() * np.float32(256), np.float32(255)).astype(np.uint8)
    counts = np.bincount(steps, minlength=256)
    counts = counts.astype(np.float64)
    below = np.cumsum(counts)
    moment = np.cumsum(counts * np.arange(256))
    above = below[-1] - below
    between = (moment[-1] * below - moment * below[-1]) ** 2 / np.maximum(below * above, 1.0)
    between[(below == 0) | (above == 0)] = 0.0
    if not between.any():
        return 0.0
    # Between two distant peaks all thresholds are equal: take the middle.
    best = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float((best[0] + best[-1]) / 2 + 1) / 256
