"""Annotations of a slide, whatever drew them: labels, their areas, and how much of a box each covers.

Where labels overlap, each place counts for one of them only: the one that `priority` names first, else the
one that the file names first. Labels that are `holes` cut out of all others and are no labels themselves.
"""

from __future__ import annotations

import abc
import difflib
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plenish.errors import InputError, unknown

HOLES = ("exclusion", "exclude", "hole", "holes", "_2", "ignore*")
"""Labels that are holes unless others are named: CAMELYON16 calls normal tissue in a tumour _2, QuPath
ends the names of what it leaves out with a star. Case does not matter."""
_VECTOR = (".xml", ".geojson", ".json")
_RASTER = (".png", ".tif", ".tiff")
_NO_ANNOTATIONS = ("truth.json",)
"""Files of annotations' suffixes that are none: what 'plenish slides phantom' made, in numbers."""
_SLIP = 0.75
"""Likeness of two names above which one is a slip of the other: tumor and tumour, not _1 and _2."""
_ENDINGS = ("", "_mask", "-mask", "_annotations", "_annotation", "_labels")


class Annotations(abc.ABC):
    """Annotated areas of one slide, in pixels of level 0.

    Attributes:
        path: the file they are from.
        labels: names, in the order of priority.
        remarks: sentences on what was repaired, left out or lies off the slide.
        names: all labels and holes as the file calls them, before any was renamed.
    """

    names: tuple[str, ...] = ()

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
        holes: labels that cut holes into the others, besides `HOLES`; `none` among them leaves those out.
            Case does not matter, and a star stands for anything.
        priority: labels, the one that counts where they overlap first. Case does not matter.
        rename: new names of labels (several may get the same), by the name in the file; before all else.

    Raises:
        InputError: the file cannot be read, is broken or of another kind, or lies off the slide altogether.
    """
    path = Path(path)
    rules = Rules(_holes(holes), tuple(priority), dict(rename or {}))
    found = _read(path, rules, size)
    found.names = tuple(rules.names)
    return found


def _read(path: Path, rules: Rules, size: tuple[int, int]) -> Annotations:
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


def _holes(holes: Sequence[str] | None) -> tuple[str, ...]:
    """The names of holes, the usual ones among them unless `none` is named, or nothing."""
    if holes is None:
        return HOLES
    named = tuple(hole for hole in holes if hole.lower() != "none")
    return (*HOLES, *named) if holes and len(named) == len(holes) else named


def refuse_unknown_labels(
    names: Iterable[str], *, holes: Sequence[str] | None = None, priority: Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
) -> None:  # fmt: skip
    """Refuse options that name labels which no file has, once all are read.

    Of several names for one thing (holes, or old names of one new label) one must be there, so that a list
    that fits several data sets fits each; but none may be a slip of another that is there.

    Args:
        names: the `Annotations.names` of all files.
        holes: as in `read_annotations`.
        priority: likewise.
        rename: likewise.

    Raises:
        InputError: with the nearest name.
    """
    there = list(dict.fromkeys(names))
    rename = rename or {}
    for new in dict.fromkeys(rename.values()):
        _refuse_unknown("--rename", [old for old, to in rename.items() if to == new], there, rename, False)
    called = list(dict.fromkeys(rename.get(name, name) for name in there))
    own = [hole for hole in holes or () if hole.lower() not in ("none", *HOLES)]
    if len(own) == len(holes or ()):
        _refuse_unknown("--holes", own, called, own, True)
    rules = Rules(_holes(holes), (), {})
    labels = [name for name in called if rules.label(name) is not None]
    for label in priority:
        _refuse_unknown("--priority", [label], labels, (), True)


def _refuse_unknown(
    option: str, wanted: Sequence[str], there: Sequence[str], known: Iterable[str], fold: bool
) -> None:
    """Refuse when none of the wanted is there, or one is a slip of one that is and is not wanted itself."""

    def is_there(name: str) -> bool:
        return any(fnmatchcase(one.lower(), name.lower()) if fold else one == name for one in there)

    missing = [name for name in wanted if not is_there(name)]
    others = {name.lower() for name in set(there) - set(known)}
    slips = [name for name in missing if difflib.get_close_matches(name.lower(), others, cutoff=_SLIP)]
    if missing and (slips or len(missing) == len(wanted)):
        raise unknown(f"label of {option}", (slips or missing)[0], there)


def strangers(folder: Path, slides: Iterable[Path]) -> list[str]:
    """Files of annotations in a folder that are named like no slide, used or not, of those beside the slides.

    Args:
        folder: of annotations.
        slides: that were given; their neighbours count as well, for a list may name some of them only.
    """
    from plenish.slides.names import SUFFIXES, slide_name

    slides = list(slides)
    beside = {folder, *(path.parent for path in slides)}
    near = [path for one in beside if one.is_dir() for path in one.iterdir()]
    known = [path for path in near if path.suffix.lower() in SUFFIXES] + slides
    stems = {name.lower() for path in known for name in (slide_name(path), path.stem)}
    names = {stem + ending for stem in stems for ending in _ENDINGS}
    return [
        path.name
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _VECTOR
        and path.name not in _NO_ANNOTATIONS
        and path.stem.lower() not in names
    ]


def has_annotations(folder: Path) -> bool:
    """Whether there is a file of outlines, or a mask named as one, in a folder."""
    return any(
        path.name not in _NO_ANNOTATIONS
        and (
            path.suffix.lower() in _VECTOR
            or (path.suffix.lower() in _RASTER and path.stem.lower().endswith(_ENDINGS[1:]))
        )
        for path in folder.iterdir()
    )


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
    """How labels in a file become labels: renamed, cut out as holes, ordered by priority.

    Attributes:
        names: what was asked about, in order.
    """

    def __init__(self, holes: Sequence[str], priority: Sequence[str], rename: Mapping[str, str]) -> None:
        """Keep the rules; see `read_annotations`."""
        self._holes = [hole.lower() for hole in holes]
        self._priority = [label.lower() for label in priority]
        self._rename = rename
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

    def settles(self, one: str, other: str) -> bool:
        """Whether the priority says which of two labels counts."""
        return one.lower() in self._priority or other.lower() in self._priority


__all__ = [
    "HOLES", "Annotations", "Rules", "find_annotations", "has_annotations", "read_annotations",
    "refuse_unknown_labels", "strangers", "the_annotations",
]  # fmt: skip
