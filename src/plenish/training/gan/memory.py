"""What to say when memory does not suffice."""

from __future__ import annotations

import dataclasses

import torch

from plenish.networks import gan as networks
from plenish.training.gan import step as adversarial
from plenish.training.gan.state import Players


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory did not suffice, on a GPU or on the CPU."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "allocate memory" in str(error)


def batch_that_fits(players: Players, family: str, nimg: int) -> str:
    """Try smaller batches on fresh networks, and say which fits.

    Args:
        players: those that did not fit; they are given up.
        family: name of their family.
        nimg: images seen; a network that grows is tried at that stage.
    """
    network, engine, method = players.g.config, players.engine, players.method
    asked = players.stage_at(nimg).batch
    vars(players).clear()
    batch = asked // 2
    while batch >= 2:
        try:
            rules = dataclasses.replace(method.adversarial, batch=batch)
            growth = dataclasses.replace(method.growth, batches="")
            smaller = dataclasses.replace(method, adversarial=rules, growth=growth)
            trial = Players(*networks.build(family, network), smaller, engine)
            x = torch.zeros(batch, network.channels, network.size, network.size, device=engine.device)
            y = (
                torch.zeros(batch, network.labels.width, device=engine.device)
                if network.labels.width
                else None
            )
            x = x.contiguous(memory_format=torch.channels_last)
            for number in range(rules.d_steps):
                adversarial.step(trial, x, y, nimg, (0, 0), number)
            return f"A batch of {asked} does not fit into memory; --batch {batch} does."
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        batch //= 2
    return "Not even a batch of 2 fits into memory; use smaller images or a smaller --width."
