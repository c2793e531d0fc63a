from __future__ import annotations

import importlib.util
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from fabricate import make_data, make_run

from plenish.datasets.dataset import Dataset
from plenish.runs import LAYOUT

from .classify import make_classifier  # type: ignore[import-not-found]

GENERATOR = Path(__file__).parent.parent / "fixtures" / f"run-layout-{LAYOUT}"
"""A trained generator of 12 pixels, classes across and down, and a z of 2 numbers."""


@dataclass
class Served:
    """A studio in a process of its own.

    Attributes:
        address: http://127.0.0.1:PORT.
        port: its port.
        home: the folder of what it was given: real, synthetic, runs/gan.
        said: what it wrote to its terminal.
        process: the process.
    """

    address: str
    port: int
    home: Path
    said: list[str]
    process: subprocess.Popen[str]


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real and a synthetic Dataset of two classes, and Runs: made up, a generator, a classifier."""
    home = tmp_path_factory.mktemp("studio")
    real = make_data(home / "real", ("normal", "tumour"), n=150, size=16)
    made = {"generator": {"name": "made up", "version": "1", "training_set": "real", "data": {}}}
    make_data(home / "synthetic", ("normal", "tumour"), n=60, size=16, extra=made, seed=1)
    (home / "runs").mkdir()
    make_run(home / "runs" / "gan", real)
    shutil.copytree(GENERATOR, home / "runs" / "tiny")
    make_classifier(home / "runs" / "sides", home / "runs" / "tiny", real)
    return home


@pytest.fixture
def real(given: Path) -> Dataset:
    return Dataset.open(given / "real")


@pytest.fixture
def synthetic(given: Path) -> Dataset:
    return Dataset.open(given / "synthetic")


@pytest.fixture(scope="session")
def served(given: Path) -> Iterator[Served]:
    if importlib.util.find_spec("gradio") is None:
        pytest.skip("Gradio is not installed (pip install 'plenish[studio]')")
    words = ["studio", str(given / "runs"), "--data", str(given / "real"), str(given / "synthetic")]
    words += ["--port", "0", "--new-runs", str(given / "new"), "--upload-mb", "1", "--upload-megapixels", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "plenish", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    said: list[str] = []
    assert process.stderr is not None
    for line in process.stderr:
        said.append(line)
        if found := re.search(r"http://127\.0\.0\.1:(\d+)/", line):
            break
    else:
        raise AssertionError("".join(said))
    threading.Thread(target=lambda: said.extend(process.stderr or []), daemon=True).start()
    yield Served(f"http://127.0.0.1:{found[1]}", int(found[1]), given, said, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(300) in (0, 130)
