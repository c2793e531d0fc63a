"""Options of directions. Needs no torch."""

from __future__ import annotations

import dataclasses
from typing import Literal

from plenish.configuration import check_fields, option

Method = Literal["sefa", "pca"]


@dataclasses.dataclass(frozen=True)
class DirectionOptions:
    """Which directions are looked for, and what is shown and kept of them.

    Attributes:
        method: sefa (the weights that the latent meets first) or pca (GANSpace).
        n: how many directions.
        strength: strengths of the contact sheet, in standard deviations of the latents.
        layers: of w, the layers that are moved; by default all.
        keep_as: keep directions as concepts of this name; several are numbered, NAME-1, NAME-2 ….
        pick: which are kept, from 1; by default all.
        replace: whether concepts of these names give way.
    """

    method: Method = "sefa"
    n: int = option(8, least=1, most=10_000)
    strength: tuple[float, ...] = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
    layers: list[int] | None = None
    keep_as: str | None = None
    pick: list[int] | None = None
    replace: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "")
