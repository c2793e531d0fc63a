"""`plenish bench gan`: the speed of a GAN's training step against the baseline and the arithmetic limit."""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmarks.baseline import against_baseline, random_batch
from benchmarks.race import BenchResult, check_new, describe_machine, timed
from plenish import settings
from plenish.configuration import build_config
from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.networks.gan import build, network_config
from plenish.networks.gan.contract import NetworkConfig
from plenish.progress import say
from plenish.recipes import load_recipe
from plenish.training.engine import Engine
from plenish.training.gan.augment import Augment
from plenish.training.gan.growth import Growth
from plenish.training.gan.method import PARTS, Method
from plenish.training.gan.penalties import Penalty
from plenish.training.gan.state import GANState
from plenish.training.gan.step import step
from plenish.training.learner import Clock


class At(NamedTuple):
    """What a recipe is measured at unless told otherwise: image size, channels, classes, images a step."""

    size: int = 64
    channels: int = 3
    classes: int = 0
    batch: int = 64


SHOWN: dict[str, At] = {
    "dcgan": At(),
    "comic-vanilla": At(48, 1, 0, 128),
    "brain-mri-wgan-gp": At(128, 3, 0, 32),
    "ham10000-sagan": At(128, 3, 7, 20),
    "celeba-progan": At(64, 3, 0, 16),
    "small-stylegan2": At(64, 3, 0, 32),
    "small-r3gan": At(64, 3, 0, 32),
}
"""One recipe of each family: what `--all` measures."""


def bench(
    recipe: str, every: bool, given: dict[str, int | None], widths: dict[str, int | None], rounds: int,
    out: Path | None,
) -> BenchResult:  # fmt: skip
    """Measure a recipe's training step; options are those of `plenish.commands.bench.bench`.

    Args:
        recipe: whose networks and method.
        every: one recipe of each family instead.
        given: fields of `At` that were asked for.
        widths: options of the network that were asked for.
        rounds: how often each is timed.
        out: also write the result to this JSON file.

    Raises:
        InputError: impossible options, or a result file that exists.
    """
    check_new(out)
    at = SHOWN.get(recipe, At())
    at = at._replace(**{name: value for name, value in given.items() if value is not None})
    for option, value, least in (("rounds", rounds, 1), ("batch", at.batch, 2), ("classes", at.classes, 0)):
        if value < least:
            raise InputError(f"--{option} must be at least {least}, not {value}.")
    if every:
        if recipe != "dcgan" or any(value is not None for value in [*given.values(), *widths.values()]):
            raise InputError("--all measures each family at what suits it; give it no recipe, size or width.")
        parts = [_in_its_own_process(name, rounds) for name in SHOWN]
        rows = list(itertools.chain.from_iterable(part.pop("steps") for part in parts))
        result = BenchResult(rows, parts[0])
    else:
        result = _measure(recipe, at, {k: v for k, v in widths.items() if v is not None}, rounds)
    result.save(out)
    return result


def _in_its_own_process(recipe: str, rounds: int) -> dict[str, Any]:
    """Measure one recipe where no other has left its memory."""
    asked = settings.current()
    command = [
        sys.executable, "-m", "plenish", "bench", "gan", "--recipe", recipe, "--rounds", str(rounds),
        "--json", "--device", asked.device, "--precision", asked.precision,
    ]  # fmt: skip
    command += ["--quiet"] if asked.quiet else []
    command += ["--threads", str(asked.threads)] if asked.threads else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise InputError(f"The measurement of {recipe} ended with exit code {done.returncode}; see above.")
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def _measure(recipe: str, at: At, widths: dict[str, int], rounds: int) -> BenchResult:
    chosen = load_recipe(recipe)
    names = tuple(f"class{i}" for i in range(at.classes))
    labels = LabelSchema("categorical", names) if at.classes else LabelSchema()
    data = {"size": at.size, "channels": at.channels, "labels": labels}
    config = network_config(chosen.family, {**chosen.sections["network"], **widths, **data})
    method = comparable(method_of(chosen.sections), at.batch)
    engine = Engine.from_settings()
    say(f"{recipe}: building the networks and counting their arithmetic …")
    torch.manual_seed(0)
    row: dict[str, Any] = {"recipe": recipe, "family": chosen.family, **at._asdict()}
    job: dict[str, Any] = {
        "network": "gan", "family": chosen.family, "config": config.to_dict(),
        "method": dataclasses.asdict(method),
    }  # fmt: skip
    ours = OurStep(chosen.family, config, method, engine, *random_batch(config, at.batch, engine.device))
    row |= against_baseline(job, ours, at.batch * method.adversarial.d_steps, engine, rounds)
    row |= lazy_shares(chosen.family, config, method_of(chosen.sections), engine, at.batch)
    return BenchResult([row], describe_machine(engine))


