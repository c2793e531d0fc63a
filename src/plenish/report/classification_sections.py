"""Sections that show how well a classifier's predictions fit: metrics, confusion, calibration, decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from plenish.metrics.words import fixed, interval, percent
from plenish.report import figures
from plenish.report.page import Charts, Section, Table, Text
from plenish.wording import plural

Row = Mapping[str, Any]
_NAMES = {
    "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1", "auroc": "AUROC", "pr_auc": "PR-AUC",
    "sensitivity": "sensitivity", "ece": "calibration error (ECE)",
    "ece_calibrated": "calibration error, calibrated", "accuracy": "accuracy",
}  # fmt: skip
_PER_CLASS = {
    "precision": "precision", "recall": "recall", "f1": "F1", "auroc": "AUROC", "pr_auc": "PR-AUC",
    "sensitivity": "sensitivity",
}  # fmt: skip
_MOST_CURVES = 3
"""Decision curves of more classes are those of the most frequent ones."""


def measured_sections(found: Row, of: str) -> list[Section]:
    """How well predictions fit.

    Args:
        found: what `metrics.classification_intervals.measure` returns.
        of: what was predicted, such as "test images".
    """
    return [_scores(found, of), _confusion(found), _calibration(found), _decisions(found)]


def _scores(found: Row, of: str) -> Section:
    at = f"sensitivity at {percent(found['specificity'], '.0f')} specificity"
    groups = f" of {plural(found['groups'], 'group')}" if found["groups"] else ""
    level = percent(found["level"], ".0f")
    over = "tags" if found["kind"] == "multilabel" else "classes"
    rows = [
        {"metric": at if name == "sensitivity" else title, "value": interval(found["metrics"][name], ".3f")}
        for name, title in _NAMES.items() if name in found["metrics"]
    ]  # fmt: skip
    by_class = [
        {over: name, "n": row["n"]} | {title: interval(row[key], ".3f") for key, title in _PER_CLASS.items()}
        for name, row in found["per_class"].items()
    ]
    lead = f"{found['n']:,} {of}{groups}. Intervals of {level}, by resampling " + (
        "groups, whose images stay together." if groups else "images."
    )
    note = f"AUROC, PR-AUC and sensitivity are means over the {over}, each against the rest."
    if over == "classes" and len(by_class) == 2:
        note = f"AUROC, PR-AUC and sensitivity are those of {by_class[1][over]}."
    tables = [Table(rows, note, words=["value"]), Table(by_class, "By class")]
    return Section("scores", "How good is it?", tables, lead=lead)


def _confusion(found: Row) -> Section:
    names, counts = list(found["per_class"]), np.array(found["confusion"], float)
    if found["kind"] == "multilabel":
        rows = [
            {"tag": name, "present and found": int(c[1, 1]), "present, not found": int(c[1, 0]),
             "absent, found": int(c[0, 1]), "absent and not found": int(c[0, 0])}
            for name, c in zip(names, counts, strict=True)
        ]  # fmt: skip
        return Section("confusion", "What is taken for what", [Table(rows)])
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = 100 * counts / counts.sum(axis=1, keepdims=True)
    charts = [
        figures.matrix(
            "Share of each class's images, %", names, np.round(shares, 1), x_label="predicted",
            y_label="images of", caption="Rows add up to 100.",
        ),
        figures.matrix(
            "Numbers of images", names, counts, x_label="predicted", y_label="images of",
            caption="Shades compare within a row.",
        ),
    ]  # fmt: skip
    return Section("confusion", "What is taken for what", [Charts(charts)])


def _calibration(found: Row) -> Section:
    bins = found["reliability"]
    x, y = ([row[key] for row in bins] for key in ("confidence", "right"))
    chart = figures.curves(
        "Right answers by confidence", {"predictions": (x, y), "as it should be": ([0, 1], [0, 1])},
        x_label="mean confidence of a bin", limits=(-0.03, 1.03), markers=True,
        caption="Below the line the classifier is surer than it should be.",
    )  # fmt: skip
    rows = [
        {"confidence": fixed(row["confidence"], ".3f"), "right": fixed(row["right"], ".3f"), "n": row["n"]}
        for row in bins
    ]
    return Section(
        "calibration", "Do the probabilities hold?", [Charts([chart]), Table(rows, "By bin", folded=True)]
    )


def _decisions(found: Row) -> Section:
    curves = sorted(found["decision"], key=lambda row: -found["per_class"][row["class"]]["n"])
    charts = []
    for curve in curves[:_MOST_CURVES]:
        at = np.array(curve["thresholds"])
        benefit = np.array([row["value"] for row in curve["net_benefit"]], float)
        everyone = np.array(curve["all"], float)
        floor = min(-0.05, float(benefit.min()))
        shown = everyone >= floor
        charts.append(
            figures.curves(
                f"Net benefit of acting on {curve['class']}",
                {"by the classifier": (at, benefit), "on everyone": (at[shown], everyone[shown])},
                x_label="probability from which on one would act", level=0.0,
                caption="Dotted: acting on no one.",
            )
        )  # fmt: skip
    rows = [
        {"class": curve["class"], "from": fixed(t, ".2f"), "net benefit": interval(row, ".3f"),
         "on everyone": fixed(every, ".3f")}
        for curve in curves
        for t, row, every in zip(curve["thresholds"], curve["net_benefit"], curve["all"], strict=True)
    ]  # fmt: skip
    text = Text(
        "Net benefit is hits minus false alarms, per image, a false alarm at the price that the probability "
        "from which on one acts puts on it. A classifier is useful where its curve is the highest."
    )
    return Section(
        "decisions",
        "Is it of use for decisions?",
        [Charts(charts), text, Table(rows, "With intervals", folded=True)],
    )
