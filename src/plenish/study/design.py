"""The arms and seeds of a study, given what a study in the same folder began with."""

from __future__ import annotations

import dataclasses
from pathlib import Path

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
