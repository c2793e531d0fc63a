"""`plenish filter`: the synthetic images that pass, as a Dataset, and what dropping the others does."""

from __future__ import annotations

from pathlib import Path

from plenish.invocation import command
from plenish.metrics.filter import FilterConfig, Filtered


@command("filter")
def filter_dataset(
    synthetic: Path, out: Path, *, real: Path | None = None, how: FilterConfig = FilterConfig()
) -> Filtered:
    """Drop copies and bad images from a synthetic Dataset, and show what that does to those that are left.

    OUT is a Dataset of the images that pass, with the generator, seeds and latents that made them, and the
    filter in its dataset.json. filter.json and filter.html tell how many each rule dropped of each class,
    and coverage, recall, precision, KID and the accuracy of a linear classifier on real val images, before
    and after, with intervals. Thresholds come from real val images; the test part is not used.

    Args:
        synthetic: the synthetic Dataset.
        out: the folder to make; must not exist.
        real: the real Dataset; by default the one that the generator was trained on, if it is there.
        how: what to drop.

    Raises:
        InputError: the Datasets do not fit each other or the rules, or OUT exists.
        CheckFailed: no image is left.
    """
    from plenish.report.filter_page import filter_with_page

    return filter_with_page(synthetic, out, how, real)
