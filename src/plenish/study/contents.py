"""Parts of study.json: cells by seed, what was tested, the dose curve, and the results on another Dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.metrics.caveats import Caveat, about_test
from plenish.metrics.classification import evaluate
from plenish.metrics.words import is_known
from plenish.study.analysis import Predictions, analyse
from plenish.study.arms import dose_curve
from plenish.study.cells import Cell
from plenish.study.config import StudyConfig
from plenish.study.data import StudyData
from plenish.study.design import Design
from plenish.study.folds import merged
from plenish.training.confusion import defined_mean

Ints = NDArray[np.int64]
_RANKED = ("auroc", "pr_auc")
"""Metrics that compare scores; those of classifiers of different folds have scales of their own."""


def of_seeds(done: Sequence[Cell], predictions: Predictions, names: Sequence[str]) -> list[dict[str, Any]]:
    """A record of each arm and seed: that of its cell, or, with folds, one of all their predictions.

    With folds, `metrics` are those of all test images together (AUROC and PR-AUC, which compare scores: means
    over the folds), counts are means over the folds, and `folds` holds the records of the cells.
    """
    found: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for record in (cell.record for cell in done):
        found.setdefault((record["arm"], record["seed"]), []).append(record)
    return [
        records[0] if records[0]["fold"] is None else _of_folds(records, predictions, names)
        for records in found.values()
    ]


def _of_folds(
    records: Sequence[dict[str, Any]], predictions: Predictions, names: Sequence[str]
) -> dict[str, Any]:
    first = records[0]
    key = first["arm"], first["seed"]
    counts = {
        kind: round(sum(record["trained_on"][kind] for record in records) / len(records))
        for kind in first["trained_on"]
    }
    ranked = {
        name: float(defined_mean(np.array([record["metrics"][name] for record in records], np.float64)))
        for name in _RANKED
    }
    return {
        "arm": first["arm"], "seed": first["seed"], "fold": None, "steps": first["steps"],
        "metrics": evaluate(predictions.codes, predictions.probabilities[key], names) | ranked,
        "trained_on": counts, "seconds": sum(record["seconds"] for record in records),
        "folds": [{name: value for name, value in record.items() if name != "history"} for record in records],
    }  # fmt: skip


def tested(codes: Ints, groups: int, names: Sequence[str]) -> dict[str, Any]:
    """How many test images there are, of how many groups, and how many of each class."""
    counts = np.bincount(codes, minlength=len(names)).tolist()
    return {"n": len(codes), "groups": groups, "per_class": dict(zip(names, counts))}


def doses_of(design: Design, records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The points of the dose curve of each generator that has at least two: `source`, `arm`, `dose`.

    Args:
        design: what the study compares.
        records: of its cells; the dose is what they were trained on, less than asked where images were few.
    """
    return [
        {"source": source, "arm": arm.name, "dose": _trained_dose(arm.name, records)}
        for source, arms in dose_curve(design.arms).items() if len(arms) > 1 for arm in arms
    ]  # fmt: skip


def schedules_of(done: Sequence[Cell]) -> dict[str, list[dict[str, Any]]]:
    """The levels, in steps, of each arm that has a schedule: those of its first cell (`schedules.phases_of`).

    The steps are those of all its cells; with folds, images of an epoch differ a little between them.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for record in (cell.record for cell in done):
        if record.get("phases"):  # Cells of earlier versions have none.
            found.setdefault(record["arm"], record["phases"])
    return found


def _trained_dose(arm: str, records: Sequence[Mapping[str, Any]]) -> float:
    """Synthetic images for each real one that an arm was trained on, over all its cells."""
    trained = [record["trained_on"] for record in records if record["arm"] == arm]
    return float(sum(one["synthetic"] for one in trained) / sum(one["real"] for one in trained))


def external_results(
    folds: Sequence[StudyData], done: Sequence[Cell], config: StudyConfig, design: Design
) -> dict[str, Any] | None:
    """What the classifiers do on another Dataset, in the layout of study.json; None where there is none.

    With folds, the prediction of an arm and seed is the mean of its classifiers' probabilities.
    """
    rows = folds[0].external
    if rows is None:
        return None
    data, names = rows.dataset, rows.dataset.labels.names
    cells = _ensembles(done)
    predictions = Predictions.of(cells, names, config)
    found = analyse(predictions, design)
    intervals = any(is_known(row["low"]) for row in found["summary"])
    groups = list(rows.groups)
    known = len({group for group in groups if group is not None})
    if data.is_synthetic:  # No verdict: what is accurate on generated images need not be on patients.
        found |= {"verdicts": [], "verdict": None}
        caveats = [Caveat("generated-test", {"intervals": intervals})]
    else:
        caveats = about_test(predictions.codes, groups, names, intervals=intervals)
    caveats += merged(folds, external=True)
    if folds[0].fold is not None:
        caveats.append(Caveat("fold-ensemble", {"folds": len(folds)}))
    return {
        "name": data.name, "generated": data.is_synthetic, "path": str(data.path.resolve()),
        "pixels_hash": data.manifest.pixels_hash,
        "test": tested(predictions.codes, known, names), **found, "cells": _measured(predictions, names),
        "caveats": [dataclasses.asdict(caveat) for caveat in caveats],
    }  # fmt: skip


def _ensembles(done: Sequence[Cell]) -> list[Cell]:
    """The external predictions of each arm and seed, the mean over folds, as cells without folds."""
    found: dict[tuple[str, int], list[Cell]] = {}
    for cell in done:
        found.setdefault((cell.record["arm"], cell.record["seed"]), []).append(cell)
    made = []
    for of_one in found.values():
        tables = [cell.external for cell in of_one if cell.external is not None]
        columns = [name for name in map(str, tables[0].columns) if name.startswith("p:")]
        table = tables[0].copy()
        table[columns] = sum(one[columns].to_numpy() for one in tables) / len(tables)
        made.append(Cell({**of_one[0].record, "fold": None}, table))
    return made


def _measured(predictions: Predictions, names: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {"arm": arm, "seed": seed, "metrics": evaluate(predictions.codes, found, names)}
        for (arm, seed), found in predictions.probabilities.items()
    ]
