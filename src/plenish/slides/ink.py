"""Where the thumbnail of a slide has ink of a pen.

Ink is first found by colours that haematoxylin and eosin do not have (`filters.pen_mask`), and from there
followed to where it is thinner: by the hue of the light it absorbs, which by the law of Beer and Lambert does
not depend on the amount. Other stains and blood have such colours too. Ink is told from them by its evenness,
and by lying on glass or being a line: tissue has texture.
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
_BLACK_UM2, _STROKE_UM2 = 300_000.0, 50_000.0
"""Neutral black pieces smaller than the first are not strokes of a pen but dense tissue, dust; unless they
are long and larger than the second, below which nothing is told by its shape."""
_EVEN, _WINDOW = 0.12, 5
"""Local standard deviation of ink's optical density at most, as a share of its mean, and the side of the
square it is measured in, pixels: 0.04 on strokes of the phantom, 0.16 and more on tissue."""
_CORE = 9
"""Side of the squares that make up the even part of a stroke, pixels."""
_BESIDE = 0.35
"""Share of a piece's rim that is other tissue from which the piece is within tissue."""
_RIM = 3
"""Width of that rim, pixels."""
_LINE_UM, _LONG, _LONG_BLACK = 1500.0, 3.0, 1.65
"""Width of a line at most; how many times its width it is long, at least; and if it is black, on glass."""


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
    ink, small_black = _followed(rgb, strong, um_per_pixel)
    ink = _drawn(rgb, ink, small_black, found, um_per_pixel, margin)
    if not ink.any() or _is_stain(ink, found):
        return np.zeros_like(found)
    return (
        np.asarray(ndimage.binary_dilation(ink, np.ones((3, 3), bool), iterations=margin)) if margin else ink
    )


def _followed(rgb: NDArray[np.uint8], strong: Mask, um_per_pixel: float) -> tuple[Mask, Mask]:
    """Strokes with their thin ink, the connected pixels whose hue is that of the ink; and which of them are
    black of little area."""
    from scipy import ndimage

    # Only boxes around ink are looked at: it covers little of a slide.
    reach = max(2, round(400.0 / um_per_pixel))
    ink, small_black = np.zeros_like(strong), np.zeros_like(strong)
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
            black = _large(black, _STROKE_UM2 / um_per_pixel**2, reach // 4)
            small_black[box] |= black & ~_large(black, _BLACK_UM2 / um_per_pixel**2, reach // 4)
        coloured = strong[box] & ~(hues[2] & (least > 1.2))
        for seed, hue in zip((coloured & hues[0], coloured & hues[1], black), hues):
            if seed.any():
                thin = seed | (hue & (most > _FAINT))
                ink[box] |= ndimage.binary_propagation(seed, np.ones((3, 3), bool), thin)
        ink[box] |= coloured
    return ink, small_black


def _large(mask: Mask, least: float, gap: int) -> Mask:
    """The pixels in groups, closer than a gap, of at least so many pixels."""
    from scipy import ndimage

    groups, _ = ndimage.label(ndimage.maximum_filter(mask, 2 * max(1, gap) + 1))
    counts = np.bincount(groups[mask], minlength=int(groups.max()) + 1)
    return np.asarray(mask & (counts >= least)[groups])


def _drawn(
    rgb: NDArray[np.uint8], ink: Mask, small_black: Mask, found: Mask, um_per_pixel: float, margin: int
) -> Mask:
    """The pieces with the colour of ink that a pen has drawn: even ones, on glass or long."""
    from scipy import ndimage

    even = _even(rgb, ink, found)
    # A stroke may run on into tissue of its hue: what is far from its even part is judged by itself.
    core = ndimage.binary_opening(even == 1, np.ones((_CORE, _CORE), bool))
    near = ink & ndimage.maximum_filter(core, 2 * _CORE + 1)
    textured = _textured(ink, even)
    part = near & textured
    tissue = _textured(ink & ~near, even)
    tissue &= textured | _large(tissue, _STROKE_UM2 / um_per_pixel**2, 1)
    pieces, count = ndimage.label(ink & ~tissue, np.ones((3, 3), bool))
    size = np.bincount(pieces.ravel(), minlength=count + 1)
    within = _beside(pieces, count, found, margin) > _BESIDE
    small, kept = np.zeros(count + 1, bool), np.ones(count + 1, bool)
    small[pieces[small_black]] = True
    kept[pieces[part]] = False
    kept |= size * um_per_pixel**2 >= _STROKE_UM2
    kept[0] = False
    boxes = ndimage.find_objects(pieces)
    for number in np.flatnonzero(kept & (within | small)):
        kept[number] = False
        if size[number] * um_per_pixel**2 < _STROKE_UM2 or (small[number] and within[number]):
            continue
        depth = ndimage.distance_transform_edt(np.pad(pieces[boxes[number - 1]] == number, 1))
        width = 2 * float(depth.max())
        least = _LONG_BLACK if small[number] else _LONG
        kept[number] = width * um_per_pixel <= _LINE_UM and size[number] >= least * width**2
    return np.asarray(kept[pieces])


def _textured(ink: Mask, even: NDArray[np.int8]) -> Mask:
    """The pieces of ink more of which has texture than is even."""
    from scipy import ndimage

    pieces, count = ndimage.label(ink, np.ones((3, 3), bool))
    parts = [np.bincount(pieces[even == value], minlength=count + 1) for value in (0, 1)]
    return np.asarray((parts[0] > parts[1])[pieces] & ink)


def _even(rgb: NDArray[np.uint8], ink: Mask, found: Mask) -> NDArray[np.int8]:
    """1 where ink has no texture, 0 where it has, -1 where that cannot be told: off it, and beside glass."""
    from scipy import ndimage

    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    # The 8 levels keep the noise of very dark ink small.
    density = np.log(np.float32(263) / (rgb[box].astype(np.float32) + np.float32(8))).sum(axis=-1)
    mean = ndimage.uniform_filter(density, _WINDOW)
    spread = ndimage.uniform_filter(density**2, _WINDOW) - mean**2
    inner = ndimage.binary_erosion((found | ink)[box], np.ones((_WINDOW, _WINDOW), bool), border_value=1)
    even = np.full(ink.shape, -1, np.int8)
    even[box] = np.where(ink[box] & inner, spread <= (_EVEN * mean) ** 2, np.int8(-1))
    return even


def _beside(pieces: NDArray[np.int32], count: int, found: Mask, margin: int) -> NDArray[np.float64]:
    """For each piece of ink the share of its rim that is other tissue; the blurred edge does not count."""
    from scipy import ndimage

    blurred = ndimage.maximum_filter(pieces, 2 * margin + 1) > 0
    nearest = ndimage.maximum_filter(pieces, 2 * (margin + _RIM) + 1)
    nearest[blurred] = 0
    rim = np.bincount(nearest.ravel(), minlength=count + 1)
    return np.asarray(np.bincount(nearest[found], minlength=count + 1) / np.maximum(rim, 1))


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
