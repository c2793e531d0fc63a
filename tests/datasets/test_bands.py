"""Bands: planted ones are found with their widths, backgrounds around figures are none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from plenish.datasets import bands as module
from plenish.datasets.bands import bands, kinds

SIDE = 64


def noise(count: int = 1, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Pictures without any band."""
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, channels), np.uint8)


def planted(widths: tuple[int, int, int, int], colour: object, channels: int = 3) -> np.ndarray:
    """Noise with bands of these widths: top, bottom, left, right."""
    top, bottom, left, right = widths
    image = np.full((SIDE, SIDE, channels), colour, np.uint8)
    image[top : SIDE - bottom, left : SIDE - right] = noise(channels=channels)[
        0, top : SIDE - bottom, left : SIDE - right
    ]
    return image[None]


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """The image as a JPEG brings it back."""
    out = io.BytesIO()
    Image.fromarray(image).save(out, "JPEG", quality=quality)
    return np.asarray(Image.open(out).convert("RGB"))


@pytest.mark.parametrize(
    ("widths", "kind"),
    [
        ((0, 0, 0, 0), "none"), ((9, 11, 0, 0), "horizontal"), ((9, 0, 0, 0), "horizontal"),
        ((0, 0, 7, 7), "vertical"), ((0, 0, 0, 13), "vertical"), ((5, 6, 7, 8), "frame"),
        ((40, 0, 0, 0), "horizontal"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("colour", [0, (200, 20, 30), 255], ids=["black", "red", "white"])
def test_planted_bands_have_their_widths(
    widths: tuple[int, int, int, int], kind: str, colour: object
) -> None:
    found = bands(planted(widths, colour))
    assert found.tolist() == [list(widths)]
    assert kinds(found, SIDE).tolist() == [kind]


@pytest.mark.parametrize("colour", [0, 90, 255])
def test_grey_images_have_bands_too(colour: int) -> None:
    image = planted((9, 11, 0, 0), colour, channels=1)
    image[:, 9:-11] = image[:, 9:-11] % 200  # Hardly any of them is as white as the band.
    assert bands(image).tolist() == [[9, 11, 0, 0]]


def test_an_image_of_one_colour_is_blank() -> None:
    images = np.concatenate([np.full((1, SIDE, SIDE, 3), 120, np.uint8), noise()])
    found = bands(images)
    assert found.tolist() == [[SIDE] * 4, [0] * 4]
    assert kinds(found, SIDE).tolist() == ["blank", "none"]


def test_noise_of_the_band_within_the_tolerance_only() -> None:
    image = planted((12, 12, 0, 0), 0)
    image[:, :12] = np.random.default_rng(1).integers(0, 21, (1, 12, SIDE, 3))
    assert bands(image)[0, 0] == 12
    assert bands(image, tolerance=5)[0, 0] == 0


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_compressed_and_resized_bands_are_found(quality: int) -> None:
    y, x = np.mgrid[:256, :256]
    picture = np.stack([128 + 100 * np.sin(y / 9 + k) * np.cos(x / (7 + k)) for k in range(3)], 2)
    image = picture.astype(np.uint8)
    image[:60], image[-60:] = 0, 0
    whole = Image.fromarray(compressed(image, quality))
    found = bands(np.asarray(whole.resize((SIDE, SIDE), Image.Resampling.LANCZOS))[None])
    assert kinds(found, SIDE).tolist() == ["horizontal"]
    assert np.abs(found - [15, 15, 0, 0]).max() <= 1


def disc(background: object, *, cut: bool = False, radius: float = 20.0) -> np.ndarray:
    """A figure on a plain background, cut off at the bottom or free on all sides."""
    y, x = np.mgrid[:SIDE, :SIDE]
    image = np.full((SIDE, SIDE, 3), background, np.uint8)
    inside = (y - 32) ** 2 + (x - 32) ** 2 < radius**2
    if cut:  # A body as wide as the image less its margins, cut off straight above the lower margin.
        inside |= (y > 44) & (y < 60) & (x > 2) & (x < 61)
    image[inside] = (40, 90, 200)
    return image[None]


@pytest.mark.parametrize("background", [255, 0, (250, 240, 230), (20, 160, 90)], ids=str)
def test_a_background_around_a_figure_is_no_band(background: object) -> None:
    assert kinds(bands(disc(background)), SIDE).tolist() == ["none"]


def test_a_figure_cut_off_above_a_white_margin_has_no_band() -> None:
    assert kinds(bands(disc(255, cut=True)), SIDE).tolist() == ["none"]


def test_a_figure_that_fills_the_width_of_a_black_background_has_no_band() -> None:
    assert kinds(bands(disc(0, radius=31.9)), SIDE).tolist() == ["none"]


def test_a_gradient_is_no_band() -> None:
    image = noise()
    image[0, :20] = np.linspace(0, 120, 20)[:, None, None]
    assert bands(image).tolist() == [[0, 0, 0, 0]]


def test_a_plain_ground_whose_light_changes_is_no_band() -> None:
    image = noise()
    image[0, :12] = np.linspace(90, 108, 12)[:, None, None]  # Within the tolerance of one colour.
    assert (module._runs(image, module.TOLERANCE) == 12).all()
    for turns in range(4):
        assert bands(np.rot90(image, turns, axes=(1, 2))).tolist() == [[0, 0, 0, 0]]
    image[0, :12] = np.linspace(90, 92, 12)[:, None, None]
    assert bands(image).tolist() == [[12, 0, 0, 0]]


def test_thin_lines_do_not_count() -> None:
    found = bands(planted((1, 1, 1, 1), 0))
    assert found.tolist() == [[1, 1, 1, 1]]
    assert kinds(found, SIDE).tolist() == ["none"]
    assert kinds(found, SIDE, least=0.01).tolist() == ["frame"]


def test_images_are_judged_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.concatenate([noise(3), planted((5, 6, 7, 8), 0), disc(255), planted((0, 0, 7, 7), 90)])
    whole = bands(images)
    assert (np.concatenate([bands(image[None]) for image in images]) == whole).all()
    monkeypatch.setattr(module, "_BYTES", 2 * SIDE * SIDE * 3)
    assert (bands(images) == whole).all()
    assert bands(images[:0]).shape == (0, 4)


def test_images_need_not_be_square() -> None:
    image = np.full((1, 20, 50, 3), 0, np.uint8)
    image[:, 4:16] = np.random.default_rng(0).integers(60, 256, (1, 12, 50, 3))
    found = bands(image)
    assert found.tolist() == [[4, 4, 0, 0]]
    assert kinds(found, (20, 50)).tolist() == ["horizontal"]
    turned = bands(image.transpose(0, 2, 1, 3))
    assert turned.tolist() == [[0, 0, 4, 4]]


@pytest.mark.parametrize("turns", range(4))
def test_ground_that_reaches_far_in_from_several_sides_is_no_band(turns: int) -> None:
    y, x = np.mgrid[:SIDE, :SIDE]
    image = np.full((1, SIDE, SIDE, 3), (200, 150, 140), np.uint8)
    image[0, (y >= 20) & (2 * np.abs(x - 30) + y < 40)] = (60, 30, 30)  # Flat towards one side alone.
    assert bands(np.rot90(image, turns, axes=(1, 2))).tolist() == [[0, 0, 0, 0]]


def test_coarse_grain_is_no_band() -> None:
    image = np.where(noise() > 127, 163, 138).astype(np.uint8)
    grain = np.random.default_rng(2).normal(0, 1, (12, SIDE, 3)).clip(-2, 2)
    for level, found in ((1, 12), (8, 0)):
        image[0, :12] = np.rint(112 + level * grain)
        assert bands(image).tolist() == [[found, 0, 0, 0]]


@pytest.mark.parametrize("blend", [0.3, 0.4, 0.5])
def test_white_frames_whose_edges_lie_between_pixels(blend: float) -> None:
    image = np.full((1, SIDE, SIDE, 3), 255, np.uint8)
    image[0, 8:50, 10:56] = np.random.default_rng(0).integers(185, 215, (42, 46, 3))
    for line in ((0, 8), (0, 49), (0, slice(None), 10), (0, slice(None), 55)):
        image[line] = np.rint(255 - blend * (255.0 - image[line]))
    assert kinds(bands(image), SIDE).tolist() == ["frame"]


def test_a_tile_with_round_corners_on_white_has_no_frame() -> None:
    y, x = np.abs(np.mgrid[:SIDE, :SIDE] - 31.5)
    image = np.full((1, SIDE, SIDE, 3), 255, np.uint8)
    image[0, (np.maximum(y, x) < 28) & (y + x < 53.5)] = (224, 224, 224)
    assert kinds(bands(image), SIDE).tolist() == ["none"]
