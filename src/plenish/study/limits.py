"""What a study's intervals can and cannot mean."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np

from plenish.metrics.caveats import FEW_ROWS, FEW_SEEDS, Caveat, about_groups
from plenish.metrics.resampling import Ints, unit_codes
from plenish.study.arms import Arm
from plenish.study.design import Design


def about_test(
    codes: Ints, groups: Sequence[Hashable | None], names: Sequence[str], *, intervals: bool = True
) -> list[Caveat]:
    """Limits that the test images set.

    Args:
        codes: N class numbers.
        groups: N group names; None for an image without one.
        names: class names.
        intervals: whether the results have intervals.
    """
    grouped = sum(group is not None for group in groups)
    found = []
    if grouped:
        found += about_groups(int(unit_codes(groups, len(codes)).max()) + 1, intervals=intervals)
        if grouped < len(codes):
            found.append(Caveat("some-without-group", {"images": len(codes) - grouped, "of": len(codes)}))
    else:
        found.append(Caveat("no-groups", {"intervals": intervals}))
    counts = dict(zip(names, np.bincount(codes, minlength=len(names)).tolist()))
    few = {name: count for name, count in counts.items() if 0 < count < FEW_ROWS}
    none = [name for name, count in counts.items() if not count]
    found += [Caveat("few-images", {"counts": few})] if few else []
    return found + ([Caveat("no-images", {"classes": none})] if none else [])


def about_looks(looks: Sequence[Mapping[str, Any]], *, intervals: bool = True) -> list[Caveat]:
    """The limit of a study that was extended after a verdict.

    Args:
        looks: `arms` and `seeds` at each verdict that was shown, the present one last.
        intervals: whether the results have intervals.
    """
    counts = [{"arms": len(look["arms"]), "seeds": look["seeds"]} for look in looks]
    return [Caveat("looks", {"looks": counts, "intervals": intervals})] if len(looks) > 1 else []


def about_design(
    design: Design, fraction: float, has_synthetic: bool, *, intervals: bool = True
) -> list[Caveat]:
    """Limits that the arms, seeds and share of data set.

    Args:
        design: what the study compares.
        fraction: share of the real training groups that was used.
        has_synthetic: whether synthetic images were used.
        intervals: whether the results have intervals.
    """
    found = []
    if design.seeds < FEW_SEEDS:
        found.append(Caveat("few-seeds", {"seeds": design.seeds, "intervals": intervals}))
    main = design.primary
    others = len(design.arms) - 1 - (main is not None)
    if main is not None and others:
        adjusted = intervals and others > 1
        found.append(Caveat("primary", {"arm": main.name, "others": others, "adjusted": adjusted}))
    if any(arm.synthetic for arm in design.arms):
        found.append(Caveat("one-generator", {"intervals": intervals}))
    if fraction < 1 and has_synthetic:
        found.append(Caveat("generator-saw-more", {"fraction": fraction}))
    return [*found, Caveat("equal-steps")]


def about_cuts(rows: Sequence[Mapping[str, Any]]) -> list[Caveat]:
    """Arms whose differences have intervals that were cut at the possible range (`cut` of their rows)."""
    arms = list(dict.fromkeys(str(row["arm"]) for row in rows if row["cut"]))
    return [Caveat("cut-intervals", {"arms": arms})] if arms else []


def about_doses(records: Sequence[Mapping[str, Any]], arms: Sequence[Arm], n_real: int) -> list[Caveat]:
    """Arms that got fewer synthetic images than asked for."""
    found = []
    for arm in arms:
        got = min(record["trained_on"]["synthetic"] for record in records if record["arm"] == arm.name)
        if got < 0.98 * arm.synthetic * n_real:
            asked = round(arm.synthetic * n_real)
            found.append(Caveat("fewer-synthetic", {"arm": arm.name, "got": got, "asked": asked}))
    return found
