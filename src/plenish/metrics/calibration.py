"""What is fitted on val after a training: a temperature, the weights of an ensemble, when to abstain.

Sources: Guo et al., ICML 2017 (temperature); Caruana et al., ICML 2004 (ensembles chosen on held-out data);
Geifman & El-Yaniv, NeurIPS 2017 (coverage and risk).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_softmax, logit

from plenish.errors import InputError
from plenish.training.confusion import Floats

_LEAST = 1e-12
_TEMPERATURES = 0.02, 50.0
_STEPS = 500


def is_tags(y: NDArray[Any]) -> bool:
    """Whether labels are tags N×K, and not class numbers N."""
    return y.ndim == 2


def calibrated(probabilities: Floats, temperature: float, tags: bool = False) -> Floats:
    """Probabilities N×K of logits that are divided by a temperature.

    Args:
        probabilities: N×K, of classes, or of each tag.
        temperature: above 1 they become less certain.
        tags: whether each column is a tag of its own.
    """
    if tags:
        return np.asarray(expit(logit(probabilities.clip(_LEAST, 1 - _LEAST)) / temperature))
    return np.asarray(np.exp(log_softmax(np.log(probabilities.clip(1e-300)) / temperature, axis=1)))


def likelihoods(y: NDArray[Any], probabilities: Floats) -> Floats:
    """Probability of what is true: N, or of tags N·K."""
    if is_tags(y):
        return np.where(y > 0.5, probabilities, 1 - probabilities).ravel()
    return np.asarray(probabilities[np.arange(len(y)), y])


def cross_entropy(y: NDArray[Any], probabilities: Floats) -> float:
    """Mean negative log probability of what is true."""
    return float(-np.log(likelihoods(y, probabilities).clip(_LEAST)).mean())


def fit_temperature(y: NDArray[Any], probabilities: Floats) -> float:
    """The temperature with the least cross-entropy, within 0.02 to 50.

    Args:
        y: N class numbers, or N×K tags, of images that were not trained on.
        probabilities: N×K.
    """
    bounds = tuple(np.log(_TEMPERATURES))
    found = minimize_scalar(
        lambda t: cross_entropy(y, calibrated(probabilities, float(np.exp(t)), is_tags(y))),
        bounds=bounds, method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    return float(np.exp(found.x))


def fit_weights(y: NDArray[Any], members: Sequence[Floats]) -> Floats:
    """The weights M of a mixture of predictions with the least cross-entropy, by expectation-maximisation.

    Args:
        y: N class numbers, or N×K tags, of images that were not trained on.
        members: M times N×K.
    """
    each = np.stack([likelihoods(y, member) for member in members]).clip(_LEAST)
    weights = np.full(len(members), 1 / len(members))
    for _ in range(_STEPS):
        weights = (weights[:, None] * each / (weights @ each)).mean(axis=1)
    return np.asarray(weights / weights.sum())


def confidences(probabilities: Floats, tags: bool = False) -> Floats:
    """How sure the predictions N×K are: of the most probable class, of tags of the least sure one; N."""
    return np.asarray(
        np.maximum(probabilities, 1 - probabilities).min(axis=1) if tags else probabilities.max(axis=1)
    )


def correct(y: NDArray[Any], probabilities: Floats) -> NDArray[np.bool_]:
    """Which predictions are right; of tags, where every one is."""
    if is_tags(y):
        return np.asarray(((probabilities >= 0.5) == (y > 0.5)).all(axis=1))
    return np.asarray(probabilities.argmax(axis=1) == y)


@dataclasses.dataclass(frozen=True)
class Abstention:
    """Below which confidence nothing is said.

    Attributes:
        threshold: images of a lower confidence are left to a person.
        coverage: share of the val images that are not.
        risk: share of these that is wrong.
    """

    threshold: float
    coverage: float
    risk: float


def choose_threshold(
    confidence: Floats, right: NDArray[np.bool_], *, coverage: float | None = None, risk: float | None = None
) -> Abstention:
    """The threshold that reaches a coverage or a risk on val.

    Args:
        confidence: N, of val images.
        right: N, whether the predictions are.
        coverage: the highest threshold that keeps at least this share.
        risk: instead, the threshold that keeps most with at most this share of them wrong.

    Raises:
        InputError: no threshold reaches the risk.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))  # Equal ones go together.
    kept = (ends + 1) / len(order)
    wrong = np.cumsum(~right[order])[ends] / (ends + 1)
    if risk is None:
        places = np.flatnonzero(kept >= (coverage or 0.0) - 1e-12)[:1]
    else:
        places = np.flatnonzero(wrong <= risk)[-1:]
        if not len(places):
            raise InputError(
                f"No threshold has a risk of {risk:g} on val; --risk can be {wrong.min():.3g} at the least."
            )
    place = int(places[0])
    return Abstention(float(ordered[ends[place]]), float(kept[place]), float(wrong[place]))
