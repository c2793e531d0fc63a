"""How much of a study's time is spent outside the training steps of its cells.

    python benchmarks/study_overhead.py --size 64 --patients 40 --tiles 20

Steps and validations are timed within the classifiers' trainings; the rest of a cell is reading, statistics
of the images, building networks, testing and writing. Times are of the processor (all threads of the
process), so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import collections
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from plenish import settings
from plenish.commands.datasets import make_phantom, split_dataset
from plenish.study import cells
from plenish.study.config import StudyConfig
from plenish.study.experiment import run_study
from plenish.training import classifier


def measure(
    size: int, patients: int, tiles: int, folds: int, steps: int | None, threads: int
) -> dict[str, Any]:
    """Seconds of each kind, and shares of the whole."""
    spent: dict[str, float] = collections.defaultdict(float)

    def timed(owner: Any, name: str, what: str) -> None:
        genuine: Callable[..., Any] = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            start = time.process_time()
            try:
                return genuine(*args, **kwargs)
            finally:
                spent[what] += time.process_time() - start

        setattr(owner, name, wrapper)

    timed(classifier.ClassifierLearner, "step", "steps")
    timed(classifier.ClassifierLearner, "validate", "validation")
    timed(classifier, "channel_statistics", "statistics of the images")
    timed(cells, "classify", "test")
    timed(cells, "compose", "choosing images")
    timed(cells, "run_cell", "cells")
    start = time.process_time()
    torch.optim.AdamW(
        [torch.zeros(1, requires_grad=True)]
    )  # The first optimiser of a process loads a compiler.
    startup = time.process_time() - start
    with tempfile.TemporaryDirectory() as folder, settings.use(quiet=True, threads=threads):
        data = Path(folder) / "data"
        make_phantom(data, patients=patients, tiles=tiles, size=size)
        split_dataset(data)
        start = time.process_time()
        config = StudyConfig(
            arms=("real", "classical", "weighted"), seeds=2, folds=folds or None, steps=steps
        )
        run_study(data, Path(folder) / "study", config)
        whole = time.process_time() - start
    inside = sum(value for name, value in spent.items() if name != "cells")
    spent["rest of cells: reading, writing"] = spent["cells"] - inside
    spent["outside cells: opening, checks, analysis"] = whole - spent["cells"]
    needed = spent["steps"] + spent["validation"]
    return {
        "size": size, "images": patients * tiles, "folds": folds, "threads": threads,
        "whole": round(whole, 2),
        "start-up of torch, once a process": round(startup, 2),
        **{name: round(value, 2) for name, value in spent.items()},
        "share of cells outside steps": round(1 - spent["steps"] / spent["cells"], 4),
        "share of cells outside steps and validation": round(1 - needed / spent["cells"], 4),
        "share of the whole outside steps and validation": round(1 - needed / whole, 4),
    }  # fmt: skip


def main() -> None:
    """Print the measurement as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--patients", type=int, default=40)
    parser.add_argument("--tiles", type=int, default=20)
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--threads", type=int, default=1)
    print(json.dumps(measure(**vars(parser.parse_args())), indent=1))


if __name__ == "__main__":
    main()
