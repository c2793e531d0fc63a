from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from plenish.latent import paths

VECTORS = arrays(np.float64, 5, elements=st.floats(-10, 10).map(lambda x: round(x, 3)))
T = np.linspace(0, 1, 9)


def angle(a: np.ndarray, b: np.ndarray) -> float:
    """By the half-angle formula of Kahan, exact also near 0 and 180 degrees."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    return float(2 * np.arctan2(np.linalg.norm(a - b), np.linalg.norm(a + b)))


@given(VECTORS, VECTORS, st.sampled_from(sorted(paths.PATHS)))
def test_ends_are_met_bit_for_bit(a: np.ndarray, b: np.ndarray, kind: paths.PathKind) -> None:
    way = paths.PATHS[kind](a, b, T)
    assert np.isfinite(way).all()
    assert (way[0] == a).all()
    assert (way[-1] == b).all()


@given(VECTORS, VECTORS)
def test_slerp_turns_evenly_and_its_length_is_linear(a: np.ndarray, b: np.ndarray) -> None:
    way = paths.slerp(a, b, T)
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if min(lengths) < 1e-2:
        return
    np.testing.assert_allclose(np.linalg.norm(way, axis=1), (1 - T) * lengths[0] + T * lengths[1], rtol=1e-9)
    steps = [angle(one, other) for one, other in itertools.pairwise(way)]
    np.testing.assert_allclose(steps, angle(a, b) / 8, atol=1e-6)


def test_slerp_between_axes_is_a_circle() -> None:
    way = paths.slerp(np.array([2.0, 0]), np.array([0, 2.0]), T)
    np.testing.assert_allclose(
        way, 2 * np.stack([np.cos(T * np.pi / 2), np.sin(T * np.pi / 2)], 1), atol=1e-12
    )


def test_slerp_of_what_has_no_one_circle() -> None:
    a = np.array([3.0, 1.0, 2.0])
    assert np.abs(paths.slerp(a, a, T) - a).max() < 1e-12
    np.testing.assert_allclose(paths.slerp(a, 2 * a, T), (1 + T)[:, None] * a)
    assert (paths.slerp(a, 0 * a, T) == paths.linear(a, 0 * a, T)).all()
    assert not paths.slerp(0 * a, 0 * a, T).any()
    turned = paths.slerp(a, -a, T)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(a))
    axis = np.array([0, 1.0, 0]) - a / 14  # Perpendicular to a, in the plane of its smallest coordinate.
    np.testing.assert_allclose(turned[4] / np.linalg.norm(turned[4]), axis / np.linalg.norm(axis), atol=1e-12)
    assert paths.slerp(np.array([1.0]), np.array([-1.0]), T)[4] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("loop", "n"), [("open", 13), ("ping-pong", 13), ("closed", 16)])
@pytest.mark.parametrize("kind", ["linear", "slerp"])
def test_a_tour_passes_through_its_points(loop: paths.Loop, n: int, kind: paths.PathKind) -> None:
    points = np.random.default_rng(0).normal(size=(4, 2, 3))
    way = paths.tour(list(points), 5, kind, loop)
    assert way.shape == (n, 2, 3)
    assert (way[::4] == points).all()
    if loop == "closed":
        back = paths.PATHS[kind](points[3], points[0], np.array([0.75]))
        np.testing.assert_allclose(way[-1:], back)


def test_ping_pong_has_no_frame_twice_in_a_row() -> None:
    assert paths.ping_pong(4).tolist() == [0, 1, 2, 3, 2, 1]
    assert paths.ping_pong(2).tolist() == [0, 1]
    film = np.arange(60)[paths.ping_pong(60)]
    assert (np.abs(np.diff([*film, film[0]])) == 1).all()


def test_corners_and_centre_of_a_square() -> None:
    points = np.random.default_rng(1).normal(size=(4, 6))
    square = paths.corners(list(points), 5)
    assert (square[[0, 0, -1, -1], [0, -1, 0, -1]] == points).all()
    np.testing.assert_allclose(square[2, 2], points.mean(0))
    np.testing.assert_allclose(square[:, 0], paths.linear(points[0], points[2], paths.positions(5)))
    round_ = paths.corners(list(points), 5, "slerp")
    assert (round_[[0, 0, -1, -1], [0, -1, 0, -1]] == points).all()


def test_random_loops_have_the_distribution_of_the_prior() -> None:
    normal = paths.gaussian_loop((20000,), 12, 3, np.random.default_rng(0))
    assert np.abs(normal.mean(1)).max() < 0.03
    assert np.abs(normal.std(1) - 1).max() < 0.02
    # Its covariance at a distance of d frames is that of a stationary process: the mean of cos(2 pi k d / n).
    for d in (1, 6):
        expected = np.cos(2 * np.pi * np.arange(1, 4) * d / 12).mean()
        assert (normal[0] * normal[d]).mean() == pytest.approx(expected, abs=0.03)
        assert (normal[-1] * normal[d - 1]).mean() == pytest.approx(expected, abs=0.03)  # Across the seam.
    uniform = paths.uniform_loop((20000,), 4, 2, np.random.default_rng(0))
    assert np.abs(uniform).max() <= 1
    np.testing.assert_allclose(np.quantile(uniform[1], [0.25, 0.5, 0.75]), [-0.5, 0, 0.5], atol=0.03)
