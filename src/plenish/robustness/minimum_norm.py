"""What attacks share that look for the smallest change, whatever its size."""

from __future__ import annotations

import torch
from torch import Tensor

from plenish.robustness.gradients import Network, Precision
from plenish.robustness.threat import Norm, lengths, per_image
from plenish.robustness.visited import exact_margins, judged_margin, plain_logits

_HALVINGS = 8


class Nearest:
    """Of all points tried for the images of a batch, the misclassified one nearest to each original.

    Attributes:
        points: N×C×H×W; the original where it is misclassified already, or where nothing was found.
        distance: N; 0 where the original is misclassified, infinite where nothing was found.
        enough: the distance within which a point need not be nearer.
    """

    def __init__(
        self, model: Network, images: Tensor, labels: Tensor, logits: Tensor, norm: Norm, *,
        enough: float = 0.0,
    ) -> None:  # fmt: skip
        """Begin with the originals and their logits in float32."""
        self.model, self.images, self.labels, self.norm = model, images, labels, norm
        self.points, self.enough = images.clone(), enough
        self.distance = torch.full((len(images),), torch.inf, dtype=images.dtype, device=images.device)
        self.distance[judged_margin(logits, labels) > 0] = 0

    @property
    def left(self) -> Tensor:
        """Rows of the images for which a nearer point is looked for."""
        return (self.distance > self.enough).nonzero()[:, 0]

    def judge(
        self, rows: Tensor, points: Tensor, logits: Tensor, precision: Precision, *, least: float = 0.0
    ) -> Tensor:
        """Whether points are misclassified in float32, N; the nearest ones are kept.

        Args:
            rows: the images that the points belong to.
            points: in [0, 1].
            logits: of the points, N×K.
            precision: in which the logits were computed.
            least: the margin that counts as misclassified, above 0.
        """
        margins, fooled = exact_margins(self.model, points, self.labels[rows], logits, precision)
        distance = lengths(points - self.images[rows], self.norm)
        # A point that is itself not a number, behind a gradient that is none, shows nothing.
        fooled &= (margins >= least) & distance.isfinite()
        better = (fooled & (distance < self.distance[rows])).nonzero()[:, 0]
        self.points[rows[better]] = points[better]
        self.distance[rows[better]] = distance[better]
        return fooled

    def draw_in(self) -> None:
        """Halve the way between each original and what was found, and keep what is still misclassified."""
        rows = ((self.distance > 0) & self.distance.isfinite()).nonzero()[:, 0]
        if not len(rows):
            return
        originals, change = self.images[rows], self.points[rows] - self.images[rows]
        low, high = torch.zeros(len(rows)).to(self.distance), torch.ones(len(rows)).to(self.distance)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            points = originals + per_image(middle, change) * change
            fooled = self.judge(rows, points, plain_logits(self.model, points), "float32")
            low, high = torch.where(fooled, low, middle), torch.where(fooled, middle, high)


def within_ball(images: Tensor, found: Tensor, eps: float, norm: Norm) -> Tensor:
    """What was found where it lies in the eps-ball, up to rounding, and the original elsewhere."""
    near = lengths(found - images, norm) <= eps * (1 + 1e-6)
    return torch.where(near.view(-1, 1, 1, 1), found, images)
