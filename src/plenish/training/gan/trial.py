"""`plenish train gan … --dry-run`: the networks, their memory and speed on this machine; writes nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook

from plenish.datasets.batches import Images
from plenish.datasets.dataset import Subset
from plenish.networks.gan import build
from plenish.progress import plain_duration, say
from plenish.training.gan.footprint import (
    GROWN,
    Footprint,
    available_bytes,
    footprint,
    heaviest,
    refuse_too_large,
)
from plenish.training.gan.method import Method
from plenish.training.gan.state import GANState
from plenish.training.gan.step import step
from plenish.training.generator import GeneratorTask
from plenish.training.hardware import memory
from plenish.training.learner import Clock

PROBE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a training would be.

    Attributes:
        facts: family, batch, parameters, memory, speed, time.
        generator: a row for each group of layers: name, output shape, parameters.
        discriminator: the same.
    """

    facts: dict[str, Any]
    generator: list[dict[str, Any]]
    discriminator: list[dict[str, Any]]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**self.facts, "generator": self.generator, "discriminator": self.discriminator}


def try_out(task: GeneratorTask, seconds: float = PROBE_SECONDS) -> Trial:
    """Build the networks, estimate their memory, and train them for some seconds on real batches.

    Args:
        task: what would be trained.
        seconds: length of the probe; a turn of each kind, with and without lazy penalties, is taken in any
            case.

    Raises:
        InputError: the batch does not fit into memory.
    """
    method, engine = Method.of(task.sections), task.engine
    refuse_too_large(task.family, task.network, method, engine)
    available = available_bytes(engine.device)  # Before the probe takes of it.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        g, d = build(task.family, task.network)
        z = g.sample_prior(2, torch.Generator().manual_seed(0))
        y = torch.zeros(2, g.labels.width) if g.labels.width else None
        with torch.no_grad():
            images = g.full_size(g(z, y))
            of_g, of_d = layer_table(g, lambda: g(z, y)), layer_table(d, lambda: d(images, y))
        nimg, largest = heaviest(method, g)
        estimate = footprint(task.family, task.network, method, engine, nimg)
        say(f"Training for {seconds:g} s to see how fast it is; nothing is written.")
        state = GANState(g, d, method, engine)
        state.grow(GROWN)
        speed = _probe(state, task.subset, seconds)
    facts = {
        "family": task.family, **engine.describe(), "batch": state.stage_at(GROWN).batch,
        "parameters_generator": of_g[-1]["parameters"], "parameters_discriminator": of_d[-1]["parameters"],
        **_memory(estimate, largest, available), **speed, "kimg": task.schedule.kimg,
        "time_for_all": plain_duration(speed["seconds_per_kimg"] * task.schedule.kimg),
    }  # fmt: skip
    return Trial(facts, of_g, of_d)


def _memory(estimate: Footprint, batch: int, available: int | None) -> dict[str, Any]:
    """The estimate in MiB."""
    parts = {
        "memory_weights_mib": estimate.weights, "memory_gradients_mib": estimate.gradients,
        "memory_adam_mib": estimate.optimisers, "memory_average_mib": estimate.average,
        "memory_activations_mib": estimate.total(batch) - estimate.total(0),
        "memory_in_all_mib": estimate.total(batch), "memory_available_mib": available,
    }  # fmt: skip
    return {name: _mib(size) for name, size in parts.items()}


def _mib(size: int | None) -> float | None:
    return None if size is None else round(size / 2**20, 1)


