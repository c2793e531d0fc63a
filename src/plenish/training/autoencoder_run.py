"""An autoencoder's Run: what is trained and how, and the training in the Run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plenish.configuration import build_config
from plenish.datasets.batches import Images
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.errors import InputError
from plenish.networks.autoencoder import Autoencoder, AutoencoderConfig
from plenish.progress import warn
from plenish.runs import Run
from plenish.training import trainer
from plenish.training.autoencoder import CHANGEABLE, AutoencoderLearner, Schedule
from plenish.training.engine import Engine
from plenish.training.opening import open_run_on
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


def parts_of(dataset: Dataset, split: str, only: Sequence[str] | None) -> tuple[Subset, Subset | None]:
    """Training rows, and val rows (None, with a warning, where the split has no val part).

    Args:
        dataset: the Dataset.
        split: name of its split.
        only: classes; all where there are none.

    Raises:
        InputError: no such class, or none of its images in a part.
    """
    names = dataset.labels
    wanted = [names.code(name) for name in only or ()] if names.width else []

    def chosen(subset: Subset) -> Subset:
        kept = subset.where(np.isin(subset.codes, wanted)) if only else subset
        if not len(kept):
            raise InputError(
                f"The {subset.part} part of {dataset.path} has no image of {', '.join(only or ())}; "
                "give other classes with --only, or another split."
            )
        return kept

    train = chosen(dataset.part("train", split, purpose="train"))
    if "val" in set(dataset.split(split).part_of):
        return train, chosen(dataset.part("val", split, purpose="select"))
    warn(f"the split '{split}' has no val part, so nothing stops early, and the newest weights are used.")
    return train, None


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
    config = {
        "recipe": plan.recipe, "network": plan.network.to_dict(),
        "training": dataclasses.asdict(plan.method), "schedule": dataclasses.asdict(plan.schedule), **more,
    }  # fmt: skip
    return open_run_on(
        train,
        path,
        "autoencoder",
        config,
        batch=plan.method.batch,
        seed=seed,
        may_change=CHANGEABLE,
        typed=typed,
    )


def fit(run: Run, plan: Plan, train: Subset, val: Subset | None, retry: bool = False) -> None:
    """Train in a Run, from the start or from its newest intact checkpoint.

    Args:
        run: the Run; the caller holds its lock.
        plan: what is trained.
        train: training rows.
        val: rows that decide which checkpoint is best and when to stop; None takes the newest.
        retry: resume after a divergence, with other random draws.

    Raises:
        KeyboardInterrupt: it was asked to stop; a checkpoint is written.
        CheckFailed: the training diverged; the last good checkpoint is kept.
    """
    engine = Engine.from_settings()

    def build() -> AutoencoderLearner:
        return AutoencoderLearner(Autoencoder(plan.network), plan.method, engine, train, val)

    with torch.device("meta"):
        parameters = sum(p.numel() for p in Autoencoder(plan.network).parameters())
    facts = {
        "schedule": dataclasses.asdict(plan.schedule), "encoding": plan.network.encoding_size,
        "parameters": parameters,
    }  # fmt: skip
    schedule = plan.schedule.in_kimg(len(train))
    trainer.train(build, Images.of(train), schedule, run, retry=retry, facts=facts)
