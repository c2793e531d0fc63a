"""Thumbnails in a browser: buttons that share one picture, with the way to other pages of them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from plenish.datasets.dataset import Dataset
from plenish.studio.browse import COLUMNS, PER_PAGE, Ints
from plenish.studio.wordbook import Words

_MOST_TEXT = 120


def grid(words: Words, dataset: Dataset, rows: Ints, view: str, start: int) -> str:
    """One page of thumbnails below a heading, with the buttons to other pages.

    Args:
        words: the texts.
        dataset: whose images they are.
        rows: all rows of the view.
        view: its id.
        start: place of the first one that is shown.
    """
    total = len(rows)
    head = (
        f'<h3>{html.escape(dataset.name)} <span class="quiet">{words("studio.images", n=total)}</span></h3>'
    )
    if not total:
        return f'<section class="grid-part">{head}<p class="nothing">{words("data.empty")}</p></section>'
    shown = tiles(dataset, rows[start : start + PER_PAGE], view, start)
    return f'<section class="grid-part">{head}{shown}{_pager(words, start, total)}</section>'


def tiles(dataset: Dataset, rows: Ints, view: str, start: int = 0, notes: Sequence[str] = ()) -> str:
    """A list of thumbnails, a button each; the arrow keys move between them.

    Args:
        dataset: whose images they are.
        rows: those that are shown.
        view: id of the view they are part of.
        start: place of the first one in it.
        notes: a word below each.
    """
    high = -(-len(rows) // COLUMNS)
    style = (
        f"background-image:url('/-/data/sprite?view={view}&start={start}');"
        f"background-size:{COLUMNS * 100}% {high * 100}%"
    )
    table, cells = dataset.table.iloc[rows], []
    names, labels = table["id"].tolist(), table["label"].tolist()
    for i, row in enumerate(rows):
        x = 100 * (i % COLUMNS) / (COLUMNS - 1)
        y = 100 * (i // COLUMNS) / (high - 1) if high > 1 else 0
        said = html.escape(f"{names[i]}{label_text(labels[i], ', ')}"[:_MOST_TEXT])
        note = f'<span class="quiet">{html.escape(notes[i])}</span>' if notes else ""
        cells.append(
            f'<li><button type="button" class="tile" data-row="{row}" tabindex="{-1 if i else 0}" '
            f'aria-label="{said}" title="{said}" style="background-position:{x:.3f}% {y:.3f}%">'
            f"</button>{note}</li>"
        )
    return (
        f'<style>[data-view="{view}"] .tile{{{style}}}</style>'
        f'<ul class="grid" data-view="{view}">{"".join(cells)}</ul>'
    )


def _pager(words: Words, start: int, total: int) -> str:
    last = (total - 1) // PER_PAGE * PER_PAGE
    places = {
        "first": 0, "before": max(0, start - PER_PAGE), "after": min(last, start + PER_PAGE), "last": last,
    }  # fmt: skip
    signs = {"first": "«", "before": "‹", "after": "›", "last": "»"}
    made = {
        name: f'<button type="button" class="plain-button" data-start="{place}" '
        f'aria-label="{words(f"data.{name}")}"{" disabled" if place == start else ""}>{signs[name]}</button>'
        for name, place in places.items()
    }
    where = words("data.page", page=start // PER_PAGE + 1, pages=last // PER_PAGE + 1)
    return (
        f'<nav class="pager" aria-label="{words("data.pages")}">{made["first"]}{made["before"]}'
        f"<span>{where}</span>{made['after']}{made['last']}</nav>"
    )


def label_text(label: Any, before: str = "") -> str:
    """A label as text behind `before`; empty where there is none."""
    if label is None or (isinstance(label, float) and np.isnan(label)):
        return ""
    return before + (", ".join(map(str, label)) if isinstance(label, (list, np.ndarray)) else str(label))
