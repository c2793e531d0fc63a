"""Components and correlations against libraries and known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.decomposition import PCA

from plenish.errors import InputError
from plenish.latent.projection import Components, eta_squared, fit_umap, spearman


def _cloud(n: int, features: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, features)) * np.linspace(3, 0.5, features) + 7


@pytest.mark.parametrize(("n", "features"), [(50, 6), (20, 40)])
def test_components_agree_with_scikit_learn(n: int, features: int) -> None:
    x = _cloud(n, features)
    ours, theirs = Components.fit(x, 4), PCA(4, svd_solver="full").fit(x)
    np.testing.assert_allclose(ours.share, theirs.explained_variance_ratio_, rtol=1e-8)
    np.testing.assert_allclose(np.abs(ours.axes @ theirs.components_.T), np.eye(4), atol=1e-7)
    np.testing.assert_allclose(np.abs(ours.project(x)), np.abs(theirs.transform(x)), atol=1e-7)


def test_as_many_components_as_there_is_variance_and_the_same_sign_each_time() -> None:
    line = np.outer(np.arange(10.0), [1.0, -2.0, 0.5])
    found = Components.fit(line, 5)
    np.testing.assert_allclose(found.share, [1.0])
    assert found.axes[0, 1] > 0
    flipped = Components.fit(-line, 5)
    np.testing.assert_allclose(found.axes, flipped.axes)
    for wrong, sentence in ((line[:2], "^2 encodings"), (np.ones((5, 3)), "the same")):
        with pytest.raises(InputError, match=sentence):
            Components.fit(wrong, 2)


def test_rank_correlation_agrees_with_scipy_and_knows_ties() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 60), rng.normal(size=60)
    assert spearman(a, b) == pytest.approx(spearmanr(a, b).statistic)
    assert spearman(b, np.exp(b)) == pytest.approx(1)
    assert np.isnan(spearman(a, np.zeros(60)))


def test_eta_squared_of_known_classes() -> None:
    assert eta_squared(np.array([1.0, 1.0, 5.0, 5.0]), ["a", "a", "b", "b"]) == pytest.approx(1)
    assert eta_squared(np.array([1.0, 5.0, 1.0, 5.0]), ["a", "a", "b", "b"]) == pytest.approx(0)
    # Means 1 and 3 around 2, within each class ±1: half of the variance.
    assert eta_squared(np.array([0.0, 2.0, 2.0, 4.0]), ["a", "a", "b", "b"]) == pytest.approx(0.5)
    assert np.isnan(eta_squared(np.arange(3.0), ["a", "a", "a"]))


@pytest.mark.slow
def test_umap_keeps_two_clouds_apart_and_applies_to_others() -> None:
    pytest.importorskip("umap")
    x = np.concatenate([_cloud(40, 4), _cloud(40, 4, 1) + 60])
    fitted = np.arange(0, 80, 2)
    threads = torch.get_num_threads()
    coordinates = fit_umap(x, fitted, 0)
    torch.set_num_threads(threads)  # numba, below umap-learn, sets them for the whole process.
    assert np.isfinite(coordinates).all()
    middles = [coordinates[fitted[half]].mean(0) for half in (slice(20), slice(20, 40))]
    own = np.argmin([np.linalg.norm(coordinates - middle, axis=1) for middle in middles], axis=0)
    assert np.array_equal(own, np.arange(80) // 40)
