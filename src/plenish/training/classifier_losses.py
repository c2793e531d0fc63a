"""Losses of a classifier, by name.

To add one, write a function of logits, class numbers, configuration and class frequencies, and enter it in
`_LOSSES`. If it has an option of its own, add a field of `ClassifierOptions`, which makes it an option of
`train classifier` and of `study`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plenish.configuration import option_name
from plenish.errors import InputError, unknown
from plenish.training.classifier_config import ClassifierConfig, ClassifierOptions

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits N×K float32 and class numbers N → the mean loss."""


def check_loss(config: ClassifierOptions) -> None:
    """Refuse a loss that there is not, and options of a loss that was not chosen.

    Raises:
        InputError: as above.
    """
    if config.loss not in _LOSSES:
        raise unknown("--loss", config.loss, _LOSSES)
    for name, (_, field) in _LOSSES.items():
        if field and config.loss != name and getattr(config, field) != getattr(ClassifierOptions, field):
            raise InputError(f"{option_name(field)} is an option of --loss {name}, not of {config.loss}.")


def build_loss(config: ClassifierConfig, frequencies: NDArray[np.float64], device: torch.device) -> Loss:
    """The loss of a configuration.

    A mean over images, not over their weights, so that batches can be divided among processes.

    Args:
        config: which, and its options.
        frequencies: K, share of each class among the images as they are drawn.
        device: where the logits are.

    Raises:
        InputError: see `check_loss`.
    """
    check_loss(config)
    formula, _ = _LOSSES[config.loss]
    shares = torch.from_numpy(frequencies).to(device, torch.float32)
    return lambda logits, targets: formula(logits, targets, config, shares)


def _cross_entropy(logits: Tensor, targets: Tensor, config: ClassifierConfig, frequencies: Tensor) -> Tensor:
    return functional.cross_entropy(logits, targets, label_smoothing=config.smoothing)


def _weighted(logits: Tensor, targets: Tensor, config: ClassifierConfig, frequencies: Tensor) -> Tensor:
    """Cross-entropy, an image's weight being that of its class; the mean weight of the images drawn is 1."""
    weights = frequencies.clamp_min(1e-9) ** -config.weight_power  # Finite also for a class without images.
    weights = weights / (frequencies * weights).sum()
    losses = functional.cross_entropy(logits, targets, label_smoothing=config.smoothing, reduction="none")
    return (weights[targets] * losses).mean()


def _focal(logits: Tensor, targets: Tensor, config: ClassifierConfig, frequencies: Tensor) -> Tensor:
    """(1 − p)^γ · cross-entropy, p the probability of the image's class (Lin et al., ICCV 2017)."""
    losses = functional.cross_entropy(logits, targets, label_smoothing=config.smoothing, reduction="none")
    missed = -torch.expm1(-functional.cross_entropy(logits, targets, reduction="none"))
    # At 0 a power below 1 has no finite derivative.
    return (missed.clamp_min(1e-6) ** config.focal_gamma * losses).mean()


def _logit_adjusted(logits: Tensor, targets: Tensor, config: ClassifierConfig, frequencies: Tensor) -> Tensor:
    """Cross-entropy of logits + τ · log frequency, for balanced accuracy (Menon et al., ICLR 2021)."""
    shifted = logits + config.prior_power * frequencies.clamp_min(1e-9).log()
    return _cross_entropy(shifted, targets, config, frequencies)


_LOSSES: dict[str, tuple[Callable[[Tensor, Tensor, ClassifierConfig, Tensor], Tensor], str]] = {
    "cross-entropy": (_cross_entropy, ""),
    "weighted": (_weighted, "weight_power"),
    "focal": (_focal, "focal_gamma"),
    "logit-adjusted": (_logit_adjusted, "prior_power"),
}
"""The losses, each with the field of `ClassifierOptions` that it alone takes."""
