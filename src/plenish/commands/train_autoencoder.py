"""`plenish train autoencoder`: recipe, Dataset and options become a Run, and its errors image by image."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plenish.commands.request import request_hash
from plenish.configuration import apply_overrides, build_config, check_numbers, parse_overrides
from plenish.errors import InputError
from plenish.files import GOES_ON
from plenish.progress import say, warn
from plenish.recipes import KINDS, Recipe, load_recipe
from plenish.runs import Run, TrainedRun, warn_of_other_machine

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset, Subset
    from plenish.networks.autoencoder import AutoencoderConfig
    from plenish.training.autoencoder import Schedule
    from plenish.training.reconstruction import Method

OPTIONS = {
    "recipe": "--recipe", "seed": "--seed", "only": "--only", "precision": "--precision",
    "network.filters": "--filters", "network.latent_features": "--latent-features",
    "network.variational": "--variational", "training.denoise": "--denoise", "training.batch": "--batch",
    "training.lr": "--lr", "schedule.epochs": "--epochs", "schedule.patience": "--patience",
}  # fmt: skip
"""The option that sets a configuration key, for messages."""
ERRORS = "errors.parquet"
_LEAST = {"batch": 1, "patience": 0}


def train_autoencoder(
    data: Path, run: Path, *, recipe: str = "autoencoder", split: str = "default", seed: int = 0,
    filters: list[int] | None = None, latent_features: int | Literal["none"] | None = None,
    variational: bool | None = None, denoise: float | None = None, only: list[str] | None = None,
    epochs: float | None = None, batch: int | None = None, lr: float | None = None,
    patience: int | None = None, errors: bool = True, retry: bool = False, options: list[str] | None = None,
) -> AutoencoderRun:  # fmt: skip
    """Train a convolutional autoencoder on the train part of a Dataset, or go on training it.

    The same command again goes on where the Run stood; on a CPU with the weights of a run never stopped, bit
    for bit. Ctrl-C writes a checkpoint first. The weights with the lowest error on val are kept, and training
    ends when it has not fallen for --patience epochs. Then the errors of every val and test image are written
    to errors.parquet, in units of [0, 1]; that reading of the test part is counted.

    Args:
        data: the Dataset; it must have been split.
        run: the Run's folder, made if it is not there.
        recipe: a name from `plenish recipe list`, or a YAML file.
        split: the split whose train part is used.
        seed: seed of every random draw.
        filters: feature maps of each convolution; each halves the side of the image.
        latent_features: numbers an image is compressed to, or none for no dense layers.
        variational: predict a distribution of each latent number.
        denoise: standard deviation of noise on the input, in units of [0, 1].
        only: train on these classes alone.
        epochs: length, in passes over the training images; may be raised later.
        batch: images a step.
        lr: learning rate.
        patience: end after this many evaluations without a lower error on val; 0 goes on to the end.
        errors: measure every val and test image at the end.
        retry: go on after a divergence, with other random draws.
        options: further options as section.name=value, such as network.norm=batch.

    Returns:
        The trained Run.
    """
    check_numbers(_LEAST, epochs=epochs, batch=batch, lr=lr, patience=patience)
    from plenish.datasets.dataset import Dataset

    chosen = load_recipe(recipe, "autoencoder")
    direct = {
        "network.filters": filters, "network.latent_features": latent_features,
        "network.variational": variational, "training.denoise": denoise, "training.batch": batch,
        "training.lr": lr, "schedule.epochs": epochs, "schedule.patience": patience,
    }  # fmt: skip
    changes = {key: value for key, value in direct.items() if value is not None}
    changes |= parse_overrides(options or [], KINDS["autoencoder"], "network.norm=batch")
    dataset = Dataset.open(data)
    if dataset.is_synthetic:
        raise InputError(f"{data} is synthetic; an autoencoder is trained on real images.")
    request = request_hash(chosen, changes, dataset, split, seed, only, errors)
    if (run / "config.json").exists():
        before = Run.open(run, "autoencoder")
        whole = before.state == "complete" and (not errors or _is_measured(before))
        if whole and before.status.get("request") == request:
            say(f"{run} is complete; a larger --epochs goes on.")
            return AutoencoderRun(before)
    return AutoencoderRun(_train(dataset, split, run, chosen, changes, seed, only, errors, retry, request))


class AutoencoderRun(TrainedRun):
    """A trained autoencoder's Run."""

    def summary(self) -> dict[str, Any]:
        """The facts of the Run, and its errors on val and test."""
        status, facts = self.run.status, self.run.summary()
        shown = ("run", "id", "state", "recipe", "data", "seed", "kimg", "attempt", "seconds", "energy")
        best = status.get("best", {})
        return {
            **{key: facts[key] for key in shown if key in facts},
            "epoch": status.get("epoch"), "best_epoch": best.get("epoch"), "best": best.get("checkpoint"),
            "errors": status.get("errors", []), "test_reads": status.get("test_reads"),
        }  # fmt: skip


