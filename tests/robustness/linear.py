"""Linear classifiers, whose robust accuracy is known, and a small network that has no such truth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from plenish.robustness.threat import Norm, per_image

SHAPE = (2, 6, 6)


def linear(classes: int, seed: int = 0) -> nn.Module:
    """Images 2×6×6 → logits that are linear in them."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(72, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(classes, 72, generator=generator) / 3)
        layer.bias.zero_()
    return nn.Sequential(nn.Flatten(), layer)


def curved(classes: int, seed: int = 0) -> nn.Module:
    """A small convolutional network with dropout and batch normalisation, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.Dropout(), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(128, classes)).eval()


def images_of(model: nn.Module, count: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Random images, some of them with pixels at 0 and 1, and what the model says of them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, *SHAPE, generator=generator).mul(1.4).sub(0.2).clamp(0, 1)
    with torch.no_grad():
        return images, model(images).argmax(dim=1)


def largest_margins(model: nn.Module, images: Tensor, labels: Tensor, eps: float, norm: Norm) -> Tensor:
    """The largest margin of a linear classifier in each ball within [0, 1]: above 0 where it can be fooled.

    In L∞ each pixel moves on its own. In L2 the best point is clip(x + t·d), with t found by bisection.
    """
    weight = model[-1].weight.detach()
    with torch.no_grad():
        logits = model(images)
    best = torch.full((len(images),), -torch.inf)
    own = logits.gather(1, labels[:, None])[:, 0]
    for k in range(len(weight)):
        direction = (weight[k] - weight[labels]).view_as(images)
        if norm == "linf":
            point = (images + eps * direction.sign()).clamp(0, 1)
        else:
            low, high = torch.zeros(len(images)), torch.full((len(images),), 1e3)
            for _ in range(60):
                middle = (low + high) / 2
                reached = (images + per_image(middle, images) * direction).clamp(0, 1)
                inside = (reached - images).flatten(1).norm(dim=1) <= eps
                low, high = torch.where(inside, middle, low), torch.where(inside, high, middle)
            point = (images + per_image(low, images) * direction).clamp(0, 1)
        gain = (direction * (point - images)).sum(dim=(1, 2, 3))
        margins = logits[:, k] - own + gain
        best = torch.where(labels == k, best, torch.maximum(best, margins))
    return best
