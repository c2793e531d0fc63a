"""Losses of a classifier, by name.

To add one, write a function of logits, targets, configuration, class counts and the share of the training
done, which returns a loss an image, and enter it in `_LOSSES`. If it has an option of its own, add a field of
`ClassifierOptions`, which makes it an option of `train classifier` and of `study`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from plenish.configuration import option_name
from plenish.errors import InputError, unknown
from plenish.training.classifier_config import ClassifierConfig, ClassifierOptions

Loss = Callable[[Tensor, Tensor, float], Tensor]
"""Logits N×K float32, class numbers N or tags N×K, and the share of the training done → losses N."""
_Formula = Callable[[Tensor, Tensor, ClassifierConfig, Tensor, float], Tensor]
_CLASS_BALANCE = 0.9999
"""β of Cui et al. 2019, by which the images of a class are worth (1 − β^n) / (1 − β)."""


def check_loss(config: ClassifierOptions, kind: str | None = None) -> None:
    """Refuse a loss that there is not or that is not for these labels, and options of another loss.

    Args:
        config: the loss and its options.
        kind: of the labels, if it is known.

    Raises:
        InputError: as above.
    """
    if config.loss not in _LOSSES:
        raise unknown("--loss", config.loss, _LOSSES)
    defaults = {field.name: field.default for field in dataclasses.fields(config)}
    for name, (_, fields) in _LOSSES.items():
        for field in fields if config.loss != name else ():
            if field in defaults and getattr(config, field) != defaults[field]:
                raise InputError(f"{option_name(field)} is an option of --loss {name}, not of {config.loss}.")
    if kind == "multilabel" and config.loss not in _MULTILABEL:
        raise InputError(f"Images with several tags take --loss {' or '.join(_MULTILABEL)}.")
    if kind == "categorical" and config.loss == "asymmetric":
        raise InputError("--loss asymmetric is for images with several tags; these have one class each.")


def build_loss(
    config: ClassifierConfig, counts: NDArray[np.float64], device: torch.device,
    images: NDArray[np.float64] | None = None,
) -> Loss:  # fmt: skip
    """The loss of a configuration.

    It is given an image at a time, and its mean is over images, not over their weights, so that batches can
    be divided among processes.

    Args:
        config: which, and its options.
        counts: K, images of each class as they are drawn in an epoch on average.
        device: where the logits are.
        images: K, distinct images of each class; by default `counts`.

    Raises:
        InputError: see `check_loss`.
    """
    check_loss(config)
    formula, _ = _LOSSES[config.loss]
    used = images if config.loss in _BY_IMAGES and images is not None else counts
    numbers = torch.from_numpy(np.asarray(used, np.float64)).to(device, torch.float32)

    def loss(logits: Tensor, targets: Tensor, progress: float = 0.0) -> Tensor:
        of = formula if targets.ndim == 1 else _MULTILABEL[config.loss]
        return of(logits, targets, config, numbers, progress)

    return loss


def _cross_entropy(
    logits: Tensor, targets: Tensor, config: ClassifierConfig, counts: Tensor, progress: float
) -> Tensor:
    return functional.cross_entropy(logits, targets, label_smoothing=config.smoothing, reduction="none")


def _weighted(
    logits: Tensor, targets: Tensor, config: ClassifierConfig, counts: Tensor, progress: float
) -> Tensor:
    """Cross-entropy, an image's weight being that of its class; the mean weight of the images drawn is 1."""
    shares = counts / counts.sum()
    weights = shares.clamp_min(1e-9) ** -config.weight_power  # Finite also for a class without images.
    weights = weights / (shares * weights).sum()
    return weights[targets] * _cross_entropy(logits, targets, config, counts, progress)


def _focal(
    logits: Tensor, targets: Tensor, config: ClassifierConfig, counts: Tensor, progress: float
) -> Tensor:
    """(1 − p)^γ · cross-entropy, p the probability of the image's class (Lin et al., ICCV 2017)."""
    losses = _cross_entropy(logits, targets, config, counts, progress)
    missed = -torch.expm1(-functional.cross_entropy(logits, targets, reduction="none"))
    # At 0 a power below 1 has no finite derivative.
    return missed.clamp_min(1e-6) ** config.focal_gamma * losses