def method_of(sections: Mapping[str, Mapping[str, Any]]) -> Method:
    """The training method that a recipe's sections describe.

    Raises:
        InputError: an unknown option, or a value of another kind.
    """
    return Method(**{name: build_config(part, sections[name], name) for name, part in PARTS.items()})


def comparable(method: Method, batch: int) -> Method:
    """The method without what the baseline does not know: noise, augmentation, lazy penalties, mixing.

    A generator that is updated several times a turn is updated once: how often is no property of the step.
    """
    penalty = dataclasses.replace(method.penalty, path=0.0)
    if penalty.interval > 1:
        penalty = Penalty(drift=penalty.drift, clip=penalty.clip)
    rules = dataclasses.replace(
        method.adversarial, batch=batch, g_steps=1, noise_sd=0.0, fake_as_real=0.0, style_mixing=0.0
    )
    # A growing network is measured at its last stage.
    return dataclasses.replace(
        method,
        adversarial=rules,
        penalty=penalty,
        augment=Augment(),
        growth=Growth(start=0, fade_kimg=0, stable_kimg=1e-6),
    )


class OurStep:
    """Training steps on one batch, as the loop takes them: as many as lead to a generator's update."""

    def __init__(
        self, family: str, config: NetworkConfig, method: Method, engine: Engine, x: torch.Tensor,
        y: torch.Tensor | None,
    ) -> None:  # fmt: skip
        """Build networks and optimisers."""
        self.state = GANState(*build(family, config), method, engine)
        self.x, self.y, self.number = x.contiguous(memory_format=torch.channels_last), y, 0
        self.grown = 10**12 if len(self.state.sizes) > 1 else 0
        self.state.grow(self.grown)

    def __call__(self) -> None:
        """Take one generator's turn with the discriminator's before it."""
        for _ in range(self.state.method.adversarial.d_steps):
            nimg = self.grown + self.number * len(self.x)
            step(self.state, self.x, self.y, Clock(0, 0, nimg, self.number))
            self.number += 1


def lazy_shares(
    family: str, config: NetworkConfig, method: Method, engine: Engine, batch: int, repetitions: int = 5
) -> dict[str, float]:
    """What a recipe's lazy penalties add to a step on average, as shares of the step without them."""
    penalty = method.penalty
    lazy = {
        "lazy_penalty_share": penalty.on_gradients and penalty.interval > 1,
        "path_share": penalty.path > 0,
    }
    if not any(lazy.values()):
        return {}
    base = comparable(method, batch)
    x, y = random_batch(config, batch, engine.device)
    steps = {"base": OurStep(family, config, base, engine, x, y)}
    if lazy["lazy_penalty_share"]:
        due = dataclasses.replace(penalty, path=0.0)
        steps["lazy_penalty_share"] = OurStep(
            family, config, dataclasses.replace(base, penalty=due), engine, x, y
        )
    if lazy["path_share"]:
        due = dataclasses.replace(base.penalty, path=penalty.path, path_interval=penalty.path_interval)
        steps["path_share"] = OurStep(family, config, dataclasses.replace(base, penalty=due), engine, x, y)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repetitions + 1):
        for name, taking in steps.items():
            taking.number = 0  # Every penalty is due.
            taken[name].append(timed(taking, engine))
    base_seconds = statistics.median(taken["base"][1:])
    # What is timed is a generator's turn, which holds d_steps of the discriminator's.
    interval = {
        "lazy_penalty_share": penalty.interval / base.adversarial.d_steps,
        "path_share": penalty.path_interval,
    }  # fmt: skip
    return {
        name: (statistics.median(taken[name][1:]) - base_seconds) / base_seconds / interval[name]
        for name in steps
        if name != "base"
    }
