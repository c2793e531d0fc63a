"""Hardening: losses against values worked out by hand, attacks inside their ball, weights given back."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from plenish import settings
from plenish.datasets.batches import Batch, Images
from plenish.datasets.orders import SharedOrder
from plenish.errors import InputError
from plenish.robustness import hardening
from plenish.robustness.hardening import (
    HardenedLearner,
    ascend_from,
    check_hardening,
    random_start,
    train_hardened,
)
from plenish.robustness.hardening_config import HardeningConfig
from plenish.robustness.hardening_losses import divergence, mart, strongest_other
from plenish.robustness.threat import Norm, lengths
from plenish.robustness.weight_perturbation import move, perturbable
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.engine import Engine
from plenish.training.learner import Clock

NAMES = ["flat", "upright"]


def planted(n: int = 64, seed: int = 0) -> Images:
    """Flat bars against upright ones: strong features, and noise in which a network finds weak ones too."""
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % 2
    pixels = rng.integers(60, 120, (n, 12, 12, 1))
    for image, code, at in zip(pixels, codes, rng.integers(1, 10, n), strict=True):
        bar = (slice(None), slice(at, at + 2)) if code else (slice(at, at + 2),)
        image[bar] += 90
    return Images(pixels.astype(np.uint8).__getitem__, codes.astype(np.int64))


def logits_of_probabilities(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows).log() + 3  # Probabilities do not change with a common summand.


def test_losses_are_those_worked_out_by_hand() -> None:
    before = logits_of_probabilities((0.5, 0.25, 0.25), (0.1, 0.8, 0.1))
    after = logits_of_probabilities((0.25, 0.5, 0.25), (0.2, 0.2, 0.6))
    labels = torch.tensor([0, 1])
    kl = [0.25 * math.log(2), 0.1 * math.log(0.5) + 0.8 * math.log(4) + 0.1 * math.log(1 / 6)]
    assert divergence(before, after).tolist() == pytest.approx(kl, abs=1e-6)
    assert divergence(before, before).abs().max() < 1e-6
    assert strongest_other(after, labels).tolist() == pytest.approx([math.log(2), -math.log(0.4)])
    expected = [math.log(2) + 5 * kl[0] * 0.5, -math.log(0.4) + 5 * kl[1] * 0.2]
    assert mart(before, after, labels, 5.0).tolist() == pytest.approx(expected, abs=1e-5)
    sure = torch.tensor(
        [[-20.0, 20.0], [20.0, -20.0]], requires_grad=True
    )  # Of another class, and of its own.
    found = strongest_other(sure, torch.tensor([0, 0]))
    assert found.tolist() == pytest.approx([40, 0])
    found.sum().backward()
    assert sure.grad is not None
    assert sure.grad.tolist() == [pytest.approx([-1, 1]), pytest.approx([0, 0])]


def test_moved_weights_are_as_long_as_asked_and_come_back_bit_for_bit() -> None:
    layers = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
    weights = perturbable(list(layers.parameters()))
    assert [tuple(weight.shape) for weight in weights] == [(3, 1, 3, 3), (2, 12)]
    before = [parameter.detach().clone() for parameter in layers.parameters()]
    kept = [weight.detach().clone() for weight in weights]
    gradients = [torch.randn_like(weight) for weight in weights]
    restore = move(weights, gradients, 0.01)
    for weight, old, gradient in zip(weights, kept, gradients, strict=True):
        change = weight.detach() - old
        assert float(change.norm() / old.norm()) == pytest.approx(0.01, rel=1e-4)
        assert float(nn.functional.cosine_similarity(change.flatten(), gradient.flatten(), 0)) > 0.999
    restore()
    assert all(torch.equal(p, old) for p, old in zip(layers.parameters(), before, strict=True))


class Linear(nn.Module):
    """Logits (0, a·x): the worst change of images is known."""

    def __init__(self, slope: Tensor) -> None:
        super().__init__()
        self.register_buffer("slope", slope)

    def forward(self, images: Tensor) -> Tensor:
        score = (images * self.slope).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_attack_finds_the_worst_point_of_the_ball_of_a_linear_classifier(norm: Norm) -> None:
    slope = torch.tensor([1.0, -2.0, 0.5, 3.0]).view(1, 2, 2)
    images, labels = torch.full((6, 1, 2, 2), 0.5), torch.arange(6) % 2
    how = HardeningConfig("pgd", eps=0.1, norm=norm, attack_steps=40).resolved()
    start = random_start(images, 0.1, norm, torch.Generator().manual_seed(0))
    assert lengths(start - images, norm).max() <= 0.1 + 1e-6
    assert start.flatten(1).unique(dim=0).shape[0] == 6

    def loss(logits: Tensor, y: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, y, reduction="none")

    found = ascend_from(Linear(slope), images, start, labels, loss, how, "float32")
    worst = slope.sign() if norm == "linf" else slope / slope.norm()
    away = 1.0 - 2.0 * labels.view(-1, 1, 1, 1)
    torch.testing.assert_close(found, images + 0.1 * worst * away, atol=2e-3, rtol=0)


def learner(images: Images, **how: object) -> HardenedLearner:
    config = ClassifierConfig(steps=20, batch=16, smoothing=0.0, drop_rate=0.0).resolved(64)
    engine = Engine(torch.device("cpu"), "float32")
    return HardenedLearner(config, images, images, NAMES, engine, hardening=HardeningConfig(**how))  # type: ignore[arg-type]


def batch_of(images: Images, n: int = 16) -> Batch:
    return Batch(0, n, np.arange(n), images.read(np.arange(n)), images.y[:n], 0.0)


def test_fast_is_one_step_of_pgd_and_free_repeats_a_batch() -> None:
    images = planted()
    ended = []
    for how in ({"method": "fast"}, {"method": "pgd", "attack_steps": 1, "step_size": 1.25 * 4 / 255}):
        made = learner(images, **how)
        made.step(batch_of(images), Clock(0))
        ended.append([p.detach().clone() for p in made.modules()["classifier"].parameters()])
    assert all(torch.equal(*pair) for pair in zip(*ended, strict=True))
    made = learner(images, method="free", attack_steps=3)
    made.step(batch_of(images), Clock(0))
    assert {int(state["step"]) for state in made.optimiser.state.values()} == {3}


@pytest.mark.parametrize("method", ["pgd", "trades", "mart", "fast"])
def test_a_step_leaves_modes_and_needs_as_they_were_and_normalises_once_a_pass(method: str) -> None:
    images = planted()
    made = learner(images, method=method, awp=0.01, awp_warmup=0.0)
    network = made.modules()["classifier"]
    made.step(batch_of(images), Clock(0))
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())
    passes = {int(v) for k, v in network.state_dict().items() if k.endswith("num_batches_tracked")}
    assert passes == {2 if method in ("trades", "mart") else 1}


def test_both_answers_of_trades_learn_and_the_attack_moves_one_of_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = planted()
    seen: list[tuple[Tensor, Tensor]] = []

    def spied(logits: Tensor, changed: Tensor) -> Tensor:
        seen.append((logits, changed))
        return divergence(logits, changed)

    monkeypatch.setattr(hardening, "divergence", spied)
    clean = learner(images).logits(
        Engine(torch.device("cpu"), "float32").to_images(images.read(np.arange(16)))
    )
    learner(images, method="trades", attack_steps=2, beta=3.0).step(batch_of(images), Clock(0))
    *attack, (before, after) = seen
    assert len(attack) == 2
    assert not any(logits.requires_grad for logits, _ in attack)
    torch.testing.assert_close(before, clean)
    assert before.grad_fn is not None
    assert after.grad_fn is not None
    assert float(divergence(before, after).detach().mean()) > 0


def test_a_hardened_classifier_withstands_what_turns_a_plain_one() -> None:
    config = ClassifierConfig(steps=40, batch=32, evaluations=1)
    found = {}
    with settings.use(precision="float32"):
        for method, steps in (("none", None), ("pgd", 3)):
            how = HardeningConfig(method, eps="12/255", attack_steps=steps, validation_steps=5)  # type: ignore[arg-type]
            model = train_hardened(config, how, planted(), planted(seed=1), NAMES)
            scored = [line for line in model.history if "val_robust_balanced_accuracy" in line]
            (kept,) = [line for line in scored if line["step"] == model.step]
            found[method] = kept["val_robust_balanced_accuracy"], kept["val_balanced_accuracy"]
    assert found["pgd"][0] > found["none"][0] + 0.25
    assert found["none"][1] == 1


def test_shares_of_batches_are_spread_evenly_and_each_side_comes_in_epochs() -> None:
    y = np.arange(30) % 2

    def draw(epoch: int) -> np.random.Generator:
        return np.random.default_rng((1, epoch))

    order = SharedOrder(y, draw, real=20, share=0.7, batch=10)
    found = order(np.arange(200)).reshape(20, 10)
    assert ((found >= 20).sum(1) == 7).all()
    flat = found.reshape(-1)
    real, made = flat[flat < 20], flat[flat >= 20]
    assert all(sorted(real[k : k + 20]) == list(range(20)) for k in range(0, 60, 20))
    assert all(sorted(made[k : k + 10]) == list(range(20, 30)) for k in range(0, 140, 10))
    assert np.array_equal(order(np.arange(37, 61)), flat[37:61])
    assert order.expected().sum() == pytest.approx(order.length)
    assert order.expected()[20:].sum() == pytest.approx(0.7 * order.length)


def test_radii_by_default_follow_the_norm() -> None:
    assert HardeningConfig().radius == 4 / 255
    assert HardeningConfig(norm="l2").radius == 0.5
    assert HardeningConfig(norm="l2").resolved().step_size == 0.125
    assert HardeningConfig(norm="l2", eps=0.1).resolved().radius == 0.1


def test_a_step_that_follows_from_eps_may_exceed_the_range() -> None:
    how = HardeningConfig(method="fast", eps=0.9).resolved()
    assert how.step_size == pytest.approx(1.125)
    assert HardeningConfig(**dataclasses.asdict(how)) == how  # As a Run keeps it.


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"method": "tradez"}, "'trades'"),
        ({"eps": "4/0"}, "4/0"),
        ({"eps": -0.1}, "--eps"),
        ({"eps": "4"}, "--eps"),
        ({"eps": "much"}, "'much'"),
        ({"step_size": 1.1}, "--step-size"),
        ({"method": "fast", "eps": 0.9, "step_size": 1.1}, "--step-size"),
        ({"step_size": 0}, "--step-size"),
        ({"method": "pgd", "beta": 3.0}, "--beta"),
        ({"method": "free", "awp": 0.01}, "--awp"),
        ({"method": "fast", "attack_steps": 3}, "--attack-steps"),
        ({"attack_steps": 0}, "--attack-steps"),
    ],
)
def test_impossible_hardening_is_refused(options: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        HardeningConfig(**options)


def test_a_radius_beyond_every_change_is_refused() -> None:
    config = ClassifierConfig(steps=1)
    check_hardening(config, HardeningConfig(norm="l2", eps=8.0), "categorical", (8, 1))
    with pytest.raises(InputError, match="--eps"):
        check_hardening(config, HardeningConfig(norm="l2", eps=8.1), "categorical", (8, 1))


def test_what_has_no_meaning_under_attack_is_refused() -> None:
    images, how = planted(), HardeningConfig("mart")
    tags = Images(images.read, np.eye(2, dtype=np.float32)[images.y])
    with pytest.raises(InputError, match="tags"):
        train_hardened(ClassifierConfig(steps=1), how, tags, tags, NAMES)
    with pytest.raises(InputError, match="--mixup"):
        train_hardened(ClassifierConfig(steps=1, mixup=0.2), how, images, images, NAMES)
    with pytest.raises(InputError, match="--share"):
        train_hardened(ClassifierConfig(steps=1, share=0.5), HardeningConfig(), images, images, NAMES)
