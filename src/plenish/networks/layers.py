"""Layers and initialisations that several families share."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from plenish import sizes
from plenish.errors import InputError


def base_and_stages(size: int, least_stages: int = 2) -> tuple[int, int]:
    """Write an image size as base·2ᵏ with a base from 4 to 7 (3 where nothing else fits).

    Returns:
        The base and k.

    Raises:
        InputError: the size is not of that form; the nearest sizes that are get named.
    """
    found = sizes.base_and_stages(size, least_stages)
    if found is None:
        smaller, larger = sizes.nearest(size, least_stages)
        raise InputError(
            f"A convolutional generator cannot make {size} px images, which is not base·2ᵏ with base 3 to 7; "
            f"import the data at --size {smaller} or {larger}."
        )
    return found


_DRAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "normal": functools.partial(nn.init.normal_, std=0.02),
    "orthogonal": nn.init.orthogonal_,
    "xavier": nn.init.xavier_uniform_,
    "kaiming": functools.partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
}
INITIALISATIONS = (*_DRAWS, "default")


def initialise(module: nn.Module, how: str) -> None:
    """Draw all weights anew.

    Args:
        module: a network with plain convolutions and linear layers.
        how: one of `INITIALISATIONS`. `normal` draws weights from N(0, 0.02²) and batch-norm gains from
            N(1, 0.02²) (Radford et al. 2016, section 4); `orthogonal` (Saxe et al. 2014), `xavier` (Glorot
            and Bengio 2010, uniform, as Keras does) and `kaiming` (He et al. 2015, uniform, for rectifiers)
            draw weights alone; all with biases 0. `default` leaves the library's own.
    """
    if how == "default":
        return
    draw = _DRAWS[how]
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            draw(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif how == "normal" and isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, 0.02)
            nn.init.zeros_(layer.bias)


def init_linear(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, gain: float = 1.0) -> None:
    """Weights N(0, gain²/inputs), biases 0.

    A transposed convolution of stride 2 adds a quarter of its kernel's positions at each pixel.
    """
    inputs = layer.weight[0].numel()
    if isinstance(layer, nn.ConvTranspose2d):
        inputs = layer.in_channels * layer.weight[0, 0].numel() // 4
    nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(inputs))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def linear_map(
    x: Tensor, function: Callable[..., Tensor], adjoint: Callable[..., Tensor], *constants: Tensor
) -> Tensor:
    """function(x, *constants), linear in x with a known adjoint; differentiable any number of times in x.

    Tensors that both functions need are given as constants, which autograd checks for changes in place and
    frees in the backward pass; what a closure holds it would not.
    """
    result: Tensor = _Linear.apply(x, function, adjoint, *(constant.detach() for constant in constants))
    return result


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, function: Callable[..., Tensor], adjoint: Callable[..., Tensor],
        *constants: Tensor,
    ) -> Tensor:  # fmt: skip
        ctx.pair = adjoint, function
        ctx.save_for_backward(*constants)
        return function(x, *constants)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        constants = ctx.saved_tensors
        return linear_map(gradients[0], *ctx.pair, *constants), None, None, *(None for _ in constants)
