"""The state of an image in the studio: what it is made of, as JSON that a link can carry.

A state comes from a browser, where links may be altered, so every part of it is checked here.

    {"run": ID, "psi": 1, "y": [0, 1], "base": BASE, "moves": {"lumen": 1.5}}

BASE is {"seed": 3}; {"plane": "random" or "triangle", "seeds": [1, 2, 3], "at": [x, y]}; or
{"space": "z" or "w", "values": base64 of float32}. `y` may be missing: then it is the first class.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError, unknown
from plenish.latent import concepts
from plenish.latent.plane import on_plane, weights
from plenish.latent.space import LatentSpace, Points
from plenish.studio.generators import SEFA, Generators, sefa_names

MOST_STRENGTH = 20.0
_MOST_SEED = 2**31 - 1
_MOST_MOVES = 32
_MOST_LABEL = 1e3
LATENT = "latent.npy"
"""Name of the downloaded latent that a command takes."""


@dataclasses.dataclass(frozen=True)
class State:
    """A checked state.

    Attributes:
        run: id of the generator.
        space: the generator, with the truncation asked for.
        base: where it begins, as the browser said it.
        start: the point of the base, with the state's label.
        moves: strengths of directions by name, none 0.
    """

    run: str
    space: LatentSpace
    base: Mapping[str, Any]
    start: Points
    moves: Mapping[str, float]

    @property
    def psi(self) -> float:
        """Truncation, 1 for none."""
        return float(self.space.options.get("truncation", 1.0))

    def to_json(self) -> dict[str, Any]:
        """The state for the browser."""
        y = None if self.start.y is None else [round(float(value), 6) for value in self.start.y[0]]
        return {"run": self.run, "psi": self.psi, "y": y, "base": dict(self.base), "moves": dict(self.moves)}


def read_body(body: bytes) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        InputError: it is none.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _unreadable("request")
    return found


def read_state(generators: Generators, given: Any) -> State:
    """Check a state from a browser.

    Raises:
        InputError: it is no state, or does not fit the generator.
    """
    if not isinstance(given, dict) or not isinstance(given.get("run"), str):
        raise _unreadable("state")
    space = generators.space(given["run"], real(given.get("psi", 1.0), "psi", 0.0, 1.0))
    y = _label(space, given.get("y"))
    base = given.get("base")
    if not isinstance(base, dict):
        raise _unreadable("state")
    start, kept = _start(space, base, y)
    return State(given["run"], space, kept, start, _moves(generators, given["run"], given.get("moves")))


def _unreadable(what: str) -> InputError:
    return InputError(f"This {what} cannot be read; it was altered or is of another version of the studio.")


def real(value: Any, name: str, least: float, most: float) -> float:
    """A number of a request.

    Raises:
        InputError: it is none, or outside the bounds.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most:
        raise InputError(f"'{name}' must be a number from {least:g} to {most:g}.")
    return float(value)


