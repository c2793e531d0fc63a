"""Labels that are probably wrong, from probabilities of a classifier that did not see the images.

Northcutt, Jiang and Chuang, "Confident learning: estimating uncertainty in dataset labels" (JAIR 2021).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


def label_errors(probabilities: Floats, codes: Ints) -> tuple[NDArray[np.bool_], Ints]:
    """Which labels the confident joint contradicts, and with which class.

    An image counts as one of class j where its probability of j reaches the mean that images labelled j have;
    of several such classes the most probable one counts. Where that is not its label, the label is
    contradicted.

    Args:
        probabilities: N×K, of a classifier that did not see the images.
        codes: N class numbers, the labels.

    Returns:
        N booleans, and N class numbers: the most probable class other than the label, or the one that
        contradicts it.
    """
    count, classes = probabilities.shape
    at = np.arange(count)
    thresholds = np.array(
        [probabilities[codes == k, k].mean() if (codes == k).any() else np.inf for k in range(classes)]
    )
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    chosen = confident.argmax(axis=1).astype(np.int64)
    wrong = (confident[at, chosen] >= 0) & (chosen != codes)
    others = probabilities.copy()
    others[at, codes] = -1
    return wrong, np.where(wrong, chosen, others.argmax(axis=1)).astype(np.int64)
