"""Edge sketches of pictures: dark lines on white paper, drawn by differences of Gaussians.

A line runs along the dark side of every edge, where a narrow blur of some channel is below a wide one
(difference of Gaussians, Marr and Hildreth 1980, with their ratio of 1.6), and along dark outlines. What
makes a line is decided by a soft threshold, as in XDoG (Winnemöller et al. 2012), but on edges alone, so that
dark areas stay white. Width and threshold are drawn anew whenever a picture is shown, so that a network
learns sketches of many hands. Nothing but the draw is random.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from plenish.configuration import check_fields, option
from plenish.errors import InputError
from plenish.networks import shared_batch

RATIO = 1.6
"""Width of the wide blur over that of the narrow one."""
_PEAK = math.sqrt(2 * math.log(RATIO) / (1 - RATIO**-2))
STEP = 0.5 * (math.erf(_PEAK / math.sqrt(2)) - math.erf(_PEAK / RATIO / math.sqrt(2)))
"""The largest difference of both blurs beside an edge of height 1, where Φ(x) − Φ(x/1.6) peaks."""
_SIDE = 64
"""Side of the pictures, in pixels, for which widths are stated."""


@dataclasses.dataclass(frozen=True)
class SketchOptions:
    """How sketches are drawn.

    Attributes:
        width_least: smallest width of the narrow blur (standard deviation), pixels of a picture of 64; in
            proportion for others. Lines are about twice as wide.
        width_most: largest; drawn between them, evenly in the logarithm.
        threshold_least: smallest step of a channel at an edge, as a share of its range, from which a line
            begins to show; it is black from twice that step on.
        threshold_most: largest; drawn evenly between them.
    """

    width_least: float = option(0.4, least=0.1, most=8)
    width_most: float = option(0.8, least=0.1, most=8)
    threshold_least: float = option(0.08, above=0, most=1)
    threshold_most: float = option(0.25, above=0, most=1)

    def __post_init__(self) -> None:
        check_fields(self, "sketch")
        for name in ("width", "threshold"):
            least, most = getattr(self, f"{name}_least"), getattr(self, f"{name}_most")
            if least > most:
                raise InputError(f"sketch.{name}_least is {least:g}, above sketch.{name}_most, {most:g}.")

    def drawn(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """Sketches N×1×H×W of images N×C×H×W of a batch, with a drawn width and threshold for each."""
        width, threshold = shared_batch.uniform((2, len(images)), rng, 1)
        low, high = math.log(self.width_least), math.log(self.width_most)
        return self._of(
            images, (low + (high - low) * width).exp(),
            self.threshold_least + (self.threshold_most - self.threshold_least) * threshold,
        )  # fmt: skip

    def typical(self, images: Tensor) -> Tensor:
        """Sketches N×1×H×W of images N×C×H×W, of middle width and threshold; nothing is drawn."""
        width = math.sqrt(self.width_least * self.width_most)
        threshold = 0.5 * (self.threshold_least + self.threshold_most)
        return self._of(images, *(images.new_full((len(images),), value) for value in (width, threshold)))

    def _of(self, images: Tensor, width: Tensor, threshold: Tensor) -> Tensor:
        scale = images.shape[2] / _SIDE
        # The same for every draw, so that a sketch does not depend on those beside it.
        radius = math.ceil(3 * RATIO * self.width_most * scale)
        return sketches(images, width * scale, threshold, radius)


def sketches(images: Tensor, width: Tensor, threshold: Tensor, radius: int) -> Tensor:
    """Edges of images as dark lines.

    Args:
        images: N×C×H×W in [-1, 1].
        width: standard deviation of the narrow blur, N, pixels.
        threshold: step of a channel, 0 to 1, from which a line begins to show, N.
        radius: pixels to either side that blurs take in.

    Returns:
        N×1×H×W in [-1, 1]; 1 is paper.
    """
    scaled = images.float() * 0.5 + 0.5
    dark = blur(scaled, RATIO * width, radius) - blur(scaled, width, radius)
    step = dark.amax(1, keepdim=True) / STEP
    ink = (step / threshold[:, None, None, None] - 1).clamp(0, 1)
    return (1 - 2 * ink).contiguous(memory_format=torch.channels_last)


def blur(x: Tensor, width: Tensor, radius: int) -> Tensor:
    """x, N×C×H×W, by Gaussians of N standard deviations, cut off at `radius`; edge pixels are repeated."""
    n, channels, height, across = x.shape
    place = torch.arange(-radius, radius + 1, device=x.device, dtype=torch.float32)
    kernel = torch.softmax(-0.5 * (place / width[:, None]).square(), 1)
    kernel = kernel.repeat_interleave(channels, 0)[:, None]
    planes = F.pad(x, (radius,) * 4, "replicate").reshape(1, n * channels, height + 2 * radius, -1)
    planes = F.conv2d(planes, kernel[..., None, :], groups=n * channels)
    planes = F.conv2d(planes, kernel[..., None], groups=n * channels)
    return planes.view(n, channels, height, across)
