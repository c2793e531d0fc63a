"""One way to compare two training steps: in turn with each other and with a matrix product.

A machine whose speed drifts does so for all three, so that ratios within a round say more than rates. The
product is in the fastest precision that the hardware has. Nominal FLOPs are those of the baseline's step,
whatever a faster step leaves out.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import conv_flop_count, flop_registry

from plenish import files
from plenish.datasets.batches import Images
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.progress import progress
from plenish.training.engine import Engine, native_bfloat16
from plenish.training.hardware import MATRIX, describe_cpu

STEPS_A_TURN = 3
"""The first step behind another process's turn finds cold caches; a training does not."""
_LONG_STEP = 2.0
"""Seconds from which one step a turn is enough: caches are cold for a small part of it only."""


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

    def save(self, path: Path | None) -> None:
        """Write the summary to a JSON file, if one was asked for."""
        if path is not None:
            files.write_json(path, self.summary())


def check_new(path: Path | None) -> None:
    """Refuse a result file that exists.

    Raises:
        InputError: it does.
    """
    if path is not None and path.exists():
        raise InputError(f"{path} already exists; choose another name or remove it first.")


def race(
    baseline: Callable[[], float], ours: Callable[[], Any], flops: int, images: int, engine: Engine,
    rounds: int,
) -> dict[str, Any]:  # fmt: skip
    """The baseline's step, ours and a matrix product in turn; medians of their times and of their ratios.

    Args:
        baseline: times a turn of the baseline, seconds a step.
        ours: one step of ours.
        flops: of a step of the baseline.
        images: in one step.
        engine: device of all three.
        rounds: how often each has its turn.
    """
    product = matrix_product(engine.device, MATRIX)
    taken: dict[str, list[float]] = {"baseline": [], "ours": [], "ratio": [], "share": []}
    ours()
    with progress("baseline, ours, matrix product", rounds, "rounds") as bar:
        for _ in range(rounds):
            slow, fast = baseline(), turn(ours, engine)
            rate = statistics.median(2 * MATRIX**3 / timed(product, engine) for _ in range(5))
            taken["baseline"].append(slow)
            taken["ours"].append(fast)
            taken["ratio"].append(slow / fast)
            taken["share"].append(flops / fast / rate)
            bar.note(f"{images / fast:.3g} images/s, {slow / fast:.2f} times the baseline")
            bar.advance(1)
    step, share = statistics.median(taken["ours"]), statistics.median(taken["share"])
    return {
        "baseline_images_per_s": images / statistics.median(taken["baseline"]),
        "images_per_s": images / step, "ratio": statistics.median(taken["ratio"]),
        "ratio_range": [min(taken["ratio"]), max(taken["ratio"])],
        "seconds_step": step, "seconds_kimg": 1000 * step / images, "gflop_step": flops / 1e9,
        "gflops": flops / step / 1e9, "matrix_gflops": flops / step / 1e9 / share,
        "matrix_precision": str(product().dtype).removeprefix("torch."), "share_of_matrix_rate": share,
    }  # fmt: skip


def timed(run: Callable[[], Any], engine: Engine) -> float:
    """Seconds of one call, the device's work included.

    On a CPU with one thread these are seconds of processor time, which leave out what other programs take.
    (Several threads also spend it waiting for each other.)
    """
    alone = engine.device.type == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    engine.synchronize()
    begun = clock()
    run()
    engine.synchronize()
    return clock() - begun


def turn(step: Callable[[], Any], engine: Engine) -> float:
    """Median seconds of a few steps in a row; of one, if it is a long one."""
    first = timed(step, engine)
    if first > _LONG_STEP:
        return first
    return statistics.median([first, *(timed(step, engine) for _ in range(STEPS_A_TURN - 1))])


class _FlopCounter(TorchDispatchMode):
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


def count_flops(run: Callable[[], Any]) -> int:
    """FLOPs of the matrix products and convolutions of a call, by torch's own formulas.

    torch's FlopCounterMode also follows modules, which fails where gradients by a leaf are penalised, and its
    formula for the weight gradient of a convolution leaves out the groups.
    """
    counter = _FlopCounter()
    with counter:
        run()
    return counter.total


def matrix_product(device: torch.device, n: int) -> Callable[[], torch.Tensor]:
    """An n³ product, the arithmetic limit a step is held against.

    It is in bfloat16 where the device has it in hardware, else in float32: emulated, one product of 2048³
    takes more than a minute.
    """
    dtype = torch.bfloat16 if native_bfloat16(device) else torch.float32
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    return lambda: a @ b


def data_wait(size: int, channels: int, batch: int, seconds_step: float, steps: int = 30) -> float:
    """Share of a step of `seconds_step` spent waiting for data that lie in raw shards.

    Longer steps are cut to a third of a second: the reader then has less time ahead, never more.
    """
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
        batches = Images.of(subset).batches(batch, seed=0)
        for number, made in enumerate(batches):
            waited += made.waited if number else 0.0
            if number == steps:
                break
            time.sleep(min(seconds_step, 0.3))
        batches.close()
    return waited / (steps * seconds_step)


def peak_rss_mb() -> float:
    """Largest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def describe_machine(engine: Engine) -> dict[str, Any]:
    """Device, precision, the processor's name and what it has for bfloat16, torch's version."""
    facts = describe_cpu()
    flags = [flag for flag in facts["instructions"] if flag.endswith("bf16")]
    cpu = f"{facts['model']} ({', '.join(flags)})" if flags else str(facts["model"])
    return {**engine.describe(), "cpu": cpu, "torch": torch.__version__}


def publish(result: dict[str, Any], out: Path | None) -> None:
    """Print a result as JSON, and write it to a file where one is given."""
    text = json.dumps(result, indent=1)
    print(text)
    if out is not None:
        out.write_text(text + "\n", encoding="utf-8")
