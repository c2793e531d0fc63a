"""What the checkpoints of a training scored on val: the best of them, and when patience ends."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish.training.checkpoints import checkpoint_name
from plenish.training.learner import Learner


class Scores:
    """The values of a Learner's criteria at each checkpoint, in the order of training.

    Attributes:
        best: the best checkpoint so far: its `checkpoint` name, position and criteria; empty before.
    """

    def __init__(self, learner: Learner) -> None:
        """Start without scores."""
        self.best: dict[str, Any] = {}
        self._learner = learner
        self._ranks: dict[int, tuple[float, ...]] = {}
        self._best_rank: tuple[float, ...] = (math.inf,)

    def __contains__(self, nimg: int) -> bool:
        """Whether the checkpoint after `nimg` images was scored."""
        return nimg in self._ranks

    def add(self, line: Mapping[str, Any], folder: Path | None = None) -> bool | None:
        """Take a log line.

        Args:
            line: a score or any other line.
            folder: of checkpoints; only one that is still there can be the best.

        Returns:
            Whether its checkpoint is the best so far; None where it is no score, or not a finite one. One
            criterion of several that was not measured counts as 0.
        """
        criteria = self._learner.criteria
        values = {name: line.get(name, 0.0) for name in criteria}
        if criteria.keys().isdisjoint(line) or not all(map(math.isfinite, values.values())):
            return None
        nimg = round(1000 * line["kimg"])
        rank = self._ranks[nimg] = tuple(sign * values[key] for key, sign in criteria.items())
        name = checkpoint_name(nimg)
        if rank >= self._best_rank or (folder is not None and not (folder / name).is_dir()):
            return False
        shown = {key: line[key] for key in self._learner.position(nimg)} | values
        self.best, self._best_rank = {"checkpoint": name, **shown}, rank
        return True

    def out_of_patience(self, patience: int) -> bool:
        """Whether so many checkpoints, unless 0, were scored after the one of the best score."""
        ranks = list(self._ranks.values())
        return bool(patience and ranks) and len(ranks) - 1 - ranks.index(min(ranks)) >= patience
