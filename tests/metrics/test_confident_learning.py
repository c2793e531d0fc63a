"""The confident joint by hand, and planted errors among separable classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from plenish.datasets.curation_steps import Corpus
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.metrics.confident_learning import label_errors
from plenish.metrics.corpus_features import FOLDS, _folds, robust_scores, wrong_labels


def test_the_confident_joint_by_hand() -> None:
    probabilities = np.array(
        [[0.9, 0.1], [0.7, 0.3], [0.2, 0.8], [0.1, 0.9], [0.4, 0.6], [0.45, 0.55]], float
    )
    codes = np.array([0, 0, 0, 1, 1, 1])
    # Means: class 0 (0.9 + 0.7 + 0.2) / 3 = 0.6, class 1 (0.9 + 0.6 + 0.55) / 3 = 0.683…
    wrong, other = label_errors(probabilities, codes)
    assert wrong.tolist() == [False, False, True, False, False, False]
    assert other.tolist() == [1, 1, 1, 0, 0, 0]


def test_planted_errors_are_found_and_a_class_without_images_contradicts_nothing() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 600)
    logits = rng.normal(0, 1, (600, 4))
    logits[np.arange(600), truth] += 7
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    given = truth.copy()
    given[:30] = (truth[:30] + 1) % 3
    wrong, other = label_errors(probabilities, given)
    assert wrong[:30].mean() > 0.9
    assert wrong[30:].mean() < 0.02
    assert (other[:30] == truth[:30]).mean() > 0.9
    assert not (other[wrong] == 3).any()


def test_labels_are_judged_only_where_every_fold_has_images(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1), np.uint8)
    for groups in (FOLDS - 1, FOLDS):
        with DatasetWriter(tmp_path / str(groups), name="few", size=8, channels=1,
                           labels=LabelSchema("categorical", ("a", "b")), config={}) as writer:  # fmt: skip
            writer.add(pixels, [{"label": "ab"[i % 2], "group": f"g{i % groups}"} for i in range(40)])
        corpus, rows = Corpus(writer.dataset), np.arange(40)
        if groups == FOLDS:
            assert sorted(set(_folds(corpus, rows, rows % 2).tolist())) == list(range(FOLDS))
        else:
            with pytest.raises(InputError, match="needs 5 groups of images"):
                wrong_labels(corpus, rows, "")


def test_scores_of_a_gaussian_and_of_what_is_far_from_it() -> None:
    rng = np.random.default_rng(0)
    features = (rng.normal(0, 1, (2000, 12)) * np.arange(1, 13)).astype(np.float32)
    features[:10] += 200
    scores = robust_scores(features)
    assert (scores[:10] > 5).all()
    assert (scores[10:] > 5).mean() < 0.01
    np.testing.assert_allclose(robust_scores(features * 3 + 7), scores, atol=1e-3)


def test_scores_of_few_images_do_not_depend_on_which_ones_made_the_centre() -> None:
    rng = np.random.default_rng(3)
    scale = np.exp(-np.arange(64) / 16)
    outside = []
    for _ in range(20):
        features = (rng.normal(0, 1, (40, 64)) * scale).astype(np.float32)
        features[0] += 30 * scale.astype(np.float32)
        scores = robust_scores(features)
        assert scores[0] > 5
        outside.append((scores[1:] > 5).mean())
    assert np.mean(outside) < 0.01
