"""Annotations of a slide in any format: labels, their areas, and how much of a box each covers.

Where labels overlap, each place counts for one of them only: the one that `priority` names first, else the
one that the file names first. `holes` are cut out of all labels and are not labels themselves.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plenish.slides.remarks import Remark
from plenish.slides.tiling_config import LabelRules

HOLES = ("exclusion", "exclude", "hole", "holes", "_2", "ignore*")
"""Usual names of holes: CAMELYON16 calls normal tissue in a tumour _2, QuPath
ends the names of what it leaves out with a star. Case does not matter."""


class Annotations(abc.ABC):
    """Annotated areas of one slide, in pixels of level 0.

    Attributes:
        path: the file they are from.
        labels: names, in the order of priority.
        remarks: what was repaired, left out or lies off the slide.
        names: all labels and holes as the file names them, before renaming.
    """

    names: tuple[str, ...] = ()

    def __init__(self, path: Path, labels: Sequence[str], remarks: Sequence[Remark]) -> None:
        """Set what all formats have."""
        self.path, self.labels, self.remarks = path, tuple(labels), tuple(remarks)

    @abc.abstractmethod
    def areas(self) -> dict[str, float]:
        """Area of each label, px² of level 0."""

    @abc.abstractmethod
    def coverage(self, boxes: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        """Share of each box that each label covers, exact.

        Args:
            boxes: N×4 left, top, right, bottom.

        Returns:
            For each label N values in [0, 1]; over labels they sum to 1 at most.
        """

    @abc.abstractmethod
    def raster(self, width: int, height: int, downsample: float) -> dict[str, NDArray[np.bool_]]:
        """For each label a height×width map, for pictures: pixels whose centre it covers.

        Args:
            width: of the map, pixels.
            height: of the map.
            downsample: pixels of level 0 that a pixel of the map measures.
        """


class LabelMatcher:
    """Applies `LabelRules` to the names in a file.

    Attributes:
        names: the names that were looked up, in order.
    """

    def __init__(self, rules: LabelRules) -> None:
        """Fold the case of holes and priority."""
        named = [hole.lower() for hole in rules.holes or ()]
        usual = rules.holes is None or (named and "none" not in named)
        self._holes = [*(HOLES if usual else ()), *(hole for hole in named if hole != "none")]
        self._priority = [label.lower() for label in rules.priority]
        self._rename = rules.renamed
        self.names: dict[str, None] = {}

    def label(self, name: str) -> str | None:
        """The label of a name in the file; None for a hole."""
        self.names[name] = None
        label = self._rename.get(name, name)
        return None if any(fnmatchcase(label.lower(), hole) for hole in self._holes) else label

    def ordered(self, labels: Sequence[str]) -> list[str]:
        """Labels without repetition, those with priority first, the others as they came."""
        once = list(dict.fromkeys(labels))
        rank = {label: i for i, label in enumerate(self._priority)}
        return sorted(once, key=lambda label: rank.get(label.lower(), len(rank)))

    def decides(self, one: str, other: str) -> bool:
        """Whether the priority decides between two labels."""
        return one.lower() in self._priority or other.lower() in self._priority
