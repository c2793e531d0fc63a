"""The arms and seeds of a study, given what a study in the same folder began with, and what they limit."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plenish.errors import InputError
from plenish.metrics.caveats import FEW_SEEDS, Caveat
from plenish.runs import Run
from plenish.study.arms import DEFAULT_ARMS, REFERENCE, SWEEP_ARMS, Arm, parse_arms, primary_arm
from plenish.study.arms_file import define_arms, read_arms
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
        definitions: of the arms that came from a file, by name.
    """

    arms: tuple[Arm, ...]
    seeds: int
    primary: Arm | None
    definitions: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of the arms."""
        return [arm.name for arm in self.arms]

    @classmethod
    def of(cls, config: StudyConfig, out: Path, sources: Sequence[str] = ()) -> Design:
        """The design of a study in the folder `out`, new or extended.

        Args:
            config: how to compare.
            out: the study's folder.
            sources: names of the generators that are compared.

        Raises:
            InputError: an unknown arm, one defined anew, or a folder of something else.
        """
        definitions = read_arms(config.arms_file) if config.arms_file is not None else {}
        names = [*config.arms]
        if config.arms == DEFAULT_ARMS and (sources or definitions):
            names = [*(SWEEP_ARMS if sources else (REFERENCE,))]
        names += [name for name in definitions if name not in names]
        run = Run.open(out, "study") if (out / "config.json").is_file() else None
        first = run.config["config"] if run else {}
        status = run.status if run else {}
        known = status.get("definitions", dict(first.get("definitions", ())))
        if changed := [name for name in known if definitions.get(name, known[name]) != known[name]]:
            raise InputError(
                f"The arm '{changed[0]}' was defined otherwise when {out} was started; give it another name."
            )
        definitions = {**known, **definitions}
        defined = define_arms(definitions, config.ratio)

        def parsed(names: Sequence[str], **more: Any) -> list[Arm]:
            return parse_arms(names, config.ratio, defined=defined, **more)

        asked = parsed(names, doses=config.ratios, sources=sources)
        if run is None:
            return cls(tuple(asked), config.seeds, primary_arm(asked), definitions)
        held = status.get("arms", first["arms"])
        arms = parsed([*held, *(arm.name for arm in asked)])
        primary = next((arm for arm in arms if arm.name == status.get("primary_arm")), None)
        for earlier in (first["arms"], held, [arm.name for arm in arms]):
            primary = primary or primary_arm(parsed(earlier))
        seeds = max(config.seeds, int(status.get("seeds", first["seeds"])))
        return cls(tuple(arms), seeds, primary, definitions)


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
    if any(arm.uses_synthetic for arm in design.arms):
        found.append(Caveat("one-generator", {"intervals": intervals}))
    if fraction < 1 and has_synthetic:
        found.append(Caveat("generator-saw-more", {"fraction": fraction}))
    return [*found, Caveat("equal-steps")]


def about_cuts(rows: Sequence[Mapping[str, Any]]) -> list[Caveat]:
    """Arms whose differences have intervals that were cut at the possible range (`cut` of their rows)."""
    arms = list(dict.fromkeys(str(row["arm"]) for row in rows if row["cut"]))
    return [Caveat("cut-intervals", {"arms": arms})] if arms else []


def about_doses(records: Sequence[Mapping[str, Any]], arms: Sequence[Arm]) -> list[Caveat]:
    """Arms that got fewer synthetic images than asked for, in the cell that got the least."""
    found = []
    for arm in arms:
        cells = [record for record in records if record["arm"] == arm.name]
        pairs = [(cell["synthetic_asked"], cell["trained_on"]["synthetic"]) for cell in cells]
        asked, got = max(pairs, key=lambda pair: pair[0] - pair[1])
        if got < 0.98 * asked:
            found.append(Caveat("fewer-synthetic", {"arm": arm.name, "got": got, "asked": asked}))
    return found
