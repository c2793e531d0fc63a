"""Killed at random moments, a training ends like one never stopped: bit for bit, one case a kind of state."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

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
        "gan", "--recipe", "small-stylegan2", *GAN[1:], "network.w_dim=8", "penalty.path=2",
        "penalty.path_interval=2", "adversarial.style_mixing=0.9",
    ],
    "autoencoder": [
        "autoencoder", "--filters", "4", "4", "--latent-features", "4", "--batch", "8", "--patience", "0",
        "--no-errors", "--options", "schedule.keep=2", "schedule.evaluate_epochs=2", "training.denoise=0.1",
    ],
}  # fmt: skip
LENGTHS = {"gan": 8.0, "growth": 5.0, "ada": 6.0, "path length": 3.0, "autoencoder": 500}
"""kimg, or epochs: long enough to be killed twenty times."""


def command(case: str, data: Dataset, run: Path, share: float = 1.0) -> list[str]:
    """The training of a case, with a share of its usual length."""
    verb, *options = CASES[case]
    length = "--epochs" if verb == "autoencoder" else "--kimg"
    return [
        sys.executable, "-m", "plenish", "train", verb, str(data.path), str(run), length,
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


def _start(case: str, data: Dataset, run: Path, share: float = 1.0) -> subprocess.Popen[bytes]:
    """Start or resume a training; returns once it has begun to log, or has ended."""
    log = run / "metrics.jsonl"
    before = log.stat().st_mtime_ns if log.exists() else 0
    process = subprocess.Popen(
        command(case, data, run, share), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while process.poll() is None and (not log.exists() or log.stat().st_mtime_ns == before):
        time.sleep(0.01)
    return process


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_killed_at_twenty_random_moments(stripes, tmp_path: Path, case: str) -> None:
    data, moments = stripes(), random.Random(case)
    subprocess.run(command(case, data, tmp_path / "whole"), check=True, capture_output=True)
    reached = []
    for _ in range(20):
        process = _start(case, data, tmp_path / "killed")
        time.sleep(moments.uniform(0, 2))
        assert process.poll() is None, "the training is too short to be killed twenty times"
        process.send_signal(signal.SIGKILL)
        process.wait()
        reached.append(Run.open(tmp_path / "killed").status.get("kimg", 0))
    assert len(set(reached)) > 3, "it was killed between checkpoints"
    subprocess.run(command(case, data, tmp_path / "killed"), check=True, capture_output=True)
    assert_same(tmp_path / "whole", tmp_path / "killed")


@pytest.mark.parametrize("case", ["gan", "autoencoder"])
def test_killed_and_interrupted_runs_end_like_one_never_stopped(stripes, tmp_path: Path, case: str) -> None:
    data, share = stripes(), 0.25
    subprocess.run(command(case, data, tmp_path / "whole", share), check=True, capture_output=True)
    for number in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
        process = _start(case, data, tmp_path / "cut", share)
        last = checkpoints.list_checkpoints(tmp_path / "cut" / "checkpoints")[-1:]
        while process.poll() is None:
            if checkpoints.list_checkpoints(tmp_path / "cut" / "checkpoints")[-1:] != last:
                break
            time.sleep(0.01)
        process.send_signal(number)
        code = process.wait()
        if number != signal.SIGKILL and code != 0:
            assert code == 130
            assert Run.open(tmp_path / "cut").state == "interrupted"
    subprocess.run(command(case, data, tmp_path / "cut", share), check=True, capture_output=True)
    state = [state_of(tmp_path / name) for name in ("whole", "cut")]
    assert [name for name in state[0][0] if not torch.equal(state[0][0][name], state[1][0][name])] == []
    assert Run.open(tmp_path / "cut").state == "complete"
