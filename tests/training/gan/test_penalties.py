"""Penalties against their closed forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from plenish.errors import InputError
from plenish.networks.gan.contract import Discriminator, Generator, NetworkConfig
from plenish.training.engine import Engine
from plenish.training.gan.method import Adversarial, Method
from plenish.training.gan.penalties import (
    Penalty,
    clip_weights,
    gradient_penalty,
    gradient_squares,
    path_lengths,
    r1_r2,
)
from plenish.training.gan.state import GANState
from plenish.training.gan.step import step
from plenish.training.learner import Clock


class Linear(Discriminator):
    """D(x) = Σ w·x: its gradient is w everywhere."""

    def __init__(self, norm: float) -> None:
        super().__init__(NetworkConfig(size=4, channels=1))
        w = torch.randn(16, generator=torch.Generator().manual_seed(0))
        self.w = torch.nn.Parameter(w * norm / w.norm())

    def forward(self, image: Tensor, y: Tensor | None = None) -> Tensor:
        return image.flatten(1) @ self.w


def _images(n: int, seed: int = 1) -> Tensor:
    return torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("norm", [0.5, 1.0, 3.0])
def test_a_linear_critic_pays_for_its_slope(norm: float) -> None:
    d, x, fakes = Linear(norm), _images(6), _images(6, 2)
    penalty = gradient_penalty(d, x, fakes, None, torch.rand(6))
    assert penalty.item() == pytest.approx((norm - 1) ** 2, abs=1e-5)
    shown = torch.cat([x, fakes]).requires_grad_()
    assert gradient_squares(d(shown), shown).tolist() == pytest.approx(
        torch.full((12,), norm**2).tolist(), rel=1e-5
    )
    both = r1_r2(d(shown), shown, 2.0, 6.0)
    assert both.item() == pytest.approx(norm**2 * (1.0 + 3.0), rel=1e-5)


def test_the_penalty_teaches_the_slope() -> None:
    d = Linear(3.0)
    gradient_penalty(d, _images(4), _images(4, 2), None, torch.rand(4)).backward()
    # d/dw (|w|-1)² = 2(|w|-1)·w/|w|
    assert torch.allclose(d.w.grad, 2 * 2 * d.w.detach() / 3, atol=1e-5)


def test_mixtures_lie_between_reals_and_fakes_and_share_one_is_the_real_end() -> None:
    class Seen(Linear):
        def forward(self, image: Tensor, y: Tensor | None = None) -> Tensor:
            self.last = image.detach()
            return super().forward(image)

    d, x, fakes = Seen(1.0), _images(3), _images(3, 2)
    gradient_penalty(d, x, fakes, None, torch.tensor([0.0, 0.5, 1.0]))
    assert torch.equal(d.last[0], fakes[0])
    assert torch.allclose(d.last[1], (x[1] + fakes[1]) / 2)
    assert torch.equal(d.last[2], x[2])


def test_path_length_of_a_linear_generator() -> None:
    # images = A·w, so the gradient of images·noise/√area is Aᵀ·noise/√area.
    a = torch.randn(16, 3, generator=torch.Generator().manual_seed(0))
    ws = torch.randn(2, 1, 3, requires_grad=True)
    noise = _images(2, 5)
    lengths = path_lengths((ws[:, 0] @ a.t()).view(2, 1, 4, 4), ws, noise)
    expected = (noise.flatten(1) @ a / 4).norm(dim=1)
    assert torch.allclose(lengths, expected, atol=1e-5)


def test_clipping() -> None:
    d = Linear(10.0)
    clip_weights(d, 0.01)
    assert d.w.abs().max() <= 0.01


def test_lazy_rates_allow_for_the_added_steps() -> None:
    assert Penalty(r1=1, interval=16).lazy_share() == pytest.approx(16 / 17)
    assert Penalty(r1=1, interval=1).lazy_share() == 1
    assert Penalty(interval=16).lazy_share() == 1, "no penalty, no added steps"
    assert Penalty(path=2, path_interval=4).path_share(1) == pytest.approx(4 / 5)
    assert Penalty(path=2, path_interval=4).path_share(3) == pytest.approx(12 / 13), "three steps a turn"
    assert Penalty(path_interval=4).path_share(3) == 1


@pytest.mark.parametrize(
    "values", [{"r1": -1.0}, {"gp": float("nan")}, {"interval": 0}, {"path_interval": 0}]
)
def test_impossible_values_are_refused(values: dict) -> None:
    with pytest.raises(InputError, match=next(iter(values))):
        Penalty(**values)


def test_gammas_fall_by_half_a_cosine_and_then_stay() -> None:
    penalty = Penalty(r1=8.0, r2=2.0, fall_to=0.25, fall_kimg=10)
    assert penalty.gammas_at(0) == (8.0, 2.0)
    assert penalty.gammas_at(5_000) == pytest.approx((8 * 0.625, 2 * 0.625))
    assert penalty.gammas_at(10_000) == pytest.approx((2.0, 0.5))
    assert penalty.gammas_at(99_000) == pytest.approx((2.0, 0.5))
    assert Penalty(r1=8.0).gammas_at(99_000) == (8.0, 0.0)


class Noise(Generator):
    """z as an image, with one weight."""

    def __init__(self) -> None:
        super().__init__(NetworkConfig(size=4, channels=1, z_dim=16))
        self.scale = torch.nn.Parameter(torch.ones(()))

    def synthesis(self, w: Tensor, y: Tensor | None = None, *, noise: str = "random") -> Tensor:
        return self.scale * w.view(-1, 1, 4, 4)


@pytest.mark.parametrize("interval", [1, 4])
def test_a_training_step_takes_the_gammas_of_its_moment(interval: int) -> None:
    penalty = Penalty(r1=6.0, r2=2.0, fall_to=0.25, fall_kimg=1, interval=interval)
    paid = []
    for nimg in (0, 2_000):
        # Lazy penalties are taken behind the main update, which at next to no rate changes nothing.
        method = Method(Adversarial(batch=6, lr_d=1e-12), penalty)
        state = GANState(Noise(), Linear(3.0), method, Engine(torch.device("cpu"), "float32"))
        paid.append(float(step(state, _images(6), None, Clock(0, 0, nimg))["penalty"]))
    assert paid == pytest.approx([0.5 * (6 + 2) * 3.0**2, 0.25 * 0.5 * (6 + 2) * 3.0**2], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fall_to": 2.0}, r"fall_to .* 2\.0"),
        ({"fall_to": 0.5}, r"penalty\.fall_to .*0\.5 .*penalty\.fall_kimg 0\b"),
        ({"fall_kimg": 10.0}, r"penalty\.fall_to .*1 .*penalty\.fall_kimg 10\b"),
        ({"fall_to": 0.5, "fall_kimg": 10.0, "r1": 0.0}, "R1 and R2"),
    ],
)
def test_a_fall_that_is_none_is_refused(options: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Penalty(**({"r1": 1.0} | options))
