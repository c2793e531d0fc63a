"""Batch normalisation as part of the convolution before it, for as long as an attack takes."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn

_CLOSE = 1e-3
"""Largest difference of logits, as a share of their spread, at which a folded network counts as the same."""


@contextlib.contextmanager
def folded(model: nn.Module, images: Tensor) -> Iterator[None]:
    """Compute within without the batch normalisations that follow a convolution in a Sequential.

    In evaluation mode such a layer scales and shifts each channel, which the weights before it can do as
    well. The very same modules and parameters are put back after. Nothing is folded where that changes the
    logits of two of the images, as it does in a network that uses its layers in another way than in turn.

    Args:
        model: images N×C×H×W in [0, 1] → logits N×K.
        images: two of which are looked at.
    """
    pairs = list(_pairs(model))
    if not pairs:
        yield
        return
    with torch.no_grad():
        before = model(images[:2])
    kept = [(convolution, dict(convolution._parameters)) for _, _, convolution, _ in pairs]
    try:
        for parent, name, convolution, norm in pairs:
            _fold(convolution, norm)
            parent._modules[name] = nn.Identity()
        with torch.no_grad():
            gap = (model(images[:2]) - before).abs().amax()
        if not gap <= _CLOSE * (before.amax() - before.amin()):
            _put_back(pairs, kept)
        yield
    finally:
        _put_back(pairs, kept)


_Pair = tuple[nn.Sequential, str, nn.Conv2d, nn.BatchNorm2d]


def _pairs(model: nn.Module) -> Iterator[_Pair]:
    """Convolutions with the batch normalisation behind each: its parent, and its name there."""
    used = collections.Counter(id(child) for m in model.modules() for child in m._modules.values())
    for parent in model.modules():
        if type(parent) is not nn.Sequential:
            continue
        for (_, first), (name, second) in pairwise(parent.named_children()):
            if not (isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)):
                continue
            # A subclass may do more than its base.
            exact = type(first) is nn.Conv2d and type(second) is nn.BatchNorm2d
            if not exact or second.training or second.running_mean is None:
                continue
            once = used[id(first)] == used[id(second)] == 1
            hooked = any(
                m._forward_hooks or m._forward_pre_hooks or m._backward_hooks or m._backward_pre_hooks
                for m in (first, second)
            )
            if once and not hooked:
                yield parent, name, first, second


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    with torch.no_grad():
        mean, variance = norm.running_mean, norm.running_var
        if mean is None or variance is None:
            return
        scale = (variance + norm.eps).rsqrt()
        if norm.weight is not None:
            scale = scale * norm.weight
        shift = -mean * scale
        if norm.bias is not None:
            shift = shift + norm.bias
        if convolution.bias is not None:
            shift = shift + convolution.bias * scale
        weight = convolution.weight * scale.view(-1, 1, 1, 1)
    # New parameters, so that others which share the old ones keep theirs.
    convolution._parameters["weight"] = nn.Parameter(weight, requires_grad=False)
    convolution._parameters["bias"] = nn.Parameter(shift, requires_grad=False)


def _put_back(pairs: list[_Pair], kept: list[tuple[nn.Conv2d, dict[str, nn.Parameter | None]]]) -> None:
    for parent, name, _, norm in pairs:
        parent._modules[name] = norm
    for convolution, parameters in kept:
        convolution._parameters.update(parameters)
