from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

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


PENS = {"black": (25, 25, 30), "blue": (35, 60, 150), "green": (28, 118, 74), "red": (205, 40, 55)}
"""Colours of the phantom's pens, grey levels."""
BLUE, BLOOD = (60, 80, 170), (220, 60, 70)


def beside_pens(
    colour: tuple[int, int, int], other: tuple[int, int, int], share: float, bands: bool, amount: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Tissue of two colours with the four pens' strokes beside it, the last across its edge.

    Returns:
        What is found; tissue that no stroke covers; the part of `colour` in it; the strokes off the tissue.
    """
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:500, :700]
    tissue = ((x - 380) / 260) ** 2 + ((y - 270) / 190) ** 2 < 1
    along = (x + 12 * np.sin(y / 15)) % 40 / 40 if bands else (x - 120) / 520
    picture = slide((500, 700))
    grain = ndimage.gaussian_filter(rng.normal(size=(500, 700)), 1)
    grain *= amount / grain.std()
    coloured = tissue & (along < share)
    for area, level in ((tissue, other), (coloured, colour)):
        picture[area] = np.array(level) + grain[area][:, None]
    strokes = np.zeros_like(tissue)
    boxes = np.s_[20:400, 20:70], np.s_[15:65, 120:330], np.s_[15:60, 450:690], np.s_[380:430, 440:690]
    for box, ink in zip(boxes, PENS.values()):
        top, left = box
        inner = np.s_[top.start + 5 : top.stop - 5, left.start + 5 : left.stop - 5]
        density = np.log(255 / np.array(ink))
        absorbed(picture, box, 0.45 * density, -1)
        absorbed(picture, inner, 0.45 * density, -1)
        strokes[box] = True
    near = ndimage.binary_dilation(strokes, iterations=4)
    return found(picture), tissue & ~near, coloured & ~near, strokes & ~ndimage.binary_dilation(tissue)


@pytest.mark.parametrize(
    ("colour", "other", "share", "bands"),
    [
        (BLUE, (190, 70, 80), 0.2, False),  # Masson's trichrome,
        (BLUE, (190, 70, 80), 0.4, True),
        (BLUE, (190, 70, 80), 0.6, False),
        ((90, 120, 200), (190, 70, 80), 0.4, False),
        ((70, 150, 120), (190, 70, 80), 0.4, True),  # its green variant,
        ((190, 80, 160), (190, 80, 160), 1.0, False),  # PAS,
        ((115, 130, 205), (115, 130, 205), 1.0, False),  # toluidine blue and Giemsa's stain,
        ((120, 135, 215), (120, 135, 215), 1.0, False),
        (BLOOD, (200, 120, 170), 0.4, False),  # and blood in haematoxylin and eosin.
        (BLOOD, (200, 120, 170), 0.3, True),
    ],
)
@pytest.mark.parametrize("amount", [15, 30])
def test_stains_with_the_colours_of_ink_are_tissue_and_strokes_beside_them_are_not(
    colour, other, share: float, bands: bool, amount: float
) -> None:
    mask, tissue, part, strokes = beside_pens(colour, other, share, bands, amount)
    assert mask[tissue].mean() > 0.95
    assert mask[part].mean() > 0.95
    assert mask[strokes].mean() < 0.02


def test_even_blood_within_tissue_is_tissue_and_a_stroke_on_glass_of_its_colour_is_not() -> None:
    picture = slide()
    absorbed(picture, np.s_[60:300, 60:300], (0.15, 0.5, 0.25), 1)
    pool, stroke = np.s_[120:200, 120:200], np.s_[60:120, 340:480]
    for box in (pool, stroke):
        picture[box] = GLASS
        absorbed(picture, box, (0.1, 1.5, 1.3), -1)
    mask = found(picture)
    assert mask[pool].mean() > 0.97
    assert not mask[stroke].any()


def test_a_short_black_stroke_is_left_out_and_a_round_black_piece_is_not() -> None:
    picture = slide()
    y, x = np.mgrid[:400, :500]
    stroke, disc = np.s_[60:95, 60:150], np.hypot(y - 250, x - 250) < 32  # 0.2 mm² either.
    for area in (stroke, disc):
        picture[area] *= np.exp([-1.85, -2.1, -2.0])  # Colour enough for tissue.
    absorbed(picture, np.s_[300:360, 60:120], (0.15, 0.5, 0.25), 1)
    mask = found(picture)
    assert not mask[stroke].any()
    assert mask[disc].mean() > 0.97


def test_ink_is_kept_where_that_is_asked_for() -> None:
    picture = slide()
    stroke = np.s_[60:110, 60:260]
    absorbed(picture, stroke, (2.0, 1.4, 0.5), -1)
    absorbed(picture, np.s_[300:360, 60:120], (0.15, 0.5, 0.25), 1)
    rgb = picture.round().astype(np.uint8)
    assert not tissue_mask(rgb, TissueOptions(), 8.0)[stroke].any()
    assert tissue_mask(rgb, TissueOptions(tissue_ink="keep"), 8.0)[stroke].all()
