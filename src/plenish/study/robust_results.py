"""What the cells of a study say under attack: the section `robust` of study.json.

Each arm is judged as on the clean test images: paired differences from `real` with intervals over seeds and
groups, and verdicts on robust balanced accuracy. Arms that differ from each other only in hardening, or only
in synthetic images, are compared besides, as the question is what either adds to the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from plenish.metrics.caveats import Caveat, about_test
from plenish.metrics.classification import evaluate
from plenish.metrics.words import is_known
from plenish.study.analysis import Predictions, analyse, compared
from plenish.study.arms import REFERENCE, Arm
from plenish.study.cells import Cell
from plenish.study.config import StudyConfig
from plenish.study.contents import tested
from plenish.study.design import Design
from plenish.study.hardened import trains_alike
from plenish.study.robust_test import ATTACKED, ROBUST_METRICS, RobustTest
from plenish.study.verdicts import verdict_on

_PREFIX = "robust_"


def robust_results(
    done: Sequence[Cell], names: Sequence[str], config: StudyConfig, design: Design, test: RobustTest
) -> dict[str, Any]:
    """What the classifiers answer under attack, in the layout of study.json.

    Args:
        done: all cells.
        names: class names.
        config: of the study.
        design: what it compares.
        test: how classifiers were attacked.

    Returns:
        `threat` (`norm`, `eps`), `attacks`, `steps`; `test`, the images that were attacked; `summary` and
        `differences` as in study.json, of `robust_balanced_accuracy` and `robust_accuracy` and of
        `balanced_accuracy` and `accuracy` of the same images without attack; `comparisons` of pairs of arms
        that differ in one thing, with a `verdict`; `verdicts` on `robust_balanced_accuracy`, and `verdict` of
        the primary arm; `cells`, the metrics of each arm and seed; `caveats`.
    """
    shown = [_attacked(cell) for cell in done]
    clean = Predictions.of(shown, names, config)
    under = Predictions.of([_answers(cell, names) for cell in shown], names, config)
    found, before = analyse(under, design, ROBUST_METRICS), analyse(clean, design, ROBUST_METRICS)
    for row in found["verdicts"]:
        row["metric"] = _PREFIX + row["metric"]
    groups = [] if clean.groups is None else [*clean.groups]
    intervals = any(is_known(row["low"]) for row in found["summary"])
    about = test.record()
    caveats = [
        Caveat("attacks-tried", {key: about[key] for key in ("attacks", "steps")}),
        *about_test(clean.codes, groups, names, intervals=intervals),
    ]
    pairs = compared(under, one_apart(design.arms, test), ROBUST_METRICS)
    for row in pairs:
        row["verdict"] = verdict_on(row, config.level, config.margin) if "p_verdict" in row else None
    return {
        "threat": {"norm": test.threat.norm, "eps": test.threat.eps}, "attacks": list(test.attacks),
        "steps": test.steps,
        "test": tested(clean.codes, len({group for group in groups if group is not None}), names),
        "summary": _named(found["summary"]) + before["summary"],
        "differences": _named(found["differences"]) + before["differences"],
        "comparisons": _named(pairs), "verdicts": found["verdicts"], "verdict": found["verdict"],
        "cells": [
            {"arm": arm, "seed": seed, "metrics": _metrics(clean, under, arm, seed, names)}
            for arm, seed in clean.probabilities
        ],
        "caveats": [dataclasses.asdict(caveat) for caveat in caveats],
    }  # fmt: skip


def one_apart(arms: Sequence[Arm], test: RobustTest) -> list[tuple[str, str]]:
    """Pairs of arms of which one lacks the hardening alone, or the synthetic images alone, and is not `real`.

    Args:
        arms: all arms.
        test: how classifiers are attacked, which says what arms are hardened against.

    Returns:
        The name of the arm that has it, and of the one that has not.
    """
    found = []
    nameless = [trains_alike(arm, test) for arm in arms]
    for name, arm in zip((arm.name for arm in arms), nameless, strict=True):
        for against, other in zip((arm.name for arm in arms), nameless, strict=True):
            others = tuple(option for option in arm.options if option[0] != "share")  # Of synthetic images.
            softer = dataclasses.replace(arm, hardening=None)
            fewer = dataclasses.replace(arm, synthetic=0.0, source="", doping=(), options=others)
            if arm != other and other in (softer, fewer) and against != REFERENCE:
                found.append((name, against))
    return found


def _attacked(cell: Cell) -> Cell:
    """A cell with the images alone that were attacked."""
    table = cell.table
    return Cell(cell.record, table[table[ATTACKED].notna()].reset_index(drop=True))


def _answers(cell: Cell, names: Sequence[str]) -> Cell:
    """A cell whose probabilities are 1 for its answer under attack."""
    hot = {f"p:{name}": (cell.table[ATTACKED] == name).to_numpy(np.float64) for name in names}
    return Cell(cell.record, cell.table.assign(**hot))


def _named(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row | {"metric": _PREFIX + row["metric"]} for row in rows]


def _metrics(
    clean: Predictions, under: Predictions, arm: str, seed: int, names: Sequence[str]
) -> dict[str, Any]:  # fmt: skip
    """Metrics of one arm and seed, of the attacked images; `robust_recall` is that of each class."""
    found = evaluate(under.codes, under.probabilities[arm, seed], names)
    before = evaluate(clean.codes, clean.probabilities[arm, seed], names)
    kept = (*ROBUST_METRICS, "recall")
    return {_PREFIX + name: found[name] for name in kept} | {name: before[name] for name in kept}
