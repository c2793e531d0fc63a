"""Options of inversion. Needs no torch."""

from __future__ import annotations

import dataclasses
from typing import Literal

from plenish.configuration import check_fields, option
from plenish.datasets.schema import Part
from plenish.errors import InputError

InversionSpace = Literal["z", "w", "w+"]
SEARCH, RELAX = "search", "relax"


@dataclasses.dataclass(frozen=True)
class InversionOptions:
    """How the latents of an image are searched.

    Attributes:
        space: z; or, for generators with styles, w, one style for all layers, or w+, a style for each layer.
        steps: evaluations of the generator with its gradient for each image, those of all starts together.
        starts: beginnings that are tried; the better half goes on, until one is left.
        label: a class, or names with weights such as benign=0.3,tumour=0.7; search: every class is tried;
            relax: a soft label is found together with the latents, then the nearest class. By default that
            of the image where it has one that the generator knows, else search.
        features: weight of the distance between features of the domain network of the generator's training
            data, beside the mean squared error of the pixels; 0 leaves it out.
        prior: weight of the penalty on latents that are longer, or in z also shorter, than the prior makes
            them. Latents of a uniform prior never leave its bounds.
        method: lbfgs (limited-memory BFGS) or adam.
        rate: learning rate of adam.
        encoder: whether half of the starts come from an encoder, which is trained once on images of the
            generator itself and kept with its Run.
        encoder_steps: steps of that training, of 64 images each.
        tune: steps of pivotal tuning, in which the generator's weights are adapted to each image around the
            point found; they are kept beside it, and used where --weights names them. 0 for none.
        seed: of the starts that are drawn, and of the encoder.
    """

    space: InversionSpace = "z"
    steps: int = option(500, least=2, most=1_000_000)
    starts: int = option(4, least=1, most=256)
    label: str | None = None
    features: float = option(0.0, least=0)
    prior: float = option(1e-3, least=0)
    method: Literal["lbfgs", "adam"] = "lbfgs"
    rate: float = option(0.05, above=0, most=10)
    encoder: bool = True
    encoder_steps: int = option(1000, least=1)
    tune: int = option(0, least=0, most=100_000)
    seed: int = 0

    def __post_init__(self) -> None:
        check_fields(self, "")
        if self.steps < 4 * self.starts and self.starts > 1:
            raise InputError(
                f"--steps {self.steps} are too few for {self.starts} starts; give at least "
                f"{4 * self.starts}, or fewer --starts."
            )


@dataclasses.dataclass(frozen=True)
class ImageOptions:
    """Which real images a network is given, where a Dataset is given.

    Attributes:
        ids: images of a Dataset by their id; by default all of the part.
        part: of a Dataset: train, val or test; left out, all images.
        split: the split that has the part; by default the generator's own of the Dataset that it was trained
            on, 'default' of another.
        fit: bring images of another size to the generator's as the import of its training images did (crop,
            pad …, and window); else they are refused.
    """

    ids: list[str] | None = None
    part: Part | None = None
    split: str = ""
    fit: bool = False
