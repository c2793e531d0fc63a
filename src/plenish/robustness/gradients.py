"""Gradients with respect to images, without a trace in the network."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from typing import Literal

import torch
from torch import Tensor, nn

from plenish.errors import InputError

Network = Callable[[Tensor], Tensor]
"""A module, or another function, from images N×C×H×W in [0, 1] to logits N×K, both torch.Tensor."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits N×K float32 and labels N → a value an image, N, which the attack raises."""

Precision = Literal["float32", "bfloat16"]


def owner_of(model: Network) -> nn.Module | None:
    """The module that a network is, or whose method it is; None of another function."""
    owner = model.__self__ if inspect.ismethod(model) else model
    return owner if isinstance(owner, nn.Module) else None


def as_module(model: Network) -> nn.Module:
    """`owner_of` a network; of another function one that is empty, since nothing is known of its weights."""
    found = owner_of(model)
    return nn.Module() if found is None else found


@contextlib.contextmanager
def untouched(model: Network) -> Iterator[None]:
    """Attack a network without leaving a trace: its mode, parameters, gradients and buffers stay.

    That holds for a module and for a method of one. Of another function, such as `lambda x: net(x)`, the
    weights are not known: in training mode each call moves the statistics of its batch normalisation.

    Within, no parameter requires a gradient, which also saves the time of computing them.
    """
    module = as_module(model)
    parameters = [(p, p.requires_grad) for p in module.parameters()]
    # In training mode each call moves the statistics of batch normalisation.
    # A frozen TorchScript module has no mode.
    training = any(getattr(m, "training", False) for m in module.modules())
    kept = [(b, b.clone()) for b in module.buffers()] if training else []
    try:
        for parameter, _ in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, required in parameters:
            parameter.requires_grad_(required)
        with torch.no_grad():
            for buffer, before in kept:
                buffer.copy_(before)


@contextlib.contextmanager
def channels_last(model: Network) -> Iterator[None]:
    """Let the weights of convolutions lie channels last within, and put the very same tensors back after.

    A convolution of images in that layout would else reorder its weights at each call.
    """
    kept = [
        (p, p.data)
        for p in as_module(model).parameters()
        if p.ndim == 4 and not p.data.is_contiguous(memory_format=torch.channels_last)
    ]
    try:
        for parameter, data in kept:
            parameter.data = data.contiguous(memory_format=torch.channels_last)
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


def logits_of(model: Network, images: Tensor, precision: Precision = "float32") -> Tensor:
    """Logits N×K in float32 of images N×C×H×W in [0, 1]; bfloat16 computes under autocast."""
    half = precision == "bfloat16"
    with torch.autocast(images.device.type, torch.bfloat16) if half else contextlib.nullcontext():
        found = model(images)
    if not isinstance(found, Tensor):
        raise InputError(
            f"The classifier must give logits N×K, a torch.Tensor, not {type(found).__name__}; wrap it in a "
            "function that returns them."
        )
    return found.float()


def value_and_gradient(
    model: Network, images: Tensor, labels: Tensor, loss: Loss, precision: Precision = "float32"
) -> tuple[Tensor, Tensor, Tensor]:
    """Losses N, logits N×K and the gradient of each image's loss with respect to it, N×C×H×W."""
    given = images.detach().requires_grad_(True)
    with torch.enable_grad():
        logits = logits_of(model, given, precision)
        losses = loss(logits, labels)
        (gradient,) = torch.autograd.grad(losses.sum(), given)
    return losses.detach(), logits.detach(), gradient
