"""Altered images: what a generator that copies might return, to see which of them a search finds."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pictures = NDArray[np.uint8]
Alteration = Callable[[Pictures, np.random.Generator], Pictures]


def _bytes(x: NDArray[np.float64]) -> Pictures:
    return np.clip(np.rint(x), 0, 255).astype(np.uint8)


def _exact(x: Pictures, rng: np.random.Generator) -> Pictures:
    return x.copy()


def _mirrored(x: Pictures, rng: np.random.Generator) -> Pictures:
    return np.ascontiguousarray(x[:, :, ::-1])


def _turned(x: Pictures, rng: np.random.Generator) -> Pictures:
    return np.ascontiguousarray(np.rot90(x, axes=(1, 2)))


def _compressed(x: Pictures, rng: np.random.Generator) -> Pictures:
    """JPEG of quality 70."""
    found = []
    for image in x:
        stream = io.BytesIO()
        Image.fromarray(image[..., 0] if x.shape[3] == 1 else image).save(stream, "JPEG", quality=70)
        with Image.open(stream) as again:
            found.append(np.asarray(again).reshape(x.shape[1:]))
    return np.stack(found)


def _coloured(x: Pictures, rng: np.random.Generator) -> Pictures:
    """Contrast, and light of each channel, changed by up to a tenth."""
    n, channels = len(x), x.shape[3]
    contrast = rng.uniform(0.9, 1.1, (n, 1, 1, 1))
    light = rng.uniform(0.9, 1.1, (n, 1, 1, channels))
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    return _bytes(((x - mean) * contrast + mean) * light)


def _noisy(sd: float) -> Alteration:
    def noisy(x: Pictures, rng: np.random.Generator) -> Pictures:
        return _bytes(x + rng.normal(0, sd, x.shape))

    return noisy


def _stained(x: Pictures, rng: np.random.Generator) -> Pictures:
    """Optical densities of the channels scaled by 0.75 to 1.25 and shifted by up to 0.05, each by its own."""
    density = -np.log((x + 1.0) / 256.0)
    shape = (len(x), 1, 1, x.shape[3])
    density = density * rng.uniform(0.75, 1.25, shape) + rng.uniform(-0.05, 0.05, shape)
    return _bytes(256.0 * np.exp(-density) - 1.0)


def _blended(x: Pictures, rng: np.random.Generator) -> Pictures:
    """Three parts of the image and one of another."""
    other = x[(np.arange(len(x)) + rng.integers(1, max(2, len(x)))) % len(x)]
    return _bytes(0.75 * x + 0.25 * other)


def _cropped(x: Pictures, rng: np.random.Generator) -> Pictures:
    """Nine tenths of the side, anywhere, resized to the whole side."""
    height, width = x.shape[1:3]
    found = []
    for image in x:
        top, left = rng.uniform(0, 0.1, 2) * (height, width)
        box = (left, top, left + 0.9 * width, top + 0.9 * height)
        picture = Image.fromarray(image[..., 0] if x.shape[3] == 1 else image)
        again = picture.resize((width, height), Image.Resampling.BICUBIC, box=box)
        found.append(np.asarray(again).reshape(x.shape[1:]))
    return np.stack(found)


def _shifted(x: Pictures, rng: np.random.Generator) -> Pictures:
    """Two pixels up or down and two left or right; what comes in is reflected."""
    height, width = x.shape[1:3]
    padded = np.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
    corners = 4 * rng.integers(0, 2, (len(x), 2))
    pairs = zip(padded, corners, strict=True)
    return np.stack([image[r : r + height, c : c + width] for image, (r, c) in pairs])


ALTERATIONS: Mapping[str, Alteration] = {
    "exact": _exact, "mirrored": _mirrored, "turned by 90°": _turned, "JPEG of quality 70": _compressed,
    "colours changed": _coloured, "noise of 5 grey levels": _noisy(5.0),
    "noise of 15 grey levels": _noisy(15.0), "stain changed": _stained, "blended 75:25": _blended,
    "cropped to 90 %": _cropped, "shifted by 2 px": _shifted,
}  # fmt: skip
"""Ways to alter images N×H×W×C uint8 (C is 1 or 3), by name; each takes the source of its draws."""
