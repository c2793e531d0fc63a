"""How a slide's answer follows from its tiles: against trying every number of tiles."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from plenish.latent.slide_answer import Answer, decisive, first_turned, least_tiles, means_after


def _slide(n: int, k: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.5), n)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("reached", [1.0, 0.8])
def test_least_tiles_is_what_trying_all_sets_of_tiles_finds(seed, reached):
    sure = _slide(7, 2, seed)
    to = int(1 - sure.mean(0).argmax())
    becomes = np.full(2, 1 - reached)
    becomes[to] = reached
    found = None
    for count in range(8):
        for rows in itertools.combinations(range(7), count):
            new = sure.copy()
            new[list(rows)] = becomes
            if new[:, to].mean() > new[:, 1 - to].mean() + 1e-12:
                found = count if found is None else found
    assert least_tiles(sure, to, tags=False, reached=reached) == found


def test_of_tags_half_is_enough_and_where_all_tiles_are_too_few_there_is_no_number():
    sure = np.array([[0.1], [0.2], [0.9], [0.4]])  # A sum of 1.6; 2 are needed.
    assert least_tiles(sure, 0, tags=True) == 1
    assert least_tiles(np.full((4, 1), 0.0), 0, tags=True) == 2
    assert least_tiles(np.full((4, 1), 0.0), 0, tags=True, reached=0.4) is None
    assert least_tiles(np.tile([1.0, 0.0], (4, 1)), 1, tags=False, reached=0.5) is None


def test_with_more_classes_no_fewer_tiles_suffice():
    for seed in range(20):
        sure = _slide(9, 4, seed)
        to = int(sure.mean(0).argmin())
        least = least_tiles(sure, to, tags=False)
        for rows in itertools.combinations(range(9), least - 1):
            new = sure.copy()
            new[list(rows)] = np.eye(4)[to]
            assert not Answer(new.mean(0), to, False).turned


def test_means_are_those_of_the_slide_with_its_tiles_replaced_and_the_order_is_by_what_speaks_against():
    sure = np.array([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    order = decisive(sure, 1, tags=False)
    assert order.tolist() == [1, 3, 0, 2]
    new = np.array([[0.1, 0.9], [0.3, 0.7]])
    means = means_after(sure, order[:2], new)
    changed = sure.copy()
    for k, row in enumerate(order[:2]):
        np.testing.assert_allclose(means[k], changed.mean(0))
        changed[row] = new[k]
    np.testing.assert_allclose(means[2], changed.mean(0))
    assert first_turned(means, 1, tags=False) == 1
    assert first_turned(means[:1], 1, tags=False) is None
