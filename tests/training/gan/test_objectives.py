from __future__ import annotations

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from plenish.errors import InputError
from plenish.training.gan.objectives import OBJECTIVES, objective


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.3])
def test_nonsaturating_is_cross_entropy_with_one_sided_smoothing(smoothing: float) -> None:
    real, fake = torch.randn(50, dtype=torch.float64) * 5, torch.randn(50, dtype=torch.float64) * 5
    losses = objective("nonsaturating")
    expected = cross_entropy(real, torch.full_like(real, 1 - smoothing)) + cross_entropy(
        fake, torch.zeros_like(fake)
    )
    assert torch.allclose(losses.discriminator(real, fake, smoothing), expected)
    assert torch.allclose(losses.generator(fake), cross_entropy(fake, torch.ones_like(fake)))


def test_extreme_logits_stay_finite() -> None:
    far = torch.tensor([1e4, -1e4])
    losses = objective("nonsaturating")
    assert torch.isfinite(losses.discriminator(far, far, 0.1))
    assert torch.isfinite(losses.generator(far))


def test_unknown_objective_names_the_nearest() -> None:
    with pytest.raises(InputError, match="'nonsaturating'"):
        objective("non-saturating")


def _pairs(n: int = 50) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    return (
        torch.randn(n, generator=rng, dtype=torch.float64) * 3,
        torch.randn(n, generator=rng, dtype=torch.float64) * 3,
    )


def test_vanilla_generator_plays_the_discriminators_own_loss() -> None:
    _, fake = _pairs()
    losses = objective("vanilla")
    of_fakes = cross_entropy(fake, torch.zeros_like(fake))
    assert torch.allclose(losses.generator(fake, None), -of_fakes)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_least_squares_hinge_and_wasserstein_by_hand(smoothing: float) -> None:
    real, fake = torch.tensor([0.5, 2.0]), torch.tensor([-2.0, 0.5])
    s = smoothing
    squares = 0.5 * (((0.5 - 1 + s) ** 2 + (2 - 1 + s) ** 2) / 2 + (4 + 0.25) / 2)
    assert objective("lsgan").discriminator(real, fake, s).item() == pytest.approx(squares)
    assert objective("lsgan").generator(fake, None).item() == pytest.approx(0.5 * (9 + 0.25) / 2)
    margins = (max(0, 1 - s - 0.5) + 0) / 2 + (0 + 1.5) / 2
    assert objective("hinge").discriminator(real, fake, s).item() == pytest.approx(margins)
    assert objective("wasserstein").discriminator(real, fake, s).item() == pytest.approx(-0.75 - 1.25)
    for name in ("hinge", "wasserstein"):
        assert objective(name).generator(fake, None).item() == pytest.approx(0.75)


def test_the_relativistic_game_sees_differences_only_and_is_symmetric() -> None:
    real, fake = _pairs()
    losses = objective("relativistic")
    value = losses.discriminator(real, fake, 0.0)
    assert torch.allclose(value, losses.discriminator(real + 7, fake + 7, 0.0))
    assert torch.allclose(value, losses.generator(real, fake)), "the generator plays the roles exchanged"
    assert losses.paired
    with pytest.raises(AssertionError, match="reals"):
        losses.generator(fake, None)


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_each_player_gains_by_moving_the_right_way(name: str) -> None:
    losses = objective(name)
    real, fake = torch.tensor([0.3], requires_grad=True), torch.tensor([0.2], requires_grad=True)
    losses.discriminator(real, fake, 0.0).backward()
    assert real.grad < 0 < fake.grad, "the discriminator raises reals and lowers fakes"
    fake.grad = None
    losses.generator(fake, real.detach()).backward()
    assert fake.grad < 0, "the generator raises fakes"
