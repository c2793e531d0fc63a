"""Multinomial logistic regression on features: what is told of images by a linear classifier alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp

from plenish.metrics.kernels import Floats, Ints

MOST_ROWS = 10_000
"""Rows it is fitted on; of more, some are drawn."""
_ITERATIONS = 300


@dataclass(frozen=True)
class LinearClassifier:
    """Logits of K classes from D features that are standardised first.

    Attributes:
        mean: D, of the rows it was fitted on.
        scale: D, their standard deviations.
        weights: D×K.
        bias: K.
    """

    mean: Floats
    scale: Floats
    weights: Floats
    bias: Floats

    def logits(self, features: NDArray[np.floating]) -> Floats:
        """Logits N×K of features N×D."""
        return np.asarray((features - self.mean) / self.scale @ self.weights + self.bias)

    def probabilities(self, features: NDArray[np.floating]) -> Floats:
        """Probabilities N×K of features N×D."""
        logits = self.logits(features)
        return np.asarray(np.exp(logits - logsumexp(logits, axis=1, keepdims=True)))


def fit_linear(
    features: NDArray[np.floating], codes: Ints, classes: int, *, strength: float = 1.0, seed: int = 0
) -> LinearClassifier:
    """Fit with an L2 penalty, each class with the same weight in all.

    Minimises Σ wᵢ CE(xᵢ, yᵢ) + ‖W‖² / (2 strength) with wᵢ = N / (K n_yᵢ), which is scikit-learn's
    `LogisticRegression(C=strength, class_weight="balanced")` on standardised features. Classes without rows
    get logits far below the others.

    Args:
        features: N×D.
        codes: N class numbers below `classes`.
        classes: K.
        strength: inverse of the penalty.
        seed: which rows are drawn where there are more than `MOST_ROWS`.
    """
    rows = np.random.default_rng([seed, 0x11E]).permutation(len(codes))[:MOST_ROWS]
    x, y = np.asarray(features, np.float64)[rows], codes[rows]
    mean, scale = x.mean(0), x.std(0)
    scale = np.where(scale > 1e-9, scale, 1.0)
    x = (x - mean) / scale
    present, place, counts = np.unique(y, return_inverse=True, return_counts=True)
    k, dim = len(present), x.shape[1]
    weight = len(y) / (k * counts[place])
    truth, number = np.eye(k)[place], np.arange(len(y))

    def loss(flat: Floats) -> tuple[float, Floats]:
        matrix = flat.reshape(dim + 1, k)
        logits = x @ matrix[:-1] + matrix[-1]
        logits -= logits.max(axis=1, keepdims=True)
        shares = np.exp(logits)  # scipy's logsumexp takes some times as long on arrays as small as these.
        below = shares.sum(axis=1)
        value = (weight * (np.log(below) - logits[number, place])).sum()
        gap = weight[:, None] * (shares / below[:, None] - truth)
        gradient = np.concatenate([x.T @ gap + matrix[:-1] / strength, gap.sum(0)[None]])
        return float(value + (matrix[:-1] ** 2).sum() / (2 * strength)), gradient.ravel()

    options = {"maxiter": _ITERATIONS}
    found = minimize(loss, np.zeros((dim + 1) * k), jac=True, method="L-BFGS-B", options=options).x
    weights, bias = np.zeros((dim, classes)), np.full(classes, -1e6)
    weights[:, present], bias[present] = found.reshape(dim + 1, k)[:-1], found.reshape(dim + 1, k)[-1]
    return LinearClassifier(mean, scale, weights, bias)
