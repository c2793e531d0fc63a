"""`plenish score`."""

from __future__ import annotations

from pathlib import Path

from plenish.errors import AlreadyMade
from plenish.invocation import command
from plenish.metrics.result_files import read_result
from plenish.metrics.score import ScoreConfig, ScoreResult


@command("score")
def score(real: Path, synthetic: Path, out: Path, *, how: ScoreConfig = ScoreConfig()) -> ScoreResult:
    """Compare synthetic images with the real test part, and look for copies of the training part.

    Writes score.json, copies.png and report.html. The test part is the reference and its reading is counted;
    the search for copies compares with train, calibrated on val.

    Args:
        real: the real Dataset, with a split.
        synthetic: the synthetic Dataset; a real one is allowed, as a baseline.
        out: folder to write; must not exist.
        how: how to compare; where the same command has done so, the result that is there is given again.

    Raises:
        InputError: the two do not fit each other, the generator was trained on anything but this train
            part, or OUT exists.
    """
    from plenish.metrics.compare import compare_datasets
    from plenish.report.build import with_report

    try:
        result = compare_datasets(real, synthetic, out, how)
    except AlreadyMade:  # The page may be missing.
        result = ScoreResult(out, read_result(out, "score")[0])
    return with_report(result, "score")
