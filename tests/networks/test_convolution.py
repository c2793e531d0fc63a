from __future__ import annotations

import contextlib

import pytest
import torch
from torch import nn

from plenish.networks import convolution
from plenish.networks.convolution import Downsampling, Upsampling
from plenish.networks.gan import build, network_config
from plenish.networks.reference_ops import reference_operators


def _plain(layer: nn.Module) -> nn.Module:
    kind = nn.ConvTranspose2d if isinstance(layer, nn.ConvTranspose2d) else nn.Conv2d
    extra = {"output_padding": layer.output_padding} if kind is nn.ConvTranspose2d else {}
    twin = kind(
        layer.in_channels, layer.out_channels, layer.kernel_size, 2, layer.padding, bias=False, **extra
    ).double()
    twin.weight.data.copy_(layer.weight.data)
    return twin


@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize("kind", [Downsampling, Upsampling])
@pytest.mark.parametrize("side", [3, 4, 8])
def test_outputs_and_gradients_are_the_librarys(
    kind: type[nn.Module], kernel: int, side: int, device: str
) -> None:
    torch.manual_seed(0)
    layer = kind(6, 5, kernel).double().to(device, memory_format=torch.channels_last)
    twin = _plain(layer).to(device)
    size = side if kind is Upsampling else 2 * side
    x = torch.randn(3, 6, size, size, dtype=torch.float64, device=device, requires_grad=True)
    other = x.detach().clone().requires_grad_()
    ours, theirs = layer(x), twin(other)
    assert ours.shape[2] == (2 * side if kind is Upsampling else side)
    assert torch.allclose(ours, theirs)
    pull = torch.randn_like(ours)
    ours.backward(pull)
    theirs.backward(pull)
    assert torch.allclose(x.grad, other.grad)
    assert torch.allclose(layer.weight.grad, twin.weight.grad)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_images_by_shuffling_are_the_librarys(channels: int, bias: bool, device: str) -> None:
    torch.manual_seed(0)
    layer = Upsampling(6, channels, 4, bias=bias).double().to(device)
    twin = nn.ConvTranspose2d(6, channels, 4, 2, 1, bias=bias).double().to(device)
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(2, 6, 5, 5, dtype=torch.float64, device=device)
    ours, theirs = layer(x), twin(x)
    assert torch.allclose(ours, theirs)
    pull = torch.randn_like(ours)
    ours.backward(pull)
    theirs.backward(pull)
    for mine, its in zip(layer.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(mine.grad, its.grad)


@pytest.mark.parametrize("kernel", [4, 5])
@pytest.mark.parametrize("channels", [2, 5])
@pytest.mark.parametrize("kind", [Downsampling, Upsampling])
def test_differentiable_twice(kind: type[nn.Module], channels: int, kernel: int) -> None:
    torch.manual_seed(0)
    layer = kind(channels, 2, kernel).double()
    x = torch.randn(1, channels, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(
        lambda x, w: torch.func.functional_call(layer, {"weight": w}, (x,)), (x, layer.weight), fast_mode=True
    )


def test_under_autocast_it_computes_in_bfloat16_and_gives_float32_gradients(device: str) -> None:
    layer = Downsampling(8, 8, 4).to(device, memory_format=torch.channels_last)
    x = torch.randn(2, 8, 8, 8, device=device)
    with torch.autocast(torch.device(device).type, torch.bfloat16):
        out = layer(x)
    out.float().sum().backward()
    assert out.dtype == torch.bfloat16
    assert layer.weight.grad.dtype == torch.float32
    assert layer.weight.grad.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("channels", "side"), [(3, 10), (8, 8), (256, 16), (8, 32)])
def test_gradients_of_a_gradient_penalty_are_the_librarys(channels: int, side: int) -> None:
    # An image, few positions, some positions of many channels, and a layer left to the library.
    torch.manual_seed(0)
    layer = Downsampling(channels, 4, 4, bias=True).double().to(memory_format=torch.channels_last)
    twin = nn.Conv2d(channels, 4, 4, 2, 1).double()
    twin.load_state_dict(layer.state_dict())
    x = torch.randn(3, channels, side, side, dtype=torch.float64)
    for net in (layer, twin):
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(net(leaf).square().sum(), leaf, create_graph=True)
        gradient.square().sum().backward()
    assert torch.allclose(layer.weight.grad, twin.weight.grad)
    assert torch.allclose(layer.bias.grad, twin.bias.grad)


def test_a_gradient_by_the_images_alone_computes_no_weight_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    product = convolution.weight_gradient
    monkeypatch.setattr(convolution, "weight_gradient", lambda *a: made.append(1) or product(*a))
    layer = Downsampling(8, 8, 4)
    x = torch.randn(2, 8, 8, 8, requires_grad=True)
    (gradient,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
    assert not made
    gradient.square().sum().backward()
    assert made


@pytest.mark.parametrize("family", ["dcgan", "wgan-gp"])
def test_reference_operators_give_the_same_gradients(family: str, device: str) -> None:
    options = {"size": 32, "width": 8, "max_width": 32, "z_dim": 8}
    torch.manual_seed(0)
    g, d = build(family, network_config(family, options | ({"dropout": 0.0} if family == "wgan-gp" else {})))
    g, d, z = g.to(device), d.to(device), torch.randn(4, 8, device=device)
    found = []
    for context in (contextlib.nullcontext(), reference_operators()):
        g.zero_grad()
        d.zero_grad()
        with context:
            d(g(z)).square().sum().backward()
        found.append([p.grad.clone() for n in (g, d) for p in n.parameters()])
    for ours, theirs in zip(*found, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-5 * float(theirs.abs().max() + 1))
