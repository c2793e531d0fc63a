"""How a classifier is trained, without torch, so that a command's help need not load it."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Literal, get_args

from plenish.configuration import check_bounds, option, option_name
from plenish.datasets.batches import Images
from plenish.domains import SYMMETRIES, Symmetry, check_domain, choose_domain
from plenish.errors import unknown
from plenish.training.drawing import DrawingOptions, settle_steps

Augmentation = Literal["none", "classical"]
_PASSES, _FEWEST_STEPS, _MOST_STEPS = 12, 150, 3000


@dataclasses.dataclass(frozen=True)
class ClassifierOptions:
    """What every training of a classifier may choose, a study's too.

    Attributes:
        classifier: small, or any timm name.
        steps: optimiser steps; by default 12 passes over the training images, 150 to 3000 steps.
        batch: images a step.
        learning_rate: peak learning rate; by default one that suits the classifier.
        weight_decay: weight decay of AdamW.
        warmup: share of the steps over which the rate rises linearly; it then falls by a cosine to 0.
        loss: cross-entropy, weighted (rare classes count more), focal (hard images count more) or
            logit-adjusted (rare classes need a larger margin).
        smoothing: label smoothing.
        weight_power: of the weighted loss: an image counts by its class's frequency to minus this power.
        focal_gamma: of the focal loss: the larger, the less an image counts that is classified well.
        prior_power: of the logit-adjusted loss: logits are raised by this times the log of class frequencies.
        domain: kind of images, which decides what classical augmentation may do to them: natural, histology,
            dermoscopy, radiology, fundus, industrial, comic, faces or text; by default the one kept with the
            Dataset, else natural.
        symmetry: orientations that classical augmentation shows, instead of the domain's: none, mirror
            (left-right) or dihedral (also upside down and turned by right angles).
        evaluations: how often the classifier is validated; the best of these checkpoints is kept.
        pretrained: start from weights and fine-tune: true for timm's own, which it fetches once, or a file.
    """

    classifier: str = "small"
    steps: int | None = option(least=1)
    batch: int = option(64, least=2)  # Batch normalisation needs more than one image.
    learning_rate: float | None = option(above=0)
    weight_decay: float = option(0.02, least=0)
    warmup: float = option(0.1, least=0, most=1)
    loss: str = "cross-entropy"
    smoothing: float = option(0.1, least=0, below=1)
    weight_power: float = option(1.0, least=0)
    focal_gamma: float = option(2.0, least=0)
    prior_power: float = option(1.0, least=0)
    domain: str | None = None
    symmetry: Symmetry | None = None
    evaluations: int = option(5, least=1)
    pretrained: bool | Path = False

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            check_bounds(option_name(field.name), getattr(self, field.name), field.metadata)
        if self.domain is not None:
            check_domain(self.domain)
        for name, choices in self._choices().items():
            if getattr(self, name) not in (None, *choices):
                raise unknown(option_name(name), getattr(self, name), choices)

    def _choices(self) -> dict[str, tuple[str, ...]]:
        return {"symmetry": SYMMETRIES}

    @property
    def peak_rate(self) -> float:
        """The learning rate after warm-up."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 3e-4 if self.pretrained else 1e-3

    def rate(self, step: int) -> float:
        """The learning rate of a step, 0…steps−1, where their number is known."""
        assert self.steps is not None
        rise = max(1, round(self.warmup * self.steps))
        if step < rise:
            return self.peak_rate * (step + 1) / rise
        progress = (step - rise) / max(1, self.steps - rise)
        return self.peak_rate * 0.5 * (1 + math.cos(math.pi * progress))


@dataclasses.dataclass(frozen=True)
class ClassifierConfig(DrawingOptions, ClassifierOptions):
    """How one classifier is trained.

    Attributes:
        augmentation: none, or classical: flips, turns, shifts, brightness and contrast.
        patience: end after this many validations without a better one; 0 never stops early.
        seed: seed of every random draw.
    """

    augmentation: Augmentation = "none"
    patience: int = option(0, least=0)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_drawing(self.steps)

    def _choices(self) -> dict[str, tuple[str, ...]]:
        return super()._choices() | {"augmentation": get_args(Augmentation)}

    def settled(self, images: Images) -> ClassifierConfig:
        """The same with the steps that follow from --epochs or from a schedule in epochs.

        Args:
            images: training images, the real ones first.
        """
        steps = settle_steps(self, images, self.batch, self.steps)
        return self if steps == self.steps else dataclasses.replace(self, steps=steps, epochs=None)

    def resolved(self, n_train: int, kept_domain: str | None = None) -> ClassifierConfig:
        """The same with what follows from the data.

        Args:
            n_train: number of training images, from which the number of steps follows.
            kept_domain: the domain kept with the Dataset.
        """
        passes = round(_PASSES * n_train / self.batch)
        steps = self.steps or min(_MOST_STEPS, max(_FEWEST_STEPS, passes))
        chosen = choose_domain(self.domain, kept_domain)
        symmetry = self.symmetry or chosen.domain.symmetry
        return dataclasses.replace(self, steps=steps, domain=chosen.name, symmetry=symmetry)
