"""Perturbers: projections, the losses of a step, resuming, and a trained one as an attack."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import strategies
from torch import Tensor, nn
from torch.nn import functional

from plenish.datasets.batches import Batch, Images
from plenish.errors import InputError
from plenish.networks.perturber import PerturbationDiscriminator, Perturber, PerturberConfig
from plenish.robustness.advgan import AdvGANLearner, AdvGANMethod, perturbed
from plenish.robustness.threat import lengths
from plenish.robustness.trained_perturber import LoadedPerturber
from plenish.runs import Run
from plenish.training.engine import Engine
from plenish.training.learner import Clock

TINY = PerturberConfig(16, 3, width=4, max_width=8, d_width=4, d_layers=1)


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (9, 3), (13, 1), (16, 3), (28, 1), (33, 3)])
def test_directions_have_the_size_of_the_images_whatever_it_is(size: int, channels: int) -> None:
    torch.manual_seed(0)
    config = PerturberConfig(size, channels, width=4, max_width=8, d_width=4)
    images = torch.rand(3, channels, size, size)
    found = Perturber(config)(images)
    assert found.shape == images.shape
    assert float(found.detach().abs().max()) <= 1
    torch.testing.assert_close(
        Perturber.forward(network := Perturber(config), images[:1]), network(images)[:1]
    )
    assert PerturbationDiscriminator(config)(images).shape[0] == 3


def test_images_too_small_are_refused() -> None:
    with pytest.raises(InputError):
        PerturberConfig(7, 3)


class _Directions(nn.Module):
    """Given directions, whatever the images."""

    def __init__(self, directions: Tensor) -> None:
        super().__init__()
        self.directions = nn.Parameter(directions)

    def forward(self, images: Tensor) -> Tensor:
        return self.directions


@hypothesis.settings(max_examples=30)
@hypothesis.given(
    strategies.integers(0, 1000), strategies.sampled_from(["linf", "l2"]), strategies.floats(0, 1),
    strategies.floats(0.001, 1),
)  # fmt: skip
def test_perturbed_images_are_in_ball_and_range(seed: int, norm: str, eps: float, scale: float) -> None:
    rng = torch.Generator().manual_seed(seed)
    images = torch.rand(4, 3, 8, 8, generator=rng)
    made = perturbed(_Directions(torch.randn(4, 3, 8, 8, generator=rng).mul(scale).tanh()), images, eps, norm)
    assert float(made.detach().min()) >= 0
    assert float(made.detach().max()) <= 1
    assert bool((lengths(made.detach() - images, norm) <= eps + 1e-6).all())


def test_directions_are_scaled_in_one_norm_and_shortened_in_the_other() -> None:
    images, directions = torch.full((1, 1, 8, 8), 0.5), torch.full((1, 1, 8, 8), 0.25)
    by_linf = perturbed(_Directions(directions), images, 0.1, "linf")
    torch.testing.assert_close(by_linf.detach(), images + 0.025)
    by_l2 = perturbed(_Directions(directions), images, 0.8, "l2")
    torch.testing.assert_close(by_l2.detach(), images + 0.1)  # 64 values of 0.1 have the length 0.8.
    within = perturbed(_Directions(directions), images, 5.0, "l2")
    torch.testing.assert_close(within.detach(), images + 0.25)
    network = _Directions(directions)
    (gradient,) = torch.autograd.grad(perturbed(network, images, 0.1, "linf").sum(), network.directions)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 0.1))


def test_another_radius_scales_what_was_learnt(tmp_path: Path) -> None:
    images = torch.full((1, 3, 16, 16), 0.5)
    network = _Directions(torch.full((1, 3, 16, 16), 0.01))  # A length of 0.277.
    network.config = TINY
    attack = LoadedPerturber(network, "l2", 1.0, Run(tmp_path, {}), tmp_path, "")  # type: ignore[arg-type]
    for eps, change in ((1.0, 0.01), (2.0, 0.02), (0.5, 0.005)):
        made = attack(nn.Identity(), images, torch.zeros(1), eps, norm="l2")
        torch.testing.assert_close(made - images, torch.full_like(images, change))


def test_no_images_are_perturbed_into_none(tmp_path: Path) -> None:
    attack = LoadedPerturber(Perturber(TINY).eval(), "linf", 0.1, Run(tmp_path, {}), tmp_path, "")
    images = torch.zeros(0, 3, TINY.size, TINY.size)
    assert attack(nn.Identity(), images, torch.zeros(0), 0.1).shape == images.shape


class _Victim(nn.Module):
    """The logit of one class is the mean red, of the other the mean blue."""

    def forward(self, images: Tensor) -> Tensor:
        return 4 * images.mean((2, 3))[:, [0, 2]]


def learner(**method: object) -> AdvGANLearner:
    torch.manual_seed(3)
    pixels = np.random.default_rng(5).integers(0, 256, (6, 16, 16, 3), np.uint8)
    val = Images(pixels.__getitem__, np.arange(6) % 2)
    engine = Engine(torch.device("cpu"), "float32")
    how = AdvGANMethod(**({"norm": "linf", "eps": 8 / 255, "batch": 4} | method))  # type: ignore[arg-type]
    return AdvGANLearner(TINY, how, _Victim(), engine, val)


def batch_of(seed: int = 0) -> Batch:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 16, 16, 3), np.uint8)
    return Batch(0, 4, np.arange(4), pixels, np.arange(4) % 2, 0.0)


def test_a_step_has_the_published_losses_and_leaves_the_classifier() -> None:
    batch, clock = batch_of(), Clock(1)
    one = learner(lr=1e-12, gan=0.5, confidence=1.0)  # Weights stay as they were.
    values = one.step(batch, clock)
    two = learner()
    real = torch.from_numpy(batch.pixels).permute(0, 3, 1, 2).float() / 255
    made = perturbed(two.perturber, real, 8 / 255, "linf").detach()
    logits = _Victim()(made)
    own, other = logits.gather(1, torch.tensor(batch.y)[:, None])[:, 0], logits.gather(
        1, 1 - torch.tensor(batch.y)[:, None]
    )[:, 0]  # fmt: skip
    hinge = functional.relu(1.0 - (other - own)).mean()
    answers, truth = two.discriminator(made).detach(), two.discriminator(real).detach()
    judged = functional.binary_cross_entropy_with_logits
    fooled = judged(answers, torch.ones_like(answers))
    loss_d = (judged(truth, torch.ones_like(truth)) + judged(answers, torch.zeros_like(answers))) / 2
    assert float(values["loss_g"]) == pytest.approx(float(hinge + 0.5 * fooled), rel=1e-5)
    assert float(values["loss_d"]) == pytest.approx(float(loss_d), rel=1e-5)
    assert float(values["margin"]) == pytest.approx(float((other - own).mean()), rel=1e-4)


def test_training_learns_the_perturbation_that_is_known() -> None:
    """Against a classifier of mean red and blue, raising one and lowering the other is best."""
    one, batch = learner(gan=0.0, eps=0.1, lr=3e-3, confidence=10.0), batch_of()
    before = one.validate(Clock(1))
    for step in range(40):
        one.step(batch, Clock(1, nimg=4 * step, step=step))
    after = one.validate(Clock(1))
    assert set(after) == set(one.criteria)
    assert after["val_margin"] > before["val_margin"]
    real = torch.from_numpy(batch.pixels).permute(0, 3, 1, 2).float() / 255
    labels = torch.tensor(batch.y)
    lead = [
        _Victim()(x).gather(1, 1 - labels[:, None]) - _Victim()(x).gather(1, labels[:, None])
        for x in (real, perturbed(one.perturber, real, 0.1, "linf").detach())
    ]
    gained = float((lead[1] - lead[0]).mean())
    assert 0.3 < gained <= 0.8 + 1e-5  # 4 · 0.1 in each of the two.


class _Overflowing(nn.Module):
    """Its answer is infinite, and for the label, where an image is brighter than those of val."""

    def forward(self, images: Tensor) -> Tensor:
        answers = torch.tensor([[5.0, 0.0]]).repeat(len(images), 1)
        answers[images.amax(dim=(1, 2, 3)) > 0.6, 0] = torch.inf
        return answers


def test_an_answer_that_is_no_number_counts_as_fooled() -> None:
    torch.manual_seed(0)
    val = Images(np.full((4, 16, 16, 3), 128, np.uint8).__getitem__, np.zeros(4, np.int64))
    engine, how = Engine(torch.device("cpu"), "float32"), AdvGANMethod("linf", 0.2)
    one = AdvGANLearner(TINY, how, _Overflowing(), engine, val)
    one.perturber = _Directions(torch.ones(4, 3, 16, 16))  # type: ignore[assignment]
    assert one.validate(Clock(1)) == {"val_fooled": 1}


@pytest.mark.parametrize("eps", [math.nan, -0.1, "far", 2.0, 0])
def test_a_radius_is_read_as_everywhere(eps: Any) -> None:
    typed: Any = "4/255"
    assert AdvGANMethod("linf", typed).eps == 4 / 255
    with pytest.raises(InputError):
        AdvGANMethod("linf", eps)
