from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from plenish.training.ema import batch_norms, ema_weight, renewed_statistics, update_ema


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


def test_renewed_statistics_are_the_mean_over_the_batches_that_pass() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, momentum=0.2), nn.Dropout(0.5)).eval()
    network[1].running_mean.fill_(9.0)
    batches = [torch.randn(8, 3) + i for i in range(5)]
    with renewed_statistics(batch_norms(network)), torch.no_grad():
        for batch in batches:
            network(batch)
    seen = [network[0](batch).detach() for batch in batches]
    means, variances = (torch.stack(found).mean(0) for found in zip(*((x.mean(0), x.var(0)) for x in seen)))
    assert torch.allclose(network[1].running_mean, means, atol=1e-6)
    assert torch.allclose(network[1].running_var, variances, atol=1e-6)
    assert network[1].momentum == 0.2
    assert not any(layer.training for layer in network.modules())


def test_renewed_statistics_leave_evaluation_mode_behind_when_the_block_fails() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2)).eval()
    with pytest.raises(KeyError), renewed_statistics(batch_norms(network)):
        raise KeyError
    assert not network[0].training
    assert network[0].momentum == 0.1
