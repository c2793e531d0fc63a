"""`plenish study`."""

from __future__ import annotations

from pathlib import Path

from plenish.invocation import command
from plenish.study.config import StudyConfig
from plenish.study.summaries import Study


@command("study")
def run_study(
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
    from plenish.report.build import with_report
    from plenish.study import experiment

    return with_report(
        experiment.run_study(real, out, how, generator=generator, synthetic=synthetic), "study"
    )
