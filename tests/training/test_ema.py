from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from plenish.training.ema import ema_weight, update_ema


def test_the_weight_halves_after_the_half_life() -> None:
    keep = ema_weight(100, nimg=10**9, half_life_kimg=5.0)
    assert keep ** (5000 / 100) == pytest.approx(0.5)


def test_half_life_does_not_depend_on_the_batch() -> None:
    assert ema_weight(64, 10**9, 5.0) ** 2 == pytest.approx(ema_weight(128, 10**9, 5.0))


def test_rampup_forgets_the_first_weights() -> None:
    assert ema_weight(64, 0, 5.0) == 0
    assert ema_weight(64, 10_000, 5.0) == pytest.approx(0.5 ** (64 / 500))


def test_update_is_a_weighted_mean_and_copies_statistics() -> None:
    network = nn.BatchNorm1d(2)
    average = copy.deepcopy(network)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.running_mean.fill_(7.0)
    update_ema(average, network, keep=0.75)
    assert torch.allclose(average.weight, torch.full((2,), 1.5))
    assert torch.equal(average.running_mean, network.running_mean)
