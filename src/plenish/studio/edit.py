"""The page Edit: concepts as sliders, class flip, arithmetic of images, and counterfactuals."""

from __future__ import annotations

from typing import Any

import numpy as np

from plenish.errors import InputError
from plenish.latent.counterfactual import find_counterfactuals
from plenish.latent.counterfactual_options import CounterfactualOptions
from plenish.latent.judges import probabilities
from plenish.studio import jobs
from plenish.studio.explore import mount
from plenish.studio.generators import Generators, generators_of
from plenish.studio.pages import Asked, Page, Reply, Studio, Ui
from plenish.studio.pictures import OWN_LATENT, as_json
from plenish.studio.states import (
    State,
    after,
    checked_count,
    file_name,
    joined,
    label_words,
    line,
    point_of,
    read_body,
    read_state,
    real,
    state_of,
)

_MOST_TERMS = 8
_STEPS = 40


def build(ui: Ui) -> None:
    """Make the markup of the tab; assets/edit.js fills it."""
    ui.heading("edit")
    mount(ui, "edit")


def flip(studio: Studio, asked: Asked) -> Reply:
    """The state with the next class at the same latent."""
    generators = generators_of(studio)
    state = read_state(generators, read_body(asked.body))
    flipped = state.space.flip(state.start)
    assert flipped.y is not None
    y = [round(float(value), 6) for value in np.eye(flipped.y.shape[1])[flipped.y[0].argmax()]]
    made = after(state, "flip", "flipped")
    return as_json({"state": {**state.to_json(), "y": y}, "commands": made})


def equation(studio: Studio, asked: Asked) -> Reply:
    """The result of an equation over states: {"terms": [{"factor": 1, "state": …}, …]}."""
    generators, body = generators_of(studio), read_body(asked.body)
    terms = checked_count(body.get("terms"), 2, _MOST_TERMS)
    if not all(isinstance(term, dict) for term in terms):
        raise InputError("A term is a factor and an image.")
    factors = [real(term.get("factor"), "factor", -10, 10) for term in terms]
    states = [read_state(generators, term.get("state")) for term in terms]
    points = joined(states, generators)
    names = "abcdefgh"[: len(terms)]
    words = "".join(
        f" {'-' if factor < 0 else '+'} {'' if abs(factor) == 1 else f'{abs(factor):.6g}*'}{name}"
        for factor, name in zip(factors, names)
    ).removeprefix(" + ")
    found = states[0].space.arithmetic(words, {name: points[[i]] for i, name in enumerate(names)})
    sets = [_set(name, term, state) for name, term, state in zip(names, terms, states)]
    made = line("arithmetic", states[0], "sum", words.strip(), "--set", *sets)
    return as_json({"state": state_of(states[0].run, found[[-1]], states[0].psi), "commands": [made]})


def _set(name: str, term: dict[str, Any], state: State) -> str:
    """A term as --set takes it: a seed, or the file of a downloaded favourite."""
    seed = "seed" in state.base and not state.moves
    source = f"seeds:{state.base['seed']}" if seed else f"{file_name(str(term.get('name')))}/{OWN_LATENT}"
    label = label_words(state)
    return f"{name}={source}{f'@{label}' if label else ''}"


def start_counterfactual(studio: Studio, asked: Asked) -> Reply:
    """Begin to look for the smallest change that turns a classifier: {"state", "classifier", "to"}."""
    generators, body = generators_of(studio), read_body(asked.body)
    state = read_state(generators, body.get("state"))
    key, to = body.get("classifier"), body.get("to")
    if not isinstance(key, str) or not isinstance(to, str):
        raise InputError("Choose a classifier and a class.")
    model = generators.classifier(key, state.space.network.channels)
    if to not in model.names:
        raise InputError(f"The classifier knows {', '.join(model.names[:20])}.")
    path = generators.path(key, "classifier")

    def work() -> dict[str, Any]:
        return turned(generators, state, key, str(path), to)

    return as_json(jobs.start(studio, asked.session, work))


def turned(generators: Generators, state: State, key: str, path: str, to: str) -> dict[str, Any]:
    """A counterfactual of a state."""
    model = generators.classifier(key, state.space.network.channels)
    how = CounterfactualOptions(to=to, steps=_STEPS)
    found = find_counterfactuals(state.space, point_of(generators, state), model, how)
    made = after(state, "counterfactual", "turned", "--classifier", path, "--to", to)
    return {
        "state": state_of(state.run, found.after, state.psi), "turned": bool(found.turned[0]),
        "already": bool(found.already[0]), "before": float(found.chances[0][0]),
        "after": float(found.chances[1][0]), "commands": made,
    }  # fmt: skip


def classes(studio: Studio, asked: Asked) -> Reply:
    """The classes of a classifier, for a generator of so many channels."""
    generators = generators_of(studio)
    model = generators.classifier(
        asked.text("classifier"), generators.space(asked.text("run")).network.channels
    )
    return as_json({"names": list(model.names)})


def judged(studio: Studio, asked: Asked) -> Reply:
    """What a classifier says of a state's image: {"state", "classifier"}."""
    generators, body = generators_of(studio), read_body(asked.body)
    state = read_state(generators, body.get("state"))
    model = generators.classifier(str(body.get("classifier")), state.space.network.channels)
    images = generators.images(state.space, point_of(generators, state))
    found = generators.compute(lambda: probabilities(model, images)[0])
    return as_json({"classes": [[name, float(p)] for name, p in zip(model.names, found)]})


PAGE = Page(
    "edit",
    build,
    routes={"classes": classes},
    actions={"flip": flip, "equation": equation, "counterfactual": start_counterfactual, "judged": judged},
)
