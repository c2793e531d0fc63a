"""Heads of classifiers, and stages that are kept as they are."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from plenish.errors import InputError
from plenish.networks.classifier import build_classifier, frozen_stages, stages
from plenish.networks.classifier_parts import Head, freeze

NETWORKS = ["small", "resnet10t", "mobilenetv3_small_050", "convnext_atto"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("columns", [0, 3])
def test_stages_part_the_parameters_and_only_the_head_depends_on_the_classes(name: str, columns: int) -> None:
    network = build_classifier(name, 3, 32, 2, head=Head(columns=columns))
    found = stages(network)
    assert sorted(name for stage in found for name in stage) == sorted(
        n for n, _ in network.named_parameters()
    )
    other = dict(build_classifier(name, 3, 32, 5, head=Head(columns=columns)).named_parameters())
    changed = {n for n, p in network.named_parameters() if p.shape != other[n].shape}
    assert changed <= set(found[-1])
    assert frozen_stages(network, "all") == len(found) - 1
    assert (frozen_stages(network, "stem"), frozen_stages(network, "2")) == (1, 3)
    with pytest.raises(InputError, match="--freeze 99"):
        frozen_stages(network, "99")


@pytest.mark.parametrize("name", NETWORKS)
def test_frozen_stages_keep_weights_and_statistics_while_others_change(name: str) -> None:
    torch.manual_seed(0)
    network = build_classifier(name, 3, 32, 2)
    count = frozen_stages(network, "2")
    freeze(network, stages(network), count)
    frozen = {n for stage in stages(network)[:count] for n in stage}
    before = {key: value.clone() for key, value in network.state_dict().items()}
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1)
    network(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimiser.step()
    moved = {key for key, value in network.state_dict().items() if not torch.equal(before[key], value)}
    modules = {n.rpartition(".")[0] for n in frozen}
    assert not {key for key in moved if key in frozen or key.rpartition(".")[0] in modules}
    assert moved
    freeze(network, stages(network), 0)
    assert all(module.training for module in network.modules())
    assert all(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize("name", NETWORKS)
def test_a_cosine_head_is_the_cosine(name: str) -> None:
    network = build_classifier(name, 1, 32, 3, head=Head(scale=10.0, drop_rate=0.0)).eval()
    images = torch.randn(2, 1, 32, 32)
    pooled = network.forward_head(network.forward_features(images), pre_logits=True)
    weight = network.get_classifier().weight
    expected = 10 * functional.cosine_similarity(pooled[:, None], weight[None], dim=2)
    torch.testing.assert_close(network(images), expected)
    assert network(images).abs().max() <= 10


@pytest.mark.parametrize("name", NETWORKS)
def test_columns_are_joined_to_the_pooled_features(name: str) -> None:
    network = build_classifier(name, 3, 32, 2, head=Head(columns=2, drop_rate=0.0)).eval()
    images, columns = torch.randn(2, 3, 32, 32), torch.randn(2, 2)
    pooled = network.body(images)
    expected = functional.linear(torch.cat([pooled, columns], 1), network.head.weight, network.head.bias)
    torch.testing.assert_close(network(images, columns), expected)


def test_dropout_before_the_head_is_what_was_asked_for() -> None:
    for name in NETWORKS[:2]:
        network = build_classifier(name, 3, 32, 2, head=Head(drop_rate=0.9)).train()
        maps = torch.ones(400, network.num_features, 2, 2)
        pooled = network.forward_head(maps, pre_logits=True)
        assert (pooled == 0).float().mean() == pytest.approx(0.9, abs=0.02)
