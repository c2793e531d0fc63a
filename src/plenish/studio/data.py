"""The page Data: browse Datasets, look at a sample and its neighbours, mark samples as sets."""

from __future__ import annotations

import html
import json
from typing import Any

import numpy as np

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.studio.browse import (
    FEATURES,
    PER_PAGE,
    PICTURE,
    DataState,
    Filter,
    Vectors,
    View,
    columns_of,
    first_part,
    has_features,
    neighbour_kinds,
    neighbours,
    parts_of,
    png,
    select,
    set_table,
    shared_kinds,
    sprite,
)
from plenish.studio.pages import Asked, Page, Reply, Studio, Ui, names_of
from plenish.studio.sessions import Session
from plenish.studio.thumbnails import grid, label_text, tiles
from plenish.studio.toolkit import markup
from plenish.studio.wordbook import Words


def build(ui: Ui) -> None:
    """Make the components of the tab."""
    ui.heading("data")
    gr, words, datasets = ui.gr, ui.words, ui.studio.catalogue.datasets
    if not datasets:
        ui.nothing(words("data.nothing"))
        return
    first = next(iter(datasets))
    named = names_of(ui.studio)
    with gr.Row(elem_classes="filters"):
        dataset = gr.Dropdown(named, value=first, label=words("data.dataset"), min_width=180)
        part = gr.Dropdown(**_parts(words, datasets[first]), label=words("data.part"), min_width=150)
        label = gr.Dropdown(**_labels(words, datasets[first]), label=words("data.label"), min_width=130)
        beside = gr.Dropdown(
            [(words("data.alone"), ""), *named], value="", label=words("data.beside"), min_width=150
        )
    with gr.Accordion(words("data.more"), open=False), gr.Row(elem_classes="filters"):
        origin = gr.Dropdown(_origins(words), value="", label=words("data.origin"), min_width=130)
        column = gr.Dropdown(**_columns(words, datasets[first]), label=words("data.column"), min_width=150)
        value = gr.Textbox("", label=words("data.value"), max_length=100, min_width=150)
        shuffled = gr.Checkbox(False, label=words("data.shuffled"), min_width=130)
    ui.html(_marks(words), elem_classes="marks")
    shown = ui.html("", elem_id="data-shown")
    chosen = [dataset, part, label, origin, column, value, shuffled, beside]

    def show(session: Session, *values: Any) -> str:
        return _show(ui.studio, words, session, *values)

    def changed(session: Session, key: str) -> Any:
        found = ui.studio.catalogue.dataset(key)
        return [
            gr.Dropdown(**_parts(words, found)), gr.Dropdown(**_labels(words, found)),
            gr.Dropdown(**_columns(words, found)),
        ]  # fmt: skip

    ui.on(dataset.input, changed, [dataset], [part, label, column]).then(**ui.call(show, chosen, [shown]))
    events = [one.input for one in (part, label, beside, origin, column, shuffled)] + [
        value.submit,
        value.blur,
    ]
    ui.on(events, show, chosen, [shown])
    ui.load(
        lambda session: show(session, first, first_part(datasets[first]), "", "", "", "", False, ""), [shown]
    )


def _parts(words: Words, dataset: Dataset) -> dict[str, Any]:
    several = len(dataset.split_names()) > 1
    choices = [(words("data.all"), "")]
    for entry in parts_of(dataset):
        split, _, part = entry.partition("/")
        text = words(f"data.part_{part or 'seen'}")
        choices.append((f"{split}: {text}" if several else text, entry))
    if dataset.split_names():
        choices = choices[1:]
    return {"choices": choices, "value": first_part(dataset)}


def _labels(words: Words, dataset: Dataset) -> dict[str, Any]:
    known = dataset.labels.kind in ("categorical", "multilabel")
    names = list(dataset.labels.names) if known else []
    return {"choices": [(words("data.all"), ""), *((name, name) for name in names)], "value": ""}


def _columns(words: Words, dataset: Dataset) -> dict[str, Any]:
    names = [(name, name) for name in columns_of(dataset)]
    return {"choices": [(words("data.none"), ""), *names], "value": ""}


def _origins(words: Words) -> list[tuple[str, str]]:
    return [(words("data.all"), ""), *((words(f"data.{name}"), name) for name in ("real", "synthetic"))]


