from __future__ import annotations

import itertools

import numpy as np
import pytest

from plenish.errors import InputError
from plenish.slides.grid import make_grid
from plenish.slides.reader import open_slide
from plenish.slides.scale import Scale
from plenish.slides.tiling_config import GridOptions


def test_tiles_of_a_level_are_its_pixels(make_slide, noise) -> None:
    with open_slide(make_slide(pixels=noise)) as slide:
        grid = make_grid(slide, GridOptions(size=50, level=0), Scale(0.5, "a test"))
        assert (grid.rows, grid.columns, grid.mpp, grid.side) == (6, 8, 0.5, 50)
        np.testing.assert_array_equal(grid.read(slide, 5, 7), noise[250:300, 350:400])
        coarse = make_grid(slide, GridOptions(size=50, level=1), Scale(0.5, "a test"))
        assert (coarse.rows, coarse.columns, coarse.mpp) == (3, 4, 1.0)
        np.testing.assert_array_equal(coarse.boxes(np.array([2]), np.array([1])), [[100, 200, 200, 300]])
        np.testing.assert_array_equal(coarse.read(slide, 2, 1), slide.read(1, 50, 100, 50, 50))


def test_a_scale_between_levels_averages_the_finer_one(make_slide) -> None:
    ramp = np.broadcast_to(np.arange(420, dtype=np.float64)[None, :, None] / 2, (300, 420, 3))
    with open_slide(make_slide(pixels=ramp.astype(np.uint8))) as slide:
        grid = make_grid(slide, GridOptions(size=40, mpp=1.5), Scale(0.5, "a test"))
        assert (grid.level, grid.scale) == (1, 1.5)
        assert grid.boxes(np.array([1]), np.array([2])).tolist() == [[240, 120, 360, 240]]
        # The mean of a ramp over a pixel is its value in the middle: 3 pixels of level 0 to one.
        middle = 240 + 3 * np.arange(40) + 1.5
        assert np.abs(grid.read(slide, 1, 2)[20, :, 0] - (middle - 0.5) / 2 + 0.25).max() < 1.01


def test_coarse_tiles_read_in_bands_are_the_same(make_slide, noise, monkeypatch) -> None:
    with open_slide(make_slide(pixels=noise, factors=(1,))) as slide:
        grid = make_grid(slide, GridOptions(size=32, mpp=3.3), Scale(0.5, "a test"))
        assert grid.scale == pytest.approx(6.6)
        whole = grid.read(slide, 0, 0)
        monkeypatch.setattr("plenish.slides.grid._BAND_PIXELS", 5000)
        assert np.abs(grid.read(slide, 0, 0).astype(int) - whole).max() <= 1


def test_a_level_within_the_tolerance_is_taken_as_it_is(make_slide) -> None:
    with open_slide(make_slide()) as slide:
        near = make_grid(slide, GridOptions(size=32, mpp=1.01), Scale(0.499, "a test"))
        assert (near.level, near.scale, near.mpp) == (1, 1.0, 0.998)
        exact = make_grid(slide, GridOptions(size=32, mpp=1.01, tolerance=0), Scale(0.499, "a test"))
        assert (exact.level, exact.mpp) == (1, pytest.approx(1.01))


def test_strides_overlap_or_leave_gaps(make_slide) -> None:
    with open_slide(make_slide()) as slide:  # 512 by 384
        assert make_grid(slide, GridOptions(size=128, level=0, stride=64), Scale(None, "a test")).columns == 7
        assert (
            make_grid(slide, GridOptions(size=128, level=0, stride=128), Scale(None, "a test")).columns == 4
        )
        assert (
            make_grid(slide, GridOptions(size=128, level=0, stride=200), Scale(None, "a test")).columns == 2
        )
        grid = make_grid(slide, GridOptions(size=128, level=1, stride=64), Scale(None, "a test"))
        assert grid.boxes(np.array([0]), np.array([1]))[0, 0] == 128


def test_what_does_not_fit_is_said(make_slide) -> None:
    with open_slide(make_slide()) as slide:
        with pytest.raises(InputError, match=r"128 by 96 pixels.*tile of 100"):
            make_grid(slide, GridOptions(size=100, level=2), Scale(None, "a test"))
        with pytest.raises(InputError, match="no level 3"):
            make_grid(slide, GridOptions(size=64, level=3), Scale(None, "a test"))
        with pytest.raises(InputError, match="invent"):
            make_grid(slide, GridOptions(size=64, mpp=0.25), Scale(0.5, "a test"))


def test_each_tile_of_the_file_is_read_once_in_the_order_given(make_slide) -> None:
    with open_slide(make_slide(tile=128)) as slide:
        grid = make_grid(slide, GridOptions(size=64, level=0), Scale(None, "a test"))
        rows, columns = (axis.ravel() for axis in np.indices((grid.rows, grid.columns)))
        order = grid.order(rows, columns, 128)
        files = [(r // 2, c // 2) for r, c in zip(rows[order], columns[order])]
        changes = sum(a != b for a, b in itertools.pairwise(files)) + 1
        assert changes == len(set(files)) == 12
        aligned = make_grid(slide, GridOptions(size=128, level=0), Scale(None, "a test"))
        rows, columns = (axis.ravel() for axis in np.indices((aligned.rows, aligned.columns)))
        assert aligned.order(rows, columns, 128).tolist() == list(range(12))


def test_more_places_than_can_be_planned_are_refused(make_slide, monkeypatch) -> None:
    with open_slide(make_slide()) as slide:
        monkeypatch.setattr("plenish.slides.grid.MAX_POSITIONS", 449 * 321)
        assert (
            len(make_grid(slide, GridOptions(size=64, stride=1, level=0), Scale(None, "a test"))) == 449 * 321
        )
        monkeypatch.setattr("plenish.slides.grid.MAX_POSITIONS", 449 * 321 - 1)
        with pytest.raises(InputError, match=r"144,129 positions .* --stride"):
            make_grid(slide, GridOptions(size=64, stride=1, level=0), Scale(None, "a test"))
