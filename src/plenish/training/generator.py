"""What a family of generators brings to its training, and what all share: samples, their score, labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish.configuration import option
from plenish.datasets.batches import TrainingImages
from plenish.datasets.dataset import Subset
from plenish.errors import InputError
from plenish.networks.families import family, load_learner
from plenish.networks.sampler import Sampler
from plenish.runs import Run
from plenish.training import trainer
from plenish.training.engine import Engine, stable_seed, to_uint8
from plenish.training.learner import Clock, Criterion, Learner, Preview
from plenish.training.logs import sample_grid, spread
from plenish.training.schedules import Schedule as TrainerSchedule
from plenish.training.schedules import changeable

if TYPE_CHECKING:
    from plenish.training.gan.trial import Trial

Validator = Callable[[NDArray[np.uint8], NDArray[np.float32] | None], float]
"""Images and the labels they were made for → a score, lower is better."""
_PREVIEWED = 25


@dataclasses.dataclass(frozen=True)
class Schedule(TrainerSchedule):
    """Length and intervals of a generator's training.

    Attributes:
        validate: synthetic images scored against val at each checkpoint.
    """

    validate: int = option(500, least=2)


CHANGEABLE = changeable(Schedule)


@dataclasses.dataclass(frozen=True)
class GeneratorTask:
    """What is trained, how, on what and for how long.

    Attributes:
        family: name of the family.
        network: configuration of the networks.
        sections: configuration of the training by section, as the family's Learner names them.
        schedule: length and intervals.
        subset: training rows.
        engine: device and precision.
        validator: scores samples at each checkpoint, which decides the best; or None.
    """

    family: str
    network: Any
    sections: Mapping[str, Any]
    schedule: Schedule
    subset: Subset
    engine: Engine
    validator: Validator | None = None


class GeneratorLearner(Learner):
    """A Learner that a family of generators registers: built from a GeneratorTask alone.

    Attributes:
        sections: configuration class of each section beside `network` and `schedule`.
        task: what is trained.
    """

    sections: ClassVar[Mapping[str, type]] = {}

    def __init__(self, task: GeneratorTask) -> None:
        """Keep the task; families add networks and optimisers. Torch's random state is the Run's."""
        self.task, self.engine = task, task.engine
        self.criteria = (Criterion("kid_val"),) if task.validator else ()
        self._labelled = task.network.labels.width > 0

    @classmethod
    def check(cls, task: GeneratorTask, changes: Mapping[str, Any]) -> None:
        """Refuse what cannot be trained, before anything is written.

        Args:
            task: what is to be trained.
            changes: what the command line sets, by dotted key, for messages.

        Raises:
            InputError: options that do not fit each other, the networks or the data.
        """

    @classmethod
    def check_memory(cls, task: GeneratorTask) -> None:
        """Refuse what would not fit into memory; InputError."""

    @classmethod
    def try_out(cls, task: GeneratorTask) -> Trial:
        """Parameters, memory and speed of a training, without writing anything."""
        raise InputError(f"--dry-run is not for the family {task.family}; leave it out.")

    @property
    def sampler(self) -> Sampler:
        """The network that samples are made with; it stays in evaluation mode."""
        network = self.modules()[family(self.task.family).weights]
        assert isinstance(network, Sampler)
        return network

    def labels(self, y: NDArray[np.float32]) -> Tensor | None:
        """Labels on the device, or None where the networks take none."""
        return torch.from_numpy(y).to(self.engine.device, non_blocking=True) if self._labelled else None

    def preview(self, clock: Clock) -> Preview:
        """A grid of samples, with their spread beside that of real images."""
        subset, rows = self.task.subset, self._fixed_rows(clock, _PREVIEWED)
        reals, samples = subset.images(rows), self.sample_images(clock, _PREVIEWED)
        y = subset.y()[rows] if self._labelled else None
        variety = spread(samples, y) / max(spread(reals, y), 1e-9)
        return Preview("samples", sample_grid(samples), {"variety": variety}, sample_grid(reals))

    def validate(self, clock: Clock) -> dict[str, float]:
        """The score of samples against the val images."""
        if self.task.validator is None:
            return {}
        n = self.task.schedule.validate
        y = self.task.subset.y()[self._fixed_rows(clock, n)] if self._labelled else None
        return {"kid_val": self.task.validator(self.sample_images(clock, n), y)}

    def sample_images(self, clock: Clock, n: int) -> NDArray[np.uint8]:
        """Fixed samples, uint8 n×H×W×C; labels follow the training rows."""
        batch = min(64, self.batch_size(clock.nimg))  # No more memory than a step takes.
        return np.concatenate([to_uint8(images) for images in self.samples(clock, n, batch, "samples")])

    @torch.no_grad()
    def samples(self, clock: Clock, n: int, batch: int, *key: Any) -> Iterator[Tensor]:
        """Fixed samples for one purpose, batch by batch, N×C×H×W; labels follow the training rows."""
        engine, network = self.engine, self.sampler
        y, order = self.task.subset.y(), self._fixed_rows(clock, n)
        z = network.sample_prior(n, engine.generator(clock.seed, *key))
        for start in range(0, n, batch):
            piece = slice(start, start + batch)
            seed = stable_seed(clock.seed, *key, start, "default")
            with engine.autocast():
                images = network.sample(z[piece], self.labels(y[order[piece]]), seed=seed)
            yield images

    def _fixed_rows(self, clock: Clock, n: int) -> NDArray[np.int64]:
        """Training rows whose labels fixed samples are made with."""
        order = np.random.default_rng(clock.seed).permutation(len(self.task.subset))
        return order[np.arange(n) % len(order)]


def check_amount(subset: Subset, batch: int, asked: bool) -> None:
    """Refuse a batch larger than the training data.

    Args:
        subset: training rows.
        batch: images of the largest step.
        asked: whether the command line set it, for the message.
    """
    if batch > len(subset):
        whose = f"--batch {batch}" if asked else f"The recipe's batch of {batch}"
        raise InputError(
            f"{whose} is more than the {len(subset)} images there are to train on; "
            f"give --batch {len(subset)} or less."
        )


def learner_class(name: str) -> type[GeneratorLearner]:
    """The Learner that a family registers.

    Raises:
        InputError: it cannot be imported, or is no GeneratorLearner.
    """
    found = load_learner(name)
    if not (isinstance(found, type) and issubclass(found, GeneratorLearner)):
        raise InputError(
            f"{family(name).learner}, the Learner of the family {name}, is no {__name__}.GeneratorLearner."
        )
    return found


def train_generator(task: GeneratorTask, run: Run, *, retry: bool = False) -> trainer.Outcome:
    """Train a generator in a Run, from the start or from its newest intact checkpoint.

    Args:
        task: what is trained.
        run: the Run; the caller holds its lock.
        retry: go on after a divergence, with new random draws.

    Returns:
        `complete`, or `interrupted` after Ctrl-C, with a checkpoint written.

    Raises:
        CheckFailed: the training diverged; the last good checkpoint is kept.
    """
    made = learner_class(task.family)

    def build() -> Learner:
        torch.manual_seed(stable_seed(run.seed, "weights"))
        return made(task)

    images, facts = TrainingImages.of(task.subset), {"schedule": dataclasses.asdict(task.schedule)}
    return trainer.train(build, images, task.schedule, run, retry=retry, facts=facts)
