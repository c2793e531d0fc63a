"""The table of the rule on generators: alterations are what they are called, and every row is measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from benchmarks.quality import blurred, checkered, noisy, partly_noise, shuffled

from plenish.commands.datasets import make_phantom, split_dataset
from plenish.commands.train_generator import train_gan

HOME = Path(__file__).parents[2]


def test_alterations() -> None:
    grey = np.full((40, 16, 16, 3), 128, np.uint8)
    assert abs(noisy(grey, 12, 0).std() - 12) < 0.5
    assert (blurred(grey, 1) == 128).all()
    assert set(np.unique(checkered(grey, 5))) == {123, 133}
    assert checkered(grey, 5)[0, 0, 0, 0] != checkered(grey, 5)[0, 0, 1, 0]
    images = np.random.default_rng(0).integers(0, 256, grey.shape, np.uint8)
    mixed = shuffled(images, 4, 0)
    assert (np.sort(mixed.reshape(40, -1)) == np.sort(images.reshape(40, -1))).all()
    assert any(
        (mixed[0, :4, :4] == images[0, y : y + 4, x : x + 4]).all()
        for y in (0, 4, 8, 12)
        for x in (0, 4, 8, 12)
    )
    assert (partly_noise(grey, 0.25, 0) != 128).any((1, 2, 3)).sum() == 10


@pytest.mark.slow
def test_real_images_come_first_and_noise_is_undertrained(tmp_path: Path) -> None:
    make_phantom(tmp_path / "data", patients=10, tiles=20, size=16, seed=0)
    split_dataset(tmp_path / "data")
    train_gan(
        tmp_path / "data", tmp_path / "run", recipe="dcgan", kimg=0.1, batch=10, width=4, validation=False
    )
    words = [tmp_path / "data", tmp_path / "run", "-n", "40", "--out", tmp_path / "out.json"]
    command = [sys.executable, "-m", "benchmarks.quality", *map(str, words)]
    done = subprocess.run(command, cwd=HOME, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "out.json").read_text())["rows"]
    real, *others = rows
    assert (real["precision_share"], real["coverage_share"], real["recall_share"]) == (1, 1, 1)
    assert rows[-1]["images"] == "dcgan, 0.1 kimg"
    by_name = {row["images"]: row for row in others}
    assert by_name["real, one class only"]["coverage_share"] < 0.7
    assert by_name["real, 17 % of them pure noise"]["precision_share"] < 0.9
    assert done.stdout.count("\n|") == len(rows) + 2
