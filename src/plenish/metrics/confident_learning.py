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
    of several such classes the most probable one counts. The counts of label and class, scaled to the number
    of images of each label, say how many labelled i are of class j: so many are taken, those whose
    probability of j exceeds that of i most (pruning by noise rate), if j is their most probable class.

    Args:
        probabilities: N×K, of a classifier that did not see the images.
        codes: N class numbers, the labels.

    Returns:
        N booleans, and N class numbers: the most probable class other than the label.
    """
    count, classes = probabilities.shape
    at = np.arange(count)
    thresholds = np.array(
        [probabilities[codes == k, k].mean() if (codes == k).any() else np.inf for k in range(classes)]
    )
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    chosen = confident.argmax(axis=1)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (codes, chosen), confident[at, chosen] >= 0)
    labelled = np.bincount(codes, minlength=classes)
    joint *= (labelled / np.maximum(joint.sum(axis=1), 1))[:, None]
    others = probabilities.copy()
    others[at, codes] = -1
    likely = others.argmax(axis=1).astype(np.int64)
    lead = probabilities[at, likely] - probabilities[at, codes]
    wrong = np.zeros(count, bool)
    for i, j in zip(*np.nonzero(joint), strict=True):
        if i != j:
            rows = np.flatnonzero((codes == i) & (likely == j) & (lead > 0))
            wrong[rows[np.argsort(-lead[rows], kind="stable")[: round(joint[i, j])]]] = True
    return wrong, likely
