"""Encodings of all images of a Dataset, by a trained autoencoder."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from plenish.datasets.dataset import Dataset
from plenish.datasets.pixels import chunks
from plenish.progress import progress
from plenish.training.autoencoder_model import AT_ONCE, LoadedAutoencoder


@dataclasses.dataclass(frozen=True)
class Encoded:
    """An array that was added to a Dataset.

    Attributes:
        dataset: the Dataset.
        name: the array's name.
        shape: its shape.
        about: its manifest.
    """

    dataset: Dataset
    name: str
    shape: tuple[int, int]
    about: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "dataset": str(self.dataset.path), "array": self.name, "images": self.shape[0],
            "features": self.shape[1], "space": self.about["space"],
            "model": self.about["model"]["run"], "checkpoint": self.about["model"]["checkpoint"],
        }  # fmt: skip


def encode_dataset(model: LoadedAutoencoder, dataset: Dataset, name: str) -> Encoded:
    """Encode every image of a Dataset, of whatever part; adds arrays/NAME.npy, row i of image i.

    Raises:
        InputError: the images do not fit.
    """
    model.check((0, dataset.size, dataset.size, dataset.channels))
    array = np.empty((len(dataset), model.network.config.encoding_size), np.float32)
    with progress("encoding", len(dataset)) as bar:
        for index in chunks(len(dataset), AT_ONCE):
            array[index] = model.encode(dataset.pixels.read(index))
            bar.advance(len(index))
    if dataset.split_names():
        dataset.record_read("encode")
    config = model.network.config
    space = "latent" if config.latent_features is not None else "bottleneck"
    about = {
        "space": space, "variational": config.variational, "compression": config.compression,
        "model": model.provenance(), "data": dataset.provenance(),
    }  # fmt: skip
    dataset.add_array(name, array, about)
    return Encoded(dataset, name, (len(array), array.shape[1]), about)
