"""What a classifier's gradients are worth: whether they are there, and whether its output follows them.

The signs of masked gradients are those of A. Athalye, N. Carlini, D. Wagner, "Obfuscated gradients give a
false sense of security", ICML 2018, and of the flags of F. Croce's and M. Hein's AutoAttack. A directional
derivative of the margin is compared with its central difference, which sees rounding and paths that are cut
off from the image.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from plenish.robustness.gradients import untouched, value_and_gradient
from plenish.robustness.image_draws import ImageDraws
from plenish.robustness.losses import cross_entropy, margin
from plenish.robustness.projections import total
from plenish.robustness.visited import plain_logits

MOST_IMAGES, MOST_COMPARED = 64, 16
_STEPS = (2.5e-4, 1e-3, 4e-3)
"""Lengths of central differences, each pixel up or down by so much. The best is kept: short ones suffer from
the rounding of float32, long ones from the bends of the function."""
_DIRECTIONS = 2
_VISIBLE = 8 / 255
"""A change that any 8-bit image can show."""
_MARGIN = 0.05
"""Images are moved into [0.05, 0.95] first, so that a step does not leave [0, 1], where a model may cut."""
_UNDERFLOW = 1e-30


@dataclasses.dataclass(frozen=True)
class GradientChecks:
    """Measurements on some images that are classified right.

    Attributes:
        images: how many.
        repeated: largest difference between the logits of two passes of the same batch, over their spread.
        alone: the same between an image in the batch and by itself.
        probabilities: whether the outputs are probabilities, which sum to 1, instead of logits.
        certain: share of images whose softmax is exactly 1 in float32.
        has_path: whether a gradient reaches the image; None where it was not asked for.
        zero: share of images for which the gradient of the cross entropy is 0 or below 1e-30 everywhere.
        vanished: share for which that is so, but not of the margin: the softmax took it.
        undefined: share for which it, or a logit, is NaN or infinite.
        unexplained: share for which the gradient of the margin is 0 everywhere though a change of 8/255
            changes the logits.
        disagreement: of directional derivatives of the margin and its differences along random directions:
            root mean square of the error over that of the larger of both; None where nothing changes.
    """

    images: int
    repeated: float
    alone: float
    probabilities: bool
    certain: float
    has_path: bool | None = None
    zero: float | None = None
    vanished: float | None = None
    undefined: float | None = None
    unexplained: float | None = None
    disagreement: float | None = None


def check_gradients(
    module: nn.Module, images: Tensor, labels: Tensor, *, seed: int = 0, differentiable: bool = True
) -> GradientChecks:
    """Measure a classifier in float32.

    Args:
        module: images in [0, 1] → logits N×K.
        images: N×C×H×W in [0, 1], N ≥ 1, classified right; the first 64 are used, 16 for differences.
        labels: N.
        seed: of the directions.
        differentiable: whether to ask for gradients.
    """
    images, labels = images[:MOST_IMAGES], labels[:MOST_IMAGES]
    with untouched(module), _exact():
        logits, again = plain_logits(module, images), plain_logits(module, images)
        single = torch.cat([plain_logits(module, one) for one in images[:8].split(1)])
        found = GradientChecks(
            len(images), _difference(logits, again), _difference(logits[:8], single),
            _are_probabilities(logits), _mean(logits.softmax(dim=1).amax(dim=1) == 1),
        )  # fmt: skip
        if not differentiable:
            return found
        gradient = _gradient(module, images, labels)
        if gradient is None:
            return dataclasses.replace(found, has_path=False)
        _, _, of_margin = value_and_gradient(module, images, labels, margin)
        finite = gradient.isfinite().flatten(1).all(dim=1) & logits.isfinite().all(dim=1)
        zero, flat = (_largest(one) < _UNDERFLOW for one in (gradient, of_margin))
        found = dataclasses.replace(
            found, has_path=True, zero=_mean(zero), vanished=_mean(zero & ~flat), undefined=_mean(~finite)
        )
        return _compared(module, images[:MOST_COMPARED], labels[:MOST_COMPARED], seed, found)


def has_gradient(module: nn.Module, images: Tensor, labels: Tensor) -> bool:
    """Whether a path leads from the logits back to the images."""
    with untouched(module):
        return _gradient(module, images, labels) is not None


def _gradient(module: nn.Module, images: Tensor, labels: Tensor) -> Tensor | None:
    """Of the cross entropy, N×C×H×W; None where no path leads from the logits back to the images."""
    try:
        return value_and_gradient(module, images, labels, cross_entropy)[2]
    except torch.OutOfMemoryError:
        raise
    except RuntimeError:  # autograd's own
        return None


def _compared(
    module: nn.Module, images: Tensor, labels: Tensor, seed: int, found: GradientChecks
) -> GradientChecks:
    """Directional derivatives beside differences."""
    points = images * (1 - 2 * _MARGIN) + _MARGIN
    _, logits, gradient = value_and_gradient(module, points, labels, margin)
    draws = ImageDraws(images, seed, "directions")
    directions = [draws.uniform(*images.shape[1:]).sub(0.5).sign() for _ in range(_DIRECTIONS)]
    defined = gradient.isfinite().flatten(1).all(dim=1)
    flat = gradient.flatten(1).abs().amax(dim=1) == 0
    spread = _spread(logits)
    moved = torch.zeros_like(flat)
    for direction in directions:
        there = plain_logits(module, points + _VISIBLE * direction)
        moved |= (there - logits).abs().amax(dim=1) > 1e-4 * spread
    found = dataclasses.replace(found, unexplained=_mean(flat & moved))
    kept = ~flat & defined
    if not bool(kept.any()):
        return found
    expected = torch.stack([total(gradient * direction) for direction in directions])[:, kept].double()
    best = None
    for step in _STEPS:
        pairs = [
            (
                _exact_margin(module, points + step * d, labels)
                - _exact_margin(module, points - step * d, labels)
            )
            / (2 * step)
            for d in directions
        ]
        seen = torch.stack(pairs)[:, kept]
        scale = max(float(seen.square().sum()), float(expected.square().sum())) ** 0.5
        if scale > 0:
            error = float((seen - expected).square().sum()) ** 0.5 / scale
            best = error if best is None else min(best, error)
    return dataclasses.replace(found, disagreement=best)


def _exact_margin(module: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    return margin(plain_logits(module, images), labels).double()


def _largest(gradient: Tensor) -> Tensor:
    return gradient.nan_to_num().abs().flatten(1).amax(dim=1)


def _spread(logits: Tensor) -> float:
    """How far logits lie apart: standard deviation over images and classes."""
    finite = logits[logits.isfinite()]
    return max(float(finite.double().std()) if len(finite) > 1 else 0.0, 1e-12)


def _difference(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).nan_to_num().abs().max()) / _spread(ours)


def _are_probabilities(logits: Tensor) -> bool:
    return bool((logits >= 0).all() and (logits.sum(dim=1) - 1).abs().max() < 1e-3)


def _mean(which: Tensor) -> float:
    return float(which.double().mean())


@contextlib.contextmanager
def _exact() -> Iterator[None]:
    """Full float32 on a GPU: TF32 would drown short differences."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
