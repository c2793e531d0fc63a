"""The page Explore: a pad over the latent space, seeds, labels, and a basket of favourites."""

from __future__ import annotations

import html
import json
from typing import Any

import numpy as np

from plenish.errors import InputError
from plenish.latent.space import Points
from plenish.studio.generators import about, generators_of
from plenish.studio.pages import Asked, Page, Reply, Studio, Ui
from plenish.studio.pictures import archive, as_json, kept_files, npy, quick_png, sheet
from plenish.studio.states import checked_count, commands, file_name, point_of, read_body, read_state
from plenish.studio.wordbook import Words

MOST_KEPT = 40
_MOST_ON_SHEET = 64


def build(ui: Ui) -> None:
    """Make the markup of the tab; assets/explore.js fills it."""
    ui.heading("explore")
    mount(ui, "explore")


def mount(ui: Ui, page: str) -> None:
    """The place that a page's script fills, with its texts; or why there is nothing to fill it with."""
    if not generators_of(ui.studio).listed("generator"):
        ui.nothing(ui.words(f"{page}.nothing"))
        return
    texts = texts_of(ui.words, ("latent", page))
    given = html.escape(json.dumps(texts, ensure_ascii=False), quote=True)
    ui.html(f'<div class="latent" data-latent="{page}" data-words="{given}"></div>')


def texts_of(words: Words, sections: tuple[str, ...]) -> dict[str, str]:
    """The texts of some sections, by key without the section."""
    return {
        key.split(".", 1)[1]: text for section in sections for key, text in words.section(section).items()
    }


def runs(studio: Studio, asked: Asked) -> Reply:
    """The generators and classifiers there are."""
    generators = generators_of(studio)
    return as_json(
        {
            kind: [{"run": key, "name": path.name} for key, path in generators.listed(kind).items()]
            for kind in ("generator", "classifier")
        }
    )


def facts(studio: Studio, asked: Asked) -> Reply:
    """What the page needs to know of a generator."""
    return as_json(about(generators_of(studio), asked.text("run")))


def image(studio: Studio, asked: Asked) -> Reply:
    """The image of a state."""
    generators = generators_of(studio)
    state = read_state(generators, read_body(asked.body))
    return Reply(quick_png(generators.images(state.space, point_of(generators, state))[0]), "image/png")


def sheet_of(studio: Studio, asked: Asked) -> Reply:
    """The images of several states of one generator as one picture, `across` in a row."""
    generators, body = generators_of(studio), read_body(asked.body)
    states = [read_state(generators, one) for one in checked_count(body.get("states"), 1, _MOST_ON_SHEET)]
    across = body.get("across")
    if not isinstance(across, int) or not 1 <= across <= _MOST_ON_SHEET:
        raise InputError("'across' must be a whole number.")
    made: list[Any] = []
    for state in states:
        if made and (state.space.network.size, state.space.network.channels) != made[0][2]:
            raise InputError("These images are of several sizes.")
        shape = (state.space.network.size, state.space.network.channels)
        made.append((state, point_of(generators, state), shape))
    first = made[0][0]
    same = all((s.run, s.psi, p.space) == (first.run, first.psi, made[0][1].space) for s, p, _ in made)
    if same:
        images = generators.images(first.space, Points.joined([point for _, point, _ in made]))
    else:
        images = np.concatenate([generators.images(state.space, point) for state, point, _ in made])
    return Reply(sheet(images, across), "image/png")


def latent(studio: Studio, asked: Asked) -> Reply:
    """The latent of a state, as a .npy file."""
    generators = generators_of(studio)
    state = read_state(generators, read_body(asked.body))
    return Reply(npy(point_of(generators, state).values), "application/octet-stream", "latent.npy")


def recipe(studio: Studio, asked: Asked) -> Reply:
    """The state as it was understood, and the commands that repeat it."""
    generators = generators_of(studio)
    state = read_state(generators, read_body(asked.body))
    return as_json({"state": state.to_json(), "commands": commands(state)})


def download(studio: Studio, asked: Asked) -> Reply:
    """Images, latents and commands of states, as a .zip file."""
    generators = generators_of(studio)
    body = read_body(asked.body)
    states = [read_state(generators, one) for one in checked_count(body.get("states"), 1, MOST_KEPT)]
    names = [file_name(str(one)) for one in checked_count(body.get("names", []), 0, MOST_KEPT)]
    if names and (len(names) != len(states) or len(set(names)) < len(names)):
        raise InputError("Give a name of its own for each image.")
    return archive(kept_files(generators, states, names), "plenish.zip")


PAGE = Page(
    "explore",
    build,
    routes={"runs": runs, "facts": facts},
    actions={"image": image, "sheet": sheet_of, "latent": latent, "recipe": recipe, "download": download},
)
