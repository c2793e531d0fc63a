"""Options of the search for unrestricted adversarial examples. Needs no torch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from plenish.configuration import check_fields, option
from plenish.latent.points import Space


@dataclasses.dataclass(frozen=True)
class LatentAttackOptions:
    """Where latents are searched, how, and who decides whether an image still shows its class.

    Attributes:
        images: how many draws of the generator are searched from.
        label: search images of this class alone; by default the classes get equal shares.
        space: what is changed: z, or w of generators with styles.
        distance: how far a latent may move: root mean square over its coordinates of the change, in standard
            deviations of the prior.
        iterations: steps of the search, at most; it stops at the first image that the classifier gets wrong.
        step: length of a step, in the unit of --distance; by default 2.5 · distance / iterations.
        momentum: share of the last direction that is kept.
        confidence: by how much the logit of a wrong class must be ahead of that of the class asked for.
        judge: Run of a classifier that decides whether an image still shows the class asked for; of another
            seed or architecture than the classifier attacked. By default a small network is trained on the
            generator's training images.
        auxiliary: Run of a third classifier, which must go on seeing the class asked for while it is searched
            (Song et al. 2018 use that of their generator).
        keep_all: also write images that the judge takes for another class.
        seed: of the draws; image i depends on it and i alone.
    """

    images: int = option(200, least=1, most=100_000)
    label: str | None = None
    space: Space = "z"
    distance: float = option(0.25, above=0, most=10)
    iterations: int = option(40, least=1, most=10_000)
    step: float | None = option(None, above=0)
    momentum: float = option(0.75, least=0, below=1)
    confidence: float = option(0.0, least=0)
    judge: Path | None = None
    auxiliary: Path | None = None
    keep_all: bool = False
    seed: int = option(0, least=0)

    def __post_init__(self) -> None:
        check_fields(self, "")

    @property
    def step_length(self) -> float:
        """Length of a step, in the unit of `distance`."""
        return self.step if self.step is not None else 2.5 * self.distance / self.iterations
