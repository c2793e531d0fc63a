"""AutoAttack for any number of classes, and what holds for each attack of the ensemble."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.robustness.linear import curved, images_of, largest_margins, linear

from plenish.errors import InputError
from plenish.robustness.autoattack import CLEAN, NOT_FOUND, auto_attack, auto_attack_by, ensemble
from plenish.robustness.gradient_attacks import pgd
from plenish.robustness.registry import ATTACKS
from plenish.robustness.threat import NORMS, Norm, lengths
from plenish.robustness.visited import misclassified

QUICK: dict[str, dict[str, Any]] = {
    "apgd_ce": {"iterations": 3},
    "apgd_dlr": {"iterations": 3},
    "apgd_margin": {"iterations": 3, "restarts": 2},
    "apgd_targeted": {"iterations": 3},
    "fab": {"iterations": 3, "restarts": 2},
    "fab_targeted": {"iterations": 3},
    "square": {"queries": 6},
    "auto_attack": {"iterations": 3, "queries": 6},
}
RADIUS: dict[Norm, float] = {"linf": 0.04, "l2": 0.3}


@pytest.mark.parametrize(
    ("classes", "norm"), [(2, "linf"), (2, "l2"), (3, "linf"), (3, "l2"), (4, "l2"), (7, "linf"), (10, "l2")]
)
def test_robust_accuracy_of_a_linear_classifier_is_exact(classes: int, norm: Norm) -> None:
    model = linear(classes)
    images, labels = images_of(model, 30)
    labels[0] = (labels[0] + 1) % classes
    eps = 0.02 if norm == "linf" else 0.15
    reachable = largest_margins(model, images, labels, eps, norm)
    reachable = torch.where(reachable.abs() < 0.005, torch.nan, reachable)
    found = auto_attack_by(model, images, labels, eps, norm=norm, iterations=12, queries=5, batch=20)
    fooled = misclassified(model, found.images, labels)
    clear = ~reachable.isnan()
    assert clear.sum() > 24
    assert torch.equal(fooled[clear], (reachable > 0)[clear])
    assert 0 < fooled.sum() < len(images)
    assert [bool(name) for name in found.found_by] == fooled.tolist()
    assert found.found_by[0] == CLEAN
    assert torch.equal(found.images[0], images[0])
    assert set(found.found_by) <= {CLEAN, NOT_FOUND, *ensemble(classes, 1, 1, 9)}
    assert sum(found.counts.values()) == len(images)


@pytest.mark.parametrize("classes", [2, 3, 4, 7])
def test_no_weaker_than_pgd_with_restarts(classes: int) -> None:
    model = curved(classes)
    images, labels = images_of(model, 25)
    by_pgd = pgd(model, images, labels, 0.02, steps=10, restarts=5, drop=True)
    by_all = auto_attack(model, images, labels, 0.02, iterations=10, queries=5)
    assert misclassified(model, by_all, labels).sum() >= misclassified(model, by_pgd, labels).sum() > 0


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", QUICK)
def test_results_lie_in_the_ball_and_do_not_depend_on_the_batch(name: str, norm: Norm) -> None:
    model, attack, eps = curved(5), ATTACKS[name].function, RADIUS[norm]
    images, labels = images_of(model, 12)
    found = attack(model, images, labels, eps, norm=norm, seed=3, **QUICK[name])
    assert found.shape == images.shape
    assert found.dtype == images.dtype
    assert found.min() >= 0
    assert found.max() <= 1
    assert (lengths(found - images, norm) <= eps + 1e-5).all()
    assert not torch.equal(found, images)
    order = torch.tensor([7, 2, 9])
    alone = attack(model, images[order], labels[order], eps, norm=norm, seed=3, **QUICK[name])
    torch.testing.assert_close(alone, found[order], rtol=0, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", QUICK)
def test_the_model_is_left_as_it_was(name: str, precision: str) -> None:
    model, attack = curved(5).train(), ATTACKS[name].function
    model[3].p = 0.0
    images, labels = images_of(model, 5)
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    given = images.clone()
    attack(model, images, labels, 0.05, precision=precision, **QUICK[name])
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
    assert [key for key, p in model.named_parameters() if p.grad is not None] == ["0.weight"]
    assert torch.equal(images, given)


@pytest.mark.parametrize("name", QUICK)
def test_a_radius_of_zero_returns_the_images(name: str) -> None:
    model, attack = linear(4), ATTACKS[name].function
    images, labels = images_of(model, 4)
    for norm in NORMS:
        found = attack(model, images, labels, 0.0, norm=norm)
        assert torch.equal(found, images)
        assert found.data_ptr() != images.data_ptr()
    assert attack(model, images[:0], labels[:0], 0.1).shape == images[:0].shape
    for eps in (-0.1, 1.1, float("nan")):
        with pytest.raises(InputError):
            attack(model, images, labels, eps)


def test_a_radius_of_zero_tells_which_images_are_wrong() -> None:
    model = linear(3)
    images, labels = images_of(model, 3)
    labels[1] = (labels[1] + 1) % 3
    assert auto_attack_by(model, images, labels, 0.0).found_by == (NOT_FOUND, CLEAN, NOT_FOUND)


@settings(max_examples=5)
@given(classes=st.integers(2, 12), seed=st.integers(0, 1000), norm=st.sampled_from(NORMS))
def test_any_number_of_classes(classes: int, seed: int, norm: Norm) -> None:
    model = curved(classes, seed)
    images, labels = images_of(model, 4, seed)
    found = auto_attack_by(model, images, labels, RADIUS[norm], norm=norm, iterations=2, queries=3)
    fooled = misclassified(model, found.images, labels)
    assert [bool(name) for name in found.found_by] == fooled.tolist()
    assert torch.equal(found.images[~fooled], images[~fooled])


def test_saturated_logits_are_attacked_by_losses_that_do_not_saturate() -> None:
    """The cross entropy of logits far apart has no gradient in float32."""
    for classes in (2, 3, 5):
        model = linear(classes)
        with torch.no_grad():
            model[1].weight *= 1e4
        images, labels = images_of(model, 20)
        reachable = largest_margins(model, images, labels, 0.08, "linf") > 0
        found = auto_attack(model, images, labels, 0.08, iterations=12, queries=1)
        assert reachable.sum() > 0
        assert torch.equal(misclassified(model, found, labels), reachable)


COUNTS = [
    (name, parameter.name)
    for name, kind in ATTACKS.items()
    for parameter in inspect.signature(kind.function).parameters.values()
    if type(parameter.default) is int and parameter.name != "seed"
]


@pytest.mark.parametrize(("name", "count"), COUNTS)
def test_no_step_start_query_or_target_is_refused(name: str, count: str) -> None:
    model = linear(4)
    images, labels = images_of(model, 2)
    norm = ATTACKS[name].norms[0]
    for number in (0, -1):
        with pytest.raises(InputError):
            ATTACKS[name].function(model, images, labels, 0.1, norm=norm, **{count: number})
