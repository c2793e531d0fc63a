"""Stronger augmentation, by the kind of image: RandAugment, stain jitter, mixup and cutmix.

As in `augment_classical`, every draw derives from (seed, global sample number) alone. Sources: Cubuk et al.,
NeurIPS 2020 (RandAugment); Tellez et al., Medical Image Analysis 58 (2019), 101544 (stain); Ruifrok &
Johnston, Analytical and Quantitative Cytology and Histology 23 (2001), 291-299 (stain vectors); Zhang et al.,
ICLR 2018 (mixup); Yun et al., ICCV 2019 (cutmix).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import betaincinv
from torch import Tensor

from plenish.domains import Domain
from plenish.training.augment_classical import uniforms

_CHANGES = 2
"""RandAugment's changes of an image."""
_STAINS = ((0.650, 0.704, 0.286), (0.072, 0.990, 0.105), (0.268, 0.570, 0.776))
"""Optical density of haematoxylin, eosin and a rest in R, G and B."""
Change = Callable[[Any, Tensor, float], Tensor]
"""(torchvision's functions, images uint8 N×C×H×W, -1 or 1) → images."""


def changes(domain: Domain, magnitude: float, channels: int) -> dict[str, Change]:
    """RandAugment's changes that suit a kind of image, by name.

    Args:
        domain: the kind.
        magnitude: 0 to 10, of the published ranges; those of light and colour are scaled by the domain's.
        channels: 1 or 3.
    """
    part = magnitude / 10
    turn = 30.0 if domain.symmetry == "dihedral" else domain.rotation
    made: dict[str, Change] = {
        "identity": lambda tv, x, sign: x,
        "shift across": functools.partial(_moved, shift=(0.45 * part, 0.0)),
        "shift down": functools.partial(_moved, shift=(0.0, 0.45 * part)),
        "sharpness": lambda tv, x, sign: tv.adjust_sharpness(x, 1 + sign * 0.9 * part),
        "brightness": lambda tv, x, sign: tv.adjust_brightness(x, 1 + sign * 0.9 * part * domain.brightness),
        "contrast": lambda tv, x, sign: tv.adjust_contrast(x, 1 + sign * 0.9 * part * domain.contrast),
    }
    if turn:
        made["turn"] = functools.partial(_moved, turn=turn * part)
    if domain.stretch:
        made["shear across"] = functools.partial(_moved, shear=(17.2 * part * domain.stretch, 0.0))
        made["shear down"] = functools.partial(_moved, shear=(0.0, 17.2 * part * domain.stretch))
    if domain.saturation and channels == 3:
        made["saturation"] = lambda tv, x, sign: tv.adjust_saturation(
            x, 1 + sign * 0.9 * part * domain.saturation
        )
    if domain.brightness >= 1 and domain.contrast >= 1:  # Grey levels have no meaning of their own.
        made["autocontrast"] = lambda tv, x, sign: tv.autocontrast(x)
        made["equalize"] = lambda tv, x, sign: tv.equalize(x)
        made["posterize"] = lambda tv, x, sign: tv.posterize(x, 8 - round(4 * part))
        made["solarize"] = lambda tv, x, sign: tv.solarize(x, 255 * (1 - part))
    return made


def _moved(
    tv: Any, x: Tensor, sign: float, *, shift: tuple[float, float] = (0.0, 0.0), turn: float = 0.0,
    shear: tuple[float, float] = (0.0, 0.0),
) -> Tensor:  # fmt: skip
    """Images moved over their own mirrored border."""
    side = x.shape[-1]
    margin = side // 2
    wide = tv.pad(x, [margin] * 4, padding_mode="reflect")
    moved: Tensor = tv.affine(
        wide, angle=sign * turn, translate=[sign * share * side for share in shift], scale=1.0,
        shear=[sign * degrees for degrees in shear], interpolation=tv.InterpolationMode.BILINEAR,
    )  # fmt: skip
    return moved[..., margin : margin + side, margin : margin + side]