def _marks(words: Words) -> str:
    return (
        f'<div class="mark-bar"><label>{words("data.set")} '
        f'<input id="mark-set" value="{words("data.set_name")}" maxlength="40" autocomplete="off"></label>'
        f'<span id="mark-count" role="status" data-words="{html.escape(words("data.marked"))}"></span>'
        f'<a id="mark-csv" class="plain-button" href="/-/data/marks" download>{words("data.csv")}</a>'
        f'<span class="keys">{words("data.keys")}</span></div>'
    )


def _show(
    studio: Studio, words: Words, session: Session, key: str, part: str, label: str, origin: str, column: str,
    value: str, shuffled: bool, beside: str,
) -> str:  # fmt: skip
    """The grid of the chosen images, and that of another Dataset beside it; then the place for a sample."""
    wanted = Filter(part, label, origin, column, value, bool(shuffled))
    grids = [_open(studio, words, session, key, wanted)]
    if beside and beside != key:
        other = studio.catalogue.dataset(beside)
        same = label if label in other.labels.names else ""
        grids.append(
            _open(studio, words, session, beside, Filter(first_part(other), same, shuffled=bool(shuffled)))
        )
    both = " two" if len(grids) > 1 else ""
    return (
        f'<div class="browser{both}"><div class="grids">{"".join(grids)}</div>'
        f'<section class="sample" aria-live="polite" aria-label="{words("data.sample")}" tabindex="-1">'
        f'<p class="quiet">{words("data.pick")}</p></section></div>'
    )


def _open(studio: Studio, words: Words, session: Session, key: str, wanted: Filter) -> str:
    dataset = studio.catalogue.dataset(key)
    rows = select(dataset, wanted)
    state = session.state(DataState)
    split, _, part = wanted.part.partition("/")
    if part == "test" and (key, split) not in state.told:
        dataset.part("test", split, purpose="report")  # Looking at test images is a reading of them.
        state.told.add((key, split))
    return grid(words, dataset, rows, state.add(View(key, rows, split)), 0)


# Addresses of the page


def _viewed(studio: Studio, asked: Asked) -> tuple[str, View, Dataset]:
    key = asked.text("view")
    view = asked.session.state(DataState).view(key)
    return key, view, studio.catalogue.dataset(view.dataset)


def _row(asked: Asked, dataset: Dataset) -> int:
    return asked.integer("row", 0, len(dataset) - 1)


def _grid(studio: Studio, asked: Asked) -> Reply:
    key, view, dataset = _viewed(studio, asked)
    start = asked.integer("start", 0, max(0, len(view.rows) - 1)) // PER_PAGE * PER_PAGE
    return markup(grid(asked.words, dataset, view.rows, key, start))


def _sprite(studio: Studio, asked: Asked) -> Reply:
    _, view, dataset = _viewed(studio, asked)
    start = asked.integer("start", 0, max(0, len(view.rows) - 1))
    return Reply(sprite(dataset, view.rows[start : start + PER_PAGE]), "image/jpeg", seconds=3600)


def _visible(studio: Studio, asked: Asked) -> tuple[str, Dataset, int]:
    """A sample of a view, so that a test image is only shown where that was counted."""
    key, view, dataset = _viewed(studio, asked)
    row = _row(asked, dataset)
    if row not in view.rows:
        raise InputError("This image is not in the selection.", code="missing")
    return key, dataset, row


def _image(studio: Studio, asked: Asked) -> Reply:
    _, dataset, row = _visible(studio, asked)
    name = f"{dataset.table['id'].iloc[row]}.png" if asked.text("save") else ""
    return Reply(png(dataset.pixels.read(np.array([row]))[0]), "image/png", name, 3600)


