"""Layers and initialisations that several families share."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from plenish import sizes
from plenish.errors import InputError, unknown


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


def init_normal(module: nn.Module, sd: float = 0.02) -> None:
    """Weights N(0, sd²), batch-norm gains N(1, sd²), biases 0 (Radford et al. 2016, section 4)."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            nn.init.normal_(layer.weight, 0.0, sd)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.weight, 1.0, sd)
            nn.init.zeros_(layer.bias)


INITIALISATIONS = ("normal", "orthogonal", "xavier", "kaiming", "default")


def initialise(module: nn.Module, how: str) -> None:
    """Draw all weights anew.

    Args:
        module: a network with plain convolutions and linear layers.
        how: `normal` as `init_normal`; `orthogonal` (Saxe et al. 2014), `xavier` (Glorot and Bengio 2010,
            uniform, as Keras does) or `kaiming` (He et al. 2015, uniform, for rectifiers) with biases 0;
            `default` leaves the library's own.

    Raises:
        InputError: there is no such initialisation.
    """
    if how not in INITIALISATIONS:
        raise unknown("initialisation", how, INITIALISATIONS)
    if how == "normal":
        init_normal(module)
    ways: dict[str, Callable[[Tensor], Tensor]] = {
        "orthogonal": nn.init.orthogonal_,
        "xavier": nn.init.xavier_uniform_,
        "kaiming": functools.partial(nn.init.kaiming_uniform_, nonlinearity="relu"),
    }
    draw = ways.get(how)
    for layer in module.modules():
        if draw is not None and isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            draw(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def label_maps(y: Tensor, like: Tensor) -> Tensor:
    """y, N×K → N×K×H×W constant maps of the height, width and type of `like`."""
    return y.to(like.dtype)[:, :, None, None].expand(-1, -1, *like.shape[2:])


def norm_parts(norm: nn.Module, x: Tensor, parts: int) -> Tensor:
    """Apply a batch norm to each of the equal parts of a batch by itself."""
    if parts == 1 or not norm.training:
        normed: Tensor = norm(x)
        return normed
    return torch.cat([norm(part) for part in x.chunk(parts)])
