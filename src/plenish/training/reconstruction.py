"""How an autoencoder is trained, and the error it is trained by.

The network sees images in [-1, 1]; every error is in units of [0, 1], a quarter of the mean of squares
there, so that numbers compare with those of others.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from plenish.configuration import check_fields, option


@dataclasses.dataclass(frozen=True)
class Method:
    """How an autoencoder is trained.

    Attributes:
        batch: images a step.
        lr: learning rate of Adam.
        beta1: decay of Adam's first moment.
        beta2: decay of Adam's second moment.
        denoise: standard deviation of normal noise on the input, in units of [0, 1]; the image without it is
            what is to be reconstructed (Vincent et al., ICML 2008).
        beta: weight of the divergence of a variational autoencoder (Higgins et al., ICLR 2017); the weight
            of the error follows from the error itself (the optimal σ of Rybkin et al., ICML 2021).
    """

    batch: int = option(32, least=1)
    lr: float = option(1e-3, above=0)
    beta1: float = option(0.9, least=0, below=1)
    beta2: float = option(0.999, least=0, below=1)
    denoise: float = option(0.0, least=0, most=1)
    beta: float = option(1.0, least=0)

    def __post_init__(self) -> None:
        check_fields(self, "training")


class _SquaredError(torch.autograd.Function):
    """Mean of the squared differences of two tensors of one layout, by the first.

    The library's own takes the square, its mean and their gradients in a pass each, and makes the gradient in
    float32 first: together a fifth of the step of a thin network.
    """

    @staticmethod
    def forward(ctx: Any, made: Tensor, wanted: Tensor, real: Tensor | None) -> Tensor:
        difference = made.float() - wanted
        if real is not None:
            difference.mul_(real)
        count = wanted.numel() if real is None else float(real.sum()) * len(wanted)
        ctx.save_for_backward(difference)
        ctx.rest = made.dtype, count
        # In the order of memory, which may be any layout; one product instead of a square and a sum.
        flat = torch.as_strided(difference, (difference.numel(),), (1,))
        return torch.dot(flat, flat) / count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (difference,) = ctx.saved_tensors
        kind, count = ctx.rest
        return difference.mul(gradients[0] * (2 / count)).to(kind), None, None


def squared_error(made: Tensor, wanted: Tensor, real: Tensor | None = None) -> Tensor:
    """Mean squared difference.

    Args:
        made: N×C×h×w, of any type.
        wanted: N×C×h×w float32.
        real: 1×C×h×w, 1 where a value counts and 0 where it is padding; None where all count.
    """
    wanted = wanted.contiguous(memory_format=torch.channels_last)
    made = made.contiguous(memory_format=torch.channels_last)
    loss: Tensor = _SquaredError.apply(made, wanted, real)
    return loss
