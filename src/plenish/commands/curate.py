"""`plenish curate`: the images of a Dataset that pass a row of steps, as a new Dataset with its funnel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from plenish.invocation import command
from plenish.metrics.curate import CurateConfig, Curated

if TYPE_CHECKING:
    from plenish.datasets.curation_steps import Corpus, Found, Ints, Step


@command("curate")
def curate(data: Path, out: Path, *, dry_run: bool = False, how: CurateConfig = CurateConfig()) -> Curated:
    """Filter and clean a Dataset by steps in an order, and show what each of them drops.

    OUT is a Dataset of the images that pass, with their columns, arrays and parts of splits; pixels are
    copied as they are, and DATA is not changed. Its dataset.json keeps the funnel: each step with its
    thresholds and the images that are left; dropped.csv lists what was dropped, by which step and why, and
    curate.html shows pictures of it, and of what nearly was.

    Args:
        data: the Dataset.
        out: the folder to make; must not exist.
        dry_run: only show the funnel; nothing is written.
        how: the steps.

    Raises:
        InputError: no such Dataset, step, column or tag, a step that does not suit the images, or OUT exists.
        CheckFailed: no image is left.
    """
    from plenish.report.curate_page import curate_with_page

    return curate_with_page(data, out, how, dry_run=dry_run, known=all_steps())


def all_steps() -> Mapping[str, Step]:
    """What --drop knows, by name; torch, which takes memory, is loaded by the steps that need it."""
    from plenish.datasets.curation_steps import STEPS

    def outliers(corpus: Corpus, rows: Ints, parameter: str) -> Found:
        from plenish.metrics.corpus_features import outliers

        return outliers(corpus, rows, parameter)

    def label_errors(corpus: Corpus, rows: Ints, parameter: str) -> Found:
        from plenish.metrics.corpus_features import wrong_labels

        return wrong_labels(corpus, rows, parameter)

    return {**STEPS, "outliers": outliers, "label-errors": label_errors}
