"""`plenish score` and `plenish study`, each followed by its report: what measures knows nothing of pages."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal, TypeVar

from plenish.invocation import command
from plenish.metrics.score import ScoreConfig, ScoreResult
from plenish.progress import warn
from plenish.study.config import StudyConfig
from plenish.study.summaries import Study

Result = TypeVar("Result", ScoreResult, Study)


@command("score")
def score(real: Path, synthetic: Path, out: Path, *, how: ScoreConfig = ScoreConfig()) -> ScoreResult:
    """Compare synthetic images with the real test part, and look for copies of the training part.

    Writes score.json, copies.png and report.html. The test part is the reference and its reading is counted;
    the search for copies compares with train, calibrated on val.

    Args:
        real: the real Dataset, with a split.
        synthetic: the synthetic Dataset; a real one is allowed, as a baseline.
        out: folder to write; must not exist.
        how: how to compare.

    Raises:
        InputError: the two do not fit each other, the generator was trained on anything but this train
            part, or OUT exists.
    """
    from plenish.metrics.compare import compare_datasets

    return with_report(compare_datasets(real, synthetic, out, how))


@command("study")
def study(
    real: Path, out: Path, *, generator: Path | None = None, synthetic: Path | None = None,
    how: StudyConfig = StudyConfig(),
) -> Study:  # fmt: skip
    """Train the same classifier on several kinds of training images and say whether synthetic ones help.

    Every arm takes the same number of optimiser steps from the same initial weights, seed by seed; validation
    and test images are all real. Finished cells (one arm, one seed) are kept: the same command continues an
    interrupted study, and more seeds or arms extend it.

    Args:
        real: the real Dataset, with a split.
        out: the study's folder; an unfinished or smaller study in it is continued.
        generator: a generator's Run; synthetic images are generated from it into the study's folder.
        synthetic: a synthetic Dataset, instead of a generator.
        how: how to compare.

    Returns:
        The study; its folder holds study.json, cells/ and report.html.

    Raises:
        InputError: inputs unfit for a study, or a folder that holds a study with other settings.
    """
    from plenish.study.experiment import run_study

    return with_report(run_study(real, out, how, generator=generator, synthetic=synthetic))


def with_report(result: Result) -> Result:
    """Write report.html beside the result; without the libraries it needs, the result is all there is."""
    try:
        from plenish.report.build import write_own_report

        kind: Literal["score", "study"] = "score" if isinstance(result, ScoreResult) else "study"
        return dataclasses.replace(result, report=write_own_report(result.path, kind))
    except ImportError as error:  # a missing drawing library must not cost the result
        warn(f"the report could not be written ({error}); {result.path} has the result without it.")
        return result
