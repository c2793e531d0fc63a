"""Auto-PGD: its schedule, and what it finds of linear classifiers."""

from __future__ import annotations

import pytest
import torch
from tests.robustness.linear import curved, images_of, largest_margins, linear

from plenish.errors import InputError
from plenish.robustness.apgd import apgd_ce, apgd_dlr, apgd_margin, apgd_targeted, checkpoints
from plenish.robustness.gradient_attacks import pgd
from plenish.robustness.threat import NORMS, Norm
from plenish.robustness.visited import misclassified


def test_checkpoints_are_those_of_the_paper() -> None:
    assert [now for now, _ in checkpoints(100)] == [22, 41, 57, 70, 80, 87, 93, 99]
    assert all(before < now for now, before in checkpoints(7))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 5])
def test_all_images_that_can_be_fooled_are(classes: int, norm: Norm) -> None:
    """A linear classifier has no local optimum: what is missed is missed by a defect."""
    model = linear(classes)
    images, labels = images_of(model, 30)
    eps = 0.03 if norm == "linf" else 0.2
    reachable = largest_margins(model, images, labels, eps, norm)
    assert 0 < (reachable > 0).sum() < len(images)
    clear = reachable.abs() > 0.01
    for attack in (apgd_targeted, apgd_margin) if classes == 2 else (apgd_targeted,):
        found = attack(model, images, labels, eps, norm=norm, iterations=25)
        assert torch.equal(misclassified(model, found, labels)[clear], (reachable > 0)[clear])


@pytest.mark.parametrize("attack", [apgd_ce, apgd_dlr])
def test_a_restart_never_loses_an_image(attack: object) -> None:
    model = curved(4)
    images, labels = images_of(model, 30)
    once = misclassified(model, attack(model, images, labels, 0.05, iterations=5), labels)  # type: ignore[operator]
    more = attack(model, images, labels, 0.05, iterations=5, restarts=3)  # type: ignore[operator]
    assert (misclassified(model, more, labels) | ~once).all()


def test_more_images_are_fooled_than_by_as_many_steps_of_pgd() -> None:
    model = curved(5)
    images, labels = images_of(model, 40)
    plain = misclassified(model, pgd(model, images, labels, 0.03, steps=12), labels)
    found = misclassified(model, apgd_targeted(model, images, labels, 0.03, iterations=12), labels)
    assert found.sum() >= plain.sum() > 0


def test_losses_need_their_classes() -> None:
    model = linear(2)
    images, labels = images_of(model, 3)
    with pytest.raises(InputError):
        apgd_dlr(model, images, labels, 0.1)
    with pytest.raises(InputError):
        apgd_targeted(model, images, labels, 0.1, loss="nonsense")
    with pytest.raises(InputError):
        apgd_ce(model, images, labels, 1.5)


@pytest.mark.parametrize("norm", NORMS)
def test_an_image_that_is_fooled_stays_as_it_is_whatever_the_others_do(norm: Norm) -> None:
    model = curved(4)
    images, labels = images_of(model, 16)
    eps = 0.02 if norm == "linf" else 0.15
    found = apgd_ce(model, images, labels, eps, norm=norm, iterations=12)
    fooled = misclassified(model, found, labels)
    assert 0 < fooled.sum() < len(images)
    for row in range(len(images)):
        one = slice(row, row + 1)
        alone = apgd_ce(model, images[one], labels[one], eps, norm=norm, iterations=12)
        torch.testing.assert_close(alone, found[one], rtol=0, atol=1e-4)
