"""Common corruptions: what cameras, scanners, files and stains do to images, in five severities.

Kinds and strengths are those of Hendrycks and Dietterich (ICLR 2019), who publish them for images of 32
(CIFAR-10-C), 64 (Tiny ImageNet-C) and 224 pixels (ImageNet-C). At these sides the strengths here are theirs;
between them each is interpolated geometrically in the side; above 224 pixels lengths grow with the side and
the rest stays. What differs from theirs:

- no rounding to 8 bits behind a corruption, and no JPEG file around all of them: what is measured is one
  corruption, not two. JPEG and pixelate work on 8 bits, as theirs;
- motion blur runs along any direction, not within 45 degrees of the horizontal, is interpolated between
  pixels, and is cut at 3 standard deviations; its border repeats the outermost pixels;
- the noise of an image is the same for every severity but for its strength, so severities can be compared;
- stain shift, of histology alone, is not among theirs. It varies the optical density of haematoxylin, eosin
  and DAB each by up to a share (Tellez et al., Medical Image Analysis 58 (2019), 101544, whose strong
  augmentation is about severity 2).

Draws derive from (seed, kind, number of the image) alone: never from the batch.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from plenish.errors import InputError, unknown
from plenish.training.augment_classical import uniforms
from plenish.training.augment_policy import stain_jitter
from plenish.training.engine import stable_seed

SEVERITIES = (1, 2, 3, 4, 5)
Numbers = NDArray[np.int64]
_SIDES = (32, 64, 224)
"""Sides at which strengths are published, pixels."""
_LONGEST = 3.0
"""Standard deviations at which motion blur is cut."""


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One kind of corruption.

    Attributes:
        name: the kind, as it is typed.
        about: what it is, for a table.
        function: (images N×C×H×W in [0, 1], numbers N, seed, strength) → images.
        strengths: five severities by side in pixels; one row where they suit every side.
        is_length: whether strengths are in pixels, and grow with images of more than 224.
        colour: whether it needs three channels.
        domain: the only kind of images it is for, if there is one.
    """

    name: str
    about: str
    function: Callable[[Tensor, Numbers, int, float], Tensor]
    strengths: tuple[tuple[float, ...], ...]
    is_length: bool = False
    colour: bool = False
    domain: str | None = None

    def strength(self, severity: int, side: int) -> float:
        """The strength of a severity, 1 to 5, for images of `side` pixels."""
        if severity not in SEVERITIES:
            raise InputError(f"A corruption's severity is 1 to 5, not {severity}.")
        values = [row[severity - 1] for row in self.strengths]
        if len(values) == 1:
            return values[0]
        found = math.exp(np.interp(math.log(side), np.log(_SIDES), np.log(values)))
        return found * max(1.0, side / _SIDES[-1]) if self.is_length else found

    def suits(self, channels: int, domain: str) -> bool:
        """Whether it is for images with so many channels, of this domain."""
        return channels in ((3,) if self.colour else (1, 3)) and self.domain in (None, domain)

    def apply(
        self, images: Tensor, severity: int, *, numbers: Numbers | None = None, seed: int = 0
    ) -> Tensor:
        """Corrupt images.

        Args:
            images: float32 N×C×H×W in [0, 1], C 1 or 3.
            severity: 1 to 5.
            numbers: N numbers of the images, which decide their draws; by default 0 to N-1.
            seed: of the draws.

        Returns:
            float32 N×C×H×W in [0, 1]; the images given are left as they are.

        Raises:
            InputError: the severity is none, or the kind does not suit images without colour.
        """
        strength = self.strength(severity, images.shape[-1])
        if not self.suits(images.shape[1], self.domain or ""):
            raise InputError(
                f"The corruption '{self.name}' needs images of {'3' if self.colour else '1 or 3'} channels, "
                f"not {images.shape[1]}; leave it out."
            )
        if not len(images):
            return images.clone()
        numbers = np.arange(len(images)) if numbers is None else np.asarray(numbers, np.int64)
        return self.function(images, numbers, seed, strength).clamp(0, 1)


