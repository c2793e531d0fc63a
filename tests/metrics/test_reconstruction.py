"""Errors of reconstructions, against scikit-image and by known values."""

from __future__ import annotations

import numpy as np
import pytest

from plenish.errors import InputError
from plenish.metrics.reconstruction import denoising_errors, errors, mean_squared_error, psnr, ssim


def _pairs(n: int = 4, size: int = 24, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    a = rng.random((n, size, size + 3, channels))
    return a, np.clip(a + 0.2 * rng.normal(size=a.shape), 0, 1)


@pytest.mark.parametrize(("size", "channels"), [(11, 1), (24, 3), (33, 1)])
def test_they_agree_with_scikit_image(size: int, channels: int) -> None:
    metrics = pytest.importorskip("skimage.metrics")
    a, b = _pairs(size=size, channels=channels)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "channel_axis": 2}
    expected = [metrics.structural_similarity(x, y, data_range=1.0, **options) for x, y in zip(a, b)]
    np.testing.assert_allclose(ssim(a, b), expected, atol=1e-10)
    mse = mean_squared_error(a, b)
    np.testing.assert_allclose(mse, [metrics.mean_squared_error(x, y) for x, y in zip(a, b)])
    expected = [metrics.peak_signal_noise_ratio(x, y, data_range=1.0) for x, y in zip(a, b)]
    np.testing.assert_allclose(psnr(mse), expected)


def test_an_image_is_like_itself_and_every_measure_is_symmetric() -> None:
    a, b = _pairs()
    np.testing.assert_allclose(ssim(a, a), 1)
    np.testing.assert_allclose(ssim(a, b), ssim(b, a))
    assert np.array_equal(mean_squared_error(a, b), mean_squared_error(b, a))
    assert np.isinf(psnr(mean_squared_error(a, a))).all()


def test_of_flat_images_only_the_luminance_differs() -> None:
    a, b = np.full((1, 16, 16, 1), 0.2), np.full((1, 16, 16, 1), 0.6)
    np.testing.assert_allclose(ssim(a, b), (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4))
    np.testing.assert_allclose(mean_squared_error(a, b), 0.16)


class _Darker:
    def reconstruct(self, images: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
        return images.astype(np.float32) / 255 - np.float32(0.1)


def test_errors_are_in_units_of_zero_to_one() -> None:
    images = np.full((2, 12, 12, 3), 128, np.uint8)
    found = errors(_Darker(), images)
    np.testing.assert_allclose(found["mse"], 0.01, rtol=1e-5)
    np.testing.assert_allclose(found["psnr"], 20, rtol=1e-5)
    assert "ssim" not in errors(_Darker(), images[:, :8, :8])


def test_images_smaller_than_the_window_have_no_ssim() -> None:
    a, b = _pairs(size=8)
    with pytest.raises(InputError, match="at least 11 px"):
        ssim(a, b)


class _Through:
    """Gives back what it is shown."""

    def reconstruct(self, images: np.ndarray, noise: np.ndarray | None = None) -> np.ndarray:
        shown = images.astype(np.float32) / 255
        return shown if noise is None else shown + noise


def test_who_takes_no_noise_off_has_its_variance_as_error() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)
    found = denoising_errors(_Through(), images, 0.3, 4, 7)
    np.testing.assert_allclose(found, 0.09, rtol=0.05)
    assert np.array_equal(found, denoising_errors(_Through(), images, 0.3, 4, 7))
    assert not np.array_equal(found, denoising_errors(_Through(), images, 0.3, 4, 8))
    alone = [denoising_errors(_Through(), images[i : i + 1], 0.3, 4, 7)[0] for i in range(3)]
    np.testing.assert_allclose(alone, found)
    assert not denoising_errors(_Through(), images, 0.0, 4, 7).any()
