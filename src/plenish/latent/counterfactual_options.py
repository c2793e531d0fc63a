"""Options of counterfactuals and of moving images away from patients. Needs no torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal

from plenish.configuration import check_fields, option
from plenish.datasets.schema import Part
from plenish.domains import Symmetry
from plenish.metrics.predict_config import SlideOptions

LabelChange = Literal["auto", "kept", "free"]


@dataclasses.dataclass(frozen=True)
class CounterfactualOptions:
    """What a counterfactual is asked to be, and how it is searched for.

    Attributes:
        to: the class to turn to; by default, of two, the one that an image is not of.
        confidence: probability of that class that is to be reached.
        change_label: whether the generator's label may change with the latent: kept, free (towards the class
            alone), or auto, which is free where the generator knows the class.
        orientations: in which the classifier must be turned on average, beside the image as it is: none,
            mirror or dihedral; a change that one orientation alone takes for the class is not enough then.
        noise: standard deviation in grey levels of noise under which it must be turned on average too.
        label_cost: what a whole change of the label counts, in standard deviations of the latent.
        judge: what else is measured before and after, as NAME=RUN of a classifier, or NAME=DATA:COLUMN, a
            column of numbers, or of yes and no, which a small network learns on train; val checks it.
        steps: of the search, from each start.
        starts: of the search; the shortest change counts.
        seed: of the starts behind the first.
    """

    to: str | None = None
    confidence: float = option(0.8, above=0, below=1)
    change_label: LabelChange = "auto"
    orientations: Symmetry = "none"
    noise: float = option(0.0, least=0, most=255)
    label_cost: float = option(1.0, above=0)
    judge: list[str] | None = option(None, adds=True)
    steps: int = option(40, least=2, most=10_000)
    starts: int = option(2, least=1, most=100)
    seed: int = option(0, least=0)

    def __post_init__(self) -> None:
        check_fields(self, "")


@dataclasses.dataclass(frozen=True)
class SlideTurnOptions(SlideOptions):
    """How tiles of a slide are turned.

    Attributes:
        tiles: of a slide: how many are turned at most, those that speak most for its answer first.
        turn: of a slide: one-by-one stops at the tile with which its answer turns; together turns all of
            --tiles.
    """

    tiles: int = option(16, least=1, most=100_000)
    turn: Literal["one-by-one", "together"] = "one-by-one"


@dataclasses.dataclass(frozen=True)
class AnonymiseOptions:
    """What must be kept of an image, and where an acceptable one is looked for.

    Attributes:
        keep: concepts of the generator's Run along which the latent does not move.
        classifier: Run of a classifier that must say the same class as of the image given; without it, only
            the label asked of the generator is kept.
        ways: directions in which a point is moved, each towards a draw of the prior.
        levels: steps on each way, to as far as the draw itself.
        against_split: split of the Dataset whose train part is compared with, and val calibrates.
        seed: of the draws.
    """

    keep: list[str] | None = None
    classifier: Path | None = None
    ways: int = option(16, least=1, most=1_000)
    levels: int = option(10, least=1, most=1_000)
    against_split: str = "default"
    seed: int = option(0, least=0)

    def __post_init__(self) -> None:
        check_fields(self, "")


@dataclasses.dataclass(frozen=True)
class EditScoreOptions:
    """What of edits is measured.

    Attributes:
        judge: attributes that should be kept, as NAME=RUN of a classifier, or NAME=DATA:COLUMN.
        frames: points of the way from before to after at which features are computed.
        cycle: also turn the results back, and measure how far from the beginning that ends.
    """

    judge: list[str] | None = option(None, adds=True)
    frames: int = option(17, least=2, most=1_000)
    cycle: bool = True

    def __post_init__(self) -> None:
        check_fields(self, "")


@dataclasses.dataclass(frozen=True)
class ToInvert:
    """How real images are read and inverted first; --ids names some of a Dataset, --label their label.

    Attributes:
        part: of a Dataset: train, val or test; left out, all images.
        split: the split that has the part; by default the generator's own.
        fit: bring images of another size to the generator's as the import of its training images did.
        inversion_steps: evaluations of the generator for each image.
        encoder: whether half of the starts come from an encoder, which is trained once on images of the
            generator itself and kept with its Run.
        encoder_steps: steps of that training, of 64 images each.
    """

    part: Part | None = None
    split: str = ""
    fit: bool = False
    inversion_steps: int = option(500, least=8, most=1_000_000)
    encoder: bool = True
    encoder_steps: int = option(1000, least=1)

    def __post_init__(self) -> None:
        check_fields(self, "")
