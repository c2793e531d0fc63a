"""What is raced is the same training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks import baseline
from plenish.commands.bench import bench_flow
from plenish.errors import InputError
from plenish.networks.flow import Flow, FlowConfig
from plenish.training.flow import FlowMethod


def test_a_recipe_is_raced(one_process: None, tmp_path: Path) -> None:
    result = bench_flow(size=8, batch=2, rounds=1, out=tmp_path / "out.json")
    (row,) = result.rows
    assert row["images_per_s"] > 0 < row["baseline_images_per_s"]
    assert (row["size"], row["classes"], row["batch"]) == (8, 2, 2)
    assert (tmp_path / "out.json").is_file()
    with pytest.raises(InputError, match="dcgan is of the family dcgan"):
        bench_flow(recipe="dcgan")
    with pytest.raises(InputError, match="at least 1 round"):
        bench_flow(rounds=0)


def test_the_plain_step_learns_the_mean_of_what_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Flow] = []
    monkeypatch.setattr(baseline, "Flow", lambda config: made.append(Flow(config)) or made[-1])
    torch.manual_seed(0)
    config = FlowConfig(size=8, width=16, levels=2)
    images = torch.zeros(32, 3, 8, 8)
    monkeypatch.setattr(baseline, "random_batch", lambda *_: (images, None))
    step = baseline.flow_step(config, FlowMethod(batch=32, lr=3e-3), torch.device("cpu"))
    for _ in range(120):
        step()
    z = torch.randn(16, 3, 8, 8)
    made_images = made[-1].eval().sample(z, steps=8)
    assert float(made_images.square().mean()) < 0.2 < float(z.square().mean())
