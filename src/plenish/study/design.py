"""The arms and seeds of a study, given what a study in the same folder began with, and what they limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plenish.metrics.caveats import FEW_SEEDS, Caveat
from plenish.runs import Run
from plenish.study.arms import Arm, parse_arms, primary_arm
from plenish.study.config import StudyConfig


@dataclasses.dataclass(frozen=True)
class Design:
    """What a study compares.

    A study only grows: arms and seeds seen once stay in it, so that none can be dropped for its result.

    Attributes:
        arms: all arms, `real` first.
        seeds: trainings per arm.
        primary: the primary arm, decided by the first start that had synthetic images and by nothing seen
            since: an arm added later never takes its place. None as long as no arm has any.
    """

    arms: tuple[Arm, ...]
    seeds: int
    primary: Arm | None

    @property
    def names(self) -> list[str]:
        """Names of the arms."""
        return [arm.name for arm in self.arms]

    @classmethod
    def of(cls, config: StudyConfig, out: Path) -> Design:
        """The design of a study in the folder `out`, new or extended.

        Raises:
            InputError: an unknown arm, or a folder of something else.
        """
        asked = parse_arms(config.arms, config.ratio)
        if not (out / "config.json").is_file():
            return cls(tuple(asked), config.seeds, primary_arm(asked))
        run = Run.open(out, "study")
        first, status = run.config["config"], run.status
        held = status.get("arms", first["arms"])
        arms = parse_arms([*held, *(arm.name for arm in asked)], config.ratio)
        primary = next((arm for arm in arms if arm.name == status.get("primary_arm")), None)
        for names in (first["arms"], held, [arm.name for arm in arms]):
            primary = primary or primary_arm(parse_arms(names, config.ratio))
        return cls(tuple(arms), max(config.seeds, int(status.get("seeds", first["seeds"]))), primary)


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
