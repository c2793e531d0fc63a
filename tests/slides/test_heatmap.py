"""Numbers over a slide: where each lies, which colour it has, and what the bar says."""

from __future__ import annotations

import numpy as np
import pytest

from plenish.errors import InputError
from plenish.slides.canvas import Canvas
from plenish.slides.heatmap import OPAQUE, HeatmapOptions, colour_bar, colour_scale, paint, spread


def test_each_pixel_has_the_mean_of_the_tiles_on_it() -> None:
    boxes = np.array([[0.0, 0, 40, 40], [20, 0, 60, 40], [0, 40, 40, 80]])
    field = spread(np.array([1.0, 5.0, -2.0]), boxes, (10, 8), 10.0)
    expected = np.full((10, 8), np.nan)
    expected[0:4, 0:4], expected[0:4, 2:6], expected[0:4, 2:4], expected[4:8, 0:4] = 1, 5, 3, -2
    np.testing.assert_allclose(field, expected)


def test_it_agrees_with_painting_tile_by_tile() -> None:
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 300, (80, 2)).astype(float)
    boxes = np.concatenate([corner, corner + 64], axis=1)
    values = rng.normal(1e-3, 1e-4, 80)
    values[7] = np.nan
    total, count = np.zeros((90, 91)), np.zeros((90, 91))
    for value, (left, top, right, bottom) in zip(values, np.rint(boxes / 4).astype(int)):
        if np.isfinite(value):
            total[top:bottom, left:right] += value
            count[top:bottom, left:right] += 1
    with np.errstate(invalid="ignore"):
        np.testing.assert_allclose(spread(values, boxes, (90, 91), 4.0), total / count, atol=1e-12)


def test_tiles_smaller_than_a_pixel_and_at_the_rim_are_not_lost() -> None:
    boxes = np.array([[0.0, 0, 2, 2], [2, 0, 4, 2], [97, 97, 101, 101]])
    field = spread(np.array([1.0, 3.0, 9.0]), boxes, (10, 10), 10.0)
    assert field[0, 0] == 2
    assert field[9, 9] == 9
    assert np.isfinite(field).sum() == 2


def test_without_any_number_nothing_is_painted() -> None:
    field = spread(np.array([np.nan]), np.array([[0.0, 0, 50, 50]]), (5, 5), 10.0)
    canvas = Canvas(np.full((5, 5, 3), 90, np.uint8), 10.0)
    paint(canvas, field, colour_scale(np.array([np.nan]), "error"))
    assert (canvas.pixels == 90).all()


@pytest.mark.parametrize(
    ("kind", "limits", "ends"),
    [
        ("share", None, (0, 1)),
        ("error", None, (2, 98)),
        ("difference", None, (-98, 98)),
        ("error", (-1.0, 7.0), (-1, 7)),
    ],
)
def test_the_ends_of_a_scale(kind, limits, ends) -> None:
    values = np.append(np.arange(101.0), np.nan)
    scale = colour_scale(values, kind, limits)
    assert scale.get_clim() == ends
    found = scale.to_rgba(np.array([ends[0] - 10.0, ends[0], ends[1], ends[1] + 10.0]))
    assert (found[0] == found[1]).all()
    assert (found[2] == found[3]).all()
    assert (found[1] != found[2]).any()


def test_no_difference_is_nearly_white_and_both_signs_have_a_hue() -> None:
    scale = colour_scale(np.array([-2.0, 1.0]), "difference")
    low, middle, high = scale.to_rgba(np.array([-2.0, 0.0, 2.0]), bytes=True)[:, :3].astype(int)
    assert middle.min() > 235
    assert low[2] > low[1] + 30  # Violet,
    assert high[0] > high[2] + 60  # and orange.


def test_a_scale_of_equal_numbers_and_limits_that_do_not_rise() -> None:
    scale = colour_scale(np.full(9, 3.0), "error")
    low, high = scale.get_clim()
    assert low < 3 < high
    for limits in ([2.0, 1.0], [0.0, np.inf], [1.0]):
        with pytest.raises(InputError, match="--range"):
            HeatmapOptions(limits=limits)


def test_painting_changes_only_where_there_are_numbers() -> None:
    canvas = Canvas(np.full((4, 6, 3), 100, np.uint8), 1.0)
    field = np.full((4, 6), np.nan)
    field[1:3, 2:5] = 0.25
    scale = colour_scale(np.array([0.25]), "share")
    paint(canvas, field, scale)
    inside = np.isfinite(field)
    assert (canvas.pixels[~inside] == 100).all()
    grey = 255 - 155 * 0.55
    expected = grey + (scale.to_rgba(np.array([0.25]), bytes=True)[0, :3] - grey) * OPAQUE
    np.testing.assert_allclose(canvas.pixels[inside], np.broadcast_to(expected, (6, 3)), atol=1.5)


@pytest.mark.parametrize("width", [120, 1500])
def test_the_bar_has_the_colours_in_order_and_the_pictures_width(width: int) -> None:
    scale = colour_scale(np.array([0.0, 0.02]), "error")
    bar = np.asarray(colour_bar(width, 12, scale, "mse: mean squared error, a title of many words " * 3))
    assert bar.shape[1] == width
    row = next(r for r in bar if ((r.max(axis=1).astype(int) - r.min(axis=1)) > 8).sum() > width / 4)
    coloured = np.flatnonzero((row.max(axis=1).astype(int) - row.min(axis=1)) > 8)
    first, last = row[coloured[0]].astype(int), row[coloured[-1]].astype(int)
    assert first[2] > first[1]  # Viridis begins violet
    assert last[0] > last[2] + 60  # and ends yellow.
