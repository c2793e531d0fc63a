"""Length and intervals of a training, and rates that fall during it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from plenish.configuration import check_fields, option
from plenish.errors import InputError, unknown
from plenish.wording import significant

ON_FAILURE = ("stop", "rollback")
END = 10**12
"""So many images seen that all that changes during a training, such as the stage of growth, has ended."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Length and intervals of a training, in kimg: thousands of images shown.

    Attributes:
        kimg: length of the training.
        log_kimg: interval of metrics.jsonl lines.
        sample_kimg: interval of sample grids.
        checkpoint_kimg: interval of checkpoints and of their score on val; one more is written every hour.
        keep: newest checkpoints kept, beside the best.
        patience: end after this many checkpoints without a better score on val; 0 never stops early.
        on_failure: `stop` at the last good checkpoint when the training diverges, or `rollback` to it and
            resume with other random draws.
        rollbacks: how often, before it stops all the same.
    """

    kimg: float = option(200.0, above=0)
    log_kimg: float = option(1.0, above=0)
    sample_kimg: float = option(10.0, above=0)
    checkpoint_kimg: float = option(20.0, above=0)
    keep: int = option(3, least=1)
    patience: int = option(0, least=0)
    on_failure: str = "stop"
    rollbacks: int = option(3, least=0)

    def __post_init__(self) -> None:
        check_schedule(self)

    @property
    def images(self) -> int:
        """Length of the training in images."""
        return math.ceil(round(1000 * self.kimg, 3))

    def checkpoint_due(self, before: int, after: int) -> bool:
        """Whether a checkpoint is scheduled between two numbers of images seen."""
        return after >= self.images or crossed(before, after, self.checkpoint_kimg)


FEWEST_CHECKPOINTS = 4
"""Checkpoints that a length given by --kimg has at least, so that there are some to choose from."""


def closer(interval: float, kimg: float) -> float:
    """An interval, or less of it where a length would hold fewer than four of it; kimg."""
    return min(interval, significant(kimg / FEWEST_CHECKPOINTS, 4))


def check_schedule(schedule: Any) -> None:
    """Refuse impossible values of a schedule's fields.

    Raises:
        InputError: a length that is not above 0, a negative count, an unknown `on_failure`.
    """
    check_fields(schedule, "schedule")
    if schedule.on_failure not in ON_FAILURE:
        raise unknown("schedule.on_failure", schedule.on_failure, ON_FAILURE)


def crossed(before: int, after: int, kimg: float) -> bool:
    """Whether a multiple of `kimg` lies between two numbers of images seen."""
    interval = max(1, round(1000 * kimg))
    return before // interval != after // interval


def changeable(schedule: type) -> tuple[str, ...]:
    """The keys of a configuration that may differ when a training is resumed: those of its schedule."""
    return tuple(f"schedule.{field.name}" for field in dataclasses.fields(schedule))


def cosine_fall(nimg: int, to: float, kimg: float) -> float:
    """What is left after `nimg` images of a quantity that is 1 at the start.

    Args:
        nimg: images seen.
        to: what is left in the end, 0 to 1.
        kimg: thousands of images in which it falls, by half a cosine wave; 0 for one that does not fall.
    """
    if not kimg:
        return 1.0
    past = min(1.0, nimg / (1000 * kimg))
    return to + (1 - to) * 0.5 * (1 + math.cos(math.pi * past))


def check_fall(name: str, to: float, kimg: float) -> None:
    """Refuse a fall of `name` that is none.

    Raises:
        InputError: `<name>_to` is no share, or only one of `<name>_to` and `<name>_kimg` was given.
    """
    if not 0 <= to <= 1:
        raise InputError(f"{name}_to is a share from 0 to 1, not {to}.")
    if (to < 1) != (kimg > 0):
        raise InputError(f"{name}_to is {to:g} and {name}_kimg {kimg:g}; one does nothing alone: give both.")
