"""Which part each image has in each fold of a cross-validation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError


class Folds:
    """The folds of a cross-validation, of all images or of those that a split holds out.

    Attributes:
        rows: which images are divided, N booleans.
        shares: of each fold, by its name.
    """

    def __init__(self, dataset: Dataset, folds: int, held_out_of: str | None) -> None:
        """Divide all images of a Dataset, or those that the split `held_out_of` has in val and test.

        Raises:
            InputError: too few folds, or no such split.
        """
        least = 3 if held_out_of is None else 2
        if folds < least:
            each = "one to test, one to select, one to train" if least == 3 else "one to test, one to select"
            raise InputError(f"--folds must be at least {least} ({each}), not {folds}.")
        self._outer = dataset.split(held_out_of) if held_out_of is not None else None
        self._count = folds
        self.rows = np.ones(len(dataset), bool)
        if self._outer is not None:
            self.rows = self._outer.part_of.to_numpy() != "train"
        self.shares = {f"fold {k}": 1.0 / folds for k in range(folds)}

    def parts(self, assigned: NDArray[np.int64], k: int) -> list[str]:
        """The part of every image in fold `k`, from the number of its own fold."""
        if self._outer is not None:
            own = np.where(assigned == k, "test", "val")
            return [str(part) for part in np.where(self.rows, own, "train")]
        of_fold = {k: "test", (k + 1) % self._count: "val"}
        return [of_fold.get(int(p), "train") for p in assigned]

    def about(self, k: int) -> dict[str, Any]:
        """What the manifest of fold `k` says of it."""
        share, n = 1 / self._count, self._count
        about: dict[str, Any] = {"folds": n, "fold": k}
        if self._outer is None:
            return about | {"ratios": {"train": 1 - 2 * share, "val": share, "test": share}}
        held = float(self.rows.mean())
        ratios = {"train": 1 - held, "val": held * (1 - share), "test": held * share}
        about |= {"held_out_of": self._outer.name, "held_out_hash": self._outer.hash}
        return about | {"ratios": ratios}
