from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from plenish.phantom.patient import patient_of
from plenish.slides import stain
from plenish.slides.stain import Macenko, Reinhard, Unmeasurable


def unit(*vector: float) -> NDArray[np.float64]:
    return np.array(vector) / np.linalg.norm(vector)


H, E = unit(0.62, 0.70, 0.30), unit(0.15, 0.86, 0.40)
OTHER_H, OTHER_E = unit(0.70, 0.62, 0.35), unit(0.25, 0.90, 0.30)


def mixture(
    h: NDArray[np.float64], e: NDArray[np.float64], seed: int = 0, strong: tuple[float, float] = (1.4, 1.0)
) -> NDArray[np.uint8]:
    """A 200×200 picture of nuclei (haematoxylin), cytoplasm (eosin), mixtures of them, and glass."""
    rng = np.random.default_rng(seed)
    n = 40_000
    kind = rng.choice(4, n, p=(0.2, 0.4, 0.25, 0.15))
    a = np.where(np.isin(kind, (0, 2)), rng.uniform(0.3, 1, n), 0) * strong[0]
    b = np.where(np.isin(kind, (1, 2)), rng.uniform(0.3, 1, n), 0) * strong[1]
    light = 255 * np.exp(-(a[:, None] * h + b[:, None] * e))
    return np.rint(light).clip(0, 255).astype(np.uint8).reshape(200, 200, 3)


def angle(one: tuple[float, ...], other: NDArray[np.float64]) -> float:
    return float(np.degrees(np.arccos(np.clip(np.dot(one, other), -1, 1))))


@pytest.mark.parametrize(("h", "e"), [(H, E), (OTHER_H, OTHER_E)])
@pytest.mark.parametrize("seed", [0, 1])
def test_known_stains_are_recovered(h: NDArray[np.float64], e: NDArray[np.float64], seed: int) -> None:
    found = stain.fit_macenko(mixture(h, e, seed))
    assert angle(found.haematoxylin, h) < 1
    assert angle(found.eosin, e) < 1
    assert found.strengths == pytest.approx((1.4, 1.0), rel=0.05)


@pytest.mark.parametrize("patient", range(8))
def test_stains_of_any_patient_are_recovered(patient: int) -> None:
    who = patient_of(0, patient)
    found = stain.fit_macenko(mixture(who.haematoxylin, who.eosin))
    assert angle(found.haematoxylin, who.haematoxylin) < 1.5
    assert angle(found.eosin, who.eosin) < 1.5


def test_one_stain_alone_and_glass_are_not_measured() -> None:
    rng = np.random.default_rng(0)
    pink = 255 * np.exp(-rng.uniform(0.3, 1.2, 5000)[:, None] * E)
    with pytest.raises(Unmeasurable, match="one stain"):
        stain.fit_macenko(np.rint(pink).astype(np.uint8))
    glass = np.full((50, 50, 3), 245, np.uint8)
    for method in ("macenko", "reinhard"):
        with pytest.raises(Unmeasurable, match="not glass"):
            stain.fit(glass, method)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["macenko", "reinhard"])
def test_a_stain_exchanged_for_itself_changes_nothing(method: stain.Method) -> None:
    image = mixture(H, E)
    own = stain.fit(image, method)
    back = stain.normalise(image, own, own).astype(int)
    assert np.abs(back - image).max() <= 2


@pytest.mark.parametrize(("method", "most"), [("macenko", 3), ("reinhard", 4)])
def test_there_and_back_again(method: stain.Method, most: int) -> None:
    image, other = mixture(H, E), mixture(OTHER_H, OTHER_E, strong=(1.2, 1.1))
    own, target = stain.fit(image, method), stain.fit(other, method)
    there = stain.normalise(image, own, target)
    assert np.abs(there.astype(int) - image).mean() > 5
    back = stain.normalise(there, target, own).astype(int)
    assert np.quantile(np.abs(back - image), 0.99) <= most


