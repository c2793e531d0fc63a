"""RandAugment, stain jitter, mixup and cutmix: stateless, within their bounds, and as their formulas say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from plenish.domains import DOMAINS
from plenish.training.augment_policy import changes, mix, rand_augment, stain_jitter


def test_rand_augment_is_the_same_however_batched() -> None:
    pixels = torch.randint(0, 256, (12, 16, 16, 3), dtype=torch.uint8)
    numbers = np.arange(100, 112)
    whole = rand_augment(pixels, numbers, 3, DOMAINS["natural"], 9.0)
    parts = [
        rand_augment(pixels[k : k + 5], numbers[k : k + 5], 3, DOMAINS["natural"], 9.0) for k in (0, 5, 10)
    ]
    assert torch.equal(whole, torch.cat(parts))
    assert whole.dtype == torch.uint8
    assert not torch.equal(whole, rand_augment(pixels, numbers, 4, DOMAINS["natural"], 9.0))


def test_changes_suit_the_domain() -> None:
    natural, radiology = changes(DOMAINS["natural"], 5, 3), changes(DOMAINS["radiology"], 5, 1)
    assert {"solarize", "shear across", "saturation"} <= set(natural)
    assert not {"solarize", "equalize", "shear across", "saturation"} & set(radiology)
    assert "turn" in changes(DOMAINS["histology"], 5, 3)


def test_no_magnitude_changes_nothing_but_what_has_none() -> None:
    pixels = torch.randint(0, 256, (40, 16, 16, 3), dtype=torch.uint8)
    still = rand_augment(pixels, np.arange(40), 0, DOMAINS["histology"], 0.0)
    assert (still.int() - pixels.int()).abs().max() <= 1


def test_stain_jitter_leaves_glass_and_varies_a_stain_along_its_vector() -> None:
    glass = torch.ones(5, 3, 4, 4)
    torch.testing.assert_close(stain_jitter(glass, np.arange(5), 0, 0.3), glass)
    vector = torch.tensor([0.650, 0.704, 0.286])
    vector = vector / vector.norm()
    image = ((-vector).exp() * 2 - 1)[None, :, None, None].expand(200, 3, 2, 2)
    density = -((stain_jitter(image, np.arange(200), 0, 0.3) + 1) / 2).log()[:, :, 0, 0]
    strength = density @ vector
    torch.testing.assert_close(density, strength[:, None] * vector, atol=1e-4, rtol=0)
    assert strength.min() >= 0.7 - 1e-4
    assert strength.max() <= 1.3 + 1e-4
    assert strength.std() == pytest.approx(0.3 / 3**0.5, rel=0.15)


def test_mixup_mixes_pairs_by_the_share_it_returns() -> None:
    images, numbers = torch.randn(8, 3, 4, 4), np.arange(16, 24)
    mixed, partner, share = mix(images, numbers, 0, 0.5, 0.0)
    assert partner.tolist() == [1, 0, 3, 2, 5, 4, 7, 6]
    assert torch.equal(share, share[partner])
    weight = share[:, None, None, None]
    torch.testing.assert_close(mixed, weight * images + (1 - weight) * images[partner])
    halves = [mix(images[k : k + 4], numbers[k : k + 4], 0, 0.5, 0.0)[0] for k in (0, 4)]
    assert torch.equal(torch.cat(halves), mixed)
    shares = mix(torch.zeros(4000, 1, 1, 1), np.arange(4000), 0, 0.5, 0.0)[2]
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(shares.var()) == pytest.approx(0.125, abs=0.01)  # of Beta(a, a): 1 / (4 (2a + 1))


def test_cutmix_takes_a_rectangle_whose_area_is_the_partners_share() -> None:
    images = torch.arange(200.0)[:, None, None, None].expand(200, 1, 16, 16)
    mixed, partner, share = mix(images, np.arange(200), 0, 0.0, 1.0)
    own = (mixed == images).float().mean((1, 2, 3))
    torch.testing.assert_close(own, share)
    assert ((mixed == images) | (mixed == images[partner])).all()
    assert 0.3 < float(share.mean()) < 0.8


def test_an_image_without_its_partner_stays() -> None:
    images = torch.randn(3, 1, 4, 4)
    mixed, partner, share = mix(images, np.array([5, 6, 7]), 0, 1.0, 1.0)
    assert torch.equal(mixed[0], images[0])
    assert (partner.tolist(), float(share[0])) == ([0, 2, 1], 1.0)
