"""Convolutions with built-in doubling and halving equal the two steps they replace."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from plenish.networks.resampling import pooled_convolution, upsampled_convolution


def _drawn(side: int, device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    shapes = ((2, 3, side, side), (4, 3, 3, 3), (4,))
    x, weight, bias = (torch.randn(shape, generator=rng, dtype=torch.float64).to(device) for shape in shapes)
    return x, weight, bias


@pytest.mark.parametrize("side", [4, 8, 16, 20])
def test_upsampled_convolution(side: int, device: str) -> None:
    x, weight, bias = _drawn(side, device)
    doubled = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    expected = F.conv2d(doubled, weight, bias, padding=1)
    assert torch.allclose(upsampled_convolution(x, weight, bias), expected, atol=1e-12)


@pytest.mark.parametrize("side", [4, 8, 16, 20])
def test_pooled_convolution(side: int, device: str) -> None:
    x, weight, bias = _drawn(side, device)
    whole = F.conv2d(x, weight, bias, padding=1)
    expected = whole.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).mean((3, 5))
    assert torch.allclose(pooled_convolution(x, weight, bias), expected, atol=1e-12)


@pytest.mark.parametrize("layer", [upsampled_convolution, pooled_convolution])
def test_gradients_of_both_forms_agree_twice(layer, device: str) -> None:
    def second(side: int) -> list[torch.Tensor]:
        # A small image in the corner of an empty large one: the two sizes take different ways.
        x, weight, bias = _drawn(8, device)
        x = F.pad(x, (0, side - 8, 0, side - 8)).requires_grad_()
        weight.requires_grad_()
        out = layer(x, weight, bias)[:, :, :2, :2]
        (first,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        return [first[:, :, :4, :4], *torch.autograd.grad(first[:, :, :4, :4].square().sum(), weight)]

    for small, large in zip(second(8), second(16), strict=True):
        assert torch.allclose(small, large, atol=1e-10)
