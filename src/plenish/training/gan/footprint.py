"""How much memory a training step takes, from the tensors it keeps for its backward passes."""

from __future__ import annotations

import dataclasses
import gc
import math
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from plenish.errors import InputError
from plenish.networks import gan as networks
from plenish.networks.gan.contract import Generator
from plenish.training.engine import Engine
from plenish.training.gan.method import Method
from plenish.training.gan.state import GANState
from plenish.training.gan.step import step
from plenish.training.hardware import memory
from plenish.training.learner import Clock

GROWN = 10**12
"""So many images seen that a growing network is at its last stage."""
TRANSIENT = 1.5
"""What a step holds for each byte it keeps for the backward pass: gradients under way, casts, workspace."""
LIBRARIES = 150 * 2**20
"""What the libraries take for themselves at the first step, bytes. With both, the estimates for seven recipes
at 64 and 128 px lay between 4 % below and 17 % above the measured growth of resident memory."""
_MUCH_KEPT = 10_000
"""Bytes kept for each number of an image that no shipped recipe reaches; they keep 140 to 2,200."""


@dataclasses.dataclass(frozen=True)
class Footprint:
    """Memory of a training, bytes.

    Attributes:
        weights: parameters and buffers of both networks.
        gradients: of both.
        optimisers: both moments of Adam.
        average: the generator's moving average.
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


def kept_bytes(state: GANState, batch: int, nimg: int = GROWN) -> int:
    """Most bytes kept for backward passes in a step of both networks, all penalties due.

    Args:
        state: the networks; they are trained on grey images by it.
        batch: images.
        nimg: images seen; a network that grows is tried at that stage.
    """
    state.grow(nimg)
    x, y = state.grey_images(batch)
    now = most = 0
    # Storages that several operations keep count once. Weights, held from the start, do not count.
    parameters = (*state.g.parameters(), *state.d.parameters())
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
        for number in range(state.method.adversarial.d_steps):
            step(state, x, y, Clock(0, 0, nimg, number))
    gc.collect()
    return most


def heaviest(method: Method, generator: Generator) -> tuple[int, int]:
    """The stage of a growing network whose batches hold the most pixels; others have one stage.

    Returns:
        Images seen at that stage, after its fading, and its batch.
    """
    growth, sizes = method.growth, [generator.stage_size(number) for number in range(generator.stages)]
    fade, stable = 1000 * growth.fade_kimg, 1000 * growth.stable_kimg
    ends = [stable + stage * (fade + stable) for stage in range(len(sizes) - 1 - growth.first(sizes))]
    found = []
    for nimg in (*(max(0, math.ceil(end) - 1) for end in ends), GROWN):
        stage = growth.at(nimg, sizes, method.adversarial.batch)
        size = sizes[stage.number]
        found.append((stage.batch * size**2, size, nimg, stage.batch))
    return max(found)[2:]


def footprint(
    family: str, network: networks.NetworkConfig, method: Method, engine: Engine, nimg: int = GROWN
) -> Footprint:
    """Estimate the memory of a training from steps with 2 and 4 images, on networks made for it.

    Args:
        family: name of the networks' family.
        network: their configuration.
        method: how they are trained.
        engine: device and precision.
        nimg: images seen; a network that grows is tried at that stage.
    """
    with torch.random.fork_rng(devices=[]):
        state = GANState(*networks.build(family, network), method, engine)
        few, more = kept_bytes(state, 2, nimg), kept_bytes(state, 4, nimg)
    each = max(0, more - few) // 2
    g, d = (sum(p.nbytes for p in part.parameters()) for part in (state.g, state.d))
    buffers = sum(b.nbytes for part in (state.g, state.d) for b in part.buffers())
    return Footprint(g + d + buffers, g + d, 2 * (g + d), g, max(0, few - 2 * each), each)


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


def refuse_too_large(family: str, network: networks.NetworkConfig, method: Method, engine: Engine) -> None:
    """Refuse a batch that would not fit into this machine's memory, before its kernel ends the process.

    Batches far from it are not estimated, nor other devices: these raise an error where memory does not
    suffice.

    Raises:
        InputError: with a batch that fits.
    """
    available = available_bytes(engine.device)
    most = max([method.adversarial.batch, *method.growth.batch_sizes()])
    numbers = most * network.channels * network.size**2
    if engine.device.type != "cpu" or available is None or numbers * _MUCH_KEPT < available:
        return
    with torch.random.fork_rng(devices=[]):
        nimg, asked = heaviest(method, networks.build(family, network)[0])
    needed = footprint(family, network, method, engine, nimg).total(asked)
    if needed <= available:
        return
    # --batch holds at every stage, so what it may be is decided by the last one.
    last = footprint(family, network, method, engine)
    fits = int((available - last.fixed) / (TRANSIENT * max(1, last.kept_each)))
    sizes = f"about {needed / 2**30:.1f} GiB, and {available / 2**30:.1f} GiB are free"
    if fits < 2:
        raise InputError(f"The training would take {sizes}; use smaller images or a smaller --width.")
    named = fits if fits < 8 else 1 << (fits.bit_length() - 1)  # Beyond a few images, a power of two.
    raise InputError(f"A batch of {asked} would take {sizes}; --batch {named} fits.")
