"""Sections on the results: the scores and the study."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from plenish.metrics.likeness_words import describe_excess
from plenish.metrics.words import comparable, is_known, number, percent, with_interval
from plenish.report import figures
from plenish.report.chart_canvas import WIDE, WIDTH, Chart
from plenish.report.headline import fidelity_card, of_better
from plenish.report.inputs import ReportInputs
from plenish.report.page import Block, Charts, Facts, Notes, Section, Table, Text
from plenish.study.arms import REFERENCE, describe_arm
from plenish.study.verdicts import METRIC_NAMES, PRIMARY_METRIC, announcement, arm_verdict, find_row
from plenish.wording import plural

_SHARES = ("precision", "recall", "density", "coverage")
_EXTRACTOR = {
    "version": "version", "task": "task", "dim": "dimensions", "resizer": "resizer", "fitted_on": "fitted on",
}  # fmt: skip
_MARKS = {"helps": "▲", "hurts": "▼", "equivalent": "■", "no evidence": "●"}
_MOST_SCOPES = 12
Row = Mapping[str, Any]


def has_intervals(rows: Sequence[Row]) -> bool:
    """Whether any of these rows has an interval."""
    return any(is_known(row["low"]) for row in rows)


def _mean(row: Row, spec: str) -> str:
    return with_interval(row["mean"], row["low"], row["high"], spec)


# Scores


def scores(inputs: ReportInputs) -> Section | None:
    """One forest plot a score, with the real-against-real baseline, and the numbers."""
    if inputs.score is None or not inputs.score["scores"]:
        return None
    rows, kind = inputs.score["scores"], inputs.kind
    names = dict.fromkeys(row["name"] for row in rows)
    has = has_intervals(rows)
    legend = (("●", f"{kind}, with interval" if has else kind), ("◇", "real against real"))
    lead = "" if kind == "synthetic" else "A baseline: real images compared with real ones. "
    lead += (
        f"How far the {kind} images are from the real test images"
        + (f", with {percent(inputs.score['level'], '.0f')} intervals" if has else "")
        + ". The diamond is the score of real training images in their place, the best that can be expected."
    )
    lead += (
        " Distances and shares depend on the numbers of images: intervals are of the value at these numbers, "
        "not of what infinitely many images would have. What counts is the difference from the diamond, in "
        "the table."
    )
    if inputs.quality is not None:
        lead += (
            " The figures of the first answer compare within the train part, as those of every checkpoint "
            "do, and differ from these."
        )
    if any(row["comparable"] for row in rows):
        lead += (
            f" There are more {kind} than real training images: the charts and the headline compare equal "
            "numbers of both, the table also has the values of all."
        )
    charts = [_score_chart(name, [row for row in rows if row["name"] == name]) for name in names]
    said = [Text(card.sentence) for card in fidelity_card(inputs.score)] if kind == "synthetic" else []
    extractor = inputs.score["extractor"]
    details = ", ".join(f"{label} {extractor[key]}" for key, label in _EXTRACTOR.items())
    features = Text(
        f"Features: {extractor['name']} ({details}). Only Inception features of the reference network are "
        "called FID."
    )
    blocks = [*said, Charts(charts, legend=legend), _score_table(rows, kind), features]
    return Section("scores", "Fidelity and variety", blocks, lead=lead)


def _score_chart(name: str, rows: Sequence[Row]) -> Chart:
    entries = [
        {**row, "label": row["scope"].removeprefix("class:"), "baseline": row["real_baseline"]}
        for row in map(comparable, rows[:_MOST_SCOPES])
    ]
    most = max(row[key] or 0 for row in entries for key in ("value", "high", "baseline"))
    limits = (-0.02, 1.02) if name in _SHARES and most <= 1 else None
    return figures.intervals(name, entries, limits=limits, x_label=f"{rows[0]['better']} is better")


def _score_table(rows: Sequence[Row], kind: str) -> Table:
    """All scores; where there is one at the number of images of the baseline, it follows."""
    shown = ([row, comparable(row)] if row["comparable"] else [row] for row in rows)
    body = [
        {
            "score": row["name"], "of": row["scope"].removeprefix("class:"), "value": row["value"],
            "interval": f"{number(row['low'])} to {number(row['high'])}" if is_known(row["low"]) else None,
            "real against real": row["real_baseline"] if row["n_synthetic"] == row["n_baseline"] else None,
            "difference": describe_excess(row) if row["n_synthetic"] == row["n_baseline"] else None,
            "n real": row["n_real"], f"n {kind}": row["n_synthetic"],
        }
        for row in itertools.chain.from_iterable(shown)
    ]  # fmt: skip
    return Table(body, "All scores as a table", words=["of", "difference"], folded=True)


# Study


def study(inputs: ReportInputs) -> Section | None:
    """Means per arm with the seeds behind them, differences from `real`, and the verdicts."""
    result = inputs.study
    if result is None:
        return None
    groups = result["test"]["groups"]
    lead = f"Tested on {plural(result['test']['n'], 'real image')}"
    lead += f" from {plural(groups, 'group')}" if groups else ""
    blocks = study_blocks(result)
    lead += f", which no classifier saw in training.{of_better('study', inputs.quality)}"
    return Section("study", "Do they help a classifier?", blocks, lead=lead)


def study_blocks(result: Row) -> list[Block]:
    """Charts, sentences and tables of a study, or of what it found on another Dataset."""
    level, has = percent(result["level"], ".0f"), has_intervals(result["summary"])
    legend = (
        ("●", f"mean with {level} interval" if has else "mean"),
        ("•", f"single seeds ({len(result['seeds'])}), below"),
        ("┊", f"chance ({percent(_chance(PRIMARY_METRIC, result) or 0.5, '.0f')})"),
    )
    first, *others = METRIC_NAMES
    limits = _shared_limits(result)
    arms = {metric: _arm_chart(metric, result, limits, wide=metric == first) for metric in METRIC_NAMES}
    sentences = [arm_verdict(result, row["arm"]) for row in result["verdicts"]]
    blocks: list[Block] = [
        Charts([arms[first]], legend=legend, wide=True),
        Facts(_described(result), "What the arms are trained on", folded=True),
    ]
    changes = {}
    if result["differences"]:
        text = "Difference from training on real images alone, paired by seed"
        changes = {metric: _difference_chart(metric, result, wide=metric == first) for metric in METRIC_NAMES}
        marks = (
            ("▲", "helps"), ("▼", "hurts"), ("■", "equivalent"),
            ("●", "no evidence, or a metric without a verdict"),
        )  # fmt: skip
        blocks += [
            Text(text + (f", with {level} intervals:" if has else ":")),
            Charts([changes[first]], legend=marks, wide=True),
        ]
    more = [chart for metric in others for chart in (arms[metric], changes.get(metric)) if chart]
    when = {"planned": "Before training", "observed": "Afterwards"}
    power = [f"{when[name]}: {announcement(record)}" for name, record in result.get("power", {}).items()]
    blocks += [
        Notes(power, "What gain this study can find"),
        Notes(sentences, f"In words, for {METRIC_NAMES[PRIMARY_METRIC]}"),
        Charts(more, folded=f"The same for {' and '.join(METRIC_NAMES[metric] for metric in others)}"),
        *_study_tables(result),
    ]
    return blocks


def _described(result: Row) -> dict[str, str]:
    """What each arm is trained on; studies of earlier versions tell less."""
    defined, schedules = result.get("definitions") or {}, result.get("schedules") or {}
    return {arm: describe_arm(arm, defined.get(arm), schedules.get(arm, ())) for arm in result["arms"]}


def _shared_limits(result: Row) -> tuple[float, float]:
    """One range for the means of all metrics, with the seeds, intervals and chance in it."""
    rows = result["summary"]
    values = [row[key] for row in rows for key in ("mean", "low", "high") if is_known(row[key])]
    values += [
        cell["metrics"][metric] for cell in result["cells"] for metric in METRIC_NAMES
        if is_known(cell["metrics"][metric])
    ]  # fmt: skip
    values.append(_chance(PRIMARY_METRIC, result) or 0.5)
    return max(0.0, min(values) - 0.03), min(1.0, max(values) + 0.03)


def _chance(metric: str, result: Row) -> float | None:
    """What guessing reaches on average; None where that depends on the shares of the classes."""
    present = sum(n > 0 for n in result["test"]["per_class"].values())
    return {"balanced_accuracy": 1 / max(present, 1), "auroc": 0.5}.get(metric)


def _arm_chart(metric: str, result: Row, limits: tuple[float, float], *, wide: bool) -> Chart:
    entries = []
    for arm in result["arms"]:
        row = find_row(result["summary"], metric, arm=arm)
        cells = sorted(
            (cell for cell in result["cells"] if cell["arm"] == arm), key=lambda cell: cell["seed"]
        )
        entries.append(
            {
                **row, "label": arm, "value": row["mean"],
                "points": [cell["metrics"][metric] for cell in cells if is_known(cell["metrics"][metric])],
                "role": "real" if arm == REFERENCE else "synthetic" if "synthetic" in arm else "neutral",
            }
        )  # fmt: skip
    return figures.intervals(
        METRIC_NAMES[metric], entries, x_label="higher is better", limits=limits,
        chance=_chance(metric, result), width=WIDE if wide else WIDTH,
        shares=metric == PRIMARY_METRIC,
    )  # fmt: skip


def _difference_chart(metric: str, result: Row, *, wide: bool) -> Chart:
    entries = []
    for row in (row for row in result["differences"] if row["metric"] == metric):
        verdict = find_row(result["verdicts"], metric, arm=row["arm"]).get("verdict")
        role = verdict if verdict in ("helps", "hurts") else "neutral"
        entries.append(
            {**row, "label": row["arm"], "value": row["mean"], "role": role, "verdict": verdict or role}
        )
    title = f"{METRIC_NAMES[metric]}, difference from real"
    width = WIDE if wide else WIDTH
    shares = metric == PRIMARY_METRIC
    label = f"{'points; ' if shares else ''}right of the line: better"
    return figures.intervals(title, entries, zero=True, x_label=label, width=width, shares=shares)


def _study_tables(result: Row) -> list[Table]:
    """Means per arm and metric, differences from `real` and of the primary arm, and recall per class.

    Metrics have three decimals, so that rows are easy to compare.
    """
    interval = ", with interval" if has_intervals(result["summary"]) else ""

    def table(part: str, head: str, caption: str, cell: Callable[[Row], str]) -> Table:
        key = "against" if part == "comparisons" else "arm"
        rows = [
            {head: name}
            | {
                title: cell(find_row(result[part], metric, **{key: name}))
                for metric, title in METRIC_NAMES.items()
            }
            for name in dict.fromkeys(row[key] for row in result[part])
        ]
        return Table(rows, caption, folded=True)

    def difference(row: Row) -> str:
        return _mean(row, "+.3f")

    def judged(row: Row) -> str:
        return f"{difference(row)}\n{_verdict(result, row)}".strip()

    primary = next((row["arm"] for row in result["comparisons"]), "")
    return [
        table("summary", "arm", f"Mean over seeds{interval}", lambda row: _mean(row, ".3f")),
        table("differences", "arm", f"Difference from real{interval}, p and verdict", judged),
        table("comparisons", "against", f"Difference of {primary} from the other arms{interval}", difference),
        _recall_table(result),
    ]


def _verdict(result: Row, row: Row) -> str:
    """The verdict and the p-value, the one adjusted for the number of arms where there is one."""
    verdict = find_row(result["verdicts"], row["metric"], arm=row["arm"]).get("verdict")
    adjusted = row.get("p_holm")
    p = row["p"] if adjusted is None else adjusted
    chance = "" if not is_known(p) else "p < 0.001" if p < 0.001 else f"p = {number(p, 2)}"
    said = f"{_MARKS[verdict]} {verdict}" if verdict else ""
    return ", ".join(filter(None, [said, chance + (" (Holm)" if adjusted is not None else "")]))


def _recall_table(result: Row) -> Table:
    """Mean recall over seeds per class and arm: it shows a gain for one class at the cost of another."""
    recalls = [cell["metrics"]["recall"] for cell in result["cells"]]
    arms = [cell["arm"] for cell in result["cells"]]
    means = pd.DataFrame(recalls, index=arms, dtype=float).groupby(level=0).mean()
    rows = [
        {"class": name, **means[name][result["arms"]], "n test": n}
        for name, n in result["test"]["per_class"].items()
    ]
    return Table(rows, "Recall per class, mean over seeds", folded=True)
