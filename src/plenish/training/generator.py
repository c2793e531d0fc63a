"""What a family of generators brings to its training, and what all share: samples, their score, labels."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish.configuration import apply_overrides, build_config, option
from plenish.datasets.batches import Images
from plenish.datasets.orders import BATCHES, UNLABELLED, batch_order
from plenish.datasets.parts import Subset
from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError
from plenish.networks.families import family, load_learner, network_config
from plenish.networks.sampler import Sampler
from plenish.progress import plain_number, say, warn
from plenish.runs import Run
from plenish.training import trainer
from plenish.training.engine import Engine, stable_seed, to_uint8
from plenish.training.learner import Clock, Learner, Preview
from plenish.training.logs import sample_grid, spread
from plenish.training.schedules import END, changeable
from plenish.training.schedules import Schedule as TrainerSchedule

Validator = Callable[[NDArray[np.uint8], NDArray[np.float32] | None], Mapping[str, float]]
"""Images and the labels they were made for → scores, those of `CRITERIA` among them."""
CRITERIA = {"copying": 1, "kid_val": 1}
"""A checkpoint that copies training images is never better than one that does not; then the lower KID is."""
PREVIEWED = 25
"""Real and generated images of a preview."""


@dataclasses.dataclass(frozen=True)
class Schedule(TrainerSchedule):
    """Length and intervals of a generator's training.

    Attributes:
        validate: synthetic images scored against val at each checkpoint.
        order: which images a step takes: `shuffled` (each once an epoch, in a new order), `sequential` (in
            the order of the Dataset), `random` (each drawn independently, with replacement),
            `fixed-batches` (formed once, the same in each epoch), `random-batches` (each drawn anew from all
            images) or `preformed-batches` (formed once, a random one each step).
    """

    validate: int = option(500, least=2)
    order: str = option("shuffled", choices=(*UNLABELLED, *BATCHES))


CHANGEABLE = tuple(key for key in changeable(Schedule) if key != "schedule.order")


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
        option_keys: the dotted keys that `--batch` and `--lr` set; one that is missing is refused.
        shown_as: what a dry run calls networks that it does not call by the name of their checkpoint file.
        task: what is trained.
    """

    sections: ClassVar[Mapping[str, type]] = {}
    option_keys: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    shown_as: ClassVar[Mapping[str, str]] = {}

    def __init__(self, task: GeneratorTask) -> None:
        """Keep the task; families add networks and optimisers. Torch's random state is the Run's."""
        self.task, self.engine = task, task.engine
        self.criteria = CRITERIA if task.validator else {}
        self._labelled = task.network.labels.width > 0

    @classmethod
    def adjust(cls, sections: dict[str, dict[str, Any]], changes: Mapping[str, Any]) -> None:
        """Let options that are asked for decide others, before configurations are made.

        Args:
            sections: options by section, with those that are asked for; changed in place.
            changes: what is asked for beside the recipe, by dotted key.

        Raises:
            InputError: options that do not fit each other.
        """

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
    def parts(cls, task: GeneratorTask) -> dict[str, int]:
        """Images seen when each part of the training begins, by its name as `part` has it."""
        return {}

    def heaviest(self) -> int:
        """Images seen when a step takes the most memory; by default that is at the end."""
        return END

    @property
    def grows(self) -> bool:
        """Whether steps cost more as the training goes on, and most at its end."""
        return False

    def turns(self) -> list[tuple[range, float]]:
        """The kinds of turns, in each of which every optimiser steps: numbers of the steps, and its share.

        Kinds differ in what else is due in them; in the first kind everything is. By default each step is a
        turn, and all are alike.
        """
        return [(range(1), 1.0)]

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
        subset, rows = self.task.subset, self.fixed_rows(clock, PREVIEWED)
        reals, samples = subset.images(rows), self.sample_images(clock, PREVIEWED)
        y = subset.y()[rows] if self._labelled else None
        variety = spread(samples, y) / max(spread(reals, y), 1e-9)
        return Preview("samples", sample_grid(samples), {"variety": variety}, sample_grid(reals))

    def validate(self, clock: Clock) -> dict[str, float]:
        """The scores of samples against val and train; says where they copy."""
        if self.task.validator is None:
            return {}
        n = self.task.schedule.validate
        y = self.task.subset.y()[self.fixed_rows(clock, n)] if self._labelled else None
        scores = dict(self.task.validator(self.sample_images(clock, n), y))
        if scores.get("quality/absurd"):
            say(
                f"At {clock.nimg / 1000:g} kimg the samples are nothing like real images yet: KID "
                f"{plain_number(scores['quality/kid'])}, of real images {scores['quality/kid_real']:.3f}."
            )
        if scores.get("copying", 0) > 0:
            warn(
                f"at {clock.nimg / 1000:g} kimg {scores['copies']:.1%} of {n} samples look like copies of "
                "training images, more than chance explains; such a checkpoint is the best only while there "
                "is no other."
            )
        return scores

    def sample_images(self, clock: Clock, n: int, **options: Any) -> NDArray[np.uint8]:
        """Fixed samples, uint8 n×H×W×C; labels follow the training rows. Options are those of `sample`."""
        batch = min(64, self.batch_size(clock.nimg))  # No more memory than a step takes.
        return np.concatenate(
            [to_uint8(images) for images in self.samples(clock, n, batch, "samples", **options)]
        )

    @torch.no_grad()
    def samples(self, clock: Clock, n: int, batch: int, *key: Any, **options: Any) -> Iterator[Tensor]:
        """Fixed samples for one purpose, batch by batch, N×C×H×W; labels follow the training rows."""
        engine, network = self.engine, self.sampler
        y, order = self.task.subset.y(), self.fixed_rows(clock, n)
        rng = engine.generator(clock.seed, *key)
        for start in range(0, n, batch):
            piece = slice(start, min(start + batch, n))
            z = network.sample_prior(piece.stop - start, rng)
            seed = stable_seed(clock.seed, *key, start, "default")
            with engine.autocast():
                images = network.sample(z, self.labels(y[order[piece]]), seed=seed, **options)
            yield images

    def fixed_rows(self, clock: Clock, n: int) -> NDArray[np.int64]:
        """Training rows whose labels fixed samples are made with."""
        order = np.random.default_rng(clock.seed).permutation(len(self.task.subset))
        return order[np.arange(n) % len(order)]


