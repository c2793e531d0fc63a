from __future__ import annotations

import contextlib
import itertools
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plenish.datasets.batches import Images, epoch_draw
from plenish.datasets.orders import BATCHES, ORDERS, UNLABELLED, BalancedOrder, Order, batch_order
from plenish.errors import InputError


def _order(length: int, seed: int, attempt: int = 0, kind: type[Order] = Order) -> Order:
    return kind(np.arange(length) % 3, epoch_draw(seed, attempt))


@given(
    length=st.integers(3, 50), start=st.integers(0, 200), count=st.integers(1, 120), seed=st.integers(0, 3)
)
@pytest.mark.parametrize("kind", ORDERS.values(), ids=ORDERS)
def test_any_position_is_reached_without_replay(
    kind: type[Order], length: int, start: int, count: int, seed: int
) -> None:
    sequence = _order(length, seed, kind=kind)(np.arange(start + count))
    found = _order(length, seed, kind=kind)(np.arange(start, start + count))
    assert (found == sequence[start:]).all()


def test_every_epoch_is_a_permutation_of_its_own() -> None:
    order = _order(100, seed=0)
    first, second = order(np.arange(100)), order(np.arange(100, 200))
    assert sorted(first) == sorted(second) == list(range(100))
    assert (first != second).any()
    assert (_order(100, seed=0, attempt=1)(np.arange(100)) != first).any()


def test_a_balanced_epoch_holds_every_class_equally_often() -> None:
    codes = np.array([0] * 9 + [1] * 2 + [2] * 4)
    order = BalancedOrder(codes, epoch_draw(0))
    drawn = order(np.arange(order.length))
    assert np.bincount(codes[drawn]).tolist() == [5, 5, 5]
    assert set(drawn[codes[drawn] == 1]) == {9, 10}


COMPOSITIONS = [*UNLABELLED, *BATCHES]


def _drawn(name: str, length: int, batch: int, steps: int, start: int = 0, seed: int = 0) -> np.ndarray:
    """The positions of some steps, steps×batch."""
    order = batch_order(name, batch)(np.zeros(length), epoch_draw(seed))
    return order(np.arange(start * batch, (start + steps) * batch)).reshape(steps, batch)


@given(
    length=st.integers(2, 40), batch=st.integers(1, 45), start=st.integers(0, 20), seed=st.integers(0, 3),
)  # fmt: skip
@pytest.mark.parametrize("name", COMPOSITIONS)
def test_any_step_of_a_composition_is_reached_without_replay(
    name: str, length: int, batch: int, start: int, seed: int
) -> None:
    whole = _drawn(name, length, batch, start + 4, seed=seed)
    assert whole.min() >= 0
    assert whole.max() < length
    assert (_drawn(name, length, batch, 4, start, seed) == whole[start:]).all()


