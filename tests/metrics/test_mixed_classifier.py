"""The mixture of classifiers as one: the same probabilities as mixing theirs, and gradients."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from plenish.datasets.batches import Images
from plenish.metrics.ensemble import Ensemble
from plenish.metrics.mixed_classifier import mixed_classifier
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import Classifier


@pytest.mark.parametrize("kind", ["categorical", "multilabel"])
def test_probabilities_are_those_of_the_ensemble(kind: str) -> None:
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, 4))
        models.append(
            Classifier(
                network, ClassifierConfig(), tuple("abcd"), 3, 4, (0.1, 0.0, -0.2), (0.5, 0.6, 0.7),
                "float32", kind,
            )
        )  # fmt: skip
    members = [SimpleNamespace(model=model) for model in models]
    ensemble = Ensemble(members, [0.7, 1.0, 2.5], np.array([0.5, 0.0, 0.5]), 1.4, None)  # type: ignore[arg-type]
    pixels = np.random.default_rng(0).integers(0, 256, (9, 4, 4, 3)).astype(np.uint8)
    images = Images(pixels.__getitem__, np.zeros(9, np.int64))
    _, sure = ensemble.mix([model.probabilities(images) for model in models])
    mixed = mixed_classifier(ensemble)
    np.testing.assert_allclose(mixed.probabilities(images), sure, atol=1e-6)
    x = torch.zeros(1, 3, 4, 4, requires_grad=True)
    mixed.module()(x)[0, 0].backward()
    assert torch.isfinite(x.grad).all()
    assert x.grad.any()
