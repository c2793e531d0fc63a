"""R3GAN: identities at the start, mirrored networks, penalties through grouped convolutions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.networks.gan.r3gan import (
    Block,
    R3GANConfig,
    R3GANDiscriminator,
    R3GANGenerator,
    Transition,
    groups,
)
from plenish.networks.shared_batch import parts

LABELS = LabelSchema("categorical", ("a", "b", "c"))


def _config(**options: object) -> R3GANConfig:
    return R3GANConfig(**{"size": 16, "width": 8, "max_width": 16, "z_dim": 6, "group_width": 4, **options})


def _awake(network: nn.Module) -> nn.Module:
    """The network with its zeros replaced, as after some training."""
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.normal_(0, 0.1, generator=rng)
    return network


def _draw(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_counted_by_hand() -> None:
    config = _config(labels=LABELS)

    # 4 px: 16 maps, 8 px: 16 maps, 16 px: 8 maps; two blocks each, twice as wide inside, 4 maps a group.
    def block(width: int) -> int:
        inner = 2 * width
        return (width * inner + inner) + (inner * 4 * 9 + inner) + inner * width

    stages = 2 * (2 * block(16) + block(8)) + 16 * 8
    generator = 3 * 6 + 12 * 16 + 16 * 4 * 4 + stages + (8 * 3 + 3)
    discriminator = (3 * 8 + 8) + stages + 16 * 4 * 4 + (16 + 1) + 3 * 16
    assert _count(R3GANGenerator(config)) == generator
    assert _count(R3GANDiscriminator(config)) == discriminator


@pytest.mark.parametrize(
    ("maps", "width", "expected"), [(64, 16, 4), (8, 16, 1), (40, 16, 4), (7, 3, 7), (24, 16, 2)]
)
def test_groups_are_equal_and_no_wider_than_asked(maps: int, width: int, expected: int) -> None:
    assert groups(maps, width) == expected


def test_blocks_start_as_identities() -> None:
    x = _draw(2, 8, 5, 5)
    block = Block(8, _config(), 6)
    assert torch.equal(block(x), x)
    assert not torch.equal(_awake(block)(x), x)


def test_the_discriminator_is_linear_in_the_image_at_the_start() -> None:
    d = R3GANDiscriminator(_config())
    a, b = _draw(4, 3, 16, 16).chunk(2)
    assert torch.allclose(d(a + b), d(a) + d(b) - d(torch.zeros_like(a)), atol=1e-5)


def test_branches_are_scaled_by_the_number_of_blocks() -> None:
    few, many = (float(Block(64, _config(group_width=16), n).mix.weight.detach().std()) for n in (1, 16))
    assert few / many == pytest.approx(2, rel=0.05)
    # One block alone keeps He's variance: 2 / (1 + 0.2²) / fan-in.
    assert few == pytest.approx((2 / 1.04 / (16 * 9)) ** 0.5, rel=0.05)


def test_signals_keep_their_size_at_the_start() -> None:
    torch.manual_seed(0)
    config = _config(size=64, width=32, max_width=128, z_dim=64)
    g, d = R3GANGenerator(config), R3GANDiscriminator(config)
    images = g(_draw(16, 64))
    assert 0.3 < images.std() < 1.5
    assert 0.05 < d(_draw(16, 3, 64, 64) + images.detach()).std() < 3


def test_transitions_resample_and_project_in_whatever_order() -> None:
    x = _draw(2, 8, 6, 6)
    up, down = Transition(8, 4, up=True), Transition(8, 4, up=False)
    outside_in = up.project(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False))
    assert torch.allclose(up(x), outside_in, atol=1e-5)
    halved = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
    assert torch.allclose(down(x), down.project(halved), atol=1e-5)
    assert torch.equal(Transition(8, 8, up=False)(torch.ones(1, 8, 4, 4)), torch.ones(1, 8, 2, 2))


def test_images_do_not_depend_on_their_batch_and_parts_change_nothing() -> None:
    d = _awake(R3GANDiscriminator(_config(labels=LABELS)))
    x, y = _draw(6, 3, 16, 16), torch.eye(3).repeat(2, 1)
    with parts(2):
        together = d(x, y)
    assert torch.allclose(
        together, torch.cat([d(a, b) for a, b in zip(x.split(1), y.split(1), strict=True)]), atol=1e-5
    )


def test_the_label_is_projected() -> None:
    d = _awake(R3GANDiscriminator(_config(labels=LABELS)))
    x, y = _draw(3, 3, 16, 16), torch.eye(3)
    features = d.features(x, y)
    expected = (features * (d.head.weight + y @ d.projection.weight.t())).sum(1) + d.head.bias
    assert torch.allclose(d(x, y), expected, atol=1e-5)


def test_gradients_reach_everything_once_the_zeros_are_gone() -> None:
    g, d = (_awake(made(_config(labels=LABELS))) for made in (R3GANGenerator, R3GANDiscriminator))
    y = torch.eye(3)
    d(g(_draw(3, 6), y), y).sum().backward()
    for network in (g, d):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.any(), name


def test_a_gradient_penalty_has_the_numerical_derivative() -> None:
    d = _awake(R3GANDiscriminator(_config(size=12, width=4, max_width=4, blocks=1))).double()
    x = _draw(2, 3, 12, 12, dtype=torch.float64).requires_grad_()

    def penalty() -> Tensor:
        (gradient,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
        return gradient.square().sum()

    weight = d.stages_down[0].mix.weight
    (exact,) = torch.autograd.grad(penalty(), weight)
    direction = _draw(*weight.shape, dtype=torch.float64)
    values = []
    for step in (1e-6, -2e-6):
        weight.data += step * direction
        values.append(penalty().item())
    assert (exact * direction).sum().item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-5)


def test_a_gradient_penalty_is_finite_in_bfloat16() -> None:
    d = _awake(R3GANDiscriminator(_config())).to(memory_format=torch.channels_last)
    x = _draw(4, 3, 16, 16).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16), parts(2):
        (gradient,) = torch.autograd.grad(d(x).sum(), x, create_graph=True)
    gradient.float().square().sum().backward()
    grads = [p.grad for name, p in d.named_parameters() if not name.endswith("head.bias") and p.ndim > 1]
    assert all(grad is not None and torch.isfinite(grad).all() and grad.any() for grad in grads)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"blocks": 0}, "blocks"),
        ({"group_width": 0}, "group_width"),
        ({"max_width": 2}, "network.width .* network.max_width, which is 2, and is 8"),
    ],
)
def test_wrong_options_are_refused(wrong: dict, told: str) -> None:
    with pytest.raises(InputError, match=told):
        _config(**wrong)
