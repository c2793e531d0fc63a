"""Nearest points: optimality conditions, and comparison with a plain bisection."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from plenish.robustness.projections import into_ball, onto_hyperplane, total
from plenish.robustness.threat import NORMS, Norm, lengths, per_image


def a_batch(seed: int, count: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, 4, 5, generator=generator).mul(1.6).sub(0.3).clamp(0, 1)
    return images, torch.randn(count, 3, 4, 5, generator=generator)


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000), eps=st.floats(0.01, 2), norm=st.sampled_from(NORMS))
def test_points_are_put_into_ball_and_range(seed: int, eps: float, norm: Norm) -> None:
    images, change = a_batch(seed)
    found = into_ball(images, images + change, eps, norm)
    assert found.min() >= 0
    assert found.max() <= 1
    assert (lengths(found - images, norm) <= eps * (1 + 1e-5) + 1e-6).all()
    torch.testing.assert_close(into_ball(images, found, eps, norm), found, rtol=0, atol=1e-5)


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000), eps=st.floats(0.05, 2))
def test_no_other_point_of_the_ball_within_the_range_is_nearer(seed: int, eps: float) -> None:
    """The variational inequality of a projection onto a convex set: ⟨y − p, q − p⟩ ≤ 0 for all q in it."""
    images, change = a_batch(seed)
    asked = images + change
    nearest = into_ball(images, asked, eps, "l2")
    for other in range(5):
        q = into_ball(images, images + a_batch(seed + other + 1)[1], eps, "l2")
        assert (total((asked - nearest) * (q - nearest)) <= 2e-3).all()


@settings(max_examples=12)
@given(seed=st.integers(0, 10_000), far=st.floats(0.01, 3), norm=st.sampled_from(NORMS))
def test_projections_onto_a_hyperplane_lie_on_it_and_no_nearer_point_does(
    seed: int, far: float, norm: Norm
) -> None:
    points, normals = a_batch(seed)
    gaps = torch.full((len(points),), -far) * (1 if seed % 2 else -1)
    found = onto_hyperplane(points, normals, gaps, norm)
    assert found.min() >= 0
    assert found.max() <= 1
    away = total(normals * (found - points)) + gaps
    assert (away.abs() < 1e-3).all()
    # With a radius a little smaller no point of the range reaches the hyperplane.
    direction = normals * -gaps.sign().view(-1, 1, 1, 1)
    radius = lengths(found - points, norm) * 0.99
    if norm == "linf":
        most = torch.clamp(direction.sign() * per_image(radius, points) + points, 0, 1)
    else:
        most = torch.cat(
            [
                into_ball(p[None], p[None] + 1e3 * d[None], float(r), "l2")
                for p, d, r in zip(points, direction, radius, strict=True)
            ]
        )
    assert (total(direction * (most - points)) < gaps.abs()).all()


@pytest.mark.parametrize("norm", NORMS)
def test_where_a_hyperplane_is_out_of_reach_the_corner_is_taken(norm: Norm) -> None:
    points, normals = a_batch(3)
    found = onto_hyperplane(points, normals, torch.full((len(points),), -1e6), norm)
    torch.testing.assert_close(found, (normals > 0).float())
    still = onto_hyperplane(points, torch.zeros_like(normals), torch.ones(len(points)), norm)
    torch.testing.assert_close(still, points)
