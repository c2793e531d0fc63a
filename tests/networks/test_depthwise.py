"""Depthwise convolutions agree with torch's, forwards and backwards, in either precision and padding."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import nn

from plenish.networks.depthwise import DepthwiseConv2d, with_fast_depthwise

SAME = timm.layers.Conv2dSame


@pytest.mark.parametrize("kind", [nn.Conv2d, SAME])
@pytest.mark.parametrize(("size", "stride"), [(8, 1), (9, 2), (8, 2)])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients_are_torchs(kind: type[nn.Conv2d], size: int, stride: int, bias: bool) -> None:
    torch.manual_seed(0)
    padding = 1 if kind is nn.Conv2d else 0
    theirs = nn.Sequential(kind(6, 6, 3, stride=stride, padding=padding, groups=6, bias=bias))
    ours = with_fast_depthwise(copy.deepcopy(theirs), SAME)
    assert isinstance(ours[0], DepthwiseConv2d)
    x = torch.randn(2, 6, size, size)
    for half, close in ((False, {}), (True, {"atol": 0.05, "rtol": 0.05})):
        found = []
        for network in (theirs, ours):
            network.zero_grad()
            mine = x.clone().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                out = network(mine)
            out.float().square().sum().backward()
            found.append([out.float(), mine.grad, *(p.grad for p in network.parameters())])
        assert out.dtype == (torch.bfloat16 if half else torch.float32)
        for expected, value in zip(*found, strict=True):
            torch.testing.assert_close(value, expected, **close)


def test_only_depthwise_convolutions_are_replaced() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 8, 1), nn.Conv2d(8, 8, 3, groups=8))
    made = with_fast_depthwise(network, SAME)
    assert [isinstance(layer, DepthwiseConv2d) for layer in made] == [False, False, True]
