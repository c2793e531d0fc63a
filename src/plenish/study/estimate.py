"""What a study would be: its trainings, the time they take and the gain it could find; nothing is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.batches import Images
from plenish.datasets.dataset import Dataset
from plenish.datasets.folds import Folds
from plenish.datasets.parts import Subset
from plenish.datasets.schema import Part
from plenish.metrics.beside import check_fit, numbered
from plenish.metrics.resampling import count_units
from plenish.progress import plain_duration
from plenish.study.analysis import announced
from plenish.study.arms_file import configured
from plenish.study.config import Given, StudyConfig
from plenish.study.data import StudyData, check_kind, share_of_groups
from plenish.study.design import Design
from plenish.study.experiment import check_arms, classifier_options
from plenish.study.hardened import check_hardened, slower, validated
from plenish.study.robust_test import RobustTest
from plenish.study.schedules import check_schedules
from plenish.study.verdicts import announcement
from plenish.training.classifier import check_names
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_precision import choose_precision
from plenish.training.classifier_time import measure

Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A study that was not begun.

    Attributes:
        facts: what it would compare and on what, and how long its trainings would take.
        power: a record of `study.power.announce`, from the noise that is assumed before training.
    """

    facts: Mapping[str, Any]
    power: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        """All of it, with the power as study.json has it."""
        return {"announcement": announcement(self.power), **self.facts, "power": {"planned": self.power}}

    def shown(self) -> dict[str, Any]:
        """The same for a terminal, which shows the power in words."""
        return {key: value for key, value in self.summary().items() if key != "power"}


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """Rows that are tested in all, and images of each training: to train on, validate on and test on."""

    tested: Ints
    train: int
    val: int
    test: int


def estimate_study(
    real: Path, out: Path, config: StudyConfig, given: Given, test_data: Path | None = None
) -> Estimate:
    """Say what a study would be. No image is read, and a reading of the test part is not counted.

    Synthetic images need not be there yet. Folds that were not made are not made: their sizes are those of
    equal parts.

    Args:
        real: the real Dataset.
        out: the study's folder; of one that is there, its arms and seeds count.
        config: how to compare.
        given: where synthetic images come from.
        test_data: another Dataset to test on as well, which takes time.

    Raises:
        InputError: labels, arms, schedules or splits unfit for a study.
    """
    design = Design.of(config, out, [*given.sweep])
    if given.any:
        given.check(design.arms, config.folds)
    classifier = ClassifierConfig(**classifier_options(config))
    for arm in design.arms:
        check_names(configured(arm, classifier), "categorical")
    data = Dataset.open(real)
    check_kind(data)
    test = RobustTest.of(config, data)
    check_hardened(design.arms, classifier, test)
    synthetic = any(arm.uses_synthetic for arm in design.arms)
    held_out = synthetic and given.cross_fit is None
    sizes = _sizes(data, config, held_out=held_out)
    other = 0 if test_data is None else len(Dataset.open(test_data))
    classifier = classifier.resolved(sizes.train, config.domain or data.domain)
    check_arms(design, classifier, data, test)
    assumed = _assumed(data, config, given.synthetic, sizes, known=config.folds is None or held_out)
    check_schedules(design.arms, classifier, [assumed])
    codes, groups = data.y().argmax(1), np.array(data.column("group"), object)
    folds = config.folds or 1
    power = announced(
        config, design, codes[sizes.tested], list(groups[sizes.tested]), names=data.labels.names, folds=folds,
        all_groups=0 if config.folds else count_units(groups[_could_test(data, config.split, synthetic)]),
    )  # fmt: skip
    trainings = len(design.arms) * design.seeds * folds
    attacked = 0 if test is None else min(test.images, sizes.test) * test.passes()
    attacked += round((validated(design.arms, test) - 1) * classifier.evaluations * sizes.val)
    times = sum(slower(arm, test) for arm in design.arms) / len(design.arms)
    tested = dataclasses.replace(sizes, test=sizes.test + other + attacked)
    step, seconds = _time(data, classifier, tested, trainings, times)
    facts = {
        "arms": design.names, "seeds": design.seeds, "folds": config.folds, "trainings": trainings,
        "steps": classifier.steps, "time_for_all_trainings": plain_duration(seconds),
        "seconds": float(f"{seconds:.3g}"), "milliseconds_a_step": float(f"{1000 * step:.3g}"),
        "train_images": sizes.train, "test_images": len(sizes.tested),
        "test_groups": count_units(groups[sizes.tested]) if any(g is not None for g in groups) else 0,
    }  # fmt: skip
    if test is not None:
        facts |= {"attacked_images": folds * min(test.images, sizes.test), "attacks": list(test.attacks)}
    return Estimate(facts, power)


