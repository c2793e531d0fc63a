"""The page Runs: a table of Runs, their curves and samples, comparisons, and trainings started here."""

from __future__ import annotations

import functools
import html
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.recipes import AUTO, load_recipe, recipe_names
from plenish.report.page import plain
from plenish.runs import Run
from plenish.studio.catalogue import names_of_runs
from plenish.studio.curves import MOST_RUNS, Curves
from plenish.studio.pages import Asked, Page, Reply, Studio, Ui, names_of
from plenish.studio.sessions import Session
from plenish.studio.toolkit import markup
from plenish.studio.trainings import Training, Trainings
from plenish.studio.wordbook import Words

_MOST_HOURS, _MOST_KIMG = 1000.0, 1e6
_FACTS = (
    "kind", "family", "recipe", "state", "data", "created", "seed", "kimg", "attempt", "seconds", "message",
)  # fmt: skip
_KINDS = ("generator", "autoencoder", "classifier", "study", "autoencoder-study", "translation", "perturber")
_STATES = ("new", "running", "interrupted", "diverged", "failed", "complete")


def build(ui: Ui) -> None:
    """Make the components of the tab."""
    ui.heading("runs")
    words, studio = ui.words, ui.studio
    if studio.config.new_runs is None and not studio.catalogue.runs():
        ui.nothing(words("runs.nothing"))
        return
    table = f'tabindex="0" role="region" aria-label="{words("runs.title")}"'
    ui.html(f'<div id="runs-table" class="scroll" {table}></div>')
    if studio.config.new_runs is not None and studio.catalogue.real():
        _build_start(ui)
    else:
        ui.html(f'<p class="quiet">{words("runs.no_start")}</p>')
    ui.html('<div id="trainings"></div>')
    ui.html(f'<div id="runs-shown" aria-live="polite"><p class="quiet">{words("runs.pick")}</p></div>')


def _build_start(ui: Ui) -> None:
    gr, words, studio = ui.gr, ui.words, ui.studio
    real = [(name, key) for name, key in names_of(studio) if key in studio.catalogue.real()]
    with gr.Accordion(words("runs.start"), open=False):
        with gr.Row(elem_classes="filters"):
            data = gr.Dropdown(real, value=real[0][1], label=words("data.dataset"), min_width=180)
            recipe = gr.Dropdown(
                list(generator_recipes()), value=AUTO, label=words("runs.recipe"), min_width=180
            )
            unit = gr.Dropdown(
                [(words("runs.hours"), "hours"), ("kimg", "kimg")], value="hours", label=words("runs.unit"),
                min_width=120,
            )  # fmt: skip
            length = gr.Number(
                1.0, label=words("runs.length"), minimum=0.001, maximum=_MOST_KIMG, min_width=100
            )
            name = gr.Textbox("", label=words("runs.name"), max_length=60, min_width=140)
        button = gr.Button(words("runs.begin"), variant="primary", elem_classes="narrow")
        said = ui.html('<p role="status"></p>')

    def start(session: Session, *values: Any) -> str:
        training = start_training(studio, session.owner, *values)
        return f'<p role="status">{html.escape(words("runs.started", name=training.run.name))}</p>'

    ui.on(button.click, start, [data, recipe, unit, length, name], [said])


@functools.cache
def generator_recipes() -> tuple[str, ...]:
    """Recipes of generators by name, the automatic choice first."""
    return (AUTO, *(name for name in recipe_names() if load_recipe(name).kind == "generator"))


def trainings_of(studio: Studio) -> Trainings:
    """The trainings of the server."""
    found: Trainings = studio.once(Trainings, lambda: Trainings(studio.config.trainings))
    return found


