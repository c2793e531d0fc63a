"""`plenish score-edits`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from plenish import files
from plenish.errors import InputError
from plenish.invocation import command
from plenish.latent.counterfactual_options import EditScoreOptions

if TYPE_CHECKING:
    from plenish.latent.edit_scores import EditScores


@command("score-edits")
def score_edits(
    paths: list[Path], *, classifier: Path | None = None, how: EditScoreOptions = EditScoreOptions()
) -> EditScores:
    """Score edits that change classes: did the class change, what was kept, and are images like real ones?

    With intervals over images: whether a classifier says the class that was asked for, whether other
    attributes are kept, distances of features to real val images with what real train images score, how
    evenly the way goes, and the error of going there and back.

    Args:
        paths: folders made by 'edit counterfactual' or 'edit flip', and last the folder to write.
        classifier: Run of the classifier that says the class, best another than the one that was turned.
        how: further options.

    Returns:
        The scores.

    Raises:
        InputError: a folder, Run or judge does not fit, or OUT exists.
    """
    if len(paths) < 2:
        raise InputError("Give folders of edits and behind them OUT, the folder to write.")
    if classifier is None:
        raise InputError("Give --classifier, the Run of the classifier that says the class.")
    *folders, out = paths
    files.refuse_existing(out, unless_made=True)
    from plenish.latent.edit_scores import score_edits as write  # After what needs no torch.

    return write(folders, out, classifier, how)
