"""Sections on what a study may have besides: several generators, a dose curve, another Dataset, attacks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plenish.metrics.caveats import describe
from plenish.metrics.words import percent, with_interval
from plenish.report import figures
from plenish.report.chart_canvas import WIDE, Chart
from plenish.report.inputs import ReportInputs
from plenish.report.page import Charts, Notes, Section, Table, Text
from plenish.report.results import study_blocks
from plenish.study.arms import REFERENCE
from plenish.study.summaries import generator_rows, robust_row, robust_verdicts
from plenish.study.verdicts import (
    METRIC_NAMES,
    PRIMARY_METRIC,
    ROBUST_METRIC,
    ROBUST_NAMES,
    find_row,
    radius,
    study_verdict,
)
from plenish.study.ways import accuracies, side_by_side
from plenish.wording import plural


def generators(inputs: ReportInputs) -> Section | None:
    """How good each generator's images are, and then how useful."""
    study = inputs.study
    if study is None or len(study.get("generators") or ()) < 2:
        return None
    rows = generator_rows(study)
    words = [name for name in rows[0] if name != "kimg"]
    if any(record["source"] for record in study["generators"]):
        title = "Which generator is the most useful?"
        lead = (
            "How good the images of each are comes first: what is said of an undertrained generator says "
            "little about a better one. Then follows what its images do for the classifier when added."
        )
    else:
        title = "The generators of the folds"
        lead = "Each fold has a generator of its own, trained on its train part alone."
    return Section("generators", title, [Table(rows, words=words)], lead=lead)


def doses(inputs: ReportInputs) -> Section | None:
    """The dose curve of each generator."""
    study = inputs.study
    points = (study or {}).get("dose_curve")
    if study is None or not points:
        return None
    metric = METRIC_NAMES[PRIMARY_METRIC]
    series: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        row = find_row(study["differences"], arm=point["arm"])
        values = {"dose": point["dose"], "value": row["mean"], "low": row["low"], "high": row["high"]}
        none = {"dose": 0.0, "value": 0.0, "low": None, "high": None}
        series.setdefault(point["source"] or "real+synthetic", [none]).append(values)
    chart = figures.responses(
        f"{metric}, difference from real", series, x_label="synthetic images for each real one",
        y_label="above 0: better",
    )  # fmt: skip
    rows = [
        {
            **({"generator": point["source"]} if point["source"] else {}), "arm": point["arm"],
            "dose": point["dose"], "difference from real": _difference(study, point["arm"]),
        }
        for point in points
    ]  # fmt: skip
    lead = (
        f"Real images with more and more synthetic ones: the difference from real images alone, with "
        f"{percent(study['level'], '.0f')} intervals. All arms take equally many steps, so that a higher "
        "dose also means that each real image is seen less often."
    )
    table = Table(rows, "The same as a table", words=["arm", "difference from real"], folded=True)
    return Section("doses", "How many synthetic images?", [Charts([chart], wide=True), table], lead=lead)


def _difference(study: Mapping[str, Any], arm: str) -> str:
    row = find_row(study["differences"], arm=arm)
    return with_interval(row["mean"], row["low"], row["high"], "+.3f")


def elsewhere(inputs: ReportInputs) -> Section | None:
    """The same classifiers on another Dataset, with a verdict of its own."""
    study = inputs.study
    if study is None or not study.get("external"):
        return None
    external = study["external"]
    if external.get("generated"):
        return _on_generated(study)
    result = {**study, **external}
    groups = external["test"]["groups"]
    lead = f"Tested on all {plural(external['test']['n'], 'image')} of {external['name']}"
    lead += f" from {plural(groups, 'group')}" if groups else ""
    lead += ", another Dataset, of which nothing was trained on or selected by."
    blocks = [Text(study_verdict(result)), *study_blocks(result)]
    notes = Notes(describe(external["caveats"]), "What limits this")
    return Section("elsewhere", "Does it hold on another Dataset?", [*blocks, notes], lead=lead)


