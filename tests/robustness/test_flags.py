"""Planted masks of gradients raise the flag that names them; honest classifiers raise none."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.robustness.attack_plan import CONTROL, ITERATIVE, SINGLE
from plenish.robustness.evaluation import evaluate
from plenish.robustness.flags import NAMES, Evidence, flags_of
from plenish.robustness.gradient_checks import check_gradients
from plenish.robustness.gradients import value_and_gradient
from plenish.robustness.losses import cross_entropy

N, SIZE = 32, 8


def bars() -> tuple[Tensor, Tensor]:
    """Noise with a brighter left or right half."""
    labels = torch.arange(N) % 2
    images = torch.rand(N, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 0.3 + 0.3
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, :, 4 * label : 4 * label + 4] += 0.15
    return images, labels


@pytest.fixture(scope="module")
def robust() -> nn.Module:
    """A small network, trained on images that FGSM has changed by 8/255."""
    images, labels = bars()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(128, 2)
        )
        weights = list(model.parameters())
        for _ in range(80):
            model.eval()
            _, _, gradient = value_and_gradient(model, images, labels, cross_entropy)
            model.train()
            loss = F.cross_entropy(model(images + 8 / 255 * gradient.sign()), labels)
            with torch.no_grad():
                for weight, slope in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                    weight -= 0.3 * slope
    return model.eval()


class Changed(nn.Module):
    """A module behind a change of its input, its output or both."""

    def __init__(self, module: nn.Module, change: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.module, self.change = module, change

    def forward(self, images: Tensor) -> Tensor:
        return self.change(self.module, images)


MASKS: dict[str, tuple[Callable[[nn.Module, Tensor], Tensor], str]] = {
    "saturated": (lambda model, x: model(x) * 1000, "softmax"),
    "probabilities": (lambda model, x: model(x).softmax(1), "softmax"),
    "quantised": (lambda model, x: model((x * 16).round() / 16), "differentiable"),
    "8-bit": (lambda model, x: model((x * 255).round() / 255), "differentiable"),
    "detached": (lambda model, x: model(0.4 * x + 0.6 * x.detach()), "finite-differences"),
    "cut": (lambda model, x: model(x.detach()), "gradients"),
    "undefined": (lambda model, x: model(x + (x - x).sqrt()), "gradients"),
}


def attacked(module: nn.Module) -> dict[str, str]:
    """The status of every check of an evaluation."""
    content = evaluate(
        module, bars(), eps=(8 / 255, 32 / 255), attacks="quick", corruptions=False, resamples=100
    ).content
    return {flag["name"]: flag["status"] for flag in content["flags"]}


def checked(module: nn.Module) -> dict[str, str]:
    """The status of the checks of a classifier's gradients."""
    flags = flags_of(dataclasses.replace(SOUND, checks=check_gradients(module, *bars())))
    return {flag.name: flag.status for flag in flags[-5:]}


def test_an_honest_robust_classifier_raises_none(robust: nn.Module) -> None:
    assert attacked(robust) == dict.fromkeys(NAMES, "passed")


@pytest.mark.parametrize("mask", MASKS)
def test_a_planted_mask_raises_its_flag(robust: nn.Module, mask: str) -> None:
    change, name = MASKS[mask]
    found = checked(Changed(robust, change).eval())
    assert found[name] == "failed"
    assert found["deterministic"] == "passed"
    # Each is told from the others by the classifier's own checks.
    others = {"softmax", "differentiable", "finite-differences"} - {name}
    assert {found[other] for other in others if mask != "cut"} <= {"passed", "unknown"}


def test_what_only_square_finds_shows_masked_gradients(robust: nn.Module) -> None:
    found = attacked(Changed(robust, MASKS["quantised"][0]).eval())
    assert found["white-box-beats-black-box"] == found["differentiable"] == "failed"


def test_dropout_left_on_is_random(robust: nn.Module) -> None:
    model = copy.deepcopy(robust).train()
    found = checked(model)
    assert found["deterministic"] == "failed"
    assert found["finite-differences"] == "unknown"
    assert model.training


def test_batch_statistics_depend_on_the_batch() -> None:
    images, labels = bars()
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Flatten(), nn.Linear(64, 2))
    checks = check_gradients(model.train(), images, labels)
    assert checks.repeated == 0
    assert checks.alone > 0.1
    assert check_gradients(model.eval(), images, labels).alone < 1e-4


def test_without_gradients_their_checks_are_unknown(robust: nn.Module) -> None:
    checks = check_gradients(robust, *bars(), differentiable=False)
    flags = {flag.name: flag.status for flag in flags_of(dataclasses.replace(SOUND, checks=checks))}
    assert (flags["gradients"], flags["differentiable"]) == ("unknown", "unknown")
    assert flags["deterministic"] == "passed"


SOUND = Evidence(
    100, 2, (0.0, 0.1, 0.2), {CONTROL: (90, 90, 88), SINGLE: (90, 60, 40), ITERATIVE: (90, 50, 0)},
    (90, 50, 0), (0, 0, 1), None, (0.9, 0.5, 0.5, 0.5), (0, 0, 0), None,
)  # fmt: skip
"""What attacks find of a sound classifier of 100 images."""


@pytest.mark.parametrize(
    ("changes", "name", "status"),
    [
        ({}, "converged", "passed"),
        ({"left": SOUND.left | {ITERATIVE: (90, 70, 0)}}, "iterative-beats-single-step", "failed"),
        ({"left": {ITERATIVE: (90, 50, 0)}}, "iterative-beats-single-step", "unknown"),
        ({"only_black_box": (0, 0, 5)}, "white-box-beats-black-box", "failed"),
        ({"only_black_box": None}, "white-box-beats-black-box", "unknown"),
        ({"left": SOUND.left | {CONTROL: (90, 60, 30)}}, "noise-is-harmless", "failed"),
        ({"left": {}}, "noise-is-harmless", "unknown"),
        ({"worst": (90, 80, 70)}, "reaches-chance", "unknown"),
        ({"worst": (90, 80, 70), "at_half": 0.7}, "reaches-chance", "failed"),
        ({"worst": (90, 80, 70), "at_half": 0.0}, "reaches-chance", "passed"),
        ({"worst": (50, 40, 20), "left": {}}, "reaches-chance", "unknown"),  # It was there before.
        ({"left": SOUND.left | {ITERATIVE: (90, 50, 60)}}, "monotone", "failed"),
        ({"converging": (0.9, 0.8, 0.7, 0.5, 0.3)}, "converged", "failed"),
        ({"converging": ()}, "converged", "unknown"),
        ({"not_finite": (0, 0, 3)}, "finite-logits", "failed"),
        ({"not_finite": (1, 0, 0)}, "finite-logits", "failed"),
        ({}, "finite-logits", "passed"),
        ({}, "gradients", "unknown"),
    ],
)
def test_a_check_follows_from_what_attacks_found(changes: dict[str, object], name: str, status: str) -> None:
    assert tuple(flag.name for flag in flags_of(SOUND)) == NAMES
    assert all(flag.status != "failed" for flag in flags_of(SOUND))
    found = {flag.name: flag.status for flag in flags_of(dataclasses.replace(SOUND, **changes))}
    assert found[name] == status
