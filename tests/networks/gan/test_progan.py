"""Growth, fade-in and layers of the progressive GAN against what the paper says of them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional as F

from plenish.datasets.schema import LabelSchema
from plenish.networks.gan import build, network_config
from plenish.networks.gan.progan import (
    EqualizedConv2d,
    EqualizedLinear,
    minibatch_deviation,
    pixel_norm,
)
from plenish.networks.shared_batch import parts

LABELS = LabelSchema("categorical", ("a", "b", "c"))


def _networks(size: int = 32, labels: LabelSchema = LABELS, **options: object):
    torch.manual_seed(0)
    small = {"size": size, "labels": labels, "width": 4, "max_width": 16, "z_dim": 8}
    return build("progan", network_config("progan", small | options))


def _inputs(g, n: int = 4) -> tuple[Tensor, Tensor]:
    return g.sample_prior(n, torch.Generator().manual_seed(1)), torch.eye(3)[torch.arange(n) % 3]


def _doubled(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize(("size", "sizes"), [(32, [4, 8, 16, 32]), (160, [5, 10, 20, 40, 80, 160])])
def test_every_stage_makes_and_takes_its_size(size: int, sizes: list[int]) -> None:
    g, d = _networks(size)
    assert g.stages == d.stages == len(sizes)
    assert (g.stage, g.alpha) == (g.stages - 1, 1.0)
    z, y = _inputs(g, 2)
    for stage, side in enumerate(sizes):
        for alpha in (0.3, 1.0):
            g.grow(stage, alpha)
            d.grow(stage, alpha)
            image = g(z, y)
            assert image.shape == (2, 3, side, side)
            assert g.stage_size(stage) == side
            assert d(image, y).shape == (2,)
    d.grow(0)
    with pytest.raises(ValueError, match=f"images of {size} px"):
        d(image, y)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_at_alpha_0_the_grown_networks_do_what_the_old_ones_did(stage: int) -> None:
    g, d = _networks()
    z, y = _inputs(g)
    g.grow(stage - 1)
    d.grow(stage - 1)
    old = g(z, y)
    image = torch.randn(4, 3, g.stage_size(stage), g.stage_size(stage))
    judged = d(F.avg_pool2d(image, 2), y)
    g.grow(stage, 0.0)
    d.grow(stage, 0.0)
    assert torch.equal(g(z, y), _doubled(old))
    assert torch.equal(d(image, y), judged)


def test_fading_is_linear_in_image_space() -> None:
    g, _ = _networks()
    z, y = _inputs(g)
    images = {}
    for alpha in (0.0, 0.25, 1.0):
        g.grow(3, alpha)
        images[alpha] = g(z, y)
    assert torch.allclose(images[0.25], 0.75 * images[0.0] + 0.25 * images[1.0], atol=1e-5)
    assert not torch.allclose(images[0.0], images[1.0], atol=0.1)


def test_layers_of_other_stages_get_no_gradient() -> None:
    g, d = _networks()
    z, y = _inputs(g)

    def reached(stage: int, alpha: float) -> set[str]:
        for network in (g, d):
            network.grow(stage, alpha)
            network.zero_grad()
        d(g(z, y), y).sum().backward()
        return {
            ".".join(name.split(".")[:2])
            for network in (g, d)
            for name, parameter in network.named_parameters()
            if parameter.grad is not None and name.count(".") > 1
        }

    assert reached(0, 1.0) == {"to_image.0", "from_image.0"}
    assert reached(1, 0.5) == {"to_image.0", "from_image.0", "to_image.1", "from_image.1", "ups.0", "downs.0"}
    assert reached(1, 1.0) == {"to_image.1", "from_image.1", "ups.0", "downs.0"}


def test_stage_and_alpha_survive_saving_and_copying() -> None:
    g, d = _networks()
    z, y = _inputs(g)
    for network in (g, d):
        network.grow(2, 1 / 3)
    again, judge = _networks()
    again.load_state_dict(load(save(g.state_dict())))
    judge.load_state_dict(load(save(d.state_dict())))
    for network in (again, judge, copy.deepcopy(g)):
        assert (network.stage, network.alpha) == (2, 1 / 3)
    assert torch.equal(again(z, y), g(z, y))
    assert torch.equal(judge(g(z, y), y), d(g(z, y), y))


@pytest.mark.parametrize(("stage", "alpha"), [(4, 1.0), (-1, 1.0), (2, 1.5), (2, -0.1)])
def test_impossible_stages_are_refused(stage: int, alpha: float) -> None:
    for network in _networks():
        with pytest.raises(ValueError, match="no stage"):
            network.grow(stage, alpha)


def test_parameters_at_1024_px() -> None:
    # z 256; 256 maps to 32 px, then half of them at every doubling, 8 at 1024 px. The generator's count is
    # that of the layer list behind the recipe. That list's discriminator widens from a to b in a block's
    # first convolution; here it is the second, as in the paper's table 2, which saves 9·(b² − a²) + b − a.
    with torch.device("meta"):
        g, d = build(
            "progan", network_config("progan", {"size": 1024, "z_dim": 256, "width": 8, "max_width": 256})
        )
    assert sum(p.numel() for p in g.parameters()) == 5_772_979
    saved = sum(9 * (b * b - a * a) + b - a for a, b in ((8, 16), (16, 32), (32, 64), (64, 128), (128, 256)))
    assert sum(p.numel() for p in d.parameters()) == 6_366_529 - saved


@pytest.mark.parametrize(
    ("options", "widths"),
    [
        ({"size": 160, "width": 32, "min_width": 64, "max_width": 256}, [256, 256, 256, 128, 64, 64]),
        ({"size": 32, "width": 8, "max_width": 256}, [64, 32, 16, 8]),
        ({"size": 128, "width": 8, "width_at": 1024, "max_width": 256}, [256, 256, 256, 256, 128, 64]),
        ({"size": 160, "width": 8, "width_at": 1024, "max_width": 256}, [256, 256, 256, 256, 128, 64]),
        ({"size": 64, "width": 64, "width_at": 32, "max_width": 256}, [256, 256, 128, 64, 32]),
    ],
)
def test_widths(options: dict[str, int], widths: list[int]) -> None:
    assert network_config("progan", options).widths() == widths


@pytest.mark.parametrize("make", [lambda: EqualizedConv2d(64, 96), lambda: EqualizedLinear(576, 96)])
def test_equalized_layers_draw_n01_and_keep_the_scale_of_rectified_inputs(make) -> None:
    torch.manual_seed(0)
    layer = make()
    assert layer.weight.detach().std() == pytest.approx(1, rel=0.02)
    shape = (8, 64, 16, 16) if layer.weight.ndim == 4 else (2000, 576)
    # He et al. 2015: with gain √2 a rectified input of mean square 1/2 gives an output of variance 1.
    with torch.no_grad():
        out = layer(torch.randn(shape).relu())
    inside = out[:, :, 1:-1, 1:-1] if out.ndim == 4 else out
    assert inside.square().mean() == pytest.approx(1, rel=0.1)
    # The optimiser sees weights of one scale: their gradient carries He's constant.
    plain = layer.weight.detach().clone().requires_grad_()
    x = torch.ones(1, *shape[1:])
    (gradient,) = torch.autograd.grad(layer(x).sum(), layer.weight)
    bare = F.conv2d(x, plain, padding=1) if plain.ndim == 4 else F.linear(x, plain)
    (unscaled,) = torch.autograd.grad(bare.sum(), plain)
    assert torch.allclose(gradient, unscaled * math.sqrt(2 / 576), rtol=1e-4)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16])
def test_pixel_norm_has_unit_mean_square(kind: torch.dtype) -> None:
    x = torch.randn(2, 64, 5, 5, generator=torch.Generator().manual_seed(0)).mul(30).to(kind)
    square = pixel_norm(x, 0.2).float().square().mean(1)
    assert torch.allclose(square, torch.ones_like(square), atol=1e-5 if kind is torch.float32 else 0.01)


def test_pixel_norm_is_the_formula_and_differentiable_twice() -> None:
    x = torch.randn(2, 5, 3, 3, dtype=torch.float64, requires_grad=True)
    bent = F.leaky_relu(x, 0.2)
    assert torch.allclose(pixel_norm(x, 0.2), bent / (bent.square().mean(1, keepdim=True) + 1e-8).sqrt())
    assert torch.autograd.gradcheck(lambda t: pixel_norm(t, 0.2), x, atol=1e-6)
    assert torch.autograd.gradgradcheck(lambda t: pixel_norm(t, 0.2), x, atol=1e-6)


def test_minibatch_deviation_of_each_part() -> None:
    same = torch.randn(1, 4, 3, 3).expand(6, -1, -1, -1)
    # Two values ±s at each place have the standard deviation s.
    spread = same + 0.7 * torch.tensor([1.0, -1.0] * 3)[:, None, None, None]
    with parts(2):
        maps = minibatch_deviation(torch.cat([same, spread]))
    assert maps.shape == (12, 1, 3, 3)
    assert torch.allclose(maps[:6], torch.full_like(maps[:6], 1e-4), atol=1e-5)
    assert torch.allclose(maps[6:], torch.full_like(maps[6:], 0.7), atol=1e-3)


def test_the_discriminator_is_differentiable_twice() -> None:
    _, d = _networks(12, width=2, max_width=4)
    d = d.double()
    d.grow(1, 0.6)
    y = torch.eye(3, dtype=torch.float64)[:2]
    x = torch.randn(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda t: d(t, y), x, atol=1e-4, fast_mode=True)


def test_truncation_shortens_the_point_on_the_sphere() -> None:
    g, _ = _networks()
    z, y = _inputs(g)
    w = g.mapping(z, y)
    assert torch.allclose(w.square().mean(2), torch.ones(4, 1), atol=1e-5)
    assert not torch.allclose(g.synthesis(g.truncate(w, 0.5), y), g.synthesis(w, y), atol=1e-2)
