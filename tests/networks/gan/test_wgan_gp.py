from __future__ import annotations

import pytest
import torch
from torch import nn

from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.networks.gan import build, network_config
from plenish.networks.gan.wgan_gp import WGANGPConfig
from plenish.networks.shared_batch import parts
from plenish.training.gan.penalties import gradient_penalty


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _critic(**options: object) -> nn.Module:
    return build("wgan-gp", network_config("wgan-gp", {"size": 16, "width": 4, "max_width": 8, **options}))[1]


def test_published_numbers_of_parameters() -> None:
    with torch.device("meta"):
        g, d = build("wgan-gp", WGANGPConfig(size=128))
    assert _count(d) == 11_162_561
    assert _count(g) == 19_599_875
    # With the running statistics and without the counters of torch: Keras' total.
    buffers = sum(b.numel() for name, b in g.named_buffers() if "running" in name)
    assert _count(g) + buffers == 19_601_795


def test_layers_are_the_published_ones() -> None:
    with torch.device("meta"):
        g, d = build("wgan-gp", WGANGPConfig(size=128))
    assert g.start == 8
    assert [up.in_channels for up in g.ups] == [1024, 512, 256, 128]
    assert [down.out_channels for down in d.downs] == [64, 128, 256, 512, 1024]
    assert not [layer for layer in d.modules() if isinstance(layer, nn.BatchNorm2d)]


def test_labels_leave_the_layers_of_the_critic_as_they_are() -> None:
    labels = LabelSchema("categorical", ("a", "b", "c"))
    assert _count(_critic(labels=labels)) - _count(_critic()) == 3 * 8 * 4 * 4


def test_scores_do_not_depend_on_the_rest_of_the_batch() -> None:
    d = _critic(dropout=0.0)
    x = torch.randn(4, 3, 16, 16)
    with parts(2):
        together = d(x)
    assert torch.allclose(together, torch.cat([d(x[i : i + 1]) for i in range(4)]), atol=1e-5)


def test_dropout_spares_the_first_convolution_and_evaluation() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 16, 16)
    d = _critic(dropout=0.5)
    assert not torch.equal(d(x), d(x))
    d.eval()
    assert torch.equal(d(x), d(x))
    shallow = build("wgan-gp", WGANGPConfig(size=16, width=4, max_width=8, dropout=0.5))[1].train()
    seen: list[torch.Tensor] = []
    shallow.downs[1].register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    shallow(x)
    assert (seen[0] == 0).float().mean() < 0.01


def test_gradient_penalty_of_a_linear_critic_is_known_and_trains_it() -> None:
    # Slope 1 − tiny makes the critic linear: its gradient is one image for all inputs.
    d = _critic(dropout=0.0, slope=0.999999).double()
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    penalty = gradient_penalty(d, x, -x, None, torch.rand(3))
    with torch.no_grad():
        at_zero = d(torch.zeros(1, 3, 16, 16, dtype=torch.float64))
        basis = torch.eye(768, dtype=torch.float64).view(768, 3, 16, 16)
        norm = (d(basis) - at_zero).norm()
    assert float(penalty.detach()) == pytest.approx(float((norm.detach() - 1).square()), rel=1e-3)
    penalty.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in d.parameters() if p.ndim > 1)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradient_of_the_penalty_is_the_numeric_one(dropout: float) -> None:
    torch.manual_seed(0)
    d = _critic(dropout=dropout).double()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    weight = d.downs[1].weight

    def penalty() -> torch.Tensor:
        torch.manual_seed(3)
        leaf = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(d.head(d.features(leaf)).sum(), leaf, create_graph=True)
        return (gradient.flatten(1).norm(dim=1) - 1).square().mean()

    penalty().backward()
    slope = float(weight.grad[0, 0, 1, 1])
    values = []
    for change in (1e-5, -1e-5):
        with torch.no_grad():
            weight[0, 0, 1, 1] += change
        values.append(float(penalty().detach()))
        with torch.no_grad():
            weight[0, 0, 1, 1] -= change
    assert slope == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-3, abs=1e-7)


@pytest.mark.parametrize("options", [{"dropout": 1.0}, {"slope": 0.0}, {"init": "xavir"}, {"width": 0}])
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        WGANGPConfig(size=16, **options)


def test_a_whole_number_will_do_for_a_share() -> None:
    config = network_config("wgan-gp", {"size": 16, "dropout": 0})
    assert config.to_dict()["dropout"] == 0.0
    assert type(config.to_dict()["dropout"]) is float
