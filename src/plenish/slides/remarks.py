"""What the user should know of a tiling when it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plenish.slides.ledger import Ledger
from plenish.slides.sheets import Sheet, Work, covered
from plenish.wording import agree, plural


def remarks_of(
    work: Work, sheets: Sequence[Sheet], ledger: Ledger, labels: Sequence[str],
    rows: Sequence[Mapping[str, Any]], out: Path,
) -> list[str]:  # fmt: skip
    """What was met on the way, a sentence each.

    Args:
        work: what was to be done.
        sheets: the slides.
        ledger: what became of them.
        labels: the classes that have tiles.
        rows: of the summary.
        out: the Dataset.
    """
    texts = [f"{work.wanted[s.index].name}: {text}" for s in sheets for text in s.about.get("remarks", ())]
    if ledger.slides:
        name, reason = next(iter(ledger.slides.items()))
        texts.append(
            f"{len(ledger.slides):,} of {plural(len(sheets), 'slide')} "
            f"{'was' if len(ledger.slides) == 1 else 'were'} rejected, see {out.name}/rejected.csv; the "
            f"first was {name}: {reason}."
        )
    if ledger.first is not None:
        source, reason = ledger.first
        texts.append(
            f"{agree(ledger.total('corrupt'), 'tile', 'was', 'were')} rejected because the slide is damaged "
            f"there; the first was {source}: {reason}."
        )
    filtered = [(ledger.total(kind), words) for kind, words in (("blurred", "blur"), ("pen", "pen marks"))]
    texts += [f"{agree(n, 'tile', 'was', 'were')} rejected for {words}." for n, words in filtered if n]
    empty = [label for label in covered(sheets) if label not in labels]
    if empty:
        texts.append(
            f"No tile is covered far enough by '{empty[0]}' to be labelled so; lower --label-threshold or "
            "choose a smaller --size."
        )
    return texts + _scales(work, rows) + _short(work, sheets, rows, labels)


def _scales(work: Work, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be said of a level that means different scales on different slides."""
    tiled = [row for row in rows if row["status"] == "tiled"]
    known = [row["mpp"] for row in tiled if row["mpp"] is not None]
    texts = []
    if len(known) < len(tiled):
        texts.append(
            f"{agree(len(tiled) - len(known), 'slide', 'does', 'do')} not say how large "
            "pixels are, so the column mpp is empty there."
        )
    if work.order.settings.level is not None and known and max(known) > 1.02 * min(known):
        texts.append(
            f"Level {work.order.settings.level} is {min(known):.3g} µm per pixel on one slide and "
            f"{max(known):.3g} on another; --mpp makes them the same."
        )
    return texts


def _short(
    work: Work, sheets: Sequence[Sheet], rows: Sequence[Mapping[str, Any]], labels: Sequence[str]
) -> list[str]:
    """Classes of which there are fewer tiles than were to be drawn, and why."""
    wished = work.drawing.per_class
    if wished is None:
        return []
    texts = []
    for label in labels:
        found = sum(row[f"tiles_{label}"] for row in rows)
        most = [sheet.counts[label] for sheet in sheets if not sheet.reason]
        if work.drawing.per_slide is not None:
            most = [min(count, work.drawing.per_slide) for count in most]
        if found >= wished:
            continue
        if sum(most) < wished:
            texts.append(f"Of class '{label}' there were only {plural(found, 'tile')}, not {wished:,}.")
        else:
            texts.append(
                f"Of class '{label}' there are {plural(found, 'tile')}, not {wished:,}, because others that "
                "were drawn are rejected; give a greater --per-class to make up for them."
            )
    return texts


__all__ = ["remarks_of"]