def suitable(channels: int, domain: str) -> tuple[Corruption, ...]:
    """The corruptions for images with so many channels, of this domain."""
    return tuple(kind for kind in CORRUPTIONS.values() if kind.suits(channels, domain))


def corruption(name: str) -> Corruption:
    """The corruption of a name; InputError with the nearest one where there is none."""
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, CORRUPTIONS)
    return CORRUPTIONS[name]


def gaussian_noise(images: Tensor, numbers: Numbers, seed: int, deviation: float) -> Tensor:
    """Add normal noise of a standard deviation, in units of [0, 1]."""
    noise = [
        torch.randn(images.shape[1:], generator=_generator(seed, "gaussian-noise", number))
        for number in numbers
    ]
    return images + deviation * torch.stack(noise).to(images)


def shot_noise(images: Tensor, numbers: Numbers, seed: int, photons: float) -> Tensor:
    """Count photons, of which a white pixel has so many on average (Poisson)."""
    rates = images.cpu().clamp_min(0) * photons
    counts = [
        torch.poisson(rate, _generator(seed, "shot-noise", number)) for rate, number in zip(rates, numbers)
    ]
    return torch.stack(counts).to(images) / photons


def gaussian_blur(images: Tensor, numbers: Numbers, seed: int, deviation: float) -> Tensor:
    """Blur by a Gaussian of a standard deviation in pixels, cut at 4 of them; the border is repeated."""
    reach = int(4 * deviation + 0.5)
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (offsets / deviation) ** 2)
    weights = (weights / weights.sum()).to(images.device, images.dtype)
    channels = images.shape[1]
    wide = functional.pad(images, [reach] * 4, mode="replicate")
    for shape in ((1, 1, -1, 1), (1, 1, 1, -1)):
        kernel = weights.view(shape).expand(channels, 1, *weights.view(shape).shape[2:])
        wide = functional.conv2d(wide, kernel, groups=channels)
    return wide


def motion_blur(images: Tensor, numbers: Numbers, seed: int, deviation: float) -> Tensor:
    """Smear each image along a direction of its own; weights fall as one side of a Gaussian, in pixels."""
    angles = torch.from_numpy(2 * math.pi * uniforms(numbers, 1, seed, "motion-blur")[:, 0])
    n, _, height, width = images.shape
    # Of affine_grid, a shift by 2 is a shift by the whole side.
    step = torch.stack([2 * angles.cos() / width, 2 * angles.sin() / height], dim=1)
    matrix = torch.eye(2, 3, dtype=torch.float64).repeat(n, 1, 1)
    blurred, total = torch.zeros_like(images), 0.0
    for place in range(math.ceil(_LONGEST * deviation) + 1):
        matrix[:, :, 2] = place * step
        grid = functional.affine_grid(matrix.to(images), list(images.shape), align_corners=False)
        weight = math.exp(-0.5 * (place / deviation) ** 2)
        blurred += weight * functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
        total += weight
    return blurred / total


def jpeg(images: Tensor, numbers: Numbers, seed: int, quality: float) -> Tensor:
    """Save as JPEG of a quality, 1 to 100, and open again."""

    def through_file(picture: Image.Image) -> Image.Image:
        file = io.BytesIO()
        picture.save(file, "JPEG", quality=round(quality))
        return Image.open(file)

    return _each(images, through_file)


def brightness(images: Tensor, numbers: Numbers, seed: int, added: float) -> Tensor:
    """Add to the value of HSV; hue and saturation stay."""
    value = images.amax(dim=1, keepdim=True)
    raised = (value + added).clamp_max(1)
    # Black has neither hue nor saturation, so it becomes grey.
    return torch.where(value > 0, images * (raised / value.clamp_min(1e-12)), raised)


