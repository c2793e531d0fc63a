"""A table of classifiers on the same test images: a row for each way of training, the mean over its seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from plenish.errors import InputError
from plenish.metrics.predictions import read_predictions
from plenish.runs import Run
from plenish.study.analysis import Predictions

_METRICS = ("macro_f1", "balanced_accuracy")


def table_of(rows: Mapping[str, Sequence[Path]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Test results of classifiers, row by row; the first row is what the others are compared with.

    Args:
        rows: of each row, the Runs of its classifiers, one a seed in the same order.
        names: the classes.

    Returns:
        Of each row: `row`, `seeds`, and `macro_f1`, `balanced_accuracy`, `accuracy` (means over seeds; their
        least and greatest as `macro_f1_least`, `macro_f1_most`), with `macro_f1_low`, `macro_f1_high` and, of
        rows but the first, `against` (difference of macro F1), `against_low` and `against_high`: intervals
        that count test groups and seeds, nan with fewer than two of either or where nothing varies.

    Raises:
        InputError: Runs that were tested on other images than the first.
    """
    tables = {(row, k): _tested(run) for row, runs in rows.items() for k, run in enumerate(runs)}
    first = next(iter(tables.values()))
    for (row, _), table in tables.items():
        if list(table["id"]) != list(first["id"]) or list(table["label"]) != list(first["label"]):
            raise InputError(f"The classifiers of '{row}' were tested on other images than the first row's.")
    number = {name: k for k, name in enumerate(names)}
    codes = np.array([number[label] for label in first["label"]], np.int64)
    groups = first["group"].astype(object).where(first["group"].notna(), None).to_numpy()
    columns = [f"p_{name}" for name in names]
    made = {key: table[columns].to_numpy(np.float64) for key, table in tables.items()}
    reference = next(iter(rows))
    return [_row(row, reference, Predictions(codes, groups, _of(made, row, reference))) for row in rows]


def _of(made: Mapping[tuple[str, int], Any], row: str, reference: str) -> dict[tuple[str, int], Any]:
    """Predictions of a row and the reference, for the seeds that both have."""
    seeds = {k for name, k in made if name == row} & {k for name, k in made if name == reference}
    return {(name, k): made[name, k] for name in {row, reference} for k in sorted(seeds)}


def _tested(path: Path) -> pd.DataFrame:
    found = read_predictions(Run.open(path, "classifier"), "test")
    if found.empty:
        raise InputError(f"{path} was not tested; repeat its command with --test.")
    return found


def _row(row: str, reference: str, found: Predictions) -> dict[str, Any]:
    out: dict[str, Any] = {"row": row, "seeds": len(found.seeds)}
    for metric in _METRICS:
        values = [float(found.metric(metric, row, k)[0]) for k in found.seeds]
        out |= {metric: float(np.mean(values)), f"{metric}_least": min(values), f"{metric}_most": max(values)}
    hits = [(found.probabilities[row, k].argmax(axis=1) == found.codes).mean() for k in found.seeds]
    out["accuracy"] = float(np.mean(hits))
    own = found.compare(row, None, "macro_f1")
    out |= {"macro_f1_low": own.low, "macro_f1_high": own.high}
    if row != reference:
        paired = found.compare(row, reference, "macro_f1")
        out |= {"against": paired.mean, "against_low": paired.low, "against_high": paired.high}
    return out
