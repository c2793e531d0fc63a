"""Uniform bands at the sides of pictures, as padding to a square leaves them.

A side has a band where all of the following hold; otherwise its width is 0.

1. The rows from the side inwards (columns, for left and right) are of one colour, that of the outermost row:
   at most `_STRAY` of their pixels differ by more than `tolerance` in some channel.
2. The change is abrupt: at most `_soft` rows, blurred by resampling or compression, lie between the last row
   of the band and the first one of the picture, which differs from that last row too (a gradient does not).
3. The change is straight and long: of the pixels of that first row, at least `coverage` differ from the band.
   They are counted between the bands of the two other sides, so that a frame is found.
4. A white band must end in a picture that reaches both other sides of the image and differs from white over
   `WHITE_COVERAGE` of the length, or be one of four around a picture that differs over `FRAME_COVERAGE` of
   each of its sides.

5. The band has no drift of its light and no grain (see `_without_ground`), as plain ground of photos has.

Plain ground that reaches far in from several sides leaves a few pixels between it, of which any half is soon
found; so 3 is counted anew between what is left as bands until nothing changes.

A plain background around a figure meets 1 but not 2 and 3: its first other row is the top of a head or of an
object, a few pixels long. White is the usual background of drawings, and figures are often cut off straight
at one side of it; they have margins at the other sides too, which 4 excludes.

Limits. Padding in the colour of the picture's own background cannot be seen. A flat sky that ends at a
straight horizon, a rectangular object that lies parallel to the sides on a plain background, and the drawn
border of a comic panel have the same pixels as bands have, and are called so. Dark pictures on black are
missed where less than `coverage` of their edge differs from black.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Pixels = NDArray[np.uint8]

TOLERANCE = 24
"""Grey levels that pixels of one colour may differ by; JPEG of quality 50 and above stays within."""
COVERAGE = 0.5
"""Least share of the first row of the picture that differs from the band."""
WHITE_COVERAGE = 0.9
"""The same for white bands between the two other sides of the image."""
FRAME_COVERAGE = 0.98
"""The same for white bands around a picture."""
LEAST = 0.02
"""Share of the side below which a band is too thin to count."""

KINDS = ("none", "horizontal", "vertical", "frame", "blank")

_WHITE = 235  # darkest level of every channel of white
_STRAY = 0.02  # share of a row of one colour that may differ
_CLEAR = 6.0  # times that the change behind a band exceeds the grain within it, at least
_BYTES = 32 * 2**20  # of the pixels of a chunk


def bands(images: Pixels, tolerance: int = TOLERANCE, coverage: float = COVERAGE) -> Ints:
    """Widths of the bands of each image.

    Args:
        images: N×H×W×C uint8.
        tolerance: grey levels, 0 to 255.
        coverage: share of the first row of the picture that must differ from the band, 0 to 1.

    Returns:
        N×4, pixels: top, bottom, left, right; H, H, W, W for an image of one colour.
    """
    count, height, width, channels = images.shape
    found = np.zeros((count, 4), np.int64)
    step = max(1, _BYTES // max(1, height * width * channels))
    for start in range(0, count, step):
        found[start : start + step] = _bands(images[start : start + step], tolerance, coverage)
    return found


def kinds(widths: Ints, side: int | tuple[int, int], least: float = LEAST) -> NDArray[np.str_]:
    """What bands each image has: none, horizontal, vertical, frame (both) or blank (of one colour).

    Args:
        widths: N×4, of `bands`.
        side: height and width of the images, pixels; one number for square ones.
        least: share of the side below which a band does not count.

    Returns:
        N of `KINDS`.
    """
    height, width = (side, side) if isinstance(side, int) else side
    count = counted(widths, side, least)
    horizontal, vertical = count[:, :2].any(axis=1), count[:, 2:].any(axis=1)
    blank = (widths[:, 0] >= height) & (widths[:, 2] >= width)
    return np.select(
        [blank, horizontal & vertical, horizontal, vertical], ["blank", "frame", "horizontal", "vertical"],
        default="none",
    )  # fmt: skip


def counted(widths: Ints, side: int | tuple[int, int], least: float = LEAST) -> NDArray[np.bool_]:
    """Which bands are wide enough to count, N×4; arguments as for `kinds`."""
    height, width = (side, side) if isinstance(side, int) else side
    return widths >= np.maximum(1, least * np.array([height, height, width, width]))


def _bands(images: Pixels, tolerance: int, coverage: float) -> Ints:
    _, height, width, _ = images.shape
    length = np.array([height, height, width, width])
    runs = np.stack([_runs(_turned(images, side), tolerance) for side in range(4)], axis=1)
    found, framed = np.zeros_like(runs), np.zeros(runs.shape, np.bool_)
    between = runs
    for _ in range(
        4
    ):  # Each time a side that is no band is taken out, and the rows of the others are longer.
        for side in range(4):
            across = between[:, 2:] if side < 2 else between[:, :2]
            rows = np.flatnonzero((between[:, side] > 0) & (runs[:, side] < length[side]))
            found[:, side] = 0
            if len(rows):
                found[rows, side], framed[rows, side] = _edges(
                    _turned(images[rows], side), runs[rows, side], across[rows], tolerance, coverage
                )
        found[framed & ~(found > 0).all(axis=1, keepdims=True)] = 0
        found = _without_ground(images, found, tolerance)
        left = np.where(found > 0, runs, 0)
        if (left == between).all():
            break
        between = left
    blank = (runs[:, 0] >= height) & (runs[:, 2] >= width)
    found[blank] = length
    return found


def _without_ground(images: Pixels, widths: Ints, tolerance: int) -> Ints:
    """Bands without those that are a photograph's plain ground; 0 in their place.

    Light: the mean colour of the rows of a band, but for the last one, may differ from that of the outermost
    row by at most a quarter of the tolerance for single pixels, and a third of what the first row of the
    picture differs by: noise and compression hardly change means. Grain: the root mean square deviation of
    the band's pixels from their mean may be at most `1 / _CLEAR` of that difference. Of planted bands it was
    at most 1/8 (JPEG of quality 75), of skin at least 1/4.5.

    Args:
        images: N×H×W×C.
        widths: N×4, top, bottom, left, right.
        tolerance: that they were found with.
    """
    found = widths.copy()
    for i, side in zip(*np.nonzero(widths), strict=True):
        rows = _turned(images[i : i + 1], int(side))[0]
        width = int(widths[i, side])
        if width >= len(rows):
            continue  # All of one colour.
        low, high = widths[i, 2:] if side < 2 else widths[i, :2]
        inner = rows[: width + 2, low : rows.shape[1] - high].astype(np.float32)
        means = inner[: max(1, width - 1)].mean(axis=1)  # The last row may be blended with the picture.
        drift = np.abs(means - means[0]).max()
        change = np.abs(inner[-1] - means[0]).mean(axis=0).max()
        grain = inner[: len(means)].std(axis=(0, 1)).max()
        if drift > min(change / 3, tolerance / 4) or grain > change / _CLEAR:
            found[i, side] = 0
    return found


def _turned(images: Pixels, side: int) -> Pixels:
    """The images as a view in which a side (top, bottom, left, right) is the top."""
    upright = images if side < 2 else images.transpose(0, 2, 1, 3)
    return upright[:, ::-1] if side in (1, 3) else upright


def _differs(images: Pixels, colours: Pixels, tolerance: int) -> NDArray[np.bool_]:
    """Which pixels, N×H×W, differ from the colour of their image, N×C."""
    colour = colours.astype(np.int16)
    least, most = np.clip(colour - tolerance, 0, 255), np.clip(colour + tolerance, 0, 255)
    low, span = least.astype(np.uint8)[:, None, None], (most - least).astype(np.uint8)[:, None, None]
    found = np.zeros(images.shape[:3], np.bool_)
    for c in range(images.shape[3]):  # Below `low` the difference of unsigned numbers is a large one.
        found |= images[..., c] - low[..., c] > span[..., c]
    return found


def _colours(images: Pixels) -> Pixels:
    """The colour of the topmost row of each image, N×C."""
    found: Pixels = np.rint(np.median(images[:, 0], axis=1)).astype(np.uint8)
    return found


def _runs(images: Pixels, tolerance: int) -> Ints:
    """Rows of one colour at the top of each image."""
    colours = _colours(images)
    runs = np.zeros(len(images), np.int64)
    rows = np.flatnonzero(_differs(images[:, :1], colours, tolerance).mean(axis=(1, 2)) <= _STRAY)
    if len(rows):
        other = _differs(images[rows], colours[rows], tolerance).mean(axis=2) > _STRAY
        runs[rows] = np.where(other.any(axis=1), other.argmax(axis=1), images.shape[1])
    return runs


def _edges(
    images: Pixels, runs: Ints, across: Ints, tolerance: int, coverage: float
) -> tuple[Ints, NDArray[np.bool_]]:
    """The width of the band at the top of each image, and whether it counts only as one of four.

    The width is 0 where the edge is not sharp and long.
    """
    count, height, width, _ = images.shape
    colours = _colours(images)
    white = (colours >= _WHITE).all(axis=1)
    places, soft = np.arange(width), _soft(height)
    inside = (places >= across[:, :1]) & (places < width - across[:, 1:])
    core = (places >= across[:, :1] + soft) & (places < width - across[:, 1:] - soft)
    framed = np.asarray(white & (across > 0).any(axis=1), np.bool_)
    share = np.where(framed, FRAME_COVERAGE, np.where(white, WHITE_COVERAGE, coverage))
    needed = np.maximum(share, coverage) * np.maximum(1, inside.sum(axis=1))
    found, every = np.zeros(count, np.int64), np.arange(count)
    last = _colours(images[every, np.maximum(0, runs - 1 - soft)][:, None])
    for step in range(soft + 1):
        row = np.minimum(runs + step, height - 1)
        pixels = images[every, row][:, None]
        edge = (_differs(pixels, colours, tolerance) & _differs(pixels, last, tolerance))[:, 0]
        # The blurred end of a row is as pale as those of the rows behind it; that of a round corner is not.
        behind = images[every, np.minimum(row + 1 + soft, height - 1)]
        along = np.abs(behind.astype(np.int16) - pixels[:, 0]).max(axis=2) <= tolerance // 2
        edge |= ~core & along
        sharp = (found == 0) & ((edge & inside).sum(axis=1) >= needed)
        found[sharp] = row[sharp]
    return found, framed


def _soft(height: int) -> int:
    """Rows between a band and the picture that may be blurred."""
    return max(1, round(height / 100))
