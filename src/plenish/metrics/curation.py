"""A curation as `plenish curate` does it: plan, funnel, a new Dataset."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from plenish import files
from plenish.datasets.curation import Taken, funnel, plan, take, write
from plenish.datasets.curation_steps import STEPS, Corpus, Step
from plenish.datasets.dataset import Dataset
from plenish.errors import AlreadyMade, CheckFailed, InputError
from plenish.metrics.curate import CurateConfig, Curated

Beside = Callable[[Path, Dataset, Sequence[Taken]], object]


def curate_dataset(
    data: Path, out: Path, config: CurateConfig, *, dry_run: bool = False, known: Mapping[str, Step] = STEPS,
    beside: Beside = lambda folder, dataset, taken: None,
) -> Curated:  # fmt: skip
    """Write the images of a Dataset that pass all steps as a new one, with the funnel.

    Args:
        data: the Dataset.
        out: the folder to make; must not exist.
        config: the steps.
        dry_run: only find the funnel.
        known: the steps there are, by name.
        beside: writes further files into the folder, before it gets its name.

    Raises:
        InputError: no such Dataset or step, a step that does not suit it, or OUT exists.
        CheckFailed: no image is left.
    """
    planned = plan(config.where, config.drop, known)
    if not planned:
        raise InputError("Nothing to do: give --where, --drop or both; 'plenish curate --help' lists steps.")
    dataset = Dataset.open(data)
    if not dry_run:
        files.refuse_existing(out, unless_made=True)
    corpus = Corpus(dataset, config.seed, keep_clusters=config.keep_clusters)
    rows, taken = take(corpus, planned)
    steps = funnel(dataset, taken)
    if dry_run:
        return Curated(out, dataset.name, steps, made=False)
    if not len(rows):
        words = ", ".join(f"{row['step']}: {row['after']:,}" for row in steps)
        raise CheckFailed(f"No image of {data} passes all steps ({words}); nothing was written.")
    with contextlib.suppress(AlreadyMade):
        write(
            corpus, out, rows, taken, name=config.name or None,
            beside=lambda folder: beside(folder, dataset, taken),
        )  # fmt: skip
    return Curated(out, dataset.name, steps, made=True)
