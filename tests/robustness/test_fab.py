"""FAB: exact on linear classifiers, where the nearest boundary is known."""

from __future__ import annotations

import pytest
import torch
from tests.robustness.linear import SHAPE, curved, images_of, largest_margins, linear
from torch import Tensor, nn

from plenish.robustness.fab import fab, fab_targeted, minimal_fab
from plenish.robustness.threat import NORMS, Norm, lengths
from plenish.robustness.visited import misclassified


@pytest.mark.parametrize("targets", [0, 9])
@pytest.mark.parametrize("norm", NORMS)
def test_the_smallest_change_of_a_linear_classifier_is_found(norm: Norm, targets: int) -> None:
    model = linear(4)
    images, labels = images_of(model, 10)
    found = minimal_fab(model, images, labels, norm=norm, iterations=6, targets=targets)
    assert misclassified(model, found, labels).all()
    assert found.min() >= 0
    assert found.max() <= 1
    for image, label, far in zip(images, labels, lengths(found - images, norm).tolist(), strict=True):
        # Which boundary is nearest is estimated without the borders of [0, 1]; led to each, none is missed.
        nearly = 0.98 if targets else 0.9
        assert largest_margins(model, image[None], label[None], far * nearly, norm) < 0


@pytest.mark.parametrize("attack", [fab, fab_targeted])
@pytest.mark.parametrize("norm", NORMS)
def test_points_outside_the_ball_are_not_returned(attack: object, norm: Norm) -> None:
    model = linear(4)
    images, labels = images_of(model, 20)
    eps = 0.02 if norm == "linf" else 0.2
    found = attack(model, images, labels, eps, norm=norm, iterations=6)  # type: ignore[operator]
    fooled = misclassified(model, found, labels)
    reachable = largest_margins(model, images, labels, eps, norm)
    clear = reachable.abs() > 0.02
    assert torch.equal(fooled[clear], (reachable > 0)[clear])
    assert 0 < fooled.sum() < len(images)
    assert torch.equal(found[~fooled], images[~fooled])


def test_images_that_are_wrong_already_and_those_without_another_class_stay() -> None:
    model = curved(3)
    images, labels = images_of(model, 6)
    wrong = (labels + 1) % 3
    assert torch.equal(minimal_fab(model, images, wrong, iterations=3), images)
    # Nothing changes a constant classifier.
    constant = linear(3)
    with torch.no_grad():
        constant[1].weight.zero_()
        constant[1].bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    zeros = torch.zeros(6, dtype=torch.int64)
    assert torch.equal(minimal_fab(constant, images, zeros, iterations=3, restarts=2), images)


def test_random_starts_find_no_longer_changes() -> None:
    model = curved(4)
    images, labels = images_of(model, 12)
    one = lengths(minimal_fab(model, images, labels, iterations=8) - images, "linf")
    two = lengths(minimal_fab(model, images, labels, iterations=8, restarts=2) - images, "linf")
    assert (two <= one + 1e-6).all()


class Ellipsoid(nn.Module):
    """The first of two classes within an ellipsoid around grey, with logits much larger than their gap."""

    def __init__(self, axes: Tensor, radius: float) -> None:
        super().__init__()
        self.axes, self.radius = axes, radius

    def forward(self, images: Tensor) -> Tensor:
        beyond = ((images - 0.5).flatten(1).square() * self.axes).sum(1) - self.radius**2
        return 100 + torch.stack([torch.zeros_like(beyond), beyond], dim=1)


def test_a_step_that_ends_on_the_boundary_does_not_end_the_search() -> None:
    # From one of these starts a step comes so near to the boundary, far from its nearest point, that only
    # rounding decides on which side it is.
    axes = torch.ones(72)
    axes[0] = 9
    model, shortest = Ellipsoid(axes, 1.2), 1.2 / 3
    generator = torch.Generator().manual_seed(0)
    images = 0.5 + 0.04 * torch.rand(240, *SHAPE, generator=generator)
    labels = torch.zeros(240, dtype=torch.int64)
    found = minimal_fab(model, images, labels, norm="l2", iterations=40)
    assert misclassified(model, found, labels).all()
    assert lengths(found - images, "l2").max() < 1.15 * shortest
