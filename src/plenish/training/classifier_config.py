"""How a classifier is trained, without torch, so that a command's help need not load it."""

from __future__ import annotations

import dataclasses
import math
import re
from pathlib import Path
from typing import Literal, get_args

from plenish.configuration import check_bounds, option, option_name
from plenish.datasets.batches import Images
from plenish.domains import SYMMETRIES, Symmetry, check_domain, choose_domain
from plenish.errors import InputError, unknown
from plenish.training.drawing import DrawingOptions, settle_steps

Augmentation = Literal["none", "classical"]
RateSchedule = Literal["cosine", "plateau", "constant"]
Criterion = Literal["balanced-accuracy", "macro-f1", "auroc", "loss"]
CRITERIA: dict[str, tuple[str, int]] = {
    "balanced-accuracy": ("val_balanced_accuracy", -1), "macro-f1": ("val_macro_f1", -1),
    "auroc": ("val_auroc", -1), "loss": ("val_loss", 1),
}  # fmt: skip
"""The logged value of each criterion, and 1 where lower is better."""
_PASSES, _FEWEST_STEPS, _MOST_STEPS = 12, 150, 3000


@dataclasses.dataclass(frozen=True)
class ClassifierOptions:
    """What every training of a classifier may choose, a study's too.

    Attributes:
        classifier: small, or any timm name.
        steps: optimiser steps; by default 12 passes over the training images, 150 to 3000 steps.
        batch: images a step.
        learning_rate: peak learning rate; by default one that suits the classifier.
        weight_decay: weight decay of AdamW, which is decoupled from the gradient.
        l1: the loss grows by this times the sum of the absolute weights.
        l2: the loss grows by this times the sum of the squared weights.
        drop_rate: dropout before the head; by default the network's own.
        warmup: share of the steps over which the rate rises linearly.
        schedule: of the rate after it: cosine (falls to 0), plateau (falls by --plateau-factor whenever
            validation stops improving) or constant.
        plateau_factor: of the plateau schedule: what the rate is multiplied by.
        plateau_patience: of the plateau schedule: after so many validations without a better one.
        freeze: keep the first stages as they are: none, stem, a number n (the stem and stages 1 to n) or all
            (everything but the head). Their normalisation and dropout do as in use.
        unfreeze_at: shares of the training at which they are trained after all; with several, from the last
            stage back to the stem.
        loss: cross-entropy, weighted (rare classes count more), focal (hard images count more),
            logit-adjusted or ldam (rare classes need a larger margin), or asymmetric (of images with several
            tags: absent tags count less).
        smoothing: label smoothing.
        weight_power: of the weighted loss: an image counts by its class's frequency to minus this power.
        focal_gamma: of the focal loss: the larger, the less an image counts that is classified well.
        prior_power: of the logit-adjusted loss: logits are raised by this times the log of class frequencies.
        ldam_margin: of the ldam loss: the margin of the rarest class, in cosines.
        ldam_scale: of the ldam loss: logits are this times the cosine of features and weights.
        reweight_at: of the ldam loss: share of the training after which rare classes count more.
        domain: kind of images, which decides what classical augmentation may do to them: natural, histology,
            dermoscopy, radiology, fundus, industrial, comic, faces or text; by default the one kept with the
            Dataset, else natural.
        symmetry: orientations that classical augmentation shows, instead of the domain's: none, mirror
            (left-right) or dihedral (also upside down and turned by right angles).
        mixup: images are mixed in pairs, with their labels, by a share of Beta(this, this); 0 never.
        cutmix: a rectangle of an image is replaced by its partner's, by the same; 0 never. With both, each
            pair gets either.
        randaugment: magnitude, 0 to 10, of two random changes of each image out of those that suit the
            domain; 0 for none.
        stain: vary haematoxylin, eosin and the rest in strength by up to this share; histology alone.
        ema: use a moving average of the weights, of which this share is kept at each step, such as 0.999.
        criterion: which value on val decides: balanced-accuracy, macro-f1, auroc or loss.
        evaluations: how often the classifier is validated; the best of these checkpoints is kept.
        pretrained: start from weights and fine-tune: true for timm's own, which it fetches once, or a file.
    """

    classifier: str = "small"
    steps: int | None = option(least=1)
    batch: int = option(64, least=2)  # Batch normalisation needs more than one image.
    learning_rate: float | None = option(above=0)
    weight_decay: float = option(0.02, least=0)
    l1: float = option(0.0, least=0)
    l2: float = option(0.0, least=0)
    drop_rate: float | None = option(least=0, below=1)
    warmup: float = option(0.1, least=0, most=1)
    schedule: RateSchedule = "cosine"
    plateau_factor: float = option(0.3, above=0, below=1)
    plateau_patience: int = option(2, least=1)
    freeze: str = "none"
    unfreeze_at: tuple[float, ...] = ()
    loss: str = "cross-entropy"
    smoothing: float = option(0.1, least=0, below=1)
    weight_power: float = option(1.0, least=0)
    focal_gamma: float = option(2.0, least=0)
    prior_power: float = option(1.0, least=0)
    ldam_margin: float = option(0.5, least=0, most=2)
    ldam_scale: float = option(30.0, above=0)
    reweight_at: float = option(0.8, least=0, most=1)
    domain: str | None = None
    symmetry: Symmetry | None = None
    mixup: float = option(0.0, least=0)
    cutmix: float = option(0.0, least=0)
    randaugment: float = option(0.0, least=0, most=10)
    stain: float = option(0.0, least=0, below=1)
    ema: float = option(0.0, least=0, below=1)
    criterion: Criterion = "balanced-accuracy"
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
        self._check_freezing()
        for name in ("plateau_factor", "plateau_patience"):
            if self.schedule != "plateau" and getattr(self, name) != getattr(ClassifierOptions, name):
                raise InputError(f"{option_name(name)} is an option of --schedule plateau.")

    def _choices(self) -> dict[str, tuple[str, ...]]:
        return {
            "symmetry": SYMMETRIES, "schedule": get_args(RateSchedule), "criterion": get_args(Criterion),
        }  # fmt: skip

    def _check_freezing(self) -> None:
        if self.freeze not in ("none", "stem", "all") and not re.fullmatch("[1-9][0-9]*", self.freeze):
            raise InputError(
                f"--freeze is none, stem, a number of stages or all (but the head), not '{self.freeze}'."
            )
        shares = self.unfreeze_at
        if shares and self.freeze == "none":
            raise InputError("--unfreeze-at is an option of --freeze, and nothing is frozen.")
        if list(shares) != sorted(set(shares)) or not all(0 < share < 1 for share in shares):
            raise InputError("--unfreeze-at takes rising shares of the training between 0 and 1, as 0.3 0.6.")

    @property
    def peak_rate(self) -> float:
        """The learning rate after warm-up."""
        if self.learning_rate is not None:
            return self.learning_rate
        return 3e-4 if self.pretrained else 1e-3

    @property
    def decides(self) -> dict[str, int]:
        """The values on val that decide which checkpoint is best, and 1 where lower is better."""
        return dict([CRITERIA[self.criterion], CRITERIA["loss"]])

    def rate(self, step: int, drops: int = 0) -> float:
        """The learning rate of a step, 0…steps−1, where their number is known.

        Args:
            step: the step.
            drops: how often a plateau has lowered it.
        """
        assert self.steps is not None
        rise = max(1, round(self.warmup * self.steps))
        peak = self.peak_rate * self.plateau_factor**drops
        if step < rise:
            return peak * (step + 1) / rise
        if self.schedule != "cosine":
            return peak
        progress = (step - rise) / max(1, self.steps - rise)
        return self.peak_rate * 0.5 * (1 + math.cos(math.pi * progress))


@dataclasses.dataclass(frozen=True)
class ClassifierConfig(DrawingOptions, ClassifierOptions):
    """How one classifier is trained.

    Attributes:
        augmentation: none, or classical: flips, turns, shifts, brightness and contrast.
        gamma_absent: of the asymmetric loss: the larger, the less an absent tag counts that is found absent.
        gamma_present: of the asymmetric loss: the same of tags that are present.
        clip: of the asymmetric loss: an absent tag does not count below this probability.
        columns: columns of the Dataset's table that the classifier is given beside the image, such as age
            and sex: numbers are standardised, others one of their values; what is missing is said to be.
        patience: end after this many validations without a better one; 0 never stops early.
        seed: seed of every random draw.
    """

    augmentation: Augmentation = "none"
    gamma_absent: float = option(4.0, least=0)
    gamma_present: float = option(0.0, least=0)
    clip: float = option(0.05, least=0, below=1)
    columns: tuple[str, ...] = ()
    patience: int = option(0, least=0)
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_drawing(self.steps)
        if self.doping and self.columns:
            raise InputError(
                "--columns are of real images alone, and those that --doping mixes in have none; give one."
            )

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
