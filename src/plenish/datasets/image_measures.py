"""What can be measured of one image by itself: light, contrast, sharpness, colour; all between 0 and 1."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.pixels import chunks

Floats = NDArray[np.float32]

NAMES = ("light", "darkness", "contrast", "sharpness", "colour")
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_TAIL = 0.01
"""Share of pixels beyond the percentiles: a figure that covers less of an image is not seen."""
_WINDOW = 9  # pixels of the low-pass filter of Crété et al.
_FLAT = 0.5 / 255  # mean difference of neighbours below which an image has no edges that could be sharp
_BYTES = 16 * 2**20


def measure(images: NDArray[np.uint8]) -> Floats:
    """Measures of images N×H×W×C uint8, N×5, in the order of `NAMES`.

    - light: the 99th percentile of the luminance; small of dark images.
    - darkness: 1 − its 1st percentile; small of images that are bright all over, or empty pages.
    - contrast: the difference of these two percentiles.
    - sharpness: how much of the differences of neighbouring pixels a moving average takes away, in the
      direction where that is less (1 − the blur metric of Crété et al., HVEI 2007); it does not depend on
      contrast. NaN where there are no edges.
    - colour: the 99th percentile of the largest difference of a pixel's channels; 0 of grey images.
    """
    count, height, width, channels = images.shape
    found = np.empty((count, len(NAMES)), np.float32)
    for rows in chunks(count, max(1, _BYTES // (height * width * channels * 4))):
        x = images[rows].astype(np.float32) / 255
        grey = np.asarray(x[..., 0] if channels == 1 else x @ _LUMINANCE, np.float32)
        low, high = _percentile(grey, _TAIL), _percentile(grey, 1 - _TAIL)
        found[rows, 0], found[rows, 1], found[rows, 2] = high, 1 - low, high - low
        found[rows, 3] = sharpness(grey)
        found[rows, 4] = _percentile(x.max(axis=3) - x.min(axis=3), 1 - _TAIL) if channels == 3 else 0
    return found


def sharpness(grey: Floats) -> Floats:
    """Sharpness of grey images N×H×W in [0, 1], N; see `measure`."""
    return np.minimum(_along(grey), _along(grey.transpose(0, 2, 1)))


def _along(grey: Floats) -> Floats:
    """The sharpness of rows."""
    half = _WINDOW // 2
    wide = np.pad(grey, ((0, 0), (0, 0), (half + 1, half)), mode="edge")
    sums = np.cumsum(wide, axis=2, dtype=np.float64)
    smooth = (sums[:, :, _WINDOW:] - sums[:, :, :-_WINDOW]) / _WINDOW
    before, after = np.abs(np.diff(grey, axis=2)), np.abs(np.diff(smooth, axis=2))
    total = before.sum(axis=(1, 2), dtype=np.float64)
    lost = np.maximum(before - after, 0).sum(axis=(1, 2), dtype=np.float64)
    flat = total < _FLAT * before[0].size
    return np.where(flat, np.nan, lost / np.maximum(total, 1e-9)).astype(np.float32)


def _percentile(values: Floats, share: float) -> Floats:
    """The value that a share of an image's pixels do not exceed, N."""
    flat = values.reshape(len(values), -1)
    place = min(flat.shape[1] - 1, int(share * flat.shape[1]))
    return np.asarray(np.partition(flat, place, axis=1)[:, place])
