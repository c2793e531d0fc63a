from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from plenish import cli
from plenish.commands.train_generator import train_gan
from plenish.networks.gan import FAMILIES, build, network_config
from plenish.training.gan import trial
from plenish.training.gan.method import Adversarial, Method
from plenish.training.gan.penalties import Penalty
from plenish.training.gan.trial import layer_table, per_image, turn_kinds

TINY = ["network.width=4", "network.max_width=8", "network.z_dim=8"]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial.try_out, "__defaults__", (0.2,))


def test_a_dry_run_tells_and_writes_nothing(
    stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = stripes()
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    words = ["recipe", "run", "dcgan", str(data.path), str(tmp_path / "run"), "--dry-run", "--batch", "10"]
    assert cli.run([*words, "--kimg", "2", "--json", "--quiet", "--options", *TINY]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    found = json.loads(capsys.readouterr().out)
    g, d = build("dcgan", network_config("dcgan", {"size": 16, "labels": data.labels, "width": 4,
                                                   "max_width": 8, "z_dim": 8}))  # fmt: skip
    for name, network in (("generator", g), ("discriminator", d)):
        parameters = sum(p.numel() for p in network.parameters())
        assert found[name][-1] == {"layer": "in all", "output": None, "parameters": parameters}
        assert sum(row["parameters"] for row in found[name][:-1]) == parameters
        assert found[f"parameters_{name}"] == parameters
    assert found["generator"][0] == {"layer": "project", "output": "128", "parameters": 10 * 128}
    assert found["memory_weights_mib"] <= found["memory_adam_mib"]
    assert found["seconds_per_kimg"] == pytest.approx(1000 / found["images_per_s"], rel=0.02)
    assert found["kimg"] == 2
    assert cli.run([*words, "--quiet", "--options", *TINY]) == 0  # as a table
    assert "seconds per kimg" in capsys.readouterr().out


def test_a_dry_run_of_what_auto_chooses_gives_the_reasons(stripes, tmp_path: Path) -> None:
    found = train_gan(stripes().path, tmp_path / "run", recipe="auto", dry_run=True, options=TINY).summary()
    assert found["family"] == "stylegan2"
    assert any("Batch 8" in reason for reason in found["reasons"])
    assert not (tmp_path / "run").exists()


def test_recipe_run_trains(stripes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["recipe", "run", "dcgan", str(stripes().path), str(tmp_path / "run"), "--kimg", "0.01"]
    assert cli.run([*words, "--batch", "10", "--no-validation", "--quiet", "--options", *TINY]) == 0
    assert "complete" in capsys.readouterr().out
    assert cli.run(["recipe", "run", "dcgan"]) == 2
    assert "data, run" in capsys.readouterr().err
    assert cli.run(["recipe", "run", "dcgna", "data", "run"]) == 2
    assert "did you mean 'dcgan'" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_tables_count_every_parameter_once(name: str) -> None:
    g, d = build(name, network_config(name, {"size": 16, "width": 8, "max_width": 16, "z_dim": 8}))
    z = torch.randn(2, 8)
    images = g(z).detach()
    for network, run in ((g, lambda: g(z)), (d, lambda: d(images))):
        table = layer_table(network, run)
        assert sum(row["parameters"] for row in table[:-1]) == table[-1]["parameters"]
        assert table[-1]["parameters"] == sum(p.numel() for p in network.parameters())
        assert any(row["output"] for row in table)
        assert not network._forward_hooks


@pytest.mark.parametrize(
    ("penalty", "d_steps", "kinds"),
    [
        (Penalty(), 1, [(0, 1.0)]),
        (Penalty(interval=16), 1, [(0, 1.0)]),
        (Penalty(gp=10), 5, [(0, 1.0)]),
        (Penalty(r1=1, interval=16), 1, [(0, 1 / 16), (1, 15 / 16)]),
        (Penalty(path=2, path_interval=4), 1, [(0, 1 / 4), (1, 3 / 4)]),
        (Penalty(r1=1, interval=16, path=2), 1, [(0, 1 / 16), (1, 12 / 16), (4, 3 / 16)]),
        (Penalty(r1=1, interval=4), 2, [(0, 1 / 2), (1, 1 / 2)]),
        (Penalty(r1=1, interval=2), 3, [(0, 1 / 2), (1, 1 / 2)]),
    ],
)
def test_kinds_of_turns_and_how_often_they_come_up(
    penalty: Penalty, d_steps: int, kinds: list[tuple[int, float]]
) -> None:
    assert turn_kinds(Method(Adversarial(d_steps=d_steps), penalty)) == kinds


def test_lazy_penalties_count_as_often_as_they_are_due() -> None:
    kinds = [(0, 1 / 16), (1, 15 / 16)]
    # The slow first turn is left out where another one of its kind was measured.
    assert per_image(kinds, [[9.0, 3.0, 3.0], [1.0, 1.0, 8.0]]) == pytest.approx((3 + 15) / 16)
    assert per_image(kinds, [[5.0], [1.0]]) == pytest.approx((5 + 15) / 16)


def test_a_probe_tries_every_kind_of_turn(stripes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers, real = [], trial.step

    def step(state, x, y, clock, **more):
        numbers.append(clock.step)
        return real(state, x, y, clock, **more)

    monkeypatch.setattr(trial.try_out, "__defaults__", (0.0,))
    monkeypatch.setattr(trial, "step", step)
    lazy = ["penalty.r1=1", "penalty.interval=16", "adversarial.d_steps=2"]
    found = train_gan(
        stripes().path, tmp_path / "run", batch=4, dry_run=True, options=[*TINY, *lazy]
    ).summary()  # fmt: skip
    assert numbers == [0, 1, 2, 3]
    assert found["steps_tried"] == 4
