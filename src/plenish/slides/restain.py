"""The stain of a slide's tiles made that of a Dataset which `plenish slides normalise` made."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError

if TYPE_CHECKING:
    from plenish.slides.planning import Plan
    from plenish.slides.reader import Slide
    from plenish.slides.stain import Fit, Method

_TILES, _PIXELS = 200, 2_000
"""Tiles a slide is measured on at most, and pixels of each: as many as `slides normalise` takes."""


@dataclasses.dataclass(frozen=True)
class Restain:
    """What is done to tiles before they are looked at.

    Attributes:
        method: macenko or reinhard.
        source: the slide's stains; None measures each tile by itself.
        target: the stains they shall have.
        about: how, for people: where the slide's stains are from.
    """

    method: Method
    source: Fit | None
    target: Fit
    about: str

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Tiles N×H×W×3 uint8 with the other stain; those that cannot be measured stay."""
        from plenish.slides.stain import Unmeasurable, fit, normalise

        done = tiles.copy()
        for i, tile in enumerate(tiles):
            try:
                source = self.source or fit(tile, self.method)
            except Unmeasurable:
                continue
            done[i] = normalise(tile, source, self.target)
        return done


def restain_like(facts: Mapping[str, Any], slide: Slide, plan: Plan, seed: int = 0) -> Restain | None:
    """What makes a slide's tiles look like those of a Dataset; None where that left the stain as it was.

    A slide of the Dataset's own keeps the stains that were measured then; another is measured on its tiles,
    as it would have been.

    Args:
        facts: `extra.stain` of the Dataset.
        slide: the open slide.
        plan: its tiles.
        seed: of the tiles and pixels that are measured.

    Raises:
        InputError: the slide has too little stained tissue to measure, or the facts are not whole.
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
            "The Dataset's dataset.json does not say which stain its tiles have; make it again."
        ) from None
    about = f"{method}, each tile by itself"
    if source is not None:
        about = f"{method}, as measured of the Dataset's slide {slide.name}"
    elif facts.get("per") != "tile":
        source, about = _measured(method, slide, plan, seed), f"{method}, measured on this slide"
    return Restain(method, source, target, about)


def _fit_of(method: Method, facts: Mapping[str, Any]) -> Fit:
    from plenish.slides.stain import Macenko, Reinhard

    kind = Macenko if method == "macenko" else Reinhard
    return kind(**{field.name: tuple(facts[field.name]) for field in dataclasses.fields(kind)})


def _measured(method: Method, slide: Slide, plan: Plan, seed: int) -> Fit:
    from plenish.slides.reader import UnreadableRegion
    from plenish.slides.stain import Unmeasurable, fit

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
            "tiles; give --no-stain to look at its tiles unchanged."
        ) from None


__all__ = ["Restain", "restain_like"]