def configurations(
    recipe: Recipe, changes: Mapping[str, Any], dataset: Dataset
) -> tuple[AutoencoderConfig, Method, Schedule]:
    """What a recipe with options makes for a Dataset's images.

    Raises:
        InputError: an unknown option, or an impossible value.
    """
    from plenish.networks.autoencoder import AutoencoderConfig
    from plenish.training.autoencoder import Schedule
    from plenish.training.reconstruction import Method

    if "network.size" in changes or "network.channels" in changes:
        raise InputError(
            "Size and channels of an autoencoder are those of the data; import these differently."
        )
    sections = apply_overrides(recipe.sections, changes)
    network = AutoencoderConfig.from_dict(
        {**sections["network"], "size": dataset.size, "channels": dataset.channels}
    )
    method = build_config(Method, sections["training"], "training")
    return network, method, build_config(Schedule, sections["schedule"], "schedule")


def rows_of(subset: Subset, only: Sequence[str] | None) -> Subset:
    """The rows of a part whose class is among `only`; all where that is None.

    Raises:
        InputError: no such class, or none of its images in that part.
    """
    if not only:
        return subset
    import numpy as np

    names = subset.dataset.labels
    wanted = [names.code(name) for name in only] if subset.dataset.labels.width else []
    kept = subset.where(np.isin(subset.codes, wanted))
    if not len(kept):
        raise InputError(
            f"The {subset.part} part of {subset.dataset.path} has no image of {', '.join(only)}; "
            "give other classes with --only, or another split."
        )
    return kept


