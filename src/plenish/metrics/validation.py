"""The score a trainer chooses its best checkpoint by: KID against the val part, in domain features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from plenish import settings
from plenish.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from plenish.datasets.dataset import Dataset
    from plenish.metrics.features import DomainExtractor


@dataclass(frozen=True)
class ValidationKID:
    """KID(domain) of images against the val part; the test part plays no role.

    Attributes:
        extractor: fitted on train.
        reference: features n×D of the val part.
    """

    extractor: DomainExtractor
    reference: NDArray[np.float32]

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
        from plenish.metrics.features import DomainExtractor, extract
        from plenish.metrics.fidelity import enough_rows

        val = dataset.part("val", split, purpose="select")
        if not enough_rows(len(val), len(val)):
            raise InputError(
                f"{dataset.path} has {len(val)} val images and six are needed to choose a checkpoint; "
                "make a split with a larger share of val."
            )
        extractor = DomainExtractor.of(dataset, split, seed=seed)
        with settings.use(quiet=True):
            return cls(extractor, extract(extractor, val))

    def score(self, images: NDArray[np.uint8]) -> float:
        """KID of images N×H×W×C uint8 against val; lower is better, real ones score about zero (or below)."""
        from plenish.metrics.fidelity import kid

        return kid(self.reference, self.extractor(images))