@given(length=st.integers(2, 40), batch=st.integers(2, 12), seed=st.integers(0, 3))
def test_formed_batches_hold_every_image_and_stay_together(length: int, batch: int, seed: int) -> None:
    count = -(-length // batch)
    twice = _drawn("fixed-batches", length, batch, 2 * count, seed=seed)
    assert (twice[:count] == twice[count:]).all(), "each epoch has the same batches in the same order"
    assert set(twice.reshape(-1)) == set(range(length))
    formed = {tuple(one) for one in twice}
    assert {tuple(one) for one in _drawn("preformed-batches", length, batch, 30, seed=seed)} <= formed


def test_compositions_draw_as_they_say() -> None:
    assert _drawn("sequential", 5, 2, 4).tolist() == [[0, 1], [2, 3], [4, 0], [1, 2]]
    shuffled, random = (_drawn(name, 12, 4, 3) for name in ("shuffled", "random"))
    assert sorted(shuffled.reshape(-1)) == list(range(12))
    assert len(set(random.reshape(-1))) < 12, "with replacement"
    anew = _drawn("random-batches", 12, 4, 8000)
    assert all(len(set(one)) == 4 for one in anew), "none twice in a batch"
    assert len({tuple(sorted(one)) for one in anew}) == 495, "every set of 4 of 12 comes"
    formed = {tuple(one) for one in _drawn("fixed-batches", 12, 4, 3)}
    chosen = [tuple(one) for one in _drawn("preformed-batches", 12, 4, 3000)]
    assert set(chosen) == formed
    # 3,000 choices among three: standard deviation 25.8.
    assert all(abs(chosen.count(one) - 1000) < 130 for one in formed)
    # Runs of one batch are as long as replacement makes them: 1000 repeats expected.
    assert abs(sum(a == b for a, b in itertools.pairwise(chosen)) - 1000) < 130


@pytest.mark.parametrize("name", COMPOSITIONS)
def test_what_is_expected_of_a_composition_is_what_comes(name: str) -> None:
    order = batch_order(name, 4)(np.zeros(10), epoch_draw(0))
    epochs = 4000
    counts = np.bincount(order(np.arange(epochs * order.length)), minlength=10) / epochs
    # No count varies more than a binomial one of the draws of all epochs.
    assert abs(counts - order.expected()).max() < 5 * np.sqrt(order.expected().max() / epochs)


@pytest.mark.parametrize("name", [*UNLABELLED, *BATCHES])
def test_processes_share_the_batches_of_a_composition(name: str) -> None:
    def feed(rank: int, world: int) -> list[np.ndarray]:
        images = Images(lambda index: index, np.zeros(23), order=batch_order(name, 6))
        made = images.batches(6, seed=1, start=12, rank=rank, world=world, ahead=0)
        with contextlib.closing(made) as batches:
            return [batch.pixels for batch in itertools.islice(batches, 5)]

    for batch, first, second in zip(feed(0, 1), feed(0, 2), feed(1, 2), strict=True):
        assert (np.concatenate([first, second]) == batch).all()


@pytest.mark.parametrize("ahead", [0, 2])
def test_processes_share_each_batch(ahead: int) -> None:
    codes = np.arange(23) % 3

    def feed(rank: int, world: int):
        images = Images(lambda index: index[:, None], codes)
        made = images.batches(lambda nimg: 6 if nimg < 12 else 4, seed=1, rank=rank, world=world, ahead=ahead)
        with contextlib.closing(made) as batches:
            return list(itertools.islice(batches, 6))

    whole, parts = feed(0, 1), [feed(0, 2), feed(1, 2)]
    for batch, first, second in zip(whole, *parts, strict=True):
        assert first.start == second.start == batch.start
        assert first.total == second.total == batch.total == len(batch.numbers)
        for name in ("numbers", "pixels", "y"):
            both = np.concatenate([getattr(first, name), getattr(second, name)])
            assert (both == getattr(batch, name)).all()


def test_batches_start_anywhere_and_hold_the_right_rows(stripes) -> None:
    subset = stripes().part("train", purpose="train")
    with contextlib.closing(Images.of(subset).batches(8, seed=3)) as feed:
        made = list(itertools.islice(feed, 12))
    with contextlib.closing(Images.of(subset).batches(8, seed=3, start=40)) as feed:
        later = next(feed)
    assert later.start == made[5].start == 40
    assert (later.pixels == made[5].pixels).all()
    expected = _order(len(subset), 3)(np.arange(40, 48))
    assert (later.pixels == subset.images(expected)).all()
    assert (later.y == subset.y()[expected]).all()


def test_only_train_rows_are_served(stripes) -> None:
    data = stripes()
    for part in ("val", "test"):
        with pytest.raises(InputError, match="train part"):
            next(Images.of(data.part(part, purpose="report")).batches(4, seed=0))


def test_the_reader_ends_with_the_loop(stripes) -> None:
    before = threading.active_count()
    feed = Images.of(stripes().part("train", purpose="train")).batches(4, seed=0)
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
        next(Images.of(subset).batches(4, seed=0))
