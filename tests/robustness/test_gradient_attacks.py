"""FGSM, BIM, PGD and noise: optima of linear classifiers, the ball, batches, an untouched classifier."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from plenish.errors import InputError
from plenish.robustness.carlini_wagner import carlini_wagner
from plenish.robustness.deepfool import deepfool
from plenish.robustness.gradient_attacks import bim, fgsm, pgd, steps_of_pgd
from plenish.robustness.losses import cross_entropy, margin
from plenish.robustness.noise import random_noise
from plenish.robustness.registry import ATTACKS as REGISTRY
from plenish.robustness.registry import AttackSpec
from plenish.robustness.square import square
from plenish.robustness.target import OfFunction
from plenish.robustness.threat import NORMS, Norm, lengths

Attack = Callable[..., Tensor]
ATTACKS: tuple[Attack, ...] = (fgsm, bim, pgd, random_noise)
CLASSES = 4


def curved(seed: int = 0) -> nn.Module:
    """A small convolutional classifier of 3×8×8 with batch normalisation, in evaluation mode."""
    torch.manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.GELU(), nn.Conv2d(8, 8, 3, 2), nn.GELU(),
        nn.Flatten(), nn.Linear(72, CLASSES),
    )  # fmt: skip
    with torch.no_grad():
        for _ in range(5):
            layers(torch.rand(64, 3, 8, 8))
    return layers.eval()


def linear(classes: int = 2) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes)).eval()


def images_of(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


def predicted(model: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(images).argmax(dim=1)
    return found


def state(model: nn.Module) -> dict[str, Any]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "modes": [(name, id(m), m.training) for name, m in model.named_modules()],
        "values": {k: v.detach().clone() for k, v in tensors.items()},
        "where": {k: (v.data_ptr(), v.stride(), v.requires_grad, v.grad) for k, v in tensors.items()},
    }


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm", NORMS)
@settings(max_examples=5)
@given(eps=st.floats(1e-4, 0.9), count=st.integers(1, 4), seed=st.integers(0, 9), half=st.booleans())
def test_results_lie_in_the_ball_and_in_range(
    attack: Attack, norm: Norm, eps: float, count: int, seed: int, half: bool
) -> None:
    model, images = MODEL, images_of(count, seed)
    labels = predicted(model, images)
    precision = "bfloat16" if half else "float32"
    found = attack(model, images, labels, eps, norm=norm, seed=seed, precision=precision)
    assert found.shape == images.shape
    assert found.dtype == torch.float32
    assert found.is_contiguous()
    assert (lengths(found - images, norm) <= eps + 1e-6).all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert not torch.equal(found, images)


MODEL = curved()


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm", NORMS)
def test_without_a_radius_the_images_come_back_bit_for_bit(attack: Attack, norm: Norm) -> None:
    images = images_of(3)
    found = attack(MODEL, images, torch.zeros(3, dtype=torch.long), 0.0, norm=norm)
    assert torch.equal(found, images)
    assert found.data_ptr() != images.data_ptr()


@pytest.mark.parametrize("attack", REGISTRY.values(), ids=list(REGISTRY))
def test_a_function_is_attacked_as_a_module_is(attack: AttackSpec) -> None:
    model, images, norm = linear(3), images_of(3), attack.norms[-1]
    labels = predicted(model, images)
    few = {"queries": 10} if attack.name == "square" else {}
    wanted = attack.function(model, images, labels, 0.2, norm=norm, **few)
    found = attack.function(lambda x: model(x), images, labels, 0.2, norm=norm, **few)
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)
    if attack.name != "noise":
        with pytest.raises(InputError, match="ndarray"):
            attack.function(lambda x: model(x).detach().numpy(), images, labels, 0.2, norm=norm, **few)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("training", [False, True])
def test_the_classifier_is_left_as_it_was(attack: Attack, training: bool) -> None:
    model, images = curved().train(training), images_of(4)
    next(iter(model.parameters())).grad = torch.ones_like(next(iter(model.parameters())))
    before = state(model)
    given_images = images.clone()
    for given_model in (model, model.forward, OfFunction(model.forward)):
        attack(given_model, images, torch.zeros(4, dtype=torch.long), 0.1)
        after = state(model)
        assert after["modes"] == before["modes"]
        assert after["where"] == before["where"]
        assert all(torch.equal(after["values"][k], v) for k, v in before["values"].items())
        assert torch.equal(images, given_images)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("norm", NORMS)
def test_batches_change_nothing_beyond_rounding(attack: Attack, norm: Norm) -> None:
    images = images_of(6)
    labels = predicted(MODEL, images)
    # Several starts, so that draws for one image must not depend on those for others.
    more = {"restarts": 2, "steps": 4} if attack is pgd else {}
    at_once = attack(MODEL, images, labels, 0.05, norm=norm, **more)
    one_by_one = [attack(MODEL, x[None], y[None], 0.05, norm=norm, **more) for x, y in zip(images, labels)]
    assert torch.allclose(at_once, torch.cat(one_by_one), atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_one_step_is_the_optimum_of_a_linear_classifier(norm: Norm) -> None:
    model, eps = linear(), 0.02
    images = 0.3 + 0.4 * images_of(5)  # The range of pixels is out of reach.
    labels = predicted(model, images)
    weight = model[1].weight.detach()
    dual = (weight[1] - weight[0]).norm(p=1 if norm == "linf" else 2)
    before, after = (
        margin(model(x), labels).detach() for x in (images, fgsm(model, images, labels, eps, norm=norm))
    )
    assert torch.allclose(after - before, eps * dual.expand(5), atol=1e-5)
    several = margin(model(pgd(model, images, labels, eps, norm=norm)), labels).detach()
    assert (several <= after + 1e-5).all()
    assert (several - before >= 0.95 * (after - before)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_iterations_raise_the_loss_above_one_step(norm: Norm) -> None:
    images = images_of(16)
    labels, eps = predicted(MODEL, images), {"linf": 0.1, "l2": 1.0}[norm]

    def loss(found: Tensor) -> float:
        return cross_entropy(MODEL(found), labels).mean().item()

    once, often = fgsm(MODEL, images, labels, eps, norm=norm), bim(MODEL, images, labels, eps, norm=norm)
    noise = random_noise(MODEL, images, labels, eps, norm=norm)
    assert loss(noise) < loss(once) < loss(often)
    assert loss(noise) - loss(images) < 0.1 * (loss(once) - loss(images))


def test_restarts_and_the_best_step_never_do_worse() -> None:
    images = images_of(16)
    labels = predicted(MODEL, images)
    options = [{"keep": "last"}, {"keep": "best"}, {"restarts": 3}, {"restarts": 3, "drop": True}]
    found = [pgd(MODEL, images, labels, 0.02, steps=6, **option) for option in options]
    last, best, restarted, dropped = (margin(MODEL(x), labels).detach() for x in found)
    assert (best >= last - 1e-5).all()
    assert (restarted >= best - 1e-5).all()
    # Dropping images early changes how far they are fooled, never whether.
    assert torch.equal(dropped > 0, restarted > 0)
    assert 0 < (restarted > 0).float().mean() < 1


def test_frozen_torchscript_is_attacked_alike() -> None:
    images = images_of(3)
    labels = predicted(MODEL, images)
    frozen = torch.jit.freeze(torch.jit.trace(MODEL, images))
    found = fgsm(frozen, images, labels, 0.05)
    assert torch.allclose(found, fgsm(MODEL, images, labels, 0.05), atol=1e-4)


def test_an_image_that_is_fooled_is_done_with() -> None:
    images = images_of(16)
    labels, sizes = predicted(MODEL, images), []
    pgd(
        MODEL, images, labels, 0.02, steps=8, restarts=2, drop=True,
        on_step=lambda step, logits, losses: sizes.append(len(losses)),
    )  # fmt: skip
    assert sizes[0] == 16
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 16


def test_half_precision_finds_nearly_the_same() -> None:
    images = images_of(16)
    labels = predicted(MODEL, images)
    full, half = (
        cross_entropy(MODEL(pgd(MODEL, images, labels, 0.06, precision=p)), labels).mean().item()
        for p in ("float32", "bfloat16")
    )
    assert half == pytest.approx(full, rel=0.05)


class Misled(nn.Module):
    """Fooled where the mean lies in (0.5, 0.54); in bfloat16 everywhere above 0.5."""

    def forward(self, images: Tensor) -> Tensor:
        mean = images.mean((1, 2, 3))
        half = torch.is_autocast_enabled(images.device.type)
        lead = mean - 0.5 if half else 0.02 - (mean - 0.52).abs()
        return torch.stack([torch.zeros_like(lead), lead, lead - 1], dim=1)


@pytest.mark.parametrize("restarts", [1, 2])
def test_a_step_that_fools_in_float32_is_found_in_half_precision(restarts: int) -> None:
    images, labels = torch.full((3, 3, 8, 8), 0.49), torch.zeros(3, dtype=torch.long)
    images += torch.arange(3).view(-1, 1, 1, 1) * 1e-4
    found = pgd(Misled(), images, labels, 0.1, steps=10, precision="bfloat16", restarts=restarts)
    assert (predicted(Misled(), found) != labels).all()
    assert (lengths(found - images, "linf") <= 0.1 + 1e-6).all()


@pytest.mark.parametrize("loss", ["cross_entropy", "margin", "dlr"])
def test_targets_are_led_to(loss: str) -> None:
    images = images_of(12)
    labels = predicted(MODEL, images)
    targets = (labels + 1) % CLASSES
    found = pgd(MODEL, images, labels, 0.3, targets=targets, loss=loss, keep="last", restarts=1)
    assert (predicted(MODEL, found) == targets).float().mean() > 0.5  # By chance, a third.


def test_momentum_and_a_start_at_the_original_change_the_path() -> None:
    images = images_of(8)
    labels = predicted(MODEL, images)
    start = pgd(MODEL, images, labels, 0.06, steps=5, random_start=False, keep="last")
    assert torch.equal(start, bim(MODEL, images, labels, 0.06, steps=5))
    assert not torch.equal(start, pgd(MODEL, images, labels, 0.06, steps=5, keep="last"))
    moved = pgd(MODEL, images, labels, 0.06, steps=5, random_start=False, momentum=1.0, keep="last")
    assert not torch.equal(start, moved)


def test_seeds_decide_the_start_alone() -> None:
    images = images_of(4)
    labels = predicted(MODEL, images)
    first, again, other = (pgd(MODEL, images, labels, 0.06, steps=2, seed=s) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_starts_in_the_l2_norm_lie_at_all_distances() -> None:
    images = torch.full((200, 3, 8, 8), 0.5) + torch.arange(200).view(-1, 1, 1, 1) * 1e-4
    labels = torch.zeros(200, dtype=torch.long)
    start = pgd(MODEL, images, labels, 0.2, norm="l2", steps=1, step_size=0.0, keep="last")
    away = lengths(start - images, "l2") / 0.2
    # Of a uniform distance: the mean is 1/2 and the variance 1/12.
    assert away.mean().item() == pytest.approx(0.5, abs=0.07)
    assert away.var().item() == pytest.approx(1 / 12, abs=0.02)
    assert away.max() <= 1 + 1e-5


def test_the_curve_ends_where_the_attack_does() -> None:
    images = images_of(8)
    labels = predicted(MODEL, images)
    fooled, losses = steps_of_pgd(MODEL, images, labels, 0.06, steps=6)
    assert fooled.shape == losses.shape == (7, 8)
    last = pgd(MODEL, images, labels, 0.06, steps=6, keep="last")
    assert torch.allclose(losses[-1], cross_entropy(MODEL(last), labels).detach(), atol=1e-5)
    assert torch.equal(fooled[-1], predicted(MODEL, last) != labels)
    still, at_rest = steps_of_pgd(MODEL, images, labels, 0.0, steps=6)
    assert not still.any()
    assert at_rest.shape == (7, 8)


@pytest.mark.parametrize("kind", ["uniform", "sign"])
def test_noise_has_the_size_asked_for(kind: str) -> None:
    images = torch.full((50, 3, 8, 8), 0.5)
    images += torch.arange(50).view(-1, 1, 1, 1) * 1e-4  # Draws belong to the pixels of an image.
    labels = torch.zeros(50, dtype=torch.long)
    change = random_noise(MODEL, images, labels, 0.1, kind=kind) - images
    # The mean of |u| over [-eps, eps] is eps/2.
    assert change.abs().mean().item() == pytest.approx(0.05 if kind == "uniform" else 0.1, rel=0.02)
    assert abs(change.mean().item()) < 0.003
    size = lengths(random_noise(MODEL, images, labels, 0.1, norm="l2", kind=kind) - images, "l2")
    # In 192 dimensions the mean radius of a uniform point is 192/193 of the ball's.
    assert size.mean().item() == pytest.approx(0.1 * (192 / 193 if kind == "uniform" else 1), rel=1e-3)


def test_more_draws_of_noise_fool_more() -> None:
    images = images_of(64)
    labels = predicted(MODEL, images)
    rates = [
        (predicted(MODEL, random_noise(MODEL, images, labels, 0.5, draws=n)) != labels).float().mean()
        for n in (1, 10)
    ]
    assert rates[0] < rates[1]


@pytest.mark.parametrize(
    ("attack", "options"),
    [(pgd, {"steps": 0}), (pgd, {"restarts": 0}), (pgd, {"keep": "first"}), (pgd, {"loss": "hinge"}),
     (random_noise, {"kind": "pink"}), (fgsm, {"norm": "l1"}),
     (pgd, {"step_size": -0.1}), (pgd, {"step_size": math.nan}), (pgd, {"momentum": math.inf}),
     (bim, {"step_size": math.nan}), (deepfool, {"overshoot": math.nan}), (square, {"share": math.nan}),
     *((carlini_wagner, {"norm": "l2", name: math.nan}) for name in ("constant", "step_size", "confidence"))],
)  # fmt: skip
def test_what_cannot_be_done_is_refused(attack: Attack, options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        attack(MODEL, images_of(2), torch.zeros(2, dtype=torch.long), 0.1, **options)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("eps", [-0.1, 1.5, float("nan")])
def test_a_radius_outside_the_range_is_refused(attack: Attack, eps: float) -> None:
    with pytest.raises(InputError):
        attack(MODEL, images_of(2), torch.zeros(2, dtype=torch.long), eps)


@pytest.mark.parametrize("attack", [fgsm, bim, pgd])
@pytest.mark.parametrize("norm", NORMS)
def test_undefined_gradients_still_give_images_in_the_ball(attack: Attack, norm: Norm) -> None:
    class Undefined(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            found: Tensor = MODEL(images + (images - images).sqrt())
            return found

    images = images_of(3)
    found = attack(Undefined(), images, predicted(MODEL, images), 0.05, norm=norm)
    assert (lengths(found - images, norm) <= 0.05 + 1e-6).all()


def test_a_saturated_softmax_is_followed_in_the_l2_norm_too() -> None:
    """Its gradient is about 1e-20, and the squares of that are 0 in float32."""
    model, images = linear(), 0.4 + 0.2 * images_of(1)
    labels = predicted(model, images)
    with torch.no_grad():
        scale = 45 / margin(model(images), labels).abs().item()
        model[1].weight *= scale
        model[1].bias *= scale
    found = pgd(model, images, labels, 0.02, norm="l2", steps=10, random_start=False)
    gained = margin(model(found), labels) - margin(model(images), labels)
    most = 0.02 * (model[1].weight[1] - model[1].weight[0]).norm()
    # The label's own share of the gradient, 1 less its probability, is rounded to 0.
    assert 0.5 * most < gained <= 1.001 * most


@pytest.mark.parametrize("kind", ["forward", "forward_pre", "full_backward", "full_backward_pre"])
def test_layers_with_hooks_are_called_during_an_attack(kind: str) -> None:
    model, images, called = curved(), images_of(2), []
    register = getattr(model[1], f"register_{kind}_hook")
    register(lambda *_: called.append(1))
    pgd(model, images, predicted(model, images), 0.05, steps=3)
    assert len(called) >= 3
