"""Losses of a classifier, by name.

A loss is a function of logits, class numbers, options and class frequencies behind `@classifier_loss(name)`,
which also names the options that it alone takes. To add one, write the function here and, if it has an option
of its own, a field of `LossConfig`; both become options of every training of a classifier.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plenish.errors import InputError, unknown

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits N×K float32 and class numbers N → the mean loss."""
_Formula = Callable[[Tensor, Tensor, "LossConfig", Tensor], Tensor]
_LOSSES: dict[str, tuple[_Formula, tuple[str, ...]]] = {}


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """Which loss a classifier minimises.

    Attributes:
        loss: cross-entropy, weighted (rare classes count more) or focal (images that are hard count more).
        smoothing: label smoothing, 0 to 1.
        weight_power: weighted: a class counts by its frequency to minus this power; 1 makes all count alike.
        focal_gamma: focal: the larger, the less an image counts that is classified well; 0 is cross-entropy.
    """

    loss: str = "cross-entropy"
    smoothing: float = 0.1
    weight_power: float = 1.0
    focal_gamma: float = 2.0

    def __post_init__(self) -> None:
        if self.loss not in _LOSSES:
            raise unknown("loss", self.loss, sorted(_LOSSES))
        if not 0 <= self.smoothing < 1:
            raise InputError(f"smoothing must lie in [0, 1), not {self.smoothing}.")
        for field in dataclasses.fields(LossConfig)[2:]:
            value = getattr(self, field.name)
            if not 0 <= value < math.inf:
                raise InputError(f"{field.name} must be a number of at least 0, not {value}.")
            takers = [name for name, (_, options) in _LOSSES.items() if field.name in options]
            if value != field.default and self.loss not in takers:
                raise InputError(
                    f"{field.name} is an option of the loss {', '.join(takers)}, not of {self.loss}."
                )


def classifier_loss(name: str, *options: str) -> Callable[[_Formula], _Formula]:
    """Register a loss.

    Args:
        name: what it is called in a configuration.
        options: fields of `LossConfig` that only this loss takes, apart from `smoothing`.
    """

    def register(formula: _Formula) -> _Formula:
        _LOSSES[name] = formula, options
        return formula

    return register


def build_loss(config: LossConfig, frequencies: NDArray[np.float64], device: torch.device) -> Loss:
    """The loss of a configuration.

    A mean over images, not over their weights, so that batches can be divided among processes.

    Args:
        config: which, and its options.
        frequencies: K, share of each class among the images as they are drawn.
        device: where the logits are.
    """
    formula, _ = _LOSSES[config.loss]
    # A class without images has no part in any loss; its frequency must only stay finite when inverted.
    shares = torch.from_numpy(np.maximum(frequencies, 1e-6)).to(device, torch.float32)
    return lambda logits, targets: formula(logits, targets, config, shares)


@classifier_loss("cross-entropy")
def _cross_entropy(logits: Tensor, targets: Tensor, config: LossConfig, frequencies: Tensor) -> Tensor:
    return functional.cross_entropy(logits, targets, label_smoothing=config.smoothing)


@classifier_loss("weighted", "weight_power")
def _weighted(logits: Tensor, targets: Tensor, config: LossConfig, frequencies: Tensor) -> Tensor:
    """Cross-entropy, an image's weight being that of its class; the mean weight of the images drawn is 1."""
    weights = frequencies**-config.weight_power
    weights = weights / (frequencies * weights).sum()
    losses = functional.cross_entropy(logits, targets, label_smoothing=config.smoothing, reduction="none")
    return (weights[targets] * losses).mean()


@classifier_loss("focal", "focal_gamma")
def _focal(logits: Tensor, targets: Tensor, config: LossConfig, frequencies: Tensor) -> Tensor:
    """(1 − p)^γ · cross-entropy, p the probability of the image's class (Lin et al., ICCV 2017)."""
    losses = functional.cross_entropy(logits, targets, label_smoothing=config.smoothing, reduction="none")
    missed = -torch.expm1(-functional.cross_entropy(logits, targets, reduction="none"))
    # At 0 a power below 1 has no finite derivative.
    return (missed.clamp_min(1e-6) ** config.focal_gamma * losses).mean()