def _probe(state: GANState, subset: Subset, seconds: float) -> dict[str, Any]:
    """Turns on real batches for some seconds: seconds per kimg, and memory before and at its peak.

    Turns of each kind are tried alike and count as often as they come up in a training, so that lazy
    penalties do not count more in a short probe. A network that grows is tried at its last stage, the
    slowest.
    """
    engine, labelled = state.engine, state.g.labels.width > 0
    before, begun = memory("VmRSS", "self/status"), time.perf_counter()
    d_steps, kinds = state.method.adversarial.d_steps, turn_kinds(state.method)
    taken: list[list[float]] = [[] for _ in kinds]
    number = 0
    # The first turn, with all that is ever due, finds no memory and no kernels ready.
    order = itertools.chain([0], itertools.cycle(reversed(range(len(kinds)))))
    batches = Images.of(subset).batches(state.stage_at(GROWN).batch, seed=0)
    with contextlib.closing(batches) as feed:
        for kind in order:
            spent = []
            first = kinds[kind][0] * d_steps
            for due in range(first, first + d_steps):
                batch = next(feed)
                engine.synchronize()
                start = time.perf_counter()
                x = engine.to_images(batch.pixels)
                y = torch.from_numpy(batch.y).to(engine.device) if labelled else None
                step(state, x, y, Clock(0, 0, GROWN + number * len(x), due))
                engine.synchronize()
                spent.append((time.perf_counter() - start) / len(x))
                number += 1
            taken[kind].append(statistics.mean(spent))
            if time.perf_counter() - begun > seconds and all(taken):
                break
    each = per_image(kinds, taken)
    peak = torch.cuda.max_memory_allocated(engine.device) if engine.device.type == "cuda" else None
    return {
        "steps_tried": number, "images_per_s": round(1 / each, 2), "seconds_per_kimg": round(1000 * each, 3),
        "resident_before_mib": _mib(before), "resident_after_mib": _mib(memory("VmRSS", "self/status")),
        "gpu_peak_mib": _mib(peak),
    }  # fmt: skip


def turn_kinds(method: Method) -> list[tuple[int, float]]:
    """The kinds of turns of both networks, by which penalties are due; of each its first turn and its share.

    The first kind is that of turn 0, in which everything is due.
    """
    penalty, d_steps = method.penalty, method.adversarial.d_steps
    interval = penalty.interval if penalty.on_gradients else 1
    path = penalty.path_interval if penalty.path else 1
    period = math.lcm(interval // math.gcd(interval, d_steps), path)
    found: dict[tuple[int, bool], list[int]] = {}
    for turn in range(period):
        steps = range(turn * d_steps, (turn + 1) * d_steps)
        due = sum(step % interval == 0 for step in steps), turn % path == 0
        found.setdefault(due, []).append(turn)
    return [(turns[0], len(turns) / period) for turns in found.values()]


def per_image(kinds: list[tuple[int, float]], taken: list[list[float]]) -> float:
    """Seconds an image: the median of each kind of turn, weighted by how often that comes up.

    Args:
        kinds: the kinds of turns.
        taken: seconds an image in the turns of each kind; the very first turn, slower than others of its
            kind, counts only where it is the only one.
    """
    steady = [taken[0][1:] or taken[0], *taken[1:]]
    return sum(share * statistics.median(turns) for (_, share), turns in zip(kinds, steady, strict=True))


def layer_table(network: torch.nn.Module, run: Callable[[], object]) -> list[dict[str, Any]]:
    """A row for each group of layers: its name, the shape of what it makes of one image, its parameters.

    Args:
        network: the network; lists of layers are taken apart, other groups are not.
        run: passes a batch through it.
    """
    shapes: dict[torch.nn.Module, str] = {}

    def note(module: torch.nn.Module, _: Any, made: Any) -> None:
        if isinstance(made, torch.Tensor):
            shapes[module] = "×".join(str(side) for side in made.shape[1:])

    with register_module_forward_hook(note):
        run()
    rows = [_row(name, module, shapes.get(module)) for name, module in _groups(network)]
    whole = _row("in all", network)
    own = whole["parameters"] - sum(row["parameters"] for row in rows)
    if own:
        rows.insert(0, {"layer": "(its own)", "output": None, "parameters": own})
    return [*rows, whole]


def _row(name: str, module: torch.nn.Module, shape: str | None = None) -> dict[str, Any]:
    return {"layer": name, "output": shape, "parameters": sum(p.numel() for p in module.parameters())}


def _groups(network: torch.nn.Module, prefix: str = "") -> Iterable[tuple[str, torch.nn.Module]]:
    """Direct parts of a network by name; members of lists each by itself."""
    for name, module in network.named_children():
        if isinstance(module, (torch.nn.ModuleList, torch.nn.Sequential)):
            yield from _groups(module, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", module