def rand_augment(
    pixels: Tensor, numbers: NDArray[np.int64], seed: int, domain: Domain, magnitude: float
) -> Tensor:
    """Two random changes of each image.

    Args:
        pixels: uint8 N×H×W×C.
        numbers: N global sample numbers.
        seed: of the draws.
        domain: kind of images.
        magnitude: 0 to 10.

    Returns:
        uint8 N×H×W×C.
    """
    from torchvision.transforms.v2 import functional as tv

    offered = list(changes(domain, magnitude, pixels.shape[3]).values())
    draws = uniforms(numbers, 2 * _CHANGES, seed, "randaugment")
    images = pixels.permute(0, 3, 1, 2).contiguous()
    for place in range(_CHANGES):
        which = (draws[:, 2 * place] * len(offered)).astype(np.int64)
        positive = draws[:, 2 * place + 1] < 0.5
        for number, sign in {*zip(which.tolist(), positive.tolist())}:
            mine = torch.from_numpy(np.flatnonzero((which == number) & (positive == sign)))
            mine = mine.to(images.device)
            images[mine] = offered[number](tv, images[mine], 1.0 if sign else -1.0)
    return images.permute(0, 2, 3, 1)


def stain_jitter(images: Tensor, numbers: NDArray[np.int64], seed: int, strength: float) -> Tensor:
    """Vary each stain's strength by up to a share; glass stays as it is.

    Args:
        images: N×3×H×W in [-1, 1].
        numbers: N global sample numbers.
        seed: of the draws.
        strength: the share.

    Returns:
        N×3×H×W in [-1, 1].
    """
    stains = torch.tensor(_STAINS, dtype=torch.float64)
    stains = stains / stains.norm(dim=1, keepdim=True)
    factors = 1 + strength * (2 * torch.from_numpy(uniforms(numbers, 3, seed, "stain")) - 1)
    change = torch.linalg.inv(stains) @ (factors[:, :, None] * stains)  # of densities as rows
    density = -(((images + 1) / 2).clamp_min(1 / 255)).log()
    varied = torch.einsum("nchw,ncd->ndhw", density, change.to(images.device, images.dtype))
    return ((-varied).exp() * 2 - 1).clamp(-1, 1).contiguous(memory_format=torch.channels_last)


def mix(
    images: Tensor, numbers: NDArray[np.int64], seed: int, mixup: float, cutmix: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix images in pairs: those with the sample numbers 2k and 2k + 1, which a shuffled order makes random.

    Args:
        images: N×C×H×W, of consecutive sample numbers; an image without its partner stays as it is.
        numbers: N global sample numbers.
        seed: of the draws.
        mixup: parameter of the Beta distribution of an image's share; 0 for never.
        cutmix: the same where a rectangle is taken from the partner; with both, either is drawn.

    Returns:
        The images; N positions of the partners; N shares of the image itself.
    """
    n, _, height, width = images.shape
    partner = (numbers ^ 1) - numbers[0]
    alone = (partner < 0) | (partner >= n)
    partner = np.where(alone, np.arange(n), partner)
    draws = uniforms(numbers // 2, 4, seed, "mix")
    cut = draws[:, 0] < 0.5 if mixup and cutmix else np.full(n, bool(cutmix))
    alpha = np.where(cut, cutmix or 1.0, mixup or 1.0)
    share = betaincinv(alpha, alpha, draws[:, 1])
    place = torch.from_numpy(partner).to(images.device)
    half = np.sqrt(1 - share) / 2
    box = [
        np.rint(np.clip(draws[:, axis] + sign * half, 0, 1) * side).astype(np.int64)
        for axis, side in ((2, height), (3, width)) for sign in (-1, 1)
    ]  # fmt: skip
    top, bottom, left, right = (torch.from_numpy(edge).to(images.device)[:, None] for edge in box)
    rows, across = (torch.arange(side, device=images.device) for side in (height, width))
    inside = ((rows >= top) & (rows < bottom))[:, :, None] & ((across >= left) & (across < right))[:, None, :]
    area = (box[1] - box[0]) * (box[3] - box[2]) / (height * width)
    share = np.where(alone, 1.0, np.where(cut, 1 - area, share))
    shares = torch.from_numpy(share).to(images.device, images.dtype)
    mine = torch.where(
        torch.from_numpy(cut).to(images.device)[:, None, None], ~inside, shares[:, None, None]
    ).to(images.dtype)
    mixed = torch.lerp(images[place], images, mine[:, None])
    return mixed, place, shares
