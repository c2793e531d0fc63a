"""One adversarial training step: discriminator, generator (any number of times), moving average."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from plenish.errors import InputError, unknown
from plenish.networks.gan.contract import Discriminator, Generator
from plenish.training.ema import ema_weight, update_ema
from plenish.training.engine import Engine
from plenish.training.objectives import objective

SYMMETRIES = ("none", "mirror", "dihedral")


@dataclasses.dataclass(frozen=True)
class Adversarial:
    """How the two networks are played against each other.

    Attributes:
        objective: name of the loss pair.
        batch: images a step.
        lr_g: learning rate of the generator.
        lr_d: learning rate of the discriminator.
        beta1: Adam's first momentum.
        beta2: Adam's second momentum.
        g_steps: generator updates for each discriminator update.
        smoothing: one-sided label smoothing; the real target is 1 − smoothing.
        noise_sd: standard deviation of the Gaussian noise on every discriminator input at the start, where
            images have the range [-1, 1]; it falls linearly to 0.
        noise_kimg: thousands of images after which that noise has gone.
        ema_kimg: half-life of the generator's moving average, thousands of images.
        symmetry: real images are shown in a random one of these orientations: `none`, `mirror` (left-right)
            or `dihedral` (all eight flips and right-angle rotations; tissue has no up and down).
    """

    objective: str = "nonsaturating"
    batch: int = 64
    lr_g: float = 2e-4
    lr_d: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    g_steps: int = 1
    smoothing: float = 0.0
    noise_sd: float = 0.0
    noise_kimg: float = 0.0
    ema_kimg: float = 5.0
    symmetry: str = "none"

    def __post_init__(self) -> None:
        objective(self.objective)
        if self.symmetry not in SYMMETRIES:
            raise unknown("symmetry", self.symmetry, SYMMETRIES)
        for name in ("lr_g", "lr_d", "g_steps", "ema_kimg"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"adversarial.{name} must be a number above 0, not {getattr(self, name)}.")
        for name in ("noise_sd", "noise_kimg"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"adversarial.{name} must not be negative, and is {getattr(self, name)}.")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"adversarial.{name} lies between 0 and 1, not at {getattr(self, name)}.")
        if not 0 <= self.smoothing < 0.5:
            raise InputError(f"adversarial.smoothing lies between 0 and 0.5, not at {self.smoothing}.")
        if self.batch < 2:
            raise InputError(
                f"A batch needs at least 2 images, since batch norm compares them; it is {self.batch}."
            )

    def noise_at(self, nimg: int) -> float:
        """Standard deviation of the instance noise after `nimg` images."""
        if self.noise_sd <= 0 or self.noise_kimg <= 0:
            return 0.0
        return self.noise_sd * max(0.0, 1 - nimg / (1000 * self.noise_kimg))


class Players:
    """Networks, optimisers and moving average: all that a step changes and a checkpoint holds."""

    def __init__(
        self, generator: Generator, discriminator: Discriminator, rules: Adversarial, engine: Engine
    ) -> None:
        """Move the networks to the device and make their optimisers."""
        self.g = engine.to_module(generator).train()
        self.d = engine.to_module(discriminator).train()
        self.ema = copy.deepcopy(self.g).eval().requires_grad_(False)
        self.rules, self.engine = rules, engine
        self.objective = objective(rules.objective)
        betas = (rules.beta1, rules.beta2)
        # The fused kernel is about three times the default loop over parameters, on a CPU too.
        self.opt_g = torch.optim.Adam(self.g.parameters(), rules.lr_g, betas, fused=True)
        self.opt_d = torch.optim.Adam(self.d.parameters(), rules.lr_d, betas, fused=True)

    def modules(self) -> dict[str, torch.nn.Module]:
        """The networks by the name their checkpoint file has."""
        return {"g": self.g, "d": self.d, "ema": self.ema}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by the name their checkpoint file has."""
        return {"opt_g": self.opt_g, "opt_d": self.opt_d}

    def latents(self, n: int, *key: Any) -> Tensor:
        """Draw z, n×z_dim, for one purpose."""
        return self.g.sample_prior(n, self.engine.generator(*key, "z"))


