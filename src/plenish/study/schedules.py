"""Arms whose images follow a schedule: what fills the classes, how long each level is, what cannot work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.batches import Images
from plenish.datasets.orders import fill
from plenish.errors import InputError
from plenish.study.arms import Arm
from plenish.study.arms_file import configured
from plenish.study.data import StudyData
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.drawing import check_enough, make_plan, pretend_synthetic
from plenish.training.drawing_schedules import parse_schedule
from plenish.training.engine import stable_seed
from plenish.wording import plural

Ints = NDArray[np.int64]


def filled_classes(arm: Arm, codes: Ints, width: int = 0) -> Ints:
    """Images of each class that fill it up to the largest target of an arm, K; zeros without doping.

    Args:
        arm: which.
        codes: class numbers of the real training images, N.
        width: the number of classes, at least.
    """
    counts = np.bincount(codes, minlength=width)
    if not arm.doping:
        return np.zeros_like(counts)
    largest = int(counts.max())
    return fill(counts, max(stage.count(largest) for stage in parse_schedule("doping", arm.doping)))


def copies(codes: Ints, wanted: Ints, seed: int) -> Ints:
    """Positions of as many images of each class as are wanted, each as often as another, or once more.

    Args:
        codes: class numbers of the images there are, N.
        wanted: copies of each class, K.
        seed: decides which come once more.
    """
    taken = [np.empty(0, np.int64)]
    for k in np.flatnonzero(wanted):
        members = np.flatnonzero(codes == k)
        whole, rest = divmod(int(wanted[k]), len(members))
        rng = np.random.default_rng(stable_seed(seed, "copies", int(k)))
        taken += [np.tile(members, whole), rng.permutation(members)[:rest]]
    return np.concatenate(taken)


def phases_of(config: ClassifierConfig, images: Images, width: int) -> list[dict[str, Any]]:
    """The levels of a training's schedule; none without one.

    Args:
        config: how it is trained, with its steps.
        images: training images, the real ones first.
        width: number of classes.

    Returns:
        `schedule` (doping or drawing), `level` as it is typed, `target` (images of each class, or draws of an
        epoch; None for the images as they are), `steps`, and `real` and `added`: images of an epoch.
    """
    if config.scheduled is None:
        return []
    assert config.steps is not None
    plan = make_plan(config, images, config.batch, config.steps, width)
    counts = np.bincount(images.y[: images.n_real], minlength=width)
    whole = int(counts.max()) if config.doping else len(images.y)
    targets = {stage.typed(config.scheduled): stage.count(whole) for stage in config.stages() if stage.level}
    ends = [round(end / config.batch) for end in [*plan.starts()[1:], plan.images]]
    return [
        {
            "schedule": config.scheduled, "level": phase.name, "target": targets.get(phase.name),
            "steps": end - start,
            "real": images.n_real if config.doping else phase.epoch,
            "added": phase.epoch - images.n_real if config.doping else 0,
        }
        for phase, start, end in zip(plan.phases, [0, *ends], ends)
    ]  # fmt: skip


def check_schedules(
    arms: Sequence[Arm], config: ClassifierConfig, folds: Sequence[StudyData]
) -> dict[str, list[dict[str, Any]]]:
    """Refuse arms whose schedule cannot be followed.

    Args:
        arms: all arms.
        config: what they have in common, resolved.
        folds: what each fold trains on; where synthetic images are yet to be made, there will be enough.

    Returns:
        The levels (`phases_of`) in the first fold of each arm that has a schedule.

    Raises:
        InputError: levels that add nothing, that need more synthetic images than there are, or that are
            shorter than a step.
    """
    found = {}
    for arm in arms:
        own = configured(arm, config)
        if own.scheduled is None:
            continue
        try:
            found[arm.name], *_ = [_checked(arm, own, fold) for fold in folds]
        except InputError as error:
            raise InputError(f"The arm '{arm.name}': {error}") from None
    return found


def _checked(arm: Arm, config: ClassifierConfig, fold: StudyData) -> list[dict[str, Any]]:
    names = fold.data.labels.names
    images = Images(fold.train.images, fold.train.codes, real=len(fold.train))
    if arm.uses_synthetic and arm.source in fold.synthetic:
        codes = fold.synthetic[arm.source].codes
        if arm.shuffled and len(np.unique(codes)) < 2:
            raise InputError(
                "labels can be shuffled only among synthetic images of two classes or more, and these have "
                "one; generate images of the other classes too."
            )
        y = np.concatenate([images.y, codes])
        images = Images(images.read, y, real=len(fold.train))
    elif arm.doping:
        images = pretend_synthetic(config, images)
    check_enough(config, images, names)
    phases = phases_of(config, images, len(names))
    levels = len(config.stages())
    if len(phases) < levels or not all(phase["steps"] for phase in phases):
        raise InputError(
            f"its {plural(levels, 'level')} do not fit into {plural(config.steps or 0, 'step')}, as one has "
            "less than a step; give more --steps, fewer levels, or their lengths as shares, such as 400x20%."
        )
    return phases
