"""What falls while a training goes on."""

from __future__ import annotations

import pytest
import torch

from plenish.networks.gan import build, network_config
from plenish.training.engine import Engine
from plenish.training.gan.method import Adversarial, Method
from plenish.training.gan.penalties import Penalty
from plenish.training.gan.state import GANState
from plenish.training.schedules import cosine_fall


def test_half_a_cosine_wave_and_then_level() -> None:
    told = [cosine_fall(nimg, 0.2, 10) for nimg in (0, 5_000, 10_000, 50_000)]
    assert told == pytest.approx([1, 0.6, 0.2, 0.2])
    assert cosine_fall(50_000, 0.2, 0) == 1


def test_the_optimisers_follow_with_the_correction_for_lazy_penalties() -> None:
    rules = Adversarial(batch=2, lr_g=0.01, lr_d=0.04, lr_fall_to=0.5, lr_fall_kimg=1)
    networks = build("dcgan", network_config("dcgan", {"size": 16, "width": 4}))
    state = GANState(
        *networks, Method(rules, Penalty(r1=1, interval=3)), Engine(torch.device("cpu"), "float32")
    )
    for nimg, share in ((0, 1.0), (500, 0.75), (9_000, 0.5)):
        state.set_rates(nimg)
        assert state.opt_g.param_groups[0]["lr"] == pytest.approx(0.01 * share)
        assert state.opt_d.param_groups[0]["lr"] == pytest.approx(0.04 * 0.75 * share)
