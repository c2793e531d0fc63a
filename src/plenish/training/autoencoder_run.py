"""An autoencoder's Run: what is trained and how, and the training in the Run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plenish.configuration import build_config
from plenish.datasets.batches import check_divisible
from plenish.datasets.dataset import Dataset, Subset
from plenish.errors import InputError
from plenish.files import RESUME_HINT
from plenish.networks.autoencoder import AutoencoderConfig
from plenish.progress import warn
from plenish.runs import Run, warn_of_other_machine
from plenish.training.autoencoder import CHANGEABLE, Schedule
from plenish.training.autoencoder import train as train_in
from plenish.training.engine import Engine
from plenish.training.reconstruction import Method


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


def plan(name: str, sections: Mapping[str, Mapping[str, Any]], dataset: Dataset) -> Plan:
    """What the sections of a recipe make for a Dataset's images.

    Raises:
        InputError: an unknown option, or an impossible value.
    """
    if "size" in sections["network"] or "channels" in sections["network"]:
        raise InputError(
            "Size and channels of an autoencoder are those of the data; import these differently."
        )
    network = AutoencoderConfig.from_dict(
        {**sections["network"], "size": dataset.size, "channels": dataset.channels}
    )
    method = build_config(Method, sections["training"], "training")
    return Plan(name, network, method, build_config(Schedule, sections["schedule"], "schedule"))


def rows_of(subset: Subset, only: Sequence[str] | None) -> Subset:
    """The rows of a part whose class is among `only`; all where that is None.

    Raises:
        InputError: no such class, or none of its images in that part.
    """
    if not only:
        return subset
    names = subset.dataset.labels
    wanted = [names.code(name) for name in only] if subset.dataset.labels.width else []
    kept = subset.where(np.isin(subset.codes, wanted))
    if not len(kept):
        raise InputError(
            f"The {subset.part} part of {subset.dataset.path} has no image of {', '.join(only)}; "
            "give other classes with --only, or another split."
        )
    return kept


def val_rows(dataset: Dataset, split: str) -> Subset | None:
    """The val part; None, with a warning, where the split has none."""
    if "val" not in set(dataset.split(split).part_of):
        warn(f"the split '{split}' has no val part, so nothing stops early, and the newest weights are used.")
        return None
    return dataset.part("val", split, purpose="select")


def open_run(
    path: Path, plan: Plan, train: Subset, seed: int, more: Mapping[str, Any],
    typed: Mapping[str, str] = {},
) -> Run:  # fmt: skip
    """The Run of a plan, made or gone on with.

    Args:
        path: its folder.
        plan: what is trained.
        train: training rows.
        seed: seed of every random draw.
        more: further facts its configuration holds: which rows were chosen.
        typed: the option that sets a configuration key, for messages.

    Raises:
        InputError: the batch is larger than the data, the processes cannot share it equally, or the Run was
            asked something else.
    """
    if plan.method.batch > len(train):
        raise InputError(
            f"--batch {plan.method.batch} is more than the {len(train)} images there are to train on; "
            f"use at most {len(train)}."
        )
    engine = Engine.from_settings()
    check_divisible(plan.method.batch, engine.world)
    config = {
        "recipe": plan.recipe, "network": plan.network.to_dict(),
        "training": dataclasses.asdict(plan.method), "schedule": dataclasses.asdict(plan.schedule),
        "precision": engine.precision, **more,
    }  # fmt: skip
    provenance = train.dataset.provenance(train.split_name) | {"part": "train", "images": len(train)}
    return Run.open_or_create(
        path, "autoencoder", config, data=provenance, seed=seed, may_change=CHANGEABLE, typed=typed
    )


def fit(run: Run, plan: Plan, train: Subset, val: Subset | None, retry: bool = False) -> None:
    """Train in a Run whose lock the caller holds.

    Raises:
        KeyboardInterrupt: it was asked to stop; a checkpoint is written.
        CheckFailed: the training diverged.
    """
    engine = Engine.from_settings()
    warn_of_other_machine(run, engine.describe())
    outcome = train_in(run, train, val, plan.network, plan.method, plan.schedule, engine, retry)
    if outcome == "interrupted":
        raise KeyboardInterrupt(RESUME_HINT)
