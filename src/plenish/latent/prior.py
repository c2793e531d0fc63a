"""What of a latent space a generator was trained on: its scale, its bounds and how far from the middle."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray

from plenish.latent.points import Floats, Space
from plenish.latent.space import LatentSpace

_DRAWS, _FEW_DRAWS = 2_000, 64
"""Draws that tell of a prior; of one whose latents are as large as images."""
_OUTERMOST = 0.9
"""Share of the prior's draws that lie nearer to its middle than what is allowed."""


@dataclasses.dataclass(frozen=True)
class Prior:
    """A prior, as draws of it tell; latents are flat, N×D, and in deviations from the centre.

    Attributes:
        centre: mean, D.
        scale: deviation, D.
        bound: greatest deviation from the centre that any coordinate has; inf of unbounded priors.
        norms: of the draws, ascending.
    """

    centre: Floats
    scale: Floats
    bound: float
    norms: NDArray[np.float64]

    @property
    def radius(self) -> float:
        """The norm that nine of ten draws do not exceed."""
        return float(np.quantile(self.norms, _OUTERMOST))

    def standardised(self, values: NDArray[np.float32]) -> Floats:
        """Latents N×… as N×D, in deviations from the centre."""
        return np.asarray((values.reshape(len(values), -1) - self.centre) / self.scale, np.float32)

    def restored(self, standard: NDArray[np.float32], shape: tuple[int, ...]) -> Floats:
        """The inverse, N×shape."""
        return np.asarray((standard * self.scale + self.centre).reshape(len(standard), *shape), np.float32)

    def share_farther(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Share of the prior's draws that lie farther from the centre than each of N latents."""
        norms = np.linalg.norm(self.standardised(values).astype(np.float64), axis=1)
        return np.asarray(1 - np.searchsorted(self.norms, norms) / len(self.norms))


def prior_of(space: LatentSpace, kind: Space) -> Prior:
    """The prior of a generator's z, or the distribution of its styles w with the classes in turn."""
    n = _DRAWS if space.network.stores_z else _FEW_DRAWS
    z = space.network.sample_prior(n, torch.Generator().manual_seed(0)).numpy().astype(np.float32)
    if kind == "z":
        flat = z.reshape(n, -1)
        # One scale for all: coordinates of z differ by chance alone.
        centre, scale = np.zeros(flat.shape[1]), np.full(flat.shape[1], np.sqrt(np.mean(flat**2)))
    else:
        width, codes = space.labels.width, np.arange(n) % max(space.labels.width, 1)
        y = np.eye(width, dtype=np.float32)[codes] if width else None
        flat = space.to_w(space.given(z, "z", y)).values.reshape(n, -1)
        centre, scale = flat.mean(0), np.maximum(flat.std(0), 1e-6)
    standard = (flat - centre) / scale
    norms = np.sort(np.linalg.norm(standard.astype(np.float64), axis=1))
    bound = float(1 / scale[0]) if kind == "z" and space.uniform else float("inf")
    return Prior(centre.astype(np.float32), scale.astype(np.float32), bound, norms)
