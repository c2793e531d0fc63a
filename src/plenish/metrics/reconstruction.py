"""How well images were reconstructed, image by image: mean squared error, PSNR and structural similarity.

Images are float N×H×W×C in [0, 1]. SSIM is that of Wang et al., IEEE TIP 13 (2004), 600-612, with their
window (a Gaussian of σ 1.5 over 11 pixels) and constants, averaged over channels; it agrees with
scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import convolution_matrix

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import Part
from plenish.errors import InputError
from plenish.training.autoencoder_model import LoadedAutoencoder

Floats = NDArray[np.float64]
Images = NDArray[np.floating[Any]]
WINDOW = 11
"""Side of the window of SSIM; smaller images have none."""
_SIGMA, _K1, _K2 = 1.5, 0.01, 0.03
_AT_ONCE = 128


def mean_squared_error(images: Images, others: Images) -> Floats:
    """Mean over pixels and channels of the squared difference, N, in units of [0, 1] squared."""
    difference = np.subtract(images, others, dtype=np.float64)
    return np.asarray(np.square(difference).mean(axis=(1, 2, 3)))


def psnr(mse: Floats) -> Floats:
    """Peak signal-to-noise ratio in dB of a mean squared error, N; infinite where that is 0."""
    with np.errstate(divide="ignore"):
        return np.asarray(-10 * np.log10(mse))


def ssim(images: Images, others: Images) -> Floats:
    """Structural similarity of each image with its counterpart, N, at most 1 where both are equal.

    Raises:
        InputError: the images are smaller than the window.
    """
    size = min(images.shape[1:3])
    if size < WINDOW:
        raise InputError(f"SSIM needs images of at least {WINDOW} px, and these have {size}.")
    a, b = (np.moveaxis(np.asarray(x, np.float64), 3, 1) for x in (images, others))
    down, across = _blur_matrix(a.shape[2]), _blur_matrix(a.shape[3])

    def blur(x: Floats) -> Floats:
        return np.asarray(down @ x @ across.T)

    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2
    covariance = blur(a * b) - mean_a * mean_b
    c1, c2 = _K1**2, _K2**2
    similar = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    similar /= (mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2)
    return np.asarray(similar.mean(axis=(1, 2, 3)))


def _blur_matrix(n: int) -> Floats:
    """The window along one side as a matrix, (n − 10)×n: only whole windows count."""
    offsets = np.arange(WINDOW) - WINDOW // 2
    weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    return np.asarray(convolution_matrix(weights / weights.sum(), n, "valid"))


def errors(model: LoadedAutoencoder, images: NDArray[np.uint8]) -> dict[str, Floats]:
    """`mse`, `psnr` and, unless images are smaller than its window, `ssim` of each image, N each.

    Args:
        model: what reconstructs.
        images: uint8 N×H×W×C.
    """
    original, made = images.astype(np.float32) / 255, model.reconstruct(images)
    mse = mean_squared_error(original, made)
    similarity = {"ssim": ssim(original, made)} if min(images.shape[1:3]) >= WINDOW else {}
    return {"mse": mse, **similarity, "psnr": psnr(mse)}


def denoising_errors(
    model: LoadedAutoencoder, images: NDArray[np.uint8], sd: float, draws: int, *key: int
) -> Floats:
    """Mean squared error of images reconstructed from noisy ones, N; without noise where `sd` is 0.

    How well noise is taken off an image tells how likely it is to the model (Vincent, Neural Computation 23
    (2011), 1661-1674; compared between models by Li et al., ICCV 2023). The noise of an image depends on its
    pixels and the key alone: models that are given the same key can be subtracted from each other, and an
    image has the same error in any company.

    Args:
        model: what reconstructs.
        images: uint8 N×H×W×C.
        sd: standard deviation of the noise, in units of [0, 1].
        draws: draws of noise an image, averaged.
        key: seeds the noise.
    """
    original = images.astype(np.float32) / 255
    if not sd:
        return mean_squared_error(original, model.reconstruct(images))
    streams = [np.random.default_rng([*key, zlib.crc32(image.tobytes())]) for image in images]
    total = np.zeros(len(images))
    for _ in range(draws):
        noise = np.stack([stream.standard_normal(images.shape[1:], np.float32) for stream in streams])
        total += mean_squared_error(original, model.reconstruct(images, np.float32(sd) * noise))
    return total / draws


def write_errors(
    path: Path, model: LoadedAutoencoder, dataset: Dataset, split: str, test: bool = False
) -> list[dict[str, Any]]:
    """Write a table with a row for each val image of all classes; returns the means of each part.

    With `test`, the test images follow, and that reading is counted.

    Columns: `id`, `part`, `label`, `group`, `mse` and, from 11 px on, `ssim`, `psnr`; images as numbers in
    [0, 1].
    """
    tables, results = [], []
    parts: tuple[Part, ...] = ("val", "test") if test else ("val",)
    for part in parts:
        if not len(dataset.split(split).rows(part)):
            continue
        rows = dataset.part(part, split, purpose="score")
        found = [pd.DataFrame(errors(model, images)) for images in rows.batches(_AT_ONCE)]
        measured = pd.concat(found, ignore_index=True)
        label = {"label": rows.labels} if dataset.labels.kind == "categorical" else {}
        about = pd.DataFrame({"id": rows.ids, "part": part, **label, "group": rows.groups})
        tables.append(about.join(measured))
        means = {str(name): float(values.mean()) for name, values in measured.items()}
        results.append({"part": part, "images": len(rows), **means})
    if tables:
        table = pd.concat(tables, ignore_index=True)
        files.write_bytes(path, table.to_parquet(None, index=False))
    return results
