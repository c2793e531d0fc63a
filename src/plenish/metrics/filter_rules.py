"""Which synthetic images a filter drops: thresholds that a stated share of real val images passes.

Each rule gives an image one number, higher for one that should stay. Val images, which neither generator nor
classifier saw, get it too; the threshold is the k-th smallest of their n values with k = ⌊(1 − pass rate) ×
(n + 1)⌋, below which a share of k / (n + 1) of new real images lies on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from plenish.metrics.fidelity import NEIGHBOURS_DENSITY
from plenish.metrics.kernels import neighbour_radii, row_pieces, squared_distances
from plenish.metrics.linear import LinearClassifier
from plenish.metrics.resampling import Floats, Ints

Mask = NDArray[np.bool_]
_LEAST_LOG = -50.0


@dataclass(frozen=True)
class Threshold:
    """Where a rule cuts.

    Attributes:
        values: of each class; one for all where a rule has no classes.
        expected: share of new real images that lies below each, on average.
        pooled: classes whose threshold is that of all, since they have too few val images.
    """

    values: Floats
    expected: Floats
    pooled: tuple[int, ...] = ()


def order_statistic(values: Floats, pass_rate: float) -> tuple[float, float] | None:
    """The threshold that `pass_rate` of new values pass, or more; None where there are too few to tell.

    Args:
        values: n values of real images.
        pass_rate: share of them that stays, below 1.

    Returns:
        It, and the share of new values that lies below it, on average.
    """
    k = int((1 - pass_rate) * (len(values) + 1) + 1e-9)
    return (float(np.sort(values)[k - 1]), k / (len(values) + 1)) if k >= 1 else None


def least_images(pass_rate: float) -> int:
    """How many val images a threshold takes."""
    return int(np.ceil(1 / (1 - pass_rate) - 1 - 1e-9))


def threshold(values: Floats, codes: Ints | None, classes: int, pass_rate: float) -> Threshold | None:
    """Of each class where it has enough val images, else of all; None where all are too few.

    Args:
        values: of n val images.
        codes: their classes; None for one threshold.
        classes: K.
        pass_rate: share of real images that stays.
    """
    together = order_statistic(values, pass_rate)
    if together is None:
        return None
    if codes is None:
        return Threshold(np.array(together[:1]), np.array(together[1:]))
    own = [order_statistic(values[codes == k], pass_rate) for k in range(classes)]
    pooled = tuple(k for k, value in enumerate(own) if value is None)
    values, expected = np.array([value or together for value in own]).T
    return Threshold(values, expected, pooled)


def density_scale(train: ArrayLike, images: ArrayLike) -> Floats:
    """How far an image lies within the real ones: the density of Naeem et al. (ICML 2020) on a scale.

    An image's density counts the training images whose ball, up to their 5th nearest neighbour, holds it.
    The scale is the largest factor s such that five balls still hold it when all radii are divided by s:
    where density is at least 1, s is at least 1. Counts are too coarse for a threshold.

    Args:
        train: N×D features, N above 5.
        images: M×D.

    Returns:
        M values, 0 and more; small ones are far from all training images.
    """
    x = np.asarray(train, np.float64)
    z = np.asarray(images, np.float64) - x.mean(0)
    x = x - x.mean(0)
    k = NEIGHBOURS_DENSITY
    (radii,) = neighbour_radii(x, (k,))
    found = np.empty(len(z))
    for rows in row_pieces(len(z), len(x)):
        ratio = radii / np.maximum(squared_distances(z[rows], x), 1e-12)
        found[rows] = np.partition(ratio, len(x) - k, axis=1)[:, len(x) - k]
    return np.sqrt(found)


def label_evidence(linear: LinearClassifier, features: ArrayLike, codes: Ints) -> Floats:
    """Log-probability that a linear classifier gives to the label asked for, M values."""
    found = linear.probabilities(np.asarray(features, np.float64))[np.arange(len(codes)), codes]
    return np.maximum(np.log(np.maximum(found, 1e-300)), _LEAST_LOG)


def passes(values: Floats, codes: Ints | None, cut: Threshold) -> Mask:
    """Which images pass a threshold, N.

    Args:
        values: N values of the rule.
        codes: their classes; None where the rule has no classes.
        cut: its thresholds.
    """
    return np.asarray(values >= (cut.values[0] if codes is None else cut.values[codes]))


def expected_share(cut: Threshold, codes: Ints, where: Mask) -> float:
    """The share of real images of the same classes that would be dropped.

    Args:
        cut: the thresholds.
        codes: N classes.
        where: which of the N images are meant.
    """
    return float(cut.expected[codes[where]].mean() if len(cut.expected) > 1 else cut.expected[0])
