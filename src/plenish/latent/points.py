"""Points of a latent space, each of which makes an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Space = Literal["z", "w"]
Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Points:
    """Points of a latent space, in a row; each makes an image.

    Attributes:
        values: float32; z, N×z_shape, or w with a style for each layer, N×num_ws×w_dim.
        space: which of them.
        y: labels, float32 N×K: one-hot, soft, multi-hot or continuous; None where the generator has none.
        names: what each of them is called in figures, such as 'seed 3'.
    """

    values: Floats
    space: Space
    y: Floats | None
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.names) != len(self.values) or (self.y is not None and len(self.y) != len(self.values)):
            raise ValueError("latents, labels and names are not of the same number")

    def __len__(self) -> int:
        """Number of points."""
        return len(self.values)

    def __getitem__(self, rows: slice | Sequence[int] | NDArray[np.int64]) -> Points:
        """Some of the points, in the order of `rows`."""
        index = np.arange(len(self))[rows]
        y = None if self.y is None else self.y[index]
        return Points(self.values[index], self.space, y, tuple(self.names[i] for i in index))

    def replaced(
        self, values: NDArray[Any] | None = None, y: NDArray[Any] | None = None,
        names: Iterable[str] | None = None, space: Space | None = None,
    ) -> Points:  # fmt: skip
        """The same points with other latents, labels or names."""
        return Points(
            self.values if values is None else np.ascontiguousarray(values, np.float32), space or self.space,
            self.y if y is None else np.ascontiguousarray(y, np.float32),
            self.names if names is None else tuple(names),
        )  # fmt: skip

    @staticmethod
    def joined(parts: Sequence[Points]) -> Points:
        """Points of the same space behind each other.

        Raises:
            ValueError: there are none, or they are of several spaces.
        """
        spaces = {part.space for part in parts}
        if len(spaces) != 1:
            raise ValueError("points of one space are joined")
        labels = [part.y for part in parts if part.y is not None]
        return Points(
            np.concatenate([part.values for part in parts]), parts[0].space,
            np.concatenate(labels) if labels else None, tuple(name for part in parts for name in part.names),
        )  # fmt: skip
