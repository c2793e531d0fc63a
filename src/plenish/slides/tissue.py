"""Where a slide has tissue: a mask of its thumbnail, and how much of a box the mask covers.

Tissue is coloured and glass is not, so saturation separates them, at the threshold of Otsu (1979) within
bounds: without bounds, the method finds two classes also where there is only one. Where most of a slide is
glass, as with small biopsies, the noise of the glass tells how pale tissue may be. Colours are taken relative
to the glass (see `glass`), and ink is left out (see `ink`).
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.configuration import option
from plenish.datasets.images import encode_png
from plenish.errors import InputError
from plenish.slides.glass import SAMPLE, USUAL_BOUNDS, saturation, threshold, transmittance
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
_SMALL_DISC = 5.0
"""Radius up to which a closing is done directly, pixels."""
_GREY = 0.15
"""Least difference of two channels' optical densities, as a share of the greatest, that is a colour."""
_BESIDE_UM, _DENSE = 32.0, 0.03
"""Distance from coloured pixels within which others of this optical density above glass are tissue too."""
_GRAIN_UM2 = 1000.0
"""Coloured pieces smaller than this may be of an air bubble's edge: nothing is looked for beside them."""
_HALO_UM, _EDGE = 16.0, 0.25
"""Width of the blurred edge of tissue; share of the colour and density beside it at which tissue ends."""
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
            method and the noise of the glass.
        tissue_dark: HSV value (0 to 1) below which there is none: the scanner's black, folds of the glass.
        tissue_close_um: gaps in tissue of about twice this width are closed, µm.
        tissue_speck_um2: pieces of tissue smaller than this are left out, µm².
        tissue_hole_um2: holes in tissue smaller than this are filled, µm².
        tissue_ink: remove what looks like ink of a pen, or keep it as tissue.
    """

    min_tissue: float = option(0.5, least=0, most=1)
    tissue_saturation: float | None = option(None, least=0, most=1)
    tissue_dark: float = option(0.06, least=0, most=1)
    tissue_close_um: float = option(12.0, least=0)
    tissue_speck_um2: float = option(3_000.0, least=0)
    tissue_hole_um2: float = option(10_000.0, least=0)
    tissue_ink: Literal["remove", "keep"] = "remove"


def no_tissue(
    name: str, rgb: NDArray[np.uint8], options: TissueOptions, um_per_pixel: float | None,
    picture: Path | None,
) -> InputError:  # fmt: skip
    """The error of a slide without tissue, with a picture that shows why.

    Args:
        name: the slide's name.
        rgb: its thumbnail, H×W×3 uint8.
        options: thresholds and sizes.
        um_per_pixel: µm that a pixel of the thumbnail measures; None takes it for 8.
        picture: a PNG to write: the thumbnail, and beside it the saturation, black at 0 and white at the
            threshold; None for no picture.
    """
    found = saturation(transmittance(rgb))
    needed = threshold(found, options.tissue_saturation)
    if picture is not None:
        scale = np.clip(found / max(needed, 1e-6), 0, 1)
        grey = np.repeat(np.rint(scale * 255).astype(np.uint8)[..., None], 3, axis=2)
        gap = np.full((len(grey), 8, 3), 255, np.uint8)
        files.write_bytes(picture, encode_png(np.concatenate([rgb, gap, grey], axis=1)))
    why = _reason(rgb, options, um_per_pixel) or (
        f"it needs a saturation above {needed:.2f} and 99 % of the thumbnail has at most "
        f"{float(np.quantile(found, 0.99)):.2f}; lower --tissue-saturation"
    )
    shown = "" if picture is None else f" A picture of it is {picture.name}, beside the output."
    return InputError(f"No tissue was found on {name}: {why}, or leave the slide out.{shown}")


def _reason(rgb: NDArray[np.uint8], options: TissueOptions, um_per_pixel: float | None) -> str:
    """Which step removed all that is coloured enough, and the remedy; empty if nothing is coloured."""
    speck, dark = options.tissue_speck_um2, options.tissue_dark
    without: list[tuple[dict[str, Any], str]] = [
        (
            {"tissue_ink": "keep"},
            "all that is coloured looks like ink of a pen; if it is tissue, give --tissue-ink keep, else "
            "wipe the slide",
        ),
        ({"tissue_speck_um2": 0}, f"all pieces are below {speck:g} µm²; lower --tissue-speck-um2"),
        ({"tissue_dark": 0}, f"all that is coloured is darker than {dark:g}; lower --tissue-dark"),
    ]
    for changes, reason in without:
        if tissue_mask(rgb, dataclasses.replace(options, **changes), um_per_pixel).any():
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
    rgb: NDArray[np.uint8], options: TissueOptions, um_per_pixel: float | None = None
) -> NDArray[np.bool_]:
    """Which pixels of a thumbnail show tissue.

    Args:
        rgb: H×W×3 uint8.
        options: thresholds and sizes.
        um_per_pixel: µm that a pixel of the thumbnail measures; None takes it for 8.

    Returns:
        H×W; all False where there is none (see `no_tissue`).
    """
    from scipy import ndimage

    scale = um_per_pixel or UM_PER_PIXEL
    sigma = min(_SMOOTH_UM / scale, 8.0)
    smooth = transmittance(rgb)
    sharp = np.rint(smooth).astype(np.uint8) if options.tissue_ink == "remove" else None
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
    # JPEG blurs faint colours more than brightness: beside coloured pixels, those darker than glass count.
    grown = 2 * _pixels(_BESIDE_UM, scale) + 1
    beside = ndimage.maximum_filter(_without_small(found, _GRAIN_UM2 / scale**2), grown)
    glass = density[usable & ~beside][:: max(1, density.size // SAMPLE)]
    found |= beside & usable & (density > _DENSE + (np.quantile(glass, 0.9) if glass.size else np.inf))
    found = _without_halo(found, colour, density, _pixels(_HALO_UM, scale))
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
    found = (colour > threshold(colour[usable], options.tissue_saturation)) & usable
    if options.tissue_saturation is None:
        faint = np.flatnonzero(found & (colour < USUAL_BOUNDS[0]))
        density = np.log(np.float32(255) / np.maximum(smooth.reshape(-1, 3)[faint], np.float32(1)))
        most, least = density.max(axis=1), density.min(axis=1)
        found.ravel()[faint[most - least < _GREY * most]] = False
    return found


def _pixels(um: float, scale: float) -> int:
    """A length in pixels, 2 to 32."""
    return min(max(2, round(um / scale)), 32)


def _without_halo(
    found: NDArray[np.bool_], colour: NDArray[np.float32], density: NDArray[np.float32], reach: int
) -> NDArray[np.bool_]:
    """The mask without the rim of pixels that are coloured by the blurred edge of what lies beside."""
    from scipy import ndimage

    size = 2 * reach + 1
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
