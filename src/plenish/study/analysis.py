"""From the cells' predictions to intervals, paired differences and verdicts.

Seeds and test groups are crossed factors (every seed is tested on the same groups); intervals count both
(`metrics.statistics.hierarchical_bootstrap`). Their t intervals know nothing of the metrics' range, so they
are cut where no true value can lie: at 0 and 1, differences at −1 and 1. That leaves their coverage as it is,
and neither p-values nor verdicts change, for the value inside is kept and 0 is possible.

What is primary is fixed when the study begins: balanced accuracy of the arm with synthetic images added,
against `real`. All other arms are exploratory, and their p-values are adjusted by Holm's method (Scandinavian
Journal of Statistics 6 (1979), 65-70).

A difference needs more than the t interval where the numbers allow it: the sign-flip permutation tests, over
groups and over seeds, must find it too, so that no verdict rests on normality alone. Equivalence is tested by
two one-sided t tests (Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15 (1987), 657-680): at a level of
95 % the 90 % interval lies within the margin.
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
from plenish.metrics.resampling import is_stratified, unit_codes
from plenish.metrics.statistics import Difference, can_reach, hierarchical_bootstrap, sign_flip_test
from plenish.study.arms import REFERENCE
from plenish.study.cells import Cell
from plenish.study.config import StudyConfig
from plenish.study.design import Design
from plenish.study.power import announce, observed_noise, outlook, row_shares, typical_noise, unit_sums
from plenish.study.verdicts import PRIMARY_METRIC, verdict_on
from plenish.training.confusion import defined_mean

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
        folds: N numbers of the fold whose classifier predicted the row; None without folds.
    """

    codes: Ints
    groups: NDArray[Any] | None
    probabilities: Mapping[tuple[str, int], Floats]
    config: StudyConfig = StudyConfig()
    folds: Ints | None = None

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
        parts = next(iter(tables.values()))
        folds = np.repeat(np.arange(len(parts)), [len(part) for part in parts]) if len(parts) > 1 else None
        groups = first["group"].astype(object).where(first["group"].notna(), None).to_numpy()
        return cls(
            np.array([number[label] for label in first["label"]], np.int64),
            groups,
            {key: table[columns].to_numpy(np.float64) for key, table in joined.items()},
            config, folds,
        )  # fmt: skip

    def metric(self, name: str, arm: str, seed: int, weights: ArrayLike | None = None) -> Floats:
        """A metric of one cell, R values with weights R×N of the rows.

        The classifiers of different folds score on scales of their own, so AUROC, which compares scores, is
        the mean over the folds that have all they need (Forman & Scholz, SIGKDD Explorations 12 (2010),
        49-57).
        """
        found = self.probabilities[arm, seed]
        if name != "auroc" or self.folds is None:
            return weighted_metric(name, self.codes, found, weights)
        each = []
        for fold in np.unique(self.folds):
            rows = self.folds == fold
            own = None if weights is None else np.asarray(weights)[:, rows]
            each.append(weighted_metric(name, self.codes[rows], found[rows], own))
        return defined_mean(np.stack(each, axis=-1))

    @property
    def trainings(self) -> int:
        """Classifiers of each arm and seed, one a fold, each of which is tested on its share of the rows."""
        return 1 if self.folds is None else len(np.unique(self.folds))

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

    @property
    def units(self) -> Ints:
        """Numbers of the test groups, N; rows without a group are groups of their own."""
        return unit_codes(self.groups, len(self.codes))

    def right(self, arm: str, against: str) -> Floats:
        """What the two arms of each seed differ by on each row, K×N: 1, 0 or −1 right classifications."""
        hits = [
            [self.probabilities[name, seed].argmax(axis=1) == self.codes for seed in self.seeds]
            for name in (arm, against)
        ]
        own, other = np.asarray(hits, np.float64)
        return np.asarray(own - other)

    def _strata(self) -> ArrayLike | None:
        """Classes, where every unit has rows of one class only and no class rests on a single unit."""
        return self.codes if is_stratified(self.codes, self.units) else None