def _could_test(data: Dataset, split: str, synthetic: bool) -> Ints:
    """Rows that folds would test: what a generator did not see, or all."""
    held: tuple[Part, ...] = ("val", "test")
    parts = held if synthetic else ("train", *held)
    return np.concatenate([data.split(split).rows(part) for part in parts])


def _sizes(data: Dataset, config: StudyConfig, *, held_out: bool) -> _Sizes:
    """What is tested, of the split or by folds of all images or of those that the split holds out."""
    if config.folds is None:
        split = data.split(config.split)
        tested, val = split.rows("test"), len(split.rows("val"))
        return _Sizes(tested, _share(config, len(split.rows("train"))), val, len(tested))
    divided = np.flatnonzero(Folds(data, config.folds, config.split if held_out else None).rows)
    test = round(len(divided) / config.folds)
    val = len(divided) - test if held_out else test
    return _Sizes(divided, _share(config, len(data) - test - val), val, test)


def _share(config: StudyConfig, images: int) -> int:
    """How many training images `--fraction` leaves."""
    return max(2, round(config.fraction * images))


def _assumed(
    data: Dataset, config: StudyConfig, synthetic: Path | None, sizes: _Sizes, *, known: bool
) -> StudyData:
    """What is trained on, as far as labels say it; where it is not `known`, a share of all groups."""
    split = data.split(config.split)
    rows = split.rows("train") if known else np.arange(len(data), dtype=np.int64)
    train = Subset(data, rows, "train", config.split, split.hash)
    share = config.fraction if known else sizes.train / len(rows)
    if share < 1:
        train = train.where(share_of_groups(train.codes, train.groups, share, config.seed))
    assumed = StudyData(data, train, train, train)
    if synthetic is None:
        return assumed
    made = Dataset.open(synthetic)
    check_fit(synthetic, made, data)
    return dataclasses.replace(assumed, synthetic={"": numbered(made, data)})


def _time(
    data: Dataset, config: ClassifierConfig, sizes: _Sizes, trainings: int, times: float
) -> tuple[float, float]:  # fmt: skip
    """Seconds of a step, and of all trainings one after another, by a few steps on random pixels.

    Args:
        data: what is trained on.
        config: how.
        sizes: images to train on, validate on and classify.
        trainings: how many there are.
        times: how many times as long as a step of `config` their steps take on average.
    """
    rng = np.random.default_rng(0)

    def noise(index: Ints) -> NDArray[np.uint8]:
        return rng.integers(0, 256, (len(index), data.size, data.size, data.channels), np.uint8)

    classes = data.labels.width
    train, val = (Images(noise, np.arange(n) % classes) for n in (sizes.train, sizes.val))
    fresh = dataclasses.replace(config, pretrained=False)
    precision = choose_precision(fresh, data.channels, data.size, classes)
    step, image = measure(fresh, train, val, data.labels.names, precision)
    assert config.steps is not None
    looked_at = config.evaluations * sizes.val + sizes.test
    return step, trainings * (config.steps * step * times + looked_at * image)
