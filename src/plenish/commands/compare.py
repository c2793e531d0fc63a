"""`plenish compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plenish import files
from plenish.errors import InputError
from plenish.invocation import command
from plenish.report.compare_options import CompareOptions

if TYPE_CHECKING:
    from plenish.report.compare import Comparison


@command("compare")
def compare_runs(paths: list[Path], *, how: CompareOptions = CompareOptions()) -> Comparison:
    """Show generators side by side: images of the same seeds, each resolution, the course of the training.

    OUT holds the pictures, compare.json and a page, compare.html.

    Args:
        paths: Runs of generators, and last the folder to write.
        how: what is shown.

    Returns:
        What was compared.

    Raises:
        InputError: a Run is none of a generator or has no checkpoint, or OUT exists.
    """
    if len(paths) < 2:
        raise InputError("Give Runs of generators and behind them OUT, the folder to write.")
    *runs, out = paths
    files.refuse_existing(out, unless_made=True)
    from plenish.report.compare import compare_runs as write  # After what needs no torch.

    return write(runs, out, how)
