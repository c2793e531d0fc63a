"""Latents as free numbers: what is searched in an inversion has no bounds and about the same scale."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from torch import Tensor

from plenish.latent.inversion_options import InversionSpace
from plenish.latent.points import Space
from plenish.latent.space import LatentSpace
from plenish.training.engine import stable_seed

_DRAWS = 1024


@dataclasses.dataclass(frozen=True)
class Coordinates:
    """Numbers u, N×P, for latents of a space, N×….

    z of a uniform prior is sin u, so that its bounds hold; of a normal prior it is u. A style is its mean
    over the prior plus u times its standard deviation.

    Attributes:
        space: z, w or w+.
        shape: of one u that is not flat.
        uniform: whether the prior is U(-1, 1).
        layers: how many styles a point has.
        mean: of w over the prior; 0 for z.
        std: of w over the prior; 1 for z.
    """

    space: InversionSpace
    shape: tuple[int, ...]
    uniform: bool
    layers: int
    mean: Tensor
    std: Tensor

    @property
    def of(self) -> Space:
        """The space that points are of: z or w."""
        return "z" if self.space == "z" else "w"

    @property
    def width(self) -> int:
        """P."""
        return math.prod(self.shape)

    def latents(self, u: Tensor) -> Tensor:
        """U, N×P → z, N×z_shape, or w, N×num_ws×w_dim; differentiable."""
        rows = u.reshape(len(u), *self.shape)
        if self.space == "z":
            return rows.sin() if self.uniform else rows
        w = self.mean + self.std * rows
        return w if self.space == "w+" else w[:, None].expand(-1, self.layers, -1)

    def of_latents(self, latents: Tensor) -> Tensor:
        """Z or w as the coordinates, N×P; a w of several styles as their mean where the space is w."""
        if self.space == "z":
            found = latents.clamp(-0.999, 0.999).asin() if self.uniform else latents
        else:
            found = ((latents if self.space == "w+" else latents.mean(1)) - self.mean) / self.std
        return found.flatten(1)

    def penalty(self, u: Tensor) -> Tensor:
        """How far latents are from where the prior has its mass, N: (‖u‖²/P − 1)²; of w if longer alone."""
        if self.space == "z" and self.uniform:
            return u.new_zeros(len(u))
        excess = u.square().mean(1) - 1
        return (excess if self.space == "z" else excess.relu()).square()


def coordinates(space: LatentSpace, where: InversionSpace) -> Coordinates:
    """Coordinates of a generator's latents.

    Raises:
        InputError: w is asked of a generator that has none.
    """
    device = space.engine.device
    if where == "z":
        one = torch.ones((), device=device)
        return Coordinates("z", space.network.z_shape, space.uniform, 1, 0 * one, one)
    network = space.require_styles(f"--space {where}")
    rng = torch.Generator().manual_seed(stable_seed("inversion", "styles"))
    with torch.no_grad():
        z = network.sample_prior(_DRAWS, rng).to(device)
        width = space.labels.width
        y = torch.from_numpy(np.eye(width, dtype=np.float32)[np.arange(_DRAWS) % width]) if width else None
        w = network.mapping(z, None if y is None else y.to(device)).float()[:, 0]
    shape = (network.w_dim,) if where == "w" else (network.num_ws, network.w_dim)
    return Coordinates(where, shape, False, network.num_ws, w.mean(0), w.std(0).clamp_min(1e-3))
