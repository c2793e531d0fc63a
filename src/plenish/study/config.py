"""What `plenish study` is asked, and what it refuses before it makes its folder."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from plenish.configuration import option, option_name
from plenish.errors import InputError
from plenish.study.arms import DEFAULT_ARMS, Arm, parse_arms
from plenish.training.classifier_config import ClassifierOptions


@dataclasses.dataclass(frozen=True)
class StudyConfig(ClassifierOptions):
    """How to compare arms.

    Attributes:
        arms: words joined by '+': real, classical (augmentation), oversample (balanced classes), weighted
            (loss), synthetic, duplicate and shuffled (placebos), doping (synthetic images fill the classes,
            less and less), hardened (trained against the attack of --robust), such as real+synthetic,
            real+synthetic@0.5, real+synthetic+classical, doping@0.5, doping@ham10000-2, hardened.
        arms_file: further arms, in YAML: a name, words, dose and options of the classifier's training; with
            it, --arms is real unless given.
        seeds: trainings per arm, paired across arms.
        ratio: synthetic images per real one, where an arm states no dose of its own.
        ratios: a dose curve: an arm real+synthetic@R for each of these numbers.
        split: which split of the real Dataset; with folds, the splits NAME-0, NAME-1 … of one
            cross-validation.
        folds: test every group once, in this many folds. With a generator or synthetic images, the groups
            that their split holds out are divided; with --cross-fit or without synthetic images, all groups.
        fraction: use only this share of the real training groups, to simulate scarcity.
        level: level of the intervals.
        margin: the largest difference in balanced accuracy that does not matter: 0.02 is 2 points. The
            verdict is `equivalent` where the difference is shown to lie within it, either way.
        resamples: bootstrap resamples of the test groups.
        workers: processes that train at once, each with its share of the threads; the results are those of
            one process with as many threads as each.
        on: where these processes run: here, or ray (a cluster's, by the variable RAY_ADDRESS, else this
            machine's), or ray:ADDRESS; the cluster's machines need Plenish and share the folders. Needs
            plenish[ray].
        robust: attack each classifier on test images, with changes up to this radius in units of [0, 1], such
            as 4/255: robust accuracy, robust balanced accuracy and verdicts on it, and what hardened arms are
            trained against.
        robust_norm: of the radius: linf (the largest change of a value) or l2 (the length of the change).
        robust_attacks: which attacks; an image counts as robust if none of them changes its answer to a wrong
            one.
        robust_steps: steps of each attack that takes them.
        robust_images: attack about so many test images, drawn once for all arms and seeds, the classes in
            proportion; with folds, of each fold.
        seed: seed of the whole study.

    Raises:
        InputError: an unknown arm, or a number out of the bounds of its option.
    """

    arms: tuple[str, ...] = DEFAULT_ARMS
    arms_file: Path | None = None
    seeds: int = option(5, least=1)
    ratio: float = option(1.0, above=0, most=1000)
    ratios: tuple[float, ...] = ()
    split: str = "default"
    folds: int | None = option(least=2)
    fraction: float = option(1.0, above=0, most=1)
    level: float = option(0.95, least=0.5, below=1)
    margin: float = option(0.02, above=0, below=1)
    resamples: int = option(1000, least=100)
    workers: int = option(1, least=1)
    on: str = "here"
    robust: float | str | None = None
    robust_norm: Literal["linf", "l2"] = "linf"
    robust_attacks: tuple[str, ...] = ("pgd", "apgd-margin")
    robust_steps: int = option(20, least=1)
    robust_images: int = option(1000, least=2)
    seed: int = option(0, least=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.robust is None:
            _check_not_given(self)
        for ratio in self.ratios:
            if not 0 < ratio <= 1000:
                raise InputError(f"--ratios must be numbers above 0, at most 1000, not {ratio:g}.")
        if self.arms_file is None:  # Else they may be among those that the file defines.
            parse_arms(self.arms, self.ratio)


def _check_not_given(config: StudyConfig) -> None:
    """Refuse options of an attack where there is none."""
    for field in dataclasses.fields(config):
        value: Any = getattr(config, field.name)
        if field.name.startswith("robust_") and value != field.default:
            raise InputError(
                f"{option_name(field.name)} says how classifiers are attacked; give --robust too, such as "
                "--robust 4/255."
            )


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


@dataclasses.dataclass(frozen=True)
class Given:
    """Where the synthetic images of a study come from; at most one of them.

    Attributes:
        generator: a generator's Run; synthetic images are generated from it into the study's folder.
        synthetic: a synthetic Dataset.
        sweep: Runs of generators that are compared, by name.
        cross_fit: Runs of generators, one for each fold, or None where there is no such thing.
    """

    generator: Path | None = None
    synthetic: Path | None = None
    sweep: Mapping[str, Path] = dataclasses.field(default_factory=dict)
    cross_fit: Sequence[Path] | None = None

    def __post_init__(self) -> None:
        if len(self._options()) > 1:
            raise InputError(f"{' and '.join(self._options())} contradict each other; give one of them.")

    def _options(self) -> list[str]:
        given = {
            "--generator": self.generator, "--synthetic": self.synthetic, "--generator-sweep": self.sweep,
            "--cross-fit": self.cross_fit is not None,
        }  # fmt: skip
        return [name for name, value in given.items() if value]

    @property
    def any(self) -> bool:
        """Whether there is a source of synthetic images."""
        return bool(self._options())

    @property
    def generates(self) -> bool:
        """Whether images are to be generated."""
        return self.any and self.synthetic is None

    def check(self, arms: Sequence[Arm], folds: int | None) -> None:
        """Refuse synthetic images that are missing, or to be generated for no arm.

        Raises:
            InputError: as above.
        """
        wanting = [arm.name for arm in arms if arm.uses_synthetic]
        if wanting and not self._options():
            raise InputError(
                f"The arm '{wanting[0]}' needs synthetic images; give --generator RUN or --synthetic DATA, "
                "or leave it out."
            )
        if self.generates and not wanting:
            raise InputError(
                f"{self._options()[0]} is given, but no arm uses synthetic images; add one: real+synthetic."
            )
        if self.cross_fit is not None and folds is None:
            raise InputError(
                "--cross-fit has a generator for each fold; give --folds too, such as --folds 5."
            )
        named = {arm.source for arm in arms if arm.uses_synthetic}
        if self._options() and (strange := sorted(named - (set(self.sweep) or {""}))):
            known = ", ".join(self.sweep) or "none, as --generator-sweep is not given"
            raise InputError(f"No generator of this study is called '{strange[0]}'; there are: {known}.")


def named_sweep(runs: Sequence[Path]) -> dict[str, Path]:
    """Runs that are compared by the names of their folders, as arms have them.

    Raises:
        InputError: fewer than two, or two of one name.
    """
    found = {re.sub(r"[^\w.-]", "-", path.resolve().name): path for path in runs}
    if len(found) < len(runs):
        raise InputError(
            "--generator-sweep names its arms by the Runs' folders; two of these are called the same."
        )
    if len(found) < 2:
        raise InputError("--generator-sweep compares at least two Runs; give one alone as --generator.")
    return found
