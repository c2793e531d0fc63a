"""Adversarial objectives: what discriminator and generator minimise, as functions of logits.

Each is registered by name with two functions, both returning a scalar. An objective is chosen apart from
penalties, augmentation and balancing; any of them goes with any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from plenish.errors import unknown


class Objective(NamedTuple):
    """A pair of losses.

    Attributes:
        discriminator: (logits of reals N, logits of fakes N, one-sided smoothing) → scalar.
        generator: (logits of fakes N, logits of reals N or None) → scalar.
        paired: the generator's loss compares fakes with reals, so it needs the logits of both.
        middle: logit between what counts as real and what counts as fake; None where only differences of
            logits have a meaning.
        probability: logits → probability of being real; None where logits are scores without that meaning.
    """

    discriminator: Callable[[Tensor, Tensor, float], Tensor]
    generator: Callable[[Tensor, Tensor | None], Tensor]
    paired: bool = False
    middle: float | None = 0.0
    probability: Callable[[Tensor], Tensor] | None = None


def cross_entropy_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the discriminator (Goodfellow et al. 2014, eq. 1).

    One-sided smoothing s replaces the real target 1 by 1 − s and leaves the fake target 0 (Salimans et al.
    2016): −(1−s)·log σ(real) − s·log σ(−real), which is softplus(−real) + s·real.
    """
    loss = F.softplus(-real).mean() + F.softplus(fake).mean()
    return loss + smoothing * real.mean() if smoothing else loss


def nonsaturating_generator(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """−log σ(D(G(z))), the loss with the strong early gradient (Goodfellow et al. 2014, section 3)."""
    return F.softplus(-fake).mean()


def vanilla_generator(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """log(1 − σ(D(G(z)))), the minimax game as first written; flat where the discriminator is sure."""
    return -F.softplus(fake).mean()


def least_squares_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """½(D(x) − 1)² + ½D(G(z))² (Mao et al. 2017, eq. 9); smoothing lowers the target 1."""
    return 0.5 * ((real - (1 - smoothing)).square().mean() + fake.square().mean())


def least_squares_generator(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """½(D(G(z)) − 1)² (Mao et al. 2017, eq. 9)."""
    return 0.5 * (fake - 1).square().mean()


def hinge_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """max(0, 1 − D(x)) + max(0, 1 + D(G(z))) (Lim and Ye 2017); smoothing lowers the first margin."""
    return F.relu(1 - smoothing - real).mean() + F.relu(1 + fake).mean()


def wasserstein_critic(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """D(G(z)) − D(x), minus the estimated distance (Arjovsky et al. 2017); smoothing has no meaning here."""
    return fake.mean() - real.mean()


def raise_score(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """−D(G(z)): the generator of the hinge and the Wasserstein objective."""
    return -fake.mean()


def relativistic_discriminator(real: Tensor, fake: Tensor, smoothing: float = 0.0) -> Tensor:
    """−log σ(D(x) − D(G(z))) over pairs (Jolicoeur-Martineau 2019; Huang et al. 2024, eq. 2)."""
    return cross_entropy_pairs(real - fake, smoothing)


def relativistic_generator(fake: Tensor, real: Tensor | None = None) -> Tensor:
    """−log σ(D(G(z)) − D(x)) over pairs: fakes are to look more real than reals."""
    assert real is not None, "the relativistic generator compares with reals"
    return cross_entropy_pairs(fake - real, 0.0)


def cross_entropy_pairs(difference: Tensor, smoothing: float) -> Tensor:
    """Softplus(−difference), with the target 1 − smoothing."""
    loss = F.softplus(-difference).mean()
    return loss + smoothing * difference.mean() if smoothing else loss


OBJECTIVES = {
    "nonsaturating": Objective(
        cross_entropy_discriminator, nonsaturating_generator, probability=torch.sigmoid
    ),
    "vanilla": Objective(cross_entropy_discriminator, vanilla_generator, probability=torch.sigmoid),
    "lsgan": Objective(least_squares_discriminator, least_squares_generator, middle=0.5),
    "hinge": Objective(hinge_discriminator, raise_score),
    "wasserstein": Objective(wasserstein_critic, raise_score, middle=None),
    "relativistic": Objective(relativistic_discriminator, relativistic_generator, paired=True, middle=None),
}


def objective(name: str) -> Objective:
    """An objective by name; InputError with the nearest name when there is none."""
    if name not in OBJECTIVES:
        raise unknown("objective", name, OBJECTIVES)
    return OBJECTIVES[name]
