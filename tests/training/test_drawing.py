"""Schedules of drawing and doping: their arithmetic, what they draw, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from plenish.datasets.batches import Images, epoch_draw
from plenish.datasets.orders import WeightedOrder, fill
from plenish.errors import InputError
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.drawing import check_enough, epoch_counts, make_plan, settle_steps
from plenish.training.drawing_schedules import NAMED

NAMES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
COUNTS = np.array([229, 360, 769, 81, 779, 4693, 99])
"""Training images of a published study of HAM10000."""


def skin(synthetic: int = 4700) -> Images:
    y = np.concatenate([np.repeat(np.arange(7), COUNTS), np.repeat(np.arange(7), synthetic)])
    return Images(lambda index: index[:, None], y, real=int(COUNTS.sum()))


@pytest.mark.parametrize(
    ("target", "images", "synthetic"),
    [
        (4700, 32893, 25883), (4000, 28693, 21683), (3000, 22693, 15683), (2000, 16693, 9683),
        (1000, 10693, 3683), (750, 9241, 2231), (500, 8241, 1231), (250, 7351, 341), (0, 7010, 0),
    ],
)  # fmt: skip
def test_a_target_is_filled_as_published(target: int, images: int, synthetic: int) -> None:
    assert (COUNTS.sum() + fill(COUNTS, target).sum(), fill(COUNTS, target).sum()) == (images, synthetic)


def test_the_largest_class_and_classes_without_real_images_are_left_alone() -> None:
    assert fill(np.array([0, 5, 9, 9, 20]), 30).tolist() == [0, 25, 21, 21, 0]
    assert fill(np.array([9, 9, 2]), 30).tolist() == [0, 0, 28]


def test_the_published_doping_takes_its_epochs() -> None:
    images, config = skin(), ClassifierConfig(batch=80, doping=["ham10000-2"])
    drawn = 2 * (32893 + 28693 + 22693 + 16693 + 10693 + 8241) + 3 * 7010
    steps = settle_steps(config, images, 80, None)
    assert steps == -(-drawn // 80) == 3261  # 3,268 in the study, whose epochs end with a smaller batch
    plan = make_plan(config, images, 80, steps, 7)
    assert [phase.name for phase in plan.phases] == ["4700", "4000", "3000", "2000", "1000", "500", "real"]
    assert [phase.images for phase in plan.phases[:-1]] == [
        2 * n for n in (32893, 28693, 22693, 16693, 10693, 8241)
    ]
    assert plan.images == steps * 80
    assert [plan.phase_at(n) for n in (0, 2 * 32893 - 1, 2 * 32893, plan.images, 10**9)] == [0, 0, 1, 6, 6]
    rows = epoch_counts(plan, images, epoch_draw(0), NAMES, 80)
    first = {row["class"]: (row["real"], row["synthetic"]) for row in rows if row["phase"] == 1}
    assert first == {
        name: (n, 0 if name == "nv" else 4700 - n) for name, n in zip(NAMES, COUNTS.tolist(), strict=True)
    }
    assert all(row["synthetic"] == 0 for row in rows if row["phase"] == 7)
    assert sum(row["real"] for row in rows if row["phase"] == 7) == 7010


def test_a_phase_draws_every_real_image_once_and_synthetic_ones_anew() -> None:
    images = skin()
    plan = make_plan(ClassifierConfig(doping=["500x2", "realx1"]), images, 64, 368, 7)
    order = plan(images.y, epoch_draw(3))
    one, two = order(np.arange(8241)), order(np.arange(8241, 2 * 8241))
    for drawn in (one, two):
        assert sorted(drawn[drawn < 7010]) == list(range(7010))
        assert len(set(drawn)) == 8241
    assert set(one[one >= 7010]) != set(two[two >= 7010])
    last = order(np.arange(2 * 8241, 2 * 8241 + 7010))
    assert sorted(last) == list(range(7010)), "the end is the real images, each once"


@pytest.mark.parametrize(
    "options",
    [
        {"doping": ["ham10000-1"]}, {"drawing": ["ham10000"]}, {"order": "weighted", "draws": 1000},
        {"drawing": ["900x2", "naturalx1"], "order": "weighted"}, {"doping": ["2000x70%", "realx30%"]},
    ],
)  # fmt: skip
def test_any_position_is_reached_without_replay(options: dict) -> None:
    images, config = skin(2000), ClassifierConfig(steps=1500, batch=80, **options)
    plan = make_plan(config, images, 80, 1500, 7)
    whole = plan(images.y, epoch_draw(1, 2))(np.arange(plan.images + 50))
    for start in (0, 7, plan.images // 3, plan.images - 20):
        later = plan(images.y, epoch_draw(1, 2))(np.arange(start, start + 60))
        assert (later == whole[start : start + 60]).all()
    assert (whole != plan(images.y, epoch_draw(1, 3))(np.arange(plan.images + 50))).any()


def test_the_published_oversampling_ends_on_the_natural_distribution() -> None:
    images = Images(skin().read, skin().y[:7010])
    config = ClassifierConfig(batch=80, drawing=["ham10000"]).settled(images)
    assert config.steps == -(-2 * (35000 + 25000 + 15000 + 12000 + 7010) // 80)
    rows = epoch_counts(make_plan(config, images, 80, config.steps, 7), images, epoch_draw(0), NAMES, 80)
    drawn = [[row["real"] for row in rows if row["phase"] == k] for k in (1, 5)]
    assert drawn[0] == [5000] * 7
    assert drawn[1] == COUNTS.tolist()


def test_shares_and_given_steps_divide_a_training() -> None:
    images = skin(2000)
    plan = make_plan(ClassifierConfig(doping=["2000x75%", "realx25%"]), images, 10, 1000, 7)
    assert [phase.images for phase in plan.phases] == [7500, 2500]
    config = ClassifierConfig(batch=80, doping=["ham10000-1"])
    natural = make_plan(config, images, 80, settle_steps(config, images, 80, None), 7)
    half = make_plan(config, images, 80, natural.images // 160, 7)
    for long, short in zip(natural.phases, half.phases, strict=True):
        assert abs(long.images / 2 - short.images) <= 80


def test_weighted_draws_are_even_by_class_and_repeat() -> None:
    y = np.repeat([0, 1, 2], [900, 90, 10])
    drawn = WeightedOrder(y, epoch_draw(0), 30000)(np.arange(30000))
    counts = np.bincount(y[drawn])
    assert abs(counts - 10000).max() < 5 * np.sqrt(30000 * 2 / 9)
    assert np.bincount(drawn, minlength=1000)[990:].min() > 800


def test_each_phase_knows_how_often_it_draws_a_class() -> None:
    plan = make_plan(ClassifierConfig(doping=["ham10000-2"]), skin(), 80, 3261, 7)
    assert plan.phases[0].counts.tolist() == np.where(COUNTS == 4693, 4693, 4700).tolist()
    assert plan.phases[-1].counts.tolist() == COUNTS.tolist()
    assert plan.phases[0].distinct.tolist() == (COUNTS + 4700 * (COUNTS < 4693)).tolist()
    assert plan.phases[-1].distinct.tolist() == COUNTS.tolist()
    tags = np.eye(3, dtype=np.float32)[np.arange(9) % 3]
    (phase,) = make_plan(ClassifierConfig(), Images(skin().read, tags), 4, 10, 3).phases
    assert phase.counts.tolist() == [3, 3, 3]
    plan = make_plan(ClassifierConfig(), Images(skin().read, tags), 4, 10, 3)
    rows = epoch_counts(plan, Images(skin().read, tags), epoch_draw(0), "abc", 4)
    assert [row["real"] for row in rows] == [3, 3, 3]


@pytest.mark.parametrize("order", ["balanced", "weighted"])
def test_even_orders_draw_each_class_alike_on_average_however_short_an_epoch_is(order: str) -> None:
    images = Images(skin().read, skin().y[:7010])
    (phase,) = make_plan(ClassifierConfig(order=order, draws=4), images, 4, 10, 7).phases
    assert phase.counts == pytest.approx(np.full(7, 4 / 7), abs=1e-6)
    assert phase.distinct.tolist() == COUNTS.tolist()
    drawn = phase.make(epoch_draw(5))(np.arange(40_000))
    assert np.bincount(images.y[drawn]) / 10_000 == pytest.approx(phase.counts, rel=0.1)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"doping": ["2000x2", "1000x2"]}, "end with real"),
        ({"drawing": ["35000x2", "12000x2"]}, "end with natural"),
        ({"doping": ["2000x2", "realx40%"]}, "all epochs or all shares"),
        ({"doping": ["2000x60%", "realx30%"]}, "90%"),
        ({"doping": ["2000", "realx3"]}, "length"),
        ({"doping": ["20x60%"]}, "one level alone"),
        ({"drawing": ["naturalx60%"]}, "one level alone"),
        ({"doping": ["4700x2"]}, "end with real"),
        ({"doping": ["20"], "columns": ("age",)}, "--columns"),
        ({"doping": ["0x2", "realx3"]}, "draws nothing"),
        ({"doping": ["naturalx3"]}, "'naturalx3'"),
        ({"doping": ["ham10000-4"]}, "ham10000-1"),
        ({"doping": ["ham10000-1"], "drawing": ["ham10000"]}, "contradict"),
        ({"doping": ["ham10000-1"], "balanced": True}, "--order balanced"),
        ({"doping": ["ham10000-1"], "epochs": 3.0}, "--epochs"),
        ({"draws": 100}, "--order balanced or weighted"),
        ({"epochs": 2.0, "steps": 9}, "--steps"),
        ({"order": "balansed"}, "'balanced'"),
    ],
)
def test_impossible_drawing_is_refused(options: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        ClassifierConfig(**options)


def test_too_few_synthetic_images_are_named_with_their_class() -> None:
    config = ClassifierConfig(doping=["ham10000-2"])
    check_enough(config, skin(4619), NAMES)
    with pytest.raises(InputError, match=r"df \(4,618 of 4,619\)\W"):
        check_enough(config, skin(4618), NAMES)
    with pytest.raises(InputError, match="--synthetic"):
        check_enough(config, Images(skin().read, skin().y[:7010]), NAMES)


def test_named_schedules_are_those_of_the_study() -> None:
    assert {name: sorted(found) for name, found in NAMED.items()} == {
        "doping": ["decaying", "ham10000-1", "ham10000-2"], "drawing": ["ham10000", "ham10000-50"],
    }  # fmt: skip
    for option, schedules in NAMED.items():
        for name in schedules:
            ClassifierConfig(**{option: [name]})
