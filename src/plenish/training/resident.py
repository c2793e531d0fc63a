"""Training images held on the device as uint8, so that no step waits for the disk or the bus."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish.datasets.batches import TrainingImages
from plenish.datasets.pixels import chunks

_SHARE = 0.25
"""Of the device's free memory, what the images may take; the rest is for the training."""
_AT_ONCE = 4096


def fits(images: TrainingImages, device: torch.device) -> bool:
    """Whether the images are worth holding on this device: a GPU with memory to spare."""
    if device.type != "cuda":
        return False
    needed = images.read(np.zeros(1, np.int64)).nbytes * len(images.y)
    return bool(needed <= _SHARE * torch.cuda.mem_get_info(device)[0])


def hold(images: TrainingImages, device: torch.device) -> TrainingImages:
    """The same images, read once in their order and indexed on the device."""
    held: Tensor | None = None
    for rows in chunks(len(images.y), _AT_ONCE):
        pixels = torch.from_numpy(images.read(rows))
        if held is None:
            held = torch.empty((len(images.y), *pixels.shape[1:]), dtype=torch.uint8, device=device)
        held[rows[0] : rows[-1] + 1] = pixels

    def read(positions: NDArray[np.int64]) -> Tensor:
        assert held is not None
        return held[torch.from_numpy(positions).to(device, non_blocking=True)]

    return dataclasses.replace(images, read=read)
