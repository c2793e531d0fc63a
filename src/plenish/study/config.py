"""What `plenish study` is asked, and what it refuses before it makes its folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from plenish.configuration import option
from plenish.errors import InputError
from plenish.study.arms import DEFAULT_ARMS, Arm, parse_arms
from plenish.training.classifier_config import ClassifierOptions


@dataclasses.dataclass(frozen=True)
class StudyConfig(ClassifierOptions):
    """How to compare arms.

    Attributes:
        arms: words joined by '+': real, classical (augmentation), oversample (balanced classes), synthetic,
            duplicate and shuffled (placebos), such as real+synthetic, real+synthetic@0.5,
            real+synthetic+classical.
        seeds: trainings per arm, paired across arms.
        ratio: synthetic images per real one, where an arm states no dose of its own.
        split: which split of the real Dataset.
        fraction: use only this share of the real training groups, to simulate scarcity.
        level: level of the intervals.
        margin: the largest difference in balanced accuracy that does not matter: 0.02 is 2 points. The
            verdict is `equivalent` where the difference is shown to lie within it, either way.
        resamples: bootstrap resamples of the test groups.
        seed: seed of the whole study.

    Raises:
        InputError: an unknown arm, or a number out of the bounds of its option.
    """

    arms: tuple[str, ...] = DEFAULT_ARMS
    seeds: int = option(5, least=1)
    ratio: float = option(1.0, above=0, most=1000)
    split: str = "default"
    fraction: float = option(1.0, above=0, most=1)
    level: float = option(0.95, least=0.5, below=1)
    margin: float = option(0.02, above=0, below=1)
    resamples: int = option(1000, least=100)
    seed: int = option(0, least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_arms(self.arms, self.ratio)


@dataclasses.dataclass(frozen=True)
class ClassStudyConfig:
    """What a study of one autoencoder a class compares.

    Attributes:
        classes: which classes; all by default. Of two, the second is the positive one.
        split: the split.
        seed: seed of every random draw.
        balance: train every model on as many images as the smallest class has.
        shuffle: a control: classes are permuted at random over the images (over whole groups, where these
            have one class), so that there is nothing to find.
        level: level of the intervals.
        resamples: bootstrap resamples of the test groups.
        draws: draws of noise for each test image, where there is noise.
    """

    classes: list[str] | None = None
    split: str = "default"
    seed: int = 0
    balance: bool = True
    shuffle: bool = False
    level: float = option(0.95, above=0, below=1)
    resamples: int = option(1000, least=10)
    draws: int = option(4, least=1)


def check_source(arms: Sequence[Arm], generator: Path | None, synthetic: Path | None) -> None:
    """Refuse synthetic images that are missing, given twice, or to be generated for no arm."""
    if generator is not None and synthetic is not None:
        raise InputError("--generator and --synthetic contradict each other; give one of them.")
    wanting = [arm.name for arm in arms if arm.synthetic]
    if wanting and generator is None and synthetic is None:
        raise InputError(
            f"The arm '{wanting[0]}' needs synthetic images; give --generator RUN or --synthetic DATA, or "
            "leave it out."
        )
    if generator is not None and not wanting:
        raise InputError("--generator is given, but no arm uses synthetic images; add one: real+synthetic.")
