"""The step of an autoencoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from plenish.errors import InputError
from plenish.networks.autoencoder import Autoencoder, AutoencoderConfig, Latent
from plenish.training.autoencoder import AutoencoderLearner
from plenish.training.engine import Engine
from plenish.training.reconstruction import Method, squared_error

CPU = Engine(torch.device("cpu"), "float32")


def _learner(config: AutoencoderConfig, method: Method = Method()) -> AutoencoderLearner:  # noqa: B008
    torch.manual_seed(0)
    return AutoencoderLearner(Autoencoder(config), method, CPU)


def _pixels(size: int, channels: int, n: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, size, size, channels), np.uint8)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_error_and_its_gradient_are_the_librarys(layout: torch.memory_format) -> None:
    wanted = torch.randn(3, 4, 6, 6)
    made = torch.randn(3, 4, 6, 6).contiguous(memory_format=layout).requires_grad_()
    ours, theirs = squared_error(made, wanted), F.mse_loss(made, wanted)
    torch.testing.assert_close(ours, theirs)
    (a,), (b,) = torch.autograd.grad(3 * ours, made), torch.autograd.grad(3 * theirs, made)
    torch.testing.assert_close(a, b)


def test_padding_does_not_count() -> None:
    learner = _learner(AutoencoderConfig(10, 3, (4, 6), 3))
    pixels = _pixels(10, 3)
    blocks = learner.blocks(pixels)
    network = learner.network.eval()
    made = network.decode(network.encode(blocks).mean)
    inner = network.to_images(blocks) - torch.nn.functional.pixel_shuffle(made, 2)[:, :, 1:11, 1:11]
    assert learner.real is not None
    torch.testing.assert_close(squared_error(made, blocks, learner.real), inner.square().mean())
    # What is made of the padding has no gradient.
    made = made.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(squared_error(made, blocks, learner.real), made)
    assert bool((gradient[:, learner.real[0] == 0] == 0).all())


def test_errors_are_told_in_units_of_zero_to_one() -> None:
    learner = _learner(AutoencoderConfig(8, 1, (4,), 2))
    blocks = learner.blocks(_pixels(8, 1))
    made = learner.network(CPU.to_images(_pixels(8, 1)))
    expected = ((made - CPU.to_images(_pixels(8, 1))) / 2).square().mean()
    torch.testing.assert_close(learner.losses(blocks, draw=False)["mse"], expected, rtol=1e-3, atol=1e-4)


def test_draws_depend_on_the_key_alone() -> None:
    learner = _learner(AutoencoderConfig(8, 1, (4,), 3, variational=True), Method(denoise=0.2))
    blocks = learner.blocks(_pixels(8, 1))
    first, again = (learner.losses(blocks, (0, 0, 5)) for _ in range(2))
    other = learner.losses(blocks, (0, 0, 6))
    assert torch.equal(first["loss"], again["loss"])
    assert not torch.equal(first["loss"], other["loss"])
    assert learner.losses(blocks, (1,), draw=False) == learner.losses(blocks, (2,), draw=False)


def test_noise_has_the_deviation_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = _learner(AutoencoderConfig(32, 3, (4,), 3), Method(denoise=0.25))
    encode, seen = learner.network.encode, []

    def watched(blocks: torch.Tensor) -> Latent:
        seen.append(blocks)
        return encode(blocks)

    monkeypatch.setattr(learner.network, "encode", watched)
    blocks = learner.blocks(_pixels(32, 3, 16))
    learner.losses(blocks, (0,))
    learner.losses(blocks, (0,), draw=False)
    noise = (seen[0] - blocks) / 2
    assert abs(float(noise.std()) - 0.25) < 0.005
    assert abs(float(noise.mean())) < 0.005
    assert torch.equal(seen[1], blocks)


def test_a_variational_loss_weighs_the_divergence_by_beta() -> None:
    config = AutoencoderConfig(8, 1, (4,), 3, variational=True)
    blocks = _learner(config).blocks(_pixels(8, 1))
    found = [_learner(config, Method(beta=b)).losses(blocks, draw=False) for b in (0.0, 1.0, 2.0)]
    assert found[0]["kl"] > 0
    for one, beta in zip(found, (0.0, 1.0, 2.0)):
        expected = 0.5 * one["mse"].log() + beta * one["kl"] / 64
        torch.testing.assert_close(one["loss"], expected)


def test_steps_lower_the_error() -> None:
    learner = _learner(AutoencoderConfig(16, 1, (8, 8), 8), Method(lr=1e-2))
    pixels = np.zeros((4, 16, 16, 1), np.uint8)
    pixels[0, :8], pixels[1, :, :8], pixels[2, 8:], pixels[3, :, 8:] = 255, 255, 255, 255
    blocks = learner.blocks(pixels)
    errors = [float(learner.update(blocks, (0, step))["mse"]) for step in range(150)]
    assert errors[-1] < 0.01 < errors[0]


@pytest.mark.parametrize(
    "wrong", [{"batch": 0}, {"lr": 0.0}, {"beta1": 1.0}, {"denoise": -0.1}, {"denoise": 2.0}, {"beta": -1.0}]
)
def test_impossible_methods_are_refused(wrong: dict) -> None:
    with pytest.raises(InputError):
        Method(**wrong)
