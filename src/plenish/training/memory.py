"""What to say when memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable

import torch


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory did not suffice, on a GPU or on the CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in str(error)


def batch_that_fits(asked: int, attempt: Callable[[int], None], world: int = 1) -> str:
    """Try smaller batches, and say which fits.

    Args:
        asked: the batch that did not fit, over all processes.
        attempt: trains a step with a batch of so many images, on networks of its own, in this process alone.
        world: how many processes share a batch.
    """
    share = asked // world // 2
    while share >= 2:
        try:
            attempt(share)
            return f"A batch of {asked} does not fit into memory; --batch {share * world} does."
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        share //= 2
    return f"Not even a batch of {2 * world} fits into memory; use smaller images or a smaller --width."
