"""One body of tests for every registered family: a new architecture is tested by existing."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.latent.exporting import exportable
from plenish.networks.gan import FAMILIES, build, family, network_config
from plenish.networks.layers import base_and_stages
from plenish.training import checkpoints
from plenish.training.engine import Engine
from plenish.training.gan.augment import Augment
from plenish.training.gan.growth import Growth
from plenish.training.gan.health import Limits
from plenish.training.gan.learner import GANLearner
from plenish.training.gan.method import Adversarial, Method
from plenish.training.gan.penalties import Penalty
from plenish.training.gan.state import GANState
from plenish.training.gan.step import step
from plenish.training.generator import GeneratorTask, Schedule
from plenish.training.learner import Clock
from plenish.training.model_files import TOLERANCE, Format, fold, largest_difference, write_model

TINY = {"width": 8, "max_width": 32, "z_dim": 12}
SCHEMAS = {
    "none": LabelSchema(),
    "categorical": LabelSchema("categorical", ("a", "b", "c")),
    "multilabel": LabelSchema("multilabel", ("a", "b", "c")),
    "continuous": LabelSchema("continuous", ("age",)),
}
ALIKE = {("onnx", "progan"), ("onnx", "wgan-gp")}
families = pytest.mark.parametrize("name", sorted(FAMILIES))


def _config(name: str, kind: str = "categorical", **options: object):
    return network_config(name, {**TINY, "size": 16, "labels": SCHEMAS[kind], **options})


def _networks(name: str, kind: str = "categorical", **options: object):
    return build(name, _config(name, kind, **options))


def _labels(kind: str, n: int) -> Tensor | None:
    width = SCHEMAS[kind].width
    return (
        torch.softmax(torch.randn(n, width, generator=torch.Generator().manual_seed(5)), 1) if width else None
    )


@families
@pytest.mark.parametrize("kind", SCHEMAS)
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_and_range(name: str, kind: str, channels: int) -> None:
    g, d = _networks(name, kind, channels=channels)
    for parameter in g.parameters():  # What starts at zero, such as the strength of noise, would hide itself.
        if not parameter.any():
            nn.init.normal_(parameter, 0, 0.1)
    z = g.sample_prior(5, torch.Generator().manual_seed(0))
    y = _labels(kind, 5)
    assert z.shape == (5, g.z_dim)
    w = g.mapping(z, y)
    assert w.shape == (5, g.num_ws, g.w_dim)
    image = g.eval().synthesis(w, y, noise="constant")
    assert image.shape == (5, channels, g.size, g.size)
    assert torch.equal(g(z, y), image)
    with torch.no_grad():
        far = g.synthesis(1e3 * w, y, noise="constant").abs().max()
    assert far <= 1 or not g.bounded
    assert d(image, y).shape == (5,)
    assert d.features(image, y).ndim == 2


@families
@pytest.mark.parametrize("size", [28, 32, 48, 64, 80, 96, 112, 128, 256])
def test_every_size_of_the_form_base_times_power_of_two(name: str, size: int) -> None:
    g, d = _networks(name, size=size, width=4, max_width=8)
    y = _labels("categorical", 2)
    image = g(g.sample_prior(2, torch.Generator().manual_seed(0)), y)
    assert image.shape == (2, 3, size, size)
    assert d(image, y).shape == (2,)


@families
@pytest.mark.parametrize("size", [50, 100, 17, 5, 0, -64])
def test_other_sizes_are_refused_with_sizes_that_work(name: str, size: int) -> None:
    with pytest.raises(InputError, match=r"--size \d+ or \d+"):
        _networks(name, size=size)


@families
def test_gradients_reach_every_parameter(name: str) -> None:
    g, d = _networks(name)
    y = _labels("categorical", 4)
    with torch.no_grad():  # A layer that starts at zero lets no gradient through.
        for parameter in (*g.parameters(), *d.parameters()):
            if not parameter.any():
                parameter.normal_(0, 0.1)
    for stage in range(g.stages):
        for network in (g, d):
            network.grow(stage, 0.5 if stage else 1.0)
        d(g(g.sample_prior(4, torch.Generator().manual_seed(0)), y), y).sum().backward()
    for network in (g, d):
        for parameter_name, parameter in network.named_parameters():
            assert parameter.grad is not None, parameter_name
            assert parameter.grad.abs().sum() > 0, parameter_name


@families
def test_the_label_matters_and_may_be_soft(name: str) -> None:
    g, d = _networks(name)
    g.eval()
    d.eval()
    z = g.sample_prior(1, torch.Generator().manual_seed(0))
    hard = torch.eye(3)
    images = [g(z, hard[i : i + 1]) for i in range(2)]
    between = g(z, hard[:2].mean(0, keepdim=True))
    assert not torch.allclose(images[0], images[1])
    assert not any(torch.allclose(between, image) for image in images)
    assert not torch.allclose(d(images[0], hard[:1]), d(images[0], hard[1:2]))


@families
def test_missing_or_wrong_labels_are_refused(name: str) -> None:
    g, d = _networks(name)
    z = g.sample_prior(2, torch.Generator().manual_seed(0))
    for y in (None, torch.eye(2)):
        with pytest.raises(ValueError, match="made for 3"):
            g(z, y)
        with pytest.raises(ValueError, match="made for 3"):
            d(torch.zeros(2, 3, g.size, g.size), y)
    _, blind = _networks(name, "none")
    with pytest.raises(ValueError, match="made for None"):
        blind(torch.zeros(2, 3, g.size, g.size), torch.eye(2))


@families
def test_configuration_and_weights_rebuild_the_generator(name: str) -> None:
    g, _ = _networks(name)
    again, _ = build(name, network_config(name, g.config.to_dict()))
    again.load_state_dict(load(save(g.state_dict())))
    z, y = g.sample_prior(3, torch.Generator().manual_seed(1)), _labels("categorical", 3)
    assert again.config == g.config
    assert torch.equal(again.eval()(z, y), g.eval()(z, y))


@families
def test_bfloat16_is_close_to_float32(name: str) -> None:
    torch.manual_seed(0)
    g, d = _networks(name, width=16)
    g.eval()
    d.eval()
    z, y = g.sample_prior(4, torch.Generator().manual_seed(2)), _labels("categorical", 4)
    exact = g(z, y)
    with torch.autocast("cpu", torch.bfloat16):
        rough = g(z, y)
        judged = d(exact, y)
    assert rough.dtype == judged.dtype == torch.float32
    assert (rough - exact).abs().mean() < 0.02
    logits = d(exact, y)
    assert (judged - logits).abs().max() < max(0.1, 0.01 * float(logits.detach().abs().max()))


@families
def test_batch_size_does_not_change_an_image_in_evaluation(name: str) -> None:
    g, _ = _networks(name)
    g.eval()
    z, y = g.sample_prior(6, torch.Generator().manual_seed(3)), _labels("categorical", 6)
    together = g(z, y)
    alone = torch.cat([g(z[i : i + 1], y[i : i + 1]) for i in range(6)])
    assert torch.allclose(together, alone, atol=1e-5 * max(1.0, float(together.detach().abs().max())))


@families
def test_truncation(name: str) -> None:
    g, _ = _networks(name)
    y = _labels("categorical", 2)
    w = g.mapping(g.sample_prior(2, torch.Generator().manual_seed(4)), y)
    g.w_mean.normal_()
    assert torch.equal(g.truncate(w, 1.0), w)
    assert torch.allclose(g.truncate(w, 0.0), g.w_mean.expand_as(w))
    assert torch.allclose(g.truncate(w, 0.5), (w + g.w_mean) / 2, atol=1e-6)


@families
@pytest.mark.parametrize(("prior", "spread"), [("uniform", 3**-0.5), ("normal", 1.0)])
def test_the_prior_belongs_to_the_network(name: str, prior: str, spread: float) -> None:
    g, _ = _networks(name, prior=prior)
    z = g.sample_prior(5000, torch.Generator().manual_seed(0))
    assert z.mean().abs() < 0.02
    assert z.std() == pytest.approx(spread, rel=0.02)
    assert (z.abs().max() <= 1) == (prior == "uniform")


@families
def test_two_training_steps_change_every_weight_and_the_average_follows(name: str) -> None:
    torch.manual_seed(0)
    state = GANState(*_networks(name), Method(Adversarial(batch=8)), Engine(torch.device("cpu"), "float32"))
    start = copy.deepcopy(state.g)
    x = torch.randn(8, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    y = _labels("categorical", 8)
    for nimg in (0, 8):
        values = step(state, x, y, Clock(0, 0, nimg))
    assert all(torch.isfinite(value) for value in values.values())
    for before, after in zip(start.parameters(), state.g.parameters(), strict=True):
        # Layers that a growing network has not reached yet have no gradient and stay.
        assert torch.equal(before, after) == (after.grad is None)
    assert not state.ema.training
    # After the second step the half-life is 5 % of 8 images: next to nothing of the first weights is left.
    for average, latest in zip(state.ema.parameters(), state.g.parameters(), strict=True):
        assert torch.allclose(average, latest, atol=1e-4)


NORMS = [("dcgan", {"d_norm": norm}) for norm in ("spectral", "instance")]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(("name", "options"), [*((name, {}) for name in sorted(FAMILIES)), *NORMS], ids=str)
def test_a_restored_training_goes_on_bit_for_bit(
    name: str, options: dict, precision: Literal["float32", "bfloat16"], tmp_path: Path
) -> None:
    n, kind = 6, "multilabel"
    if "dropout" in {field.name for field in dataclasses.fields(family(name).config)}:
        options = {"dropout": 0.5, **options}
    styles = family(name).sampler.has_styles
    sections = {
        "adversarial": Adversarial(
            batch=n,
            d_steps=2,
            g_steps=2,
            noise_sd=0.1,
            noise_kimg=1.0,
            style_mixing=0.5 * styles,
            ema_kimg=0.1,
        ),
        "penalty": Penalty(r1=1.0, interval=3, path=2.0 * styles, path_interval=2),
        "augment": Augment(symmetry="dihedral", ada_target=0.6, ada_p=0.3, ada_kimg=1.0),
        "growth": Growth(fade_kimg=0.012, stable_kimg=0.012),
        "limits": Limits(),
    }
    config = _config(name, kind, channels=1, **options)

    def learner(seed: int) -> GANLearner:
        torch.manual_seed(seed)
        engine = Engine(torch.device("cpu"), precision)
        return GANLearner(GeneratorTask(name, config, sections, Schedule(), None, engine))

    def train(trained: GANState, numbers: range) -> list[dict[str, float]]:
        values = []
        for number in numbers:
            rng = torch.Generator().manual_seed(number)
            x = torch.randn(n, 1, 16, 16, generator=rng).contiguous(memory_format=torch.channels_last)
            y = torch.rand(n, 3, generator=rng).round()
            trained.grow(n * number)
            values.append(step(trained, x, y, Clock(0, 0, n * number, number), norms=True))
        return [{key: value.item() for key, value in line.items()} for line in values]

    whole, restored = learner(0), learner(1)
    train(whole.state, range(5))
    path = checkpoints.save_checkpoint(tmp_path, 5 * n, whole.modules(), whole.optimisers(), {})
    checkpoints.restore_checkpoint(path, restored.modules(), restored.optimisers())
    assert train(restored.state, range(5, 9)) == train(whole.state, range(5, 9))
    for module, again in zip(*(held.modules().values() for held in (whole, restored)), strict=True):
        ours, theirs = ((*m.parameters(), *m.buffers()) for m in (module, again))
        assert all(map(torch.equal, ours, theirs))


# Torch takes seconds to export to ONNX: what has the layers of others is left to the slow tests.
@pytest.mark.parametrize(
    ("format", "name"),
    [
        pytest.param(
            format, name, marks=pytest.mark.slow if (format, name) in ALIKE else (), id=f"{format}-{name}"
        )
        for format in ("onnx", "torchscript", "safetensors")
        for name in sorted(FAMILIES)
    ],
)
def test_exported_it_makes_the_same_images(name: str, format: Format, tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    g, _ = _networks(name, size=12)
    with torch.no_grad():  # Layers that start at zero would hide what lies behind them.
        for parameter in g.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    g(g.sample_prior(4, torch.Generator().manual_seed(0)), _labels("categorical", 4))  # statistics move
    z, y = g.eval().sample_prior(2, torch.Generator().manual_seed(1)), _labels("categorical", 2)
    with torch.no_grad():
        w = g.mapping(z, y)
        before = g.synthesis(w, y, noise="constant")
        fold(g)
        assert torch.allclose(g.synthesis(w, y, noise="constant"), before, atol=1e-5)
    model = exportable(g)
    write_model(model, tmp_path / "model", format)
    difference = largest_difference(model, tmp_path / "model", format)
    assert difference is not None
    assert difference <= TOLERANCE
    with torch.no_grad():  # The comparison sees one weight that is another.
        max(g.parameters(), key=lambda p: p.numel()).mul_(1.5).add_(0.1)
    assert largest_difference(model, tmp_path / "model", format) > TOLERANCE  # type: ignore[operator]


@families
def test_unknown_options_name_the_nearest(name: str) -> None:
    with pytest.raises(InputError, match="'z_dim'") as caught:
        network_config(name, {"zdim": 3})
    assert name in str(caught.value)
    for option in ("size", "channels", "labels"):  # They follow from the data.
        assert f" {option}," not in str(caught.value)


@families
def test_only_networks_of_several_stages_are_faded_in(name: str) -> None:
    for network in _networks(name):
        stage = network.stages - 1
        network.grow(stage)
        for number, alpha in ((network.stages, 1.0), (-1, 1.0), (stage, 1.5), (stage, -0.5)):
            with pytest.raises(ValueError, match="stage"):
                network.grow(number, alpha)
        if network.stages == 1:
            with pytest.raises(ValueError, match="stage"):
                network.grow(0, 0.5)
        else:
            network.grow(stage, 0.5)
            assert network.alpha == 0.5


def test_unknown_family_names_the_nearest() -> None:
    with pytest.raises(InputError, match="'dcgan'"):
        build("dcgna", network_config("dcgna", {}))


@pytest.mark.parametrize(
    ("size", "expected"), [(28, (7, 2)), (32, (4, 3)), (48, (6, 3)), (64, (4, 4)), (96, (6, 4)), (12, (3, 2))]
)
def test_base_and_stages(size: int, expected: tuple[int, int]) -> None:
    assert base_and_stages(size) == expected


def test_dcgan_has_the_published_number_of_parameters() -> None:
    # 64 px, 3 channels, widths 512-256-128-64, 4 px kernels: counted by hand from the paper's layers.
    g, d = build("dcgan", network_config("dcgan", {"size": 64}))
    by_hand = 100 * 8192 + 16 * (512 * 256 + 256 * 128 + 128 * 64 + 64 * 3) + 3 + 2 * (512 + 256 + 128 + 64)
    assert sum(p.numel() for p in g.parameters()) == by_hand
    by_hand = 16 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 512) + 64 + 2 * (128 + 256 + 512) + 8192 + 1
    assert sum(p.numel() for p in d.parameters()) == by_hand


def test_dcgan_joins_the_label_behind_the_first_convolution() -> None:
    _, d = build("dcgan", network_config("dcgan", {"size": 32, "labels": SCHEMAS["categorical"], "width": 8}))
    convolutions = [layer for layer in d.modules() if isinstance(layer, nn.Conv2d)]
    assert convolutions[0].in_channels == 3
    assert convolutions[1].in_channels == 8 + 3


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        network_config("dcgan", {}).size = 32  # type: ignore[misc]
