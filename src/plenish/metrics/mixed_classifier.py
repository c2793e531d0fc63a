"""An ensemble as one classifier, which can be differentiated as each of its members can."""

from __future__ import annotations

import dataclasses

from plenish.metrics.ensemble import Ensemble
from plenish.networks.classifier import Normalised
from plenish.networks.classifier_parts import Mixture
from plenish.training.classifier_model import Classifier


def mixed_classifier(ensemble: Ensemble) -> Classifier:
    """The calibrated mixture of an ensemble's members as a classifier.

    Its probabilities are those of `Ensemble.mix` of images in one orientation, up to rounding. It takes no
    columns beside images.
    """
    first = ensemble.members[0].model
    each = zip(ensemble.members, ensemble.weights.tolist(), ensemble.temperatures, strict=True)
    used = [(member.model, weight, t) for member, weight, t in each if weight > 0]
    mixture = Mixture(
        [Normalised(one.network, one.mean, one.std) for one, _, _ in used], [weight for _, weight, _ in used],
        [t for _, _, t in used], ensemble.temperature, tags=ensemble.tags,
    )  # fmt: skip
    zero, one = (0.0,) * first.channels, (1.0,) * first.channels
    return dataclasses.replace(first, network=mixture, mean=zero, std=one)
