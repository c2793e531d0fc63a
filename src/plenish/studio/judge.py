"""The page Judge: a blind test of whether a person tells synthetic images from real ones."""

from __future__ import annotations

import dataclasses
import html
import secrets
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.metrics.reader_study import FEWEST, Answer, Origin, accuracy, draw, draw_beside, keep
from plenish.metrics.statistics import Interval
from plenish.studio.browse import png
from plenish.studio.catalogue import names_of_runs
from plenish.studio.generators import Generators, generators_of
from plenish.studio.pages import Asked, Page, Reply, Studio, Ui, names_of
from plenish.studio.sessions import Session
from plenish.studio.toolkit import markup
from plenish.studio.wordbook import Words

MOST = 200
_SLOWEST = 3600.0
_ORIGINS: tuple[Origin, ...] = ("real", "synthetic")


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the synthetic images of a test are from: a Dataset, or a generator that made them for it.

    Attributes:
        name: of the Dataset or the Run.
        folder: of it, which keeps the answers.
        about: what the answers are kept with.
        image: row → pixels H×W×C.
        id: row → what the image is called.
    """

    name: str
    folder: Path
    about: Mapping[str, Any]
    image: Callable[[int], NDArray[np.uint8]]
    id: Callable[[int], str]


@dataclasses.dataclass
class Reading:
    """A test under way.

    Attributes:
        real: the real Dataset.
        synthetic: where the synthetic images are from.
        reader: name of the reader.
        seed: of the choice and the order.
        items: origin and row of each image, in order.
        answers: those given so far.
        shown: when the present image was first sent; None before.
    """

    real: Dataset
    synthetic: Source
    reader: str
    seed: int
    items: list[tuple[Origin, int]]
    answers: list[Answer] = dataclasses.field(default_factory=list)
    shown: float | None = None

    def source(self, origin: Origin) -> Source:
        """Where images of an origin are from."""
        return _of_dataset(self.real) if origin == "real" else self.synthetic


def _of_dataset(dataset: Dataset) -> Source:
    return Source(
        dataset.name, dataset.path, dataset.provenance(),
        lambda row: dataset.pixels.read(np.array([row]))[0], lambda row: str(dataset.table["id"].iloc[row]),
    )  # fmt: skip


class JudgeState:
    """The test of one user."""

    def __init__(self) -> None:
        """Start without one."""
        self.reading: Reading | None = None


def build(ui: Ui) -> None:
    """Make the components of the tab."""
    ui.heading("judge")
    gr, words, studio = ui.gr, ui.words, ui.studio
    catalogue = studio.catalogue
    others = _synthetic(studio, words)
    if not (catalogue.real() and (others or studio.config.new_runs)):
        ui.nothing(words("judge.nothing"))
        return
    reals = [(name, key) for name, key in names_of(studio) if key in catalogue.real()]
    with gr.Row(elem_classes="filters"):
        real = gr.Dropdown(reals, value=reals[0][1], label=words("judge.real"), min_width=180)
        other = gr.Dropdown(**_menu(others), label=words("judge.synthetic"), min_width=180)
        reader = gr.Textbox("", label=words("judge.reader"), max_length=40, min_width=180)
        count = gr.Slider(10, MOST, value=40, step=2, label=words("judge.count"), min_width=180)
    button = gr.Button(words("judge.start"), variant="primary", elem_classes="narrow")
    stage = ui.html(
        f'<div class="stage"><p class="quiet">{words("judge.how")}</p></div>', elem_id="judge-stage"
    )

    def start(session: Session, *values: Any) -> str:
        return start_reading(studio, words, session, *values)

    ui.on(button.click, start, [real, other, reader, count], [stage])
    ui.load(lambda _: gr.Dropdown(**_menu(_synthetic(studio, words))), [other])  # A Run may be new.


def _synthetic(studio: Studio, words: Words) -> list[tuple[str, str]]:
    """Synthetic Datasets and generators for a menu: name and id."""
    synthetic, runs = studio.catalogue.synthetic(), generators_of(studio).listed("generator")
    data = [(name, key) for name, key in names_of(studio) if key in synthetic]
    return data + [(words("judge.of_run", name=name), key) for key, name in names_of_runs(runs).items()]


def _menu(choices: list[tuple[str, str]]) -> dict[str, Any]:
    return {"choices": choices, "value": choices[0][1] if choices else None}


def start_reading(
    studio: Studio, words: Words, session: Session, real: str, synthetic: str, reader: str, count: float
) -> str:
    """Begin a test; what is shown first.

    Args:
        studio: what all pages use.
        words: the texts.
        session: whose test it is.
        real: id of a real Dataset.
        synthetic: id of a synthetic one, or of a generator's Run, which makes the images now.
        reader: name of the reader.
        count: how many images.

    Raises:
        InputError: the reader has no name, or the images do not fit each other.
    """
    if not synthetic:
        raise InputError("There are no synthetic images and no generator yet; train one first.")
    first = studio.catalogue.dataset(real)
    if not isinstance(count, (int, float)) or not FEWEST <= count <= MOST:
        raise InputError(f"A test has {FEWEST} to {MOST} images.")
    n, seed = int(count), secrets.randbelow(2**31)
    reader = "-".join(reader.split())  # It becomes part of a file's name, where a space would only trouble.
    if not reader:
        raise InputError(words("judge.nameless"))
    files.check_name(reader, "a reader")
    if synthetic in studio.catalogue.datasets:
        second = studio.catalogue.dataset(synthetic)
        if first.is_synthetic or not second.is_synthetic:
            raise InputError("Choose a real and a synthetic Dataset.")
        source, items = _of_dataset(second), draw(first, second, n, seed)
    else:
        source, items = _made(generators_of(studio), synthetic, first, n, seed)
    session.state(JudgeState).reading = Reading(first, source, reader, seed, items)
    return _trial(words, session.state(JudgeState))


def _made(
    generators: Generators, key: str, real: Dataset, n: int, seed: int
) -> tuple[Source, list[tuple[Origin, int]]]:
    """Images that a generator makes for a test, its classes in turn, and real ones beside them."""
    if real.is_synthetic:
        raise InputError("Choose a real Dataset.")
    space = generators.space(key)
    run, labels = space.loaded.run.path, space.labels
    if labels.width and labels.kind != "categorical":
        raise InputError(
            f"{run.name} makes images of tags or numbers; make a Dataset of it with 'plenish generate "
            "--like' and choose that."
        )
    classes = [labels.names[i % labels.width] for i in range(n // 2)] if labels.width else None
    shape = (space.network.size, space.network.channels)
    items = draw_beside(real, run.name, shape, classes, n, seed)
    seeds = np.random.default_rng(seed).integers(0, 2**31, n // 2).tolist()
    images = generators.images(space, space.draw(seeds))
    about = space.loaded.provenance() | {"seeds": seeds}
    return Source(run.name, run, about, images.__getitem__, lambda row: f"seed {seeds[row]}"), items


def _trial(words: Words, state: JudgeState) -> str:
    """The image that is to be judged now. Nothing here depends on what it is."""
    reading = _current(state)
    number, total = len(reading.answers), len(reading.items)
    said = words("judge.image", n=number + 1, total=total)
    token = secrets.token_urlsafe(6)  # A new address for each image, so that no cache knows it.
    size = reading.real.size
    return (
        f'<div class="stage" data-n="{number}"><p class="quiet" role="status">{said}</p>'
        f'<progress value="{number}" max="{total}" aria-label="{words("judge.progress")}"></progress>'
        f'<img src="/-/judge/image?n={number}&amp;at={token}" alt="{said}" width="{size}" height="{size}">'
        f'<div class="buttons"><button type="button" class="plain-button" data-answer="real">'
        f"{words('judge.say_real')} <kbd>R</kbd></button>"
        f'<button type="button" class="plain-button" data-answer="synthetic">'
        f"{words('judge.say_synthetic')} <kbd>S</kbd></button></div></div>"
    )


def _current(state: JudgeState) -> Reading:
    if state.reading is None:
        raise InputError("There is no test under way; start one.", code="missing")
    return state.reading


def _result(words: Words, reading: Reading, where: str) -> str:
    rows = [("judge.right", accuracy(reading.answers))]
    rows += [(f"judge.right_{origin}", accuracy(reading.answers, origin)) for origin in _ORIGINS]
    cells = "".join(
        f'<tr><th scope="row">{words(key)}</th><td>{_percent(words, found)}</td></tr>' for key, found in rows
    )
    overall = rows[0][1]
    key = "above" if overall.low > 0.5 else "below" if overall.high < 0.5 else "chance"
    done = words("judge.done", reader=html.escape(reading.reader))
    return (
        f'<div class="stage done"><h3 tabindex="-1">{done}</h3>'
        f"<p>{words(f'judge.{key}')}</p><table><tbody>{cells}</tbody></table>"
        f'<p class="quiet">{where}</p></div>'
    )


def _percent(words: Words, found: Interval) -> str:
    value, low, high = (round(100 * x) for x in found)
    return words("judge.share", value=value, low=low, high=high)


# Addresses of the page


def _image(studio: Studio, asked: Asked) -> Reply:
    """The present image as a PNG without metadata, whatever its origin; no other one."""
    reading = _current(asked.session.state(JudgeState))
    n = asked.integer("n", 0, len(reading.items) - 1)
    if n != len(reading.answers):
        raise InputError("This image is not to be judged now.", code="missing")
    origin, row = reading.items[n]
    if reading.shown is None:
        reading.shown = time.monotonic()
    return Reply(png(reading.source(origin).image(row)), "image/png")


def _answer(studio: Studio, asked: Asked) -> Reply:
    """Take an answer; the next image, or the result."""
    state, words = asked.session.state(JudgeState), asked.words
    reading = _current(state)
    said = asked.text("answer")
    if said not in ("real", "synthetic"):
        raise InputError("The answer is real or synthetic.")
    if asked.integer("n", 0, len(reading.items)) != len(reading.answers):
        return markup(_trial(words, state))  # A key pressed twice.
    origin, row = reading.items[len(reading.answers)]
    taken = min(time.monotonic() - reading.shown, _SLOWEST) if reading.shown is not None else 0.0
    name = reading.source(origin).id(row)
    reading.answers.append(Answer(name, origin, cast(Origin, said), round(taken, 3)))
    reading.shown = None
    if len(reading.answers) < len(reading.items):
        return markup(_trial(words, state))
    try:
        source = reading.synthetic
        keep(reading.real, source.folder, source.about, reading.reader, reading.seed, reading.answers)
        where = words("judge.kept", name=html.escape(reading.synthetic.name))
    except InputError as error:
        where = html.escape(str(error))
    state.reading = None
    return markup(_result(words, reading, where))


PAGE = Page("judge", build, {"image": _image}, {"answer": _answer})
