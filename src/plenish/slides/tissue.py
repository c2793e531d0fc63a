"""Where a slide has tissue: a mask of its thumbnail, and how much of a box the mask covers.

Tissue is coloured and glass is not, so saturation separates them, at the threshold of Otsu (1979) within
bounds: without bounds, the method finds two classes also where there is only one. Colours are taken relative
to the glass (transmittance, as in the law of Beer and Lambert), which corrects for a tinted lamp.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.configuration import option
from plenish.datasets.images import encode_png
from plenish.errors import InputError
from plenish.slides.ink import ink_mask
from plenish.slides.reader import Slide

UM_PER_PIXEL = 8.0
"""µm that a pixel of the mask should measure, and is assumed to measure if the scale is not known."""
_SIDES = (512, 2048)
"""Least and greatest long side of a thumbnail, pixels."""
_SPARSE = 0.05
"""Share of tissue below which a slide whose pixels are coarser than wished is looked at again, finer."""
_FINE_PIXELS = 1 << 23
"""Greatest number of pixels of that second thumbnail."""
_FLAT = 3.0
"""Standard deviation over 5×5 pixels, grey levels, below which a pixel may be glass."""
_GLASS_SHARE = 0.02
"""Share of the thumbnail that a flat colour must have to be glass."""
_GLASS_LEAST = 150
"""Brightest channel of glass at least, grey levels; a darker flat colour is not lit glass."""
_SMALL_DISC = 5.0
"""Radius up to which a closing is done directly, pixels."""
_OTSU_BOUNDS = 0.05, 0.12
"""Bounds of Otsu's threshold: glass with dust and JPEG noise stays below the lower bound, pale tissue beside
dark tissue lies above the upper one."""
_LEAST = 0.02
"""Least threshold on glass without noise: unevenness of lamp and mounting medium stays below."""
_DEVIATIONS = 4.0
"""Robust standard deviations of the saturation of glass that tissue must exceed it by."""
_SAMPLE = 1 << 18
"""Pixels that the noise of glass is measured on, about."""
_GREY = 0.15
"""Least difference of the optical densities of two channels, as a share of the greatest, that is a colour."""
_BESIDE, _DENSE = 4, 0.03
"""Distance from coloured pixels, pixels, and optical density above glass from which others are tissue too."""
_GRAIN_UM2 = 1000.0
"""Coloured pieces smaller than this may be of the edge of an air bubble: nothing is looked for beside them."""
_HALO, _EDGE = 2, 0.25
"""Width of the blurred edge of tissue, pixels; share of the colour and density beside it at which it ends."""
_SMOOTH_UM = 4.0
"""Standard deviation of the blur of the picture before anything else, µm."""
_BAND_CELLS = 1 << 20
"""Cells of a summed-area table that are held at once."""


@dataclasses.dataclass(frozen=True)
class TissueOptions:
    """Where a slide has tissue, and how much of it a tile needs.

    Attributes:
        min_tissue: least share of tissue of a tile; 0 takes the whole slide.
        tissue_saturation: HSV saturation (0 to 1) above which there is tissue; left out, found by Otsu's
            method.
        tissue_dark: HSV value (0 to 1) below which there is none: the scanner's black, folds of the glass.
        tissue_close_um: gaps in tissue of about twice this width are closed, µm.
        tissue_speck_um2: pieces of tissue smaller than this are left out, µm².
        tissue_hole_um2: holes in tissue smaller than this are filled, µm².
    """

    min_tissue: float = option(0.5, least=0, most=1)
    tissue_saturation: float | None = option(None, least=0, most=1)
    tissue_dark: float = option(0.06, least=0, most=1)
    tissue_close_um: float = option(12.0, least=0)
    tissue_speck_um2: float = option(3_000.0, least=0)
    tissue_hole_um2: float = option(10_000.0, least=0)


def no_tissue(
    name: str, rgb: NDArray[np.uint8], options: TissueOptions, um_per_pixel: float | None, picture: Path
) -> InputError:
    """The error of a slide without tissue, with a picture that shows why.

    Args:
        name: the slide's name.
        rgb: its thumbnail, H×W×3 uint8.
        options: thresholds and sizes.
        um_per_pixel: µm that a pixel of the thumbnail measures; None takes it for 8.
        picture: a PNG to write: the thumbnail, and beside it the saturation, black at 0 and white at the
            threshold.
    """
    found = saturation(transmittance(rgb))
    needed = threshold(found, options)
    scale = np.clip(found / max(needed, 1e-6), 0, 1)
    grey = np.repeat(np.rint(scale * 255).astype(np.uint8)[..., None], 3, axis=2)
    gap = np.full((len(grey), 8, 3), 255, np.uint8)
    files.write_bytes(picture, encode_png(np.concatenate([rgb, gap, grey], axis=1)))
    why = _reason(rgb, options, um_per_pixel) or (
        f"it needs a saturation above {needed:.2f} and 99 % of the thumbnail has at most "
        f"{float(np.quantile(found, 0.99)):.2f}; lower --tissue-saturation"
    )
    return InputError(
        f"No tissue was found on {name}: {why}, or leave the slide out. A picture of it is {picture.name}, "
        "beside the output."
    )


def _reason(rgb: NDArray[np.uint8], options: TissueOptions, um_per_pixel: float | None) -> str:
    """Which step removed all that is coloured enough, and the remedy; empty if nothing is coloured."""
    speck, dark = options.tissue_speck_um2, options.tissue_dark
    without: list[tuple[dict[str, float], bool, str]] = [
        ({"tissue_speck_um2": 0}, True, f"all pieces are below {speck:g} µm²; lower --tissue-speck-um2"),
        ({"tissue_dark": 0}, True, f"all that is coloured is darker than {dark:g}; lower --tissue-dark"),
        ({}, False, "all that is coloured has the colour of ink; wipe the slide"),
    ]
    for changes, pen, reason in without:
        if tissue_mask(rgb, dataclasses.replace(options, **changes), um_per_pixel, pen).any():
            return reason
    return ""


def thumbnail_side(width: int, height: int, mpp: float | None, fine: bool = False) -> int:
    """Long side of the thumbnail on which tissue should be looked for, pixels.

    A pixel is then about 8 µm, within 512 to 2048 pixels and never more than the slide has.

    Args:
        width: the slide's width at level 0, pixels.
        height: its height.
        mpp: µm per pixel at level 0, None where it is not known.
        fine: allow more than 2048 pixels, and 8 million in all: for a slide with little tissue.
    """
    longest = max(width, height)
    wished = math.ceil(longest * (mpp or 0.5) / UM_PER_PIXEL)
    most = int(longest * math.sqrt(_FINE_PIXELS / (width * height))) if fine else _SIDES[1]
    return min(longest, max(_SIDES[0], min(max(most, _SIDES[1]), wished)))


def tissue_mask(
    rgb: NDArray[np.uint8], options: TissueOptions, um_per_pixel: float | None = None, pen: bool = True
) -> NDArray[np.bool_]:
    """Which pixels of a thumbnail show tissue.

    Args:
        rgb: H×W×3 uint8.
        options: thresholds and sizes.
        um_per_pixel: µm that a pixel of the thumbnail measures; None takes it for 8.
        pen: whether pixels with the colour of ink are left out.

    Returns:
        H×W; all False where there is none (see `no_tissue`).
    """
    from scipy import ndimage

    scale = um_per_pixel or UM_PER_PIXEL
    sigma = min(_SMOOTH_UM / scale, 8.0)
    smooth = transmittance(rgb)
    sharp = np.rint(smooth).astype(np.uint8) if pen else None
    # In place: a thumbnail's floats are most of a worker's memory.
    ndimage.gaussian_filter(smooth, sigma, output=smooth, mode="nearest", truncate=3.0, axes=(0, 1))
    dark = np.float32(255 * options.tissue_dark)
    usable = (smooth[..., 0] >= dark) | (smooth[..., 1] >= dark) | (smooth[..., 2] >= dark)
    colour = saturation(smooth)
    found = _coloured(smooth, colour, usable, options)
    if sharp is not None and (ink := ink_mask(sharp, found, scale, round(2 * sigma))).any():
        usable &= ~ink
        found = _coloured(smooth, colour, usable, options)
    density = np.log(np.float32(765) / np.maximum(smooth.sum(axis=-1), np.float32(1)))
    del sharp, smooth
    # JPEG blurs faint colours more than brightness: beside coloured pixels, darker ones than glass are tissue.
    beside = ndimage.maximum_filter(_without_small(found, _GRAIN_UM2 / scale**2), 2 * _BESIDE + 1)
    glass = density[usable & ~beside][:: max(1, density.size // _SAMPLE)]
    found |= beside & usable & (density > _DENSE + (np.quantile(glass, 0.9) if glass.size else np.inf))
    found = _without_halo(found, colour, density)
    radius = min(options.tissue_close_um / scale, 32.0)
    if radius >= 1:
        found = _closed(found, radius) & usable
    found = _without_small(found, options.tissue_speck_um2 / scale**2)
    return ~_without_small(~found, options.tissue_hole_um2 / scale**2, borders=True)


def _coloured(
    smooth: NDArray[np.float32],
    colour: NDArray[np.float32],
    usable: NDArray[np.bool_],
    options: TissueOptions,
) -> NDArray[np.bool_]:
    """Usable pixels above the threshold; where that is below the usual ones, without what is grey.

    Edges of glass and of air bubbles are grey: they absorb all colours alike.
    """
    found = (colour > threshold(colour[usable], options)) & usable
    if options.tissue_saturation is None:
        faint = np.flatnonzero(found & (colour < _OTSU_BOUNDS[0]))
        density = np.log(np.float32(255) / np.maximum(smooth.reshape(-1, 3)[faint], np.float32(1)))
        most, least = density.max(axis=1), density.min(axis=1)
        found.ravel()[faint[most - least < _GREY * most]] = False
    return found


def _without_halo(
    found: NDArray[np.bool_], colour: NDArray[np.float32], density: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """The mask without the rim of pixels that are coloured by the blurred edge of what lies beside."""
    from scipy import ndimage

    size = 2 * _HALO + 1
    halo = found & ndimage.maximum_filter(~found, size)
    halo &= colour < _EDGE * ndimage.maximum_filter(colour, size)
    halo &= density < _EDGE * ndimage.maximum_filter(density, size)
    return np.asarray(found & ~halo)


def slide_tissue(
    slide: Slide, options: TissueOptions, mpp: float | None
) -> tuple[NDArray[np.bool_], NDArray[np.uint8], float]:
    """Look for tissue on the thumbnail of an open slide; on a finer one where there is little.

    Args:
        slide: the open slide.
        options: thresholds and sizes.
        mpp: µm per pixel of level 0; None where it is not known.

    Returns:
        The mask H×W, the thumbnail H×W×3 uint8, and how many pixels of level 0 one of its pixels is wide.
    """
    size = slide.width, slide.height
    side = thumbnail_side(*size, mpp)
    rgb, downsample = slide.thumbnail(side)
    mask = tissue_mask(rgb, options, None if mpp is None else mpp * downsample)
    finer = thumbnail_side(*size, mpp, fine=True)
    if finer > side and mask.mean() < _SPARSE:
        rgb, downsample = slide.thumbnail(finer)
        mask = tissue_mask(rgb, options, None if mpp is None else mpp * downsample)
    return mask, rgb, downsample


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


def threshold(values: NDArray[np.float32], options: TissueOptions) -> float:
    """The saturation above which a pixel is tissue: the one that is set, or Otsu's within its bounds.

    Args:
        values: saturations, any shape, 0 to 1.
        options: the threshold, if it is set.
    """
    if options.tissue_saturation is not None:
        return options.tissue_saturation
    return min(float(np.clip(otsu(values), *_OTSU_BOUNDS)), max(_LEAST, _above_glass(values)))


def _above_glass(values: NDArray[np.float32]) -> float:
    """A saturation that bare glass does not reach, where most of the slide is glass."""
    if not len(values):
        return _OTSU_BOUNDS[1]
    some = values.ravel()[:: max(1, values.size // _SAMPLE)]
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


def _closed(mask: NDArray[np.bool_], radius: float) -> NDArray[np.bool_]:
    """Closing with a disc; for a large one by distance transforms, whose time does not depend on its size."""
    from scipy import ndimage

    pad = math.ceil(radius) + 1
    framed = np.pad(mask, pad)
    if radius <= _SMALL_DISC:
        span = np.arange(-pad, pad + 1)
        disc = span[:, None] ** 2 + span**2 <= radius**2
        return np.asarray(ndimage.binary_closing(framed, disc)[pad:-pad, pad:-pad]) | mask
    grown = ndimage.distance_transform_edt(~framed) <= radius
    shrunk = ndimage.distance_transform_edt(grown) > radius
    return np.asarray(shrunk[pad:-pad, pad:-pad]) | mask


def _without_small(mask: NDArray[np.bool_], smallest: float, borders: bool = False) -> NDArray[np.bool_]:
    """The mask without its connected pieces of fewer than `smallest` pixels.

    With `borders`, pieces at the border of the picture stay, because they are not enclosed.
    """
    from scipy import ndimage

    pieces, count = ndimage.label(mask)
    if not count:
        return mask
    kept = np.bincount(pieces.ravel(), minlength=count + 1) >= smallest
    if borders:
        for side in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
            kept[side] = True
    kept[0] = False
    return np.asarray(kept[pieces])


def resized(
    mask: NDArray[np.bool_], downsample: float | tuple[float, float], shape: tuple[int, int], wanted: float
) -> NDArray[np.bool_]:
    """A mask at the scale of a picture, by the nearest pixel.

    Args:
        mask: H×W.
        downsample: level-0 pixels a mask pixel measures, or (across, down).
        shape: height and width of the picture.
        wanted: level-0 pixels that one of its pixels measures.
    """
    across, down = downsample if isinstance(downsample, tuple) else (downsample, downsample)
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * wanted / scale).astype(np.int64), limit - 1)
        for n, scale, limit in zip(shape, (down, across), mask.shape)
    )
    return np.asarray(mask[rows[:, None], columns])


def with_rim(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A thumbnail's mask with its last column and row repeated, (H + 1)×(W + 1).

    A thumbnail leaves out a rim at the right and at the bottom narrower than one of its pixels; without the
    repetition, tiles there would count as partly bare.
    """
    return np.pad(mask, ((0, 1), (0, 1)), mode="edge")


