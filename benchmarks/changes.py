"""What each change to the baseline gives: a recipe's step with one more of them after another, in turn.

    python -m benchmarks.changes [--recipe dcgan] [--rounds 5] [--out FILE]

On a CPU without bfloat16, or with ONEDNN_MAX_CPU_ISA=AVX2 and ATEN_CPU_CAPABILITY=avx2, all is float32. One
thread, seconds of processor time. The last row is the step of `plenish train`.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.baseline import random_batch
from benchmarks.gan_step import SHOWN, At, OurStep, comparable, method_of
from benchmarks.race import describe_machine, matrix_product, publish, timed
from plenish import settings
from plenish.datasets.schema import LabelSchema
from plenish.networks import shared_batch
from plenish.networks.gan import build, network_config
from plenish.networks.gan.contract import NetworkConfig
from plenish.networks.reference_ops import reference_operators
from plenish.recipes import load_recipe
from plenish.training.engine import Engine
from plenish.training.gan.method import Method
from plenish.training.gan.objectives import objective
from plenish.training.hardware import MATRIX


@dataclasses.dataclass(frozen=True)
class Changes:
    """Which changes a step has."""

    channels_last: bool = False
    fused_adam: bool = False
    skipped_gradients: bool = False
    own_operators: bool = False
    one_pass: bool = False


def changed_step(
    family: str, config: NetworkConfig, method: Method, engine: Engine, on: Changes
) -> Callable[[], None]:
    """A step without penalties: the discriminator's update, then the generator's on the same fakes."""
    g, d = build(family, config)
    layout = torch.channels_last if on.channels_last else torch.contiguous_format
    rules = method.adversarial
    losses = objective(rules.objective)
    for network in (g, d):
        network.to(memory_format=layout)  # type: ignore[call-overload]
    opt_g, opt_d = (
        torch.optim.Adam(network.parameters(), lr, (rules.beta1, rules.beta2), fused=on.fused_adam)
        for network, lr in ((g, rules.lr_g), (d, rules.lr_d))
    )
    x = random_batch(config, rules.batch, engine.device)[0].contiguous(memory_format=layout)

    def step() -> None:
        with contextlib.nullcontext() if on.own_operators else reference_operators(), engine.autocast():
            fakes = g(torch.randn(len(x), config.z_dim), None)
            if on.one_pass:
                with shared_batch.parts(2):
                    real, fake = d(torch.cat([x, fakes.detach()]), None).chunk(2)
            else:
                real, fake = d(x, None), d(fakes.detach(), None)
            opt_d.zero_grad()
            losses.discriminator(real, fake, rules.smoothing).backward()
            opt_d.step()
            d.requires_grad_(not on.skipped_gradients)
            opt_g.zero_grad()
            losses.generator(d(fakes, None), None).backward()
            opt_g.step()
            d.requires_grad_(True)

    return step


def main() -> None:
    """Take turns, print and write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--recipe", default="dcgan")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with settings.use(device="cpu", threads=1):
        engine = Engine.from_settings()
    chosen, at = load_recipe(asked.recipe), SHOWN.get(asked.recipe, At())
    data = {"size": at.size, "channels": at.channels, "labels": LabelSchema()}
    config = network_config(chosen.family, {**chosen.sections["network"], **data})
    method = comparable(method_of(chosen.sections), at.batch)
    names = [field.name for field in dataclasses.fields(Changes)]
    steps: dict[str, Callable[[], Any]] = {
        ", ".join(names[:count]) or "baseline": changed_step(
            chosen.family, config, method, engine, Changes(**dict.fromkeys(names[:count], True))
        )
        for count in range(len(names) + 1)
    }
    steps["plenish"] = OurStep(
        chosen.family, config, method, engine, *random_batch(config, at.batch, engine.device)
    )
    steps["matrix product"] = matrix_product(engine.device, MATRIX)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(asked.rounds + 1):
        for name, step in steps.items():
            seconds = timed(step, engine)
            if number:
                taken[name].append(seconds)
    rate = 2 * MATRIX**3 / statistics.median(taken.pop("matrix product")) / 1e9
    result = {
        **describe_machine(engine), "isa": os.environ.get("ONEDNN_MAX_CPU_ISA"), "recipe": asked.recipe,
        **at._asdict(), "rounds": asked.rounds, "matrix_gflops": rate,
        "steps": {
            name: {
                "seconds": statistics.median(seconds),
                "ratio": statistics.median(
                    a / b for a, b in zip(taken["baseline"], seconds, strict=True)
                ),
            }
            for name, seconds in taken.items()
        },
    }  # fmt: skip
    publish(result, asked.out)


if __name__ == "__main__":
    main()
