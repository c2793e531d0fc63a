"""What to say when memory does not suffice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import torch

from plenish.datasets.batches import TrainingImages
from plenish.training.learner import Clock, Learner

_MOST_STEPS = 16


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory did not suffice, on a GPU or on the CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in str(error)


def batch_that_fits(
    build: Callable[[], Learner], images: TrainingImages, nimg: int, asked: int, world: int
) -> str:
    """Try smaller batches on new models, in this process alone, and say which fits.

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
            return f"A batch of {asked} does not fit into memory; --batch {share * world} does."
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        share //= 2
    return f"Not even a batch of {2 * world} fits into memory; use smaller images or a smaller --width."


def _train(learner: Learner, images: TrainingImages, nimg: int, batch: int) -> None:
    """Take steps until each optimiser has taken one."""
    learner.set_stage(nimg)
    with contextlib.closing(images.batches(batch, seed=0, ahead=0)) as feed:
        for number in range(_MOST_STEPS):
            learner.step(next(feed), Clock(0, 0, nimg, number))
            if all(optimiser.state for optimiser in learner.optimisers().values()):
                return
