"""What a study's intervals can and cannot mean, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plenish.metrics.statistics import unit_codes
from plenish.study.arms import Arm, primary_arm
from plenish.study.data import Material
from plenish.wording import plural

FEW_GROUPS, FEW_SEEDS, FEW_ROWS = 12, 5, 30


def about_test(material: Material, *, intervals: bool = True) -> list[str]:
    """Limits that the test part sets.

    Args:
        material: what the study is made from.
        intervals: whether the results have intervals to speak of.
    """
    test, names = material.test, material.data.labels.names
    counts = np.bincount(test.codes, minlength=len(names))
    grouped = sum(group is not None for group in test.groups)
    found = []
    if grouped:
        found += about_groups(int(unit_codes(test.groups, len(test)).max()) + 1, intervals=intervals)
        if grouped < len(test):
            found.append(
                f"{len(test) - grouped} of {len(test)} test images have no group, and each counts as one of "
                "its own."
            )
    elif intervals:
        found.append(
            "The test images have no groups (patients, slides), so the intervals take every image as "
            "independent: if several come from one patient they are too narrow, and in any case they speak "
            "of new images from the same sources, not of new patients or sites."
        )
    else:
        found.append(
            "The test images have no groups (patients, slides), so the results speak of images from the same "
            "sources, not of new patients or sites."
        )
    if test.dataset.split(test.split_name).manifest.get("folds"):
        found.append("The split is one fold of several; nothing here covers the choice of the fold.")
    scarce = [f"{name} {count}" for name, count in zip(names, counts) if 0 < count < FEW_ROWS]
    if scarce:
        found.append(f"Few test images in some classes ({', '.join(scarce)}): their recall is uncertain.")
    absent = [name for name, count in zip(names, counts) if count == 0]
    if absent:
        found.append(f"Classes without test images are left out of every average: {', '.join(absent)}.")
    return found


def about_groups(units: int, *, intervals: bool) -> list[str]:
    """What few test groups can promise.

    Args:
        units: how many there are.
        intervals: whether the results have intervals to speak of.
    """
    if units >= FEW_GROUPS:
        return []
    text = f"The test part has only {plural(units, 'group')}."
    if units == 1:
        return [
            f"{text} One tells nothing of how results vary among groups, so no interval can be given; make "
            "a split with more groups in test."
        ]
    if not intervals:
        return [f"{text} Results on so few cannot promise much for groups of another kind."]
    return [
        f"{text} The intervals describe how results vary among these few groups and seeds; with fewer than "
        f"{FEW_GROUPS} they are rough, may be too narrow, and cannot promise much for groups of another kind."
    ]


def about_looks(looks: Sequence[Mapping[str, Any]], *, intervals: bool = True) -> list[str]:
    """The limit of a study that went on after its verdict had been read.

    Args:
        looks: `arms` and `seeds` at each verdict that was shown, the present one last.
        intervals: whether the results have intervals to speak of.
    """
    if len(looks) < 2:
        return []
    shown = ", then ".join(
        f"{plural(len(look['arms']), 'arm')} × {plural(look['seeds'], 'seed')}" for look in looks
    )
    return [
        f"The study was prolonged after a verdict had been shown ({shown}): whether to go on may have "
        f"hung on what was seen{', so intervals and p-values promise too much' if intervals else ''}."
    ]


def about_design(
    arms: Sequence[Arm], n_seeds: int, fraction: float, generator_in_use: bool, primary: str | None = None,
    *, intervals: bool = True,
) -> list[str]:  # fmt: skip
    """Limits that the arms, seeds and share of data set.

    Args:
        arms: the study's arms.
        n_seeds: seeds of each.
        fraction: share of the real training groups that was used.
        generator_in_use: whether synthetic images were.
        primary: the arm fixed as primary when the study began.
        intervals: whether the results have intervals to speak of.
    """
    intervals = intervals and n_seeds > 1
    found = _about_seeds(n_seeds, intervals)
    main = primary_arm(arms, primary)
    others = len(arms) - 1 - (main is not None)
    if main is not None and others:
        found.append(
            f"The comparison decided on beforehand is {main.name} against real"
            + (
                f"; the verdicts on the other {plural(others, 'arm')} are adjusted for their number (Holm), "
                "their intervals are not."
                if intervals and others > 1
                else f"; {'the other arm is' if others == 1 else 'the other arms are'} exploratory."
            )
        )
    if any(arm.needs_synthetic for arm in arms):
        found.append(
            "The answer holds for these synthetic images"
            + (": the interval does not cover training the generator again." if intervals else ", no others.")
        )
    if fraction < 1 and generator_in_use:
        found.append(
            f"The classifiers saw {100 * fraction:.0f} % of the real training groups while the generator may "
            "have seen all of them, which favours the synthetic arms."
        )
    found.append(
        "All arms take the same number of steps, so an arm with more images sees each of them less often."
    )
    return found


def _about_seeds(n: int, intervals: bool) -> list[str]:
    if n >= FEW_SEEDS:
        return []
    text = f"{plural(n, 'seed')} per arm: "
    if n < 2:
        return [f"{text}the spread between trainings is not known, so no interval can be given."]
    if not intervals:
        return [f"{text}the spread between trainings is known poorly below {FEW_SEEDS}."]
    if n == 2:
        return [
            f"{text}the spread between trainings is guessed from two values, so the intervals are not to be "
            "trusted; they can be far too wide, or by luck too narrow. Take at least 3 seeds, better "
            f"{FEW_SEEDS}."
        ]
    return [
        f"{text}the spread between trainings is known poorly below {FEW_SEEDS}, so intervals are wide and "
        "small effects stay undetected."
    ]


def about_cuts(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Arms whose differences have intervals that were cut at the possible range (`cut` of their rows)."""
    arms = list(dict.fromkeys(str(row["arm"]) for row in rows if row["cut"]))
    if not arms:
        return []
    return [
        f"Intervals of the differences of {', '.join(arms)} reached beyond −1 or 1 and were cut there, as no "
        "difference can be larger: so few seeds or test images say little about the size of an effect."
    ]


def about_doses(records: Sequence[Mapping[str, Any]], arms: Sequence[Arm], n_real: int) -> list[str]:
    """Arms that got fewer synthetic images than asked for."""
    found = []
    for arm in arms:
        got = [r["trained_on"]["synthetic"] for r in records if r["arm"] == arm.name]
        if arm.needs_synthetic and got and min(got) < 0.98 * arm.synthetic * n_real:
            found.append(
                f"{arm.name} had {min(got):,} synthetic images where {round(arm.synthetic * n_real):,} were "
                f"asked for, "
                "because there are no more of some class."
            )
    return found
