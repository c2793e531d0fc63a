"""Planes through three points of the prior."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from plenish.latent.plane import on_plane, weights
from plenish.latent.points import Points


def _points(values: np.ndarray) -> Points:
    y = np.eye(2, dtype=np.float32)[np.arange(3) % 2]
    return Points(values.astype(np.float32), "z", y, ("a", "b", "c"))


def test_the_corners_of_a_triangle_and_the_middle_of_a_plane_are_the_points_themselves() -> None:
    points = _points(np.random.default_rng(0).normal(size=(3, 5)))
    for i, angle in enumerate(np.deg2rad([90, 210, 330])):
        found = on_plane(points, "triangle", np.cos(angle), np.sin(angle))
        np.testing.assert_allclose(found.values[0], points.values[i], atol=1e-6)
        np.testing.assert_array_equal(found.y, points.y[:1])
    np.testing.assert_array_equal(on_plane(points, "random", 0, 0).values, points.values[:1])
    np.testing.assert_allclose(weights("triangle", 0, 0), 3**-0.5)


@pytest.mark.parametrize("uniform", [False, True])
@pytest.mark.parametrize("kind", ["random", "triangle"])
def test_every_place_has_the_distribution_of_the_prior(kind, uniform: bool) -> None:
    rng = np.random.default_rng(1)
    drawn = rng.uniform(-1, 1, (3, 20_000)) if uniform else rng.normal(size=(3, 20_000))
    found = on_plane(_points(drawn), kind, 0.7, -1.1, uniform=uniform).values[0]
    prior = stats.uniform(-1, 2) if uniform else stats.norm()
    assert stats.kstest(found, prior.cdf).pvalue > 0.01
    assert not uniform or np.abs(found).max() <= 1


def test_a_plane_needs_three_points_of_z() -> None:
    points = _points(np.zeros((3, 2)))
    for wrong in (points[:2], points.replaced(space="w")):
        with pytest.raises(ValueError, match="three points"):
            on_plane(wrong, "random", 0, 0)
