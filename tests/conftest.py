"""Fixtures for all tests, and a watch that no test changes what others rely on."""

from __future__ import annotations

import functools
import gc
import html
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import hypothesis
import matplotlib.figure
import matplotlib.text
import numpy as np
import pytest
import torch

from plenish import parallel, settings
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.metrics import features
from plenish.metrics.domain import DomainConfig
from plenish.report import training
from plenish.report.chart_canvas import Chart
from plenish.training import budget, classifier_time, generator, trial
from plenish.training.gan import learner

# Property tests try the same examples in each run; `--hypothesis-profile default` tries new ones.
hypothesis.settings.load_profile("ci")

# Two workers on two cores: more threads would only wait for each other.
torch.set_num_threads(1)

DEVICE = os.environ.get("PLENISH_TEST_DEVICE", "cpu")
if DEVICE == "cpu":
    # Before anybody asks: what tests leave to --device auto, in processes of their own too, stays here.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    # For accelerators it has not begun to use, torch keeps the stack at each seeding, which takes a
    # millisecond in a test.
    for accelerator in (torch.cuda, torch.mtia, torch.xpu):
        accelerator.manual_seed_all = lambda seed: None


def pytest_collection_finish() -> None:
    """Leave all modules out of garbage collections from now on: each takes some tenths of a second else."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _no_flushing_to_disk() -> Iterator[None]:
    """Leave files to the operating system: waiting for a disk takes some milliseconds a file.

    tests/test_flushing.py looks at what would be flushed, and when.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(autouse=True)
def _leaves_nothing_behind() -> Iterator[None]:
    """Fail a test that leaves the settings, the working directory or torch's threads changed."""
    before = settings.current(), Path.cwd(), torch.get_num_threads(), torch.is_grad_enabled()
    environment = _environment()
    yield
    torch_threads = torch.get_num_threads()
    torch.set_num_threads(before[2])
    assert (settings.current(), Path.cwd(), torch_threads, torch.is_grad_enabled()) == before
    assert _environment() == environment


def _environment() -> dict[str, str]:
    # pytest and torch set variables of their own.
    return {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "TORCH", "KINETO", "KMP_"))}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with settings.use(quiet=True):
        yield


WHOLE = ("datasets", "metrics", "report", "robustness", "studio", "study")
"""Folders whose tests are about what the features of domain extractors tell."""
CHARTS = ("report", "studio")
"""Folders whose tests are about charts."""
SAVE_FIGURE = matplotlib.figure.Figure.savefig
TRAINING_CHARTS = training.training_charts


def _save_words(self: matplotlib.figure.Figure, file: Any, **how: Any) -> None:
    """Write the words of a chart alone; other pictures as ever."""
    if how.get("format") != "svg":
        SAVE_FIGURE(self, file, **how)
        return
    words = [text.get_text() for text in self.findobj(matplotlib.text.Text)]
    file.write(_svg(words))


def _svg(words: Iterable[str]) -> str:
    lines = "".join(f"<text>{html.escape(line)}</text>" for line in words if line)
    return f'<svg viewBox="0 0 1 1">{lines}</svg>'


def _name_curves(title: str, series: Mapping[str, Any], **_: Any) -> Chart:
    """A chart of curves with its words alone."""
    return Chart(title, _svg([title, *series]), f"{title}: {', '.join(series)}.")


@pytest.fixture
def words_of_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no charts, where they are drawn else: for tests about the rest of a page."""
    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", _save_words)


@pytest.fixture(scope="module", autouse=True)
def _short_by_products(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave out charts, and shorten what is made beside a training: of a short one it takes most of the time.

    Domain extractors are fitted for a moment, and few samples are made for a picture or for the statistics of
    batch norm.
    """
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name not in CHARTS:
            patch.setattr(matplotlib.figure.Figure, "savefig", _save_words)
            patch.setattr(training, "training_charts", functools.partial(TRAINING_CHARTS, draw=_name_curves))
        if request.path.parent.name not in WHOLE:
            patch.setattr(features, "DomainConfig", functools.partial(DomainConfig, steps=40, batch=32))
            patch.setattr(generator, "PREVIEWED", 8)
            patch.setattr(learner, "STATISTICS", 32)
        yield


@pytest.fixture(scope="module", autouse=True)
def _one_worker(request: pytest.FixtureRequest) -> Iterator[None]:
    """Work in this process unless a test asks for --workers: starting one takes longer than its work."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name in (*WHOLE, "commands", "latent", "slides", "tests"):
            patch.setattr(parallel, "available_cores", lambda: 1)
        yield


@pytest.fixture(autouse=True)
def _short_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure speeds for a moment: what a try finds is not what these tests are about."""
    for module, name in ((budget, "PROBE_SECONDS"), (budget, "TRIAL_SECONDS"), (trial, "PROBE_SECONDS")):
        monkeypatch.setattr(module, name, 0.2)
    monkeypatch.setattr(classifier_time, "TRIAL_SECONDS", 0.2)
    monkeypatch.setattr(budget, "TRIAL_SAMPLES", 4)


@pytest.fixture
def device() -> Iterator[str]:
    """The device that tests of networks compute on, in full float32: PLENISH_TEST_DEVICE, or the CPU."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield DEVICE
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


MakeStripes = Callable[..., Dataset]


@pytest.fixture(scope="module")
def module_stripes(tmp_path_factory: pytest.TempPathFactory) -> MakeStripes:
    """As `stripes`, for fixtures that all tests of a module share."""
    return functools.partial(make_stripes, tmp_path_factory.mktemp("module"))


@pytest.fixture
def stripes(tmp_path: Path) -> MakeStripes:
    """A maker of small Datasets: stripes whose direction is the class, split 3:1:1 by groups."""
    return functools.partial(make_stripes, tmp_path)


def make_stripes(
    folder: Path,
    name: str = "stripes",
    n: int = 60,
    size: int = 16,
    channels: int = 3,
    classes: int = 2,
    split: bool = True,
) -> Dataset:
    """Write what `stripes` describes into `folder`."""
    rng = np.random.default_rng(0)
    names = tuple(f"class{i}" for i in range(classes))
    labels = LabelSchema("categorical", names) if classes else LabelSchema()
    code = np.arange(n) % max(classes, 1)
    line = (np.arange(size) // 2 % 2 * 160 + 40).astype(np.uint8)
    grids = [
        np.tile(line, (size, 1)),
        np.tile(line[:, None], (1, size)),
        np.full((size, size), 120, np.uint8),
    ]
    pixels = np.stack([grids[c % 3] for c in code])[..., None].repeat(channels, 3)
    pixels = (pixels + rng.integers(0, 40, pixels.shape)).astype(np.uint8)
    parts = np.array(["train", "train", "train", "val", "test"])[np.arange(n) // 4 % 5]
    rows = [
        {"label": names[code[i]] if classes else None, "group": f"g{i // 4}", "source": f"{i}.png"}
        for i in range(n)
    ]
    if split:
        rows = [row | {"part": str(part)} for row, part in zip(rows, parts, strict=True)]
    writer = DatasetWriter(folder / name, name=name, size=size, channels=channels, labels=labels, config={})
    with writer:
        writer.add(pixels, rows)
    return writer.dataset