def analyse(
    predictions: Predictions, design: Design, metrics: Sequence[str] = METRICS
) -> dict[str, Any]:  # fmt: skip
    """What the cells say, JSON-able.

    Args:
        predictions: of all cells.
        design: what the study compares.
        metrics: names that `weighted_metric` takes, balanced accuracy among them.

    Returns:
        `summary` (mean and interval of each arm and metric), `differences` (each arm against `real`, paired
        by seed), `comparisons` (the primary arm against every other arm but `real`), `verdicts` (one per arm
        but `real`, on balanced accuracy) and `verdict` (of the primary arm, its name, whether it has real
        images, and its verdict; None without synthetic images). Rows of balanced accuracy that are adjusted
        for their number (exploratory arms; comparisons) have `p_holm` and `p_equivalence_holm`.
    """
    summary = [_summary_row(predictions, name, metric) for name in design.names for metric in metrics]
    others = [name for name in design.names if name != REFERENCE]
    main = design.primary
    exploratory = len(others) - (main is not None)
    differences = [
        _row(
            predictions, name, REFERENCE, metric,
            tests=1 if main is not None and name == main.name else exploratory,
        )
        for name in others for metric in metrics
    ]  # fmt: skip
    own = [row for row in differences if row["metric"] == PRIMARY_METRIC]
    _adjust([row for row in own if main is None or row["arm"] != main.name])
    comparisons = [
        _row(predictions, main.name, name, metric, tests=len(others) - 1)
        for name in others for metric in metrics if main is not None and name != main.name
    ]  # fmt: skip
    _adjust([row for row in comparisons if row["metric"] == PRIMARY_METRIC])
    verdicts = [_verdict(predictions, row, exploratory if "p_holm" in row else 1) for row in own]
    verdict = None
    if main is not None:
        found = next(row["verdict"] for row in verdicts if row["arm"] == main.name)
        verdict = {"arm": main.name, "real": main.real, "verdict": found}
    return {
        "summary": summary, "differences": differences, "comparisons": comparisons, "verdicts": verdicts,
        "verdict": verdict,
    }  # fmt: skip


def compared(
    predictions: Predictions, pairs: Sequence[tuple[str, str]], metrics: Sequence[str]
) -> list[dict[str, Any]]:  # fmt: skip
    """Differences of pairs of arms, paired by seed; those in balanced accuracy adjusted for their number.

    Args:
        predictions: of all cells.
        pairs: an arm, and what it is compared with.
        metrics: names that `weighted_metric` takes.
    """
    rows = [
        _row(predictions, arm, against, metric, tests=len(pairs))
        for arm, against in pairs for metric in metrics
    ]  # fmt: skip
    _adjust([row for row in rows if row["metric"] == PRIMARY_METRIC])
    return rows


def announced(
    config: StudyConfig, design: Design, codes: Ints, groups: Sequence[Any], *, all_groups: int = 0,
    cells: Sequence[Cell] = (), names: Sequence[str] = (), folds: int = 1,
) -> dict[str, Any]:  # fmt: skip
    """What gain the primary comparison can find, before it is trained or after some seeds.

    Args:
        config: of the study.
        design: what the study compares.
        codes: N class numbers of the test rows.
        groups: N group names, None where there is none.
        all_groups: groups of the whole split.
        cells: finished cells; their noise is observed, their difference is not used.
        names: class names.
        folds: trainings of each seed, each of which is tested on its share of the rows.
    """
    unit = "group" if any(group is not None for group in groups) else "image"
    noise = typical_noise(codes, unit_codes(list(groups), len(codes)), folds)
    arms = [design.primary or arm for arm in design.arms if arm.name != REFERENCE][:1]
    wanted = [cell for cell in cells if cell.record["arm"] in (REFERENCE, *(arm.name for arm in arms))]
    observed = bool(arms) and len({cell.record["seed"] for cell in wanted}) > 1
    if observed:
        predictions = Predictions.of(wanted, names, config)
        right = predictions.right(arms[0].name, REFERENCE)
        noise = observed_noise(predictions.codes, predictions.units, right, folds)
    return announce(
        noise, design.seeds, config.level, basis="observed" if observed else "typical", unit=unit,
        all_groups=all_groups,
    )  # fmt: skip


def _adjust(rows: Sequence[dict[str, Any]]) -> None:
    """Add Holm's adjusted p-values of rows that are judged together: of a difference, and of equivalence."""
    for key in ("p_verdict", "p_equivalence"):
        adjusted = holm([row[key] for row in rows])
        for row, p in zip(rows, adjusted):
            row["p_holm" if key == "p_verdict" else "p_equivalence_holm"] = p


