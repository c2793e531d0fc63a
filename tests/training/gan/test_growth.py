"""The schedule of a growing network."""

from __future__ import annotations

import itertools

import pytest
import torch
from benchmarks.gan_step import method_of

from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.networks.gan import build, network_config
from plenish.recipes import load_recipe
from plenish.training.engine import Engine
from plenish.training.gan.growth import Growth, at_stage
from plenish.training.gan.method import Adversarial, Method
from plenish.training.gan.state import GANState
from plenish.training.gan.step import step
from plenish.training.learner import Clock

SIZES = [4, 8, 16]


def test_stable_then_faded_in_then_stable() -> None:
    growth = Growth(fade_kimg=2, stable_kimg=1, batches="32,16")
    stages = [growth.at(1000 * kimg, SIZES, 64) for kimg in range(9)]
    assert [s.number for s in stages] == [0, 1, 1, 1, 2, 2, 2, 2, 2]
    assert [s.alpha for s in stages] == [1.0, 0.0, 0.5, 1.0, 0.0, 0.5, 1.0, 1.0, 1.0]
    assert [s.batch for s in stages] == [32, 16, 16, 16, 16, 16, 16, 16, 16]


def test_alpha_never_falls_within_a_stage_and_ends_at_one() -> None:
    growth = Growth(fade_kimg=0.7, stable_kimg=0.4, alpha=0.2)
    seen = [growth.at(nimg, SIZES, 8) for nimg in range(0, 4000, 7)]
    for before, after in itertools.pairwise(seen):
        assert after.number > before.number or after.alpha >= before.alpha
        assert after.number - before.number in (0, 1)
    assert min(s.alpha for s in seen) == pytest.approx(0.2, abs=0.01)
    assert seen[-1].alpha == 1


def test_a_network_that_does_not_grow_has_one_stage() -> None:
    assert Growth().at(10**9, [64], 32) == (0, 1.0, 32)


def test_it_may_start_at_a_later_stage() -> None:
    growth = Growth(start=8, fade_kimg=1, stable_kimg=1)
    assert growth.at(0, SIZES, 8).number == 1
    with pytest.raises(InputError, match="4, 8, 16 px"):
        Growth(start=12).at(0, SIZES, 8)


@pytest.mark.parametrize(
    "values",
    [
        {"fade_kimg": -1},
        {"fade_kimg": 0, "stable_kimg": 0},
        {"alpha": 1.0},
        {"batches": "32,x"},
        {"batches": "1"},
    ],
)
def test_impossible_values_are_refused(values: dict) -> None:
    with pytest.raises(InputError, match=r"growth\."):
        Growth(**values)


@pytest.mark.parametrize(
    ("batches", "batch", "stage"),
    [("", 16, 3), ("64,64,16,4", 4, 3), ("64,64,32,4", 32, 2), ("256,4,2,2", 256, 0), ("4,8", 8, 3)],
)
def test_the_heaviest_stage_is_that_of_the_most_pixels(batches: str, batch: int, stage: int) -> None:
    growth, sizes = Growth(fade_kimg=1, stable_kimg=2, batches=batches), [4, 8, 16, 32]
    at = growth.at(growth.heaviest(sizes, 16), sizes, 16)
    assert (at.number, at.alpha, at.batch) == (stage, 1.0, batch)


def test_celeba_is_measured_by_the_four_images_of_its_last_stage() -> None:
    method, sizes = method_of(load_recipe("celeba-progan").sections), [4 << stage for stage in range(9)]
    batch = method.adversarial.batch
    assert batch == 16
    assert method.growth.at(method.growth.heaviest(sizes, batch), sizes, batch).batch == 4


def test_reals_are_averaged_down_and_faded_like_fakes() -> None:
    x = torch.randn(2, 3, 16, 16)
    small = at_stage(x, 8, 1.0)
    assert torch.allclose(small[0, 0, 0, 0], x[0, 0, :2, :2].mean())
    coarse = at_stage(x, 8, 0.0)
    assert torch.allclose(coarse[0, 0, :2, :2], x[0, 0, :4, :4].mean().expand(2, 2))
    assert torch.allclose(at_stage(x, 8, 0.25), coarse.lerp(small, 0.25), atol=1e-6)
    assert at_stage(x, 16, 1.0).shape == x.shape


def test_a_step_leaves_the_networks_at_their_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"size": 16, "channels": 1, "labels": LabelSchema(), "width": 4, "max_width": 8, "z_dim": 4}
    method = Method(Adversarial(batch=4), growth=Growth(fade_kimg=0.02, stable_kimg=0.02))
    networks = build("progan", network_config("progan", options))
    state = GANState(*networks, method, Engine(torch.device("cpu"), "float32"))
    assert state.g.stage == 0, "a new state is at the start of a training"
    state.grow(30)
    assert (state.g.stage, state.g.alpha) == (1, 0.5)
    monkeypatch.setattr(GANState, "grow", None)
    step(state, torch.zeros(4, 1, 16, 16), None, Clock(0, 0, 30))
    assert (state.g.stage, state.d.alpha) == (1, 0.5)
