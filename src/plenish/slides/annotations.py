"""Annotations of a slide, whatever drew them: labels, their areas, and how much of a box each covers.

Where labels overlap, each place counts for one of them only: the one that `priority` names first, else the
one that the file names first. Labels that are `holes` cut out of all others and are no labels themselves.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError

HOLES = ("exclusion", "exclude", "hole", "holes", "_2", "ignore*")
"""Labels that are holes unless others are named: CAMELYON16 calls normal tissue in a tumour _2, QuPath
ends the names of what it leaves out with a star. Case does not matter."""
_VECTOR = (".xml", ".geojson", ".json")
_RASTER = (".png", ".tif", ".tiff")
_ENDINGS = ("", "_mask", "-mask", "_annotations", "_annotation", "_labels")


class Annotations(abc.ABC):
    """Annotated areas of one slide, in pixels of level 0.

    Attributes:
        path: the file they are from.
        labels: names, in the order of priority.
        remarks: sentences on what was repaired, left out or lies off the slide.
    """

    def __init__(self, path: Path, labels: Sequence[str], remarks: Sequence[str]) -> None:
        """Keep what all kinds have."""
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
    def outside(self, width: int, height: int) -> dict[str, float]:
        """Area of each label that lies off a slide of that size, px²; labels without any are left out."""

    @abc.abstractmethod
    def raster(self, width: int, height: int, downsample: float) -> dict[str, NDArray[np.bool_]]:
        """For each label a height×width map, for pictures: pixel middles that it covers.

        Args:
            width: of the map, pixels.
            height: of the map.
            downsample: pixels of level 0 that a pixel of the map measures.
        """


def read_annotations(
    path: Path, *, size: tuple[int, int], holes: Sequence[str] | None = None,
    priority: Sequence[str] = (), rename: Mapping[str, str] | None = None,
) -> Annotations:  # fmt: skip
    """Read ASAP's XML, GeoJSON, or a mask image (0 is background, other values are labels).

    Args:
        path: the file, known by its suffix.
        size: width and height of the slide at level 0, pixels.
        holes: labels that cut holes into the others; None takes `HOLES`. Case does not matter, and a star
            stands for anything.
        priority: labels, the one that counts where they overlap first. Case does not matter.
        rename: new names of labels (several may get the same), by the name in the file; before all else.

    Raises:
        InputError: the file cannot be read, is broken or of another kind, or lies off the slide altogether.
    """
    path = Path(path)
    rules = Rules(tuple(HOLES if holes is None else holes), tuple(priority), dict(rename or {}))
    suffix = path.suffix.lower()
    if suffix in _VECTOR:
        from plenish.slides.annotation_files import read_asap, read_geojson
        from plenish.slides.annotation_polygons import Polygons

        drawing = read_asap(path) if suffix == ".xml" else read_geojson(path)
        return Polygons.of(path, drawing, rules, size)
    if suffix in _RASTER:
        from plenish.slides.annotation_masks import Mask

        return Mask.read(path, rules, size)
    raise InputError(f"{path} is no file of annotations; those end in {', '.join((*_VECTOR, *_RASTER))}.")


def the_annotations(path: Path, *names: str) -> Path:
    """The file of a slide's annotations: `path` itself, or where that is a folder the one in it.

    Args:
        path: the file or folder.
        names: of the slide, the first that has a file counts: what its tiles are named after, its file's.

    Raises:
        InputError: the folder has none of that slide, or two.
    """
    if not path.is_dir():
        return path
    found = next(filter(None, (find_annotations(path, name) for name in names)), None)
    if found is None:
        raise InputError(f"{path} has no annotations of {names[0]}; they are named like the slide.")
    return found


def find_annotations(folder: Path, slide_name: str) -> Path | None:
    """The file of a slide's annotations: named like the slide, or with `_mask` or `_annotations` behind.

    Args:
        folder: where they are.
        slide_name: the slide's name without suffix; case does not matter.

    Returns:
        The file, an outline rather than a mask where there are both, or None.

    Raises:
        InputError: the folder is missing, or there are two of one kind.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the folder of the annotations.")
    wanted = {(slide_name + ending).lower() for ending in _ENDINGS}
    named = [path for path in sorted(folder.iterdir()) if path.stem.lower() in wanted]
    for suffixes in (_VECTOR, _RASTER):
        found = [path for path in named if path.suffix.lower() in suffixes]
        if suffixes is _RASTER:
            found = [path for path in found if path.stem.lower() != slide_name.lower() or _is_mask(path)]
        if len(found) > 1:
            raise InputError(
                f"{slide_name} has two files of annotations, {found[0].name} and {found[1].name}, in "
                f"{folder}; keep one of them."
            )
        if found:
            return found[0]
    return None


def _is_mask(path: Path) -> bool:
    """Whether a picture named just like the slide is not the slide: it has one channel."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.mode in ("1", "L", "P", "I;16", "I")
    except Exception:  # Pillow cannot read all TIFFs; then it is more likely the slide.
        return False


class Rules:
    """How labels in a file become labels: renamed, cut out as holes, ordered by priority."""

    def __init__(self, holes: Sequence[str], priority: Sequence[str], rename: Mapping[str, str]) -> None:
        """Keep the rules; see `read_annotations`."""
        self._holes = [hole.lower() for hole in holes]
        self._priority = [label.lower() for label in priority]
        self._rename = rename

    def label(self, name: str) -> str | None:
        """The label of a name in the file; None for a hole."""
        label = self._rename.get(name, name)
        return None if any(fnmatchcase(label.lower(), hole) for hole in self._holes) else label

    def ordered(self, labels: Sequence[str]) -> list[str]:
        """Labels without repetition, those with priority first, the others as they came."""
        once = list(dict.fromkeys(labels))
        rank = {label: i for i, label in enumerate(self._priority)}
        return sorted(once, key=lambda label: rank.get(label.lower(), len(rank)))

    def settles(self, one: str, other: str) -> bool:
        """Whether the priority says which of two labels counts."""
        return one.lower() in self._priority or other.lower() in self._priority


__all__ = ["HOLES", "Annotations", "Rules", "find_annotations", "read_annotations", "the_annotations"]
