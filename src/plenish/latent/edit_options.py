"""Options of edits: which generator, which of its points. Needs no torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from plenish.configuration import check_fields, option


@dataclasses.dataclass(frozen=True)
class GeneratorOptions:
    """How a generator is loaded.

    Attributes:
        checkpoint: best, last, or a checkpoint's name.
        truncation: psi, for GANs; below 1, the default, images are more typical and less varied.
        options: further options of the generator's family as name=value, such as steps=10 of a flow; noise is
            constant unless noise=random is given.
    """

    checkpoint: str = "best"
    truncation: float | None = option(None, least=0, most=1)
    options: list[str] | None = None

    def __post_init__(self) -> None:
        check_fields(self, "")


@dataclasses.dataclass(frozen=True)
class PointOptions(GeneratorOptions):
    """Which points of its latent space; by default those of the seeds 0 to 3.

    Attributes:
        seeds: a point for each number.
        latents: a .npy or .csv file of latents, one row a point.
        space: what --latents holds; w, for generators with styles, is N×w_dim or N×num_ws×w_dim.
        data: a Dataset that this generator made, whose images are meant.
        ids: which of its images; by default all.
        label: the label of all points: a class, or names with weights such as benign=0.3,tumour=0.7; by
            default that of the images, or the classes in turn.
    """

    seeds: list[int] | None = None
    latents: Path | None = None
    space: Literal["z", "w"] | None = None
    data: Path | None = None
    ids: list[str] | None = None
    label: str | None = None


@dataclasses.dataclass(frozen=True)
class SetOptions:
    """The sets of points of an equation.

    Attributes:
        sets: a set as NAME=seeds:1,2,5-7, NAME=ids:ID,ID of --data, or NAME=FILE or NAME=FILE:0,2-4 with its
            rows; behind it may be @LABEL. Other names in the equation are concepts of the Run.
        data: a Dataset that this generator made, whose ids are meant.
    """

    sets: list[str] | None = option(None, adds=True)
    data: Path | None = None
