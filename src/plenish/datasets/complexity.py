"""How variable a set of images is, in numbers that need no model, beside those of known sets.

All are measured on at most 2,000 images, reduced to 32×32 pixels by area averaging. Features are the 8×8
lowest coefficients of the cosine transform of luminance and of two colour differences, 192 numbers, scaled so
that a distance is a root mean square difference in grey levels.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from plenish.datasets.dataset import Dataset
from plenish.datasets.perceptual_hash import area_weights
from plenish.datasets.pixels import chunks

_MOST, _SIDE, _LOW = 2000, 32, 8
_PACKED = 500
"""Images that are packed as PNG and JPEG."""
_QUALITY = 75
_FLAT = 1e-6
"""Variance in grey levels², below which all images are one."""
_LEAST = 1e-12
"""Share of the variance below which a direction is rounding."""
_YCC = np.array([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]], np.float32)

MEASURES: Mapping[str, str] = {
    "effective_rank": "directions that the images vary along, of 191",
    "mean_distance": "root mean square difference of two images, coarse picture, grey levels",
    "unexplained_variance": "share of the variance that the mean image does not explain",
    "png_bits": "bits a pixel as PNG",
    "jpeg_bits": f"bits a pixel as JPEG of quality {_QUALITY}",
}
"""What is measured, in words."""


def complexity(dataset: Dataset, rows: NDArray[np.int64], seed: int = 0) -> dict[str, Any]:
    """The measures over (some of) the rows of a Dataset; see `measure`."""
    if len(rows) > _MOST:
        rows = np.sort(np.random.default_rng(seed).choice(rows, _MOST, replace=False))
    small = [reduced(dataset.pixels.read(rows[piece])) for piece in chunks(len(rows), 256)]
    return measure(np.concatenate(small))


def reduced(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """N×H×H×C as N×32×32×C uint8, by area averaging."""
    weights = area_weights(images.shape[1], _SIDE)
    out = np.einsum("ih,nhwc,jw->nijc", weights, images.astype(np.float32), weights, optimize=True)
    return np.asarray(np.rint(out).clip(0, 255), np.uint8)


def measure(images: NDArray[np.uint8]) -> dict[str, Any]:
    """How variable images N×32×32×C uint8 are.

    `effective_rank` is the exponential of the entropy of the normalised eigenvalues of the features'
    covariance (Roy and Vetterli 2007). `mean_distance` is the mean over all pairs. `unexplained_variance` is
    the variance of the pixels about their mean image over that about one grey level: low where things lie at
    fixed places, as in aligned faces.
    """
    vectors = _features(images)
    centred = vectors - vectors.mean(axis=0)
    values = np.linalg.svd(centred, compute_uv=False).astype(np.float64) ** 2
    shares = values / max(float(values.sum()), _FLAT * len(images))
    shares = shares[shares > _LEAST] if values.sum() > _FLAT * len(images) else shares[:0]
    rank = float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0
    grey = images.astype(np.float32).mean(axis=3)
    whole = float(grey.var())
    few = images[np.linspace(0, len(images) - 1, min(len(images), _PACKED)).astype(int)]
    return {
        "images": len(images), "effective_rank": rank, "mean_distance": _mean_distance(vectors),
        "unexplained_variance": float(grey.var(axis=0).mean()) / whole if whole else 0.0,
        "png_bits": _bits(few, "PNG", compress_level=9),
        "jpeg_bits": _bits(few, "JPEG", quality=_QUALITY),
    }  # fmt: skip


def _features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = images.astype(np.float32)
    values = np.repeat(values, 3, axis=3) if values.shape[3] == 1 else values
    k = np.arange(_LOW)[:, None]
    basis = np.cos(np.pi * (2 * np.arange(_SIDE) + 1) * k / (2 * _SIDE)) * np.sqrt(2) / _SIDE
    basis[0] /= np.sqrt(2)
    planes = np.einsum("nhwc,dc->ndhw", values, _YCC)
    low = np.einsum(
        "uh,ndhw,vw->nduv", basis.astype(np.float32), planes, basis.astype(np.float32), optimize=True
    )
    return np.asarray(low.reshape(len(images), -1), np.float32)


def _mean_distance(vectors: NDArray[np.float32]) -> float:
    """The mean Euclidean distance of two of N vectors."""
    n = len(vectors)
    if n < 2:
        return 0.0
    total, squares = 0.0, (vectors.astype(np.float64) ** 2).sum(axis=1)
    for piece in chunks(n, 256):
        products = vectors[piece].astype(np.float64) @ vectors.T.astype(np.float64)
        total += float(np.sqrt(np.maximum(squares[piece][:, None] + squares - 2 * products, 0)).sum())
    return total / (n * (n - 1))


def _bits(images: NDArray[np.uint8], kind: str, **options: Any) -> float:
    total = 0
    for image in images:
        packed = io.BytesIO()
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(packed, kind, **options)
        total += len(packed.getvalue())
    return 8 * total / max(1, len(images) * _SIDE**2)
