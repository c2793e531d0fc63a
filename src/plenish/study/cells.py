"""One cell of a study: one arm, one seed → a trained classifier's predictions on the test part."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.batches import Images, join
from plenish.errors import InputError
from plenish.metrics.predictions import classify
from plenish.runs import Run
from plenish.study.arms import Arm
from plenish.study.data import StudyData
from plenish.training.classifier import train_classifier
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_precision import Precision
from plenish.training.engine import stable_seed

Ints = NDArray[np.int64]


class Cell(NamedTuple):
    """A finished cell.

    Attributes:
        record: the content of its JSON file: `arm`, `seed`, `trained_on`, `metrics`.
        table: id, group, label, predicted, and one column `p:<class>` per class.
    """

    record: dict[str, Any]
    table: pd.DataFrame


def cell_paths(folder: Path, arm: str, seed: int) -> tuple[Path, Path]:
    """JSON and Parquet of a cell in a study's folder; it is finished where there are both."""
    stem = f"{arm}-seed{seed}"
    return folder / "cells" / f"{stem}.json", folder / "cells" / f"{stem}.parquet"


def load_cell(folder: Path, arm: str, seed: int) -> Cell:
    """Read a finished cell.

    Raises:
        InputError: a file of it is damaged, or the predictions are not those of the record.
    """
    path, table = cell_paths(folder, arm, seed)
    record = files.read_record(path)
    if record.get("predictions_sha256") != files.sha256_file(table):
        raise InputError(
            f"{table} was altered after it was written, or is damaged; restore it from a copy, or remove it "
            "with its .json, so that the same command makes the cell again."
        )
    with files.reading(table):
        return Cell(record, pd.read_parquet(table))


def matched_positions(codes: Ints, like: Ints, dose: float, *key: Any) -> Ints:
    """Positions drawn without replacement so that each class is `dose` times as frequent as in `like`.

    Where a class has too few, all of it is taken. Depends on `key` alone.
    """
    taken = []
    for k in np.unique(like):
        members = np.flatnonzero(codes == k)
        wanted = round(dose * np.count_nonzero(like == k))
        rng = np.random.default_rng(stable_seed(*key, int(k)))
        taken.append(rng.permutation(members)[:wanted])
    return np.sort(np.concatenate(taken)).astype(np.int64)


def compose(arm: Arm, data: StudyData, seed: int) -> tuple[Images, dict[str, int]]:
    """The training images of an arm and seed, and how many of each kind there are.

    Synthetic images are drawn anew for every seed, with the real images' class proportions.
    """
    real = Images(data.train.images, data.train.codes)
    everything = np.arange(len(real.y), dtype=np.int64)
    sources: dict[str, tuple[Images, Ints]] = {}
    if arm.real:
        sources["real"] = real, everything
    if arm.duplicate:
        whole = np.tile(everything, int(arm.duplicate))
        rest = matched_positions(real.y, real.y, arm.duplicate % 1, seed, "duplicate")
        sources["duplicate"] = real, np.concatenate([whole, rest])
    if arm.synthetic:
        assert data.synthetic is not None
        codes = data.synthetic_codes
        chosen = matched_positions(codes, real.y, arm.synthetic, seed, "synthetic")
        if arm.shuffled:
            codes = codes.copy()
            codes[chosen] = np.random.default_rng(stable_seed(seed, "shuffled")).permutation(codes[chosen])
        sources["synthetic"] = Images(data.synthetic.images, codes), chosen
    counts = dict.fromkeys(("real", "duplicate", "synthetic"), 0)
    return join([*sources.values()]), counts | {kind: len(rows) for kind, (_, rows) in sources.items()}


def run_cell(
    run: Run, arm: Arm, number: int, data: StudyData, config: ClassifierConfig, *, precision: Precision,
    on_step: Callable[[int], None],
) -> None:  # fmt: skip
    """Train, predict the test part, and write the cell: predictions first, its record last.

    Args:
        run: the study's Run.
        arm: which arm.
        number: number of the seed, 0, 1, 2, …; the cell's randomness derives from it and the Run's own seed,
            equally for all arms.
        data: what to train and test on.
        config: how to train; seed, augmentation and balance are set here.
        precision: the network's measured preference.
        on_step: called after every step.
    """
    start = time.monotonic()
    cell_seed = stable_seed(run.seed, "cell", number)
    train, counts = compose(arm, data, cell_seed)
    config = dataclasses.replace(
        config, seed=cell_seed, balanced=arm.balanced, augmentation="classical" if arm.classical else "none"
    )
    names = data.data.labels.names
    val = Images(data.val.images, data.val.codes)
    model = train_classifier(config, train, val, names, precision=precision, on_step=on_step)
    predictions, metrics = classify(model, data.test, prefix="p:")
    record = {
        "arm": arm.name, "seed": number, "metrics": metrics,
        "trained_on": counts, "steps": config.steps, "best_step": model.step, "precision": model.precision,
        "history": list(model.history), "seconds": time.monotonic() - start,
    }  # fmt: skip
    record_path, table_path = cell_paths(run.path, arm.name, number)
    with files.reporting_disk(run.path):
        table_path.parent.mkdir(exist_ok=True)
        files.write_bytes(table_path, predictions.to_parquet(None, index=False))
        hashed = {"predictions_sha256": files.sha256_file(table_path)}
        files.write_record(record_path, record | hashed)
