from __future__ import annotations

import contextlib
import itertools
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plenish.datasets.batches import Order, training_batches
from plenish.errors import InputError


@given(
    length=st.integers(1, 50), start=st.integers(0, 200), count=st.integers(1, 120), seed=st.integers(0, 3)
)
def test_any_position_is_reached_without_replay(length: int, start: int, count: int, seed: int) -> None:
    sequence = Order(length, seed).positions(0, start + count)
    assert (Order(length, seed).positions(start, count) == sequence[start:]).all()


def test_every_epoch_is_a_permutation_of_its_own() -> None:
    order = Order(100, seed=0)
    first, second = order.positions(0, 100), order.positions(100, 100)
    assert sorted(first) == sorted(second) == list(range(100))
    assert (first != second).any()
    assert (Order(100, seed=0, attempt=1).positions(0, 100) != first).any()


def test_batches_start_anywhere_and_hold_the_right_rows(stripes) -> None:
    subset = stripes().part("train", purpose="train")
    with contextlib.closing(training_batches(subset, 8, seed=3)) as feed:
        made = list(itertools.islice(feed, 12))
    with contextlib.closing(training_batches(subset, 8, seed=3, start=40)) as feed:
        later = next(feed)
    assert later.start == made[5].start == 40
    assert (later.pixels == made[5].pixels).all()
    expected = Order(len(subset), 3).positions(40, 8)
    assert (later.pixels == subset.images(expected)).all()
    assert (later.y == subset.y()[expected]).all()


def test_only_train_rows_are_served(stripes) -> None:
    data = stripes()
    for part in ("val", "test"):
        with pytest.raises(InputError, match="train part"):
            next(training_batches(data.part(part, purpose="report"), 4, seed=0))


def test_the_reader_ends_with_the_loop(stripes) -> None:
    before = threading.active_count()
    feed = training_batches(stripes().part("train", purpose="train"), 4, seed=0)
    next(feed)
    assert threading.active_count() == before + 1
    feed.close()
    assert threading.active_count() == before


def test_a_failing_read_reaches_the_loop(stripes, monkeypatch: pytest.MonkeyPatch) -> None:
    subset = stripes().part("train", purpose="train")

    def broken(rows: np.ndarray) -> np.ndarray:
        raise InputError("the shard is gone")

    monkeypatch.setattr(subset.dataset.pixels, "read", broken)
    with pytest.raises(InputError, match="the shard is gone"):
        next(training_batches(subset, 4, seed=0))
