"""`plenish bench gan`: a training step's speed against the plain way and against the arithmetic limit.

Steps of the plain loop, ours and a 2048³ matrix product, in the fastest precision that the hardware has,
take turns, so that a machine whose speed drifts does so for all three. Nominal FLOPs are those of the plain
step, whatever a faster step leaves out.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from plenish import files, settings
from plenish.errors import InputError
from plenish.progress import progress, say

if TYPE_CHECKING:
    import torch

    from plenish.networks.gan.contract import NetworkConfig
    from plenish.training.engine import Engine
    from plenish.training.gan.method import Method


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


@dataclasses.dataclass(frozen=True)
class BenchResult:
    """Medians over the rounds.

    Attributes:
        rows: one mapping a measured network.
        machine: what it ran on.
    """

    rows: list[dict[str, Any]]
    machine: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**self.machine, "steps": self.rows}


def bench(
    *, recipe: str = "dcgan", every: bool = False, size: int | None = None, channels: int | None = None,
    classes: int | None = None, batch: int | None = None, rounds: int = 7, width: int | None = None,
    max_width: int | None = None, out: Path | None = None,
) -> BenchResult:  # fmt: skip
    """Measure a recipe's training step against the plain loop, in turn.

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
    if out is not None and out.exists():
        raise InputError(f"{out} already exists; choose another name or remove it first.")
    at = SHOWN.get(recipe, At())
    given = {"size": size, "channels": channels, "classes": classes, "batch": batch}
    at = at._replace(**{name: value for name, value in given.items() if value is not None})
    for option, value, least in (("rounds", rounds, 1), ("batch", at.batch, 2), ("classes", at.classes, 0)):
        if value < least:
            raise InputError(f"--{option} must be at least {least}, not {value}.")
    if every:
        others = {"width": width, "max_width": max_width, **given}
        if recipe != "dcgan" or any(value is not None for value in others.values()):
            raise InputError("--all measures each family at what suits it; give it no recipe, size or width.")
        parts = [_in_its_own_process(name, rounds) for name in SHOWN]
        rows = list(itertools.chain.from_iterable(part.pop("steps") for part in parts))
        result = BenchResult(rows, parts[0])
    else:
        widths = {"width": width, "max_width": max_width}
        result = _measure(recipe, at, {k: v for k, v in widths.items() if v is not None}, rounds)
    if out is not None:
        files.write_json(out, result.summary())
    return result


def _in_its_own_process(recipe: str, rounds: int) -> dict[str, Any]:
    """Measure one recipe where no other has left its memory."""
    asked = settings.current()
    command = [
        sys.executable, "-m", "plenish", "bench", "gan", "--recipe", recipe, "--rounds", str(rounds),
        "--json", "--quiet", "--device", asked.device, "--precision", asked.precision,
    ]  # fmt: skip
    command += ["--threads", str(asked.threads)] if asked.threads else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise InputError(f"The measurement of {recipe} ended with exit code {done.returncode}; see above.")
    content: dict[str, Any] = json.loads(done.stdout)
    return content


def _measure(recipe: str, at: At, widths: dict[str, int], rounds: int) -> BenchResult:
    import torch

    from plenish.commands.train_gan import method_of
    from plenish.datasets.schema import LabelSchema
    from plenish.networks.gan import network_config
    from plenish.recipes import load_recipe
    from plenish.training.engine import Engine

    chosen = load_recipe(recipe)
    names = tuple(f"class{i}" for i in range(at.classes))
    labels = LabelSchema("categorical", names) if at.classes else LabelSchema()
    data = {"size": at.size, "channels": at.channels, "labels": labels}
    config = network_config(chosen.family, {**chosen.sections["network"], **widths, **data})
    method = _comparable(method_of(chosen.sections), at.batch)
    engine = Engine.from_settings()
    say(f"{recipe}: building the networks and counting their arithmetic …")
    torch.manual_seed(0)
    row: dict[str, Any] = {"recipe": recipe, "family": chosen.family, **at._asdict()}
    row |= _race(chosen.family, config, method, engine, rounds)
    row |= _lazy_shares(chosen.family, config, method_of(chosen.sections), engine, at.batch)
    row |= {
        "data_wait_share": data_wait(at.size, at.channels, at.batch, row["seconds_step"]),
        "peak_rss_mb": peak_rss_mb(),
    }
    return BenchResult([row], {**engine.describe(), "cpu": cpu_model(), "torch": torch.__version__})


