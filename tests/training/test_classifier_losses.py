"""Losses of a classifier: agreement with torch's own and with their formulas, gradients, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from plenish.errors import InputError
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_losses import build_loss

CPU = torch.device("cpu")
FREQUENCIES = np.array([0.7, 0.2, 0.1])


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and class numbers in the proportions of FREQUENCIES."""
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 3
    return logits.requires_grad_(), torch.tensor([0] * 14 + [1] * 4 + [2] * 2)


def _loss(batch: tuple[torch.Tensor, torch.Tensor], **options: object) -> torch.Tensor:
    return build_loss(ClassifierConfig(**options), FREQUENCIES, CPU)(*batch)  # type: ignore[arg-type]


def test_cross_entropy_is_torchs(batch) -> None:
    assert torch.equal(_loss(batch), functional.cross_entropy(*batch, label_smoothing=0.1))


def test_inverse_frequencies_make_every_class_count_alike(batch) -> None:
    logits, targets = batch
    each = functional.cross_entropy(logits, targets, reduction="none")
    per_class = torch.stack([each[targets == k].mean() for k in range(3)])
    torch.testing.assert_close(_loss(batch, loss="weighted", smoothing=0.0), per_class.mean())
    torch.testing.assert_close(_loss(batch, loss="weighted", weight_power=0.0), _loss(batch))
    # Divided among processes: the mean of their means is the mean of all.
    loss = build_loss(ClassifierConfig(loss="weighted"), FREQUENCIES, CPU)
    halves = (loss(logits[:10], targets[:10]) + loss(logits[10:], targets[10:])) / 2
    torch.testing.assert_close(loss(logits, targets), halves)


def test_focal_follows_its_formula(batch) -> None:
    logits, targets = batch
    p = logits.softmax(1)[torch.arange(20), targets]
    expected = (-((1 - p) ** 2) * p.log()).mean()
    torch.testing.assert_close(_loss(batch, loss="focal", smoothing=0.0), expected)
    torch.testing.assert_close(_loss(batch, loss="focal", focal_gamma=0.0), _loss(batch))


def test_logit_adjustment_is_minimised_by_the_likelihood_not_the_posterior(batch) -> None:
    """Logits that say nothing cost least where the classes come as often as they do."""
    _, targets = batch
    blank = torch.zeros(20, 3, requires_grad=True)
    value = _loss((blank, targets), loss="logit-adjusted", smoothing=0.0)
    (gradient,) = torch.autograd.grad(value, blank)
    torch.testing.assert_close(gradient.sum(0), torch.zeros(3), atol=1e-6, rtol=0)
    torch.testing.assert_close(_loss(batch, loss="logit-adjusted", prior_power=0.0), _loss(batch))


@pytest.mark.parametrize("name", ["cross-entropy", "weighted", "focal", "logit-adjusted"])
def test_gradients_are_finite_where_images_are_certain(name: str) -> None:
    logits = torch.tensor([[200.0, 0.0], [200.0, 0.0]], requires_grad=True)
    more = {"focal_gamma": 0.5} if name == "focal" else {}
    loss = build_loss(ClassifierConfig(loss=name, smoothing=0.0, **more), np.array([0.5, 0.5]), CPU)  # type: ignore[arg-type]
    value = loss(logits, torch.tensor([0, 1]))
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    assert gradient[1, 0] > 0.1, "the wrong one is corrected"


def test_a_class_without_images_leaves_the_loss_finite(batch) -> None:
    loss = build_loss(ClassifierConfig(loss="weighted"), np.array([0.8, 0.2, 0.0]), CPU)
    assert torch.isfinite(loss(batch[0], torch.zeros(20, dtype=torch.long)))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"loss": "focl"}, "'focal'"),
        ({"smoothing": 1.0}, "--smoothing"),
        ({"loss": "focal", "focal_gamma": -1.0}, "--focal-gamma"),
        ({"focal_gamma": 3.0}, "--focal-gamma"),
        ({"loss": "focal", "weight_power": 0.5}, "--weight-power"),
        ({"loss": "weighted", "weight_power": float("inf")}, "--weight-power"),
    ],
)
def test_impossible_options_are_refused(options: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        build_loss(ClassifierConfig(**options), FREQUENCIES, CPU)
