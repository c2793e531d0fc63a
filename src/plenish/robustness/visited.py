"""What an attack has tried: the hardest point of each image, and whether it is misclassified."""

from __future__ import annotations

import torch
from torch import Tensor

from plenish.robustness.gradients import Network, Precision, logits_of
from plenish.robustness.losses import margin
from plenish.robustness.threat import Norm, Threat

_NEAR = 0.03
"""Share of the spread of an image's logits by which those of bfloat16 may be wrong, generously."""
_CERTAIN = 1e-5
"""Share of the largest logit beyond which rounding, in another batch say, leaves a margin positive."""


def unmoved(images: Tensor, eps: float, norm: Norm) -> bool:
    """Whether an attack has nothing to do: no radius or no images; InputError for a radius that is none."""
    Threat(norm, eps)
    return not eps or not len(images)


def plain_logits(model: Network, images: Tensor) -> Tensor:
    """Logits N×K in float32, without a gradient."""
    with torch.no_grad():
        return logits_of(model, images)


def predictions(logits: Tensor) -> Tensor:
    """The class of the largest of logits N×K; -1, which is no label, where that is NaN or infinite."""
    return torch.where(logits.amax(dim=1).isfinite(), logits.argmax(dim=1), -1)


def misclassified(model: Network, images: Tensor, labels: Tensor) -> Tensor:
    """Whether the prediction, in float32, is another one than the label: booleans N."""
    return predictions(plain_logits(model, images)) != labels


def judged_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """`losses.margin`, and +inf where there is no prediction: such a point counts as misclassified.

    What points are compared by; without a branch, so that nothing on a GPU is waited for.
    """
    largest = logits.amax(dim=1)
    found = margin(logits, labels) + (largest - largest)  # NaN where it is not finite, else unchanged.
    return found.nan_to_num_(nan=torch.inf, posinf=torch.inf, neginf=-torch.inf)


def exact_margins(
    model: Network, images: Tensor, labels: Tensor, logits: Tensor, precision: Precision
) -> tuple[Tensor, Tensor]:
    """Judged margins N of images, and whether each is above 0 beyond rounding.

    Logits that were computed in bfloat16 are computed again in float32 where the margin is close to 0 or
    above it: no image is counted as misclassified for the rounding of bfloat16.
    """
    if precision != "float32":
        spread = logits.amax(dim=1) - logits.amin(dim=1)
        # Negated, so that it holds for a spread that is NaN.
        near = (~(judged_margin(logits, labels) <= -_NEAR * spread)).nonzero()[:, 0]
        if len(near):
            logits = logits.index_copy(0, near, plain_logits(model, images[near]))
    return _margins(logits, labels)


def left_open(logits: Tensor, labels: Tensor, estimate: Tensor) -> Tensor:
    """Whether points that float32 does not call misclassified, N, seemed so in bfloat16, or nearly.

    Args:
        logits: of the points in float32, N×K.
        labels: N.
        estimate: judged margins N in bfloat16.
    """
    spread = logits.amax(dim=1) - logits.amin(dim=1)
    return (judged_margin(logits, labels) <= 0) & (estimate > -_NEAR * spread)


def _margins(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    found = judged_margin(logits, labels)
    return found, found > _CERTAIN * logits.abs().amax(dim=1).nan_to_num_(0, 0)


class Hardest:
    """Of all points tried for the images of a batch, the one of each with the largest judged margin.

    Attributes:
        points: N×C×H×W.
        margins: N; above 0 for a point that is misclassified.
        certain: N; whether that holds beyond rounding.
    """

    def __init__(self, images: Tensor, labels: Tensor, logits: Tensor) -> None:
        """Begin with the originals and their logits in float32."""
        self.points = images.clone()
        self.margins, self.certain = _margins(logits, labels)

    def record(self, rows: Tensor, points: Tensor, margins: Tensor, certain: Tensor) -> None:
        """Keep the points of these rows that beat what is known of them."""
        better = (margins > self.margins[rows]).nonzero()[:, 0]
        kept = rows[better]
        self.points[kept] = points[better]
        self.margins[kept] = margins[better]
        self.certain[kept] |= certain[better]

    @property
    def left(self) -> Tensor:
        """Rows of the images that are not misclassified with certainty."""
        return (~self.certain).nonzero()[:, 0]