def plan_task(
    family: str, sections: Mapping[str, Mapping[str, Any]], changes: Mapping[str, Any], subset: Subset,
    conditional: bool | None = None, typed: Mapping[str, str] = {},
) -> GeneratorTask:  # fmt: skip
    """The training that a recipe's sections and options ask for.

    Args:
        family: name of the family.
        sections: options by section, as a recipe has them.
        changes: what is asked for beside the recipe, by dotted key.
        subset: training rows.
        conditional: give the labels to the networks; None does so whenever there are labels.
        typed: the option that sets a dotted key, for messages.

    Raises:
        InputError: an unknown option, a value of another kind, or one that does not fit the data.
    """
    if "network.size" in changes or "network.channels" in changes or "network.labels" in changes:
        raise InputError(
            "Size, channels and labels of the networks are those of the data; import these differently."
        )
    learner = learner_class(family)
    own: dict[str, Any] = {}
    for key, value in changes.items():
        named = typed.get(key, "--options")
        # What an option sets may have another key in this family.
        keys = (key,) if key.split(".")[0] in sections else learner.option_keys.get(named)
        if keys is None:
            raise InputError(
                f"The family {family} has no {key}, which {named} sets; use --options with its own sections "
                f"{', '.join(sections)}."
            )
        own |= dict.fromkeys(keys, value)
    chosen = apply_overrides(sections, own)
    learner.adjust(chosen, own)
    dataset = subset.dataset
    given = {"size": dataset.size, "channels": dataset.channels, "labels": _labels(subset, conditional)}
    network = network_config(family, {**chosen["network"], **given})
    parts = {name: build_config(kind, chosen[name], name) for name, kind in learner.sections.items()}
    schedule = build_config(Schedule, chosen["schedule"], "schedule")
    if len(subset) < 2:
        raise InputError(f"{dataset.path} has {len(subset)} image to train on; a generator needs at least 2.")
    if len(subset) < 100:
        warn(f"only {len(subset)} images to train on; expect near copies, and look at the copies audit.")
    task = GeneratorTask(family, network, parts, schedule, subset, Engine.from_settings())
    if schedule.order in BATCHES:
        _fixed_batch(task)
    return task


def _labels(subset: Subset, conditional: bool | None) -> LabelSchema:
    """The labels that the networks are given."""
    dataset = subset.dataset
    labels = dataset.labels if conditional is not False else LabelSchema()
    if labels.kind == "continuous" and abs(subset.y()).max() > 10:
        raise InputError(
            f"The labels of {dataset.path} reach {abs(subset.y()).max():g}; networks take continuous labels "
            "within ±10, so import them scaled, or train with --no-conditional."
        )
    if conditional and not labels.width:
        raise InputError(f"{dataset.path} has no labels to be conditional on; import it with labels.")
    if conditional is None and not labels.width:
        say(f"{dataset.path} has no labels, so the networks are not conditional.")
    return labels


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


def ordered_images(task: GeneratorTask) -> Images:
    """The training rows in the order that the schedule asks for."""
    name = task.schedule.order
    batch = _fixed_batch(task) if name in BATCHES else 1
    return dataclasses.replace(Images.of(task.subset), order=batch_order(name, batch))


def _fixed_batch(task: GeneratorTask) -> int:
    """Images of every step.

    Raises:
        InputError: the family does not say, or stages of growth have batches of their own.
    """
    keys = learner_class(task.family).option_keys.get("--batch", ())
    growth = task.sections.get("growth")
    if len(keys) != 1 or (growth is not None and growth.batches):
        reason = "growth.batches names several" if len(keys) == 1 else f"the family {task.family} states none"
        raise InputError(
            f"schedule.order {task.schedule.order} needs one batch for all steps, and {reason}; use "
            f"{', '.join(UNLABELLED)}."
        )
    section, name = keys[0].split(".")
    return int(getattr(task.sections[section], name))


def train_generator(task: GeneratorTask, run: Run, *, retry: bool = False) -> None:
    """Train a generator in a Run, from the start or from its newest intact checkpoint.

    Args:
        task: what is trained.
        run: the Run; the caller holds its lock.
        retry: resume after a divergence, with other random draws.

    Raises:
        KeyboardInterrupt: it was asked to stop; a checkpoint is written.
        CheckFailed: the training diverged; the last good checkpoint is kept.
    """
    build = functools.partial(learner_class(task.family), task)
    images, facts = ordered_images(task), {"schedule": dataclasses.asdict(task.schedule)}
    trainer.train(build, images, task.schedule, run, retry=retry, facts=facts)
