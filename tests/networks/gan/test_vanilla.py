from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.networks.gan import build
from plenish.networks.gan.vanilla import VanillaConfig


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def test_published_numbers_of_parameters() -> None:
    with torch.device("meta"):
        g, d = build("vanilla", VanillaConfig(size=48, channels=1))
    # Keras counts the running statistics of batch norm, of which torch makes buffers.
    buffers = sum(b.numel() for name, b in g.named_buffers() if "running" in name)
    assert buffers == 2 * (256 * 6 * 6 + 128 + 64)
    assert _count(g) == 1_469_953 - buffers
    units = [2304, 2304, 4096, 2048, 1024, 512, 256, 1]
    assert _count(d) == sum((a + 1) * b for a, b in itertools.pairwise(units))
    # The published listing has 4098 and 2046 for 4096 and 2048.
    typed = [2304, 2304, 4098, 2046, 1024, 512, 256, 1]
    assert sum((a + 1) * b for a, b in itertools.pairwise(typed)) == 25_895_677


def test_kernels_are_three_pixels_first_and_five_after() -> None:
    g, _ = build("vanilla", VanillaConfig(size=48, channels=1, width=4))
    assert [conv.kernel_size[0] for conv in g.convs] == [3, 5, 5]


def test_labels_join_z_and_the_pixels() -> None:
    labels = LabelSchema("categorical", ("a", "b"))
    plain, joined = (build("vanilla", VanillaConfig(size=16, width=2, labels=schema))
                     for schema in (LabelSchema(), labels))  # fmt: skip
    assert joined[0].project.in_features == plain[0].project.in_features + 2
    assert joined[1].layers[0].in_features == 3 * 16 * 16 + 2


def test_batch_norm_stands_behind_the_rectifier() -> None:
    torch.manual_seed(0)
    g, _ = build("vanilla", VanillaConfig(size=16, width=4))
    seen: list[torch.Tensor] = []
    for norm in (g.project_norm, *g.norms):
        norm.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    g(torch.randn(8, 100))
    assert len(seen) == 2
    assert all(float(x.detach().min()) == 0 for x in seen)


def test_dropout_is_for_training_alone() -> None:
    _, d = build("vanilla", VanillaConfig(size=16, width=4, dropout=0.5))
    x = torch.randn(2, 3, 16, 16)
    assert not torch.equal(d(x), d(x))
    d.eval()
    assert torch.equal(d(x), d(x))


@pytest.mark.parametrize("options", [{"kernel": 4}, {"dropout": -0.1}, {"slope": 1.0}, {"init": "x"}])
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        VanillaConfig(size=16, **options)