def _train(
    dataset: Dataset, split: str, path: Path, recipe: Recipe, changes: Mapping[str, Any], seed: int,
    only: Sequence[str] | None, errors: bool, retry: bool, request: str,
) -> Run:  # fmt: skip
    plan = Plan(recipe.name, *configurations(recipe, changes, dataset))
    train = rows_of(dataset.part("train", split, purpose="train"), only)
    val = val_rows(dataset, split)
    val = rows_of(val, only) if val is not None else None
    more = {"only": list(only) if only else None}
    run = open_run(path, plan, train, seed, more)
    with run.lock():
        run.update_status(request=request)
        fit(run, plan, train, val, retry)
        if errors and not _is_measured(run):
            write_errors(run, dataset, split)
        from plenish.report.build import write_own_report

        write_own_report(run.path, "run")
    return run


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is going to be trained and how.

    Attributes:
        recipe: name of the recipe.
        network: the autoencoder's shape.
        method: how it is trained.
        schedule: length and intervals.
    """

    recipe: str
    network: AutoencoderConfig
    method: Method
    schedule: Schedule


def open_run(path: Path, plan: Plan, train: Subset, seed: int, more: Mapping[str, Any]) -> Run:
    """The Run of a plan, made or gone on with.

    Args:
        path: its folder.
        plan: what is trained.
        train: training rows.
        seed: seed of every random draw.
        more: further facts its configuration holds: which rows were chosen.

    Raises:
        InputError: the batch is larger than the data, or the Run was asked something else.
    """
    if plan.method.batch > len(train):
        raise InputError(
            f"--batch {plan.method.batch} is more than the {len(train)} images there are to train on; "
            f"use at most {len(train)}."
        )
    from plenish.training.autoencoder import CHANGEABLE
    from plenish.training.engine import Engine

    config = {
        "recipe": plan.recipe, "network": plan.network.to_dict(),
        "training": dataclasses.asdict(plan.method), "schedule": dataclasses.asdict(plan.schedule),
        "precision": Engine.from_settings().precision, **more,
    }  # fmt: skip
    provenance = train.dataset.provenance(train.split_name) | {"part": "train", "images": len(train)}
    return Run.open_or_create(
        path, "autoencoder", config, data=provenance, seed=seed, may_change=CHANGEABLE, typed=OPTIONS
    )


def fit(run: Run, plan: Plan, train: Subset, val: Subset | None, retry: bool = False) -> None:
    """Train in a Run whose lock the caller holds.

    Raises:
        KeyboardInterrupt: it was asked to stop; a checkpoint is written.
        CheckFailed: the training diverged.
    """
    from plenish.training.autoencoder import train as train_in
    from plenish.training.engine import Engine

    engine = Engine.from_settings()
    warn_of_other_machine(run, engine.describe())
    outcome = train_in(run, train, val, plan.network, plan.method, plan.schedule, engine, retry)
    if outcome == "interrupted":
        raise KeyboardInterrupt(GOES_ON)


def _is_measured(run: Run) -> bool:
    """Whether the errors of the best weights are there: the test part is not read again for the same."""
    status = run.status
    return (run.path / ERRORS).is_file() and status.get("measured") == _best_or_newest(status)


def _best_or_newest(status: Mapping[str, Any]) -> Any:
    return status.get("best", {}).get("checkpoint") or status.get("kimg")


def val_rows(dataset: Dataset, split: str) -> Subset | None:
    """The val part; None, with a warning, where the split has none."""
    if "val" not in set(dataset.split(split).part_of):
        warn(f"the split '{split}' has no val part, so nothing stops early, and the newest weights are used.")
        return None
    return dataset.part("val", split, purpose="select")


def write_errors(run: Run, dataset: Dataset, split: str) -> None:
    """Write `errors.parquet`: a row for each val and test image of all classes, by the best weights.

    Columns: `id`, `part`, `label`, `group`, `mse` and, from 11 px on, `ssim`, `psnr`; images as numbers in
    [0, 1]. Means go to the Run's status, with how often the test part has been read.
    """
    import pandas as pd
    import pyarrow as pa

    from plenish import files
    from plenish.datasets.tables import write_table
    from plenish.latent.encoding import load_autoencoder
    from plenish.metrics.reconstruction import errors_of

    model, tables = load_autoencoder(run.path), []
    there = set(dataset.split(split).part_of)
    for part in ("val", "test"):
        if part not in there:
            continue
        rows = dataset.part(part, split, purpose="score")
        table = pd.DataFrame({"id": rows.ids, "part": part, "group": rows.groups, **errors_of(model, rows)})
        if dataset.labels.kind == "categorical":
            table.insert(2, "label", rows.labels)
        tables.append(table)
    if not tables:
        return
    table = pd.concat(tables, ignore_index=True)
    with files.reporting_disk(run.path):
        write_table(run.path / ERRORS, pa.Table.from_pandas(table, preserve_index=False))
    measured = [name for name in ("mse", "ssim", "psnr") if name in table]
    means = [
        {"part": part, "images": len(rows), **{name: float(rows[name].mean()) for name in measured}}
        for part, rows in table.groupby("part", sort=False)
    ]
    run.update_status(
        errors=means, test_reads=dataset.test_reads(split), measured=_best_or_newest(run.status)
    )
