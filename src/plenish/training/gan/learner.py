"""Adversarial training as a Learner: steps, sample grids, validation, health, growth."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from plenish.datasets.batches import Batch, TrainingImages
from plenish.datasets.dataset import Subset
from plenish.errors import InputError
from plenish.networks import gan as networks
from plenish.runs import Run
from plenish.training import trainer
from plenish.training.ema import batch_norms, renewed_statistics
from plenish.training.engine import Engine, stable_seed, to_uint8
from plenish.training.failures import Failure
from plenish.training.gan.health import Health, Limits
from plenish.training.gan.method import Method
from plenish.training.gan.state import GANState
from plenish.training.gan.step import step
from plenish.training.learner import Clock, Criterion, Learner, Preview
from plenish.training.logs import sample_grid, spread
from plenish.training.memory import batch_that_fits
from plenish.training.schedules import Schedule as TrainerSchedule
from plenish.training.schedules import changeable, crossed

Validator = Callable[[NDArray[np.uint8], NDArray[np.float32] | None], float]
"""Images and the labels they were made for → a score, lower is better."""
_PREVIEWED = 25
_STATISTICS = 512
"""Images whose statistics batch norm is given: enough that more change nothing one can see."""


@dataclasses.dataclass(frozen=True)
class Schedule(TrainerSchedule):
    """Length and intervals of a GAN training.

    Attributes:
        validate: synthetic images scored against val at each checkpoint.
    """

    validate: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validate < 2:
            raise InputError(f"schedule.validate must be at least 2 images, not {self.validate}.")


CHANGEABLE = changeable(Schedule)


def train(
    run: Run, subset: Subset, family: str, network: networks.NetworkConfig, method: Method,
    schedule: Schedule, limits: Limits, engine: Engine, validator: Validator | None = None,
    retry: bool = False,
) -> trainer.Outcome:  # fmt: skip
    """Train a GAN in a Run, from the start or from its newest intact checkpoint.

    Args:
        run: the Run; the caller holds its lock.
        subset: training rows.
        family: name of the network family.
        network: configuration of the networks.
        method: how they are trained.
        schedule: length and intervals.
        limits: when the training counts as failed.
        engine: device and precision.
        validator: uint8 images N×H×W×C and their labels → a score, lower is better; decides which checkpoint
            is best.
        retry: go on after a divergence, with new random draws.

    Returns:
        `complete`, or `interrupted` after Ctrl-C, with a checkpoint written.

    Raises:
        CheckFailed: the training diverged; the last good checkpoint is kept.
    """

    def build() -> GANLearner:
        torch.manual_seed(stable_seed(run.seed, "weights"))
        state = GANState(*networks.build(family, network), method, engine)
        return GANLearner(family, state, subset, schedule, limits, validator)

    facts = {"schedule": dataclasses.asdict(schedule)}
    return trainer.train(build, TrainingImages.of(subset), schedule, run, retry=retry, facts=facts)


class GANLearner(Learner):
    """A generator and a discriminator at training."""

    notes = (("G", "loss_g"), ("D", "loss_d"))

    def __init__(
        self, family: str, state: GANState, subset: Subset, schedule: Schedule, limits: Limits,
        validator: Validator | None = None,
    ) -> None:  # fmt: skip
        """Put together what is trained.

        Args:
            family: name of the networks' family.
            state: what a step changes.
            subset: training rows, whose labels and images samples are compared with.
            schedule: how often values are logged, and how many images are validated.
            limits: when the training counts as failed.
            validator: scores samples at each checkpoint.
        """
        self.family, self.state, self.subset, self.schedule = family, state, subset, schedule
        self.engine, self.validator = state.engine, validator
        self.criteria = (Criterion("kid_val"),) if validator else ()
        self._health = Health(limits, state.method.adversarial.objective)
        self._labelled = state.g.labels.width > 0
        self._statistics_of = -1  # Images seen when batch-norm statistics were last made.

    def modules(self) -> dict[str, nn.Module]:
        """The networks and running values by the name of their checkpoint file."""
        return self.state.modules()

    def optimisers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by the name of their checkpoint file."""
        return self.state.optimisers()

    def batch_size(self, nimg: int) -> int:
        """Images of the step after `nimg` images, that of the stage of growth."""
        return self.state.stage_at(nimg).batch

    def step(self, batch: Batch, clock: Clock) -> dict[str, Tensor]:
        """Update the discriminator, and when it is its turn the generator."""
        turns = self.state.method.adversarial.d_steps
        # Norms of the discriminator and of the generator, which has its turn once in d_steps.
        norms = crossed(clock.nimg, clock.nimg + batch.total * turns, self.schedule.log_kimg)
        x, y = self.engine.to_images(batch.pixels), self._labels(batch.y)
        return step(self.state, x, y, clock, norms=norms)

    def position(self, nimg: int) -> dict[str, float]:
        """Size and fading of the stage, for networks that grow."""
        sizes, stage = self.state.sizes, self.state.stage_at(nimg)
        return {"size": sizes[stage.number], "alpha": stage.alpha} if len(sizes) > 1 else {}

    def set_stage(self, nimg: int) -> None:
        """Grow the networks."""
        self.state.grow(nimg)

    def hear(self, line: Mapping[str, float]) -> Failure | None:
        """Judge a log line."""
        return self._health.hear(line)

    def before_save(self, clock: Clock) -> None:
        """Give the moving average batch-norm statistics of its own."""
        self._update_bn_statistics(clock)

    def preview(self, clock: Clock) -> Preview:
        """A grid of samples, with their spread beside that of real images."""
        self._update_bn_statistics(clock)
        rows = self._fixed_rows(clock, _PREVIEWED)
        reals, samples = self.subset.images(rows), self._sample(clock, _PREVIEWED)
        y = self.subset.y()[rows] if self._labelled else None
        variety = spread(samples, y) / max(spread(reals, y), 1e-9)
        return Preview("samples", sample_grid(samples), {"variety": variety}, sample_grid(reals))

    def validate(self, clock: Clock) -> dict[str, float]:
        """The score of samples against the val images."""
        if self.validator is None:
            return {}
        n = self.schedule.validate
        y = self.subset.y()[self._fixed_rows(clock, n)] if self._labelled else None
        return {"kid_val": self.validator(self._sample(clock, n), y)}

    def out_of_memory(self, nimg: int) -> str:
        """The largest batch that fits, of halves of this one."""
        network, method, engine = self.state.g.config, self.state.method, self.engine
        asked = self.state.stage_at(nimg).batch
        vars(self.state).clear()

        def attempt(batch: int) -> None:
            state = GANState(*networks.build(self.family, network), method.with_batch(batch), engine)
            for number in range(method.adversarial.d_steps):
                step(state, *state.grey_images(batch), Clock(0, 0, nimg, number))

        return batch_that_fits(asked, attempt)

    def _labels(self, y: NDArray[np.float32]) -> Tensor | None:
        return torch.from_numpy(y).to(self.engine.device, non_blocking=True) if self._labelled else None

    def _fixed_rows(self, clock: Clock, n: int) -> NDArray[np.int64]:
        """Training rows whose labels fixed samples are made with."""
        order = np.random.default_rng(clock.seed).permutation(len(self.subset))
        return order[np.arange(n) % len(order)]

    def _sample(self, clock: Clock, n: int) -> NDArray[np.uint8]:
        """Fixed samples of the moving average, uint8 n×H×W×C; labels follow the training rows."""
        batch = min(64, self.batch_size(clock.nimg))  # No more memory than a step takes.
        made = self._synthesised(clock, n, batch, "samples")
        return np.concatenate([to_uint8(self.state.ema.full_size(images)) for images in made])

    def _update_bn_statistics(self, clock: Clock) -> None:
        """Give the moving average batch-norm statistics of its own, once a state that is shown or saved.

        They depend on its weights and the seed alone, so a resumed training ends with the same.
        """
        norms = batch_norms(self.state.ema)
        if not norms or self._statistics_of == clock.nimg:
            return
        batch = self.batch_size(clock.nimg)
        images = max(2, math.ceil(_STATISTICS / batch)) * batch
        with renewed_statistics(norms):
            for _ in self._synthesised(clock, images, batch, "statistics"):
                pass
        self._statistics_of = clock.nimg

    @torch.no_grad()
    def _synthesised(self, clock: Clock, n: int, batch: int, *key: Any) -> Iterator[Tensor]:
        """Fixed images of the moving average, batch by batch; labels follow the training rows."""
        engine, network = self.engine, self.state.ema
        y, order = self.subset.y(), self._fixed_rows(clock, n)
        z = network.sample_prior(n, engine.generator(clock.seed, *key))
        for start in range(0, n, batch):
            piece = slice(start, start + batch)
            labels = self._labels(y[order[piece]])
            engine.seed_everything(clock.seed, *key, start)
            with engine.autocast():
                images = network.synthesis(network.mapping(z[piece], labels), labels, noise="random")
            yield images


__all__ = ["CHANGEABLE", "GANLearner", "Schedule", "Validator", "train"]
