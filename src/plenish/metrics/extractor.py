"""What a score is computed on: features of images by some network, with a name that says which."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


@dataclasses.dataclass(frozen=True)
class Extractor:
    """Images to features, and the facts that make its scores comparable.

    Attributes:
        name: what scores are named after, as in ``FD(<name>)``.
        version: raised whenever features of the same images change.
        resizer: how images come to the network's input size.
        task: what the network was trained to do.
        dim: D, number of features.
        fitted_on: the data it was trained on.
        hash: SHA-256 over weights and configuration.
        channels: how many channels images may have.
        batch: images that the network gets at once.
        network: uint8 images n×H×W×C → features n×D, on any device.
    """

    name: str
    version: str
    resizer: str
    task: str
    dim: int
    fitted_on: str
    hash: str
    channels: tuple[int, ...]
    batch: int
    network: Callable[[NDArray[np.uint8]], Tensor]

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features N×D of images N×H×W×C uint8 of any size.

        Raises:
            ValueError: the array has another shape.
        """
        if images.ndim != 4 or images.shape[3] not in self.channels:
            channels = " or ".join(map(str, self.channels))
            raise ValueError(f"expected N×H×W×C images with {channels} channels, got shape {images.shape}")
        out = np.empty((len(images), self.dim), np.float32)
        with torch.no_grad():
            for start in range(0, len(images), self.batch):
                rows = slice(start, start + self.batch)
                out[rows] = self.network(images[rows]).float().cpu().numpy()
        return out

    def facts(self) -> dict[str, Any]:
        """What a result file holds of it."""
        names = ("name", "version", "resizer", "task", "dim", "fitted_on", "hash")
        return {name: getattr(self, name) for name in names}


def resized(x: Tensor, side: int) -> Tensor:
    """Images N×C×H×W at side×side, bilinear with antialiasing: aliasing alone moves scores."""
    if x.shape[2:] == (side, side):
        return x
    return functional.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)
