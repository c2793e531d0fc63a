"""Square: its schedule, its limits, and that it asks for logits alone."""

from __future__ import annotations

import pytest
import torch
from tests.robustness.linear import images_of, largest_margins, linear
from torch import Tensor, nn

from plenish.robustness.square import side_of_square, square
from plenish.robustness.threat import NORMS, Norm, lengths
from plenish.robustness.visited import misclassified


class NoGradient(nn.Module):
    """A classifier that fails where a gradient is recorded."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.asked = inner, 0

    def forward(self, images: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        self.asked += 1
        found: Tensor = self.inner(images)
        return found


def test_squares_shrink_as_queries_go_on() -> None:
    sides = [side_of_square(q, 10_000, 0.8, 32, 32) for q in (0, 11, 51, 201, 1001, 2001, 4001, 6001, 8001)]
    assert sides == [29, 20, 14, 10, 7, 5, 4, 3, 2]
    scaled = [side_of_square(q, 1000, 0.8, 32, 32) for q in (0, 2, 6, 21, 101, 201, 401, 601, 801)]
    assert scaled == sides
    assert side_of_square(0, 10, 0.8, 2, 64) == 2


@pytest.mark.parametrize("norm", NORMS)
def test_logits_are_enough_and_what_is_found_is_possible(norm: Norm) -> None:
    model = linear(3)
    images, labels = images_of(model, 30)
    eps = 0.05 if norm == "linf" else 0.5
    asking = NoGradient(model)
    found = square(asking, images, labels, eps, norm=norm, queries=100)
    assert asking.asked <= 101
    fooled = misclassified(model, found, labels)
    reachable = largest_margins(model, images, labels, eps, norm) > 0
    assert (reachable | ~fooled).all()
    assert fooled.sum() >= 0.5 * reachable.sum() > 0


@pytest.mark.parametrize("norm", NORMS)
def test_the_whole_radius_is_used(norm: Norm) -> None:
    """Far from the borders of [0, 1] a change that fools nobody lies on the surface of the ball."""
    model = linear(2)
    with torch.no_grad():
        model[1].bias.copy_(torch.tensor([50.0, 0.0]))
    images = torch.full((4, 2, 6, 6), 0.5)
    found = square(model, images, torch.zeros(4, dtype=torch.int64), 0.1, norm=norm, queries=20)
    torch.testing.assert_close(lengths(found - images, norm), torch.full((4,), 0.1), rtol=0, atol=1e-5)


def test_more_queries_never_lose_an_image() -> None:
    model = linear(3)
    images, labels = images_of(model, 30)
    margins = []
    for queries in (1, 40):
        found = square(model, images, labels, 0.03, queries=queries, share=0.3)
        margins.append(misclassified(model, found, labels).sum())
    assert margins[0] <= margins[1]