def _sample(studio: Studio, asked: Asked) -> Reply:
    """A sample with its facts, and what its neighbours can be asked by."""
    words = asked.words
    key, dataset, row = _visible(studio, asked)
    view = asked.session.state(DataState).view(key)
    cells = dataset.table.iloc[row]
    name = html.escape(str(cells["id"]))
    facts = "".join(
        f"<dt>{html.escape(str(column))}</dt><dd>{html.escape(_fact(cell))}</dd>"
        for column, cell in cells.items()
        if column not in ("id", "sha256") and _fact(cell)
    )
    others = {
        other_key: other
        for other_key, other in studio.catalogue.datasets.items()
        if other_key != view.dataset and (other.size, other.channels) == (dataset.size, dataset.channels)
    }
    where = [(words("data.here"), view.dataset), *((other.name, k) for k, other in others.items())]
    found = neighbour_kinds(dataset)
    if FEATURES not in found and any(map(has_features, others.values())):
        found.append(FEATURES)
    kinds = [(words(f"data.{k}") if k in (PICTURE, FEATURES) else k, k) for k in found]
    said = f"{name}{html.escape(label_text(cells['label'], ', '))}"
    address = f"/-/data/image?view={key}&amp;row={row}"
    form = (
        f'<form class="near-form" data-row="{row}">{_choice("where", words("data.near"), where)}'
        f'{_choice("kind", words("data.by"), kinds)}</form><div class="near"></div>'
    )
    return markup(
        f'<h3 tabindex="-1">{name}</h3><img src="{address}" alt="{said}" '
        f'width="{dataset.size}" height="{dataset.size}">'
        f'<p class="buttons"><button type="button" class="plain-button" data-mark="{row}">'
        f"{words('data.mark')}</button>"
        f'<a class="plain-button" href="{address}&amp;save=1" download>{words("data.save")}</a></p>'
        f"<dl>{facts}</dl>" + (form if kinds else "")
    )


def _choice(name: str, label: str, choices: list[tuple[str, str]]) -> str:
    options = "".join(f'<option value="{html.escape(v)}">{html.escape(t)}</option>' for t, v in choices)
    return f'<label>{label} <select name="{name}">{options}</select></label>'


def _fact(cell: Any) -> str:
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ""
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return ", ".join(map(str, cell)) if isinstance(cell, (list, np.ndarray)) else str(cell)


def _near(studio: Studio, asked: Asked) -> Reply:
    """The neighbours of a sample, as a view of their own."""
    words = asked.words
    _, dataset, row = _visible(studio, asked)
    view = asked.session.state(DataState).view(asked.text("view"))
    other_key = asked.text("where") or view.dataset
    other, kind = studio.catalogue.dataset(other_key), asked.text("kind", PICTURE)
    if (other.size, other.channels) != (dataset.size, dataset.channels):
        raise InputError("Neighbours are looked for among images of the same size.")
    if kind not in shared_kinds(dataset, other):
        raise InputError(
            "Neighbours cannot be found by that in this Dataset: it has no such array, or none of the same "
            "model, or no features yet.",
            code="missing",
        )
    split = (view.split if other_key == view.dataset else "") or first_part(other).partition("/")[0]
    allowed = np.ones(len(other), bool)
    if split:  # Images of the test part are not shown unasked.
        allowed = other.split(split).part_of.to_numpy() != "test"
    vectors = studio.once(Vectors, Vectors)
    rows, apart = neighbours(vectors, dataset, row, kind, other, allowed)
    near = asked.session.state(DataState).add(View(other_key, rows.astype(np.int64), split), near=True)
    return markup(tiles(other, rows, near, notes=[words.number(float(d), 2) for d in apart]))


def _mark(studio: Studio, asked: Asked) -> Reply:
    _, _, row = _visible(studio, asked)
    state = asked.session.state(DataState)
    view, name = state.view(asked.text("view")), _set_name(asked)
    is_in = state.mark(name, view.dataset, row)
    return _json({"marked": is_in, "count": state.count(name)})


def _marked(studio: Studio, asked: Asked) -> Reply:
    """Which rows of a view are in a set."""
    state = asked.session.state(DataState)
    name = _set_name(asked)
    view = state.view(asked.text("view")) if asked.text("view") else None
    rows = state.sets.get(name, {}).get(view.dataset, []) if view else []
    return _json({"rows": rows, "count": state.count(name)})


def _marks_file(studio: Studio, asked: Asked) -> Reply:
    name = _set_name(asked)
    marked = asked.session.state(DataState).sets.get(name, {})
    safe = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in name) or "set"
    return Reply(set_table(marked, studio.catalogue.datasets), "text/csv; charset=utf-8", f"{safe}.csv")


def _set_name(asked: Asked) -> str:
    return asked.text("set").strip()[:40] or "set"


def _json(content: dict[str, Any]) -> Reply:
    return Reply(json.dumps(content).encode(), "application/json")


PAGE = Page(
    "data", build,
    {
        "grid": _grid, "sprite": _sprite, "image": _image, "sample": _sample, "near": _near,
        "marked": _marked, "marks": _marks_file,
    },
    {"mark": _mark},
)  # fmt: skip
