"""The page `plenish profile` writes, laid out with the report's own template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Dataset
from plenish.report.corpus_sections import look_sections, tag_sections
from plenish.report.distortion_section import distortion_section
from plenish.report.page import Card, Facts, Notes, Pictures, Section, Table, Text, cell, render_page
from plenish.report.pictures import sheet
from plenish.wording import plural

_MOST_SHEETS = 24


def profile_page(content: Mapping[str, Any], dataset: Dataset, rows: Mapping[str, NDArray[np.int64]]) -> str:
    """The HTML page of a profile; every text from outside is escaped.

    Args:
        content: profile.json.
        dataset: the Dataset.
        rows: row numbers to show of each class; the empty name for all images.
    """
    kind = "phantom" if content["phantom"] else "synthetic" if content["synthetic"] else "real"
    sections = [
        _pictures(content, dataset, rows), _counts(content), *tag_sections(content), _pixels(content),
        *look_sections(content, dataset), _leaks(content), _origin(content),
    ]  # fmt: skip
    if content["distortion"]:
        sections.insert(-2, distortion_section(content["distortion"], dataset))
    return render_page(
        f"Profile of {content['name']}",
        f"{content['images']:,} {kind} images · {content['size']}×{content['size']} pixels",
        sections,
        _cards(content),
        phantom=content["phantom"],
        stated_use=dataset.manifest.intended_use,
    )


def _cards(content: Mapping[str, Any]) -> list[Card]:
    groups, repeats, kind = content["groups"], content["duplicates"], content["label_kind"]
    question = "Do the parts leak?"
    if content["problems"]:
        leak = Card(question, "Yes", " ".join(content["problems"]), "bad")
    elif content["split"] is None:
        leak = Card(question, "No split yet", "Make one with 'plenish split' before any model is trained.")
    elif n := content["near_duplicates"]["sets_across_parts"]:
        note = f"{plural(n, 'set')} of near-duplicates in several parts; see Duplicates and leaks."
        leak = Card(question, "Probably", note, "bad")
    elif groups["count"] and not groups["images_without"]:
        leak = Card(question, "No leak found", "No image and no group is in two parts.", "good")
    else:
        leak = Card(question, "No copies found", "Without groups for all images, more cannot be known.")
    counts = [row["images"] for row in content["classes"]]
    each = (
        f"{min(counts):,} to {max(counts):,} images each."
        if len(counts) > 1
        else f"{content['images']:,} images."
    )
    nouns = {"categorical": "class", "multilabel": "tag"}
    other = "No labels" if kind == "none" else "Values"
    what = plural(len(counts), nouns[kind]) if kind in nouns else other
    unlike = repeats["sets_with_different_labels"]
    same = f"{repeats['extra_images']:,} repeats" if repeats["extra_images"] else "None"
    note = "Images whose pixels are exactly those of another one."
    if unlike:
        note = f"{unlike} sets of identical images have different labels."
    tone = "bad" if unlike else "neutral"
    return [leak, Card("What is in it?", what, each), Card("Exact duplicates?", same, note, tone)]


def _pictures(content: Mapping[str, Any], dataset: Dataset, rows: Mapping[str, NDArray[np.int64]]) -> Section:
    """One sheet of images a class, lossless where that is small."""
    sheets = [
        sheet(
            dataset.pixels.read(index), f"Examples: {name or 'all images'}", columns=12, tile=72,
            caption=name or "all images",
        )
        for name, index in list(rows.items())[:_MOST_SHEETS] if len(index)
    ]  # fmt: skip
    lead = "Drawn at random" + (" from train." if content["split"] else ".")
    hidden = len(content["classes"]) - len(sheets)
    more = f"{hidden} more labels are not shown or have no image here." if hidden > 0 else ""
    return Section("examples", "Examples", [Pictures(sheets, wide=True), Text(more)], lead)


def _counts(content: Mapping[str, Any]) -> Section:
    rows, groups = list(content["classes"]), content["groups"]
    total = len(rows) > 1 and content["label_kind"] == "categorical"
    if total:
        first, *columns = rows[0]
        sums = {column: sum(row[column] for row in rows) for column in columns}
        if "groups" in sums:  # A group may hold several classes: groups do not add up.
            sums["groups"] = groups["count"]
        rows.append({first: "all", **sums})
    facts = {"Groups": groups["count"], "Images without a group": groups["images_without"]}
    if groups["count"]:
        each = f"{groups['smallest']} to {groups['largest']}, median {groups['median']:g}"
        facts["Images a group"] = each
    facts |= {f"Groups in {part}": n for part, n in groups.get("in_part", {}).items()}
    blocks = [Table(rows, last_is_total=total), _facts(facts), Notes(content["remarks"], "Remarks")]
    return Section("counts", "Counts", blocks)


def _pixels(content: Mapping[str, Any]) -> Section:
    channels = content["channels"]
    names = ["grey"] if len(channels["mean"]) == 1 else ["red", "green", "blue"]
    rows = [
        {"channel": name, "mean": f"{mean:.2f}", "std": f"{std:.2f}"}
        for name, mean, std in zip(names, channels["mean"], channels["std"])
    ]
    facts = {
        "Width and height": f"{content['size']} pixels", "Channels": content["channels_count"],
        "Uncompressed": f"{content['megabytes']:,.1f} MB",
    }  # fmt: skip
    over = f"{channels['of']} ({channels['images']:,} images)"
    lead = f"Channel statistics over all pixels of {over}, in grey levels of 255."
    return Section("pixels", "Pixels", [Table(rows), _facts(facts)], lead)


def _leaks(content: Mapping[str, Any]) -> Section:
    repeats, leaks = content["duplicates"], content["straddling_groups"]
    near, alike = content["near_duplicates"], content["alike_groups"]
    facts = {
        "Sets of identical images": repeats["sets"],
        "of these in more than one part": repeats["sets_across_parts"],
        "of these with different labels": repeats["sets_with_different_labels"],
        "Groups in more than one part": leaks["count"],
        "Sets of near-duplicates": near["sets"],
        "images in these": near["images"],
        "of these sets in more than one part": near["sets_across_parts"],
        "of these sets with different labels": near["sets_with_different_labels"],
        "Sets of groups with similar names": alike["sets"],
    }
    repeated, similar = (
        [
            {
                name: ", ".join(one["ids"]), "images": one["images"],
                "parts": ", ".join(one["parts"]).strip(", ") or "–",
            }
            for one in found["examples"]
        ]
        for name, found in (("identical images", repeats), ("near-duplicates", near))
    )  # fmt: skip
    named = [
        {"groups": ", ".join(f"'{name}'" for name in one["groups"]), "parts": ", ".join(one["parts"]) or "–"}
        for one in alike["examples"]
    ]
    leaking = [{"group": one["group"], "parts": ", ".join(one["parts"])} for one in leaks["examples"]]
    blocks = [
        *map(Text, content["problems"]), _facts(facts),
        Table(repeated, "Identical images", words=["parts"], folded=True),
        Table(similar, "Near-duplicates", words=["parts"], folded=True),
        Table(named, "Groups with similar names", words=["parts"], folded=True),
        Table(leaking, "Groups in more than one part", words=["parts"], folded=True),
    ]  # fmt: skip
    return Section("leaks", "Duplicates and leaks", blocks)


def _origin(content: Mapping[str, Any]) -> Section:
    facts = {
        "Licence": content["licence"] or "not stated", "Source": content["source"] or "not stated",
        "Columns": ", ".join(content["columns"]), "Pixels' hash": content["pixels_hash"],
    }  # fmt: skip
    if left := content["opt_out"]:
        facts["Opted out"] = (
            f"{plural(left['images'], 'image')} left out at import ({left['by_artist']:,} by artist, "
            f"{left['by_id']:,} by id), by a list of {left['entries']:,}"
        )
    if licences := content["rights"].get("licences"):
        facts["Licences"] = ", ".join(f"{name} ({count:,})" for name, count in licences.items())
    if artists := content["rights"].get("artists"):
        facts["Artists"] = artists
    if content["generator"]:
        facts["Generator"] = content["generator"]
    if split := content["split"]:
        facts["Split"] = f"{split['name']}, {split['hash'][:16]}"
        facts["Readings of test so far"] = split["test_reads"]
    return Section("origin", "Origin", [_facts(facts)])


def _facts(facts: Mapping[str, str | int]) -> Facts:
    """Facts whose numbers are counts."""
    return Facts({name: cell(value) for name, value in facts.items()})
