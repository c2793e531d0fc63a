"""The section on copies: the search, what it can see, patients, and measures of nearness on average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plenish.metrics.words import (
    describe_copies,
    describe_planted,
    describe_reidentification,
    fixed,
    interval,
    number,
    percent,
)
from plenish.report import figures, pictures
from plenish.report.headline import of_better
from plenish.report.inputs import ReportInputs
from plenish.report.page import Block, Charts, Facts, Notes, Pictures, Section, Table, Text
from plenish.wording import plural

_MOST_SUSPECTS = 10
_CLOSER = {"lower": "a lower value", "higher": "a higher value"}


def copies(inputs: ReportInputs) -> Section | None:
    """The search for copies: its result, the distances, the closest pairs, and what else is measured."""
    if inputs.score is None:
        return None
    doubt = of_better("search", inputs.quality)
    found, kind, extractor = inputs.score["copies"], inputs.kind, inputs.score["extractor"]["name"]
    histogram = found["histogram"]
    counts = {"held-out real to train": histogram["holdout"], f"{kind} to train": histogram["synthetic"]}
    chart = figures.histogram(
        "Distance to the nearest training image", histogram["edges"], counts, threshold=found["threshold"],
        x_label="relative distance (left of the threshold: suspicious)",
    )  # fmt: skip
    distance = (
        f"Distance: to the nearest training image, relative to the mean of the nearest {found['neighbours']} "
        "and scaled so that 1 is the median of held-out images and 0.9 their first decile; the smallest one "
        f"of pixels (16×16, contrast normalised, 8 flips and turns), of {extractor} features, and of pixels "
        "as crops and shifts of each other."
    )
    share = f"{fixed(100 * found['low'], '.1f')} to {percent(found['high'])}"
    facts = {
        "Suspected": f"{found['n_suspect']:,} of {found['n']:,}",
        "Share": f"{percent(found['share_suspect'])} ({share})",
        "Expected by chance": percent(found["expected_share"]),
        "Identical to a training image": f"{found['n_identical']:,}",
        "Nearer than chance explains": f"{found['n_beyond']:,}",
        f"Median distance, {kind} to train": number(found["median_synthetic"]),
        "Median distance, held-out real to train": number(found["median_holdout"]),
        "Threshold": number(found["threshold"]),
        "Held-out images": f"{found['n_holdout']:,} in {plural(found['n_groups'], 'group')}"
        if found["n_groups"] < found["n_holdout"]
        else f"{found['n_holdout']:,}",
    }
    pairs = f"The closest pairs: {kind} images with their nearest training images"
    panel = inputs.score_path and pictures.from_file(inputs.score_path / found["panel"], pairs, f"{pairs}.")
    rows = [
        {
            f"{kind} image": pair["synthetic_id"], "nearest training image": pair["train_id"],
            "distance": pair["distance"], "percentile of held-out": pair["percentile"],
        }
        for pair in found["suspects"][:_MOST_SUSPECTS]
    ]  # fmt: skip
    title = "Do they copy?" if kind == "synthetic" else "How close do they come to training images?"
    blocks = [
        Charts([chart], wide=True), Text(distance), Facts(facts),
        Pictures([panel] if panel else [], wide=True),
        Table(rows, "The closest pairs", words=["nearest training image"]), *_more(found),
    ]  # fmt: skip
    return Section("copies", title, blocks, lead=describe_copies(found) + doubt)


def _more(found: Mapping[str, Any]) -> list[Block]:
    """What the search can see, patients, and the measures; the details are folded."""
    said = [describe_planted(found["planted"]), describe_reidentification(found["reidentification"])]
    seen = {row["kind"]: f"{row['noticed']} of {row['planted']}" for row in found["planted"]}
    columns = ("value", "expected", "nearer if")
    measures = [
        {
            "measure": f"{row['name']}, {row['space']}",
            **dict(zip(columns, [
                interval(row), number(row["expected"]),
                _CLOSER[row["closer"]],
            ], strict=True)),
        }
        for row in found["measures"]
    ]  # fmt: skip
    return [
        Notes([text for text in said if text], "What the search can see"),
        Facts(seen, "Altered training images that would be noticed alone", folded=True),
        Table(measures, "Nearness to training images on average", words=columns, folded=True),
    ]
