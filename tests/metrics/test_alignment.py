"""Thumbnails as crops and shifts of each other."""

from __future__ import annotations

import numpy as np
import pytest

from plenish.metrics.alignment import aligned_distances, orientations, window_lengths
from plenish.metrics.copies import thumbnails
from plenish.metrics.planted import ALTERATIONS


def _pictures(n: int, seed: int) -> np.ndarray:
    """Smooth random pictures n×32×32×3 uint8."""
    coarse = np.random.default_rng(seed).uniform(0, 255, (n, 8, 8, 3))
    return np.kron(coarse, np.ones((1, 4, 4, 1))).astype(np.uint8)


def test_the_distance_to_a_window_by_hand() -> None:
    rng = np.random.default_rng(0)
    query, train = rng.normal(size=(2, 1, 16, 16, 3)).astype(np.float32)
    found = aligned_distances(query, train, window_lengths(train), np.zeros((1, 1), np.int64))[0, 0]

    def unit(x: np.ndarray) -> np.ndarray:
        x = x - x.mean()
        return x / np.linalg.norm(x)

    best = -1.0
    for view in orientations(query):
        # Half a pixel on, four neighbours have the weights −1, 9, 9 and −1 sixteenths.
        x = view[0]
        for y in (x[1:14], (9 * (x[1:14] + x[2:15]) - x[:13] - x[3:16]) / 16):
            for window in (y[:, 1:14], (9 * (y[:, 1:14] + y[:, 2:15]) - y[:, :13] - y[:, 3:16]) / 16):
                for row in range(3):
                    for column in range(3):
                        other = train[0, row : row + 13, column : column + 13]
                        best = max(best, float((unit(window) * unit(other)).sum()))
    assert found <= np.sqrt(2 - 2 * best) + 1e-5
    assert found >= 0.5 * np.sqrt(2 - 2 * best)  # crops may come nearer, not much


@pytest.mark.parametrize(("kind", "most"), [("shifted by 2 px", 1e-2), ("cropped to 90 %", 0.6)])
def test_shifts_and_crops_are_near_and_others_far(kind: str, most: float) -> None:
    rng = np.random.default_rng(1)
    images = _pictures(30, 2)
    altered = np.rot90(ALTERATIONS[kind](images, rng), axes=(1, 2))[:, ::-1]
    train, query = thumbnails(images), thumbnails(np.ascontiguousarray(altered))
    everyone = np.tile(np.arange(30), (30, 1))
    d = aligned_distances(query, train, window_lengths(train), everyone)
    own = np.diagonal(d)
    others = d[~np.eye(30, dtype=bool)]
    assert np.median(own) < most
    assert others.min() > 0.7
    assert (d.argmin(axis=1) == np.arange(30)).all()


def test_flat_pictures_are_near_to_nothing() -> None:
    flat = thumbnails(np.full((3, 32, 32, 1), 80, np.uint8))
    d = aligned_distances(flat, flat, window_lengths(flat), np.zeros((3, 2), np.int64))
    assert d == pytest.approx(np.sqrt(2), abs=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_alterations_keep_the_shape_and_change_what_they_say(channels: int) -> None:
    images = _pictures(4, 3)[..., :channels]
    for kind, alter in ALTERATIONS.items():
        made = alter(images, np.random.default_rng(0))
        assert (made.shape, made.dtype) == (images.shape, np.uint8)
        assert (made == images).all() == (kind == "exact")
    noisy = ALTERATIONS["noise of 15 grey levels"](
        np.full((4, 64, 64, 3), 128, np.uint8), np.random.default_rng(0)
    )
    assert noisy.std() == pytest.approx(15, rel=0.05)
    assert (
        ALTERATIONS["shifted by 2 px"](images, np.random.default_rng(0))[:, 4:-4] != images[:, 4:-4]
    ).any()
