"""How much memory a training step takes, from the tensors it keeps for its backward passes."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from plenish.datasets.batches import Batch
from plenish.errors import InputError
from plenish.training.generator import GeneratorLearner, GeneratorTask, learner_class
from plenish.training.hardware import memory
from plenish.training.learner import Clock
from plenish.training.schedules import END

TRANSIENT = 1.5
"""What a step holds for each byte it keeps for the backward pass: gradients under way, casts, workspace."""
LIBRARIES = 150 * 2**20
"""What the libraries take for themselves at the first step, bytes. With both, the estimates for seven recipes
of GANs and the flow at 64 to 128 px lay between 4 % below and 17 % above the growth of resident memory."""
_MUCH_KEPT = 10_000
"""Bytes kept for each number of an image that no shipped recipe reaches; they keep 140 to 2,200."""


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Memory of a training, bytes.

    Attributes:
        weights: trained parameters, and the buffers of all networks.
        gradients: of the trained parameters.
        optimisers: their states, such as both moments of Adam.
        average: parameters that no optimiser trains, which are those of moving averages.
        kept: what a step keeps for its backward passes whatever the batch is.
        kept_each: the same for each image of a batch.
    """

    weights: int
    gradients: int
    optimisers: int
    average: int
    kept: int
    kept_each: int

    @property
    def fixed(self) -> int:
        """What does not depend on the batch."""
        return self.weights + self.gradients + self.optimisers + self.average + self.kept + LIBRARIES

    def total(self, batch: int) -> int:
        """Peak of a step with a batch of so many images, an estimate."""
        return self.fixed + int(TRANSIENT * self.kept_each * batch)


@contextlib.contextmanager
def throwaway(task: GeneratorTask) -> Iterator[GeneratorLearner]:
    """A new Learner to try steps with; the random state is afterwards as it was."""
    device = task.engine.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        yield learner_class(task.family)(task)


def take_turn(learner: GeneratorLearner, n: int, nimg: int) -> None:
    """Train on batches of n grey images for a turn in which everything is due, after `nimg` images."""
    network = learner.task.network
    pixels = np.full((n, network.size, network.size, network.channels), 128, np.uint8)
    grey = Batch(0, n, np.arange(n), pixels, np.zeros((n, network.labels.width), np.float32), 0.0)
    learner.set_stage(nimg)
    for number in learner.turns()[0][0]:
        learner.step(grey, Clock(0, 0, nimg, number))


def trained_parameters(learner: GeneratorLearner) -> set[Tensor]:
    """Parameters that an optimiser updates."""
    groups = [group for optimiser in learner.optimisers().values() for group in optimiser.param_groups]
    return {parameter for group in groups for parameter in group["params"]}


def kept_bytes(learner: GeneratorLearner, n: int, nimg: int = END) -> int:
    """Most bytes kept for backward passes in a turn in which everything is due.

    Args:
        learner: what is trained by it, on grey images.
        n: images a batch.
        nimg: images seen.
    """
    now = most = 0
    # Storages that several operations keep count once. Weights, held from the start, do not count.
    parameters = [parameter for module in learner.modules().values() for parameter in module.parameters()]
    holders = Counter(parameter.untyped_storage().data_ptr() for parameter in parameters)

    def keep(tensor: Tensor) -> Callable[[], Tensor]:
        nonlocal now, most
        place, size = tensor.untyped_storage().data_ptr(), tensor.untyped_storage().nbytes()
        now += 0 if holders[place] else size
        most = max(most, now)
        holders[place] += 1

        def kept() -> Tensor:
            return tensor

        weakref.finalize(kept, release, place, size)
        return kept

    def release(place: int, size: int) -> None:
        nonlocal now
        holders[place] -= 1
        now -= 0 if holders[place] else size

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda kept: kept()):
        take_turn(learner, n, nimg)
    gc.collect()
    return most


def footprint(learner: GeneratorLearner, nimg: int = END) -> Footprint:
    """Estimate the memory of a training from steps with 2 and 4 images.

    Args:
        learner: what is trained by it, on grey images.
        nimg: images seen.
    """
    few, more = kept_bytes(learner, 2, nimg), kept_bytes(learner, 4, nimg)
    each = max(0, more - few) // 2
    modules, trained = learner.modules().values(), trained_parameters(learner)
    weights = sum(p.nbytes for p in trained)
    average = sum(p.nbytes for p in {p for module in modules for p in module.parameters()} - trained)
    buffers = sum(b.nbytes for module in modules for b in module.buffers())
    held = [x for optimiser in learner.optimisers().values() for x in optimiser.state.values()]
    states = sum(t.nbytes for state in held for t in state.values() if isinstance(t, Tensor) and t.dim())
    return Footprint(weights + buffers, weights, states, average, max(0, few - 2 * each), each)


def available_bytes(device: torch.device | None = None) -> int | None:
    """Memory this process may still take for training.

    Args:
        device: where it is taken. Of a GPU that is what is free there, with what this process holds of it
            without use; elsewhere what is free on the machine, or what its container leaves.
    """
    if device is not None and device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    free = [memory("MemAvailable"), _container_leaves()]
    known = [number for number in free if number is not None]
    return min(known) if known else None


def _container_leaves() -> int | None:
    """The control group's limit less what is in use, or None without a limit."""
    for limit, used in (
        ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
        ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ):
        try:
            return max(0, int(Path(limit).read_text()) - int(Path(used).read_text()))
        except (OSError, ValueError):  # No such file, or no limit: 'max'.
            continue
    return None


def refuse_too_large(task: GeneratorTask) -> None:
    """Refuse a batch that would not fit into this machine's memory, before its kernel ends the process.

    Batches far from it are not estimated, nor other devices: these raise an error where memory does not
    suffice.

    Raises:
        InputError: with a batch that fits.
    """
    network, device = task.network, task.engine.device
    available = available_bytes(device)
    if device.type != "cpu" or available is None:
        return
    with throwaway(task) as learner:
        nimg = learner.heaviest()
        asked = learner.batch_size(nimg)
        if asked * network.channels * network.size**2 * _MUCH_KEPT < available:
            return
        needed = footprint(learner, nimg).total(asked)
        if needed <= available:
            return
        # --batch holds at every stage, so what it may be is decided by the last one.
        last = footprint(learner)
    fits = int((available - last.fixed) / (TRANSIENT * max(1, last.kept_each)))
    sizes = f"about {needed / 2**30:.1f} GiB, and {available / 2**30:.1f} GiB are free"
    if fits < 2:
        raise InputError(f"The training would take {sizes}; use smaller images or {learner.smaller_network}.")
    named = fits if fits < 8 else 1 << (fits.bit_length() - 1)  # Beyond a few images, a power of two.
    raise InputError(f"A batch of {asked} would take {sizes}; --batch {named} fits.")