def start_training(
    studio: Studio, owner: str, data: str, recipe: str, unit: str, length: float | None, name: str
) -> Training:
    """Start the training of a generator whose Run gets a name in the folder of new Runs.

    Raises:
        InputError: there is no such folder, the name is taken or none, or the values cannot be.
    """
    folder = studio.config.new_runs
    if folder is None:
        raise InputError("This studio starts no trainings; start it with --new-runs FOLDER.")
    dataset = studio.catalogue.dataset(data)
    if dataset.is_synthetic or recipe not in generator_recipes() or unit not in ("hours", "kimg"):
        raise InputError("A generator is trained on real images, by a recipe that there is.")
    most = _MOST_HOURS if unit == "hours" else _MOST_KIMG
    if not isinstance(length, (int, float)) or not 0 < length <= most:
        raise InputError(f"The length must be above 0 and at most {most:,.0f} {unit}.")
    split = _split_of(dataset)
    name = name.strip() or _free_name(folder, recipe)
    files.check_name(name, "a Run")
    run = folder.resolve() / name
    if run.exists():
        raise InputError(f"{name} exists already; give the new Run another name.")
    words = ["train", "generator", str(dataset.path.resolve()), str(run), f"--{unit}", repr(length)]
    words += ["--recipe", recipe] if recipe != AUTO else []
    words += ["--split", split] if split != "default" else []
    trainings = trainings_of(studio)
    return trainings.of(owner)[trainings.start(owner, words, run)]


def _free_name(folder: Path, recipe: str) -> str:
    """The first of auto-1, auto-2, … that is free."""
    return next(name for i in itertools.count(1) if not (folder / (name := f"{recipe}-{i}")).exists())


def _split_of(dataset: Dataset) -> str:
    names = dataset.split_names()
    if not names:
        raise InputError(f"{dataset.name} has no split yet; make one with 'plenish split'.")
    return "default" if "default" in names else names[0]


# Addresses of the page


def _table(studio: Studio, asked: Asked) -> Reply:
    """All Runs as rows, and this user's trainings below."""
    words = asked.words
    paths = studio.catalogue.runs()
    rows = [
        _row(words, key, name, _summary(studio, key, paths)) for key, name in names_of_runs(paths).items()
    ]
    heads = "".join(
        f'<th scope="col">{words(f"runs.{name}")}</th>'
        for name in ("compare", "run", "kind", "recipe", "state", "kimg", "best")
    )
    table = f"<table><thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    return markup(table if rows else f'<p class="nothing">{words("runs.none")}</p>')


def _summary(studio: Studio, key: str, paths: Mapping[str, Path]) -> dict[str, Any]:
    try:
        run = studio.catalogue.run(key, paths)
        status, config = run.status, run.config["config"]
        best = status.get("best") or {}
        return {
            "kind": run.kind, "recipe": config.get("recipe") or config.get("family"), "state": run.state,
            "kimg": status.get("kimg"), "best": best.get("kid_val"),
        }  # fmt: skip
    except (InputError, OSError, KeyError, TypeError, AttributeError, ValueError) as error:
        return {"state": "unreadable", "message": str(error)}


def _row(words: Words, key: str, name: str, facts: Mapping[str, Any]) -> str:
    state, shown = str(facts["state"]), html.escape(name)
    said = words(f"runs.{state}") if state in _STATES else words("runs.unreadable")
    kimg = "" if facts.get("kimg") is None else words.number(float(facts["kimg"]), 4)
    best = "" if facts.get("best") is None else f"KID {words.number(float(facts['best']), 3)}"
    kind = html.escape(_kind(words, str(facts.get("kind", ""))))
    recipe = facts.get("recipe")
    return (
        f'<tr><td><input type="checkbox" data-run="{key}" '
        f'aria-label="{words("runs.compare")}: {shown}"></td>'
        f'<td><button type="button" class="link" data-open="{key}">{shown}</button></td><td>{kind}</td>'
        f"<td>{html.escape(plain(recipe)) if recipe else ''}</td>"
        f'<td><span class="state {html.escape(state)}">{said}</span></td><td>{kimg}</td><td>{best}</td></tr>'
    )


def _shown(studio: Studio, asked: Asked) -> Reply:
    """One Run with facts, samples and curves, or several beside each other."""
    keys = [key for key in asked.text("runs").split(",") if key][:MOST_RUNS]
    paths = studio.catalogue.runs()
    opened = {key: studio.catalogue.run(key, paths) for key in keys}
    names = names_of_runs({key: paths[key] for key in opened})
    found = {name: key for key, name in names.items()}
    runs = {name: opened[key] for name, key in found.items()}
    if not runs:
        return markup(f'<p class="quiet">{asked.words("runs.pick")}</p>')
    columns = "".join(_facts(asked.words, name, found[name], run) for name, run in runs.items())
    charts = studio.once(Curves, Curves).of(asked.words, runs)
    drawn = "".join(
        f"<figure><figcaption>{html.escape(chart.title)}</figcaption>"
        f'<div role="img" aria-label="{html.escape(chart.alt)}">{chart.svg}</div></figure>'
        for chart in charts
    )
    if not drawn:
        drawn = f'<p class="quiet">{asked.words("runs.no_curves")}</p>'
    return markup(f'<div class="run-columns">{columns}</div><div class="charts">{drawn}</div>')


