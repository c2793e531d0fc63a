"""Losses of a classifier: agreement with torch's own and with their formulas, gradients, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from plenish.errors import InputError
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_losses import build_loss, check_loss

CPU = torch.device("cpu")
COUNTS = np.array([14.0, 4.0, 2.0])


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and class numbers in the proportions of COUNTS."""
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0)) * 3
    return logits.requires_grad_(), torch.tensor([0] * 14 + [1] * 4 + [2] * 2)


def _loss(batch: tuple[torch.Tensor, torch.Tensor], **options: object) -> torch.Tensor:
    return build_loss(ClassifierConfig(**options), COUNTS, CPU)(*batch).mean()  # type: ignore[arg-type]


def test_cross_entropy_is_torchs(batch) -> None:
    torch.testing.assert_close(_loss(batch), functional.cross_entropy(*batch, label_smoothing=0.1))


def test_inverse_frequencies_make_every_class_count_alike(batch) -> None:
    logits, targets = batch
    each = functional.cross_entropy(logits, targets, reduction="none")
    per_class = torch.stack([each[targets == k].mean() for k in range(3)])
    torch.testing.assert_close(_loss(batch, loss="weighted", smoothing=0.0), per_class.mean())
    torch.testing.assert_close(_loss(batch, loss="weighted", weight_power=0.0), _loss(batch))
    # Divided among processes: the mean of their means is the mean of all.
    loss = build_loss(ClassifierConfig(loss="weighted"), COUNTS, CPU)
    halves = torch.cat([loss(logits[:10], targets[:10]), loss(logits[10:], targets[10:])])
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


@pytest.mark.parametrize("name", ["cross-entropy", "weighted", "focal", "logit-adjusted", "ldam"])
def test_gradients_are_finite_where_images_are_certain(name: str) -> None:
    logits = torch.tensor([[200.0, 0.0], [200.0, 0.0]], requires_grad=True)
    more = {"focal_gamma": 0.5} if name == "focal" else {}
    loss = build_loss(ClassifierConfig(loss=name, smoothing=0.0, **more), np.array([0.5, 0.5]), CPU)  # type: ignore[arg-type]
    value = loss(logits, torch.tensor([0, 1])).mean()
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    assert gradient[1, 0] > 0.1, "the wrong one is corrected"


def test_a_class_without_images_leaves_the_loss_finite(batch) -> None:
    loss = build_loss(ClassifierConfig(loss="weighted"), np.array([0.8, 0.2, 0.0]), CPU)
    assert torch.isfinite(loss(batch[0], torch.zeros(20, dtype=torch.long))).all()


def test_ldam_lowers_the_own_cosine_by_its_margin_and_reweights_late() -> None:
    counts = np.array([1600.0, 100.0, 1.0])
    config = ClassifierConfig(loss="ldam", smoothing=0.0, ldam_margin=0.5, ldam_scale=10.0, reweight_at=0.6)
    drawn = np.full(3, 500.0)  # Drawn equally often, the images are as few as they are.
    loss = build_loss(config, drawn, CPU, counts)
    logits, targets = torch.randn(3, 3, generator=torch.Generator().manual_seed(0)) * 4, torch.arange(3)
    margins = 10 * 0.5 * torch.from_numpy((counts / counts.min()) ** -0.25)  # 1/6.32, 1/3.16 and all of it
    expected = functional.cross_entropy(logits.double() - torch.diag(margins), targets, reduction="none")
    torch.testing.assert_close(loss(logits, targets, 0.59).double(), expected, rtol=1e-5, atol=1e-6)
    worth = 1 / (1 - 0.9999**counts)
    worth *= 3 / worth.sum()
    late = expected * torch.from_numpy(worth)
    torch.testing.assert_close(loss(logits, targets, 0.6).double(), late, rtol=1e-5, atol=1e-6)


def test_asymmetric_follows_its_formula_and_is_cross_entropy_without_its_options() -> None:
    rng = torch.Generator().manual_seed(0)
    logits, tags = torch.randn(8, 4, generator=rng) * 2, (torch.rand(8, 4, generator=rng) < 0.3).float()
    binary = functional.binary_cross_entropy_with_logits(logits, tags, reduction="none").sum(1)
    plain = {"gamma_absent": 0.0, "gamma_present": 0.0, "clip": 0.0}
    for options in ({"loss": "cross-entropy"}, {"loss": "asymmetric", **plain}):
        config = ClassifierConfig(smoothing=0.0, **options)
        torch.testing.assert_close(build_loss(config, np.ones(4), CPU)(logits, tags), binary)
    config = ClassifierConfig(loss="asymmetric", smoothing=0.0, gamma_absent=3.0, gamma_present=1.0, clip=0.1)
    p = logits.sigmoid()
    q = (p - 0.1).clamp_min(0)
    expected = -(tags * (1 - p) * p.log() + (1 - tags) * q**3 * (1 - q).log()).sum(1)
    torch.testing.assert_close(build_loss(config, np.ones(4), CPU)(logits, tags), expected)


@pytest.mark.parametrize(
    ("loss", "kind"), [("asymmetric", "categorical"), ("focal", "multilabel"), ("ldam", "multilabel")]
)
def test_losses_of_other_labels_are_refused(loss: str, kind: str) -> None:
    with pytest.raises(InputError, match="--loss"):
        check_loss(ClassifierConfig(loss=loss), kind)


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
        build_loss(ClassifierConfig(**options), COUNTS, CPU)