def _seed(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_SEED:
        raise InputError(f"A seed is a whole number from 0 to {_MOST_SEED}.")
    return value


def _label(space: LatentSpace, y: Any) -> NDArray[np.float32] | None:
    labels = space.labels
    if not labels.width:
        return None
    if y is None:
        found = np.zeros((1, labels.width), np.float32)
        found[0, 0] = labels.kind == "categorical"
        return found
    if not isinstance(y, list) or len(y) != labels.width:
        raise InputError(f"A label of this generator is {labels.width} numbers.")
    least = -_MOST_LABEL if labels.kind == "continuous" else 0.0
    values = [real(value, "label", least, _MOST_LABEL if labels.kind == "continuous" else 1.0) for value in y]
    if labels.kind == "categorical" and abs(sum(values) - 1) > 1e-3:
        raise InputError("The parts of the classes must sum to 1.")
    return np.array([values], np.float32)


def _start(
    space: LatentSpace, base: Mapping[str, Any], y: NDArray[np.float32] | None
) -> tuple[Points, dict[str, Any]]:
    """The point of a base, and the base without anything else that was in it."""
    if "seed" in base:
        seed = _seed(base["seed"])
        return space.draw([seed], y), {"seed": seed}
    if "plane" in base:
        kind, seeds, at = base["plane"], base.get("seeds"), base.get("at")
        if kind not in ("random", "triangle") or not isinstance(seeds, list) or not isinstance(at, list):
            raise _unreadable("state")
        if len(seeds) != 3 or len(at) != 2:
            raise _unreadable("state")
        seeds, (x, up) = [_seed(one) for one in seeds], (real(one, "at", -4, 4) for one in at)
        point = on_plane(space.draw(seeds, y), kind, x, up, uniform=space.uniform)
        return point, {"plane": kind, "seeds": seeds, "at": [x, up]}
    of, values = base.get("space"), base.get("values")
    if of not in ("z", "w") or not isinstance(values, str):
        raise _unreadable("state")
    try:
        raw = base64.b64decode(values, validate=True)
    except (binascii.Error, ValueError):
        raise _unreadable("state") from None
    if not raw or len(raw) % 4:
        raise _unreadable("state")
    row = np.frombuffer(raw, "<f4").astype(np.float32)[None]
    try:
        return space.given(row, of, y), {"space": of, "values": values}
    except InputError:
        raise InputError("The latent in this state does not fit the generator.") from None


def _moves(generators: Generators, run: str, given: Any) -> dict[str, float]:
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > _MOST_MOVES:
        raise _unreadable("state")
    strengths = {
        name: real(strength, "strength", -MOST_STRENGTH, MOST_STRENGTH) for name, strength in given.items()
    }
    known = generators.directions(run) if strengths else {}
    for name in strengths:
        if name not in known:
            raise unknown("direction of this generator", name[:80], known)
    return {name: strength for name, strength in strengths.items() if strength}


def point_of(generators: Generators, state: State) -> Points:
    """The point of a state, its directions added.

    Raises:
        InputError: directions of z and of w at once, or of z on a point of w.
    """
    if not state.moves:
        return state.start
    known = generators.directions(state.run)
    return concepts.move(state.space, state.start, [(known[name], s) for name, s in state.moves.items()])


def given_base(points: Points) -> dict[str, Any]:
    """One point as the base of a state."""
    values = np.ascontiguousarray(points.values[0], "<f4").tobytes()
    return {"space": points.space, "values": base64.b64encode(values).decode()}


def state_of(run: str, points: Points, psi: float = 1.0) -> dict[str, Any]:
    """One point as a state, JSON-able."""
    y = None if points.y is None else [round(float(value), 6) for value in points.y[0]]
    return {"run": run, "psi": psi, "y": y, "base": given_base(points), "moves": {}}


# The commands that repeat it


def label_words(state: State) -> str:
    """The label as --label takes it; empty without labels."""
    y, labels = state.start.y, state.space.labels
    if y is None:
        return ""
    if labels.kind == "categorical" and y.max() > 0.9999:
        return str(labels.names[int(y.argmax())])
    return ",".join(f"{name}={_short(value)}" for name, value in zip(labels.names, y[0]) if value)


def _short(value: float) -> str:
    return f"{float(value):.6g}"


def commands(state: State, out: str = "image") -> list[str]:
    """The commands that make the image of a state again, one a line.

    Args:
        state: the state; where neither a seed nor a plane gives its latent, that is read from a file.
        out: the folder that the last of them writes.
    """
    label, lines = label_words(state), []
    labelled = ["--label", label] if label else []
    where = ["--latents", LATENT]
    if "seed" in state.base:
        where = ["--seeds", str(state.base["seed"])]
    elif "plane" in state.base and not state.space.uniform:
        parts = weights(state.base["plane"], *state.base["at"])
        terms = " + ".join(f"{_short(w)}*{n}" for w, n in zip(parts, "abc")).replace("+ -", "- ")
        sets = [f"{n}=seeds:{seed}" for n, seed in zip("abc", state.base["seeds"])]
        start = "start" if state.moves else out
        lines.append(line("arithmetic", state, start, terms, "--set", *sets, *labelled))
        where = ["--latents", "start/latents.npy"]
        if not state.moves:
            return lines
    if state.moves:
        if set(state.moves) & set(names := sefa_names(state.space)):
            found = ["-n", str(len(names)), "--keep-as", SEFA, "--replace"]
            lines.append(line("directions", state, "directions", *found))
        words = [f"{name}={_short(strength)}" for name, strength in state.moves.items()]
        return [*lines, line("concept", state, out, *words, "--strength", "1", *where, *labelled)]
    source = f"seeds:{state.base['seed']}" if "seed" in state.base else LATENT
    return [line("arithmetic", state, out, "a", "--set", f"a={source}", *labelled)]


def line(verb: str, state: State, out: str, *words: str) -> str:
    """One command over a state's generator."""
    more = [] if state.psi == 1 else ["--truncation", _short(state.psi)]
    run = str(state.space.loaded.run.path)
    return shlex.join(["plenish", "edit", verb, run, out, *words, *more])


def after(state: State, verb: str, out: str, *words: str) -> list[str]:
    """The commands that make a state, and one more that goes on from its image."""
    label = label_words(state)
    labelled = ["--label", label] if label else []
    if "seed" in state.base and not state.moves:
        return [line(verb, state, out, *words, "--seeds", str(state.base["seed"]), *labelled)]
    made = commands(state, "before")
    if made[-1].split()[2] == "arithmetic" and needs_file(state):  # The file itself will do.
        return [line(verb, state, out, *words, "--latents", LATENT, *labelled)]
    return [*made, line(verb, state, out, *words, "--latents", "before/latents.npy", *labelled)]


def needs_file(state: State) -> bool:
    """Whether the commands take the latent from a file."""
    return "values" in state.base or ("plane" in state.base and state.space.uniform)


def file_name(text: str) -> str:
    """A text as the name of a downloaded file."""
    return re.sub(r"[^\w-]+", "-", text)[:60].strip("-") or "image"


def joined(states: Sequence[State], generators: Generators) -> Points:
    """The points of several states of one generator, all of w where one is.

    Raises:
        InputError: they are of several generators.
    """
    if len({state.run for state in states}) > 1:
        raise InputError("These images are of several generators; choose images of one.")
    points = [point_of(generators, state) for state in states]
    if any(one.space == "w" for one in points):
        points = [states[0].space.to_w(one) for one in points]
    return Points.joined(points)


def checked_count(values: Any, least: int, most: int) -> list[Any]:
    """A list of a request, of so many entries.

    Raises:
        InputError: it is none, or too short or long.
    """
    if not isinstance(values, list) or not least <= len(values) <= most:
        raise InputError(f"Give {least} to {most} images.")
    return values
