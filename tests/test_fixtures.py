"""Datasets and Runs of every layout are read, or refused in one sentence that names both versions."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from plenish import cli
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import SCHEMA_VERSION
from plenish.errors import InputError
from plenish.runs import LAYOUT, Run

FIXTURES = Path(__file__).parent / "fixtures"


def _versions(kind: str) -> dict[int, Path]:
    return {int(path.name.rpartition("-")[2]): path for path in FIXTURES.glob(f"{kind}-layout-*")}


@pytest.mark.parametrize(("kind", "present"), [("dataset", SCHEMA_VERSION), ("run", LAYOUT)])
def test_there_is_a_fixture_of_every_layout(kind: str, present: int) -> None:
    assert set(_versions(kind)) == set(range(1, present + 1)), "run tests/fixtures/make.py"


@pytest.mark.parametrize("version", sorted(_versions("dataset")))
def test_datasets_of_every_layout(version: int, tmp_path: Path) -> None:
    path = tmp_path / "data"
    shutil.copytree(_versions("dataset")[version], path)
    if version != SCHEMA_VERSION:
        with pytest.raises(InputError, match=rf"\b{version}\b.*\b{SCHEMA_VERSION}\b"):
            Dataset.open(path)
        return
    data = Dataset.open(path)
    line = (np.arange(12) // 2 % 2 * 160 + 40).astype(np.uint8)
    images = data.pixels.read(np.arange(20))
    assert images.shape == (20, 12, 12, 1)
    assert (images[0, :, :, 0] == line).all()
    assert (images[1, :, :, 0] == line[:, None] + 1).all()
    assert data.labels.names == ("across", "down")
    assert data.table["age"].tolist() == list(range(40, 60))
    assert [len(data.split().rows(part)) for part in ("train", "val", "test")] == [12, 4, 4]
    assert data.array("codes")[19].tolist() == [38, 39]
    assert cli.run(["export", str(path), str(tmp_path / "out"), "--as", "folder", "--quiet"]) == 0


@pytest.mark.parametrize("version", sorted(_versions("run")))
def test_runs_of_every_layout(version: int, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(_versions("run")[version], path)
    if version != LAYOUT:
        with pytest.raises(InputError, match=rf"\b{version}\b.*\b{LAYOUT}\b"):
            Run.open(path)
        return
    run = Run.open(path, "generator")
    assert (run.state, run.seed, run.summary()["checkpoints"]) == ("complete", 0, ["kimg-00000.008"])
    assert cli.run(["generate", str(path), str(tmp_path / "made"), "-n", "3", "--quiet"]) == 0
    assert Dataset.open(tmp_path / "made").array("z").shape == (3, 2)
