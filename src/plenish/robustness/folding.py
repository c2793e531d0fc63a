"""Batch normalisation as part of the convolution before it, for as long as an attack takes."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from plenish.robustness.gradients import Network, as_module

_CLOSE = 1e-3
"""Largest difference of logits, as a share of their spread, at which a folded network counts as the same."""


@contextlib.contextmanager
def folded(model: Network, images: Tensor) -> Iterator[None]:
    """Compute within without the batch normalisations that follow a convolution.

    In evaluation mode such a layer scales and shifts each channel, which the weights before it can do as
    well. The very same modules and parameters are put back after. Which layers follow each other is seen in a
    pass of two images; nothing is folded where that changes the logits of the two, as it does where the
    result of a convolution is used elsewhere too.

    Args:
        model: images N×C×H×W in [0, 1] → logits N×K.
        images: two of which are looked at.
    """
    pairs, before = _pairs(model, images[:2])
    if not pairs:
        yield
        return
    kept = [(pair.convolution, dict(pair.convolution._parameters)) for pair in pairs]
    try:
        for pair in pairs:
            _fold(pair.convolution, pair.norm)
            pair.parent._modules[pair.name] = nn.Identity()
        with torch.no_grad():
            gap = (model(images[:2]) - before).abs().amax()
        if not gap <= _CLOSE * (before.amax() - before.amin()):
            _put_back(pairs, kept)
        yield
    finally:
        _put_back(pairs, kept)


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A convolution and the batch normalisation of its result, which is called `name` in its parent."""

    convolution: nn.Conv2d
    parent: nn.Module
    name: str
    norm: nn.BatchNorm2d


def _pairs(model: Network, images: Tensor) -> tuple[list[_Pair], Tensor]:
    """Pairs whose layers are each called once, the second with the result of the first; and the logits.

    Without a batch normalisation there are no pairs, and no logits are computed.
    """
    layers = _layers(model)
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in layers):
        return [], torch.empty(0)
    calls: collections.Counter[nn.Module] = collections.Counter()
    # Results, which are held lest their addresses be used again, and how often they were written to.
    made: dict[int, tuple[nn.Conv2d, Tensor, int]] = {}
    before: dict[nn.BatchNorm2d, nn.Conv2d] = {}

    def note(layer: nn.Module, args: tuple[Any, ...], found: Tensor) -> None:
        calls[layer] += 1
        if isinstance(layer, nn.Conv2d):
            made[id(found)] = (layer, found, found._version)
        elif isinstance(layer, nn.BatchNorm2d) and args and id(args[0]) in made:
            first, maps, version = made[id(args[0])]
            if maps._version == version:
                before[layer] = first

    hooks = [layer.register_forward_hook(note) for layer in layers]
    try:
        with torch.no_grad():
            logits = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    found = []
    for norm, first in before.items():
        # Of two types or devices, their product would be none that the convolution takes.
        alike = norm.running_var is not None and (
            (norm.running_var.dtype, norm.running_var.device) == (first.weight.dtype, first.weight.device)
        )
        if calls[norm] == calls[first] == 1 and alike:
            found.append(_Pair(first, *layers[norm], norm))
    return found, logits


def _layers(model: Network) -> dict[nn.Module, tuple[nn.Module, str]]:
    """Convolutions and batch normalisations that do no more than that, with parent and name of each."""
    places = collections.defaultdict(list)
    for parent in as_module(model).modules():
        for name, child in parent._modules.items():
            # A subclass may do more than its base.
            if child is not None and type(child) in (nn.Conv2d, nn.BatchNorm2d):
                places[child].append((parent, name))
    return {
        child: found[0]
        for child, found in places.items()
        if len(found) == 1
        and not (isinstance(child, nn.BatchNorm2d) and (child.training or child.running_mean is None))
        and not child._forward_hooks and not child._forward_pre_hooks
        and not child._backward_hooks and not child._backward_pre_hooks
    }  # fmt: skip


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
    for pair in pairs:
        pair.parent._modules[pair.name] = pair.norm
    for convolution, parameters in kept:
        convolution._parameters.update(parameters)