def _comparable(method: Method, batch: int) -> Method:
    """The method without what a plain loop does not know: noise, augmentation, lazy penalties, mixing.

    A generator that is updated several times a turn is updated once: how often is no property of the step.
    """
    from plenish.training.gan.augment import Augment
    from plenish.training.gan.growth import Growth
    from plenish.training.gan.penalties import Penalty

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


def _race(family: str, config: NetworkConfig, method: Method, engine: Engine, rounds: int) -> dict[str, Any]:
    from plenish.commands.baseline import batch_for, plain_process, plain_step
    from plenish.networks.gan import build

    rules = method.adversarial
    x, y = batch_for(config, rules.batch, engine.device)
    first = plain_step(*build(family, config), method, engine.device)
    flops = count_flops(lambda: first(x, y))
    ours = OurStep(family, config, method, engine, x, y)
    with plain_process(family, config, method) as plain:
        return race(plain, ours, flops, rules.batch * rules.d_steps, engine, rounds)


def race(
    plain: Callable[[], float], ours: Callable[[], None], flops: int, images: int, engine: Engine, rounds: int
) -> dict[str, Any]:
    """The plain step, ours and a matrix product in turn; medians of their times and of their ratios.

    Args:
        plain: times a turn of the plain loop, seconds a step.
        ours: one step of ours.
        flops: of a plain step.
        images: in one step.
        engine: device of all three.
        rounds: how often each has its turn.
    """
    from plenish.commands.baseline import timed, turn
    from plenish.training.hardware import MATRIX

    product = matrix_product(engine.device, MATRIX)
    taken: dict[str, list[float]] = {"plain": [], "ours": [], "ratio": [], "share": []}
    ours()
    with progress("baseline, ours, matrix product", rounds, "rounds") as bar:
        for _ in range(rounds):
            slow, fast = plain(), turn(ours, engine)
            rate = statistics.median(2 * MATRIX**3 / timed(product, engine) for _ in range(5))
            taken["plain"].append(slow)
            taken["ours"].append(fast)
            taken["ratio"].append(slow / fast)
            taken["share"].append(flops / fast / rate)
            bar.note(f"{images / fast:.3g} images/s, {slow / fast:.2f} times the baseline")
            bar.advance(1)
    step, share = statistics.median(taken["ours"]), statistics.median(taken["share"])
    return {
        "plain_images_per_s": images / statistics.median(taken["plain"]),
        "images_per_s": images / step, "ratio": statistics.median(taken["ratio"]),
        "ratio_range": [min(taken["ratio"]), max(taken["ratio"])],
        "seconds_step": step, "seconds_kimg": 1000 * step / images, "gflop_step": flops / 1e9,
        "gflops": flops / step / 1e9, "matrix_gflops": flops / step / 1e9 / share,
        "matrix_precision": str(product().dtype).removeprefix("torch."),
        "share_of_matrix_rate": share,
    }  # fmt: skip


class OurStep:
    """Training steps on one batch, as the loop takes them: as many as lead to a generator's update."""

    def __init__(
        self, family: str, config: NetworkConfig, method: Method, engine: Engine, x: torch.Tensor,
        y: torch.Tensor | None,
    ) -> None:  # fmt: skip
        """Build networks and optimisers."""
        import torch

        from plenish.networks.gan import build
        from plenish.training.gan.state import Players

        self.players = Players(*build(family, config), method, engine)
        self.x, self.y, self.number = x.contiguous(memory_format=torch.channels_last), y, 0
        self.grown = 10**12 if len(self.players.sizes) > 1 else 0

    def __call__(self) -> None:
        """Take one generator's turn with the discriminator's before it."""
        from plenish.training.gan import step as adversarial

        for _ in range(self.players.method.adversarial.d_steps):
            nimg = self.grown + self.number * len(self.x)
            adversarial.step(self.players, self.x, self.y, nimg, (0, 0), self.number)
            self.number += 1


