"""Killed at random moments, a training ends like one never stopped: bit for bit, one case a kind of state."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training.forked import SERVER

from plenish import cli
from plenish.datasets.dataset import Dataset
from plenish.runs import Run
from plenish.training import checkpoints

NETWORK = ["network.width=4", "network.max_width=8", "network.z_dim=8", "schedule.log_kimg=0.05"]
GAN = ["gan", "--batch", "10", "--checkpoint-kimg", "0.05", "--no-validation", "--options", *NETWORK]
CASES = {
    "gan": [*GAN, "adversarial.g_steps=2"],
    "growth": [
        "gan", "--recipe", "celeba-progan", "--checkpoint-kimg", "0.05", "--no-validation", "--options",
        *NETWORK, "growth.fade_kimg=0.5", "growth.stable_kimg=0.4", "growth.batches='10,10,5'",
    ],
    "ada": [*GAN, "augment.ada_target=0.6", "augment.ada_kimg=1", "penalty.r1=1", "penalty.interval=3"],
    "path length": [
        "gan", "--recipe", "small-stylegan2", "--batch", "10", "--checkpoint-kimg", "0.02", "--no-validation",
        "--options", *NETWORK, "network.w_dim=8", "penalty.path=2",
        "penalty.path_interval=2", "adversarial.style_mixing=0.9",
    ],
    "flow": [
        "generator", "--recipe", "flow-small", "--batch", "10", "--checkpoint-kimg", "0.05",
        "--no-validation", "--options", "network.width=16", "network.max_width=16", "network.dropout=0.1",
        "training.shortcut_every=4", "augment.p=0.3", "schedule.log_kimg=0.05",
    ],
    "autoencoder": [
        "autoencoder", "--filters", "4", "4", "--latent-features", "4", "--batch", "8", "--patience", "0",
        "--no-errors", "--options", "schedule.keep=2", "schedule.evaluate_epochs=2", "training.denoise=0.1",
    ],
    "translation": [
        "translate", "--batch", "10", "--checkpoint-kimg", "0.05", "--options", "network.width=4",
        "network.max_width=8", "network.d_width=4", "network.d_layers=1", "schedule.log_kimg=0.05",
    ],
}  # fmt: skip
LENGTHS = {
    "gan": 16.0,
    "growth": 8.0,
    "ada": 10.0,
    "path length": 6.0,
    "flow": 8.0,
    "autoencoder": 1000,
    "translation": 8.0,
}
"""kimg, or epochs: long enough to be killed twenty times."""


def command(case: str, data: Dataset, run: Path, share: float = 1.0) -> list[str]:
    """The training of a case, with a share of its usual length."""
    verb, *options = CASES[case]
    length = "--epochs" if verb == "autoencoder" else "--kimg"
    return [
        "train", verb, str(data.path), str(run), length,
        f"{share * LENGTHS[case]:g}", "--threads", "1", "--quiet", *options,
    ]  # fmt: skip


def state_of(run: Path) -> tuple[dict[str, torch.Tensor], list[dict[str, float]]]:
    """All tensors of the newest checkpoint, and the log without times."""
    newest = checkpoints.newest_intact(run / "checkpoints")
    assert newest is not None
    tensors = {f"{p.stem}.{k}": v for p in newest.glob("*.safetensors") for k, v in load_file(p).items()}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    timed = ("images_per_s", "data_wait")
    return tensors, [{k: v for k, v in line.items() if k not in timed} for line in lines]


def assert_same(one: Path, other: Path) -> None:
    """Both Runs ended with the same tensors and the same log."""
    (ours, our_log), (theirs, their_log) = state_of(one), state_of(other)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    assert our_log == their_log


def _start(case: str, data: Dataset, run: Path, share: float = 1.0) -> BaseProcess:
    """Start or resume a training in a process of its own; returns once it has begun to log, or has ended."""
    log = run / "metrics.jsonl"
    before = log.stat().st_mtime_ns if log.exists() else 0
    process = SERVER.Process(target=cli.main, args=(command(case, data, run, share),))
    process.start()
    while process.is_alive() and (not log.exists() or log.stat().st_mtime_ns == before):
        time.sleep(0.01)
    return process


def _finish(case: str, data: Dataset, run: Path, share: float = 1.0) -> None:
    process = _start(case, data, run, share)
    process.join()
    assert process.exitcode == 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", CASES)
def test_killed_at_twenty_random_moments(stripes, tmp_path: Path, case: str) -> None:
    data, moments = stripes(), random.Random(case)
    _finish(case, data, tmp_path / "whole")
    reached = []
    for _ in range(20):
        process = _start(case, data, tmp_path / "killed")
        time.sleep(moments.uniform(0, 1))
        assert process.is_alive(), "the training is too short to be killed twenty times"
        process.kill()
        process.join()
        reached.append(Run.open(tmp_path / "killed").status.get("kimg", 0))
    assert len(set(reached)) > 3, "it was killed between checkpoints"
    _finish(case, data, tmp_path / "killed")
    assert_same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize(
    ("case", "share"), [pytest.param("gan", 0.25, marks=pytest.mark.slow), ("autoencoder", 0.03)]
)
def test_killed_and_interrupted_runs_end_like_one_never_stopped(
    stripes, tmp_path: Path, case: str, share: float
) -> None:
    data = stripes()
    _finish(case, data, tmp_path / "whole", share)
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        process = _start(case, data, tmp_path / "cut", share)
        last = checkpoints.list_checkpoints(tmp_path / "cut" / "checkpoints")[-1:]
        while process.is_alive():
            if checkpoints.list_checkpoints(tmp_path / "cut" / "checkpoints")[-1:] != last:
                break
            time.sleep(0.01)
        assert process.pid is not None
        os.kill(process.pid, number)
        process.join()
        if number != signal.SIGKILL and process.exitcode != 0:
            assert process.exitcode == 130
            assert Run.open(tmp_path / "cut").state == "interrupted"
    _finish(case, data, tmp_path / "cut", share)
    state = [state_of(tmp_path / name) for name in ("whole", "cut")]
    assert [name for name in state[0][0] if not torch.equal(state[0][0][name], state[1][0][name])] == []
    assert Run.open(tmp_path / "cut").state == "complete"
