"""Adversarial weight perturbation: the weights, too, are moved to where the loss is higher, for one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from plenish.networks import shared_batch


def perturbable(parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """The weights that are moved: matrices and kernels that are trained, not biases nor normalisation."""
    return [parameter for parameter in parameters if parameter.ndim > 1 and parameter.requires_grad]


def whole_gradients(loss: Tensor, weights: Sequence[nn.Parameter]) -> list[Tensor]:
    """Gradients of a loss, the mean over a batch or this process's slice of it, with respect to weights."""
    gradients = torch.autograd.grad(loss / shared_batch.world(), weights, materialize_grads=True)
    return list(gradients) if shared_batch.world() == 1 else shared_batch.reduced(gradients)


@torch.no_grad()
def move(weights: Sequence[nn.Parameter], gradients: Sequence[Tensor], gamma: float) -> Callable[[], None]:
    """Move each layer's weights w along their gradient g by γ‖w‖ g/‖g‖.

    Wu, Xia and Wang, NeurIPS 2020, equations 8 and 9, with one step of ascent.

    Args:
        weights: of each layer.
        gradients: of the loss with respect to them.
        gamma: length of the change, as a share of the weights' own.

    Returns:
        What gives the weights back, bit for bit.
    """
    before = [weight.detach().clone() for weight in weights]
    for weight, gradient in zip(weights, gradients, strict=True):
        weight.add_(gradient * (gamma * weight.norm() / gradient.norm().clamp_min(1e-12)))

    @torch.no_grad()
    def restore() -> None:
        for weight, kept in zip(weights, before, strict=True):
            weight.copy_(kept)

    return restore