def _lazy_shares(
    family: str, config: NetworkConfig, method: Method, engine: Engine, batch: int, repetitions: int = 5
) -> dict[str, float]:
    """What a recipe's lazy penalties add to a step on average, as shares of the step without them."""
    from plenish.commands.baseline import batch_for, timed

    penalty = method.penalty
    lazy = {
        "lazy_penalty_share": penalty.on_gradients and penalty.interval > 1,
        "path_share": penalty.path > 0,
    }
    if not any(lazy.values()):
        return {}
    base = _comparable(method, batch)
    x, y = batch_for(config, batch, engine.device)
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
        for name, step in steps.items():
            step.number = 0  # Every penalty is due.
            taken[name].append(timed(step, engine))
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


def count_flops(run: Callable[[], Any]) -> int:
    """FLOPs of the matrix products and convolutions of a call, by torch's own formulas.

    torch's FlopCounterMode also follows modules, which fails where gradients by a leaf are penalised, and its
    formula for the weight gradient of a convolution leaves out the groups.
    """
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils.flop_counter import conv_flop_count, flop_registry

    class Counter(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.total = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            formula = flop_registry.get(func._overloadpacket)
            if func._overloadpacket is torch.ops.aten.convolution_backward:
                gradient, x, weight = args[:3]
                once = conv_flop_count(x.shape, weight.shape, gradient.shape, args[7])
                self.total += once * sum(args[10][:2])  # By x, by the weight.
            elif formula is not None:
                self.total += formula(*args, **(kwargs or {}), out_val=made)
            return made

    counter = Counter()
    with counter:
        run()
    return counter.total


def matrix_product(device: torch.device, n: int) -> Callable[[], Any]:
    """An n³ product, the arithmetic limit a step is held against.

    It is in bfloat16 where the device has it in hardware, else in float32: emulated, one product of 2048³
    takes more than a minute.
    """
    import torch

    a, b = (torch.randn(n, n, device=device, dtype=matrix_type(device)) for _ in range(2))
    return lambda: a @ b


def matrix_type(device: torch.device) -> torch.dtype:
    """The precision in which the device computes matrix products fastest."""
    import torch

    from plenish.training.engine import native_bfloat16

    return torch.bfloat16 if native_bfloat16(device) else torch.float32


def data_wait(size: int, channels: int, batch: int, seconds_step: float, steps: int = 30) -> float:
    """Share of a step of `seconds_step` spent waiting for data that lie in raw shards.

    Longer steps are cut to a third of a second: the reader then has less time ahead, never more.
    """
    import tempfile

    import numpy as np

    from plenish.datasets.batches import training_batches
    from plenish.datasets.schema import LabelSchema
    from plenish.datasets.writer import DatasetWriter

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        writer = DatasetWriter(
            Path(folder) / "data", name="noise", size=size, channels=channels, labels=LabelSchema(), config={}
        )
        with writer:
            pixels = rng.integers(0, 256, (1000, size, size, channels), np.uint8)
            writer.add(pixels, [{"part": "train"} for _ in range(1000)])
        subset = writer.dataset.part("train", purpose="train")
        waited = 0.0
        batches = training_batches(subset, batch, seed=0)
        for number, made in enumerate(batches):
            waited += made.waited if number else 0.0
            if number == steps:
                break
            time.sleep(min(seconds_step, 0.3))
        batches.close()
    return waited / (steps * seconds_step)


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_model() -> str:
    """The processor's name and what it has for bfloat16."""
    from plenish.commands.doctor import describe_cpu

    facts = describe_cpu()
    flags = [flag for flag in facts["instructions"] if flag.endswith("bf16")]
    return f"{facts['model']} ({', '.join(flags)})" if flags else str(facts["model"])
