"""The score a trainer chooses its best checkpoint by: KID against the val part, in domain features."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from plenish import settings
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.metrics.features import DomainExtractor, extract
from plenish.metrics.fidelity import enough_rows, kid
from plenish.progress import warn


@dataclass(frozen=True)
class ValidationKID:
    """KID(domain) of images against the val part; the test part plays no role.

    Attributes:
        extractor: fitted on train.
        reference: features n×D of the val part.
        y: labels of the val part, n×K one-hot; None where they are no classes.
    """

    extractor: DomainExtractor
    reference: NDArray[np.float32]
    y: NDArray[np.float32] | None = None

    @classmethod
    def fit(cls, dataset: Dataset, split: str = "default", seed: int = 0) -> ValidationKID:
        """Fit (or take from the cache) the domain extractor and the features of val.

        Args:
            dataset: the real Dataset.
            split: its split.
            seed: seed of the extractor.

        Raises:
            InputError: fewer than six val images.
        """
        val = dataset.part("val", split, purpose="select")
        if not enough_rows(len(val), len(val)):
            raise InputError(
                f"{dataset.path} has {len(val)} val images and six are needed to choose a checkpoint; "
                "make a split with a larger share of val."
            )
        extractor = DomainExtractor.of(dataset, split, seed=seed)
        with settings.use(quiet=True):
            reference = extract(extractor, val)
        return cls(extractor, reference, val.y() if dataset.labels.kind == "categorical" else None)

    def score(self, images: NDArray[np.uint8], y: NDArray[np.float32] | None = None) -> float:
        """KID of images against val; lower is better, real ones score about zero (or below).

        A generator that was asked for classes is scored within them, so that one which mixes them up does
        not pass for a good one: the mean of the classes' KIDs, weighted by their shares of val. Classes with
        fewer than six images on either side are left out.

        Args:
            images: N×H×W×C uint8.
            y: the classes they were made for, N×K one-hot; None where no labels were asked for.
        """
        features = self.extractor(images)
        scores, sizes = [], []
        if self.y is not None and y is not None:
            for real, asked in zip(self.y.T > 0, y.T > 0, strict=True):
                if enough_rows(real.sum(), asked.sum()):
                    scores.append(kid(self.reference[real], features[asked]))
                    sizes.append(real.sum())
        if not scores:
            return kid(self.reference, features)
        return float(np.average(scores, weights=sizes))


def validator_of(
    dataset: Dataset, split: str
) -> Callable[[NDArray[np.uint8], NDArray[np.float32] | None], float] | None:
    """The score against the val part that decides the best checkpoint; None, with a warning, without one."""
    if "val" not in set(dataset.split(split).part_of):
        warn(f"the split '{split}' has no val part, so the newest checkpoint counts as the best.")
        return None
    if not settings.is_first_process():
        return lambda images, y: math.nan  # The first process scores.
    return ValidationKID.fit(dataset, split, seed=0).score
