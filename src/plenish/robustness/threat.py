"""What an attack may change: a norm and its ball, and the range of pixels."""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, get_args

import torch
from torch import Tensor

from plenish.errors import InputError, unknown

Norm = Literal["linf", "l2"]
NORMS: tuple[Norm, ...] = get_args(Norm)


@dataclasses.dataclass(frozen=True)
class Threat:
    """How far an adversarial image may lie from its original; all pixels in [0, 1].

    Attributes:
        norm: `linf` (the largest change of a value) or `l2` (the Euclidean length of the change of an image).
        eps: the radius, in units of [0, 1].
    """

    norm: Norm
    eps: float

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise unknown("--norm", self.norm, NORMS)
        if not (math.isfinite(self.eps) and self.eps >= 0) or (self.norm == "linf" and self.eps > 1):
            raise InputError(
                f"eps is a distance from 0{' to 1' if self.norm == 'linf' else ''} in units of [0, 1]: "
                f"4/255, say, not {self.eps:g}."
            )

    def check_reach(self, size: int, channels: int, option: str = "--eps") -> None:
        """Refuse a radius, which an option gave, beyond every change there is of images size×size in [0, 1].

        Raises:
            InputError: as it says.
        """
        longest = 1.0 if self.norm == "linf" else size * math.sqrt(channels)
        if self.eps > longest:
            raise InputError(
                f"{option} {self.eps:g} is longer than any change of images of {size} px with {channels} "
                f"channel(s), which is at most {longest:.3g} in units of [0, 1]; give a smaller one."
            )


def check_counts(**counts: int) -> None:
    """Refuse an attack of no steps, starts, queries or whatever is counted by the names given.

    Raises:
        InputError: a count is below 1.
    """
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"{name} of an attack must be 1 or more, not {count}.", code=name, value=count)


def check_sizes(**sizes: float | None) -> None:
    """Refuse numbers of an attack, by the names given, that are negative, infinite or NaN; None passes.

    Raises:
        InputError: as it says.
    """
    for name, size in sizes.items():
        if size is not None and not (math.isfinite(size) and size >= 0):
            text = f"{name} of an attack must be a number of 0 or more, not {size:g}."
            raise InputError(text, code=name, value=size)


_TINY = 1e-12
"""Lengths of gradients between this and its inverse come from squares that neither underflow nor overflow."""


def lengths(changes: Tensor, norm: Norm) -> Tensor:
    """The norm of each change of a batch, N×C×H×W → N."""
    # Not flattened, which copies images that lie channels last.
    inner = tuple(range(1, changes.ndim))
    return changes.abs().amax(dim=inner) if norm == "linf" else torch.linalg.vector_norm(changes, dim=inner)


def per_image(values: Tensor | float, images: Tensor) -> Tensor:
    """One value, or N, shaped N×1×1×1 for arithmetic with images."""
    found = torch.as_tensor(values, dtype=images.dtype, device=images.device)
    return found.expand(len(images)).view(-1, 1, 1, 1)


def project(images: Tensor, changed: Tensor, eps: Tensor | float, norm: Norm) -> Tensor:
    """The points of the eps-balls around images, cut to [0, 1], nearest to `changed`.

    In the L2 norm the change is scaled first and cut to [0, 1] then, which lies in both but need not be the
    nearest point of their intersection. That is `projections.into_ball`, with which PGD of 20 steps left no
    more than 0.2 % fewer of 686 images right; its passes over the pixels cost more than that.

    Args:
        images: originals N×C×H×W in [0, 1].
        changed: N×C×H×W.
        eps: a radius, or N.
        norm: of the ball.
    """
    if norm == "linf":
        # One radius is not made a tensor, for which a GPU would be waited for.
        bound = per_image(eps, images) if isinstance(eps, Tensor) else eps
        return torch.clamp(changed, images - bound, images + bound).clamp_(0, 1)
    change = changed - images
    length = lengths(change, "l2").view(-1, 1, 1, 1)
    scale = (per_image(eps, images) / length.clamp_min(1e-12)).clamp_max(1)
    return images.add(change * scale).clamp_(0, 1)


def steepest(gradient: Tensor, norm: Norm) -> Tensor:
    """The change of unit norm along which a function rises most: the sign, or the gradient at unit length.

    However small a gradient is, only its direction counts; values that are not finite count as 0.
    """
    if norm == "linf":
        return gradient.sign()
    length = lengths(gradient, "l2")
    if ((length > _TINY) & (length < 1 / _TINY)).all():
        return gradient / per_image(length, gradient)
    finite = gradient.nan_to_num(0, 0, 0)
    # The squares of a nearly saturated softmax's gradient would underflow.
    finite /= per_image(lengths(finite, "linf").clamp_min(torch.finfo(finite.dtype).tiny), finite)
    return finite / per_image(lengths(finite, "l2").clamp_min(1), finite)
