"""One GAN training at work: its schedule and what the parts of its loop share."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish.datasets.dataset import Subset
from plenish.energy import Meter
from plenish.errors import InputError, unknown
from plenish.runs import Run
from plenish.training.engine import Engine
from plenish.training.gan.health import Limits
from plenish.training.gan.state import Players

Validator = Callable[[NDArray[np.uint8], NDArray[np.float32] | None], float]
"""Images and the labels they were made for → a score, lower is better."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long to train and how often to look; all in kimg, thousands of real images shown.

    Attributes:
        kimg: length of the training.
        log_kimg: interval of metrics.jsonl lines.
        sample_kimg: interval of sample grids.
        checkpoint_kimg: interval of checkpoints and of their score on val; one more is written every hour.
        keep: newest checkpoints kept, beside the best.
        validate: synthetic images scored against val at each checkpoint.
        patience: end after this many checkpoints without a better score on val; 0 goes on to the end.
        on_failure: `stop` at the last good checkpoint when the training diverges, or `rollback` to it and go
            on with other random draws.
        rollbacks: how often, before it stops all the same.
    """

    kimg: float = 200.0
    log_kimg: float = 1.0
    sample_kimg: float = 10.0
    checkpoint_kimg: float = 20.0
    keep: int = 3
    validate: int = 500
    patience: int = 0
    on_failure: str = "stop"
    rollbacks: int = 3

    def __post_init__(self) -> None:
        for name in ("kimg", "log_kimg", "sample_kimg", "checkpoint_kimg"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"schedule.{name} must be a number above 0, not {getattr(self, name)}.")
        if self.validate < 2:
            raise InputError(f"schedule.validate must be at least 2 images, not {self.validate}.")
        if self.on_failure not in ("stop", "rollback"):
            raise unknown("way to go on after a failure", self.on_failure, ("stop", "rollback"))
        for name in ("patience", "rollbacks"):
            if getattr(self, name) < 0:
                raise InputError(f"schedule.{name} must not be negative, and is {getattr(self, name)}.")
        if self.keep < 1:
            raise InputError(f"At least one checkpoint must be kept; keep is {self.keep}.")


def crossed(before: int, after: int, kimg: float) -> bool:
    """Whether a multiple of `kimg` lies between two numbers of images seen."""
    interval = max(1, round(1000 * kimg))
    return before // interval != after // interval


CHANGEABLE = tuple(f"schedule.{field.name}" for field in dataclasses.fields(Schedule))


@dataclasses.dataclass
class Training:
    """One GAN training at work: what the loop's parts share.

    `settled` are the images seen when the moving average was last given batch-norm statistics of its own.
    """

    run: Run
    subset: Subset
    schedule: Schedule
    limits: Limits
    engine: Engine
    players: Players
    validator: Validator | None
    nimg: int = 0
    steps: int = 0
    last_batch: int = 0
    settled: int = -1
    attempt: int = 0
    best: dict[str, Any] = dataclasses.field(default_factory=dict)
    meter: Meter = dataclasses.field(default_factory=Meter)

    @property
    def kimg(self) -> float:
        """Thousands of real images shown."""
        return self.nimg / 1000

    @property
    def labelled(self) -> bool:
        """Whether the networks take labels."""
        return self.players.g.labels.width > 0

    def labels(self, y: NDArray[np.float32]) -> Tensor | None:
        """y for the networks, on the device."""
        return torch.from_numpy(y).to(self.engine.device, non_blocking=True) if self.labelled else None
