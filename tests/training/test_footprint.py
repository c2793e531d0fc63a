from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import nn

from plenish.errors import InputError
from plenish.networks.families import BUILT_IN, network_config
from plenish.training import footprint as footprints
from plenish.training.engine import Engine
from plenish.training.flow import FlowMethod
from plenish.training.footprint import Footprint, footprint, kept_bytes, refuse_too_large, throwaway
from plenish.training.gan.growth import Growth
from plenish.training.gan.method import Adversarial
from plenish.training.gan.penalties import Penalty
from plenish.training.generator import GeneratorTask, Schedule, learner_class

TINY = {"flow": {"width": 16, "levels": 2}}
TINY_GAN = {"width": 8, "max_width": 16, "z_dim": 8}
NONE: Mapping[str, Any] = {}
R1 = {"penalty": Penalty(r1=1)}


def _task(family: str = "dcgan", options: Mapping[str, Any] = NONE, **sections: Any) -> GeneratorTask:
    kinds = learner_class(family).sections
    network = network_config(family, {"size": 16, **TINY.get(family, TINY_GAN), **options})
    method = {name: sections.get(name) or kind() for name, kind in kinds.items()}
    engine = Engine(torch.device("cpu"), "float32")
    return GeneratorTask(family, network, method, Schedule(), None, engine)  # type: ignore[arg-type]


def _estimate(task: GeneratorTask) -> Footprint:
    with throwaway(task) as learner:
        return footprint(learner)


def _bytes(module: nn.Module) -> int:
    return 4 * sum(p.numel() for p in module.parameters())


def test_fixed_parts_are_those_of_the_weights() -> None:
    with throwaway(_task()) as learner:
        found, networks = footprint(learner), learner.modules()
    of_g, of_d = _bytes(networks["g"]), _bytes(networks["d"])
    assert found.gradients == of_g + of_d
    assert found.optimisers == 2 * (of_g + of_d)
    assert found.average == of_g


def test_the_parts_of_a_flow_are_those_of_one_network() -> None:
    with throwaway(_task("flow")) as learner:
        found, networks = footprint(learner), learner.modules()
    weights = _bytes(networks["network"])
    buffers = sum(buffer.nbytes for network in networks.values() for buffer in network.buffers())
    assert (found.weights, found.gradients) == (weights + buffers, weights)
    assert (found.optimisers, found.average) == (2 * weights, weights)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("dcgan", "stylegan2", "flow") else pytest.mark.slow)
        for name in sorted(BUILT_IN)
    ],
)
def test_what_is_kept_grows_with_the_batch_as_estimated(name: str) -> None:
    task = _task(name, **R1)
    found = _estimate(task)
    assert found.kept_each > 0
    with throwaway(task) as learner:
        assert found.kept + 16 * found.kept_each == pytest.approx(kept_bytes(learner, 16), rel=0.05)


def test_what_a_linear_layer_keeps_is_its_input(monkeypatch: pytest.MonkeyPatch) -> None:
    with throwaway(_task("flow")) as learner:
        layer = nn.Linear(3 * 16**2, 5, bias=False)
        monkeypatch.setattr(learner, "modules", lambda: {"layer": layer})
        monkeypatch.setattr(
            learner, "step", lambda batch, _: layer(torch.from_numpy(batch.pixels).flatten(1).float())
        )
        assert kept_bytes(learner, 6) == 6 * 4 * 3 * 16**2


@pytest.mark.parametrize("name", ["dcgan", "flow"])
def test_pixels_take_memory(name: str) -> None:
    small, large = (_estimate(_task(name, {"size": size})).kept_each for size in (16, 32))
    assert large == pytest.approx(4 * small, rel=0.4)


def test_penalties_take_memory() -> None:
    assert _estimate(_task(**R1)).kept_each > 1.1 * _estimate(_task()).kept_each


@pytest.mark.parametrize(
    ("name", "section", "kind"), [("dcgan", "adversarial", Adversarial), ("flow", "training", FlowMethod)]
)
def test_a_batch_that_does_not_fit_is_refused_with_one_that_does(
    monkeypatch: pytest.MonkeyPatch, name: str, section: str, kind: Any
) -> None:
    free = 2**28
    monkeypatch.setattr(footprints, "available_bytes", lambda _: free)
    refuse_too_large(_task(name, **{section: kind(batch=16)}))
    with pytest.raises(InputError, match=r"100000 .* --batch \d+") as refusal:
        refuse_too_large(_task(name, **{section: kind(batch=100_000)}))
    fits = int(str(refusal.value).split("--batch ")[1].split()[0])
    estimate = _estimate(_task(name))
    assert estimate.total(fits) <= free < estimate.total(2 * fits + 1)
    monkeypatch.setattr(footprints, "available_bytes", lambda _: 2**20)
    with pytest.raises(InputError, match="--width"):
        refuse_too_large(_task(name, **{section: kind(batch=1000)}))


def test_a_small_batch_at_the_last_stage_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    options, batch = {"size": 32, "width": 4, "max_width": 8}, Adversarial(batch=4096)
    small, early = (
        _task("progan", options, adversarial=batch, growth=Growth(fade_kimg=1, stable_kimg=1, batches=each))
        for each in ("8,8,8,4", "8,8,4096,4")
    )
    free = _estimate(small).total(8)
    monkeypatch.setattr(footprints, "available_bytes", lambda _: free)
    refuse_too_large(small)
    with pytest.raises(InputError, match=r"4096 .* --batch [78] "):
        refuse_too_large(early)


def test_the_free_memory_of_a_gpu_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (500, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 90)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20)
    assert footprints.available_bytes(torch.device("cuda")) == 570


@pytest.mark.parametrize("name", ["dcgan", "flow"])
def test_draws_of_the_estimate_disturb_no_others(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(footprints, "available_bytes", lambda _: 2**28)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    refuse_too_large(_task(name))
    assert torch.equal(torch.rand(2), expected)


def test_the_memory_that_is_free_is_known_or_not_claimed() -> None:
    free = footprints.available_bytes()
    assert free is None or 0 <= free < 2**50
