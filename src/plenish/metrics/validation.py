"""The scores of a checkpoint in domain features: those that decide the best, and how good it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from plenish import settings
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.errors import InputError
from plenish.metrics.copies import ALARMS, Search, Views, thumbnails
from plenish.metrics.extractor import Extractor
from plenish.metrics.features import domain_extractor
from plenish.metrics.fidelity import enough_rows, kid
from plenish.metrics.quality import LOGGED, QualityScorer
from plenish.progress import warn


def validator_of(
    dataset: Dataset, split: str = "default"
) -> Callable[[NDArray[np.uint8], NDArray[np.float32] | None], dict[str, float]] | None:
    """The scores that decide the best checkpoint; None, with a warning, without a val part.

    It takes images N×H×W×C uint8 and the classes they were made for, N×K one-hot, or None where no labels
    were asked for. `kid_val` is the KID of the images against val in domain features; lower is better, real
    ones score about zero (or below). A generator that was asked for classes is scored within them, so that
    one which mixes them up does not pass for a good one: the mean of the classes' KIDs, weighted by their
    shares of val. Classes with fewer than six images on either side are left out. `copies` is the share of
    images suspected to copy one of train, and `copying` is 1 where the search raises the alarm, else
    0 (see `metrics.copies`); both are left out where that cannot be told. `quality/…` are the figures of
    `metrics.quality`, against train.

    Args:
        dataset: the real Dataset.
        split: its split; the test part plays no role.

    Raises:
        InputError: fewer than six val images.
    """
    if "val" not in set(dataset.split(split).part_of):
        warn(f"the split '{split}' has no val part, so the newest checkpoint counts as the best.")
        return None
    if not settings.is_first_process():
        return lambda images, y: {}  # The first process scores, and tells the others.
    val = dataset.part("val", split, purpose="select")
    if not enough_rows(len(val), len(val)):
        raise InputError(
            f"{dataset.path} has {len(val)} val images and six are needed to choose a checkpoint; "
            "make a split with a larger share of val."
        )
    extractor = domain_extractor(dataset, split)
    held = _views(val, extractor)
    train = dataset.part("train", split, purpose="select")
    trained = _views(train, extractor)
    quality = QualityScorer(trained.features, train.y() if dataset.labels.kind == "categorical" else None)
    try:
        search = Search(held, trained, val.groups)
    except ValueError as error:
        search = None
        warn(f"checkpoints are not searched for copies of training images: {error}.")
    reference = held.features
    classes = val.y() if dataset.labels.kind == "categorical" else None

    def score(images: NDArray[np.uint8], y: NDArray[np.float32] | None) -> dict[str, float]:
        features = extractor(images)
        scores, sizes = [], []
        if classes is not None and y is not None:
            for real, asked in zip(classes.T > 0, y.T > 0, strict=True):
                if enough_rows(real.sum(), asked.sum()):
                    scores.append(kid(reference[real], features[asked]))
                    sizes.append(real.sum())
        value = float(np.average(scores, weights=sizes)) if scores else kid(reference, features)
        values = {"kid_val": value} | {LOGGED + name: x for name, x in quality(features, y).items()}
        if search is None:
            return values
        copies = search(Views(thumbnails(images), features)).facts
        copying = float(copies["finding"] in ALARMS)
        return {**values, "copies": copies["share_suspect"], "copying": copying}

    return score


def _views(part: Subset, extractor: Extractor) -> Views:
    """The images of a part as the search for copies compares them."""
    pieces = [(thumbnails(images), extractor(images)) for images in part.batches()]
    return Views(*(np.concatenate(space) for space in zip(*pieces, strict=True)))