def contrast(images: Tensor, numbers: Numbers, seed: int, share: float) -> Tensor:
    """Keep a share of each value's distance from the mean of its image and channel."""
    mean = images.mean(dim=(2, 3), keepdim=True)
    return (images - mean) * share + mean


def pixelate(images: Tensor, numbers: Numbers, seed: int, share: float) -> Tensor:
    """Shrink to a share of the side, by areas, and enlarge again."""

    def coarse(picture: Image.Image) -> Image.Image:
        small = picture.resize([max(1, int(side * share)) for side in picture.size], Image.Resampling.BOX)
        return small.resize(picture.size, Image.Resampling.BOX)

    return _each(images, coarse)


def stain_shift(images: Tensor, numbers: Numbers, seed: int, share: float) -> Tensor:
    """Vary the density of each stain of an image by up to a share; glass stays as it is."""
    return stain_jitter(images * 2 - 1, numbers, seed, share).contiguous().add(1).div(2)


def _generator(seed: int, kind: str, number: int) -> torch.Generator:
    # On the CPU, so that every device sees the same noise.
    return torch.Generator().manual_seed(stable_seed(seed, kind, int(number)))


def _each(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Images through a change of 8-bit pictures, one by one."""
    pixels = (images * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    grey = pixels.shape[3] == 1
    changed = [np.asarray(change(Image.fromarray(one[..., 0] if grey else one))) for one in pixels]
    found = torch.from_numpy(np.stack(changed).reshape(pixels.shape)).permute(0, 3, 1, 2)
    return found.to(images.device, images.dtype).contiguous() / 255


CORRUPTIONS: Mapping[str, Corruption] = {
    kind.name: kind
    for kind in (
        Corruption(
            "gaussian-noise", "normal noise, of a sensor in little light", gaussian_noise,
            ((0.04, 0.06, 0.08, 0.09, 0.1), (0.04, 0.08, 0.12, 0.15, 0.18), (0.08, 0.12, 0.18, 0.26, 0.38)),
        ),
        Corruption(
            "shot-noise", "few photons a pixel", shot_noise,
            ((500, 250, 100, 75, 50), (250, 100, 50, 30, 15), (60, 25, 12, 5, 3)),
        ),
        Corruption(
            "gaussian-blur", "an image that is not in focus", gaussian_blur,
            ((0.4, 0.6, 0.7, 0.8, 1), (0.5, 0.75, 1, 1.25, 1.5), (1, 2, 3, 4, 6)), is_length=True,
        ),
        Corruption(
            "motion-blur", "movement during the exposure", motion_blur,
            ((1, 1.5, 2, 2, 2.5), (1, 1.5, 2, 2.5, 3), (3, 5, 8, 12, 15)), is_length=True,
        ),
        Corruption(
            "brightness", "more light", brightness,
            ((0.05, 0.1, 0.15, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4, 0.5), (0.1, 0.2, 0.3, 0.4, 0.5)),
        ),
        Corruption(
            "contrast", "less contrast", contrast,
            ((0.75, 0.5, 0.4, 0.3, 0.15), (0.4, 0.3, 0.2, 0.1, 0.05), (0.4, 0.3, 0.2, 0.1, 0.05)),
        ),
        Corruption(
            "jpeg", "JPEG of low quality", jpeg,
            ((80, 65, 58, 50, 40), (65, 58, 50, 40, 25), (25, 18, 15, 10, 7)),
        ),
        Corruption(
            "pixelate", "fewer pixels", pixelate,
            ((0.95, 0.9, 0.85, 0.75, 0.65), (0.9, 0.8, 0.7, 0.6, 0.5), (0.6, 0.5, 0.4, 0.3, 0.25)),
        ),
        Corruption(
            "stain-shift", "other amounts of haematoxylin, eosin and DAB", stain_shift,
            ((0.1, 0.2, 0.35, 0.5, 0.7),), colour=True, domain="histology",
        ),
    )
}  # fmt: skip
"""All kinds by name, in the order of a table."""
