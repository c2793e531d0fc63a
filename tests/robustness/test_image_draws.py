"""Random numbers belong to an image: not to its place, its batch or those beside it."""

from __future__ import annotations

import torch

from plenish.robustness.image_draws import ImageDraws


def test_an_image_draws_the_same_numbers_in_every_batch() -> None:
    images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    whole = ImageDraws(images, 7, "a")
    first = whole.uniform(3)
    order = torch.tensor([3, 1])
    part = ImageDraws(images[order], 7, "a")
    assert torch.equal(part.uniform(3), first[order])
    whole.keep(order)
    assert torch.equal(part.normal(2, 2), whole.normal(2, 2))
    assert len(first.unique()) == first.numel()


def test_seeds_and_purposes_have_numbers_of_their_own() -> None:
    images = torch.zeros(1, 1, 4, 4)
    drawn = [ImageDraws(images, seed, purpose).uniform(1).item() for seed in (0, 1) for purpose in "ab"]
    assert len(set(drawn)) == 4
    assert ImageDraws(images[:0], 0, "a").uniform(2, 3).shape == (0, 2, 3)
