"""The training step on a distribution whose modes can be counted: eight Gaussians on a circle."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from plenish.networks.gan.contract import Discriminator, Generator, NetworkConfig
from plenish.training.engine import Engine
from plenish.training.gan.method import Adversarial, Method
from plenish.training.gan.penalties import Penalty
from plenish.training.gan.state import GANState
from plenish.training.gan.step import step
from plenish.training.learner import Clock

MODES = torch.tensor([[math.cos(k * math.pi / 4), math.sin(k * math.pi / 4)] for k in range(8)])
SD = 0.05


def _layers(inputs: int, outputs: int, width: int = 96) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2),
        nn.Linear(width, outputs),
    )  # fmt: skip


class Points(Generator):
    """z → a point of the plane, as an image of one row and two columns."""

    def __init__(self) -> None:
        super().__init__(NetworkConfig(size=1, channels=1, z_dim=4))
        self.layers = _layers(4, 2)

    def synthesis(self, w: Tensor, y: Tensor | None = None, *, noise: str = "random") -> Tensor:
        return self.layers(w[:, 0]).view(-1, 1, 1, 2)


class Judge(Discriminator):
    def __init__(self) -> None:
        super().__init__(NetworkConfig(size=1, channels=1))
        self.layers = _layers(2, 1)

    def forward(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        return self.layers(image.flatten(1))[:, 0]


def _train(method: Method, steps: int) -> tuple[list[int], float]:
    """Counts of samples near each mode, and the share of samples near any."""
    torch.manual_seed(0)
    state = GANState(Points(), Judge(), method, Engine(torch.device("cpu"), "float32"))
    rng, batch = torch.Generator().manual_seed(1), method.adversarial.batch
    for number in range(steps):
        chosen = torch.randint(8, (batch,), generator=rng)
        x = MODES[chosen] + SD * torch.randn(batch, 2, generator=rng)
        step(state, x.view(-1, 1, 1, 2), None, Clock(0, 0, number * batch, number))
    with torch.no_grad():
        points = state.ema(state.latents(4000, "test")).view(-1, 2)
    distance, nearest = torch.cdist(points, MODES).min(1)
    near = distance < 4 * SD
    return torch.bincount(nearest[near], minlength=8).tolist(), float(near.float().mean())


@pytest.mark.parametrize("objective", ["relativistic"])
def test_the_relativistic_objective_finds_all_modes(objective: str) -> None:
    rules = Adversarial(
        objective=objective, batch=256, lr_g=1e-3, lr_d=1e-3, beta1=0.0, beta2=0.9, ema_kimg=20
    )
    counts, near = _train(Method(rules, Penalty(r1=0.1, r2=0.1)), 1500)
    assert min(counts) > 4000 / 8 / 3, counts
    assert near > 0.7, near
