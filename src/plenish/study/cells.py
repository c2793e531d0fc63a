"""One cell of a study: one arm, one seed, one fold → a trained classifier's predictions on the test part."""

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
from plenish.robustness.hardening import train_hardened
from plenish.runs import Run
from plenish.study.arms import Arm
from plenish.study.arms_file import configured
from plenish.study.data import StudyData
from plenish.study.hardened import hardening_of
from plenish.study.robust_test import RobustTest
from plenish.study.schedules import copies, filled_classes, phases_of
from plenish.training.classifier import train_classifier
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_precision import Precision
from plenish.training.engine import stable_seed

Ints = NDArray[np.int64]


class Key(NamedTuple):
    """Which cell.

    Attributes:
        arm: the arm.
        seed: number of the seed, 0, 1, 2, …; the cell's randomness derives from it, the fold and the Run's
            own seed, equally for all arms.
        fold: number of the fold, or None. Folds have random draws of their own, so that they are trainings of
            their own even where they share a train part.
    """

    arm: Arm
    seed: int
    fold: int | None = None


class Cell(NamedTuple):
    """A finished cell.

    Attributes:
        record: the content of its JSON file: `arm`, `seed`, `fold`, `trained_on`, `phases`, `metrics`.
        table: id, group, label, predicted, and one column `p:<class>` per class; where classifiers are
            attacked, `attacked`, the answer under attack.
        external: the same of another Dataset, or None.
    """

    record: dict[str, Any]
    table: pd.DataFrame
    external: pd.DataFrame | None = None


def cell_path(folder: Path, key: Key) -> Path:
    """The JSON file of a cell in a study's folder."""
    fold = "" if key.fold is None else f"-fold{key.fold}"
    return folder / "cells" / f"{key.arm.name}-seed{key.seed}{fold}.json"


def _tables(path: Path, external: bool) -> dict[str, Path]:
    """The files of a cell's predictions by the key of their hash in its JSON file."""
    tables = {"predictions_sha256": path.with_suffix(".parquet")}
    return tables | ({"external_sha256": path.with_suffix(".external.parquet")} if external else {})


def is_finished(folder: Path, key: Key, *, external: bool = False) -> bool:
    """Whether all files of a cell are there."""
    path = cell_path(folder, key)
    return path.is_file() and all(table.is_file() for table in _tables(path, external).values())


def load_cell(folder: Path, key: Key, *, external: bool = False) -> Cell:
    """Read a finished cell.

    Raises:
        InputError: a file of it is damaged, or the predictions are not those of the record.
    """
    path = cell_path(folder, key)
    record = files.read_record(path)
    found = []
    for name, table in _tables(path, external).items():
        if record.get(name) != files.sha256_file(table):
            raise InputError(
                f"{table} was altered after it was written, or is damaged; restore it from a copy, or remove "
                "it with its .json, so that the same command makes the cell again."
            )
        with files.reading(table):
            found.append(pd.read_parquet(table))
    return Cell(record, *found)


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

    Synthetic images are drawn anew for every seed, with the real images' class proportions. Doping draws from
    all synthetic images of the classes that it fills, or from as many copies of real ones as it needs. Where
    there are real images, they come first, and statistics of the images are of them alone.
    """
    real = Images(data.train.images, data.train.codes)
    everything = np.arange(len(real.y), dtype=np.int64)
    sources: dict[str, tuple[Images, Ints]] = {}
    if arm.real:
        sources["real"] = real, everything
    filled = filled_classes(arm, real.y)
    if arm.doping and arm.duplicate:
        sources["duplicate"] = real, copies(real.y, filled, seed)
    elif arm.duplicate:
        whole = np.tile(everything, int(arm.duplicate))
        rest = matched_positions(real.y, real.y, arm.duplicate % 1, seed, "duplicate")
        sources["duplicate"] = real, np.concatenate([whole, rest])
    if arm.uses_synthetic:
        source = data.synthetic[arm.source]
        codes = source.codes
        chosen = matched_positions(codes, real.y, arm.synthetic, seed, "synthetic")
        if arm.shuffled:
            # Doping may fill one class alone, whose images would keep their labels among themselves.
            mixed = np.arange(len(codes)) if arm.doping else chosen
            codes = codes.copy()
            codes[mixed] = np.random.default_rng(stable_seed(seed, "shuffled")).permutation(codes[mixed])
        if arm.doping:
            chosen = np.flatnonzero(filled[codes] > 0)
        sources["synthetic"] = Images(source.rows.images, codes), chosen
    counts = dict.fromkeys(("real", "duplicate", "synthetic"), 0)
    counts |= {kind: len(rows) for kind, (_, rows) in sources.items()}
    joined = join([*sources.values()])
    n_real = counts["real"] + (0 if arm.doping else counts["duplicate"])
    if n_real and (arm.synthetic or arm.doping):
        joined = dataclasses.replace(joined, real=n_real)
    return joined, counts


def run_cell(
    run: Run, key: Key, data: StudyData, config: ClassifierConfig, *, precision: Precision,
    on_step: Callable[[int], None], robust: RobustTest | None = None,
) -> None:  # fmt: skip
    """Train, predict the test part, attack, and write the cell: predictions first, its record last.

    Args:
        run: the study's Run.
        key: which cell.
        data: what to train and test on.
        config: how to train; seed and what the arm says are set here.
        precision: the network's measured preference.
        on_step: called after every step.
        robust: how the classifier is attacked; None: not.
    """
    start = time.monotonic()
    arm, of_fold = key.arm, () if key.fold is None else (key.fold,)
    cell_seed = stable_seed(run.seed, "cell", key.seed, *of_fold)
    train, counts = compose(arm, data, cell_seed)
    config = configured(arm, config, cell_seed)
    names = data.data.labels.names
    phases = phases_of(config, train, len(names))
    val = Images(data.val.images, data.val.codes)
    hardening = hardening_of(arm, robust)
    if hardening is None:
        model = train_classifier(config, train, val, names, precision=precision, on_step=on_step)
    else:
        model = train_hardened(config, hardening, train, val, names, precision=precision, on_step=on_step)
    trained = time.monotonic() - start
    predictions, metrics = classify(model, data.test, prefix="p:")
    if robust is not None:
        robust.add(predictions, metrics, model, data.test, key.fold or 0)
    tables = [predictions]
    if data.external is not None:
        tables.append(classify(model, data.external, prefix="p:")[0])
    record = {
        "arm": arm.name, "seed": key.seed, "fold": key.fold, "metrics": metrics,
        "trained_on": counts, "synthetic_asked": round(arm.synthetic * len(data.train)),
        "phases": phases,
        "steps": config.steps, "best_step": model.step, "precision": model.precision,
        "history": list(model.history), "training_seconds": trained, "seconds": time.monotonic() - start,
    }  # fmt: skip
    record |= {} if hardening is None else {"hardening": dataclasses.asdict(hardening.resolved())}
    path = cell_path(run.path, key)
    with files.reporting_disk(run.path):
        path.parent.mkdir(exist_ok=True)
        for (name, file), table in zip(_tables(path, data.external is not None).items(), tables):
            files.write_bytes(file, table.to_parquet(None, index=False))
            record[name] = files.sha256_file(file)
        files.write_record(path, record)
