"""When a growing network takes its next resolution, and how far that is faded in (Karras et al. 2018)."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from plenish.configuration import check_fields, option
from plenish.errors import InputError
from plenish.training.schedules import END


class Stage(NamedTuple):
    """The stage of a growing network.

    Attributes:
        number: the resolution stage, from 0.
        alpha: how far it is faded in, 0 to 1.
        batch: images a step.
    """

    number: int
    alpha: float
    batch: int


@dataclasses.dataclass(frozen=True)
class Growth:
    """A schedule in images seen; it means nothing to networks that do not grow.

    Attributes:
        start: size of the first stage in pixels; 0 is the smallest there is.
        fade_kimg: thousands of images over which a new stage is faded in.
        stable_kimg: thousands of images a stage then stays.
        alpha: where a fade begins; 0 shows the old output unchanged.
        batches: images a step for each stage from the smallest there is, as "32,32,16"; the last holds for
            later ones; empty is the batch of all.
    """

    start: int = 0
    fade_kimg: float = option(600.0, least=0)
    stable_kimg: float = option(600.0, least=0)
    alpha: float = option(0.0, least=0, below=1)
    batches: str = ""

    def __post_init__(self) -> None:
        check_fields(self, "growth")
        if self.fade_kimg + self.stable_kimg <= 0:
            raise InputError("growth.fade_kimg and growth.stable_kimg cannot both be 0.")
        self.batch_sizes()

    def batch_sizes(self) -> list[int]:
        """Images a step of each stage, as far as they are named."""
        words = [word.strip() for word in self.batches.split(",") if word.strip()]
        if not all(word.isdecimal() and int(word) >= 2 for word in words):
            raise InputError(
                f"growth.batches lists whole numbers from 2 up, such as 32,32,16, not '{self.batches}'."
            )
        return [int(word) for word in words]

    def first(self, sizes: list[int]) -> int:
        """Number of the first stage, of a network whose stages make images of these sizes."""
        if not self.start:
            return 0
        if self.start not in sizes:
            raise InputError(
                f"growth.start must be a size the network passes through ({', '.join(map(str, sizes))} px), "
                f"not {self.start}."
            )
        return sizes.index(self.start)

    def at(self, nimg: int, sizes: list[int], batch: int) -> Stage:
        """The stage after `nimg` images: the first one stable, each further one faded in, then stable.

        Args:
            nimg: images seen.
            sizes: image sizes of the network's stages.
            batch: images a step where `batches` says nothing.
        """
        first, last = self.first(sizes), len(sizes) - 1
        fade, stable = 1000 * self.fade_kimg, 1000 * self.stable_kimg
        number, alpha = first, 1.0
        if last > first and nimg >= stable:
            passed, within = divmod(nimg - stable, fade + stable)
            number = first + 1 + int(passed)
            if number > last:
                number = last
            elif within < fade:
                alpha = self.alpha + (1 - self.alpha) * within / fade
        named = self.batch_sizes()
        return Stage(number, alpha, named[min(number, len(named) - 1)] if named else batch)

    def begin(self, number: int, first: int) -> int:
        """Images seen when a stage begins, where `first` is the number of the first one."""
        if number <= first:
            return 0
        return math.ceil(round(1000 * (self.stable_kimg + (number - first - 1) * self._stage_kimg), 3))

    @property
    def _stage_kimg(self) -> float:
        """Length of a stage behind the first one."""
        return self.fade_kimg + self.stable_kimg

    def heaviest(self, sizes: list[int], batch: int) -> int:
        """Images seen at the stage whose batches hold the most pixels, after its fading.

        Args:
            sizes: image sizes of the network's stages.
            batch: images a step where `batches` says nothing.
        """
        first = self.first(sizes)
        begins = [self.begin(number, first) for number in range(first + 1, len(sizes))]
        found = []
        for nimg in (*(max(0, begin - 1) for begin in begins), END):
            stage = self.at(nimg, sizes, batch)
            size = sizes[stage.number]
            found.append((stage.batch * size**2, size, nimg))
        return max(found)[2]


def at_stage(x: Tensor, size: int, alpha: float) -> Tensor:
    """Real images at the size of the growing discriminator.

    They are averaged down to `size`, and while a stage is faded in mixed with their own next smaller form,
    as the fakes are.

    Args:
        x: N×C×H×W.
        size: of the stage, a divisor of H.
        alpha: of the stage.
    """
    if size < x.shape[2]:
        x = F.avg_pool2d(x, x.shape[2] // size)
    if alpha < 1:
        coarse = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="nearest")
        x = coarse.lerp(x, alpha)
    return x.contiguous(memory_format=torch.channels_last)
