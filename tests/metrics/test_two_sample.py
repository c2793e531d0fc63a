"""Whether a classifier tells others from real images: what it must find, and what it must not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from plenish.metrics.residuals import residual_statistics
from plenish.metrics.statistics import Interval
from plenish.metrics.two_sample import (
    STEPS,
    Inputs,
    TwoSample,
    linear_fit,
    network_fit,
    trainings,
    two_sample_test,
)
from plenish.training.engine import Engine


def rows(n: int, seed: int, *, groups: int = 0, effect: float = 0.8, shift: float = 0.0) -> Inputs:
    rng = np.random.default_rng(seed)
    x = shift + rng.normal(size=(n, 6))
    if not groups:
        return Inputs(x)
    of = np.arange(n) % groups
    return Inputs(x + effect * rng.normal(size=(groups, 6))[of], [f"{seed}-{i}" for i in of])


ALL = linear_fit(slice(None))


def test_known_shift_has_its_known_auroc() -> None:
    from scipy.special import ndtr

    shift = 0.4  # in each of 6 dimensions; the best AUROC of two such normals is Φ(‖shift‖ / √2)
    found = two_sample_test(ALL, rows(2000, 0), rows(2000, 1), rows(2000, 2, shift=shift), resamples=50)
    want = float(ndtr(shift * np.sqrt(6) / np.sqrt(2)))
    assert found.auroc.value == pytest.approx(want, abs=0.015)
    assert found.auroc.low < want < found.auroc.high
    assert found.baseline is not None
    assert found.baseline.value == pytest.approx(0.5, abs=0.03)
    assert found.excess.value == pytest.approx(found.auroc.value - max(0.5, found.baseline.value), abs=1e-9)
    assert found.is_told
    assert found.scores.shape == (2000,)
    shuffled = np.argsort(found.scores)
    assert rows(2000, 2, shift=shift).values[shuffled[-100:]].mean() > shift  # the surest are the farthest


def test_no_shift_is_told_rarely_and_test_rows_are_never_trained_on() -> None:
    told = 0
    for seed in range(40):
        train = rows(200, 3 * seed, groups=10)
        again = np.random.default_rng(seed).integers(
            0, 200, 150
        )  # as a generator of these patients makes them
        noise = np.random.default_rng(seed + 99).normal(size=(150, 6))
        values, of = train.values, np.arange(200) % 10
        centres = np.stack([values[of == g].mean(0) for g in range(10)])
        found = two_sample_test(
            ALL, train, rows(120, 3 * seed + 1, groups=6), Inputs(centres[of[again]] + noise), resamples=30
        )
        told += found.is_told
    assert told <= 4
    seen: list[NDArray[np.float64]] = []

    def spy(real: NDArray, others: NDArray, scored: list[NDArray]) -> list[NDArray]:  # type: ignore[type-arg]
        seen.extend([real, others])
        return [values[:, 0] for values in scored]

    test = rows(30, 7, groups=6)
    two_sample_test(spy, rows(60, 8, groups=12), test, rows(40, 9), resamples=0)
    used = np.concatenate(seen)
    assert len(seen) == 2 * trainings(rows(60, 8, groups=12)) == 8
    assert not (used[:, None] == test.values).all(2).any()


def test_the_draw_of_the_baseline_decides_nothing() -> None:
    def found(low: float, base: float) -> TwoSample:
        auroc, excess = Interval(0.62, low, 0.69), Interval(0.62 - base, -0.2, 0.2)
        return TwoSample(auroc, Interval(base, 0.4, 0.8), excess, np.zeros(3))

    assert found(0.55, 0.66).is_told
    assert found(0.55, 0.5).is_told
    assert not found(0.49, 0.3).is_told


def test_groups_stay_in_one_half() -> None:
    others = rows(60, 0, groups=7)
    halves = others.parts(2, 0)
    assert sorted(np.concatenate(halves).tolist()) == list(range(60))
    assert not np.intersect1d(others.units[halves[0]], others.units[halves[1]]).size
    few = two_sample_test(ALL, rows(60, 1, groups=3), rows(30, 2, groups=1), others, resamples=5)
    assert few.baseline is None
    assert np.isnan(few.auroc.low)
    assert not few.is_told


def pictures(n: int, seed: int, noise: float) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    smooth = 128 + 8 * np.sin(np.arange(16) / 3 + rng.uniform(0, 6, (n, 1)))
    images = np.broadcast_to(smooth[:, :, None, None], (n, 16, 16, 1)) + rng.normal(0, noise, (n, 16, 16, 1))
    return np.clip(images, 0, 255).astype(np.uint8)


def test_residual_statistics_see_noise_and_grids_and_not_brightness() -> None:
    plain = residual_statistics(pictures(20, 0, 4))
    assert np.all(residual_statistics(pictures(20, 0, 12))[:, :8].mean(0) > plain[:, :8].mean(0) + 0.7)
    assert residual_statistics(pictures(20, 0, 4) // 2 + 60).shape == plain.shape
    brighter = residual_statistics(pictures(20, 0, 4) + 20)
    assert brighter == pytest.approx(plain, abs=1e-4)
    assert np.isfinite(residual_statistics(np.zeros((2, 8, 8, 3), np.uint8))).all()


def test_the_network_tells_noise_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plenish.metrics.two_sample.STEPS", 25)
    steps = []
    fit = network_fit(Engine.from_settings(), "dihedral", steps.append)
    real, others = pictures(80, 0, 4), pictures(80, 1, 40)
    test, unseen = pictures(40, 2, 4), pictures(40, 3, 40)
    one, other = fit(real, others, [test, unseen])
    assert other.mean() > one.mean() + 2 * one.std()
    assert sum(steps) == 25 < STEPS
    assert np.array_equal(one, fit(real, others, [test, unseen])[0])