def box_coverage(
    mask: NDArray[np.bool_], boxes: NDArray[np.float64], downsample: float | tuple[float, float]
) -> NDArray[np.float64]:
    """Share of each box that the mask covers, exact: pixels cut by a border count with the part inside.

    Args:
        mask: H×W; pixel (row, column) covers column·d to (column + 1)·d, and rows likewise.
        boxes: N×4 left, top, right, bottom in pixels of level 0; areas off the mask count as bare.
        downsample: level-0 pixels a mask pixel measures, or (across, down).

    Returns:
        N values in [0, 1].
    """
    across, down = downsample if isinstance(downsample, tuple) else (downsample, downsample)
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    scaled = boxes / (across, down, across, down)
    area = (scaled[:, 2] - scaled[:, 0]) * (scaled[:, 3] - scaled[:, 1])
    height, width = mask.shape
    left, top, right, bottom = np.clip(scaled, 0, (width, height, width, height)).T
    covered = np.zeros(len(boxes))
    rows = max(1, _BAND_CELLS // (width + 1))
    for first in range(0, height, rows):  # In bands, to bound the memory of the summed-area table.
        band = mask[first : first + rows]
        table = np.zeros((len(band) + 1, width + 1), np.int64)
        np.cumsum(band, axis=0, out=table[1:, 1:])
        np.cumsum(table, axis=1, out=table)
        some = np.flatnonzero((bottom > first) & (top < first + len(band)))
        upper, lower = (np.clip(edge[some] - first, 0, len(band)) for edge in (top, bottom))
        for x, sign in ((right[some], 1), (left[some], -1)):
            covered[some] += sign * (_at(table, x, lower) - _at(table, x, upper))
    return np.asarray(np.clip(covered / np.maximum(area, 1e-12), 0.0, 1.0))


def _at(table: NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Area covered above and left of points: within a pixel it is bilinear, so interpolation is exact."""
    column = np.minimum(x.astype(np.int64), table.shape[1] - 2)
    row = np.minimum(y.astype(np.int64), table.shape[0] - 2)
    u, v = x - column, y - row
    top = table[row, column] * (1 - u) + table[row, column + 1] * u
    low = table[row + 1, column] * (1 - u) + table[row + 1, column + 1] * u
    return np.asarray(top * (1 - v) + low * v)
