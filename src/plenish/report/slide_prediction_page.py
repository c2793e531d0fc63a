"""The page of what `plenish predict` found on whole slides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish import files
from plenish.metrics.words import number, percent
from plenish.report import pictures
from plenish.report.page import Facts, Notes, Pictures, Section, Table, Text, render_page
from plenish.slides.remarks import of_slides
from plenish.wording import plural

MOST_ROWS = 200
_MOST_DRAWN = 12
"""Slides whose maps are shown; each has a picture for every class."""
_MAPPED = (
    "Colours are the calibrated probability of the class, from 0 to 1, tile by tile; the outline is the "
    "tissue that was found. A high probability says what the classifier answers, not that it is right there."
)


def write_slides_page(folder: Path, content: Mapping[str, Any]) -> Path:
    """Write report.html of what `plenish predict` found on slides into its folder."""
    slides = content["slides"]
    sections = [
        _answers(content), _maps(folder, content), _limits(content), _cut(content), made_section(content),
    ]  # fmt: skip
    html = render_page(
        f"Predictions for {content['given']['name']}",
        f"{plural(len(slides), 'slide')} · {plural(content['tiles'], 'tile')} · "
        f"{plural(len(content['runs']), 'classifier')}",
        [section for section in sections if section], [], phantom=content["phantom"],
    )  # fmt: skip
    files.write_text(folder / "report.html", html)
    return folder / "report.html"


def _answers(content: Mapping[str, Any]) -> Section:
    rows = [_row(one, content) for one in content["slides"][:MOST_ROWS]]
    lead = (
        "A slide's answer is the class with the largest mean probability over its tiles; a class that "
        "covers a small part of it does not decide it, and is seen in its share of tiles and its map."
    )
    if content["labels"] == "multilabel":
        lead = "A slide has the tags whose mean probability over its tiles is one half or more."
    if content["calibrated"]:
        lead += (
            " Probabilities are calibrated on val tiles of the training: one by one, not for whole slides, "
            "so that a slide's mean is no probability that its answer is right."
        )
    caption = f"One row a slide; {content['table']} has all, and tiles/ every tile with its place."
    blocks: list[Any] = [Table(rows, caption, words=["answer"])]
    if found := content.get("abstention"):
        blocks.append(
            Text(
                f"Tiles with a confidence below {number(found['threshold'])} are not answered; a slide is "
                "left to a person where that is most of its tiles. Chosen on "
                f"{plural(found['images'], 'val tile')}, of which {percent(found['coverage'])} are answered, "
                f"{percent(found['risk'])} of these wrongly."
            )
        )
    return Section("answers", "What is predicted", blocks, lead=lead)


def _row(one: Mapping[str, Any], content: Mapping[str, Any]) -> dict[str, str | float | None]:
    predicted = one["predicted"]
    answer = ", ".join(predicted) or "none" if isinstance(predicted, list) else str(predicted)
    row: dict[str, str | float | None] = {
        "slide": one["slide"], "answer": f"{answer}, left to a person" if one.get("abstained") else answer,
    }  # fmt: skip
    row |= {f"mean probability of {name}": f"{one['mean'][name]:.3f}" for name in content["classes"]}
    row |= {f"tiles {name}": percent(one["share"][name]) for name in content["classes"]}
    if "abstained_share" in one:
        row["tiles not answered"] = percent(one["abstained_share"])
    return row | {"tiles": one["tiles"]}


def _maps(folder: Path, content: Mapping[str, Any]) -> Section | None:
    shown = []
    for one in content["slides"][:_MOST_DRAWN]:
        for name, file in one["heatmaps"].items():
            caption = f"{one['slide']}: {name}"
            picture = pictures.from_file(folder / file, f"{caption}, probability by tile", caption)
            shown += [picture] if picture else []
    if not shown:
        return None
    more = len(content["slides"]) - _MOST_DRAWN
    lead = f"{_MAPPED} The other {plural(more, 'slide')}: see heatmaps/." if more > 0 else _MAPPED
    return Section("maps", "Where on the slide", [Pictures(shown, large=True)], lead=lead)


def _limits(content: Mapping[str, Any]) -> Section:
    return Section("limits", "What limits this", [Notes(of_slides(content["slides"])[:MOST_ROWS])])


def _cut(content: Mapping[str, Any]) -> Section:
    first = content["slides"][0]
    facts = {
        "size of a tile, pixels": first["tile_px"], "µm per pixel": first["mpp"],
        "level of the slide": first["level"], "stain": first["stain"],
        "tiles that could not be read": sum(one["left_out"] for one in content["slides"]),
    }  # fmt: skip
    lead = "Only places with tissue, as in training."
    return Section("tiles", "How tiles were cut", [Facts(facts)], lead=lead)


def made_section(content: Mapping[str, Any]) -> Section:
    """The classifiers, and what was left out."""
    rows = [
        {
            "Run": row["run"], "classifier": row["classifier"], "weight": number(row["weight"]),
            "temperature": number(row["temperature"]), "orientations": row["orientations"],
        }
        for row in content["runs"]
    ]  # fmt: skip
    blocks: list[Any] = [Table(rows, words=["classifier", "orientations"])]
    if rejected := content["rejected"]:
        blocks.append(
            Table([dict(row) for row in rejected[:MOST_ROWS]], "Left out", words=["reason", "kind"])
        )
    return Section("made", "How it was made", blocks)
