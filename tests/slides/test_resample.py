from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from plenish.slides.resample import shrink


def _weights(start: float, step: float, count: int, length: int) -> np.ndarray:
    """Which share of each pixel each pixel of the result covers, from the definition."""
    lower = start + step * np.arange(count)[:, None]
    pixel = np.arange(length)[None]
    return np.clip(np.minimum(lower + step, pixel + 1) - np.maximum(lower, pixel), 0, None) / step


@example(3.0, 0.0, 0.0, 1)
@example(7.0, 1.0, 2.0, 20)
@given(st.floats(1, 14), st.floats(0, 3), st.floats(0, 3), st.integers(1, 20))
def test_it_is_the_mean_over_the_area(step: float, left: float, top: float, count: int) -> None:
    length = int(np.ceil(3 + step * count)) + 1
    pixels = np.random.default_rng(0).integers(0, 256, (length, length, 3), dtype=np.uint8)
    box = (left, top, left + step * count, top + step * count)
    across, down = (_weights(at, step, count, length) for at in (left, top))
    expected = np.einsum("ij,jkc,lk->ilc", down, pixels.astype(float), across, optimize=True)
    assert np.abs(shrink(pixels, box, count, count) - expected).max() <= 0.51


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_whole_factors_agree_with_pillow(factor: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(pixels).resize((96 // factor, 64 // factor), Image.Resampling.BOX))
    small = shrink(pixels, (0, 0, 96, 64), 96 // factor, 64 // factor)
    assert np.abs(small.astype(int) - expected).max() <= 1


def test_a_plain_colour_stays() -> None:
    pixels = np.full((50, 50, 3), 137, np.uint8)
    assert (shrink(pixels, (0.3, 0.7, 45.3, 45.7), 31, 31) == 137).all()
    white = np.full((50, 50, 3), 255, np.uint8)
    assert (shrink(white, (0.3, 0.7, 45.3, 45.7), 31, 31) == 255).all()
