"""The race at equal time runs from start to end and keeps each line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from plenish.commands.datasets import make_phantom, split_dataset

HOME = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_line_is_kept(tmp_path: Path) -> None:
    for name, seed in (("data", 0), ("judge", 1)):
        make_phantom(tmp_path / name, patients=10, tiles=10, size=16, seed=seed)
        split_dataset(tmp_path / name)
    words = [
        tmp_path / "data", tmp_path / "judge", "--recipes", "flow-small", "dcgan-small", "--seconds", "0.2",
        "-n", "32", "--steps", "20", "--out", tmp_path / "out.jsonl", "--pictures", tmp_path / "pictures",
    ]  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.equal_compute", *map(str, words)]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [json.loads(line) for line in done.stdout.splitlines()] == lines
    real, *rows = lines[1:]
    assert real["copies"] == 1, "the training images are copies of themselves"
    assert [row["recipe"] for row in rows] == ["flow-small", "dcgan-small"]
    assert all(row["kimg"] > 0 < row["fd"] and 0 <= row["cas"] <= 1 for row in rows)
    assert len(list((tmp_path / "pictures").iterdir())) == 2