def _logit_adjusted(
    logits: Tensor, targets: Tensor, config: ClassifierConfig, counts: Tensor, progress: float
) -> Tensor:
    """Cross-entropy of logits + τ · log frequency, for balanced accuracy (Menon et al., ICLR 2021)."""
    shifted = logits + config.prior_power * (counts / counts.sum()).clamp_min(1e-9).log()
    return _cross_entropy(shifted, targets, config, counts, progress)


def _ldam(
    logits: Tensor, targets: Tensor, config: ClassifierConfig, counts: Tensor, progress: float
) -> Tensor:
    """Cross-entropy with the image's own cosine lowered by a margin ∝ n^(−1/4) of its class, of n images.

    `counts` are of distinct images: drawing an image again adds nothing to what is known of its class.

    The largest margin is --ldam-margin. From --reweight-at on, classes count by the inverse of their
    effective numbers of images, 1 on average over the classes (Cao et al., NeurIPS 2019; Cui et al., CVPR
    2019).
    """
    there = counts > 0
    margins = torch.where(there, counts.clamp_min(1e-9) ** -0.25, 0)
    margins = config.ldam_margin * margins / margins.max()
    own = functional.one_hot(targets, logits.shape[1]).to(logits.dtype)
    losses = _cross_entropy(logits - config.ldam_scale * margins * own, targets, config, counts, progress)
    if progress < config.reweight_at:
        return losses
    effective = 1 - _CLASS_BALANCE ** counts.double()
    weights = torch.where(there, (1 / effective.clamp_min(1e-9)).to(counts.dtype), 0)
    return (weights * there.sum() / weights.sum())[targets] * losses


def _binary(
    logits: Tensor, targets: Tensor, config: ClassifierConfig, counts: Tensor, progress: float
) -> Tensor:
    """Cross-entropy of each tag, summed over the tags."""
    smooth = targets * (1 - config.smoothing) + config.smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits, smooth, reduction="none").sum(1)


def _asymmetric(
    logits: Tensor, targets: Tensor, config: ClassifierConfig, counts: Tensor, progress: float
) -> Tensor:
    """The asymmetric loss, summed over the tags (Ridnik et al., ICCV 2021).

    −(1 − p)^γ₊ log p of a tag that is present, −q^γ₋ log(1 − q) of an absent one, q = max(p − clip, 0).
    """
    smooth = targets * (1 - config.smoothing) + config.smoothing / 2
    p = logits.sigmoid()
    q = (p - config.clip).clamp_min(0)
    present = (1 - p).clamp_min(1e-6) ** config.gamma_present * functional.logsigmoid(logits)
    absent = q.clamp_min(1e-6) ** config.gamma_absent * torch.log1p(-q.clamp_max(1 - 1e-6))
    return -(smooth * present + (1 - smooth) * absent).sum(1)


def _one_class(*_: object) -> Tensor:
    raise AssertionError("check_loss refuses it")


_LOSSES: dict[str, tuple[_Formula, tuple[str, ...]]] = {
    "cross-entropy": (_cross_entropy, ()),
    "weighted": (_weighted, ("weight_power",)),
    "focal": (_focal, ("focal_gamma",)),
    "logit-adjusted": (_logit_adjusted, ("prior_power",)),
    "ldam": (_ldam, ("ldam_margin", "ldam_scale", "reweight_at")),
    "asymmetric": (_one_class, ("gamma_absent", "gamma_present", "clip")),
}
"""The losses of images of one class each, with the fields of `ClassifierOptions` that each alone takes."""
_BY_IMAGES = ("ldam",)
"""The losses that are given how many distinct images a class has, not how often it is drawn."""
_MULTILABEL: dict[str, _Formula] = {"cross-entropy": _binary, "asymmetric": _asymmetric}
"""The losses of images with several tags."""