def _facts(words: Words, name: str, key: str, run: Run) -> str:
    summary = run.summary()
    said = {fact: summary[fact] for fact in _FACTS if summary.get(fact) not in (None, "")}
    facts = "".join(
        f"<dt>{words(f'runs.fact_{fact}')}</dt><dd>{html.escape(_fact(words, fact, value))}</dd>"
        for fact, value in said.items()
    )
    samples = _samples(run)
    picture = ""
    if samples:
        last, at = len(samples) - 1, samples[-1].stem
        said_of = words("runs.samples", kimg=_kimg(words, at))
        picture = (
            f'<figure class="samples" data-run="{key}">'
            f'<img src="/-/runs/samples?run={key}&amp;n={last}&amp;at={at}" alt="{said_of}">'
            f"<figcaption>{said_of}</figcaption>"
            f'<label>{words("runs.when")} <input type="range" min="0" max="{last}" value="{last}" '
            f'data-names="{"|".join(_kimg(words, sample.stem) for sample in samples)}" '
            f'data-words="{html.escape(words("runs.samples"))}"></label></figure>'
        )
    repeat = (run.config.get("command") or {}).get("repeat", "")
    command = f'<pre tabindex="0">{html.escape(repeat)}</pre>'
    line = f"<details><summary>{words('runs.repeat')}</summary>{command}</details>" if repeat else ""
    head = f'<h3 tabindex="-1">{html.escape(name)}</h3>'
    return f"<section>{head}{picture}<dl>{facts}</dl>{line}</section>"


def _fact(words: Words, fact: str, value: Any) -> str:
    if fact == "state" and value in _STATES:
        return words(f"runs.{value}")
    if fact == "kind":
        return _kind(words, str(value))
    if fact == "seed" or not isinstance(value, (int, float)):
        return plain(value)
    return words.number(value, 4)


def _kind(words: Words, kind: str) -> str:
    return words(f"runs.kind_{kind}") if kind in _KINDS else kind


def _samples(run: Run) -> list[Any]:
    return sorted((run.path / "samples").glob("kimg-*.png"))


def _kimg(words: Words, stem: str) -> str:
    return words.number(float(stem.removeprefix("kimg-")), 4)


def _sample_grid(studio: Studio, asked: Asked) -> Reply:
    samples = _samples(studio.catalogue.run(asked.text("run")))
    if not samples:
        raise InputError("This Run has no samples.", code="missing")
    path = samples[asked.integer("n", 0, len(samples) - 1)]
    return Reply(path.read_bytes(), "image/png", seconds=60)


def _trainings(studio: Studio, asked: Asked) -> Reply:
    """What this user started: the command, the log and a button that stops it."""
    words, parts = asked.words, []
    for key, one in trainings_of(studio).of(asked.session.owner).items():
        button = (
            f'<button type="button" class="plain-button" data-stop="{key}">{words("runs.stop")}</button>'
            if one.is_running
            else ""
        )
        code = one.process.returncode
        state = words("runs.running") if one.is_running else words("runs.ended", code=code)
        log = (
            f'<pre class="log" tabindex="0" aria-label="{words("runs.log")}">{html.escape(one.text())}</pre>'
        )
        parts.append(
            f'<section class="training"><h3>{html.escape(one.run.name)} '
            f'<span class="quiet">{state}</span></h3>'
            f"<p><code>{html.escape(one.command)}</code></p>{button}{log}</section>"
        )
    return markup("".join(parts))


def _stop(studio: Studio, asked: Asked) -> Reply:
    trainings_of(studio).stop(asked.session.owner, asked.text("training"))
    return _trainings(studio, asked)


PAGE = Page(
    "runs", build,
    {"table": _table, "shown": _shown, "samples": _sample_grid, "trainings": _trainings}, {"stop": _stop},
)  # fmt: skip
