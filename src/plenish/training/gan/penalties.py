"""Penalties on the discriminator's and the generator's gradients, independent of the objective.

A penalty that is due only every few steps (lazy regularisation, Karras et al. 2020) is multiplied by its
interval and gets an optimiser step of its own; the optimiser's rates are corrected for the steps added.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from plenish.configuration import check_fields, option
from plenish.errors import InputError
from plenish.networks.gan.contract import Discriminator
from plenish.training.schedules import check_fall, cosine_fall


@dataclasses.dataclass(frozen=True)
class Penalty:
    """Weights of the penalties; 0 leaves one out.

    Gradients are by the discriminator's inputs, so after augmentation and noise.

    Attributes:
        r1: gamma of R1, γ/2·E‖∇D(x)‖² on reals (Mescheder et al. 2018).
        r2: gamma of R2, the same on fakes.
        fall_to: share of both gammas, 0 to 1, that is left from `fall_kimg` on.
        fall_kimg: thousands of images in which they fall, by half a cosine wave (Huang et al. 2024); 0 keeps
            them constant.
        gp: weight of the gradient penalty (‖∇D(x̂)‖ − 1)² on x̂ drawn uniformly between reals and fakes
            (Gulrajani et al. 2017).
        drift: weight of D(x)², which keeps a critic's scores near 0 (Karras et al. 2018).
        clip: weights of the discriminator are clipped to ±clip after each step (Arjovsky et al. 2017).
        interval: discriminator steps from one gradient penalty (r1, r2, gp) to the next.
        path: weight of path length regularisation of the generator (Karras et al. 2020).
        path_interval: generator steps from one path length penalty to the next.
    """

    r1: float = option(0.0, least=0)
    r2: float = option(0.0, least=0)
    fall_to: float = 1.0
    fall_kimg: float = option(0.0, least=0)
    gp: float = option(0.0, least=0)
    drift: float = option(0.0, least=0)
    clip: float = option(0.0, least=0)
    interval: int = option(1, least=1)
    path: float = option(0.0, least=0)
    path_interval: int = option(4, least=1)

    def __post_init__(self) -> None:
        check_fields(self, "penalty")
        check_fall("penalty.fall", self.fall_to, self.fall_kimg)
        if self.fall_kimg and not (self.r1 or self.r2):
            raise InputError("penalty.fall_kimg is for R1 and R2, which are 0; give one, or leave it out.")

    @property
    def on_gradients(self) -> bool:
        """Whether the discriminator's gradients are penalised."""
        return self.r1 > 0 or self.r2 > 0 or self.gp > 0

    def gammas_at(self, nimg: int) -> tuple[float, float]:
        """Gammas of R1 and R2 after `nimg` images."""
        share = cosine_fall(nimg, self.fall_to, self.fall_kimg)
        return share * self.r1, share * self.r2

    def lazy_share(self) -> float:
        """The discriminator's main steps over all: n/(n+1) where a lazy penalty adds one to every n."""
        lazy = self.on_gradients and self.interval > 1
        return self.interval / (self.interval + 1) if lazy else 1.0

    def path_share(self, g_steps: int) -> float:
        """The same for the generator, which takes `g_steps` main steps in a row."""
        steps = self.path_interval * g_steps
        return steps / (steps + 1) if self.path > 0 else 1.0


def gradient_squares(logits: Tensor, images: Tensor) -> Tensor:
    """Squared norm of each logit's gradient by its image: logits N, images N×C×H×W → N, differentiable."""
    # Without autocast, which would also round what the forward pass kept in float32.
    with torch.autocast(images.device.type, enabled=False):
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
        return gradient.float().square().sum((1, 2, 3))


def r1_r2(logits: Tensor, images: Tensor, r1: float, r2: float) -> Tensor:
    """γ₁/2·E‖∇D(x)‖² + γ₂/2·E‖∇D(G(z))‖² of a batch that holds reals, then as many fakes."""
    of_reals, of_fakes = gradient_squares(logits, images).chunk(2)
    return 0.5 * (r1 * of_reals.mean() + r2 * of_fakes.mean())


def gradient_penalty(
    d: Discriminator, reals: Tensor, fakes: Tensor, y: Tensor | None, share: Tensor
) -> Tensor:
    """E(‖∇D(x̂)‖₂ − 1)² on x̂ = share·x + (1 − share)·G(z).

    Args:
        d: the critic.
        reals: N×C×H×W.
        fakes: N×C×H×W.
        y: labels of both, N×K, or None.
        share: of the reals in each mixture, N, uniform in [0, 1].
    """
    mixed = fakes.lerp(reals, share.to(reals.dtype)[:, None, None, None]).requires_grad_()
    # The root's derivative at 0 is infinite; what is added is far below any real gradient.
    norms = (gradient_squares(d(mixed, y), mixed) + 1e-12).sqrt()
    return (norms - 1).square().mean()


def path_lengths(images: Tensor, ws: Tensor, noise: Tensor) -> Tensor:
    """‖Jᵀ noise‖₂ of each image, N (Karras et al. 2020, eq. 4).

    Args:
        images: N×C×H×W, made from ws.
        ws: styles N×num_ws×w_dim.
        noise: N(0, 1) of the images' shape.
    """
    area = images.shape[2] * images.shape[3]
    with torch.autocast(images.device.type, enabled=False):
        (gradient,) = torch.autograd.grad((images * noise).sum() / math.sqrt(area), ws, create_graph=True)
        return gradient.float().square().sum(2).mean(1).sqrt()


@torch.no_grad()
def clip_weights(d: Discriminator, limit: float) -> None:
    """Clip every weight of a critic to ±limit."""
    torch._foreach_clamp_min_(list(d.parameters()), -limit)
    torch._foreach_clamp_max_(list(d.parameters()), limit)
