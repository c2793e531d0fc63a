"""Attacks for the smallest change: exact distances to the boundaries of linear classifiers."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.robustness.linear import curved, images_of
from torch import Tensor, nn

from plenish.errors import InputError
from plenish.robustness.carlini_wagner import carlini_wagner, minimal_carlini_wagner
from plenish.robustness.deepfool import deepfool, minimal_deepfool
from plenish.robustness.fmn import fmn, minimal_fmn
from plenish.robustness.linear_boundaries import dual_length, nearest_boundary
from plenish.robustness.losses import margin
from plenish.robustness.threat import NORMS, Norm, lengths

Attack = Callable[..., Tensor]
KINDS: list[tuple[Attack, Attack, Norm, float]] = [
    *((fmn, minimal_fmn, norm, 1.02) for norm in NORMS),
    *((deepfool, minimal_deepfool, norm, 1.1) for norm in NORMS),
    (carlini_wagner, minimal_carlini_wagner, "l2", 1.1),
]
"""Attack, the variant without a radius, norm, and how much longer than the shortest change it may find."""
QUICK: dict[str, Any] = {"constant": 0.03, "step_size": 0.02, "searches": 5, "steps": 40}
FEW = {minimal_carlini_wagner: QUICK, carlini_wagner: QUICK, fmn: {"steps": 50}, minimal_fmn: {"steps": 50}}


def linear(classes: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, classes)).eval()


def grey(count: int) -> Tensor:
    """Images far from the borders of [0, 1]."""
    return 0.4 + 0.2 * torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def distances(model: nn.Module, images: Tensor, labels: Tensor, norm: Norm) -> Tensor:
    """To the nearest boundary of a linear classifier: |gap| over the dual norm of its normal."""
    weight, logits = model[1].weight.detach(), model(images).detach()
    gaps = logits.gather(1, labels[:, None]) - logits
    normals = (weight[labels][:, None] - weight[None]).norm(p=1 if norm == "linf" else 2, dim=2)
    return (gaps / normals.clamp_min(1e-12)).scatter(1, labels[:, None], math.inf).amin(dim=1)


@pytest.mark.parametrize(("attack", "smallest", "norm", "slack"), KINDS)
@pytest.mark.parametrize("classes", [2, 5])
def test_the_distance_to_a_linear_boundary_is_found(
    attack: Attack, smallest: Attack, norm: Norm, slack: float, classes: int
) -> None:
    model, images = linear(classes), grey(8)
    labels = model(images).argmax(dim=1)
    exact = distances(model, images, labels, norm)
    found = smallest(model, images, labels, norm=norm, **FEW.get(smallest, {}))
    assert (model(found).argmax(dim=1) != labels).all()
    ratio = lengths(found - images, norm) / exact
    assert ratio.min() >= 1 - 1e-4
    # A first step that overshoots is finished with, so DeepFool may end a little further.
    assert ratio.max() <= slack
    # With a radius between the distances, what is nearer is found, and the rest is returned as given.
    eps = exact.sort().values[3:5].mean().item()
    bounded = attack(model, images, labels, eps, norm=norm, **FEW.get(smallest, {}))
    near = lengths(found - images, norm) <= eps
    assert torch.equal(bounded, torch.where(near.view(-1, 1, 1, 1), found, images))
    assert near.any()
    assert not near.all()


@pytest.mark.parametrize("norm", NORMS)
def test_what_comes_near_to_a_boundary_step_by_step_also_crosses_it(norm: Norm) -> None:
    model = curved(4)
    images, labels = images_of(model, 12)
    assert (model(minimal_fmn(model, images, labels, norm=norm)).argmax(dim=1) != labels).all()


@pytest.mark.parametrize(("attack", "smallest", "norm", "slack"), KINDS)
def test_misclassified_and_unreachable_images_are_returned_as_given(
    attack: Attack, smallest: Attack, norm: Norm, slack: float
) -> None:
    model, images = linear(3), grey(4)
    right = model(images).argmax(dim=1)
    wrong = (right + 1) % 3
    few = FEW.get(attack, {})
    assert torch.equal(smallest(model, images, wrong, norm=norm, **few), images)
    assert torch.equal(attack(model, images, right, 0.0, norm=norm, **few), images)
    assert smallest(model, images[:0], right[:0], norm=norm, **few).shape == (0, 3, 4, 4)
    constant = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval()
    with torch.no_grad():
        constant[1].weight.zero_()
        constant[1].bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    assert torch.equal(smallest(constant, images, torch.zeros(4, dtype=torch.long), norm=norm, **few), images)


@pytest.mark.parametrize(("attack", "smallest", "norm", "slack"), KINDS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_all_that_is_found_fools_in_float32_within_the_ball(
    attack: Attack, smallest: Attack, norm: Norm, slack: float, precision: str
) -> None:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.GELU(), nn.Flatten(), nn.Linear(24, 4)
    ).train()
    images = torch.rand(8, 3, 4, 4)
    with torch.no_grad():
        model(torch.rand(64, 3, 4, 4))
    model.eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    labels = model(images).argmax(dim=1)
    eps = {"linf": 0.2, "l2": 1.0}[norm]
    found = attack(model, images, labels, eps, norm=norm, precision=precision, **FEW.get(attack, {}))
    size = lengths(found - images, norm)
    assert (size <= eps * (1 + 1e-5)).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(model(found).argmax(dim=1) != labels, size > 0)
    assert (size > 0).any()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    alone = attack(
        model, images[2:3], labels[2:3], eps, norm=norm, precision=precision, **FEW.get(attack, {})
    )
    if precision == "float32":
        assert torch.allclose(alone, found[2:3], atol=1e-3)


class _Rising(nn.Module):
    """Class 1 is ahead of class 0 where the mean is more than 0.1 away from 0.5: steeper the farther."""

    def forward(self, images: Tensor) -> Tensor:
        lead = (images.mean((1, 2, 3)) - 0.5).square() - 0.01
        return torch.stack([torch.zeros_like(lead), lead], dim=1)


@pytest.mark.parametrize("norm", NORMS)
def test_the_point_after_the_last_step_counts(norm: Norm) -> None:
    images, labels = torch.full((2, 3, 4, 4), 0.51), torch.zeros(2, dtype=torch.long)
    found = minimal_fmn(_Rising(), images, labels, norm=norm, steps=1)
    assert (_Rising()(found).argmax(dim=1) != labels).all()
    # Half-way steps then draw it in to the boundary, 0.09 away.
    assert ((found - images) <= 0.09 * 1.02).all()


def test_carlini_and_wagner_refuse_another_norm() -> None:
    model, images = linear(2), grey(1)
    with pytest.raises(InputError) as caught:
        carlini_wagner(model, images, torch.zeros(1, dtype=torch.long), 0.1, norm="linf")
    assert caught.value.code == "norm"


def test_carlini_and_wagner_keep_the_confidence_that_is_asked_for() -> None:
    model, images = linear(3), grey(6)
    labels = model(images).argmax(dim=1)
    found = [minimal_carlini_wagner(model, images, labels, confidence=least, **QUICK) for least in (0.0, 0.5)]
    least, most = (margin(model(x), labels).detach() for x in found)
    assert (least > 0).all()
    assert least.min() < 0.5
    assert (most >= 0.5).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_nearest_boundary_of_a_linear_classifier_is_found(norm: Norm) -> None:
    model, images = linear(6), grey(12)
    logits = model(images).detach()
    labels = logits.argmax(dim=1)
    gap, normal = nearest_boundary(model, images, labels, norm)
    assert torch.allclose(-gap / dual_length(normal, norm), distances(model, images, labels, norm))
    # Of one candidate, the class of the second largest logit.
    gap, normal = nearest_boundary(model, images, labels, norm, candidates=1)
    second = logits.topk(2, dim=1)
    assert torch.allclose(gap, second.values[:, 1] - second.values[:, 0], atol=1e-6)
    weight = model[1].weight.detach()
    assert torch.allclose(normal.flatten(1), weight[second.indices[:, 1]] - weight[labels], atol=1e-6)


def test_gradients_toward_many_classes_are_not_all_kept() -> None:
    model, images = linear(40), grey(2)
    alive: list[weakref.ref[Tensor]] = []
    most = 0

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, given: Tensor) -> Tensor:
            return given.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:
            nonlocal most
            found = gradient.clone()
            alive.append(weakref.ref(found))
            most = max(most, sum(one() is not None for one in alive))
            return found

    class Model(nn.Module):
        def forward(self, given: Tensor) -> Tensor:
            found: Tensor = model(Watched.apply(given))
            return found

    nearest_boundary(Model(), images, model(images).argmax(dim=1), "linf")
    assert len(alive) == 39
    assert most <= 3
