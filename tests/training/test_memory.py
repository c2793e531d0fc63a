from __future__ import annotations

import contextlib
import itertools

import numpy as np
import torch

from plenish.datasets.batches import Images
from plenish.training.memory import fits, hold


def test_images_on_the_device_are_those_of_the_disk() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (11, 4, 4, 3), np.uint8)
    read: list[int] = []

    def disk(index: np.ndarray) -> np.ndarray:
        read.append(len(index))
        return pixels[index]

    images = Images(disk, np.arange(11))
    held = hold(images, torch.device("cpu"))
    assert sum(read) == 11, "each image is read once"
    for source in (images, held):
        with contextlib.closing(source.batches(4, seed=1, start=8, ahead=0)) as feed:
            for batch in itertools.islice(feed, 5):
                assert (np.asarray(batch.pixels) == pixels[batch.y]).all()
    assert sum(read) == 11 + 20, "what is held is not read again"
    assert isinstance(held.read(np.array([3, 3])), torch.Tensor)
    assert not fits(images, torch.device("cpu"))
