from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from plenish.slides.glass import otsu
from plenish.slides.reader import open_slide
from plenish.slides.tissue import (
    TissueOptions,
    box_coverage,
    no_tissue,
    slide_tissue,
    thumbnail_side,
    tissue_mask,
)


def slide(
    glass: tuple[int, int, int] = (243, 242, 244), seed: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A thumbnail with a disc of mottled tissue, and where it is."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:160, :200]
    disc = (x - 90) ** 2 + (y - 80) ** 2 < 50**2
    rgb = np.empty((160, 200, 3))
    rgb[:] = np.array(glass) + rng.normal(0, 1, (160, 200, 1))
    colour = np.array((0.80, 0.52, 0.70)) * np.array(glass)
    rgb[disc] = (colour + rng.normal(0, 14, (160, 200, 3)))[disc]
    return rgb.clip(0, 255).astype(np.uint8), disc


def agreement(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.mark.parametrize("glass", [(243, 242, 244), (230, 215, 225), (215, 225, 240), (255, 120, 255)])
def test_tissue_is_found_whatever_the_colour_of_the_glass(glass: tuple[int, int, int]) -> None:
    rgb, disc = slide(glass)
    assert agreement(tissue_mask(rgb, TissueOptions()), disc) > 0.93


def test_glass_with_noise_is_no_tissue() -> None:
    rng = np.random.default_rng(1)
    glass = (242 + rng.normal(0, 2, (200, 200, 3))).clip(0, 255).astype(np.uint8)
    assert not tissue_mask(glass, TissueOptions()).any()


def test_a_slide_full_of_tissue_is_tissue_all_over() -> None:
    # Otsu alone would part the tissue into a paler and a darker half.
    rng = np.random.default_rng(2)
    pink = (np.array((200, 130, 175)) + rng.normal(0, 16, (150, 150, 3))).clip(0, 255).astype(np.uint8)
    assert tissue_mask(pink, TissueOptions()).mean() > 0.99


def test_pale_tissue_beside_dark_is_kept() -> None:
    rgb, disc = slide()
    rng = np.random.default_rng(3)
    rgb[:, 150:190] = (np.array((236, 196, 222)) + rng.normal(0, 5, (160, 40, 3))).clip(0, 255)
    found = tissue_mask(rgb, TissueOptions())
    assert found[:, 152:188].mean() > 0.98
    assert agreement(found[:, :145], disc[:, :145]) > 0.93


def test_ink_is_left_out_unless_asked_for() -> None:
    rgb, _ = slide()
    rgb[20:140, 160:170] = (30, 150, 90)
    assert not tissue_mask(rgb, TissueOptions())[20:140, 160:170].any()
    assert tissue_mask(rgb, TissueOptions(tissue_ink="keep"))[20:140, 160:170].all()


def test_black_of_the_scanner_is_no_tissue() -> None:
    rgb, disc = slide()
    rgb[:, 170:] = np.random.default_rng(4).integers(0, 14, (160, 30, 3))
    found = tissue_mask(rgb, TissueOptions(tissue_ink="keep"))
    assert not found[:, 172:].any()
    assert agreement(found[:, :165], disc[:, :165]) > 0.93


def test_dust_goes_and_small_holes_are_filled_by_area(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plenish.slides.tissue._SMOOTH_UM", 0.0)
    rgb, disc = slide()
    rgb[10:14, 180:184] = (180, 110, 150)
    rgb[78:82, 88:92] = (243, 242, 244)
    # 16 pixels of 8 µm are 1,024 µm²; either is smaller than the limits, and larger than nothing.
    found = tissue_mask(rgb, TissueOptions(tissue_close_um=0))
    assert not found[10:14, 180:184].any()
    assert found[78:82, 88:92].all()
    kept = tissue_mask(rgb, TissueOptions(tissue_close_um=0, tissue_speck_um2=0, tissue_hole_um2=0))
    assert kept[10:14, 180:184].all()
    assert not kept[78:82, 88:92].any()
    assert agreement(found, disc) > 0.95


def test_sizes_are_physical() -> None:
    rgb, _ = slide()
    rgb[10:15, 180:185] = (180, 110, 150)
    # 25 pixels: dust at 8 µm a pixel (1,600 µm²), tissue at 20 µm (10,000 µm²).
    assert not tissue_mask(rgb, TissueOptions(), 8.0)[11:14, 181:184].any()
    assert tissue_mask(rgb, TissueOptions(), 20.0)[11:14, 181:184].all()


def test_a_set_threshold_is_used() -> None:
    rgb, _ = slide()
    assert not tissue_mask(rgb, TissueOptions(tissue_saturation=0.9)).any()
    assert tissue_mask(rgb, TissueOptions(tissue_saturation=0.0, tissue_ink="keep")).mean() > 0.9


def test_otsu_parts_two_heaps() -> None:
    values = np.concatenate([np.full(700, 0.1), np.full(300, 0.6)]).astype(np.float32)
    assert 0.1 < otsu(values) < 0.6
    assert otsu(np.full(50, 0.3, np.float32)) == 0.0


def test_no_tissue_is_an_error_with_a_picture(tmp_path: Path) -> None:
    glass = np.full((40, 60, 3), 240, np.uint8)
    error = no_tissue("S1", glass, TissueOptions(), None, tmp_path / "S1.png")
    assert error.exit_code == 2
    assert "S1" in str(error)
    with Image.open(tmp_path / "S1.png") as picture:
        assert picture.size == (60 + 8 + 60, 40)
        assert (np.asarray(picture)[:, :60] == 240).all()


@pytest.mark.parametrize(
    ("colour", "settings", "words"),
    [
        ((190, 110, 170), {"tissue_speck_um2": 1e6}, "--tissue-speck-um2"),
        ((60, 20, 55), {"tissue_dark": 0.5}, "--tissue-dark"),
        ((243, 240, 243), {}, "--tissue-saturation"),
        ((35, 60, 150), {"tissue_ink": "remove"}, "--tissue-ink keep"),
    ],
)
def test_what_left_no_tissue_is_named(tmp_path: Path, colour, settings, words: str) -> None:
    rgb = np.full((200, 300, 3), 244, np.uint8)
    rgb[60:110, 80:140] = colour
    if "tissue_ink" in settings:
        for top in (20, 40, 140, 160):
            rgb[top : top + 5, 200:205] = (190, 110, 170)  # Dust.
    how = TissueOptions(**settings)
    assert not tissue_mask(rgb, how).any()
    assert words in str(no_tissue("S1", rgb, how, None, tmp_path / "S1.png"))
    if settings:
        assert tissue_mask(rgb, TissueOptions(tissue_ink="keep")).any()


def test_thumbnails_have_about_eight_um_a_pixel() -> None:
    assert thumbnail_side(100_000, 60_000, 0.25) == 2048
    assert thumbnail_side(20_000, 10_000, 0.5) == 1250
    assert thumbnail_side(4_000, 3_000, 0.5) == 512
    assert thumbnail_side(300, 200, None) == 300


def test_a_finer_thumbnail_is_bounded_by_its_pixels() -> None:
    assert thumbnail_side(100_000, 60_000, 0.25, fine=True) == 3125
    assert thumbnail_side(20_000, 10_000, 0.5, fine=True) == 1250
    side = thumbnail_side(200_000, 100_000, 0.5, fine=True)
    assert 0.99 * 2**23 < side * side / 2 <= 2**23


def test_a_sparse_slide_is_looked_at_again_finer(make_slide, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plenish.slides.tissue._SIDES", (64, 64))
    sparse = np.full((1200, 1600, 3), 244, np.uint8)
    sparse[300:420, 500:640] = np.random.default_rng(0).normal((190, 110, 170), 6, (120, 140, 3)).clip(0, 255)
    with open_slide(make_slide("a.tif", sparse, mpp=1.0)) as opened:
        mask, _, downsample = slide_tissue(opened, TissueOptions(), 1.0)
    assert downsample == pytest.approx(8)
    assert mask.sum() * 64 == pytest.approx(120 * 140, rel=0.12)
    dense = np.full((1200, 1600, 3), 244, np.uint8)
    dense[:, 800:] = np.random.default_rng(0).normal((190, 110, 170), 6, (1200, 800, 3)).clip(0, 255)
    with open_slide(make_slide("b.tif", dense, mpp=1.0)) as opened:
        assert slide_tissue(opened, TissueOptions(), 1.0)[2] == pytest.approx(25)


boxes = st.tuples(st.floats(-30, 130), st.floats(-30, 130), st.floats(0.5, 60), st.floats(0.5, 60)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(st.lists(boxes, min_size=1, max_size=5), st.floats(1.5, 9), st.integers(0, 9))
def test_coverage_is_exact(drawn: list[tuple[float, ...]], downsample: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((9, 13)) < 0.4
    truth = []
    for left, top, right, bottom in drawn:
        across = [max(0.0, min(right, (j + 1) * downsample) - max(left, j * downsample)) for j in range(13)]
        down = [max(0.0, min(bottom, (i + 1) * downsample) - max(top, i * downsample)) for i in range(9)]
        truth.append((np.outer(down, across) * mask).sum() / ((right - left) * (bottom - top)))
    assert box_coverage(mask, np.array(drawn), downsample) == pytest.approx(np.array(truth), abs=1e-9)


def test_shares_of_a_partition_add_up_to_the_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plenish.slides.tissue._BAND_CELLS", 300)  # So that several bands are needed.
    mask = np.random.default_rng(0).random((50, 70)) < 0.3
    x, y = np.sort(np.random.default_rng(1).uniform(0, 1, (2, 11)), axis=1)
    x, y = [np.concatenate([[0], v, [1]]) for v in (x * 70 * 7.3, y * 50 * 5.1)]
    x[-1], y[-1] = 70 * 7.3, 50 * 5.1
    cut = np.array([(x[i], y[j], x[i + 1], y[j + 1]) for i in range(12) for j in range(12)])
    area = (cut[:, 2] - cut[:, 0]) * (cut[:, 3] - cut[:, 1])
    total = (box_coverage(mask, cut, (7.3, 5.1)) * area).sum()
    assert total == pytest.approx(mask.sum() * 7.3 * 5.1)
