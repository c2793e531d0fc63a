"""Orientations, moves and colours of training images, by kind of image; what GANs and flows share.

Moves and colours are those of ADA (Karras et al. 2020, arXiv 2006.06676, appendix B), simpler in that
resampling is bilinear without a wavelet filter, and that image-space filtering and corruptions are left out,
as in that paper's own choice for photographs. All are differentiable twice in the images.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from plenish.networks import shared_batch
from plenish.policies import Policy

_MODES = {"bilinear": 0, "nearest": 1}
_PADDINGS = {"zeros": 0, "reflection": 2}


def orient(x: Tensor, symmetry: str, rng: torch.Generator) -> Tensor:
    """Show each image of a batch N×C×H×W in a random orientation."""
    if symmetry == "none":
        return x
    choice = shared_batch.integers(0, 8, (len(x),), rng)
    flip = (choice & 1).bool()
    x = torch.where(flip[:, None, None, None], x.flip(3), x)
    if symmetry == "dihedral":
        x = torch.where((choice & 2).bool()[:, None, None, None], x.flip(2), x)
        x = torch.where((choice & 4).bool()[:, None, None, None], x.transpose(2, 3), x)
    return x.contiguous(memory_format=torch.channels_last)


def vary(x: Tensor, policy: Policy, p: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Change each image with ADA's moves and colours.

    Args:
        x: N×C×H×W in [-1, 1], contiguous.
        policy: which changes suit the images.
        p: probability of each, 0-dim.
        rng: source of every draw.

    Returns:
        The images, not clipped, and N×18 numbers that say how each was changed, 0 where not: what the affine
        map, the colour matrix and its offset add to the identity.
    """
    n, _, size, _ = x.shape
    affine, moved = geometry(n, size, policy, p, rng)
    shifted = resample(x, affine, "bilinear", "reflection")
    out = torch.where(moved[:, None, None, None], shifted, x)
    matrix, offset = colour(n, policy, p, rng)
    identity = [torch.eye(rows, columns, device=x.device) for rows, columns in ((2, 3), (3, 3))]
    changes = torch.cat([(affine - identity[0]).flatten(1), (matrix - identity[1]).flatten(1), offset], 1)
    return _recolour(out, matrix, offset), changes


def _rotation(cos: Tensor, sin: Tensor) -> Tensor:
    return torch.stack([cos, -sin, sin, cos], -1).view(-1, 2, 2)


