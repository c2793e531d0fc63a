"""StyleGAN2: identities of its layers, its published size, and its second derivatives."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.networks.gan import build, network_config
from plenish.networks.gan import modulated as layers
from plenish.networks.shared_batch import parts

LABELS = LabelSchema("categorical", ("a", "b", "c"))
TAPS = torch.outer(torch.tensor([1.0, 3.0, 3.0, 1.0]), torch.tensor([1.0, 3.0, 3.0, 1.0])) / 64


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def _networks(**options: object):
    small = {"size": 16, "width": 8, "max_width": 16, "z_dim": 6, "w_dim": 7, "mapping_layers": 2}
    return build("stylegan2", network_config("stylegan2", {**small, **options}))


def _parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_pixel_norm_has_unit_mean_square() -> None:
    normed = layers.pixel_norm(7 * torch.randn(5, 40))
    assert torch.allclose(normed.square().mean(1), torch.ones(5), atol=1e-5)


@pytest.mark.parametrize("rate", [1.0, 0.01])
def test_dense_keeps_unit_variance_and_learns_at_its_rate(rate: float) -> None:
    layer = layers.Dense(256, 512, rate=rate, bias=0.5)
    x = torch.randn(300, 256)
    out = layer(x)
    assert float(out.detach().std()) == pytest.approx(1.0, rel=0.03)
    assert float(out.detach().mean()) == pytest.approx(0.5, abs=0.02)
    # Adam moves a stored weight by the learning rate: the effective one moves by rate/sqrt(256) of it.
    with torch.no_grad():
        layer.weight += 1
    assert torch.allclose(layer(x) - out, x.sum(1, keepdim=True).expand_as(out) * rate / 16, atol=1e-4)
    active = layers.Dense(256, 512, rate=rate, active=True)(x)
    assert float(active.detach().square().mean()) == pytest.approx(2 * (1 + 0.2**2) / 2, rel=0.03)


@pytest.mark.parametrize("up", [False, True])
def test_modulation_equals_explicit_weights_for_each_sample(up: bool) -> None:
    layer = layers.ModulatedConvolution(6, 5, 7, 16 if up else 8, up=up)
    nn.init.normal_(layer.bias)
    nn.init.constant_(layer.noise_strength, 0.7)
    x, w = torch.randn(3, 6, 8, 8), torch.randn(3, 7)
    style = layer.affine(w)
    weights = layer.weight[None] * style[:, None, :, None, None]
    weights = weights / weights.square().sum((2, 3, 4), keepdim=True).sqrt()
    for i in range(3):
        if up:
            # Zero insertion, convolution, and the filter that makes up for the zeros.
            spread = torch.zeros(1, 6, 17, 17)
            spread[:, :, 1::2, 1::2] = x[i : i + 1]
            out = F.conv2d(spread, weights[i].flip(2, 3), padding=1)
            out = F.conv2d(out, 4 * TAPS.expand(5, 1, 4, 4), padding=1, groups=5)
        else:
            out = F.conv2d(x[i : i + 1], weights[i], padding=1)
        expected = math.sqrt(2) * F.leaky_relu(out + layer.bias[:, None, None] + 0.7 * layer.noise, 0.2)
        assert torch.allclose(layer(x, w, "constant")[i : i + 1], expected, atol=1e-4)


def test_demodulation_gives_unit_variance() -> None:
    layer = layers.ModulatedConvolution(64, 48, 16, 32, up=False)
    x, w = torch.randn(2, 64, 32, 32), 3 * torch.randn(2, 16)
    # The mean square behind leaky ReLU 0.2 with gain √2 of N(0, 1) is 1 + 0.2²; styles have any scale.
    out = layer(x, w)[:, :, 1:-1, 1:-1]
    assert float(out.detach().square().mean()) == pytest.approx(1.04, rel=0.03)
    style = layer.affine(w)
    modulated = layer.weight[None] * (style[:, None] * layer.demodulation(style)[:, :, None])[..., None, None]
    assert torch.allclose(modulated.square().sum((2, 3, 4)), torch.ones(2, 48), atol=1e-5)


def test_noise_has_the_learned_strength() -> None:
    layer = layers.ModulatedConvolution(4, 4, 7, 64, up=False)
    x, w = torch.randn(2, 4, 64, 64), torch.randn(2, 7)
    assert torch.equal(layer(x, w, "random"), layer(x, w, "none"))
    nn.init.constant_(layer.noise_strength, 0.5)
    nn.init.constant_(layer.bias, 100.0)  # All within the linear part.
    added = (layer(x, w, "random") - layer(x, w, "none")) / math.sqrt(2)
    assert float(added.detach().std()) == pytest.approx(0.5, rel=0.03)
    assert torch.allclose(added[:, :1].expand_as(added), added, atol=1e-4)
    assert not torch.allclose(added[0], added[1])
    fixed = (layer(x, w, "constant") - layer(x, w, "none")) / math.sqrt(2)
    assert torch.allclose(fixed, 0.5 * layer.noise.expand_as(fixed), atol=1e-4)


def test_minibatch_deviation_by_hand() -> None:
    # Two parts of four images in groups of two: images 0 and 2 are a group, 1 and 3 the other.
    values = torch.tensor([0.0, 1.0, 4.0, 1.0, 10.0, 0.0, 10.0, 6.0])
    x = values[:, None, None, None].expand(8, 3, 2, 2)
    with parts(2):
        added = layers.minibatch_deviation(x, 2)
    assert added.shape == (8, 4, 2, 2)
    assert torch.equal(added[:, :3], x)
    expected = torch.tensor([2.0, 0.0, 2.0, 0.0, 0.0, 3.0, 0.0, 3.0])
    assert torch.allclose(added[:, 3], expected[:, None, None].expand(8, 2, 2), atol=2e-4)
    # A part that four does not divide: 6 images, groups of 3.
    six = torch.randn(6, 2, 3, 3)
    by_hand = six[[0, 2, 4]].var(0, unbiased=False).sqrt().mean()
    assert layers.minibatch_deviation(six, 4)[0, 2, 0, 0] == pytest.approx(float(by_hand), rel=1e-4)


def test_parts_of_a_batch_do_not_see_each_other() -> None:
    _, d = _networks(labels=LABELS)
    x, y = torch.randn(8, 3, 16, 16), torch.softmax(torch.randn(8, 3), 1)
    with parts(2):
        together = d(x, y)
    assert torch.allclose(together, torch.cat([d(x[:4], y[:4]), d(x[4:], y[4:])]), atol=1e-5)
    assert not torch.allclose(together, d(x, y), atol=1e-5)


def test_published_number_of_parameters() -> None:
    # FFHQ at 1024 px: 32 maps at full resolution, at most 512. The paper says 30.0 million for G; its layers
    # sum to 30.4.
    g, d = build("stylegan2", network_config("stylegan2", {"size": 1024, "width": 32, "max_width": 512}))
    maps = [512, 512, 512, 512, 512, 256, 128, 64, 32]  # 4, 8, ... 1024 px

    def modulated(a: int, b: int) -> int:
        return 512 * a + a + 9 * a * b + b + 1  # style, kernel, bias, strength of the noise

    by_hand = 8 * (512 * 512 + 512) + 512 * 4 * 4 + modulated(512, 512)
    by_hand += sum(modulated(a, b) + modulated(b, b) for a, b in itertools.pairwise(maps))
    by_hand += sum(512 * a + a + 3 * a + 3 for a in maps)
    assert _parameters(g) == by_hand
    assert by_hand == 30_370_060
    assert g.num_ws == 18
    by_hand = 3 * 32 + 32
    for a, b in itertools.pairwise(maps[::-1]):
        by_hand += (9 * a * a + a) + (9 * a * b + b) + a * b
    by_hand += (9 * 513 * 512 + 512) + (512 * 16 * 512 + 512) + (512 + 1)
    assert _parameters(d) == by_hand


def test_each_style_belongs_to_its_layers_in_order() -> None:
    g, _ = _networks()
    g.eval()
    assert g.num_ws == 6
    w = g.mapping(torch.randn(2, 6))
    whole = g.synthesis(w, noise="none")
    # The last style reaches only the last image: subtracting that image leaves what does not depend on it.
    other = w.clone()
    other[:, 5] = torch.randn(2, 7)
    seen: list[Tensor] = []
    hook = g.images[-1].register_forward_hook(lambda _, __, out: seen.append(out))
    a, b = g.synthesis(w, noise="none"), g.synthesis(other, noise="none")
    hook.remove()
    assert torch.equal(a, whole)
    assert not torch.allclose(a, b)
    assert torch.allclose(a - seen[0], b - seen[1], atol=1e-5)
    # What each layer was given.
    given: dict[str, Tensor] = {}
    for name, layer in g.named_modules():
        if isinstance(layer, (layers.ModulatedConvolution, layers.ToImage)):
            layer.register_forward_pre_hook(lambda _, args, name=name: given.__setitem__(name, args[1]))
    distinct = torch.randn(1, 6, 7)
    g.synthesis(distinct, noise="none")
    order = {f"convolutions.{i}": i for i in range(5)} | {f"images.{i}": 2 * i + 1 for i in range(3)}
    assert set(given) == set(order)
    for name, index in order.items():
        assert torch.equal(given[name], distinct[:, index])


def test_noise_modes_of_the_generator() -> None:
    g, _ = _networks()
    for layer in g.convolutions:
        nn.init.constant_(layer.noise_strength, 0.5)
    z = torch.randn(2, 6)
    w = g.mapping(z)
    assert torch.equal(g.synthesis(w, noise="constant"), g.synthesis(w, noise="constant"))
    assert not torch.equal(g.synthesis(w), g.synthesis(w))
    assert not torch.equal(g.synthesis(w, noise="none"), g.synthesis(w, noise="constant"))
    assert not torch.equal(g.train()(z), g(z))
    assert torch.equal(g.eval()(z), g(z))


def test_a_continuous_label_keeps_its_magnitude() -> None:
    g, d = _networks(labels=LabelSchema("continuous", ("age",)))
    z, y = torch.randn(1, 6), torch.tensor([[0.3]])
    assert not torch.allclose(g.mapping(z, y), g.mapping(z, 3 * y), atol=1e-4)
    x = torch.randn(1, 3, 16, 16)
    assert not torch.allclose(d(x, y), d(x, 3 * y), atol=1e-6)


def test_path_length_and_its_gradient_are_right() -> None:
    g, _ = _networks(width=2, max_width=4, channels=1)
    g = g.double()
    w = g.mapping(torch.randn(2, 6, dtype=torch.float64)).detach().clone().requires_grad_()
    direction = torch.randn(2, 1, 16, 16, dtype=torch.float64)

    def lengths(weight: Tensor | None = None) -> Tensor:
        image = g.synthesis(w, noise="none")
        (slope,) = torch.autograd.grad((image * direction).sum(), w, create_graph=True)
        return slope.square().sum(2).mean(1).sqrt().sum()

    (first,) = torch.autograd.grad(lengths(), w)
    assert torch.isfinite(first).all()
    _check_numerically(lengths, w, first)
    parameters = [p for p in g.convolutions.parameters() if p.ndim == 4]
    for parameter, gradient in zip(parameters, torch.autograd.grad(lengths(), parameters), strict=True):
        _check_numerically(lengths, parameter, gradient)


def test_r1_and_its_gradient_are_right() -> None:
    _, d = _networks(width=2, max_width=4, labels=LABELS)
    d = d.double()
    x = torch.randn(4, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    y = torch.eye(3, dtype=torch.float64)[[0, 1, 2, 0]]

    def penalty() -> Tensor:
        (slope,) = torch.autograd.grad(d(x, y).sum(), x, create_graph=True)
        return slope.square().sum((1, 2, 3)).mean()

    parameters = [p for p in d.parameters() if p.ndim == 4]
    for parameter, gradient in zip(parameters, torch.autograd.grad(penalty(), parameters), strict=True):
        assert gradient.abs().sum() > 0
        _check_numerically(penalty, parameter, gradient)


def _check_numerically(value, at: Tensor, gradient: Tensor) -> None:
    """Compare a gradient with the central difference along a random direction."""
    direction = torch.randn_like(at)
    direction /= direction.norm()
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            at += sign * 1e-6 * direction
        ends.append(value().detach())
        with torch.no_grad():
            at -= sign * 1e-6 * direction
    assert float((ends[0] - ends[1]) / 2e-6) == pytest.approx(
        float((gradient * direction).sum()), rel=1e-3, abs=1e-6
    )


@pytest.mark.parametrize(
    "options", [{"width": 0}, {"width": 64, "max_width": 32}, {"mapping_layers": 0}, {"mbstd_group": -1}]
)
def test_impossible_options_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(InputError):
        network_config("stylegan2", options)
