"""Adversarial training as a Learner: steps, health, growth, batch-norm statistics of the average."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from plenish.datasets.batches import Batch, check_divisible
from plenish.errors import InputError
from plenish.networks import gan as networks
from plenish.training.ema import batch_norms, renewed_statistics
from plenish.training.failures import Failure
from plenish.training.gan.accuracy import confusion, confusion_counts, confusion_picture
from plenish.training.gan.discriminator import DiscriminatorOptions, build_networks
from plenish.training.gan.health import Health, Limits
from plenish.training.gan.method import PARTS, Method
from plenish.training.gan.state import GANState
from plenish.training.gan.step import step
from plenish.training.generator import GeneratorLearner, GeneratorTask, check_amount
from plenish.training.learner import Clock, Preview
from plenish.training.schedules import crossed

STATISTICS = 512
"""Images whose statistics batch norm is given: enough that more change nothing one can see."""


class GANLearner(GeneratorLearner):
    """A generator and a discriminator at training."""

    sections: ClassVar = {**PARTS, "limits": Limits, "discriminator": DiscriminatorOptions}
    option_keys: ClassVar = {
        "--batch": ("adversarial.batch",), "--lr": ("adversarial.lr_g", "adversarial.lr_d"),
    }  # fmt: skip
    shown_as: ClassVar = {"g": "generator", "d": "discriminator"}
    notes = (("G", "loss_g"), ("D", "loss_d"))
    smaller_network = "a smaller --width"

    def __init__(self, task: GeneratorTask) -> None:
        """Build the networks and their optimisers."""
        super().__init__(task)
        options = task.sections.get("discriminator", DiscriminatorOptions())
        made = build_networks(task.family, task.network, options)
        self.state = GANState(*made, Method.of(task.sections), task.engine)
        self._health = Health(task.sections["limits"], self.state.method.adversarial.objective)
        self._judged = np.zeros((2, 2), np.int64)  # Confusion matrix since the last preview.
        self._statistics_of = -1  # Images seen when batch-norm statistics were last made.

    @classmethod
    def adjust(cls, sections: dict[str, dict[str, Any]], changes: Mapping[str, Any]) -> None:
        """Let the batch that is asked for hold at every stage, and refuse a width above the largest."""
        if "adversarial.batch" in changes and "growth.batches" not in changes:
            sections["growth"]["batches"] = ""
        width, most = changes.get("network.width"), sections["network"].get("max_width")
        if type(width) is type(most) is int and 1 <= most < width:
            raise InputError(
                f"--width {width} is more than network.max_width; raise that too, with "
                f"--options network.max_width={width}, or use a smaller --width."
            )

    @classmethod
    def check(cls, task: GeneratorTask, changes: Mapping[str, Any]) -> None:
        """Refuse penalties and growth that these networks do not have, and a batch that cannot be made.

        It must neither be larger than the data nor leave the processes unequal slices.
        """
        method, made = Method.of(task.sections), networks.family(task.family).sampler
        if method.penalty.path and not made.has_styles:
            raise InputError(
                f"penalty.path is for generators with styles, which {task.family} is not; leave it out."
            )
        if method.growth.start:
            generator = made(task.network)
            if generator.stages == 1:
                raise InputError(
                    f"growth.start is for networks that grow, and {task.family} does not; leave it out."
                )
            method.growth.first([generator.stage_size(number) for number in range(generator.stages)])
        _check_discriminator(task, method)
        batches = [method.adversarial.batch, *method.growth.batch_sizes()]
        check_amount(task.subset, max(batches), "adversarial.batch" in changes)
        world, sizes = task.engine.world, method.growth.batch_sizes() or [method.adversarial.batch]
        for batch in sizes:
            check_divisible(batch, world)
        half = sizes[0] // 2
        if method.penalty.path and half % world:
            raise InputError(
                f"penalty.path takes half a batch, {half} images, which cannot be divided equally among "
                f"{world} processes; give another --batch, or start another number of processes."
            )

    @classmethod
    def parts(cls, task: GeneratorTask) -> dict[str, int]:
        """Images seen when each stage of growth begins, by its size in pixels; empty without growth."""
        generator = networks.family(task.family).sampler(task.network)
        sizes = [generator.stage_size(number) for number in range(generator.stages)]
        growth = Method.of(task.sections).growth
        first = growth.first(sizes)
        begins = {str(sizes[number]): growth.begin(number, first) for number in range(first, len(sizes))}
        return begins if len(sizes) > 1 else {}

    def heaviest(self) -> int:
        """Images seen at the stage of growth whose batches hold the most pixels."""
        method = self.state.method
        return method.growth.heaviest(self.state.sizes, method.adversarial.batch)

    @property
    def grows(self) -> bool:
        """Whether the networks take further resolutions."""
        return len(self.state.sizes) > 1

    def turns(self) -> list[tuple[range, float]]:
        """The kinds of turns of both networks, with and without lazy penalties."""
        return self.state.method.turns()

    def modules(self) -> dict[str, nn.Module]:
        """The networks and running values by the name of their checkpoint file."""
        state = self.state
        return {"g": state.g, "d": state.d, "ema": state.ema, "statistics": state.statistics}

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by the name of their checkpoint file."""
        return {"opt_g": self.state.opt_g, "opt_d": self.state.opt_d}

    def batch_size(self, nimg: int) -> int:
        """Images of the step after `nimg` images, that of the stage of growth."""
        return self.state.stage_at(nimg).batch

    def step(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """Update the discriminator, and after d_steps of these the generator."""
        d_steps = self.state.method.adversarial.d_steps
        # Norms of the discriminator and of the generator, which is updated once in d_steps.
        norms = crossed(clock.nimg, clock.nimg + batch.total * d_steps, self.task.schedule.log_kimg)
        x, y = self.engine.to_images(batch.pixels), self.labels(batch.y)
        return step(self.state, x, y, clock, norms=norms)

    def position(self, nimg: int) -> dict[str, float]:
        """Size and fading of the stage, for networks that grow."""
        sizes, stage = self.state.sizes, self.state.stage_at(nimg)
        return {"size": sizes[stage.number], "alpha": stage.alpha} if len(sizes) > 1 else {}

    def part(self, nimg: int) -> str | None:
        """The size of the stage in pixels, for networks that grow."""
        sizes = self.state.sizes
        return str(sizes[self.state.stage_at(nimg).number]) if len(sizes) > 1 else None

    def set_stage(self, nimg: int) -> None:
        """Grow the networks."""
        self.state.grow(nimg)

    def hear(self, line: Mapping[str, float]) -> Failure | None:
        """Judge a log line."""
        return self._health.hear(line)

    def derived(self, line: Mapping[str, float]) -> dict[str, float]:
        """How the discriminator's right answers divide."""
        shares = confusion(line)
        if shares:
            self._judged = self._judged + confusion_counts(shares, int(line.get("images", 0)))
        return shares

    def preview(self, clock: Clock) -> Preview:
        """A grid of samples with their spread, and the confusion matrix since the last one."""
        self.before_save(clock)
        preview, counts = super().preview(clock), self._judged
        if not counts.any():
            return preview
        self._judged = np.zeros_like(counts)
        return dataclasses.replace(
            preview, more={"confusion of the discriminator": confusion_picture(counts)}
        )

    def before_save(self, clock: Clock) -> None:
        """Give the moving average batch-norm statistics of its own, once for each saved or previewed state.

        They depend on its weights and the seed alone, so a resumed training ends with the same.
        """
        norms = batch_norms(self.state.ema)
        if not norms or self._statistics_of == clock.nimg:
            return
        batch = self.batch_size(clock.nimg)
        images = max(2, math.ceil(STATISTICS / batch)) * batch
        with renewed_statistics(norms):
            for _ in self.samples(clock, images, batch, "statistics"):
                pass
        self._statistics_of = clock.nimg


def _check_discriminator(task: GeneratorTask, method: Method) -> None:
    """Refuse a classifier's backbone where the networks grow, or where its weights would be clipped."""
    options: DiscriminatorOptions = task.sections["discriminator"]
    if options.run is None:
        return
    if networks.family(task.family).sampler(task.network).stages > 1:
        raise InputError(
            f"discriminator.from_classifier is for networks of one resolution, and {task.family} grows; take "
            "another family."
        )
    if method.penalty.clip:
        raise InputError(
            "penalty.clip would clip the classifier's weights too; leave it out, or take penalty.gp."
        )
    build_networks(task.family, task.network, options)  # What does not fit is told before a Run is made.
