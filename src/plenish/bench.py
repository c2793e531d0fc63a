"""`plenish bench`: a training step's speed against the plain way and against the arithmetic limit.

The plain way is the loop of a first tutorial: the same networks, contiguous float32, default Adam, all
gradients, in a process of its own. Its steps, ours and a 2048³ bfloat16 matrix product take turns, so that a
machine whose speed drifts does so for all three. Nominal FLOPs are those of the plain step, whatever a faster
step leaves out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish import files, settings
from plenish.errors import InputError

if TYPE_CHECKING:
    import torch

    from plenish.networks.gan.contract import NetworkConfig
    from plenish.training.engine import Engine
    from plenish.training.method import Adversarial


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
    *, recipe: str = "dcgan", size: int = 64, channels: int = 3, classes: int = 0, batch: int = 64,
    rounds: int = 7, width: int | None = None, out: Path | None = None,
) -> BenchResult:  # fmt: skip
    """Measure a recipe's training step against the plain loop, in turn.

    Args:
        recipe: whose networks and rules.
        size: image size in pixels.
        channels: 1 or 3.
        classes: number of classes; 0 is unconditional.
        batch: images a step.
        rounds: how often each is timed; medians are reported.
        width: feature maps at half the full resolution, if not the recipe's.
        out: also write the result to this JSON file.
    """
    import torch

    from plenish.datasets.schema import LabelSchema
    from plenish.networks.gan import network_config
    from plenish.recipes import load_recipe
    from plenish.training.engine import Engine
    from plenish.training.method import Adversarial

    if out is not None and out.exists():
        raise InputError(f"{out} already exists; choose another name or remove it first.")
    if rounds < 1 or batch < 2 or classes < 0:
        raise InputError(
            "A benchmark needs at least 1 round, a batch of 2 and no negative number of classes."
        )
    chosen = load_recipe(recipe)
    names = tuple(f"class{i}" for i in range(classes))
    labels = LabelSchema("categorical", names) if classes else LabelSchema()
    options: dict[str, Any] = {
        **chosen.sections["network"],
        "size": size,
        "channels": channels,
        "labels": labels,
    }
    if width is not None:
        options["width"] = width
    config = network_config(chosen.family, options)
    # The plain loop knows neither instance noise nor several generator steps; neither may differ in what is
    # timed.
    rules = Adversarial(batch=batch)
    engine = Engine.from_settings()
    torch.manual_seed(0)
    row: dict[str, Any] = {"recipe": recipe, "size": size, "batch": batch, "classes": classes}
    row |= _race(chosen.family, config, rules, engine, rounds)
    row |= {
        "data_wait_share": data_wait(size, channels, batch, row["seconds_step"]),
        "peak_rss_mb": peak_rss_mb(),
    }
    result = BenchResult([row], {**engine.describe(), "cpu": cpu_model(), "torch": torch.__version__})
    if out is not None:
        files.write_json(out, result.summary())
    return result


def _race(
    family: str, config: NetworkConfig, rules: Adversarial, engine: Engine, rounds: int
) -> dict[str, Any]:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from plenish.networks.gan import build
    from plenish.training import adversarial
    from plenish.training.method import Method
    from plenish.training.players import Players

    x, y = _batch(config, rules, engine)
    players = Players(*build(family, config), Method(rules), engine)
    with FlopCounterMode(display=False) as counter:
        plain_step(*build(family, config), rules, engine.device)(x, y)
    flops = counter.get_total_flops()
    x = x.contiguous(memory_format=torch.channels_last)
    product = matrix_product(engine.device)
    taken: dict[str, list[float]] = {"plain": [], "ours": [], "ratio": [], "share": []}
    with _plain_process(family, config, rules) as plain:
        adversarial.step(players, x, y, 0, (0, 0))
        for number in range(1, rounds + 1):
            slow = plain()
            fast = _turn(
                functools.partial(adversarial.step, players, x, y, number * rules.batch, (0, 0)), engine
            )
            rate = statistics.median(2 * 2048**3 / _timed(product, engine) for _ in range(5))
            taken["plain"].append(slow)
            taken["ours"].append(fast)
            taken["ratio"].append(slow / fast)
            taken["share"].append(flops / fast / rate)
    step, share = statistics.median(taken["ours"]), statistics.median(taken["share"])
    return {
        "plain_images_per_s": rules.batch / statistics.median(taken["plain"]),
        "images_per_s": rules.batch / step, "ratio": statistics.median(taken["ratio"]),
        "ratio_range": [min(taken["ratio"]), max(taken["ratio"])],
        "seconds_step": step, "seconds_kimg": 1000 * step / rules.batch, "gflop_step": flops / 1e9,
        "gflops": flops / step / 1e9, "matrix_gflops": flops / step / 1e9 / share,
        "share_of_matrix_rate": share,
    }  # fmt: skip


def _batch(
    config: NetworkConfig, rules: Adversarial, engine: Engine
) -> tuple[torch.Tensor, torch.Tensor | None]:
    import torch

    shape = (rules.batch, config.channels, config.size, config.size)
    x = torch.rand(shape, device=engine.device) * 2 - 1
    if not config.labels.width:
        return x, None
    one_hot = torch.eye(config.labels.width, device=engine.device)
    return x, one_hot[torch.arange(rules.batch) % config.labels.width]


@contextlib.contextmanager
def _plain_process(family: str, config: NetworkConfig, rules: Adversarial) -> Iterator[Callable[[], float]]:
    """The plain loop in a process of its own, as it would run; each call of what is yielded times one step.

    Within one process the two would share an allocator, and the larger blocks of the one change what the
    other pays for its memory.
    """
    asked = settings.current()
    job = {"family": family, "config": config.to_dict(), "batch": rules.batch, "device": asked.device,
           "threads": asked.threads}  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", "from plenish.bench import serve_plain; serve_plain()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    tell, hear = process.stdin, process.stdout

    def step() -> float:
        tell.write("step\n")
        return float(hear.readline())

    try:
        tell.write(json.dumps(job) + "\n")
        hear.readline()
        yield step
    finally:
        tell.close()
        process.wait(timeout=60)


def serve_plain() -> None:
    """Body of that process: take plain steps when told to, and say how long each took."""
    from plenish.networks.gan import build, network_config
    from plenish.training.engine import Engine
    from plenish.training.method import Adversarial

    job = json.loads(sys.stdin.readline())
    with settings.use(device=job["device"], threads=job["threads"], precision="float32"):
        engine = Engine.from_settings()
    config, rules = network_config(job["family"], job["config"]), Adversarial(batch=job["batch"])
    x, y = _batch(config, rules, engine)
    step = plain_step(*build(job["family"], config), rules, engine.device)
    step(x, y)
    print("ready", flush=True)
    for _ in sys.stdin:
        print(_turn(lambda: step(x, y), engine), flush=True)


def plain_step(
    generator: torch.nn.Module, discriminator: torch.nn.Module, rules: Adversarial, device: torch.device
) -> Callable[[torch.Tensor, torch.Tensor | None], None]:
    """One step of the loop everybody writes first, for comparison."""
    import torch
    from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

    g, d = generator.to(device), discriminator.to(device)
    opt_g = torch.optim.Adam(g.parameters(), rules.lr_g, (rules.beta1, rules.beta2))
    opt_d = torch.optim.Adam(d.parameters(), rules.lr_d, (rules.beta1, rules.beta2))
    ones, zeros = torch.ones(rules.batch, device=device), torch.zeros(rules.batch, device=device)
    z_dim: int = generator.config.z_dim  # type: ignore[assignment,union-attr]

    def step(x: torch.Tensor, y: torch.Tensor | None) -> None:
        opt_d.zero_grad()
        cross_entropy(d(x, y), ones).backward()
        fakes = g(torch.randn(rules.batch, z_dim, device=device), y)
        cross_entropy(d(fakes.detach(), y), zeros).backward()
        opt_d.step()
        opt_g.zero_grad()
        cross_entropy(d(fakes, y), ones).backward()
        opt_g.step()

    return step


def matrix_product(device: torch.device, n: int = 2048) -> Callable[[], Any]:
    """A bfloat16 n³ product, the arithmetic limit a step is held against."""
    import torch

    a = torch.randn(n, n, device=device).bfloat16()
    b = torch.randn(n, n, device=device).bfloat16()
    return lambda: a @ b


_STEPS_A_TURN = 3
"""The first step behind another process's turn finds cold caches; a training does not."""


def _turn(step: Callable[[], Any], engine: Engine) -> float:
    """Median seconds of a few steps in a row."""
    return statistics.median(_timed(step, engine) for _ in range(_STEPS_A_TURN))


def _timed(run: Callable[[], Any], engine: Any) -> float:
    engine.synchronize()
    begun = time.perf_counter()
    run()
    engine.synchronize()
    return time.perf_counter() - begun


def data_wait(size: int, channels: int, batch: int, seconds_step: float, steps: int = 30) -> float:
    """Share of a step of `seconds_step` spent waiting for data that lie in raw shards."""
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
            time.sleep(seconds_step)
        batches.close()
    return waited / (steps * seconds_step)


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_model() -> str:
    """The processor's name and what it has for bfloat16."""
    from plenish.doctor import describe_cpu

    facts = describe_cpu()
    flags = [flag for flag in facts["instructions"] if flag.endswith("bf16")]
    return f"{facts['model']} ({', '.join(flags)})" if flags else str(facts["model"])
