from __future__ import annotations

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from plenish.errors import InputError
from plenish.training.objectives import objective


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
    with pytest.raises(InputError, match="did you mean 'nonsaturating'"):
        objective("non-saturating")
