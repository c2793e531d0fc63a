"""Options of concepts and directions: which examples, what reads the images. Needs no torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from plenish.configuration import check_fields, option
from plenish.latent.edit_options import GeneratorOptions

DirectionMethod = Literal["sefa", "pca"]


@dataclasses.dataclass(frozen=True)
class JudgeOptions:
    """What reads edited or generated images.

    Attributes:
        truth: a real Dataset whose table holds the truth; networks that read its columns and classes off
            images are trained on its train part and checked on val.
        split: its split.
        columns: which of its columns; by default all of numbers or yes and no.
        classifier: a classifier's Run, which tells the class in place of a network trained on --from.
        target: the column that is to change.
    """

    truth: Path | None = None
    split: str = "default"
    columns: list[str] | None = None
    classifier: Path | None = None
    target: str | None = None

    def __post_init__(self) -> None:
        check_fields(self, "")


@dataclasses.dataclass(frozen=True)
class LearnOptions(GeneratorOptions):
    """How a concept is learnt.

    Attributes:
        method: of examples: the difference of the means, or the normal of a linear support vector machine.
        space: z or w; by default w where the generator has styles.
        data: a Dataset that this generator made, whose ids --with and --without name.
        label: the label of examples that are seeds or latents; by default the classes in turn.
        column: learn from a column of --from in place of examples, or the probability of a class by
            --classifier: generated images are read, and the values regressed on their latents.
        images: number of images that are read for --column and --keep-columns.
        keep: concepts that the new one is to be at right angles to.
        keep_label: whether it is to be at right angles to the class too; in z, where the label is an input of
            its own, it always is.
        keep_columns: columns of --from, and `class`, that the new concept is to leave as they are: they are
            read off generated images, and it is at right angles to the directions along which they grow.
        replace: whether a concept of that name gives way.
        seed: of the images read for --column and --keep-columns.
    """

    method: Literal["mean", "svm"] = "mean"
    space: Literal["z", "w"] | None = None
    data: Path | None = None
    label: str | None = None
    column: str | None = None
    images: int = option(1000, least=10, most=100_000)
    keep: list[str] | None = None
    keep_label: bool = False
    keep_columns: list[str] | None = None
    replace: bool = False
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class EffectOptions(JudgeOptions):
    """What an effect is measured with.

    Attributes:
        strength: strengths to measure at.
        n: number of fresh images.
        label: label of the fresh images; by default the classes in turn.
        features: whether distances of features are measured, with the extractor fitted on --from.
    """

    strength: tuple[float, ...] = (-1.0, 1.0)
    n: int = option(200, least=2, most=100_000)
    label: str | None = None
    features: bool = True


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

    method: DirectionMethod = "sefa"
    n: int = option(8, least=1, most=10_000)
    strength: tuple[float, ...] = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
    layers: list[int] | None = None
    keep_as: str | None = None
    pick: list[int] | None = None
    replace: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "")
