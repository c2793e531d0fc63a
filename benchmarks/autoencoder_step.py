"""`plenish bench autoencoder`: the speed of its training step against the baseline and the arithmetic limit.

Our step starts from the uint8 images a reader hands over, the baseline's from float images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.baseline import against_baseline
from benchmarks.race import BenchResult, check_new, describe_machine
from plenish.configuration import build_config
from plenish.errors import InputError
from plenish.networks.autoencoder import Autoencoder, AutoencoderConfig
from plenish.progress import say
from plenish.recipes import VERBS, load_recipe
from plenish.training.autoencoder import AutoencoderLearner
from plenish.training.engine import Engine
from plenish.training.reconstruction import Method


def bench(
    recipe: str, size: int, channels: int, batch: int | None, rounds: int, out: Path | None
) -> BenchResult:
    """Measure an autoencoder's step; options are those of `plenish.commands.bench.bench_autoencoder`.

    Raises:
        InputError: impossible options, or a result file that exists.
    """
    check_new(out)
    if rounds < 1 or (batch is not None and batch < 1) or size < 2 or channels not in (1, 3):
        raise InputError("A benchmark needs at least 1 round, a batch of 1, and images of 1 or 3 channels.")
    engine = Engine.from_settings()
    rows = []
    for name, config, method in _asked(recipe, size, channels, batch):
        say(f"{name}: building the network and counting its arithmetic …")
        torch.manual_seed(0)
        row: dict[str, Any] = {"recipe": name, "size": size, "channels": channels, "batch": method.batch}
        row |= {"filters": list(config.filters), "latent_features": config.latent_features}
        job: dict[str, Any] = {
            "network": "autoencoder", "config": config.to_dict(), "method": dataclasses.asdict(method),
        }  # fmt: skip
        ours = our_step(config, method, engine)
        rows.append(row | against_baseline(job, ours, method.batch, engine, rounds))
    result = BenchResult(rows, describe_machine(engine))
    result.save(out)
    return result


def _asked(
    recipe: str, size: int, channels: int, batch: int | None
) -> list[tuple[str, AutoencoderConfig, Method]]:
    """Name, network and method of each autoencoder a recipe describes."""
    chosen = load_recipe(recipe)
    if chosen.kind == "generator" or "training" not in chosen.sections:
        raise InputError(
            f"The recipe {chosen.name} is for 'plenish {VERBS[chosen.kind]}', which trains no autoencoder."
        )
    found = []
    for name, own in (chosen.sections.get("variants") or {"": {}}).items():
        sections = {
            section: {**chosen.sections[section], **(own.get(section) or {})}
            for section in ("network", "training")
        }
        config = AutoencoderConfig.from_dict({**sections["network"], "size": size, "channels": channels})
        training = sections["training"] | ({"batch": batch} if batch else {})
        full = f"{chosen.name}: {name}" if name else chosen.name
        found.append((full, config, build_config(Method, training, "training")))
    return found


def our_step(config: AutoencoderConfig, method: Method, engine: Engine) -> Callable[[], None]:
    """A step as the loop takes it, from uint8 images on."""
    learner = AutoencoderLearner(Autoencoder(config), method, engine)
    pixels = torch.randint(0, 256, (method.batch, config.size, config.size, config.channels)).byte()
    number = 0

    def step() -> None:
        nonlocal number
        learner.update(learner.blocks(pixels), (0, 0, number))
        number += 1

    return step
