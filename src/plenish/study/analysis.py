"""From the cells' predictions to intervals, paired differences and verdicts.

Seeds and test groups are crossed factors (every seed is tested on the same groups); intervals count both
(`metrics.statistics.hierarchical_bootstrap`). Their t intervals know nothing of the metrics' range, so they
are cut where no true value can lie: at 0 and 1, differences at −1 and 1. That leaves their coverage as it is,
and neither p-values nor verdicts change, for the value inside is kept and 0 is possible.

What is primary is fixed when the study begins: balanced accuracy of the arm with synthetic images added,
against `real`. All other arms are exploratory, and their
p-values are adjusted by Holm's method (Scandinavian Journal of Statistics 6 (1979), 65-70).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr

from plenish.metrics.classification import METRICS, weighted_metric
from plenish.metrics.resampling import are_pure, unit_codes, units_of_strata
from plenish.metrics.statistics import Difference, hierarchical_bootstrap
from plenish.study.arms import REFERENCE
from plenish.study.cells import Cell
from plenish.study.config import StudyConfig
from plenish.study.design import Design
from plenish.study.verdicts import PRIMARY_METRIC, verdict_on

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Predictions of all cells on the same test rows.

    Attributes:
        codes: true class numbers, N.
        groups: N group names, None where there is none; or None as a whole.
        probabilities: (arm, seed) → N×K.
        config: level of the intervals, resamples and seed of the study.
    """

    codes: Ints
    groups: NDArray[Any] | None
    probabilities: Mapping[tuple[str, int], Floats]
    config: StudyConfig = StudyConfig()

    @classmethod
    def of(cls, cells: Sequence[Cell], names: Sequence[str], config: StudyConfig) -> Predictions:
        """Gather the tables of finished cells; those of the folds of one arm and seed follow each other."""
        number = {name: k for k, name in enumerate(names)}
        tables: dict[tuple[str, int], list[pd.DataFrame]] = {}
        for cell in sorted(cells, key=lambda cell: cell.record["fold"] or 0):
            tables.setdefault((cell.record["arm"], cell.record["seed"]), []).append(cell.table)
        joined = {key: pd.concat(parts, ignore_index=True) for key, parts in tables.items()}
        first = next(iter(joined.values()))
        columns = [f"p:{name}" for name in names]
        groups = first["group"].astype(object).where(first["group"].notna(), None).to_numpy()
        return cls(
            np.array([number[label] for label in first["label"]], np.int64),
            groups,
            {key: table[columns].to_numpy(np.float64) for key, table in joined.items()},
            config,
        )

    def metric(self, name: str, arm: str, seed: int, weights: ArrayLike | None = None) -> Floats:
        """A metric of one cell, R values with weights R×N of the rows."""
        return weighted_metric(name, self.codes, self.probabilities[arm, seed], weights)

    @property
    def seeds(self) -> list[int]:
        """The seeds, which all arms have."""
        return sorted({seed for _, seed in self.probabilities})

    def compare(self, arm: str, against: str | None, metric: str) -> Difference:
        """Mean over seeds of arm − against (or of the arm itself), with its interval."""
        seeds = self.seeds
        truth = np.eye(int(self.codes.max()) + 1)[self.codes]
        truth = truth[:, truth.any(axis=0)]

        def statistic(k: int, weights: Ints) -> Floats:
            found = self.metric(metric, arm, seeds[k], weights)
            if against is not None:
                found = found - self.metric(metric, against, seeds[k], weights)
            complete = (weights @ truth > 0).all(axis=1)  # without a class the metric means something else
            return np.where(complete, found, np.nan)

        return hierarchical_bootstrap(
            statistic, len(seeds), len(self.codes), self.groups, level=self.config.level,
            resamples=self.config.resamples, seed=self.config.seed, strata=self._strata(),
        )  # fmt: skip

    def _strata(self) -> ArrayLike | None:
        """Classes, where every unit has rows of one class only and no class rests on a single unit."""
        units = unit_codes(self.groups, len(self.codes))
        fewest = min(map(len, units_of_strata(units, self.codes).values()))
        return self.codes if are_pure(self.codes, units) and fewest > 1 else None


