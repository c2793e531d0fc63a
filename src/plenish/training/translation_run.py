"""A translation's Run: what is trained and how, and the training in the Run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from plenish.configuration import build_config
from plenish.datasets.batches import Images
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.errors import InputError
from plenish.networks.translation import TranslationConfig, Translator
from plenish.progress import warn
from plenish.runs import Run
from plenish.training import trainer
from plenish.training.engine import Engine
from plenish.training.opening import open_run_on
from plenish.training.schedules import Schedule
from plenish.training.sketches import SketchOptions
from plenish.training.translation import CHANGEABLE, Augment, Method, TranslationLearner

SKETCH_CHANNELS = 1


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is going to be trained and how.

    Attributes:
        recipe: name of the recipe.
        network: shape of both networks.
        method: how they are trained.
        augment: how training pictures are changed.
        sketch: how sketches are drawn.
        schedule: length and intervals.
    """

    recipe: str
    network: TranslationConfig
    method: Method
    augment: Augment
    sketch: SketchOptions
    schedule: Schedule


def plan(name: str, sections: Mapping[str, Mapping[str, Any]], dataset: Dataset) -> Plan:
    """What the sections of a recipe make for a Dataset's images.

    Raises:
        InputError: an unknown option, an impossible value, or a size the networks do not make.
    """
    if not {"size", "channels", "inputs"}.isdisjoint(sections["network"]):
        raise InputError(
            "Size and channels of a translation are those of the data; import these differently."
        )
    given = {"size": dataset.size, "channels": dataset.channels, "inputs": SKETCH_CHANNELS}
    return Plan(
        name, TranslationConfig.from_dict({**sections["network"], **given}),
        build_config(Method, sections["training"], "training"),
        build_config(Augment, sections["augment"], "augment"),
        build_config(SketchOptions, sections["sketch"], "sketch"),
        build_config(Schedule, sections["schedule"], "schedule"),
    )  # fmt: skip


def parts_of(dataset: Dataset, split: str) -> tuple[Subset, Subset | None]:
    """Training rows, and val rows (None, with a warning, where the split has no val part)."""
    train = dataset.part("train", split, purpose="train")
    if "val" in set(dataset.split(split).part_of):
        return train, dataset.part("val", split, purpose="select")
    warn(f"the split '{split}' has no val part, so nothing stops early, and the newest weights are used.")
    return train, None


def open_run(path: Path, plan: Plan, train: Subset, seed: int, typed: Mapping[str, str] = {}) -> Run:
    """The Run of a plan, made or gone on with.

    Args:
        path: its folder.
        plan: what is trained.
        train: training rows.
        seed: seed of every random draw.
        typed: the option that sets a configuration key, for messages.

    Raises:
        InputError: the batch is larger than the data, the processes cannot share it equally, or the Run was
            asked something else.
    """
    config = {
        "recipe": plan.recipe, "network": plan.network.to_dict(),
        "training": dataclasses.asdict(plan.method), "augment": dataclasses.asdict(plan.augment),
        "sketch": dataclasses.asdict(plan.sketch), "schedule": dataclasses.asdict(plan.schedule),
    }  # fmt: skip
    return open_run_on(
        train,
        path,
        "translation",
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

    def build() -> TranslationLearner:
        return TranslationLearner(plan.network, plan.method, plan.augment, plan.sketch, engine, val)

    with torch.device("meta"):
        parameters = sum(p.numel() for p in Translator(plan.network).parameters())
    facts = {"schedule": dataclasses.asdict(plan.schedule), "parameters": parameters}
    trainer.train(build, Images.of(train), plan.schedule, run, retry=retry, facts=facts)
