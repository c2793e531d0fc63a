"""Pivotal tuning: the generator's weights are adapted to one image around its inverted point.

After Roich et al., "Pivotal Tuning for Latent-based Editing of Real Images" (2022), in its simplest form:
Adam on the mean squared error of the pixels alone, with fixed latents and label. Nothing holds the other
images of the generator in place, so far from the point they change too.
"""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from plenish.errors import InputError
from plenish.latent.points import Points
from plenish.latent.space import LatentSpace
from plenish.progress import progress
from plenish.training.engine import to_uint8

MOST = 16
"""Images that are tuned at once: each keeps the weights of a whole generator."""
RATE = 1e-3


@dataclasses.dataclass(frozen=True)
class Tuned:
    """Generators that were adapted, each to one image.

    Attributes:
        weights: of each, as safetensors.
        images: what they make of the points, uint8 N×H×W×C.
        error: mean squared errors, pixels in [0, 1]; N.
    """

    weights: tuple[bytes, ...]
    images: NDArray[np.uint8]
    error: NDArray[np.float64]


def check_number(images: int) -> None:
    """Refuse more images than are tuned at once.

    Raises:
        InputError: there are more.
    """
    if images > MOST:
        raise InputError(
            f"--tune keeps a generator for each image, so it takes at most {MOST} and not {images}; "
            "choose some by --ids."
        )


def tune(space: LatentSpace, points: Points, images: NDArray[np.uint8], steps: int) -> Tuned:
    """Adapt the generator's weights to each image by itself, in float32; the generator itself stays.

    Args:
        space: the generator.
        points: of the images, N.
        images: uint8 N×H×W×C.
        steps: of Adam for each image.

    Raises:
        InputError: more than `MOST` images.
    """
    check_number(len(images))
    targets, device = space.engine.to_images(images), space.engine.device
    weights, made, errors = [], [], []
    with progress("tuning", steps * len(points), "steps") as bar:
        for i in range(len(points)):
            adapted = copy.copy(space)
            adapted.network = copy.deepcopy(space.network).requires_grad_(True)
            optimiser = torch.optim.Adam(adapted.network.parameters(), RATE)
            values = torch.from_numpy(points.values[i : i + 1]).to(device)
            y = None if points.y is None else torch.from_numpy(points.y[i : i + 1]).to(device)
            for _ in range(steps):
                image = adapted.sample(values, y, points.space).float()
                optimiser.zero_grad()
                (image - targets[i]).square().mean().backward()
                optimiser.step()
                bar.advance(1)
            with torch.no_grad():
                image = adapted.sample(values, y, points.space).float()
            made.append(to_uint8(image))
            errors.append(float((image - targets[i]).square().mean()) / 4)
            state = adapted.network.state_dict()
            weights.append(save({name: value.cpu().contiguous() for name, value in state.items()}))
    return Tuned(tuple(weights), np.concatenate(made), np.array(errors))
