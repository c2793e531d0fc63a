"""Random numbers that belong to an image, whatever batch it is attacked in."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from plenish.training.engine import stable_seed


class ImageDraws:
    """A stream of random numbers for each image of a batch.

    A stream is seeded from a seed, a purpose and the pixels of its image, so that neither the size of a
    batch, nor the order of images, nor those already left out change the numbers of an image. They are drawn
    on the CPU and are the same on every device.
    """

    def __init__(self, images: Tensor, seed: int, *purpose: Any) -> None:
        """Seed one stream an image N×C×H×W."""
        self._device = images.device
        pixels = images.detach().cpu().contiguous().numpy()
        digests = (hashlib.blake2b(image.tobytes(), digest_size=8).hexdigest() for image in pixels)
        self._streams = [torch.Generator().manual_seed(stable_seed(seed, *purpose, d)) for d in digests]

    def uniform(self, *shape: int) -> Tensor:
        """Numbers from 0 to 1 for each image, N×shape."""
        return self._drawn(torch.rand, shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers for each image, N×shape."""
        return self._drawn(torch.randn, shape)

    def keep(self, rows: Tensor) -> None:
        """Go on with these images alone."""
        self._streams = [self._streams[row] for row in rows.tolist()]

    def _drawn(self, draw: Any, shape: tuple[int, ...]) -> Tensor:
        if not self._streams:
            return torch.empty(0, *shape, device=self._device)
        return torch.stack([draw(*shape, generator=s) for s in self._streams]).to(self._device)
