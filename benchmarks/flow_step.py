"""`plenish bench flow`: the speed of a flow's training step against the baseline and the arithmetic limit.

Our step starts from uint8 images and keeps a moving average; the baseline does neither.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from benchmarks.baseline import against_baseline
from benchmarks.race import BenchResult, check_new, describe_machine
from plenish.configuration import build_config
from plenish.datasets.batches import Batch
from plenish.datasets.parts import Subset
from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.networks.families import network_config
from plenish.networks.flow import FlowConfig
from plenish.progress import say
from plenish.recipes import load_recipe
from plenish.training.engine import Engine
from plenish.training.flow import FlowAugment, FlowLearner, FlowMethod
from plenish.training.generator import GeneratorTask, Schedule
from plenish.training.learner import Clock


def bench(
    recipe: str, size: int, channels: int, classes: int, batch: int | None, rounds: int, out: Path | None
) -> BenchResult:
    """Measure a flow's step; options are those of `plenish.commands.bench.bench_flow`.

    Raises:
        InputError: impossible options, a recipe of another family, or a result file that exists.
    """
    check_new(out)
    if rounds < 1 or (batch is not None and batch < 2) or classes < 0:
        raise InputError("A benchmark needs at least 1 round, a batch of 2, and no negative --classes.")
    config, method = plan(recipe, size, channels, classes, batch)
    engine = Engine.from_settings()
    say(f"{recipe}: building the network and counting its arithmetic …")
    torch.manual_seed(0)
    job: dict[str, Any] = {
        "network": "flow", "family": "flow", "config": config.to_dict(), "method": dataclasses.asdict(method),
    }  # fmt: skip
    row: dict[str, Any] = {"recipe": recipe, "size": size, "channels": channels, "classes": classes}
    row |= {"batch": method.batch}
    row |= against_baseline(job, our_step(config, method, engine), method.batch, engine, rounds)
    result = BenchResult([row], describe_machine(engine))
    result.save(out)
    return result


def plan(
    recipe: str, size: int, channels: int, classes: int, batch: int | None = None
) -> tuple[FlowConfig, FlowMethod]:
    """Network and method of a recipe, without shortcuts, which the baseline does not know.

    Raises:
        InputError: a recipe of another family.
    """
    chosen = load_recipe(recipe, "generator")
    if chosen.family != "flow":
        raise InputError(f"The recipe {recipe} is of the family {chosen.family}; use 'plenish bench gan'.")
    names = tuple(f"class{i}" for i in range(classes))
    labels = LabelSchema("categorical", names) if classes else LabelSchema()
    network = {**chosen.sections["network"], "size": size, "channels": channels, "labels": labels}
    training = chosen.sections["training"] | ({"batch": batch} if batch else {}) | {"shortcut_every": 0}
    return network_config("flow", network), build_config(FlowMethod, training, "training")


def our_step(config: FlowConfig, method: FlowMethod, engine: Engine) -> Callable[[], None]:
    """A step as the loop takes it, from uint8 images on, without augmentation."""
    sections = {"training": method, "augment": FlowAugment()}
    # A step asks for no data beside its batch.
    learner = FlowLearner(GeneratorTask("flow", config, sections, Schedule(), cast(Subset, None), engine))
    pixels = torch.randint(0, 256, (method.batch, config.size, config.size, config.channels)).byte()
    rows = np.arange(method.batch)
    y = np.eye(max(1, config.labels.width), dtype=np.float32)[rows % max(1, config.labels.width)]
    batch = Batch(0, method.batch, rows, pixels, y, 0.0)
    number = 0

    def step() -> None:
        nonlocal number
        learner.step(batch, Clock(0, 0, number * method.batch, number))
        number += 1

    return step
