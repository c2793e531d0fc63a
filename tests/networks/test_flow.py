"""The flow: its solver on equations with known solutions, its U-Net, guidance and inversion."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.latent.exporting import exportable
from plenish.networks.flow import CONDITIONS, Flow, FlowConfig
from plenish.networks.solver import integrate, integrate_back
from plenish.training.model_files import (
    TOLERANCE,
    Format,
    largest_difference,
    part_difference,
    write_model,
    write_part,
)

CLASSES = LabelSchema("categorical", ("a", "b", "c"))


def _flow(size: int = 16, labels: LabelSchema = CLASSES, **options: object) -> Flow:
    """A small flow whose layers that start at zero are made others."""
    torch.manual_seed(0)
    made = Flow(FlowConfig(size=size, labels=labels, width=16, **options))  # type: ignore[arg-type]
    for parameter in made.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, 0, 0.1)
    return made.eval().requires_grad_(False)


def _draw(flow: Flow, n: int) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(1)
    return flow.sample_prior(n, rng), torch.rand(n, 3, generator=rng).softmax(1)


def _gaussian(mean: float, sd: float) -> object:
    """The exact velocity field between N(0, 1) and N(mean, sd²): linear in x at every time."""

    def velocity(x: Tensor, t: float) -> Tensor:
        variance = (1 - t) ** 2 + (t * sd) ** 2
        centred = x - t * mean
        return mean + (t * sd**2 - (1 - t)) / variance * centred

    return velocity


@pytest.mark.parametrize(("solver", "order"), [("heun", 2), ("euler", 1)])
def test_the_solver_has_its_order_on_a_gaussian(solver: str, order: int) -> None:
    z = torch.linspace(-2, 2, 9, dtype=torch.float64)
    exact = 0.5 + 0.3 * z  # The map of optimal transport, which the equation follows in one dimension.
    errors = []
    for steps in (64, 128):
        # Heun's last step is Euler's, whose error there is of second order in the step.
        made = integrate(_gaussian(0.5, 0.3), z, steps, solver)  # type: ignore[arg-type]
        errors.append(float((made - exact).abs().max()))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


def test_there_and_back_is_exact_where_steps_are_short() -> None:
    velocity = _gaussian(0.5, 0.3)
    z = torch.randn(1000, dtype=torch.float64)
    x = integrate(velocity, z, 50)  # type: ignore[arg-type]
    plain = integrate_back(velocity, x, 50, corrections=0)  # type: ignore[arg-type]
    corrected = integrate_back(velocity, x, 50, corrections=4)  # type: ignore[arg-type]
    assert float((corrected - z).abs().max()) < 1e-5 < float((plain - z).abs().max())


def test_images_go_there_and_back() -> None:
    flow = _flow(levels=1)
    z, y = _draw(flow, 2)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    for corrections, most in ((2, 1e-3), (0, math.inf)):
        again = flow.sample(flow.invert(images, y, steps=50, corrections=corrections), y, steps=50)
        apart = float((again - images).abs().max())
        assert apart < most
    assert apart > 1e-3, "a plain step backwards is not exact"
    made = integrate(lambda x, t: flow.velocity(x, t, y), z, 50)
    assert float((flow.invert(made, y, steps=50) - z).abs().max()) < 1e-3
    with pytest.raises(InputError, match="steps must be at least 1"):
        flow.invert(images, y, steps=0)


def test_guidance_of_one_is_none_and_others_move_away_from_the_unlabelled() -> None:
    flow = _flow()
    z, y = _draw(flow, 3)
    unguided = integrate(lambda x, t: flow(x, torch.full((3,), float(t)), y).float(), z, 20)
    assert torch.equal(flow.sample(z, y, guidance=1.0), unguided.clamp(-1, 1))
    t = torch.full((3,), 0.4)
    told, free = flow(z, t, y), flow(z, t)
    assert not torch.allclose(told, free)
    assert torch.allclose(flow.velocity(z, 0.4, y, 3.0), free + 3 * (told - free), atol=1e-5)
    hidden = flow(z, t, y, labelled=torch.tensor([True, False, True]))
    assert torch.allclose(hidden[[0, 2]], told[[0, 2]], atol=1e-6)
    assert torch.allclose(hidden[1], free[1], atol=1e-6)


@pytest.mark.parametrize("solver", ["heun", "euler"])
def test_samples_do_not_depend_on_the_batch(solver: str) -> None:
    flow = _flow()
    z, y = _draw(flow, 6)
    alone = torch.cat([flow.sample(z[i : i + 1], y[i : i + 1], steps=4, solver=solver) for i in range(6)])
    assert torch.allclose(flow.sample(z, y, steps=4, solver=solver), alone, atol=1e-5)


def test_no_augmentation_is_zeros() -> None:
    flow = _flow(augmented=True)
    z, y = _draw(flow, 2)
    t = torch.full((2,), 0.5)
    assert torch.equal(flow(z, t, y), flow(z, t, y, augmentation=torch.zeros(2, CONDITIONS)))
    assert not torch.allclose(flow(z, t, y), flow(z, t, y, augmentation=torch.ones(2, CONDITIONS)))


@pytest.mark.parametrize(
    ("size", "channels", "options"),
    [(28, 1, {}), (32, 3, {"attention": 8}), (48, 3, {"patch": 1}), (256, 3, {"patch": 8})],
)
def test_sizes_and_channels(size: int, channels: int, options: dict[str, int]) -> None:
    flow = _flow(size, LabelSchema(), channels=channels, **options)
    z = flow.sample_prior(2, torch.Generator().manual_seed(0))
    images = flow.sample(z, steps=2)
    assert images.shape == (2, channels, size, size)
    assert float(images.abs().max()) <= 1
    assert float(images.std()) > 0.01


def test_there_are_as_many_levels_as_a_side_can_be_halved() -> None:
    for size, patch, widths in ((32, 2, (32, 64, 96)), (28, 2, (32, 64)), (50, 2, (32,)), (12, 4, (32,))):
        assert FlowConfig(size=size, patch=patch, width=32, max_width=96).widths == widths


def test_a_new_network_predicts_no_velocity() -> None:
    flow = Flow(FlowConfig(size=16, width=16))
    x = torch.randn(2, 3, 16, 16)
    assert not flow(x, torch.rand(2)).any()


def test_impossible_shapes_and_options_are_refused() -> None:
    for options in (
        {"size": 27},
        {"size": 2, "patch": 4},
        {"width": 20},
        {"width": 0},
        {"patch": 0},
        {"dropout": 1.0},
    ):
        with pytest.raises(InputError):
            FlowConfig(**{"size": 32, **options})  # type: ignore[arg-type]
    flow = _flow(labels=LabelSchema())
    z = flow.sample_prior(1, torch.Generator().manual_seed(0))
    for wrong, said in (
        ({"steps": 0}, "steps must be at least 1"),
        ({"solver": "leapfrog"}, "heun, euler, shortcut"),
        ({"solver": "shortcut", "steps": 2}, r"not taught .*--training\.shortcut_every 4"),
        ({"guidance": -1.0}, "guidance must be a number from 0"),
        ({"guidance": math.nan}, "guidance must be a number from 0"),
        ({"guidance": 2.0}, "trained without labels"),
    ):
        with pytest.raises(InputError, match=said):
            flow.sample(z, **wrong)
    labelled = _flow(shortcuts=True)
    z, y = _draw(labelled, 1)
    for wrong, said in (
        ({"solver": "shortcut", "steps": 3}, "1, 2, 4, 8, 16, 32, 64 steps, not 3"),
        ({"solver": "shortcut", "steps": 2, "guidance": 2.0}, "follows no guidance"),
    ):
        with pytest.raises(InputError, match=said):
            labelled.sample(z, y, **wrong)
    assert labelled.sample(z, y, guidance=2.0, steps=1).shape == z.shape


def test_what_has_not_the_flows_shape_is_refused_in_a_sentence() -> None:
    flow = _flow()
    z, y = _draw(flow, 3)
    for images, labels in ((z[:, :1], y), (z[..., :-2], y), (z, y[:2]), (z[0], y)):
        for call in (flow.sample, flow.invert):
            with pytest.raises(InputError, match="must be N×"):
                call(images, labels)


def test_levels_that_cannot_be_built_are_told() -> None:
    assert FlowConfig(size=32, levels=3).remark == ""
    assert "5 are built" in FlowConfig(size=32, levels=9).remark


@pytest.mark.parametrize("format", [pytest.param("onnx", marks=pytest.mark.slow), "torchscript"])
@pytest.mark.parametrize(
    "options",
    [
        {"solver": "shortcut", "steps": 2},
        pytest.param({"solver": "euler", "steps": 3}, marks=pytest.mark.slow),
    ],
)
def test_exported_it_takes_few_steps_too(format: Format, options: dict[str, Any], tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    flow = _flow(shortcuts=True, levels=1)
    model = exportable(flow, options)
    write_model(model, tmp_path / "model", format)
    difference = largest_difference(model, tmp_path / "model", format)
    assert difference is not None
    assert difference <= TOLERANCE


@pytest.mark.parametrize(
    ("format", "steps"),
    [("onnx", 1), pytest.param("onnx", 2, marks=pytest.mark.slow), ("torchscript", 2), ("safetensors", 2)],
)
def test_exported_it_makes_the_same_images_and_velocities(format: Format, steps: int, tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    deep = _flow(attention=8, augmented=True, levels=2)
    # Torch takes seconds to export a network of several levels to ONNX, which the part alone has there.
    flow = _flow(levels=1) if format == "onnx" else deep
    options = {"steps": steps}
    model = exportable(flow, options)
    write_model(model, tmp_path / "model", format)
    difference = largest_difference(model, tmp_path / "model", format)
    assert difference is not None
    assert difference <= TOLERANCE
    if format != "safetensors":
        part = deep.parts()["velocity"]
        write_part(part, tmp_path / "velocity", format)
        found = part_difference(part, tmp_path / "velocity", format)
        assert found is not None
        assert found <= TOLERANCE
        with torch.no_grad():
            for network in {flow, deep}:
                network.last.weight.add_(0.1)
        assert part_difference(part, tmp_path / "velocity", format) > TOLERANCE  # type: ignore[operator]
        assert largest_difference(model, tmp_path / "model", format) > TOLERANCE  # type: ignore[operator]
