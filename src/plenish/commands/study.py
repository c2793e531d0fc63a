"""`plenish study`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish.commands.train_generator import train_generator
from plenish.configuration import check_bounds
from plenish.errors import InputError
from plenish.invocation import command
from plenish.progress import plain_duration, say
from plenish.recipes import AUTO, load_recipe
from plenish.runs import Run
from plenish.study.config import Given, StudyConfig, named_sweep
from plenish.study.summaries import Study
from plenish.wording import plural

if TYPE_CHECKING:
    from plenish.study.estimate import Estimate
    from plenish.training.trial import Trial


@command("study")
def run_study(
    real: Path, out: Path, *, generator: Path | None = None, synthetic: Path | None = None,
    generator_sweep: list[Path] | None = None, cross_fit: list[str] | None = None, kimg: float | None = None,
    test_data: Path | None = None, dry_run: bool = False, how: StudyConfig = StudyConfig(),
) -> Study | Estimate:  # fmt: skip
    """Train the same classifier on several kinds of training images and say whether synthetic ones help.

    Every arm takes the same number of optimiser steps from the same initial weights, seed by seed; validation
    and test images are all real. Finished cells (one arm, one seed, one fold) are kept: the same command
    continues an interrupted study, and more seeds or arms extend it.

    Args:
        real: the real Dataset, with a split.
        out: the study's folder; an unfinished or smaller study in it is continued.
        generator: a generator's Run; synthetic images are generated from it into the study's folder.
        synthetic: a synthetic Dataset, instead of a generator.
        generator_sweep: Runs of several generators, instead: which of them is the most useful; an arm
            real+synthetic:NAME for each, by the name of its folder.
        cross_fit: with folds, a generator for each of them, instead: a recipe, by which they are trained
            into the study's folder, or Runs that were trained on the folds' splits.
        kimg: length of each training of --cross-fit, in thousands of images shown.
        test_data: another Dataset of the same classes and size, all of which is tested too, with a verdict of
            its own; or a synthetic one, for the accuracies on generated images.
        dry_run: train nothing; show what gain the study could find, how many trainings it takes, and how long
            they take one after another, without generators. Synthetic images need not be there yet.
        how: how to compare.

    Returns:
        The study; its folder holds study.json, cells/ and report.html.

    Raises:
        InputError: inputs unfit for a study, or a folder that holds a study with other settings.
    """
    from plenish.report.build import with_report
    from plenish.study import estimate, experiment

    runs, train = _cross_fit(cross_fit, kimg, how)
    sweep = [Path(run) for run in generator_sweep or ()]
    if dry_run:
        given = Given(
            generator, synthetic, named_sweep(sweep) if sweep else {}, runs if train is None else []
        )
        return estimate.estimate_study(real, out, how, given, test_data)
    Run.check_place(out)
    done = experiment.run_study(
        real, out, how, generator=generator, synthetic=synthetic, sweep=sweep, cross_fit=runs,
        test_data=test_data, train=train,
    )  # fmt: skip
    return with_report(done, "study")


def _cross_fit(
    words: Sequence[str] | None, kimg: float | None, how: StudyConfig
) -> tuple[list[Path] | None, _Training | None]:
    """The Runs of --cross-fit, or none and what trains them."""
    check_bounds("--kimg", kimg, {"above": 0})
    paths = [Path(word) for word in words or ()]
    if words is None or all((path / "config.json").is_file() for path in paths):
        if kimg is not None:
            raise InputError(
                "--kimg is the length of trainings by a recipe; give that as --cross-fit RECIPE."
            )
        return (None if words is None else paths), None
    if len(paths) > 1:
        missing = next(path for path in paths if not (path / "config.json").is_file())
        raise InputError(f"--cross-fit takes one recipe, or a Run for each fold, and {missing} is no Run.")
    if words[0] != AUTO:
        load_recipe(words[0], "generator")
    if kimg is None:
        raise InputError("--cross-fit trains a generator for each fold; say how long each with --kimg.")
    asked = {"recipe": words[0], "kimg": kimg, "seed": how.seed, "domain": how.domain}
    return [], _Training(asked, kimg)


@dataclasses.dataclass(frozen=True)
class _Training:
    """How the generators of the folds are trained: by one recipe, equally long."""

    asked: Mapping[str, Any]
    kimg: float

    @property
    def trained(self) -> Mapping[str, Any]:
        """What may not change while the study goes on."""
        return {"recipe": self.asked["recipe"], "kimg": self.kimg}

    def plan(self, data: Path, run: Path, split: str, folds: int) -> None:
        """Refuse what cannot be trained, and say how long all take."""
        trial: Run | Trial = train_generator(data, run, split=split, dry_run=True, **self.asked)
        if not isinstance(trial, Run):
            seconds = folds * float(trial.facts["seconds_per_kimg"]) * self.kimg
            say(
                f"{plural(folds, 'generator')} of {self.kimg:g} kimg, one for each fold, take about "
                f"{plain_duration(seconds)} in all here; then the classifiers follow."
            )

    def __call__(self, data: Path, run: Path, split: str) -> None:
        """Train the generator of a fold, or go on training it."""
        train_generator(data, run, split=split, **self.asked)
