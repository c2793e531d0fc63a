"""Parameter counts, spectral norm, attention and label conditioning of the self-attention GAN."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.nn import functional as F

from plenish.datasets.schema import LabelSchema
from plenish.networks.attention import SelfAttention, attend
from plenish.networks.gan import build, network_config
from plenish.networks.gan.sagan import ConditionalBatchNorm, SpectralConv2d, SpectralLinear, draw_orthogonal

SEVEN = LabelSchema("categorical", tuple("abcdefg"))


def _networks(**options: object):
    torch.manual_seed(0)
    small = {"size": 32, "labels": SEVEN, "width": 8, "max_width": 32, "z_dim": 12}
    return build("sagan", network_config("sagan", small | options))


def _convolution(a: int, b: int, kernel: int = 3) -> int:
    return a * b * kernel * kernel + b


def _attention(channels: int) -> int:
    narrow, wide = channels // 8, channels // 2
    return 2 * channels * narrow + channels * wide + wide * channels + 1


def _generator_by_hand(widths: list[int], attended: int) -> int:
    blocks = sum(
        _convolution(a, b) + _convolution(b, b) + _convolution(a, b, 1) + 2 * 7 * (a + b)
        for a, b in itertools.pairwise(widths)
    )
    project = 128 * 16 * widths[0] + 16 * widths[0]
    return project + blocks + _attention(attended) + 2 * widths[-1] + _convolution(widths[-1], 3)


def _discriminator_by_hand(widths: list[int], attended: int) -> int:
    blocks = sum(
        _convolution(a, b) + _convolution(b, b) + (_convolution(a, b, 1) if a != b else 0)
        for a, b in itertools.pairwise(widths)
    )
    return blocks + _attention(attended) + widths[-1] + 1 + 7 * widths[-1]


@pytest.mark.parametrize(
    ("size", "widths_g", "attended_g", "widths_d", "published"),
    [
        (128, [1024, 1024, 512, 256, 128, 64], 128, [3, 64, 128, 256, 512, 1024, 1024], (32230404, 38431426)),
        (64, [1024, 512, 256, 128, 64], 64, [3, 64, 128, 256, 512, 1024], (12260356, 19555010)),
    ],
)
def test_the_published_numbers_of_parameters(
    size: int, widths_g: list[int], attended_g: int, widths_d: list[int], published: tuple[int, int]
) -> None:
    with torch.device("meta"):
        g, d = build("sagan", network_config("sagan", {"size": size, "labels": SEVEN}))
    by_hand = _generator_by_hand(widths_g, attended_g), _discriminator_by_hand(widths_d, 64)
    assert tuple(sum(p.numel() for p in network.parameters()) for network in (g, d)) == by_hand == published


def _layers() -> list[nn.Module]:
    torch.manual_seed(0)
    layers = [SpectralConv2d(6, 10), SpectralConv2d(3, 40), SpectralLinear(20, 30)]
    for layer in layers:
        nn.init.normal_(layer.weight)
    return layers


def _largest(weight: Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))


def test_power_iteration_finds_the_largest_singular_value() -> None:
    for layer in _layers():
        for _ in range(300):
            layer.normed()
        assert _largest(layer.normed()) == pytest.approx(1, abs=1e-3)
        assert torch.allclose(layer.normed() * _largest(layer.weight), layer.weight, rtol=1e-3, atol=1e-4)


def test_orthogonal_weights_are_normed_from_the_start() -> None:
    for network in _networks():
        for layer in network.modules():
            if isinstance(layer, (SpectralConv2d, SpectralLinear)):
                assert _largest(layer.normed()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("shape", [(64, 30, 3, 3), (300, 7, 3, 3), (70, 80, 1, 1), (20, 3, 3, 3)])
def test_drawn_weights_are_orthonormal_the_shorter_way(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    weight = torch.empty(shape)
    draw_orthogonal(weight)
    matrix = weight.flatten(1)
    matrix = matrix if len(matrix) <= matrix.shape[1] else matrix.t()
    assert torch.allclose(matrix @ matrix.t(), torch.eye(len(matrix)), atol=1e-5)


def test_only_training_moves_the_power_iteration() -> None:
    layer = _layers()[0]
    layer.eval()
    before = layer.u.clone()
    assert torch.equal(layer.normed(), layer.normed())
    assert torch.equal(layer.u, before)
    layer.train().normed()
    assert not torch.equal(layer.u, before)


def test_spectral_norm_does_not_depend_on_the_memory_layout() -> None:
    plain = _layers()[0]
    laid_out = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    for _ in range(3):
        expected, found = plain.normed(), laid_out.normed()
        assert torch.allclose(expected, found, atol=1e-6)


def test_gradient_at_the_largest_singular_value_is_that_of_the_matrix_norm() -> None:
    for layer in _layers():
        layer.double().eval()
        matrix = layer.weight.detach().movedim(1, -1).flatten(1) if layer.weight.ndim == 4 else layer.weight
        layer.u = torch.linalg.svd(matrix.detach(), full_matrices=False)[0][:, 0].contiguous()
        wanted = torch.randn_like(layer.weight)
        found, expected = (
            torch.autograd.grad((normed * wanted).sum(), layer.weight)[0]
            for normed in (
                layer.normed(),
                layer.weight / torch.linalg.matrix_norm(layer.weight.flatten(1), 2),
            )
        )
        assert torch.allclose(found, expected, atol=1e-8)


def test_second_gradient_of_the_normed_weight_equals_that_of_the_formula() -> None:
    layer = _layers()[0].double().eval()
    x = torch.randn(10, 6, 3, 3, dtype=torch.float64)

    def second(normed: Tensor) -> Tensor:
        (first,) = torch.autograd.grad((normed * x).sin().sum(), layer.weight, create_graph=True)
        return torch.autograd.grad(first.square().sum(), layer.weight)[0]

    matrix = layer.weight.movedim(1, -1).flatten(1)
    v = F.normalize(matrix.detach().t() @ layer.u, dim=0)
    assert torch.allclose(second(layer.normed()), second(layer.weight / (layer.u @ matrix @ v)))


def test_attention_begins_as_the_identity_and_is_the_formula() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(16, lambda a, b: nn.Conv2d(a, b, 1, bias=False))
    x = torch.randn(2, 16, 6, 6)
    assert torch.equal(attention(x), x)
    with torch.no_grad():
        attention.gamma.fill_(1.0)
    assert attention.query.out_channels == attention.key.out_channels == 2
    assert attention.value.out_channels == 8
    key, value = F.max_pool2d(attention.key(x), 2), F.max_pool2d(attention.value(x), 2)
    for row, column in ((0, 0), (3, 5)):
        asked = attention.query(x)[:, :, row, column]
        weights = torch.softmax(torch.einsum("nc,nchw->nhw", asked, key).flatten(1), 1)
        mixed = torch.einsum("np,ncp->nc", weights, value.flatten(2))
        expected = x[:, :, row, column] + F.conv2d(mixed[:, :, None, None], attention.out.weight)[:, :, 0, 0]
        assert torch.allclose(attention(x)[:, :, row, column], expected, atol=1e-5)


def test_attention_in_blocks_equals_attention_at_once_in_value_and_gradients() -> None:
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(2, *shape, dtype=torch.float64) for shape in ((900, 3), (40, 3), (40, 5))
    )
    arguments = tuple(tensor.requires_grad_() for tensor in (query, key, value))
    outs = attend(*arguments), torch.softmax(query @ key.transpose(1, 2), -1) @ value
    assert torch.allclose(*outs)
    firsts = [torch.autograd.grad(out.sin().sum(), arguments, retain_graph=True) for out in outs]
    seconds = []
    for out in outs:
        first = torch.autograd.grad(out.sin().sum(), arguments, create_graph=True)
        seconds.append(torch.autograd.grad(sum(g.square().sum() for g in first), arguments))
    for ours, theirs in (*zip(*firsts, strict=True), *zip(*seconds, strict=True)):
        assert torch.allclose(ours, theirs)


@pytest.mark.parametrize(
    ("size", "of_g", "of_d"),
    [(16, 16, 8), (32, 32, 16), (64, 64, 32), (96, 48, 48), (128, 64, 64), (256, 64, 64)],
)
def test_attention_stands_at_the_largest_map_up_to_64(size: int, of_g: int, of_d: int) -> None:
    g, d = _networks(size=size, width=4, max_width=8)
    seen: list[int] = []
    for network in (g, d):
        network.attention.register_forward_hook(lambda _, args, __: seen.append(args[0].shape[2]))
    y = torch.eye(7)[:1]
    d(g(torch.randn(1, 12), y), y)
    assert seen == [of_g, of_d]
    assert not any(isinstance(m, SelfAttention) for net in _networks(attention=0) for m in net.modules())


def test_conditional_batch_norm_mixes_with_soft_labels() -> None:
    torch.manual_seed(0)
    layer = ConditionalBatchNorm(4, 3)
    x = torch.randn(12, 4, 5, 5) * 3 + 1
    y = torch.softmax(torch.randn(12, 3), 1)
    normed = (x - x.mean((0, 2, 3), keepdim=True)) / (
        x.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5
    ).sqrt()
    gain = 1 + y @ layer.gain.weight.t()
    shift = y @ layer.shift.weight.t()
    expected = F.relu(normed * gain[:, :, None, None] + shift[:, :, None, None])
    assert torch.allclose(layer(x, y), expected, atol=1e-4)


def test_without_labels_there_is_neither_conditioning_nor_projection() -> None:
    g, d = _networks(labels=LabelSchema())
    assert d.projection is None
    norms = [layer for layer in g.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert all(norm.affine for norm in norms)


def test_the_projection_is_linear_in_the_label() -> None:
    _, d = _networks()
    d.eval()
    x = torch.randn(3, 3, 32, 32)
    y = torch.softmax(torch.randn(3, 7), 1)
    each = torch.stack([d(x, torch.eye(7)[k].expand(3, -1)) for k in range(7)], 1)
    assert torch.allclose(d(x, y), (each * y).sum(1), atol=1e-3)


def test_the_next_step_is_the_same_from_saved_weights() -> None:
    _, d = _networks()
    x, y = torch.randn(2, 3, 32, 32), torch.eye(7)[:2]
    for _ in range(3):
        d(x, y)
    _, again = _networks()
    again.load_state_dict(load(save(d.state_dict())))
    for _ in range(2):
        assert torch.equal(again(x, y), d(x, y))


def test_the_discriminator_is_differentiable_twice() -> None:
    _, d = _networks(size=12, width=8, max_width=8, labels=LabelSchema())
    d = d.double().eval()
    with torch.no_grad():
        d.attention.gamma.fill_(0.7)
    x = torch.randn(1, 3, 12, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda t: d(t), x, atol=1e-4, fast_mode=True)
