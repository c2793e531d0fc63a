"""Recorded passes: what is around the recording, with a recorder that a CPU has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

from plenish.networks.gan import build, network_config
from plenish.training.engine import Engine
from plenish.training.gan.graphs import Passes
from plenish.training.gan.method import Adversarial, Method
from plenish.training.gan.penalties import Penalty
from plenish.training.gan.state import GANState
from plenish.training.gan.step import step
from plenish.training.learner import Clock


class Recorder:
    """Does to networks and random numbers what recording a graph does, and computes as before."""

    def __init__(self, factor: float = 1.0) -> None:
        self.recorded: list[tuple[torch.Size, ...]] = []
        self.replayed, self.factor = 0, factor

    def __call__(self, module: nn.Module, sample: tuple[Tensor, ...], **_: Any) -> nn.Module:
        self.recorded.append(tuple(t.shape for t in sample))
        run, shapes = module.forward, [t.shape for t in sample]
        for _number in range(3):
            run(*sample)

        def replay(*tensors: Tensor) -> Tensor:
            assert [t.shape for t in tensors] == shapes
            self.replayed += 1
            return self.factor * run(*tensors)

        module.forward = replay
        return module


def _state(family: str, penalty: Penalty, precision: Literal["float32", "bfloat16"] = "float32") -> GANState:
    torch.manual_seed(1)
    options = {"size": 16, "width": 4, "max_width": 8, "z_dim": 5}
    method = Method(Adversarial(batch=4), penalty)
    engine = Engine(torch.device("cpu"), precision)
    return GANState(*build(family, network_config(family, options)), method, engine)


def _record(state: GANState, capture: Callable[..., Any], patch: pytest.MonkeyPatch) -> None:
    patch.setattr(torch.cuda, "make_graphed_callables", capture)
    state.passes.recording = True


def _train(state: GANState, steps: int = 3) -> dict[str, Tensor]:
    for number in range(steps):
        x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(number))
        step(state, x, None, Clock(0, 0, 4 * number, number))
    modules = {"g": state.g, "d": state.d, "ema": state.ema, "statistics": state.statistics}
    return {f"{name}.{k}": v for name, m in modules.items() for k, v in m.state_dict().items()}


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("family", "penalty"),
    [
        ("dcgan", Penalty()),  # Batch norm.
        ("sagan", Penalty()),  # Spectral norm.
        ("wgan-gp", Penalty(gp=10.0)),  # Dropout, and a penalty beside the recorded pass.
        ("stylegan2", Penalty(r1=1.0, interval=2, path=2.0, path_interval=2)),  # Noise, lazy penalties.
    ],
)
def test_recording_changes_nothing(
    family: str, penalty: Penalty, precision: Literal["float32", "bfloat16"], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _train(_state(family, penalty, precision))
    state, recorder = _state(family, penalty, precision), Recorder()
    _record(state, recorder, monkeypatch)
    found = _train(state)
    assert len(recorder.recorded) == 3, "fakes, logits of both, logits of fakes"
    assert recorder.replayed == 3 * 3 + 3, "each in three steps, and once to compare"
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert torch.equal(value, expected[name]), name


def test_a_pass_that_is_differentiated_twice_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    state, recorder = _state("r3gan", Penalty(r1=1.0, r2=1.0)), Recorder()
    _record(state, recorder, monkeypatch)
    _train(state, 1)
    assert [shapes[0][0] for shapes in recorder.recorded] == [4, 4], "not the one of reals and fakes"


def test_a_failed_recording_is_told_once_and_training_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    for capture, reason in ((fail, "not permitted"), (Recorder(1.1), "differs")):
        state = _state("dcgan", Penalty())
        _record(state, capture, monkeypatch)
        found, expected = _train(state), _train(_state("dcgan", Penalty()))
        assert capsys.readouterr().err.count(reason) == 1
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_network_that_replaces_its_buffers_is_not_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.count = self.count + 1
            return x * self.count

    passes = Passes(Engine(torch.device("cpu"), "float32"), 0)
    passes.recording = True
    network = Counting()
    passes.run("forward", network, network, torch.ones(2))
    assert not passes.recording
    assert "buffers" in capsys.readouterr().err


def test_nothing_is_recorded_on_a_cpu_or_of_large_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, cuda = (Engine(torch.device(name), "float32") for name in ("cpu", "cuda"))
    assert not Passes(cpu, 1).recording
    assert Passes(cuda, 64 * 64**2).recording
    assert not Passes(cuda, 64 * 256**2).recording
    monkeypatch.setenv("PLENISH_CUDA_GRAPHS", "off")
    assert not Passes(cuda, 1).recording
