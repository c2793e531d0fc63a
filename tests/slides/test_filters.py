from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from plenish.phantom.tiles import render_tile
from plenish.slides.filters import SHARP, pen_mask, pen_share, sharpness


@pytest.fixture(scope="module")
def tissue() -> NDArray[np.uint8]:
    return np.stack([render_tile(3, patient, tile, 128)[0] for patient in range(5) for tile in range(2)])


def blurred(tiles: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    return ndimage.gaussian_filter(tiles, (0, sigma, sigma, 0))


def test_white_noise_is_as_fine_as_coarse() -> None:
    noise = np.random.default_rng(0).normal(128, 20, (4, 256, 256, 3)).clip(0, 255).astype(np.uint8)
    assert sharpness(noise) == pytest.approx(1.0, abs=0.03)


@pytest.mark.parametrize("sigma", [2.0, 4.0, 12.0, 30.0])
def test_planted_blur_is_found(tissue: NDArray[np.uint8], sigma: float) -> None:
    assert sharpness(tissue).min() > 1.4 * SHARP
    assert sharpness(blurred(tissue, sigma)).max() < SHARP


def test_contrast_and_brightness_do_not_count(tissue: NDArray[np.uint8]) -> None:
    pale = np.rint(128 + (tissue.astype(np.float64) - 128) * 0.5).astype(np.uint8)
    assert sharpness(pale) == pytest.approx(sharpness(tissue), rel=0.03)


def test_nothing_to_see_is_not_sharp() -> None:
    assert (sharpness(np.full((2, 64, 64, 3), 200, np.uint8)) == 0).all()


def test_tiles_too_small_for_the_measure_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 9"):
        sharpness(np.zeros((1, 8, 64, 3), np.uint8))


@pytest.mark.parametrize(
    "ink", [(20, 90, 60), (30, 160, 90), (30, 60, 160), (70, 140, 220), (230, 25, 45), (25, 25, 30)]
)
def test_a_planted_stroke_is_measured(tissue: NDArray[np.uint8], ink: tuple[int, int, int]) -> None:
    marked = tissue.copy()
    marked[:, :, 32:64] = ink
    assert pen_share(tissue).max() < 0.01
    assert pen_share(marked) == pytest.approx(0.25, abs=0.02)


def test_no_mixture_of_the_two_stains_is_ink() -> None:
    h, e = np.meshgrid(np.linspace(0, 1.6, 30), np.linspace(0, 1.6, 30))
    for hue in ((0.62, 0.70, 0.30), (0.65, 0.70, 0.29), (0.56, 0.72, 0.41)):
        density = h[..., None] * np.array(hue) + e[..., None] * np.array((0.15, 0.86, 0.40))
        assert not pen_mask((240 * np.exp(-density)).astype(np.uint8)).any()


def test_subsampling_measures_the_same(tissue: NDArray[np.uint8]) -> None:
    marked = tissue.copy()
    marked[:, 40:80, 16:112] = (20, 120, 80)
    assert pen_share(marked, step=4) == pytest.approx(pen_share(marked, step=1), abs=0.01)
