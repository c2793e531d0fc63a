"""`plenish train generator … --dry-run`: the networks, their memory and speed here; writes nothing."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook

from plenish.datasets.batches import Images
from plenish.progress import plain_duration, say
from plenish.training.footprint import (
    Footprint,
    available_bytes,
    footprint,
    refuse_too_large,
    take_turn,
    throwaway,
    trained_parameters,
)
from plenish.training.generator import GeneratorLearner, GeneratorTask
from plenish.training.hardware import memory
from plenish.training.learner import Clock
from plenish.training.schedules import END

PROBE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Trial:
    """What a training would be.

    Attributes:
        facts: family, batch, parameters, memory, speed, time.
        layers: of each trained network a row for each group of layers: name, output shape, parameters.
    """

    facts: dict[str, Any]
    layers: dict[str, list[dict[str, Any]]]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {**self.facts, **self.layers}


def try_out(task: GeneratorTask) -> Trial:
    """Build the networks, estimate their memory, and train them for some seconds on real batches.

    Args:
        task: what would be trained; a turn of each kind is taken in any case.

    Raises:
        InputError: the batch does not fit into memory.
    """
    refuse_too_large(task)
    available = available_bytes(task.engine.device)  # Before the probe takes of it.
    layers, needed = _examine(task)
    say(f"Training for {PROBE_SECONDS:g} s to see how fast it is; nothing is written.")
    with throwaway(task) as learner:
        batch, speed = learner.batch_size(END), speed_of(learner, PROBE_SECONDS)
        most = "at most " if learner.grows else ""
    facts = {
        "time_for_all": most + plain_duration(speed["seconds_per_kimg"] * task.schedule.kimg),
        "kimg": task.schedule.kimg, "family": task.family, **task.engine.describe(), "batch": batch,
        **{f"parameters_{name}": rows[-1]["parameters"] for name, rows in layers.items()},
        **needed, "memory_available_mib": _mib(available), **speed,
    }  # fmt: skip
    return Trial(facts, layers)


def _examine(task: GeneratorTask) -> tuple[dict[str, list[dict[str, Any]]], dict[str, Any]]:
    """The tables of layers, and the estimate of memory in MiB."""
    with throwaway(task) as learner:
        trained = trained_parameters(learner)
        networks = {
            learner.shown_as.get(name, name): module
            for name, module in learner.modules().items()
            if not trained.isdisjoint(module.parameters())
        }
        layers = layer_tables(networks, lambda: take_turn(learner, 2, END))
        nimg = learner.heaviest()
        return layers, _memory(footprint(learner, nimg), learner.batch_size(nimg))


def _memory(estimate: Footprint, batch: int) -> dict[str, Any]:
    """The estimate in MiB."""
    parts = {
        "memory_weights_mib": estimate.weights, "memory_gradients_mib": estimate.gradients,
        "memory_optimisers_mib": estimate.optimisers, "memory_average_mib": estimate.average,
        "memory_activations_mib": estimate.total(batch) - estimate.total(0),
        "memory_in_all_mib": estimate.total(batch),
    }  # fmt: skip
    return {name: _mib(size) for name, size in parts.items()}


def _mib(size: int | None) -> float | None:
    return None if size is None else round(size / 2**20, 1)


def speed_of(learner: GeneratorLearner, seconds: float) -> dict[str, Any]:
    """Turns on real batches for some seconds: seconds per kimg, and memory before and at its peak.

    Turns of each kind are tried alike and count as often as they come up in a training, so that lazy
    penalties do not count more in a short probe. A network that grows is tried at its last stage, the
    slowest.
    """
    engine = learner.engine
    learner.set_stage(END)
    before, begun = memory("VmRSS", "self/status"), time.perf_counter()
    kinds = learner.turns()
    taken: list[list[float]] = [[] for _ in kinds]
    tried = 0
    # The first turn, with all that is ever due, finds no memory and no kernels ready.
    order = itertools.chain([0], itertools.cycle(reversed(range(len(kinds)))))
    batches = Images.of(learner.task.subset).batches(learner.batch_size(END), seed=0)
    with contextlib.closing(batches) as feed:
        for kind in order:
            spent = []
            for number in kinds[kind][0]:
                batch = next(feed)
                engine.synchronize()
                start = time.perf_counter()
                learner.step(batch, Clock(0, 0, END + tried * batch.total, number))
                engine.synchronize()
                spent.append((time.perf_counter() - start) / batch.total)
                tried += 1
            taken[kind].append(statistics.mean(spent))
            if time.perf_counter() - begun > seconds and all(taken):
                break
    each = per_image([share for _, share in kinds], taken)
    peak = torch.cuda.max_memory_allocated(engine.device) if engine.device.type == "cuda" else None
    return {
        "steps_tried": tried, "images_per_s": round(1 / each, 2),
        "seconds_per_kimg": round(1000 * each, 3), "resident_before_mib": _mib(before),
        "resident_after_mib": _mib(memory("VmRSS", "self/status")), "gpu_peak_mib": _mib(peak),
    }  # fmt: skip


def per_image(shares: list[float], taken: list[list[float]]) -> float:
    """Seconds an image: the median of each kind of turn, weighted by how often that comes up.

    Args:
        shares: of each kind of turn, among all turns.
        taken: seconds an image in the turns of each kind; the very first turn, slower than others of its
            kind, counts only where it is the only one.
    """
    steady = [taken[0][1:] or taken[0], *taken[1:]]
    return sum(share * statistics.median(turns) for share, turns in zip(shares, steady, strict=True))


def layer_tables(
    networks: Mapping[str, torch.nn.Module], run: Callable[[], object]
) -> dict[str, list[dict[str, Any]]]:
    """Of each network a row for each group of layers: name, shape of what it makes of one image, parameters.

    Args:
        networks: by name; lists of layers are taken apart, other groups are not.
        run: passes a batch through them.
    """
    shapes: dict[torch.nn.Module, str] = {}

    def note(module: torch.nn.Module, _: Any, made: Any) -> None:
        if isinstance(made, torch.Tensor):
            shapes[module] = "×".join(str(side) for side in made.shape[1:])

    with register_module_forward_hook(note):
        run()
    return {name: _table(network, shapes) for name, network in networks.items()}


def _table(network: torch.nn.Module, shapes: Mapping[torch.nn.Module, str]) -> list[dict[str, Any]]:
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