def _verdict(predictions: Predictions, row: Mapping[str, Any], tests: int) -> dict[str, Any]:
    """The verdict on an arm, and after `no evidence` what a decision would need.

    Of one of several arms that is what would decide at the level of the least of their p-values.
    """
    config = predictions.config
    word = verdict_on(row, config.level, config.margin)
    found = {"arm": row["arm"], "metric": PRIMARY_METRIC, "verdict": word, "needs": None}
    if word == "no evidence" and math.isfinite(row["low"]):
        right = predictions.right(row["arm"], REFERENCE)
        noise = observed_noise(predictions.codes, predictions.units, right, predictions.trainings)
        level = 1 - (1 - config.level) / tests
        found["needs"] = outlook(noise, len(right), level, row["mean"], config.margin)
    return found


def _summary_row(predictions: Predictions, arm: str, metric: str) -> dict[str, Any]:
    values = np.array([predictions.metric(metric, arm, seed)[0] for seed in predictions.seeds])
    found = predictions.compare(arm, None, metric)
    return {
        "arm": arm, "metric": metric, "mean": found.mean,
        **_bounds(found, 0.0),
        "sd": float(values.std(ddof=1)) if len(values) > 1 else math.nan, "n_seeds": len(values),
    }  # fmt: skip


def _row(
    predictions: Predictions, arm: str, against: str, metric: str, *, tests: int = 1
) -> dict[str, Any]:  # fmt: skip
    """A comparison; of balanced accuracy also with what decides its verdict.

    Args:
        predictions: of all cells.
        arm: which arm.
        against: the other one.
        metric: which metric.
        tests: how many p-values it is adjusted with.
    """
    found = predictions.compare(arm, against, metric)
    row: dict[str, Any] = {"arm": arm} if against == REFERENCE else {"arm": arm, "against": against}
    row |= {
        "metric": metric, "mean": found.mean, **_bounds(found, -1.0), "p": p_value(found),
        "se_groups": found.se_groups, "se_seeds": found.se_seeds, "df": found.df, "n_seeds": found.n_seeds,
        "n_groups": found.n_groups, "no_variance": found.no_variance,
    }  # fmt: skip
    if metric == PRIMARY_METRIC:
        added = predictions.right(arm, against).mean(axis=0) * row_shares(predictions.codes)
        row |= decisive(found, unit_sums(added, predictions.units), predictions.config, tests)
    return row


def decisive(found: Difference, added: Floats, config: StudyConfig, tests: int = 1) -> dict[str, Any]:
    """What decides a verdict besides the interval: permutation tests, and the test of equivalence.

    Args:
        found: a difference in balanced accuracy.
        added: G, what each test group adds to it.
        config: level, margin and seed of the study.
        tests: how many p-values it is adjusted with; a permutation test counts where it could find something
            even as the first of so many.
    """
    flips = {
        "p_flip_groups": sign_flip_test(added, seed=config.seed) if len(added) > 1 else math.nan,
        "p_flip_seeds": found.p,
    }
    sizes = (found.n_groups, found.n_seeds)
    counted = [p for p, n in zip(flips.values(), sizes) if can_reach(n, config.level, tests)]
    alone = p_value(found)
    low, high = found.interval(2 * config.level - 1)
    return {
        **flips, "p_verdict": max([alone, *counted]) if math.isfinite(alone) else math.nan,
        "inner_low": low, "inner_high": high, "p_equivalence": p_equivalence(found, config.margin),
    }  # fmt: skip


def _bounds(found: Difference, least: float) -> dict[str, Any]:
    """The interval within `least` to 1, and whether it had to be cut; nan bounds stay nan."""
    cut = found.low < least or found.high > 1.0
    return {"low": float(max(found.low, least)), "high": float(min(found.high, 1.0)), "cut": bool(cut)}


def p_value(found: Difference) -> float:
    """Two-sided p-value for no difference, consistent with the interval; nan where there is none."""
    if not math.isfinite(found.error):
        return math.nan
    return float(2 * stdtr(found.df, -abs(found.mean) / found.error))


def p_equivalence(found: Difference, margin: float) -> float:
    """The larger p-value of two one-sided t tests, for a difference beyond ±margin; nan without interval."""
    if not math.isfinite(found.error):
        return math.nan
    return float(stdtr(found.df, (abs(found.mean) - margin) / found.error))


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given; nan stays nan."""
    values = np.asarray(p, np.float64)
    adjusted = np.full(len(values), np.nan)
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return [float(value) for value in adjusted]
