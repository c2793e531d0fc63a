"""Pictures of one patient: yardstick and pointing, against brute force and known truths."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from plenish.metrics.reidentification import Part, nearest_group, reidentification, same_group_auroc


def _patients(
    groups: int, images: int, spread: float, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    centres = spread * rng.normal(size=(groups, 1, 5))
    x = centres + rng.normal(size=(groups, images, 5))
    return x.reshape(-1, 5).astype(np.float32), np.repeat(np.arange(groups), images)


def test_the_auroc_of_pairs_by_brute_force() -> None:
    x, groups = _patients(4, 3, 1.0, 0)
    d = np.linalg.norm(x[:, None] - x[None], axis=2)
    values = []
    for a in range(4):
        for b in range(4):
            shares = []
            for i in np.flatnonzero(groups == a):
                own = d[i, (groups == a) & (np.arange(12) != i)]
                other = d[i, groups == b]
                shares.append(roc_auc_score([1] * len(own) + [0] * len(other), -np.concatenate([own, other])))
            values += [np.mean(shares)] if a != b else []
    found = same_group_auroc(x, groups)
    assert found is not None
    assert found.value == pytest.approx(np.mean(values), abs=1e-6)
    assert found.low < found.value < found.high


def test_the_auroc_is_half_without_patients_and_one_where_they_lie_apart() -> None:
    none, clear = (same_group_auroc(*_patients(20, 8, spread, 1)) for spread in (0.0, 30.0))
    assert none is not None
    assert clear is not None
    assert none.low < 0.5 < none.high
    assert clear.value > 0.999
    x, groups = _patients(3, 1, 1.0, 0)
    assert same_group_auroc(x, groups) is None  # no second picture of anybody
    assert same_group_auroc(x, [None] * 3) is None


def test_the_nearest_group_by_brute_force() -> None:
    train, codes = _patients(6, 5, 1.0, 0)
    x, _ = _patients(2, 9, 1.0, 3)
    d = np.sort(np.linalg.norm(x[:, None] - train[None], axis=2).reshape(18, 6, 5), axis=2)[:, :, :3].mean(2)
    where, ratio = nearest_group(x, train, codes)
    assert where.tolist() == d.argmin(axis=1).tolist()
    two = np.sort(d, axis=1)
    assert ratio == pytest.approx(two[:, 0] / two[:, 1], abs=1e-4)
    shuffled = np.random.default_rng(0).permutation(30)
    again = nearest_group(x, train[shuffled], codes[shuffled])
    assert again[0].tolist() == where.tolist()
    rows = np.array([2, 17])
    left_out = nearest_group(train[rows], train, codes, skip=rows)[1]
    assert (left_out > nearest_group(train[rows], train, codes)[1]).all()


def test_pictures_of_training_patients_point_at_them_and_those_of_others_do_not() -> None:
    train, groups = _patients(30, 20, 2.0, 0)
    held, held_groups = _patients(20, 15, 2.0, 1)
    others, _ = _patients(40, 10, 2.0, 2)
    centres = train.reshape(30, 20, 5).mean(axis=1)
    same = (np.repeat(centres, 10, axis=0) + np.random.default_rng(3).normal(size=(300, 5))).astype(
        np.float32
    )
    sides = Part(held, held_groups), Part(train, groups)
    fresh, leaked = (reidentification(made, *sides) for made in (others, same))
    assert fresh is not None
    assert leaked is not None
    assert fresh["finding"] == "none"
    assert leaked["finding"] == "more"
    assert leaked["share"] > 2 * leaked["expected_share_high"]
    assert leaked["seen_of_train"] == pytest.approx(leaked["share"], abs=0.15)
    assert leaked["auroc"]["low"] > 0.8
    assert leaked["groups_holdout"] == 20
    assert reidentification(others, Part(held, [None] * 300), sides[1]) is None
    assert reidentification(others, Part(held, ["one"] * 300), sides[1]) is None
