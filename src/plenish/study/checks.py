"""What `plenish study` refuses before it makes its folder."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from plenish.errors import InputError
from plenish.metrics.origin import check_origin
from plenish.runs import Run
from plenish.study.arms import Arm

if TYPE_CHECKING:
    from plenish.study.data import Material


def check_numbers(
    seeds: int, seed: int, level: float, resamples: int, steps: int | None, batch: int, fraction: float,
    learning_rate: float | None,
) -> None:  # fmt: skip
    """Refuse numbers out of range, nan among them; each sentence names its option."""
    for option, count, least in (
        ("seeds", seeds, 1), ("steps", steps, 1), ("batch", batch, 2), ("resamples", resamples, 100),
        ("seed", seed, 0),
    ):  # fmt: skip
        if count is not None and count < least:
            raise InputError(f"--{option} must be at least {least}, not {count}.")
    if not 0.5 <= level < 1:
        raise InputError(f"--level must lie between 0.5 and 1, such as 0.95, not {level}.")
    if not 0 < fraction <= 1:
        raise InputError(f"--fraction must lie above 0 and at most 1, not {fraction}.")
    if learning_rate is not None and not (math.isfinite(learning_rate) and learning_rate > 0):
        raise InputError(f"--learning-rate must be above 0, such as 0.001, not {learning_rate}.")


def check_source(arms: Sequence[Arm], generator: Path | None, synthetic: Path | None) -> None:
    """Refuse synthetic images that are missing, given twice, or to be generated for no arm."""
    if generator is not None and synthetic is not None:
        raise InputError("--generator and --synthetic contradict each other; give one of them.")
    wanting = [arm.name for arm in arms if arm.needs_synthetic]
    if wanting and generator is None and synthetic is None:
        raise InputError(
            f"The arm '{wanting[0]}' needs synthetic images; give --generator RUN or --synthetic DATA, or "
            f"leave it out."
        )
    if generator is not None and not wanting:
        raise InputError(
            "A generator was given, but no arm uses synthetic images; add one such as real+synthetic."
        )


def check_training(name: str, pretrained: Path | None, material: Material) -> None:
    """Build the classifier once, so that a wrong name, size or file of weights is refused in time."""
    import torch

    from plenish.networks.classifier import build_classifier

    data = material.data
    with torch.random.fork_rng(devices=[]):
        build_classifier(name, data.channels, data.size, data.labels.width, pretrained=pretrained or False)


def check_generator(path: Path, material: Material) -> None:
    """Refuse a generator that cannot serve this Dataset, before anything is written."""
    run = Run.open(path, "generator")
    check_origin(run.config["data"], material.data, material.test.split_name, f"The generator in {path}")
    from plenish.latent.sampling import load_generator

    network, data = load_generator(path).network, material.data
    if (network.size, network.channels) != (data.size, data.channels):
        raise InputError(
            f"{path} makes images of {network.size} px and {network.channels} channels, and {data.path} has "
            f"{data.size} px and {data.channels}; train a generator on this Dataset."
        )
    if network.labels.kind != "categorical" or set(network.labels.names) != set(data.labels.names):
        raise InputError(
            f"{path} does not make the classes {', '.join(data.labels.names)}; train a conditional generator "
            f"on {data.path}."
        )
