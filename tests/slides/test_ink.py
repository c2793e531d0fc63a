from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from plenish.slides.tissue import TissueOptions, tissue_mask

GLASS = 244.0


def slide(shape: tuple[int, int] = (400, 500)) -> NDArray[np.float64]:
    return np.full((*shape, 3), GLASS)


def absorbed(picture: NDArray[np.float64], box: tuple[slice, slice], density: object, seed: int = 0) -> None:
    """Multiply the light of a box by a stain's, with texture as of tissue unless `seed` is negative."""
    shape = (*picture[box].shape[:2], 1)
    amount = np.ones(shape) if seed < 0 else 1 + 0.15 * np.random.default_rng(seed).normal(size=shape)
    picture[box] *= np.exp(-np.clip(amount, 0.3, 2) * np.asarray(density))


def found(picture: NDArray[np.float64]) -> NDArray[np.bool_]:
    noisy = picture + np.random.default_rng(9).normal(0, 0.7, picture.shape)
    return tissue_mask(noisy.clip(0, 255).round().astype(np.uint8), TissueOptions(), 8.0)


INKS = [(2.3, 2.3, 2.15), (2.0, 1.4, 0.5), (2.2, 0.8, 1.2), (0.2, 1.9, 1.5)]
"""Optical densities of black, blue, green and red ink."""
BITS = np.s_[40:70, 40:75], np.s_[40:60, 150:180]


@pytest.mark.parametrize("ink", INKS)
def test_small_tissue_beside_much_ink_is_found_and_the_ink_is_not(ink: tuple[float, float, float]) -> None:
    picture = slide()
    for number, box in enumerate(BITS):
        absorbed(picture, box, (0.15, 0.4, 0.18), number)
    stroke = np.s_[150:260, 100:420]
    absorbed(picture, stroke, 0.45 * np.array(ink), -1)  # The thin ink along its edges,
    absorbed(picture, np.s_[155:255, 105:415], 0.5 * np.array(ink), 5)  # and the full one.
    mask = found(picture)
    for box in BITS:
        assert mask[box].mean() > 0.97
    assert not mask[145:265, 95:425].any()
    assert mask.sum() < 1.15 * sum(mask[box].size for box in BITS)


@pytest.mark.parametrize(
    "density", [(1.3, 2.3, 2.1), (1.6, 2.6, 1.6), (1.85, 2.1, 2.0), (2.1, 2.9, 2.8)], ids=str
)
def test_dark_compact_tissue_is_not_taken_for_black_ink(density: tuple[float, float, float]) -> None:
    picture = slide()
    absorbed(picture, np.s_[60:110, 60:120], density, 1)
    absorbed(picture, np.s_[250:280, 300:330], (0.15, 0.4, 0.18), 2)
    assert found(picture)[60:110, 60:120].mean() > 0.97


def test_tissue_that_has_the_colour_of_ink_is_tissue() -> None:
    picture = slide()
    absorbed(picture, np.s_[60:300, 60:300], (1.4, 0.8, 0.5), 1)  # As in Masson's trichrome.
    absorbed(picture, np.s_[120:180, 120:180], (0.1, 0.6, 0.3), 2)
    assert found(picture)[62:298, 62:298].mean() > 0.97


@pytest.mark.parametrize(
    ("kind", "density"),
    [("pale", (0.06, 0.2, 0.08)), ("brown", (0.1, 0.22, 0.3)), ("blue", (0.09, 0.1, 0.045))],
)
def test_pale_fragments_are_found_beside_dark_ones(kind: str, density: tuple[float, float, float]) -> None:
    picture = slide()
    absorbed(picture, np.s_[40:54, 40:54], density, 1)  # 112 µm
    absorbed(picture, np.s_[200:260, 200:280], (1.3, 2.3, 2.1), 2)
    mask = found(picture)
    assert mask[40:54, 40:54].mean() > 0.95, kind
    assert mask.sum() < 1.15 * (14 * 14 + 60 * 80)


def test_a_lace_of_septa_is_filled_and_grey_lines_are_not_tissue() -> None:
    picture = slide()
    y, x = np.mgrid[:400, :500]
    inside = (y >= 40) & (y < 105) & (x >= 40) & (x < 105)
    septa = inside & (((y - 40) % 8 == 0) | ((x - 40) % 8 == 0))  # Cells of 64 µm with walls of a pixel.
    picture[septa] *= np.exp(-0.4 * np.array((0.15, 0.5, 0.25)))
    picture[:, 300:303] *= 0.65  # The edge of the coverslip,
    ring = np.abs(np.hypot(y - 250, x - 150) - 60) < 1.5  # and a bubble.
    picture[ring] *= (0.5, 0.51, 0.49)
    mask = found(picture)
    assert mask[40:105, 40:105].mean() > 0.97
    assert mask.sum() < 1.12 * 65 * 65
