"""The page of a slide whose tiles were turned: its answer by the number of tiles, and what limits that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plenish import files
from plenish.latent.counterfactual_options import CounterfactualOptions, SlideTurnOptions, ToInvert
from plenish.latent.edit_options import PointOptions
from plenish.latent.render import FilmOptions
from plenish.latent.slide_counterfactual import SlideCounterfactualEdit, slide_counterfactual
from plenish.latent.space import LatentSpace
from plenish.metrics.caveats import describe
from plenish.metrics.words import number, percent
from plenish.report import pictures
from plenish.report.page import Card, Code, Facts, Notes, Pictures, Section, Table, render_page
from plenish.slides.remarks import of_slides
from plenish.wording import plural

_ROWS = 200


def turned_with_page(
    space: LatentSpace, slides: Sequence[Path], classifiers: Sequence[Path], out: Path,
    how: CounterfactualOptions, turn: SlideTurnOptions, which: PointOptions, inversion: ToInvert,
    shown: FilmOptions,
) -> SlideCounterfactualEdit:  # fmt: skip
    """What `slide_counterfactual` finds, with report.html in its folder."""
    made = slide_counterfactual(space, slides, classifiers, out, how, turn, which, inversion, shown)
    phantom = bool(space.loaded.run.status.get("phantom"))
    files.write_text(out / "report.html", page(out, made.facts, phantom=phantom))
    return made


def page(folder: Path, facts: Mapping[str, Any], *, phantom: bool) -> str:
    """The page.

    Args:
        folder: the edit's folder, whose pictures are shown.
        facts: its record.
        phantom: whether the generator was trained on images drawn by a program.
    """
    result = facts["result"]
    slide = result["slide"]
    notes = describe(slide["limits"]) + of_slides([slide])
    sections = [
        Section("limits", "What this cannot show", [Notes(notes)]),
        _curve(folder, slide), _maps(folder, slide), _tiles(folder, facts), _else(result), _made(facts),
    ]  # fmt: skip
    return render_page(
        f"{slide['slide']}, turned to {slide['to']}",
        f"{plural(slide['turned'], 'tile')} turned of {slide['tiles']:,} · answer {slide['answer']} before, "
        f"{slide['answer_after']} after",
        sections, [_card(slide)], phantom=phantom,
    )  # fmt: skip


def _card(slide: Mapping[str, Any]) -> Card:
    to, at, alone = slide["to"], slide["turned_with"], slide["turned_by_inversion_with"]
    before, after = (slide["mean"][key][to] for key in ("before", "after"))
    if at is None:
        answer = f"no, not with {plural(slide['turned'], 'tile')}"
    else:
        answer = f"yes, with {plural(at, 'tile')} ({percent(at / slide['tiles'])} of the slide)"
    sentence = f"The slide's mean probability of {to} went from {number(before)} to {number(after)}."
    if alone is not None:
        sentence += (
            f" The inversions of {plural(alone, 'tile')} alone would turn it too: that is the generator's "
            "loss, not the change."
        )
    return Card("Does the slide's answer turn?", answer, sentence)


def _curve(folder: Path, slide: Mapping[str, Any]) -> Section:
    to = slide["to"]
    rows = [
        {
            "tiles turned": row["tiles"], f"mean of {to}": f"{row[f'mean_{to}']:.3f}",
            f"mean of {to}, inverted alone": f"{row['inverted_only']:.3f}",
            "answer turned": "yes" if row["turned"] else "no",
        }
        for row in slide["curve"][:_ROWS]
    ]  # fmt: skip
    picture = pictures.from_file(
        folder / slide["files"]["curve"], f"Mean probability of {to} by the number of tiles turned"
    )
    lead = (
        "Tiles are turned in the order in which they decide the answer; the other tiles stay as they are. "
        "The dotted line is the control: the same tiles replaced by their inversions, without the change."
    )
    blocks = [
        Pictures([picture] if picture else [], wide=True),
        Table(rows, "slide-curve.csv has all classes.", words=["answer turned"], folded=True),
    ]  # fmt: skip
    return Section("curve", "How the answer moves", blocks, lead=lead)


def _maps(folder: Path, slide: Mapping[str, Any]) -> Section:
    shown = []
    for when in ("before", "after"):
        caption = f"{when}: probability of {slide['to']}"
        picture = pictures.from_file(folder / slide["files"][when], caption, caption)
        shown += [picture] if picture else []
    lead = "Colours are the calibrated probability tile by tile; framed tiles are those that were turned."
    return Section("maps", "Where on the slide", [Pictures(shown, large=True)], lead=lead)


def _tiles(folder: Path, facts: Mapping[str, Any]) -> Section:
    picture = pictures.from_file(
        folder / facts["files"]["picture"], "Tiles, their inversions, the turned images and the differences"
    )
    lead = (
        "The first tiles: as they are, as the generator draws them, turned, and the amplified difference "
        "between these two. changes.csv has every tile."
    )
    return Section(
        "tiles", "What was changed", [Pictures([picture] if picture else [], wide=True)], lead=lead
    )


def _else(result: Mapping[str, Any]) -> Section:
    columns = list(dict.fromkeys(key for row in result["what_else"] for key in row))
    rows = [
        {key: row.get(key) if key == "what" else number(row[key]) if key in row else "–" for key in columns}
        for row in result["what_else"]
    ]  # fmt: skip
    lead = "Between a tile's inversion and the turned image; kept is a share of the tiles."
    return Section("else", "What else changed", [Table(rows)], lead=lead)


def _made(facts: Mapping[str, Any]) -> Section:
    result = facts["result"]
    slide, by = result["slide"], result["classifier"]
    runs = by.get("mixed", [by])
    known = {
        "slide": slide["source"], "generator": facts["generator"]["run"],
        "checkpoint": facts["generator"]["checkpoint"],
        "classifiers": ", ".join(row["run"] for row in runs),
        "confidence asked of a tile": result["confidence"],
        "tiles tried": slide["tried"], "tiles turned": slide["turned"],
        "of the class by inversion alone": len(result["already"]),
        "how tiles are turned": slide["turn"], "size of a tile, pixels": slide["tile_px"],
        "µm per pixel": slide["mpp"],
        "level of the slide": slide["level"], "stain": slide["stain"],
        "tiles that could not be read": slide["left_out"],
        "change of a tile, standard deviations of the prior (median)": result["median_change"],
    }  # fmt: skip
    command = (facts["command"] or {}).get("repeat")
    return Section("made", "How it was made", [Facts(known), Code([command] if command else [])])
