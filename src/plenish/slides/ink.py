"""Where the thumbnail of a slide has ink of a pen.

Ink is first found by colours that stained tissue does not have (`filters.pen_mask`), and from there followed
to where it is thinner: by the hue of the light it absorbs, which by the law of Beer and Lambert does not
depend on the amount.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plenish.slides.filters import pen_mask

Mask = NDArray[np.bool_]

_SHARE = 0.5
"""Share of coloured pixels above which the colour of ink may be the stain's: not H&E, or false colours."""
_FREE = 0.02
"""Share of the coloured pixels in pieces without ink from which these are the tissue."""
_MIXED = 0.1
"""Share of a piece's pixels up to which it counts as without ink."""
_FAINT = 0.04
"""Least optical density of thin ink."""
_BLACK_UM2 = 300_000.0
"""Neutral black pieces smaller than this are not strokes of a pen: dense tissue, dust."""


def ink_mask(rgb: NDArray[np.uint8], found: Mask, um_per_pixel: float, margin: int) -> Mask:
    """Pixels of ink and those it is blurred into; none if the tissue itself looks like ink.

    Args:
        rgb: transmittance, H×W×3 uint8, glass is 255.
        found: coloured pixels, H×W.
        um_per_pixel: µm that a pixel measures.
        margin: pixels that ink is blurred into.

    Returns:
        H×W.
    """
    from scipy import ndimage

    # Single pixels are grains, not strokes.
    strong = ndimage.binary_opening(pen_mask(rgb))
    if not strong.any():
        return np.zeros_like(found)
    ink = _followed(rgb, strong, um_per_pixel)
    if not ink.any() or _is_stain(ink, found):
        return np.zeros_like(found)
    return (
        np.asarray(ndimage.binary_dilation(ink, np.ones((3, 3), bool), iterations=margin)) if margin else ink
    )


def _followed(rgb: NDArray[np.uint8], strong: Mask, um_per_pixel: float) -> Mask:
    """Strokes with their thin ink: the connected pixels whose hue is that of the ink."""
    from scipy import ndimage

    # Only boxes around ink are looked at: it covers little of a slide.
    reach = max(2, round(400.0 / um_per_pixel))
    ink = np.zeros_like(strong)
    zones, _ = ndimage.label(ndimage.maximum_filter(strong, 2 * reach + 1))
    for box in ndimage.find_objects(zones):
        density = np.log(np.float32(255) / np.maximum(rgb[box].astype(np.float32), np.float32(1)))
        red, green, blue = density[..., 0], density[..., 1], density[..., 2]
        most, least = density.max(axis=-1), density.min(axis=-1)
        hues = (
            red > 1.1 * green,  # Blue and green ink.
            (red < 0.2 * green) & (blue > 0.6 * green),
            most - least < 0.2 * most,
        )
        black = hues[2] & strong[box] & (least > 1.2)
        if black.any():
            black = _large(black, _BLACK_UM2 / um_per_pixel**2, reach // 4)
        coloured = strong[box] & ~(hues[2] & (least > 1.2))
        for seed, hue in zip((coloured & hues[0], coloured & hues[1], black), hues):
            if seed.any():
                thin = seed | (hue & (most > _FAINT))
                ink[box] |= ndimage.binary_propagation(seed, np.ones((3, 3), bool), thin)
        ink[box] |= coloured
    return ink


def _large(mask: Mask, least: float, gap: int) -> Mask:
    """The pixels in groups, closer than a gap, of at least so many pixels."""
    from scipy import ndimage

    groups, _ = ndimage.label(ndimage.maximum_filter(mask, 2 * max(1, gap) + 1))
    counts = np.bincount(groups[mask], minlength=int(groups.max()) + 1)
    return np.asarray(mask & (counts >= least)[groups])


def _is_stain(ink: Mask, found: Mask) -> bool:
    """Whether the colour of ink is that of the tissue: most is of it, and hardly any piece is without it."""
    from scipy import ndimage

    if not found.any():
        return True
    if ink[found].mean() <= _SHARE:
        return False
    pieces, count = ndimage.label(found | ink, np.ones((3, 3), bool))
    inked = np.bincount(pieces[ink], minlength=count + 1)
    size = np.maximum(np.bincount(pieces.ravel(), minlength=count + 1), 1)
    free = inked <= _MIXED * size
    return bool((found & free[pieces]).sum() < _FREE * found.sum())
