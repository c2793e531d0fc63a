"""What attacks raise: values by hand, invariances, and signs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from plenish.errors import InputError
from plenish.robustness.losses import (
    LOSSES,
    cross_entropy,
    dlr,
    likeliest_others,
    loss_named,
    margin,
    targeted_cross_entropy,
    targeted_dlr,
    targeted_margin,
)

LOGITS = torch.tensor([[5.0, 1.0, 3.0, 0.0], [1.0, 2.0, 4.0, 8.0]])
LABELS = torch.tensor([0, 2])


def test_values_by_hand() -> None:
    assert margin(LOGITS, LABELS).tolist() == [-2.0, 4.0]
    # The third largest logits are 1 and 2.
    assert dlr(LOGITS, LABELS).tolist() == pytest.approx([-2 / 4, 4 / 6])
    targets = torch.tensor([1, 0])
    assert targeted_margin(LOGITS, LABELS, targets).tolist() == [-4.0, -3.0]
    # Half the sum of third and fourth: 0.5 and 1.5.
    assert targeted_dlr(LOGITS, LABELS, targets).tolist() == pytest.approx([-4 / 4.5, -3 / 6.5])
    likelihood = LOGITS.log_softmax(dim=1)
    assert cross_entropy(LOGITS, LABELS).tolist() == pytest.approx(
        [-likelihood[0, 0].item(), -likelihood[1, 2].item()]
    )
    found = targeted_cross_entropy(LOGITS, LABELS, targets)
    assert found.tolist() == pytest.approx([likelihood[0, 1].item(), likelihood[1, 0].item()])


def test_the_margin_of_two_classes_is_a_difference() -> None:
    assert margin(torch.tensor([[1.0, 4.0], [1.0, 4.0]]), torch.tensor([0, 1])).tolist() == [3.0, -3.0]


@settings(max_examples=30)
@given(classes=st.integers(3, 9), scale=st.floats(0.1, 10), shift=st.floats(-5, 5), seed=st.integers(0, 99))
def test_margins_tell_what_is_misclassified_and_ratios_know_no_scale(
    classes: int, scale: float, shift: float, seed: int
) -> None:
    draws = torch.Generator().manual_seed(seed)
    logits = torch.randn(6, classes, generator=draws, dtype=torch.float64)
    labels = torch.randint(classes, (6,), generator=draws)
    wrong = logits.argmax(dim=1) != labels
    assert ((margin(logits, labels) > 0) == wrong).all()
    assert ((dlr(logits, labels) > 0) == wrong).all()
    assert torch.allclose(dlr(scale * logits + shift, labels), dlr(logits, labels), rtol=1e-6)
    others = likeliest_others(logits, labels, classes - 1)
    assert (others != labels[:, None]).all()
    assert torch.equal(targeted_margin(logits, labels, others[:, 0]), margin(logits, labels))
    assert (logits.gather(1, others).diff(dim=1) <= 0).all()


@pytest.mark.parametrize(("loss", "fewest"), [(margin, 2), (dlr, 3)])
def test_too_few_classes_are_refused(loss: Callable[[Tensor, Tensor], Tensor], fewest: int) -> None:
    labels = torch.zeros(1, dtype=torch.long)
    loss(torch.randn(1, fewest), labels)
    with pytest.raises(InputError) as caught:
        loss(torch.randn(1, fewest - 1), labels)
    assert caught.value.code == "classes"


def test_the_targeted_ratio_needs_four_classes() -> None:
    labels = torch.zeros(1, dtype=torch.long)
    with pytest.raises(InputError):
        targeted_dlr(torch.randn(1, 3), labels, labels + 1)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_by_name(name: str) -> None:
    assert loss_named(name) is LOSSES[name]
    assert loss_named(name, torch.tensor([1, 0]))(LOGITS, LABELS).shape == (2,)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        loss_named("hinge")
    assert caught.value.code == "unknown"
