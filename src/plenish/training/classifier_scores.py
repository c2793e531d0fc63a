"""What a classifier scores on val, and when its rate falls for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.training.classifier_config import ClassifierConfig
from plenish.training.confusion import (
    Floats,
    balanced_accuracy,
    balanced_accuracy_of_tags,
    confusion_matrix,
    defined_mean,
    macro_f1,
    macro_f1_of_tags,
    tag_counts,
)
from plenish.training.roc import auroc, auroc_binary


def validation_scores(y: NDArray[Any], probabilities: Floats, begin: str = "val") -> dict[str, float]:
    """The values that may decide which checkpoint is best.

    Args:
        y: N class numbers, or N×K tags.
        probabilities: N×K.
        begin: what the names of the values begin with.

    Returns:
        Balanced accuracy, macro F1 and AUROC, of tags their means over the tags, found where the probability
        is at least one half; and the cross-entropy, with every class counting alike.
    """
    if y.ndim == 2:
        return _of_tags(y > 0.5, probabilities, begin)
    losses = -np.log(np.maximum(probabilities[np.arange(len(y)), y], 1e-12))
    confusion = confusion_matrix(y, probabilities.argmax(axis=1), probabilities.shape[1])
    return {
        f"{begin}_balanced_accuracy": float(balanced_accuracy(confusion)[0]),
        f"{begin}_macro_f1": float(macro_f1(confusion)[0]),
        f"{begin}_auroc": float(auroc(y, probabilities)[0]),
        f"{begin}_loss": float(np.mean([losses[y == k].mean() for k in np.unique(y)])),
    }


def _of_tags(present: NDArray[np.bool_], probabilities: Floats, begin: str) -> dict[str, float]:
    counts = tag_counts(present, probabilities >= 0.5, None)
    likelihood = np.where(present, probabilities, 1 - probabilities)
    aurocs = [auroc_binary(present[:, k], probabilities[:, k]) for k in range(present.shape[1])]
    return {
        f"{begin}_balanced_accuracy": float(balanced_accuracy_of_tags(counts)[0]),
        f"{begin}_macro_f1": float(macro_f1_of_tags(counts)[0]),
        f"{begin}_auroc": float(defined_mean(np.stack(aurocs, axis=-1))[0]),
        f"{begin}_loss": float(-np.log(np.maximum(likelihood, 1e-12)).sum(axis=1).mean()),
    }


class Plateau:
    """How often the rate has been lowered, as a function of what was validated so far.

    Attributes:
        drops: how often.
    """

    def __init__(self, config: ClassifierConfig, criteria: Mapping[str, int] | None = None) -> None:
        """Start without a validation; `criteria` are by default those of the configuration."""
        self.drops = 0
        self._criteria = config.decides if criteria is None else criteria
        self._patience = config.plateau_patience if config.schedule == "plateau" else 0
        self._seen: dict[float, tuple[float, ...]] = {}

    def add(self, line: Mapping[str, Any]) -> None:
        """Take a line of the log: a validation, or another, which says nothing."""
        if not self._patience or self._criteria.keys().isdisjoint(line):
            return
        self._seen[line["kimg"]] = tuple(sign * line[name] for name, sign in self._criteria.items())
        self.drops, waited = 0, 0
        best: tuple[float, ...] = (np.inf,)
        for _, rank in sorted(self._seen.items()):
            waited = 0 if rank < best else waited + 1
            best = min(best, rank)
            if waited >= self._patience:
                self.drops, waited = self.drops + 1, 0
