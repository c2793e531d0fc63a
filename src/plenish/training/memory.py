"""What fits into memory: training images, held on the device so that no step waits for them, and a batch."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish.datasets.batches import Images
from plenish.datasets.pixels import chunks
from plenish.training.learner import Clock, Learner

_SHARE = 0.25
"""Of the device's free memory, what the images may take; the rest is for the training."""
_AT_ONCE = 4096
_MOST_STEPS = 16


def fits(images: Images, device: torch.device) -> bool:
    """Whether the images are worth holding on this device: a GPU with memory to spare."""
    if device.type != "cuda":
        return False
    needed = images.read(np.zeros(1, np.int64)).nbytes * len(images.y)
    return bool(needed <= _SHARE * torch.cuda.mem_get_info(device)[0])


def hold(images: Images, device: torch.device) -> Images:
    """The same images, read once in their order and indexed on the device."""
    held: Tensor | None = None
    for rows in chunks(len(images.y), _AT_ONCE):
        pixels = torch.from_numpy(images.read(rows))
        if held is None:
            held = torch.empty((len(images.y), *pixels.shape[1:]), dtype=torch.uint8, device=device)
        held[rows[0] : rows[-1] + 1] = pixels

    def read(positions: NDArray[np.int64]) -> Tensor:
        assert held is not None
        return held[torch.from_numpy(positions).to(device, non_blocking=True)]

    return dataclasses.replace(images, read=read)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory did not suffice, on a GPU or on the CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in str(error)


def batch_that_fits(build: Callable[[], Learner], images: Images, nimg: int, asked: int, world: int) -> int:
    """A smaller batch, over all processes, that fits, or 0; found on new models, in this process alone.

    Args:
        build: makes a model; the one that memory did not suffice for is given up.
        images: what it is trained on.
        nimg: images seen.
        asked: the batch that did not fit, over all processes.
        world: how many processes share a batch.
    """
    share = asked // world // 2
    while share >= 2:
        try:
            _train(build(), images, nimg, share)
            return share * world
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        share //= 2
    return 0


def _train(learner: Learner, images: Images, nimg: int, batch: int) -> None:
    """Take steps until each optimiser has taken one."""
    learner.set_stage(nimg)
    with contextlib.closing(images.batches(batch, seed=0, ahead=0)) as feed:
        for number in range(_MOST_STEPS):
            learner.step(next(feed), Clock(0, 0, nimg, number))
            if all(optimiser.state for optimiser in learner.optimisers().values()):
                return