def _on_generated(study: Mapping[str, Any]) -> Section:
    """The accuracies of each arm on real and on generated images, without a verdict."""
    external, rows = study["external"], []
    for pair in side_by_side(accuracies(study)):
        first = pair["real"]
        row: dict[str, str | float | None] = {
            "trained on": first["trained_on"], "images": first["images"], "seeds": first["seeds"],
        }  # fmt: skip
        for tested_on, one in pair.items():
            shown = with_interval(one["balanced_accuracy"], one["low"], one["high"], ".3f")
            row |= {f"on {tested_on}: balanced accuracy": shown, f"accuracy on {tested_on}": one["accuracy"]}
        rows.append(row)
    lead = (
        f"The same classifiers on the real test images and on {plural(external['test']['n'], 'image')} of "
        f"{external['name']}, generated by a draw that nothing was trained on. There is no verdict here."
    )
    words = ["trained on", "on real: balanced accuracy", "on generated: balanced accuracy"]
    notes = Notes(describe(external["caveats"]), "What limits this")
    return Section(
        "elsewhere", "On real and on generated images", [Table(rows, words=words), notes], lead=lead
    )


def under_attack(inputs: ReportInputs) -> Section | None:
    """What the classifiers of each arm answer under attack, beside their answers to the same images."""
    study = inputs.study
    if study is None or not study.get("robust"):
        return None
    robust, level = study["robust"], percent(study["level"], ".0f")
    lead = (
        f"{plural(robust['test']['n'], 'test image')} were changed by up to {radius(robust['threat'])} "
        f"({', '.join(robust['attacks'])}; {plural(robust['steps'], 'step')}), the same images for all arms. "
        "One counts as right if no attack tried succeeded."
    )
    name = ROBUST_NAMES[ROBUST_METRIC]
    legend = (
        ("●", f"under attack, with {level} interval"), ("◇", "without attack, the same images"),
        ("•", f"single seeds ({len(study['seeds'])}) under attack, below"),
    )  # fmt: skip
    charts = Charts([_robust_chart(study, name)], legend=legend, wide=True)
    rows = [{_COLUMNS[key]: value for key, value in robust_row(study, arm).items()} for arm in study["arms"]]
    words = ["arm", *(_COLUMNS[key] for key in (PRIMARY_METRIC, *ROBUST_NAMES, "against_real", "verdict"))]
    blocks = [
        charts, Notes(robust_verdicts(study), f"In words, for {name}"),
        Table(rows, f"Means over seeds with {level} intervals", words=words),
        _robust_recall(study), Notes(describe(robust["caveats"]), "What limits this"),
    ]  # fmt: skip
    return Section("under-attack", "Do they hold under attack?", blocks, lead=lead)


_COLUMNS = {
    "arm": "arm", PRIMARY_METRIC: "balanced accuracy without attack", **ROBUST_NAMES,
    "against_real": "robust, against real", "verdict": "verdict",
}  # fmt: skip


def _robust_chart(study: Mapping[str, Any], title: str) -> Chart:
    """Robust balanced accuracy of each arm; a diamond for the same images without attack."""
    robust, entries = study["robust"], []
    for arm in study["arms"]:
        row = find_row(robust["summary"], ROBUST_METRIC, arm=arm)
        cells = [cell for cell in robust["cells"] if cell["arm"] == arm]
        entries.append(
            {
                **row, "label": arm, "value": row["mean"],
                "baseline": find_row(robust["summary"], PRIMARY_METRIC, arm=arm)["mean"],
                "points": [cell["metrics"][ROBUST_METRIC] for cell in cells],
                "role": "real" if arm == REFERENCE else "synthetic" if "synthetic" in arm else "neutral",
            }
        )  # fmt: skip
    title = f"{title} at {radius(robust['threat'])}"
    return figures.intervals(
        title, entries, x_label="higher is better", limits=(0.0, 1.0), width=WIDE, shares=True
    )


def _robust_recall(study: Mapping[str, Any]) -> Table:
    """Mean recall of each class under attack: rare classes often fall first."""
    robust, rows = study["robust"], []
    for name, n in robust["test"]["per_class"].items():
        row: dict[str, str | float | None] = {"class": name}
        for arm in study["arms"]:
            cells = [cell["metrics"] for cell in robust["cells"] if cell["arm"] == arm]
            row[arm] = sum(cell["robust_recall"][name] for cell in cells) / len(cells)
        rows.append(row | {"n attacked": n})
    return Table(rows, "Recall per class under attack, mean over seeds", folded=True)
