"""Augmentation of what a discriminator sees: DiffAugment and ADA, differentiable twice.

DiffAugment (Zhao et al. 2020, arXiv 2006.10738) changes every image, reals and fakes alike. ADA (Karras et
al. 2020, arXiv 2006.06676) changes each with a probability p that a controller raises while the discriminator
is too sure of the reals. Both go through `augment`; gradients reach the generator, and gradient penalties can
be taken through it.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from plenish.configuration import check_fields, option
from plenish.domains import SYMMETRIES
from plenish.errors import InputError, unknown
from plenish.networks import shared_batch
from plenish.policies import Policy, policy_of_names
from plenish.training.augment import resample, vary


@dataclasses.dataclass(frozen=True)
class Augment:
    """What is done to the images on their way to the discriminator.

    Attributes:
        symmetry: real images are shown in a random one of these orientations: `none`, `mirror` (left-right)
            or `dihedral` (all eight flips and right-angle rotations; tissue has no up and down).
        diffaugment: comma list of `color`, `translation`, `cutout`; empty for none.
        ada_target: mean sign of the reals' logits that the controller holds; 0.6 is usual, 0 switches it off.
        ada_p: probability of each change at the start; without a controller, throughout.
        ada_p_max: upper limit of that probability; above about 0.8 the changes appear in the fakes.
        ada_kimg: thousands of images in which the controller can go from 0 to 1.
        policy: which changes suit the images: a domain's name (`plenish.domains`), `ada` for the ranges as
            published, which also turn images, or a comma list for the least of each.
    """

    symmetry: str = "none"
    diffaugment: str = ""
    ada_target: float = option(0.0, least=0, below=1)
    ada_p: float = 0.0
    ada_p_max: float = option(0.8, least=0, most=1)
    ada_kimg: float = option(100.0, above=0)
    policy: str = "natural"

    def __post_init__(self) -> None:
        if self.symmetry not in SYMMETRIES:
            raise unknown("symmetry", self.symmetry, SYMMETRIES)
        policy_of_names(self.policy)
        for name in self.diffaugments:
            if name not in DIFFAUGMENTS:
                raise unknown("DiffAugment change", name, DIFFAUGMENTS)
        check_fields(self, "augment")
        if not 0 <= self.ada_p <= self.ada_p_max:
            raise InputError(
                f"augment.ada_p lies between 0 and ada_p_max {self.ada_p_max}, not at {self.ada_p}."
            )

    @property
    def diffaugments(self) -> tuple[str, ...]:
        """The names in `diffaugment`."""
        return tuple(name.strip() for name in self.diffaugment.split(",") if name.strip())

    @property
    def ada(self) -> bool:
        """Whether images pass through the ADA changes at all."""
        return self.ada_target > 0 or self.ada_p > 0


def next_p(p: Tensor, sign_mean: Tensor, settings: Augment, batch: int) -> Tensor:
    """One step of the ADA controller.

    Args:
        p: current probability, 0-dim.
        sign_mean: mean of sign(logit) over the reals since the last step, 0-dim, -1 to 1.
        settings: target, speed and upper limit.
        batch: real images shown since the last step.

    Returns:
        The next probability, 0-dim on the same device, in [0, ada_p_max]; p where there is no controller.
    """
    if settings.ada_target <= 0:
        return p
    direction = torch.nan_to_num((sign_mean - settings.ada_target).sign())
    return (p + direction * (batch / (1000 * settings.ada_kimg))).clamp(0, settings.ada_p_max)


def augment(x: Tensor, settings: Augment, p: Tensor, rng: torch.Generator) -> Tensor:
    """Change images at random, each by itself: ADA with probability p, then DiffAugment.

    Args:
        x: N×C×H×W in [-1, 1], square, 1 or 3 channels.
        settings: what may be done.
        p: probability of each ADA change, 0-dim on the device of x; it is never copied to the host.
        rng: source of every draw, on the device of x; the draws do not depend on p or the images.

    Returns:
        Images of the same shape, channels_last, not clipped; x itself where the settings ask for nothing.
        Images that no change was drawn for are returned exactly. Differentiable twice in x.
    """
    names = settings.diffaugments
    if not (settings.ada or names):
        return x
    policy = policy_of_names(settings.policy)
    with torch.autocast(x.device.type, enabled=False):
        # Three channels: a contiguous copy is cheap, and resampling and products are faster on it.
        out = (x if x.dtype == torch.float64 else x.float()).contiguous()
        if settings.ada:
            out, _ = vary(out, policy, p, rng)
        for name, change in DIFFAUGMENTS.items():
            if name in names:
                out = change(out, policy, rng)
        return out.contiguous(memory_format=torch.channels_last)


def _diff_colour(x: Tensor, policy: Policy, rng: torch.Generator) -> Tensor:
    """Brightness within ±0.5, saturation in [0, 2], contrast in [0.5, 1.5] about the image's mean."""
    draw = shared_batch.uniform((3, len(x), 1, 1, 1), rng, 1).to(x.dtype) * 2 - 1
    x = x + draw[0] * (0.5 * policy.brightness)
    if x.shape[1] == 3 and policy.saturation:
        luma = x.mean(1, keepdim=True)
        x = luma + (x - luma) * (1 + draw[1] * policy.saturation)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (x - mean) * (1 + draw[2] * (0.5 * policy.contrast))


def _diff_translation(x: Tensor, policy: Policy, rng: torch.Generator) -> Tensor:
    """Shifts by up to 1/8 of the side in whole pixels; what comes in is 0."""
    n, size = len(x), x.shape[2]
    reach = round(size / 8)
    pixels = shared_batch.integers(-reach, reach + 1, (n, 2, 1), rng)
    shift = pixels.to(x.dtype) * (2 / size)
    affine = torch.cat([torch.eye(2, device=x.device, dtype=x.dtype).expand(n, 2, 2), shift], 2)
    return resample(x, affine, "nearest", "zeros")


def _diff_cutout(x: Tensor, policy: Policy, rng: torch.Generator) -> Tensor:
    """A square of half the side, centred anywhere, becomes 0."""
    n, size = len(x), x.shape[2]
    side = size // 2
    first = shared_batch.integers(0, size + 1, (2, n, 1), rng, 1) - side // 2
    place = torch.arange(size, device=x.device)
    inside = (place >= first) & (place < first + side)
    return x * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])


DIFFAUGMENTS = {"color": _diff_colour, "translation": _diff_translation, "cutout": _diff_cutout}
"""The changes of DiffAugment, in their order."""
