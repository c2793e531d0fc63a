"""The page `plenish filter` writes: what was dropped, and what that does to variety and usefulness."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.metrics.caveats import describe
from plenish.metrics.filter import FilterConfig, Filtered, dropped_rows, effect_rows, remarks
from plenish.metrics.filtering import filter_dataset
from plenish.metrics.words import number, percent
from plenish.report.page import Card, Facts, Notes, Pictures, Section, Table, Text, render_page
from plenish.report.pictures import sheet
from plenish.wording import plural

_WORDS = {
    "copies": "suspiciously close to one training image", "low-density": "far from all real training images",
    "low-label-agreement": "the label asked for is not seen in them",
}  # fmt: skip


def filter_with_page(synthetic: Path, out: Path, config: FilterConfig, real: Path | None) -> Filtered:
    """`metrics.filtering.filter_dataset`, with its page beside filter.json."""
    result = filter_dataset(synthetic, out, config, real)
    page = out / "filter.html"
    files.write_text(page, filter_page(result.content, Dataset.open(synthetic)))
    return dataclasses.replace(result, report=page)


def filter_page(content: Mapping[str, Any], source: Dataset) -> str:
    """The HTML page.

    Args:
        content: filter.json.
        source: the synthetic Dataset that was filtered.
    """
    sheets = [
        sheet(
            source.pixels.read(np.asarray(rows, np.int64)), f"Dropped: {rule}", columns=12, tile=72,
            caption=f"{rule}: {_WORDS[rule]}",
        )
        for rule, rows in content["examples"].items() if rows
    ]  # fmt: skip
    dropped, effect = dropped_rows(content), effect_rows(content)
    real = content["real"]
    how = Text(
        "Copies are dropped by the threshold of 'plenish score'. The thresholds of other rules are such that "
        f"at least {percent(content['pass_rate'], '.0f')} of real val images pass each, by class for labels: "
        f"{plural(real['n_val'], 'val image')} of {plural(real['groups_val'], 'group')} calibrate them."
    )
    limits = [
        *remarks(content), *describe(content["caveats"]),
        "Val images calibrate the thresholds and measure the effect, so the effect is a little too good; the "
        "test part was not used.",
        "The classifier of the last line is linear, on domain features: 'plenish study' trains the network "
        "that will be used.",
    ]  # fmt: skip
    lead = (
        f"Against real val images, with {percent(content['level'], '.0f')} intervals. A smaller set covers "
        "less whatever was dropped: compare 'after' with 'as many at random'. 'real' is as many real "
        "training images."
    )
    sections = [
        Section("dropped", "What was dropped", [Table(dropped, words=list(dropped[0])[1:]), how]),
        Section(
            "effect", "What it does to variety and usefulness",
            [Table(effect, words=list(effect[0])[1:])] if effect else [], lead if effect else "",
        ),
        Section(
            "examples", "Dropped images", [Pictures(sheets, wide=True)], "The clearest cases of each rule."
        ),
        Section("limits", "Limits", [Notes(limits)]),
        Section("origin", "Origin", [Facts({
            "Filtered": content["synthetic"]["name"], "Its hash": content["synthetic"]["pixels_hash"],
            "Real images": real["name"], "Split": f"{real['split']}, {real['split_hash'][:16]}",
        })]),
    ]  # fmt: skip
    return render_page(
        f"Filter of {content['synthetic']['name']}",
        f"{content['kept']:,} of {content['n']:,} images are left",
        sections, _cards(content), phantom=bool(source.manifest.extra.get("phantom")),
        stated_use=source.manifest.intended_use,
    )  # fmt: skip


def _cards(content: Mapping[str, Any]) -> list[Card]:
    n, kept = content["n"], content["kept"]
    by = ", ".join(
        f"{row['rule']} {row['dropped']:,}" for row in content["dropped"]
        if row["class"] == "all" and row["rule"] != "any"
    )  # fmt: skip
    cards = [Card("How many were dropped?", percent((n - kept) / n), f"By rule: {by}.")]
    measures = {row["name"].partition(" on ")[0]: row for row in content["effect"]}
    for name, question in (("coverage", "And variety?"), ("balanced accuracy", "And usefulness?")):
        if row := measures.get(name):
            before, after, chance = (number(row[side]["value"]) for side in ("before", "after", "random"))
            text = f"{name.capitalize()} {before} before and {after} after; of as many at random, {chance}."
            cards.append(Card(question, f"{before} → {after}", text))
    return cards