def analyse(predictions: Predictions, design: Design) -> dict[str, Any]:
    """What the cells say, JSON-able.

    Args:
        predictions: of all cells.
        design: what the study compares.

    Returns:
        `summary` (mean and interval of each arm and metric), `differences` (each arm against `real`, paired
        by seed), `comparisons` (the primary arm against every other arm but `real`), `verdicts` (one per arm
        but `real`, on balanced accuracy) and `verdict` (of the primary arm, its name, whether it has real
        images, and its verdict; None without synthetic images).
    """
    summary = [_summary_row(predictions, name, metric) for name in design.names for metric in METRICS]
    others = [name for name in design.names if name != REFERENCE]
    differences = [_row(predictions, name, REFERENCE, metric) for name in others for metric in METRICS]
    main = design.primary
    own = [row for row in differences if row["metric"] == PRIMARY_METRIC]
    exploratory = [row for row in own if main is None or row["arm"] != main.name]
    for row, p in zip(exploratory, holm([row["p"] for row in exploratory])):
        row["p_holm"] = p
    comparisons = [
        _row(predictions, main.name, name, metric)
        for name in others for metric in METRICS if main is not None and name != main.name
    ]  # fmt: skip
    verdicts = []
    for row in own:
        word = verdict_on(row["low"], row["high"], row.get("p_holm"), predictions.config.level)
        verdicts.append({"arm": row["arm"], "metric": PRIMARY_METRIC, "verdict": word})
    verdict = None
    if main is not None:
        found = next(row["verdict"] for row in verdicts if row["arm"] == main.name)
        verdict = {"arm": main.name, "real": main.real, "verdict": found}
    return {
        "summary": summary, "differences": differences, "comparisons": comparisons, "verdicts": verdicts,
        "verdict": verdict,
    }  # fmt: skip


def _summary_row(predictions: Predictions, arm: str, metric: str) -> dict[str, Any]:
    values = np.array([predictions.metric(metric, arm, seed)[0] for seed in predictions.seeds])
    found = predictions.compare(arm, None, metric)
    return {
        "arm": arm, "metric": metric, "mean": found.mean,
        **_bounds(found, 0.0),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else math.nan, "n_seeds": len(values),
    }  # fmt: skip


def _row(predictions: Predictions, arm: str, against: str, metric: str) -> dict[str, Any]:
    found = predictions.compare(arm, against, metric)
    row: dict[str, Any] = {"arm": arm} if against == REFERENCE else {"arm": arm, "against": against}
    return row | {
        "metric": metric, "mean": found.mean, **_bounds(found, -1.0), "p": p_value(found),
        "p_sign_flip": found.p,
        "se_groups": found.se_groups, "se_seeds": found.se_seeds, "n_seeds": found.n_seeds,
        "n_groups": found.n_groups,
    }  # fmt: skip


def _bounds(found: Difference, least: float) -> dict[str, Any]:
    """The interval within `least` to 1, and whether it had to be cut; nan bounds stay nan."""
    cut = found.low < least or found.high > 1.0
    return {"low": max(found.low, least), "high": min(found.high, 1.0), "cut": cut}


def p_value(found: Difference) -> float:
    """Two-sided p-value for no difference, consistent with the interval; nan where there is none."""
    error = math.hypot(found.se_groups, found.se_seeds)
    if not math.isfinite(error):
        return math.nan
    if error == 0:
        return 1.0 if found.mean == 0 else 0.0
    return float(2 * stdtr(found.df, -abs(found.mean) / error))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given; nan stays nan."""
    values = np.asarray(p, np.float64)
    adjusted = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in adjusted]
