from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from plenish.slides.drawing import Pick, draw
from plenish.slides.tiling_config import DrawOptions


def _classes(*counts: tuple[int, int], seed: int = 0) -> list[np.ndarray]:
    """Slides with so many tiles of class 0 and 1, mixed."""
    rng = np.random.default_rng(seed)
    return [rng.permutation(np.repeat([0, 1], count)).astype(np.int32) for count in counts]


def _count(classes: list[np.ndarray], chosen: list[np.ndarray]) -> np.ndarray:
    return np.array([np.bincount(kinds[some], minlength=2) for kinds, some in zip(classes, chosen)])


def test_each_class_gets_as_many_as_asked() -> None:
    classes = _classes((500, 40), (300, 100))
    counts = _count(classes, draw(classes, ["a", "b"], DrawOptions(per_class=90)))
    assert counts.sum(0).tolist() == [90, 90]
    # By chance, and so in proportion to what slides have: 500 of 800, 40 of 140.
    assert 40 <= counts[0, 0] <= 70
    assert 15 <= counts[0, 1] <= 38


def test_no_slide_gives_more_of_a_class_than_asked() -> None:
    classes = _classes((500, 5), (30, 100), (0, 8))
    counts = _count(classes, draw(classes, ["a", "b", "c"], DrawOptions(per_slide=20)))
    assert counts.tolist() == [[20, 5], [20, 20], [0, 8]]
    both = _count(classes, draw(classes, ["a", "b", "c"], DrawOptions(per_class=30, per_slide=20)))
    assert both.sum(0).tolist() == [30, 30]
    assert both.max() <= 20


def test_seeds_differ_and_another_slide_changes_nothing() -> None:
    classes = _classes((200, 200), (50, 50))
    first = draw(classes, ["a", "b"], DrawOptions(per_slide=20, seed=1))
    again = draw(classes[:1], ["a"], DrawOptions(per_slide=20, seed=1))
    np.testing.assert_array_equal(first[0], again[0])
    other = draw(classes, ["a", "b"], DrawOptions(per_slide=20, seed=2))
    assert set(first[0]) != set(other[0])


def test_tiles_that_the_filters_stop_are_replaced() -> None:
    classes = _classes((400, 60), (200, 200))
    asked: list[Pick] = []

    def passing(picks: list[Pick]) -> list[bool]:
        asked.extend(picks)
        return [tile % 3 != 0 for _, tile in picks]

    chosen = draw(classes, ["a", "b"], DrawOptions(per_class=50, per_slide=30), passing)
    good = [some[some % 3 != 0] for some in chosen]
    counts = _count(classes, good)
    assert counts.sum(0).tolist() == [50, 50]
    assert counts.max() <= 30
    assert len(asked) == len(set(asked)) < 250


def test_when_there_are_too_few_all_are_taken() -> None:
    classes = _classes((10, 3))
    assert draw(classes, ["a"], DrawOptions(per_class=100))[0].tolist() == list(range(13))
    assert draw([], [], DrawOptions(per_class=5)) == []


@pytest.mark.parametrize("per_class", [None, 60])
@pytest.mark.parametrize("per_slide", [None, 25])
def test_filters_that_let_all_pass_change_nothing(
    monkeypatch: pytest.MonkeyPatch, per_class: int | None, per_slide: int | None
) -> None:
    classes = _classes((300, 40), (30, 100), (0, 8))
    how = DrawOptions(per_class, per_slide, seed=3)
    plain = draw(classes, ["a", "b", "c"], how)
    monkeypatch.setattr("plenish.slides.drawing._BATCH", 7)
    asked: list[int] = []

    def passing(picks: list[Pick]) -> list[bool]:
        asked.append(len(picks))
        return [True] * len(picks)

    for one, other in zip(plain, draw(classes, ["a", "b", "c"], how, passing), strict=True):
        np.testing.assert_array_equal(one, other)
    assert max(asked) == 7
    assert all((np.diff(one) > 0).all() for one in plain)


def test_a_draw_from_millions_takes_little_memory() -> None:
    classes = [np.zeros(1_000_000, np.int32)]
    tracemalloc.start()
    assert len(draw(classes, ["a"], DrawOptions(per_class=1000))[0]) == 1000
    assert tracemalloc.get_traced_memory()[1] < 110e6  # With a tuple for each tile it was 145 MB.
    tracemalloc.stop()