def geometry(n: int, size: int, policy: Policy, p: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw the ADA moves of n images.

    Returns:
        Affine maps from output to input coordinates (-1 to 1 over the image, x first), n×2×3; and which
        images are moved at all, n.
    """
    coins, uniform = (shared_batch.uniform((count, n), rng, 1) for count in (9, 7))
    normal = shared_batch.normal((4, n), rng, 1)
    shares = (
        policy.flip_x, policy.flip_y, policy.rot90, policy.translation, policy.scale, policy.rotation,
        policy.anisotropy, policy.rotation, policy.translation,
    )  # fmt: skip
    # Two rotations, before and after stretching, that together happen with probability p.
    p_rotation = 1 - (1 - p).clamp(min=0).sqrt()
    chances = [p_rotation if i in (5, 7) else p for i in range(9)]
    on = torch.stack(
        [(coin < chance) & (share > 0) for coin, chance, share in zip(coins, chances, shares, strict=True)]
    )

    mirror = torch.stack([1 - 2.0 * (on[i] & (uniform[i] < 0.5)) for i in (0, 1)], -1)
    quarter = (uniform[2] * 4).floor().clamp(max=3) * on[2]
    # Cosine and sine of a number of quarter turns, without rounding.
    cos, sin = (2 - quarter).abs() - 1, 1 - (quarter - 1).abs()
    rotated = _rotation(cos, sin)
    whole = ((uniform[3:5] * 2 - 1) * (policy.translation * size / 8)).round() * (2 / size) * on[3]
    octaves = 0.2 * math.log(2)
    scale = (normal[0] * octaves * policy.scale * on[4]).exp()
    stretch = (normal[1] * octaves * policy.anisotropy * on[6]).exp()
    angles = (uniform[5:7] * 2 - 1) * (math.pi * policy.rotation) * on[5:8:2]
    fraction = normal[2:4] * (2 / 8 * policy.translation) * on[8]

    before, after = (_rotation(angle.cos(), angle.sin()) for angle in angles)
    linear = before * torch.stack([stretch, 1 / stretch], -1)[:, None] @ after
    linear = linear * scale[:, None, None]
    shift = -(linear @ fraction.t()[:, :, None]) - whole.t()[:, :, None]
    exact = mirror[:, :, None] * rotated
    return torch.cat([exact @ linear, exact @ shift], 2), on.any(0)


def colour(n: int, policy: Policy, p: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw the ADA colour changes of n images.

    Brightness is added, then contrast, luma flip, hue and saturation act on the axis of greys and on the
    plane across it, so their product has a closed form that is exactly the identity where nothing was drawn.

    Returns:
        Matrices n×3×3 on RGB in [-1, 1], and offsets n×3.
    """
    coins, uniform = (shared_batch.uniform((count, n), rng, 1) for count in (5, 2))
    normal = shared_batch.normal((3, n), rng, 1)
    on = coins < p
    brightness = normal[0] * (0.2 * policy.brightness) * on[0]
    contrast = (normal[1] * (0.5 * math.log(2) * policy.contrast) * on[1]).exp()
    flip = 2.0 * (on[2] & (uniform[0] < 0.5 * policy.luma_flip))
    angle = (uniform[1] * 2 - 1) * (math.pi * policy.hue) * on[3]
    saturation = (normal[2] * (math.log(2) * policy.saturation) * on[4]).exp()
    matrix = _colour_matrix(contrast, flip, angle, saturation)
    return matrix, matrix.sum(2) * brightness[:, None]


def _colour_matrix(contrast: Tensor, flip: Tensor, angle: Tensor, saturation: Tensor) -> Tensor:
    identity = torch.eye(3, device=contrast.device, dtype=contrast.dtype)
    grey = torch.full_like(identity, 1 / 3)
    # Cross product with the grey axis (1, 1, 1)/√3, by rolling: no constant is copied from the host.
    cross = (identity.roll(1, 0) - identity.roll(-1, 0)) / math.sqrt(3)
    along, plane, across = -flip, saturation * angle.cos() - 1, saturation * angle.sin()
    matrix = (
        identity
        + along[:, None, None] * grey
        + plane[:, None, None] * (identity - grey)
        + across[:, None, None] * cross
    )
    coloured: Tensor = contrast[:, None, None] * matrix
    return coloured


def _recolour(x: Tensor, matrix: Tensor, offset: Tensor) -> Tensor:
    """RGB through n×3×3 and n×3; grey as the same change does to a grey RGB."""
    matrix, offset = matrix.to(x.dtype), offset.to(x.dtype)
    if x.shape[1] == 1:
        # Every row sums to what grey is multiplied by.
        return x * matrix[:, :1].sum(2)[:, :, None, None] + offset[:, :1, None, None]
    # Sums instead of a matrix product, which a GPU may round to ten bits.
    columns = [matrix[:, :, i, None, None] * x[:, i : i + 1] for i in range(3)]
    return columns[0] + columns[1] + columns[2] + offset[:, :, None, None]


def resample(x: Tensor, affine: Tensor, mode: str, padding: str) -> Tensor:
    """Images N×C×H×H moved by affine maps N×2×3 from output to input coordinates, -1 to 1 over the image.

    Args:
        x: the images; differentiable any number of times in them.
        affine: the maps.
        mode: `bilinear` or `nearest`.
        padding: what lies outside: `zeros` or `reflection`.
    """
    moved: Tensor = _Resample.apply(x, _grid(affine.to(x.dtype), x.shape[2]), mode, padding)
    return moved


def _grid(affine: Tensor, size: int) -> Tensor:
    """Sampling places of affine maps n×2×3, n×size×size×2: F.affine_grid as one broadcast sum."""
    place = (torch.arange(size, device=affine.device, dtype=affine.dtype) * 2 + 1) / size - 1
    columns = affine[:, None, None, :, 0] * place[:, None]
    rows = affine[:, None, None, :, 1] * place[:, None, None] + affine[:, None, None, :, 2]
    return columns + rows


class _Resample(torch.autograd.Function):
    """F.grid_sample as the linear map of the image that it is: differentiable any number of times.

    Older releases of torch have no derivative of its backward pass; the map and its adjoint give each
    other's.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, grid: Tensor, mode: str, padding: str) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.options = mode, padding
        return F.grid_sample(x, grid, mode, padding, align_corners=False)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None, None]:
        (grid,) = ctx.saved_tensors
        return _Spread.apply(gradients[0], grid, *ctx.options), None, None, None


class _Spread(torch.autograd.Function):
    """The adjoint: every output pixel's value goes back to the input pixels it was mixed from."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, grid: Tensor, mode: str, padding: str) -> Tensor:
        ctx.save_for_backward(grid)
        ctx.options = mode, padding
        device, gradient = gradient.device, gradient.contiguous()
        if device.type == "cuda" and torch.are_deterministic_algorithms_enabled():
            gradient, grid = gradient.cpu(), grid.cpu()  # A GPU adds up in any order.
        # The image's values matter to the places' gradient alone, which is not asked for.
        spread: Tensor = torch.ops.aten.grid_sampler_2d_backward(
            gradient, gradient, grid, _MODES[mode], _PADDINGS[padding], False, [True, False]
        )[0]
        return spread.to(device)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, None, None, None]:
        (grid,) = ctx.saved_tensors
        return _Resample.apply(gradients[0], grid, *ctx.options), None, None, None
