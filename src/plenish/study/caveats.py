"""What a study's intervals can and cannot mean, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from plenish.metrics.statistics import unit_codes
from plenish.study.arms import Arm, primary_arm
from plenish.study.material import Material

FEW_GROUPS, FEW_SEEDS, FEW_ROWS = 12, 5, 30


def about_test(material: Material) -> list[str]:
    """Limits that the test part sets."""
    test, names = material.test, material.data.labels.names
    counts = np.bincount(test.codes, minlength=len(names))
    grouped = sum(group is not None for group in test.groups)
    found = []
    if not grouped:
        found.append(
            "The test images have no groups (patients, slides), so the intervals take every image as "
            "independent: if "
            "several come from one patient they are too narrow, and in any case they speak of new images "
            "from the same "
            "sources, not of new patients or sites."
        )
    else:
        units = int(unit_codes(test.groups, len(test)).max()) + 1
        if units < FEW_GROUPS:
            found.append(
                f"The test part has only {units} groups. The intervals describe how results vary among these "
                f"few groups "
                f"and seeds; with fewer than {FEW_GROUPS} they are rough, may be too narrow, and cannot "
                f"promise much for "
                "groups of another kind."
            )
        if grouped < len(test):
            found.append(
                f"{len(test) - grouped} of {len(test)} test images have no group and count as independent."
            )
    if test.dataset.split(test.split_name).manifest.get("folds"):
        found.append("The split is one fold of several; the interval does not cover the choice of the fold.")
    scarce = [f"{name} {count}" for name, count in zip(names, counts) if 0 < count < FEW_ROWS]
    if scarce:
        found.append(f"Few test images in some classes ({', '.join(scarce)}): their recall is uncertain.")
    absent = [name for name, count in zip(names, counts) if count == 0]
    if absent:
        found.append(f"Classes without test images are left out of every average: {', '.join(absent)}.")
    return found


def about_looks(looks: Sequence[Mapping[str, Any]]) -> list[str]:
    """The limit of a study that went on after its verdict had been read.

    Args:
        looks: `arms` and `seeds` at each verdict that was shown, the present one last.
    """
    if len(looks) < 2:
        return []
    shown = ", then ".join(f"{len(look['arms'])} arms × {look['seeds']} seeds" for look in looks)
    return [
        f"The study was prolonged after a verdict had been shown ({shown}): whether to go on may have "
        "hung on what was seen, so intervals and p-values promise too much."
    ]


def about_design(
    arms: Sequence[Arm], n_seeds: int, fraction: float, generator_in_use: bool, primary: str | None = None
) -> list[str]:
    """Limits that the arms, seeds and share of data set."""
    found = []
    if n_seeds == 2:
        found.append(
            "2 seeds per arm: the spread between trainings is guessed from two values, so the intervals are "
            "not to be trusted; they can be far too wide, or by luck too narrow. Take at least 3 seeds, "
            f"better {FEW_SEEDS}."
        )
    elif n_seeds < FEW_SEEDS:
        found.append(
            f"{n_seeds} seed{'s' if n_seeds != 1 else ''} per arm: the spread between trainings is known "
            f"poorly below "
            f"{FEW_SEEDS}, so "
            + (
                "no interval can be given."
                if n_seeds < 2
                else "intervals are wide and small effects stay undetected."
            )
        )
    main = primary_arm(arms, primary)
    others = len(arms) - 1 - (main is not None)
    if main is not None and others:
        found.append(
            f"The comparison decided on beforehand is {main.name} against real; the verdicts on the other "
            f"{others} arm{'s' if others > 1 else ''} are adjusted for their number (Holm), their intervals "
            f"are not."
        )
    if any(arm.needs_synthetic for arm in arms):
        found.append(
            "The answer holds for these synthetic images: the interval does not cover training the generator "
            "again."
        )
    if fraction < 1 and generator_in_use:
        found.append(
            f"The classifiers saw {100 * fraction:.0f} % of the real training groups while the generator may "
            f"have seen "
            "all of them, which favours the synthetic arms."
        )
    found.append(
        "All arms take the same number of steps, so an arm with more images sees each of them less often."
    )
    return found


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
