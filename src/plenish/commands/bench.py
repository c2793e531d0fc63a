"""`plenish bench`: the speed of a training step, measured by `benchmarks/` of a source checkout."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from plenish.errors import InputError
from plenish.invocation import command

CHECKOUT = Path(__file__).parents[3]


@command("bench gan", renamed={"every": "all"})
def bench(
    *, recipe: str = "dcgan", every: bool = False, size: int | None = None, channels: int | None = None,
    classes: int | None = None, batch: int | None = None, rounds: int = 7, width: int | None = None,
    max_width: int | None = None, out: Path | None = None,
) -> Any:  # fmt: skip
    """Measure a recipe's training step against the baseline, in turn.

    Args:
        recipe: whose networks and method.
        every: one recipe of each family instead, each in a process of its own.
        size: image size in pixels.
        channels: 1 or 3.
        classes: number of classes; 0 is unconditional.
        batch: images a step.
        rounds: how often each is timed; medians are reported.
        width: feature maps at the highest resolutions, if not the recipe's.
        max_width: most feature maps of any layer, if not the recipe's.
        out: also write the result to this JSON file.
    """
    return _benchmark("gan_step").bench(
        recipe, every, {"size": size, "channels": channels, "classes": classes, "batch": batch},
        {"width": width, "max_width": max_width}, rounds, out,
    )  # fmt: skip


@command("bench autoencoder")
def bench_autoencoder(
    *, recipe: str = "autoencoder", size: int = 128, channels: int = 3, batch: int | None = None,
    rounds: int = 7, out: Path | None = None,
) -> Any:  # fmt: skip
    """Measure an autoencoder's training step against the baseline, in turn.

    Args:
        recipe: whose network and method: one for training, a queue (each variant) or a study.
        size: image size in pixels.
        channels: 1 or 3.
        batch: images a step, if not the recipe's.
        rounds: how often each is timed; medians are reported.
        out: also write the result to this JSON file.
    """
    return _benchmark("autoencoder_step").bench(recipe, size, channels, batch, rounds, out)


@command("bench flow")
def bench_flow(
    *, recipe: str = "flow-small", size: int = 32, channels: int = 3, classes: int = 2,
    batch: int | None = None, rounds: int = 7, out: Path | None = None,
) -> Any:  # fmt: skip
    """Measure a flow's training step against the baseline, in turn.

    Args:
        recipe: whose network and method.
        size: image size in pixels.
        channels: 1 or 3.
        classes: number of classes; 0 is unconditional.
        batch: images a step, if not the recipe's.
        rounds: how often each is timed; medians are reported.
        out: also write the result to this JSON file.
    """
    return _benchmark("flow_step").bench(recipe, size, channels, classes, batch, rounds, out)


def _benchmark(name: str) -> Any:
    """A module of `benchmarks/`, which is not part of the package.

    Raises:
        InputError: Plenish does not run from a source checkout.
    """
    if not (CHECKOUT / "benchmarks" / f"{name}.py").is_file():
        raise InputError(
            "'plenish bench' needs the folder benchmarks/ of Plenish's source code; run it in a checkout "
            "that was installed with 'pip install -e .'."
        )
    if str(CHECKOUT) not in sys.path:
        sys.path.insert(0, str(CHECKOUT))
    return importlib.import_module(f"benchmarks.{name}")
