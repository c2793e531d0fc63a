"""Adversarial objectives: what discriminator and generator minimise, as functions of logits.

Each is registered by name with two functions, both returning a scalar.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from plenish.errors import unknown


class Objective(NamedTuple):
    """A pair of losses.

    Attributes:
        discriminator: (logits of reals N, logits of fakes N, one-sided smoothing) → scalar.
        generator: (logits of fakes N) → scalar.
    """

    discriminator: Callable[[Tensor, Tensor, float], Tensor]
    generator: Callable[[Tensor], Tensor]


def nonsaturating_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the discriminator (Goodfellow et al. 2014, eq. 1).

    One-sided smoothing s replaces the real target 1 by 1 − s and leaves the fake target 0 (Salimans et al.
    2016): −(1−s)·log σ(real) − s·log σ(−real), which is softplus(−real) + s·real.
    """
    loss = F.softplus(-real).mean() + F.softplus(fake).mean()
    return loss + smoothing * real.mean() if smoothing else loss


def nonsaturating_generator(fake: Tensor) -> Tensor:
    """−log σ(D(G(z))), the loss with the strong early gradient (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake).mean()


OBJECTIVES = {"nonsaturating": Objective(nonsaturating_discriminator, nonsaturating_generator)}


def objective(name: str) -> Objective:
    """An objective by name; InputError with the nearest name when there is none."""
    if name not in OBJECTIVES:
        raise unknown("objective", name, OBJECTIVES)
    return OBJECTIVES[name]
