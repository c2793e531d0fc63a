"""The page Blend: the way between two images, or the square between four, and real images inverted for it."""

from __future__ import annotations

import dataclasses
import json
import shlex
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from plenish.errors import InputError
from plenish.latent.coordinates import coordinates
from plenish.latent.inversion import invert
from plenish.latent.inversion_encoder import has_encoder
from plenish.latent.inversion_options import InversionOptions
from plenish.latent.points import Points
from plenish.latent.render import FilmOptions, Format, Row, figure, film
from plenish.latent.space import LatentSpace
from plenish.studio import jobs, uploads
from plenish.studio.browse import as_image, png
from plenish.studio.explore import mount
from plenish.studio.generators import Generators, generators_of
from plenish.studio.pages import Asked, Page, Reply, Studio, Ui
from plenish.studio.pictures import archive, as_json, npy, sheet
from plenish.studio.states import State, checked_count, joined, read_body, read_state, state_of

FRAMES = 32
ACROSS = 8
SIDE = 7
_KINDS: dict[str, str] = {"webp": "image/webp", "gif": "image/gif", "mp4": "video/mp4"}
STEPS, FEWER_STEPS = 500, 120
"""Evaluations of the generator for an inversion; fewer of a flow, each of which has many steps."""


def build(ui: Ui) -> None:
    """Make the markup of the tab; assets/blend.js fills it."""
    ui.heading("blend")
    mount(ui, "blend")


def _asked(studio: Studio, asked: Asked) -> tuple[Generators, dict[str, Any], list[State]]:
    generators, body = generators_of(studio), read_body(asked.body)
    given = checked_count(body.get("states"), 2, 4)
    if len(given) == 3:
        raise InputError("Choose two images, or four.")
    return generators, body, [read_state(generators, one) for one in given]


def way(generators: Generators, states: list[State]) -> Points:
    """The points between two states, or the square between four."""
    ends = joined(states, generators)
    space = states[0].space
    return space.interpolate(ends, FRAMES) if len(states) == 2 else space.grid(ends, SIDE)


def blended(studio: Studio, asked: Asked) -> Reply:
    """The frames of the way between two images, or the square between four, as one picture."""
    generators, _, states = _asked(studio, asked)
    images = generators.images(states[0].space, way(generators, states))
    return Reply(sheet(images, ACROSS if len(states) == 2 else SIDE), "image/png")


def between(studio: Studio, asked: Asked) -> Reply:
    """A point of the way or of the square as a state of its own: for the basket."""
    generators, body, states = _asked(studio, asked)
    points = way(generators, states)
    number = body.get("number")
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < len(points):
        raise InputError(f"There are {len(points)} images here.")
    return as_json(state_of(states[0].run, points[[number]], states[0].psi))


def repeated(states: list[State]) -> str:
    """The command that makes the blend again, of the downloaded latents."""
    words = ["plenish", "edit", "interpolate" if len(states) == 2 else "grid"]
    words += [str(states[0].space.loaded.run.path), "blend", "--latents", "latents.npy"]
    words += ["--frames", str(FRAMES)] if len(states) == 2 else ["--side", str(SIDE)]
    words += [] if states[0].psi == 1 else ["--truncation", f"{states[0].psi:.6g}"]
    return shlex.join(words)


def recipe(studio: Studio, asked: Asked) -> Reply:
    """The command that repeats the blend."""
    _, _, states = _asked(studio, asked)
    return as_json({"commands": [repeated(states)]})


def download(studio: Studio, asked: Asked) -> Reply:
    """The film, the strip, the latents and the command, as a .zip file."""
    generators, body, states = _asked(studio, asked)
    kind = body.get("film", "webp")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InputError(f"A film is {', '.join(_KINDS)}.")
    space, ends = states[0].space, joined(states, generators)
    points = way(generators, states)
    images = generators.images(space, points)
    if len(states) == 2:
        back = np.concatenate([images, images[-2:0:-1]])
        shown: Any = figure([Row("", images[np.linspace(0, FRAMES - 1, ACROSS).round().astype(int)])])
    else:
        size = images.shape[1:]
        shown = figure([Row("", row) for row in images.reshape(SIDE, SIDE, *size)])
        round_trip = Points.joined([ends[[i]] for i in (0, 1, 3, 2)])
        back = generators.images(space, space.interpolate(round_trip, FRAMES // 2, loop="closed"))
    options = FilmOptions(film=cast(Format, kind), frames=FRAMES)
    about = {"space": ends.space, "names": list(ends.names), "model": _model(space)}
    parts = {
        f"film.{kind}": film(back, options), "strip.png": _bytes(shown), "latents.npy": npy(ends.values),
        "latents.json": json.dumps(about).encode(), "commands.txt": f"{repeated(states)}\n".encode(),
    }  # fmt: skip
    if ends.y is not None:
        parts["labels.npy"] = npy(ends.y)
    return archive(parts, "blend.zip")


def _model(space: LatentSpace) -> dict[str, Any]:
    return {key: value for key, value in space.loaded.provenance().items() if key != "data"}


def _bytes(picture: Image.Image) -> bytes:
    return png(np.asarray(picture))


# Real images


def start_inversion(studio: Studio, asked: Asked) -> Reply:
    """Begin to look for the latent of an uploaded picture; see `look`."""
    generators = generators_of(studio)
    run, key = asked.text("run"), asked.text("picture")
    space, picture = generators.space(run), uploads.picture(asked.session, key)
    fitted = fit(picture, space.network.size, space.network.channels)

    def work() -> dict[str, Any]:
        return inverted(generators, run, fitted)

    begun = jobs.start(studio, asked.session, work)
    asked.session.drop(key)  # The page sends a picture anew each time; its pixels are in the work.
    return as_json(begun)


def fit(picture: NDArray[np.uint8], size: int, channels: int) -> NDArray[np.uint8]:
    """The middle square of a picture, H×W×3, at a generator's size and channels."""
    image = as_image(picture)
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    image = image.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    pixels = np.array(image.convert("L" if channels == 1 else "RGB"), np.uint8)
    return pixels.reshape(size, size, channels)


def inverted(generators: Generators, run: str, pixels: NDArray[np.uint8]) -> dict[str, Any]:
    """The state whose image is nearest to a picture, and how near it is."""
    space = generators.space(run)
    steps = FEWER_STEPS if "steps" in space.options else STEPS
    how = InversionOptions(space="w+" if space.has_styles else "z", steps=steps)
    if not has_encoder(space, coordinates(space, how.space), how):  # Training one takes minutes.
        how = dataclasses.replace(how, encoder=False)
    y = None
    if space.labels.width and space.labels.kind != "categorical":
        y = np.zeros((1, space.labels.width), np.float32)
    found = invert(space, pixels[None], how, y, names=("upload",))
    return {"state": state_of(run, found.points), "error": float(found.error[0]), "steps": found.evaluations}


def look(studio: Studio, asked: Asked) -> Reply:
    """How far a piece of work is."""
    return as_json(jobs.look(asked.session, asked.text("job")))


PAGE = Page(
    "blend",
    build,
    routes={"job": look},
    actions={
        "frames": blended, "between": between, "recipe": recipe, "download": download,
        "invert": start_inversion,
    },
)  # fmt: skip
