"""How variable a set is: sets whose measures are known, and the order that they must have."""

import numpy as np
import pytest

from plenish.datasets.appearance import cluster_rows
from plenish.datasets.complexity import MEASURES, measure, reduced
from plenish.datasets.complexity_references import REFERENCES


def images(rng, n, of):
    return np.stack([np.broadcast_to(of(rng), (32, 32, 3)) for _ in range(n)]).astype(np.uint8)


def test_one_image_repeated_has_no_variety():
    one = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8).repeat(20, axis=0)
    found = measure(one)
    assert found["effective_rank"] == pytest.approx(0, abs=1e-6)
    assert found["mean_distance"] == pytest.approx(0, abs=1e-3)
    assert found["unexplained_variance"] == pytest.approx(0, abs=1e-6)
    assert found["png_bits"] > 20


def test_images_of_one_grey_level_vary_along_one_direction():
    levels = np.linspace(0, 250, 26).astype(np.uint8)
    found = measure(np.broadcast_to(levels[:, None, None, None], (26, 32, 32, 1)))
    assert found["effective_rank"] == pytest.approx(1, abs=1e-6)
    expected = np.abs(levels[:, None].astype(float) - levels).sum() / (26 * 25)
    assert found["mean_distance"] == pytest.approx(expected, rel=1e-4)
    assert found["unexplained_variance"] == pytest.approx(1)
    assert found["png_bits"] < 1


def test_three_independent_colours_vary_along_three_directions():
    rng = np.random.default_rng(0)
    found = measure(images(rng, 2000, lambda rng: rng.integers(0, 256, 3)))
    assert 2 < found["effective_rank"] <= 3.001


def test_reduction_is_area_averaging():
    large = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 1), np.uint8)
    blocks = large.reshape(2, 32, 2, 32, 2, 1).mean(axis=(2, 4))
    assert np.abs(reduced(large) - blocks).max() <= 0.5


def test_references_are_complete():
    assert len(REFERENCES) >= 5
    assert all(set(MEASURES) < set(of) for of in REFERENCES.values())
    assert REFERENCES["MNIST"]["png_bits"] < REFERENCES["PatchCamelyon"]["png_bits"]


def test_sets_to_show_are_the_largest_of_the_rows_that_may_be():
    cluster = np.array([0, 1, 1, 2, 2, 2, 3, 1] + [9] * 20)
    shown = cluster_rows(cluster, np.arange(28))
    assert shown == [list(range(8, 16)), [1, 2, 7], [3, 4, 5]]
    assert cluster_rows(cluster, np.array([0, 1, 3, 4])) == [[3, 4]]
    assert cluster_rows(cluster, np.array([], int)) == []
