"""Sections on whether the images are told from real ones, and whether their labels fit."""

from __future__ import annotations

from plenish.metrics.likeness_words import (
    describe_accuracy_score,
    describe_labels,
    describe_told_apart,
    shown_number,
)
from plenish.metrics.words import interval
from plenish.report import pictures
from plenish.report.inputs import ReportInputs
from plenish.report.page import Block, Facts, Pictures, Section, Table, Text


def told_apart(inputs: ReportInputs) -> Section | None:
    """The classifier two-sample test, with the pictures it is surest of."""
    found = inputs.score and inputs.score["told_apart"]
    if not found:
        return None
    kind = inputs.kind
    what = f"Above: {kind} images that the classifier is surest are not real; below: those it takes for real"
    panel = inputs.score_path and pictures.from_file(
        inputs.score_path / found["panel"], what, f"{what}.", widest=1400
    )
    numbers = found["n"]
    how = (
        f"Trained on {numbers['train']:,} real training images and one half of the {kind} images, scored on "
        f"the {numbers['test']:,} real test images and the other half; the same for the other half, and "
        "averaged. They are told where the interval lies above 0.5. For the real images in their place, the "
        "groups of train are parted in three, by one draw. What tells them apart may be visible or not: look "
        "at the pictures."
    )
    blocks: list[Block] = [Pictures([panel] if panel else [], wide=True), Text(how)]
    return Section("told-apart", "Can they be told from real ones?", blocks, lead=describe_told_apart(found))


def labels(inputs: ReportInputs) -> Section | None:
    """Agreement of a linear classifier with the labels, by class, and what it learns from the images."""
    found = inputs.score and inputs.score["labels"]
    if not found:
        return None
    kind, parts = inputs.kind, list(found["agreement"])
    titles = {"synthetic": kind} | {part: f"real {part}" for part in parts if part != "synthetic"}
    every = {"class": "all, mean", **{titles[part]: shown_number(found["agreement"][part]) for part in parts}}
    rows = [every] + [
        {"class": row["name"], **{titles[part]: shown_number(row[part]) for part in parts}}
        for row in found["classes"]
    ]
    table = Table(rows, "Share of images whose label the classifier predicts", words=list(titles.values()))
    facts = {
        f"IS(domain) of {titles[part]} images": interval(score, ".2f") for part, score in found["is"].items()
    }
    blocks = [
        table,
        Text(describe_accuracy_score(found["cas"], kind)),
        Facts(facts, "Inception score of the linear classifier", folded=True),
    ]
    return Section("labels", "Do their labels fit?", blocks, lead=describe_labels(found, kind))
