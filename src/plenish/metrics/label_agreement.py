"""Do the labels of synthetic images fit them? And do the images teach a classifier what real ones do?

Fréchet distance and KID of all images are the same with every label exchanged. A linear classifier on domain
features, fitted on the real train part, sees it: its *agreement* is the share of images in which it predicts
the label, as a mean over classes. What real images of val and test reach, whose labels are right as far as
anyone knows, is the measure. Its errors on them are its own; only agreement below theirs speaks of labels.

It is a classification accuracy score (Ravuri & Vinyals, NeurIPS 2019) the other way round: trained on real,
tested on synthetic images. The score itself, trained on synthetic and tested on real ones, stands beside what
as many real training images reach; both with the linear classifier, as a study is for the network that will
be used. The inception score (Salimans et al., NeurIPS 2016) is that of the linear classifier, IS(domain).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.metrics.kernels import Floats, Ints
from plenish.metrics.linear import LinearClassifier, fit_linear
from plenish.metrics.resampling import all_weights, student, unit_codes
from plenish.training.confusion import confusion_matrix, defined_mean, recall_per_class

LEAST = 6
"""Images of a class on each side, so that it is counted."""


@dataclass(frozen=True)
class Labelled:
    """Features N×D of images with their classes and groups."""

    features: NDArray[np.floating]
    codes: Ints
    groups: Sequence[Any] | NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.codes)

    def where(self, rows: NDArray[Any]) -> Labelled:
        """Some of them."""
        groups = None if self.groups is None else np.asarray(self.groups, object)[rows]
        return Labelled(self.features[rows], self.codes[rows], groups)


@dataclass(frozen=True)
class _Values:
    """A value and its replicates R, over so many units."""

    value: float
    replicates: Floats
    units: int
    rows: int
    is_share: bool = True

    @property
    def error(self) -> float:
        """Standard error; of a share not below that of one more error among its rows, since none of few is
        not none."""
        if len(self.replicates) < 2 or self.units < 2:
            return math.nan
        spread = float(np.nanstd(self.replicates, ddof=1))
        if not self.is_share:
            return spread
        share = (self.value * self.rows + 1) / (self.rows + 2)
        return max(spread, math.sqrt(share * (1 - share) / self.rows))

    def record(self, least: float = 0.0, most: float = 1.0) -> dict[str, Any]:
        half = student(self.units, len(self.replicates)) * self.error
        low, high = (float(np.clip(self.value + sign * half, least, most)) for sign in (-1, 1))
        return {"value": self.value, "low": low, "high": high, "n": self.rows}


def label_agreement(
    train: Labelled, synthetic: Labelled, held: dict[str, Labelled], names: Sequence[str], *,
    resamples: int = 200, seed: int = 0,
) -> dict[str, Any] | None:  # fmt: skip
    """Agreement, classification accuracy score and IS(domain); None where fewer than two classes allow it.

    Args:
        train: real training images.
        synthetic: the others.
        held: real images by part: val, test. Synthetic ones are compared with the first that is there.
        names: K class names.
        resamples: of the bootstrap; 0 for no intervals.
        seed: of the resamples.

    Returns:
        `against` (the part compared with), `agreement` by side, `classes` (name, agreement by side),
        `difference` from `against` and whether it is `lower`, `cas` and `is`; every value with `low`, `high`
        and `n`. JSON-able; bounds are nan where there is no interval.
    """
    held = {part: side for part, side in held.items() if len(side)}
    if not held:
        return None
    against = next(iter(held))
    counts = [np.bincount(side.codes, minlength=len(names)) for side in (train, synthetic, held[against])]
    counted = np.flatnonzero(np.min(counts, axis=0) >= LEAST)
    if len(np.unique(train.codes)) < 2 or not len(counted):
        return None
    linear = fit_linear(train.features, train.codes, len(names), seed=seed)
    sides = {"synthetic": synthetic, **held}
    found = {
        part: _agreement(side, linear, counted, len(names), resamples, seed + i)
        for i, (part, side) in enumerate(sides.items())
    }
    mine, theirs = found["synthetic"][0], found[against][0]
    error = math.hypot(mine.error, theirs.error)
    gap = mine.value - theirs.value
    half = student(min(theirs.units, mine.units), resamples) * error
    return {
        "against": against,
        "agreement": {part: values[0].record() for part, values in found.items()},
        "classes": [
            {"name": names[k], **{part: values[1][i].record() for part, values in found.items()}}
            for i, k in enumerate(counted.tolist())
        ],
        "difference": {"value": gap, "low": gap - half, "high": gap + half},
        "lower": bool(gap + half < 0),
        "cas": _accuracy_score(
            train, synthetic, held.get("test", held[against]), len(names), resamples, seed
        ),
        "is": {
            part: inception_score(linear, side, resamples, seed).record(1.0, float(len(names)))
            for part, side in sides.items()
        },
    }


def _agreement(
    side: Labelled, linear: LinearClassifier, counted: Ints, classes: int, resamples: int, seed: int
) -> tuple[_Values, list[_Values]]:
    """Of all counted classes, and of each."""
    side = side.where(np.isin(side.codes, counted))
    units = unit_codes(side.groups, len(side))
    weights = all_weights(units, resamples, seed)
    confusion = confusion_matrix(side.codes, linear.logits(side.features).argmax(1), classes, weights)
    recalls = recall_per_class(confusion)[:, counted]
    counts = np.bincount(side.codes, minlength=classes)[counted]
    own = [len(np.unique(units[side.codes == k])) for k in counted]
    every = _values(defined_mean(recalls), int(units.max()) + 1, len(side))
    return every, [_values(recalls[:, i], own[i], int(counts[i])) for i in range(len(counted))]


def _values(values: Floats, units: int, rows: int, is_share: bool = True) -> _Values:
    return _Values(float(values[0]), values[1:], units, rows, is_share)


def _accuracy_score(
    train: Labelled, synthetic: Labelled, test: Labelled, classes: int, resamples: int, seed: int
) -> dict[str, Any]:
    """Balanced accuracy on real images of a classifier of synthetic, and of as many real, images."""
    rng = np.random.default_rng([seed, 0xCA5])
    number = min(len(train), len(synthetic))
    units = unit_codes(test.groups, len(test))
    weights = all_weights(units, resamples, seed)
    found = {}
    for name, side in (("synthetic", synthetic), ("real", train)):
        some = side.where(rng.permutation(len(side))[:number])
        predicted = fit_linear(some.features, some.codes, classes, seed=seed).logits(test.features).argmax(1)
        recalls = recall_per_class(confusion_matrix(test.codes, predicted, classes, weights))
        found[name] = _values(defined_mean(recalls), int(units.max()) + 1, len(test))
    gap = _values(
        np.append(found["synthetic"].value, found["synthetic"].replicates)
        - np.append(found["real"].value, found["real"].replicates),
        found["real"].units, len(test), is_share=False,
    )  # fmt: skip
    return {
        **{name: value.record() for name, value in found.items()}, "difference": gap.record(-1.0, 1.0),
        "n_train": number,
    }  # fmt: skip


def inception_score(linear: LinearClassifier, side: Labelled, resamples: int, seed: int) -> _Values:
    """exp of the mean divergence of the predicted classes of an image from those of all: 1 to K."""
    p = linear.probabilities(side.features)
    units = unit_codes(side.groups, len(side))
    weights = all_weights(units, resamples, seed)
    weights /= weights.sum(1, keepdims=True)
    own = (p * np.log(np.maximum(p, 1e-12))).sum(1)
    marginal = weights @ p
    values = np.exp(weights @ own - (marginal * np.log(np.maximum(marginal, 1e-12))).sum(1))
    return _values(values, int(units.max()) + 1, len(side), is_share=False)
