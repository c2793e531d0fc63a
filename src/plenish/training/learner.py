"""The contract between the one training loop and each kind of model."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from PIL.Image import Image
from torch import Tensor, nn

from plenish.datasets.batches import Batch
from plenish.training.engine import Engine
from plenish.training.failures import Failure


@dataclasses.dataclass(frozen=True)
class Clock:
    """The progress of a training; every random draw of a step derives from it.

    Attributes:
        seed: the training's seed.
        attempt: how often it was rolled back or retried.
        nimg: images seen before this step, over all processes.
        step: steps taken before this one.
        rank: number of this process.
        world: how many processes there are.
    """

    seed: int
    attempt: int = 0
    nimg: int = 0
    step: int = 0
    rank: int = 0
    world: int = 1

    @property
    def key(self) -> tuple[int, int, int]:
        """Seeds the draws of this step, the same in every process: (seed, attempt, nimg)."""
        return self.seed, self.attempt, self.nimg


@dataclasses.dataclass(frozen=True)
class Preview:
    """A picture of what the model makes.

    Attributes:
        title: its name in TensorBoard.
        picture: the picture.
        values: what was measured on it, for the log; may be empty.
        reference: the data beside it, saved once as `samples/reals.png`; or None.
        more: further pictures for TensorBoard by title, H×W×3 uint8.
    """

    title: str
    picture: Image
    values: Mapping[str, float] = dataclasses.field(default_factory=dict)
    reference: Image | None = None
    more: Mapping[str, NDArray[np.uint8]] = dataclasses.field(default_factory=dict)


class Learner(abc.ABC):
    """A model with its optimisers, trained by `training.trainer.Trainer`.

    Attributes:
        engine: device and precision.
        criteria: which validation values decide the best checkpoint: the first, among equals the next, …;
            by name, 1 where lower is better and -1 where higher is; empty where nothing is validated.
        unit: what messages count the training in: `kimg`, or a key of `position`.
        notes: label and logged name of the values shown beside the progress bar.
        loss: the logged name of the loss.
        rate_option: the option that sets the learning rate, for messages.
        smaller_network: the same of what makes the network smaller: `a smaller --width`.
    """

    engine: Engine
    criteria: Mapping[str, int] = {}
    unit: str = "kimg"
    notes: tuple[tuple[str, str], ...] = ()
    loss: str = "loss"
    rate_option: str = "--lr"
    smaller_network: str = "a smaller network"

    @abc.abstractmethod
    def modules(self) -> dict[str, nn.Module]:
        """Networks and running values by the name of their checkpoint file."""

    @abc.abstractmethod
    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """Optimisers by the name of their checkpoint file."""

    @abc.abstractmethod
    def batch_size(self, nimg: int) -> int:
        """Images of the step after `nimg` images, over all processes; a function of nimg alone."""

    @abc.abstractmethod
    def step(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """Train on a batch, which is this process's slice of it where several processes train together.

        Every optimiser steps through `Engine.minimise`, which sums the gradients over the processes; with
        `loss.backward()` and `optimiser.step()` of its own, each process would train another model.

        Returns:
            Scalars on the device, whose means are logged; nothing in here waits for the device.
        """

    def position(self, nimg: int) -> dict[str, float]:
        """Further measures of progress (epoch, stage of growth), added to log and status."""
        return {}

    def part(self, nimg: int) -> str | None:
        """Name of the part of the training after `nimg` images, or None where it has no parts.

        The checkpoint with which a part begins is kept, so that another Run can start from there.
        """
        return None

    def set_stage(self, nimg: int) -> None:  # noqa: B027
        """Bring what follows from the images seen (the stage of growth) to the state after `nimg` images.

        Called after each step, and after a checkpoint was restored.
        """

    def hear(self, line: Mapping[str, float]) -> Failure | None:
        """Judge a log line; after a resume past lines come again. None while healthy.

        By default a loss that is not finite is a failure.
        """
        if math.isfinite(line.get(self.loss, 0.0)):
            return None
        return Failure("loss-not-finite", line["kimg"], {"rate": self.rate_option})

    def derived(self, line: Mapping[str, float]) -> dict[str, float]:
        """Values to log beside those of a new log line, which they follow from."""
        return {}

    def preview(self, clock: Clock) -> Preview | None:
        """A picture of what the model makes, from draws of the seed alone; asked for at nimg 0 too."""
        return None

    def validate(self, clock: Clock) -> dict[str, float]:
        """Values on the validation images, among them those of `criteria`; empty without such images."""
        return {}

    def validated(self, line: Mapping[str, float]) -> None:  # noqa: B027
        """Take note of what was validated, for what follows from it, such as a rate that falls.

        Called in every process; after a resume all lines come again, in order, with others among them.
        """

    def before_save(self, clock: Clock) -> None:  # noqa: B027
        """Bring the state to what a checkpoint holds, such as batch-norm statistics of a moving average."""
