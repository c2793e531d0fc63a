from __future__ import annotations

import pytest
import torch
from torch import nn

from plenish.errors import InputError
from plenish.networks.gan import build
from plenish.networks.gan.dcgan import NORMS, DCGANConfig
from plenish.networks.layers import INITIALISATIONS
from plenish.networks.shared_batch import parts


def _count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def _discriminator(**options: object) -> nn.Module:
    return build("dcgan", DCGANConfig(size=16, width=8, max_width=16, **options))[1]


def test_the_small_model_of_digits_has_its_published_parameters_and_some_biases() -> None:
    g, d = build("dcgan", DCGANConfig(size=28, channels=1, width=64, max_width=128))
    assert _count(g) == 759_680 + 1
    assert _count(d) == 138_624 + 64 + 1


@pytest.mark.parametrize("norm", NORMS)
def test_normalisations_of_the_discriminator_train_it(norm: str) -> None:
    torch.manual_seed(0)
    d = _discriminator(d_norm=norm, dropout=0.2)
    x = torch.randn(4, 3, 16, 16, requires_grad=True)
    with parts(2):
        (gradient,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
        (d(x).square().sum() + gradient.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in d.parameters())


def test_spectral_norm_bounds_every_layer() -> None:
    torch.manual_seed(0)
    d = _discriminator(d_norm="spectral")
    x = torch.randn(2, 3, 16, 16)
    for _ in range(50):
        d(x)
    for layer in (d.first, *d.downs, d.head):
        largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
        assert float(largest) == pytest.approx(1, rel=0.05)


def test_spectral_norm_looks_once_a_pass() -> None:
    d = _discriminator(d_norm="spectral")
    passes: list[int] = []
    norm = d.downs[0].parametrizations.weight[0]
    norm.register_forward_hook(lambda *_: passes.append(1))
    d(torch.randn(2, 3, 16, 16))
    assert len(passes) == 1


def test_without_batch_norm_images_are_judged_alone() -> None:
    x = torch.randn(4, 3, 16, 16)
    for norm in ("instance", "none"):
        d = _discriminator(d_norm=norm)
        assert torch.allclose(d(x), torch.cat([d(x[i : i + 1]) for i in range(4)]), atol=1e-5)
    d = _discriminator(d_norm="batch")
    assert not torch.allclose(d(x), torch.cat([d(x[:2]), d(x[2:])]), atol=1e-5)


def test_slope_is_that_of_negative_numbers() -> None:
    # With a slope near 1 nothing bends: two images' judgements add up.
    d = _discriminator(d_norm="none", slope=0.9999999)
    x = torch.randn(2, 3, 16, 16)
    assert torch.allclose(
        d(x.sum(0, keepdim=True)), d(x).sum()[None] - d(torch.zeros(1, 3, 16, 16)), atol=1e-3
    )


def test_initialisations_have_their_spread() -> None:
    torch.manual_seed(0)
    spread = {}
    for init in INITIALISATIONS:
        g, _ = build("dcgan", DCGANConfig(size=32, width=32, init=init))
        spread[init] = float(g.ups[0].weight.detach().std())
    weight = g.ups[0].weight
    fan_in, fan_out = weight[0].numel(), weight.shape[0] * 16
    assert spread["normal"] == pytest.approx(0.02, rel=0.02)
    assert spread["xavier"] == pytest.approx((2 / (fan_in + fan_out)) ** 0.5, rel=0.02)
    assert spread["kaiming"] == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)
    rows = build("dcgan", DCGANConfig(size=32, width=32, init="orthogonal"))[0].ups[0].weight.flatten(1)
    assert torch.allclose(rows @ rows.T, torch.eye(len(rows)), atol=1e-4)


@pytest.mark.parametrize(
    "options", [{"d_norm": "bath"}, {"init": "normale"}, {"dropout": 1.0}, {"slope": 0.0}, {"kernel": 3}]
)
def test_impossible_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(InputError):
        DCGANConfig(size=16, **options)
