"""The search for latents: the nearest change where it is known, the limits, controls, images as written."""

from __future__ import annotations

import math

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies
from torch import Tensor

from plenish.robustness.latent_attack import Region, random_latent_changes, search
from plenish.robustness.latent_attack_dataset import as_written
from plenish.robustness.latent_attack_options import LatentAttackOptions

DIM = 12


def region(n: int = 16, distance: float = 1.0, **limits: float) -> Region:
    start = torch.randn(n, DIM, generator=torch.Generator().manual_seed(0))
    return Region(start, distance, **({"radius": 100.0} | limits))


def linear(start: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    """A normal, and a lead that is linear in the latent, below 0 at all starts by so much."""
    normal = torch.randn(DIM, generator=torch.Generator().manual_seed(1))
    return normal, offset + start @ normal


def test_of_a_linear_lead_the_nearest_change_is_found_to_within_a_step() -> None:
    where = region()
    normal = torch.randn(DIM, generator=torch.Generator().manual_seed(1))
    needed = torch.linspace(0.053, 0.897, len(where.start))  # In root mean squares.
    offset = -needed * math.sqrt(DIM) * normal.norm() - where.start @ normal
    how = LatentAttackOptions(distance=1.0, iterations=100, step=0.01)
    found = search(lambda u, rows: (where.start[rows] + u) @ normal + offset[rows], where, how)
    moved = found.change.square().mean(1).sqrt()
    assert bool((found.iterations > 0).all())
    torch.testing.assert_close(moved, found.iterations * 0.01)
    assert bool(((moved - needed > 0) & (moved - needed < 0.0101)).all())
    cosine = found.change @ normal / (found.change.norm(dim=1) * normal.norm())
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


def test_what_lies_beyond_the_distance_is_not_found_and_what_is_there_already_takes_no_step() -> None:
    where = region(4, distance=0.5)
    normal = torch.randn(DIM, generator=torch.Generator().manual_seed(1))
    needed = torch.tensor([-0.1, 0.45, 0.55, 3.0])
    offset = -needed * math.sqrt(DIM) * normal.norm() - where.start @ normal
    how = LatentAttackOptions(distance=0.5, iterations=40)
    found = search(lambda u, rows: (where.start[rows] + u) @ normal + offset[rows], where, how)
    assert (found.iterations >= 0).tolist() == [True, True, False, False]
    assert int(found.iterations[0]) == 0
    assert not found.change[0].any()
    assert float(found.change[3].square().mean().sqrt()) == pytest.approx(0.5, rel=1e-5)


def test_a_point_is_searched_alike_alone_and_among_others() -> None:
    where = region(5)
    normal = torch.randn(DIM, generator=torch.Generator().manual_seed(1))

    def lead(start: Tensor) -> object:
        return lambda u, rows: torch.sin((start[rows] + u) @ normal) - 0.9

    how = LatentAttackOptions(distance=1.0)
    together = search(lead(where.start), where, how)
    alone = Region(where.start[3:4], where.distance, where.radius)
    one = search(lead(alone.start), alone, how)
    torch.testing.assert_close(one.change[0], together.change[3])
    assert int(one.iterations[0]) == int(together.iterations[3])
    by_chance = random_latent_changes(where, torch.ones(5), seed=4)
    torch.testing.assert_close(by_chance[3:], random_latent_changes(
        Region(where.start[3:], where.distance, where.radius), torch.ones(2), seed=4, first=3,
    ))  # fmt: skip
    torch.testing.assert_close(by_chance.norm(dim=1), torch.ones(5))


@hypothesis.settings(max_examples=30)
@hypothesis.given(
    strategies.integers(0, 10_000), strategies.floats(0.01, 3), strategies.floats(0.5, 6),
    strategies.sampled_from([math.inf, 1.5]), strategies.floats(0.01, 100),
)  # fmt: skip
def test_no_limit_is_left(seed: int, distance: float, radius: float, bound: float, length: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    start = torch.randn(8, DIM, generator=rng).clamp(-bound, bound)
    where = Region(start, distance, radius, bound)
    change = where.nearest(length * torch.randn(8, DIM, generator=rng), torch.arange(8))
    assert bool((change.square().mean(1).sqrt() <= distance * (1 + 1e-4)).all())
    there = start + change
    assert bool((there.norm(dim=1) <= start.norm(dim=1).clamp_min(radius) * (1 + 1e-4)).all())
    assert bool((there.abs() <= bound * (1 + 1e-6)).all())  # Rounding of the sum.
    torch.testing.assert_close(where.nearest(change, torch.arange(8)), change, rtol=1e-3, atol=1e-4)


def test_images_are_searched_as_they_are_written_and_gradients_pass() -> None:
    images = torch.linspace(-1.2, 1.2, 96).view(1, 1, 1, 96).requires_grad_(True)
    written = as_written(images)
    levels = (written.detach().numpy() + 1) * 127.5
    np.testing.assert_allclose(levels, np.rint(levels), atol=1e-4)
    assert float(written.detach().abs().max()) == 1
    written.sum().backward()
    inside = images.detach().abs() <= 1
    assert images.grad is not None
    assert torch.equal(images.grad, inside.float())
