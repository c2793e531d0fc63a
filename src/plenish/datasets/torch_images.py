"""Images of a Dataset for PyTorch's DataLoader. torch is loaded when the first image is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.pixels import RawShards

if TYPE_CHECKING:
    import torch

Transform = Callable[["torch.Tensor"], Any]


class TorchImages:
    """A map-style dataset: `(image, label)` by position, which a DataLoader reads with any number of workers.

    Attributes:
        classes: class, tag or variable names, as torchvision's datasets have them.
        targets: N class numbers (int64), or N×K numbers (float32) of other labels; N×0 without labels.
    """

    def __init__(
        self, pixels: RawShards, rows: NDArray[np.int64], targets: NDArray[Any], classes: Sequence[str],
        transform: Transform | None = None,
    ) -> None:  # fmt: skip
        """Use `Dataset.torch`.

        Args:
            pixels: the Dataset's images.
            rows: N rows of it.
            targets: of these rows.
            classes: names of the labels.
            transform: uint8 tensor C×H×W → what is given in its place; by default float32 in [0, 1].
        """
        self.pixels, self.rows, self.targets = pixels, rows, targets
        self.classes, self.transform = list(classes), transform

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Image `index`, and its label: a class number, or a float32 tensor of K."""
        if not -len(self) <= index < len(self):  # Ends a loop over it, too.
            raise IndexError(f"{index} of {len(self)} images")
        return self.__getitems__([index % len(self)])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        """The images of a batch, read together; a DataLoader asks for them so."""
        import torch

        places = np.asarray(indices, np.int64)
        images = torch.from_numpy(self.pixels.read(self.rows[places])).permute(0, 3, 1, 2)
        found: list[Any] = list(images if self.transform else images.float() / 255)
        if self.transform:
            found = [self.transform(image) for image in found]
        targets = self.targets[places]
        labels = targets.tolist() if targets.ndim == 1 else list(torch.from_numpy(targets))
        return list(zip(found, labels, strict=True))
