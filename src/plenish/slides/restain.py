"""Give tiles of a slide the stain of a Dataset that `plenish slides normalise` made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError
from plenish.slides.native import UnreadableRegion
from plenish.slides.planning import Plan
from plenish.slides.reader import Slide
from plenish.slides.stain import Fit, Macenko, Method, Reinhard, Unmeasurable, fit, restain

_TILES, _PIXELS = 200, 2_000
"""Tiles a slide is measured on at most, and pixels of each: as many as `slides normalise` takes."""


@dataclasses.dataclass(frozen=True)
class Restain:
    """What is done to tiles before they are scored.

    Attributes:
        source: the slide's stains; None measures each tile by itself.
        target: the stains they shall have.
        about: the method, and where the slide's stains are from.
    """

    source: Fit | None
    target: Fit
    about: str

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Tiles N×H×W×3 uint8 with the other stain; those that cannot be measured stay as they are."""
        return np.stack([restain(tile, self.source, self.target) for tile in tiles])


def restain_like(facts: Mapping[str, Any], slide: Slide, plan: Plan, seed: int = 0) -> Restain | None:
    """How to give a slide's tiles the stain of a Dataset; None if that left the stain unchanged.

    A slide of the Dataset keeps the stains that were measured then; another is measured on its tiles, as it
    would have been.

    Args:
        facts: `extra.stain` of the Dataset.
        slide: the open slide.
        plan: its tiles.
        seed: of the tiles and pixels that are measured.

    Raises:
        InputError: the slide has too little stained tissue to measure, or the facts are incomplete.
    """
    if facts.get("method") not in ("macenko", "reinhard"):
        return None
    method = cast("Method", facts["method"])
    try:
        target = _fit_of(method, facts["target"])
        known = facts.get("sources", {}).get(slide.name) if facts.get("per") == "slide" else None
        source = _fit_of(method, known) if known else None
    except (KeyError, TypeError):
        raise InputError(
            "The Dataset's dataset.json does not state which stain its tiles have; make it again."
        ) from None
    about = f"{method}, each tile by itself"
    if source is not None:
        about = f"{method}, as measured of the Dataset's slide {slide.name}"
    elif facts.get("per") != "tile":
        source, about = _measured(method, slide, plan, seed), f"{method}, measured on this slide"
    return Restain(source, target, about)


def _fit_of(method: Method, facts: Mapping[str, Any]) -> Fit:
    kind = Macenko if method == "macenko" else Reinhard
    return kind(**{field.name: tuple(facts[field.name]) for field in dataclasses.fields(kind)})


def _measured(method: Method, slide: Slide, plan: Plan, seed: int) -> Fit:
    rng = np.random.default_rng([seed, 0x57A1])
    pixels = [np.empty((0, 3), np.uint8)]
    for i in np.sort(rng.permutation(len(plan))[:_TILES]):
        try:
            flat = plan.grid.read(slide, int(plan.rows[i]), int(plan.columns[i])).reshape(-1, 3)
        except UnreadableRegion:
            continue
        pixels.append(flat[rng.choice(len(flat), min(_PIXELS, len(flat)), replace=False)])
    try:
        return fit(np.concatenate(pixels), method)
    except Unmeasurable as error:
        raise InputError(
            f"The stain of {slide.path} cannot be measured ({error}), and the Run was trained on normalised "
            "tiles; give --no-stain to score its tiles unchanged."
        ) from None
