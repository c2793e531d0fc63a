"""What an evaluation of a classifier's robustness is asked, without torch, so that help need not load it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from plenish.configuration import check_bounds, option, option_name
from plenish.datasets.schema import Part
from plenish.errors import InputError, unknown
from plenish.robustness.radius import parse_eps

GRIDS: Mapping[str, tuple[str, ...]] = {
    "linf": ("0", "0.5/255", "1/255", "2/255", "4/255", "8/255", "16/255"),
    "l2": ("0", "0.125", "0.25", "0.5", "1", "2", "4"),
}
"""Radii at which classifiers are attacked by default, by norm."""
PRESETS = ("standard", "quick", "full")
RESULT, EXAMPLES, GALLERY = "attack.json", "examples.parquet", "gallery.npz"
"""Files of a result."""
CONTROLS_ALONE = "controls-alone"
"""Code of the caveat of a result without an attack."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How a classifier is attacked.

    Attributes:
        part: of a Dataset: train, val or test.
        split: the split that has the part; by default that of the classifier's training where it was trained
            on this Dataset, 'default' of another.
        norm: linf (the largest change of a value) or l2 (the Euclidean length of the change of an image).
        eps: radii in units of [0, 1], as 0.03 or 4/255; 0 is always added. By default 0.5/255 to 16/255 in
            the norm linf, and 0.125 to 4 in l2.
        attacks: standard, quick, full, or names of attacks.
        images: attack so many of them, a random choice with all classes in proportion; by default all.
        seed: of every random draw.
        batch: images at once.
        corruptions: measure common corruptions too.
        level: level of the intervals.
        resamples: bootstrap resamples of the groups.
    """

    part: Part = "val"
    split: str = ""
    norm: Literal["linf", "l2"] = "linf"
    eps: tuple[float | str, ...] | None = None
    attacks: tuple[str, ...] = ("standard",)
    images: int | None = option(least=2)
    seed: int = 0
    batch: int = option(128, least=1)
    corruptions: bool = True
    level: float = option(0.95, least=0.5, below=1)
    resamples: int = option(1000, least=100)

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            if field.name != "eps":
                check_bounds(option_name(field.name), getattr(self, field.name), field.metadata)
        if self.norm not in GRIDS:
            raise unknown("--norm", self.norm, GRIDS)
        if not self.attacks:
            raise InputError(f"Give attacks: {', '.join(PRESETS)}, or names of attacks.")
        if len(self.attacks) > 1 and (preset := set(self.attacks) & set(PRESETS)):
            raise InputError(f"'{min(preset)}' names several attacks; give it alone.")
        if not any(self.grid):
            raise InputError("--eps takes distances in units of [0, 1], at least one above 0.")

    @property
    def grid(self) -> tuple[float, ...]:
        """All radii, rising, from 0 on."""
        typed = GRIDS[self.norm] if self.eps is None else self.eps
        return tuple(sorted({0.0, *(parse_eps(eps, "--eps") for eps in typed)}))
