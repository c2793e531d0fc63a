"""What score.json tells of copying beside the search: what it can see, measures on average, patients."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from plenish.datasets.parts import Subset
from plenish.metrics.copies import Search, Views
from plenish.metrics.membership import Groups, measures
from plenish.metrics.planted import ALTERATIONS, Pictures
from plenish.metrics.reidentification import Part, reidentification

_PLANTED = 40  # training images that are altered in each way


def record(
    made: Views,
    held: Views,
    train: Views,
    held_groups: Groups,
    train_groups: Groups,
    *,
    level: float,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Measures in pixels and features, and whether images point at one training group.

    Args:
        made: the synthetic images.
        held: real images that no generator saw.
        train: the training images.
        held_groups: groups of the held-out images.
        train_groups: groups of the training images.
        level: confidence level.
        resamples: bootstrap resamples; 0 for no intervals where they need them.
        seed: seed of resamples and draws.

    Returns:
        `measures`, a list of records, and `reidentification`, None where images have no groups.
    """
    how: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    sides = (made, held, train)
    rows = []
    for space in ("features", "pixels"):
        x, y, z = (getattr(side, space).reshape(len(side), -1) for side in sides)
        found = measures(x, y, z, held_groups, train_groups, only_distances=space == "pixels", **how)
        rows += [{"space": space, **_plain(dataclasses.asdict(measure))} for measure in found]
    if held_groups is None or train_groups is None:
        return {"measures": rows, "reidentification": None}
    parts = Part(held.features, held_groups), Part(train.features, train_groups)
    return {"measures": rows, "reidentification": reidentification(made.features, *parts, **how)}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A record whose unknown numbers are None, as JSON has them."""
    return {key: None if isinstance(x, float) and not math.isfinite(x) else x for key, x in row.items()}


def planted(
    search: Search, train: Subset, look: Callable[[Pictures], Views], n: int, seed: int
) -> list[dict[str, Any]]:
    """Of each kind of copy, how many of forty training images would be noticed if they were the only one.

    Args:
        search: the calibrated search.
        train: the training images.
        look: views of images.
        n: number of synthetic images that are searched.
        seed: seed of the draws.
    """
    rng = np.random.default_rng([seed, 0xC0B1])
    some = train.images(np.sort(rng.permutation(len(train))[:_PLANTED]))
    altered = [alter(some, rng) for alter in ALTERATIONS.values()]
    noticed = search.notices(look(np.concatenate(altered)), n).reshape(len(altered), -1)
    return [
        {"kind": kind, "planted": len(some), "noticed": int(found.sum())}
        for kind, found in zip(ALTERATIONS, noticed, strict=True)
    ]