def orient(x: Tensor, symmetry: str, rng: torch.Generator) -> Tensor:
    """Show each image of a batch N×C×H×W in a random orientation."""
    if symmetry == "none":
        return x
    choice = torch.randint(8, (len(x),), generator=rng, device=rng.device)
    flip = (choice & 1).bool()
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    if symmetry == "dihedral":
        x = torch.where((choice & 2).bool()[:, None, None, None], x.flip(2), x)
        x = torch.where((choice & 4).bool()[:, None, None, None], x.transpose(2, 3), x)
    return x.contiguous(memory_format=torch.channels_last)


def noisy(x: Tensor, sd: float, rng: torch.Generator) -> Tensor:
    """Add Gaussian noise of standard deviation `sd` to images."""
    if sd == 0:
        return x
    noise = torch.empty_like(x, memory_format=torch.channels_last).normal_(generator=rng)
    return x.add(noise, alpha=sd)


def step(players: Players, x: Tensor, y: Tensor | None, nimg: int, key: tuple[int, int]) -> dict[str, Tensor]:
    """Train on one batch of real images.

    The generator's first update reuses the fakes the discriminator was shown; further updates draw their own.
    In the generator's update the discriminator's weights need no gradients, and none are computed.

    Args:
        players: what is trained, changed in place.
        x: real images, N×C×H×W in [-1, 1], channels_last.
        y: their labels, N×K, also asked of the fakes; or None.
        nimg: images seen before this batch; with `key` the source of every random draw.
        key: (seed, attempt).

    Returns:
        Scalars on the device: losses, mean probabilities and accuracies of the discriminator.
    """
    rules, engine, n = players.rules, players.engine, len(x)
    sd = rules.noise_at(nimg)
    x = orient(x, rules.symmetry, engine.generator(*key, "symmetry", nimg))
    rng = engine.generator(*key, "noise", nimg)
    with engine.autocast():
        fakes = players.g(players.latents(n, *key, nimg, 0), y)
        shown = noisy(torch.cat([x, fakes.detach()]), sd, rng)
        real, fake = players.d(shown, None if y is None else torch.cat([y, y]), parts=2).chunk(2)
        loss_d = players.objective.discriminator(real, fake, rules.smoothing)
    players.opt_d.zero_grad()
    loss_d.backward()
    players.opt_d.step()

    players.d.requires_grad_(False)
    for update in range(rules.g_steps):
        with engine.autocast():
            if update:
                fakes = players.g(players.latents(n, *key, nimg, update), y)
            fooled = players.d(noisy(fakes, sd, rng), y)
            loss_g = players.objective.generator(fooled)
        players.opt_g.zero_grad()
        loss_g.backward()
        players.opt_g.step()
    players.d.requires_grad_(True)

    update_ema(players.ema, players.g, ema_weight(n, nimg, rules.ema_kimg))
    real, fake = real.detach(), fake.detach()
    return {
        "loss_d": loss_d.detach(),
        "loss_g": loss_g.detach(),
        "d_real": real.sigmoid().mean(),
        "d_fake": fake.sigmoid().mean(),
        "d_accuracy_real": (real > 0).float().mean(),
        "d_accuracy_fake": (fake < 0).float().mean(),
    }


def gradient_norms(players: Players) -> dict[str, float]:
    """Euclidean norm of the latest gradients, of each network as a whole and of its first and last layer."""
    norms: dict[str, float] = {}
    for name, network in (("g", players.g), ("d", players.d)):
        grads = [p.grad for p in network.parameters() if p.grad is not None and p.ndim > 1]
        if not grads:
            continue
        each = torch.stack(torch._foreach_norm(grads))
        norms[f"grad_{name}"] = float(each.norm())
        norms[f"grad_{name}_first"] = float(each[0])
        norms[f"grad_{name}_last"] = float(each[-1])
    return norms