def test_normalised_images_have_the_stains_asked_for() -> None:
    image, other = mixture(H, E), mixture(OTHER_H, OTHER_E, seed=5, strong=(1.0, 0.8))
    target = stain.fit_macenko(other)
    found = stain.fit_macenko(stain.normalise(image, stain.fit_macenko(image), target))
    assert angle(found.haematoxylin, np.array(target.haematoxylin)) < 1
    assert angle(found.eosin, np.array(target.eosin)) < 1
    assert found.strengths == pytest.approx(target.strengths, rel=0.05)
    wanted = stain.fit_reinhard(other)
    matched = stain.fit_reinhard(stain.normalise(image, stain.fit_reinhard(image), wanted))
    assert matched.mean == pytest.approx(wanted.mean, abs=0.02)
    assert matched.sd == pytest.approx(wanted.sd, rel=0.1)


# Reinhard's method scales three axes and cannot turn one stain's colour into another's.
@pytest.mark.parametrize(("method", "times"), [("macenko", 4), ("reinhard", 1.3)])
def test_the_same_tissue_in_two_stains_becomes_alike(method: stain.Method, times: float) -> None:
    one, other = mixture(H, E, seed=3), mixture(OTHER_H, OTHER_E, seed=3)
    target = stain.fit(one, method)
    before = np.abs(one.astype(int) - other).mean()
    after = np.abs(one.astype(int) - stain.normalise(other, stain.fit(other, method), target)).mean()
    assert after < before / times


def test_glass_stays_glass() -> None:
    image = mixture(H, E)
    glass = (image == 255).all(axis=2)
    for method in ("macenko", "reinhard"):
        target = stain.fit(mixture(OTHER_H, OTHER_E), method)  # type: ignore[arg-type]
        done = stain.normalise(image, stain.fit(image, method), target)  # type: ignore[arg-type]
        assert done[glass].min() >= 253


def test_the_average_lies_between() -> None:
    one, other = (stain.fit_macenko(mixture(h, e)) for h, e in ((H, E), (OTHER_H, OTHER_E)))
    middle = stain.average([one, other])
    assert isinstance(middle, Macenko)
    assert np.linalg.norm(middle.haematoxylin) == pytest.approx(1)
    assert angle(middle.haematoxylin, H) == pytest.approx(angle(middle.haematoxylin, OTHER_H), abs=1)
    assert stain.average([one]) == Macenko(
        *(pytest.approx(v) for v in (one.haematoxylin, one.eosin, one.strengths))  # type: ignore[arg-type]
    )
    with pytest.raises(ValueError, match="one method"):
        stain.average([one, Reinhard((0, 0, 0), (1, 1, 1))])
    with pytest.raises(ValueError, match="one method"):
        stain.average([])


def test_no_variation_changes_nothing() -> None:
    image = np.random.default_rng(0).integers(1, 256, (32, 32, 3), np.uint8)
    same = stain.augment(image, stain.fit_macenko(mixture(H, E)), np.random.default_rng(0), 0.0)
    assert np.abs(same.astype(int) - image).max() <= 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.05, 0.5))
def test_variation_changes_strengths_and_not_colours(seed: int, amount: float) -> None:
    image = mixture(H, E, strong=(1.0, 0.8))
    own = stain.fit_macenko(image)
    varied = stain.augment(image, own, np.random.default_rng(seed), amount)
    assert (varied[(image == 255).all(axis=2)] == 255).all()
    found = stain.density(varied) @ np.linalg.pinv(own.stains)
    before = stain.density(image) @ np.linalg.pinv(own.stains)
    tissue = np.linalg.norm(stain.density(image), axis=-1) > stain.GLASS
    for k in range(2):
        slope, shift = np.polyfit(before[tissue][:, k], found[tissue][:, k], 1)
        assert abs(slope - 1) <= amount + 0.03
        assert abs(shift) <= amount / 4 * own.strengths[k] + 0.03
