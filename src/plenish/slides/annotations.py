"""Find and read the annotations of a slide, in any format.

Where labels overlap, each place counts for one of them only: the one that `priority` names first, else the
one that the file names first. `holes` are cut out of all labels and are not labels themselves.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from PIL import Image

from plenish.errors import InputError, unknown
from plenish.slides.annotation_files import read_asap, read_geojson
from plenish.slides.annotation_masks import Mask
from plenish.slides.annotation_polygons import Polygons
from plenish.slides.names import SUFFIXES, SlideEntry, slide_name
from plenish.slides.remarks import Remark
from plenish.slides.tiling_config import HOLES, LabelRules

Annotations = Mask | Polygons
_VECTOR = (".xml", ".geojson", ".json")
_RASTER = (".png", ".tif", ".tiff")
_NO_ANNOTATIONS = ("truth.json",)
"""Files with a suffix of annotations that are not annotations: the truth of 'plenish slides phantom'."""
_SUFFIXES = (*_VECTOR, *_RASTER)
_NO_RULES = LabelRules()
_MISSPELT = 0.75
"""Similarity of two names above which one is a misspelling of the other: tumor and tumour, not _1 and _2."""
_ENDINGS = ("", "_mask", "-mask", "_annotations", "_annotation", "_labels")


def read_annotations(path: Path, size: tuple[int, int], rules: LabelRules = _NO_RULES) -> Annotations:
    """Read ASAP's XML, GeoJSON, or a mask image (0 is background, other values are labels).

    Args:
        path: the file; its suffix decides the format.
        size: width and height of the slide at level 0, pixels.
        rules: labels renamed, cut out as holes, and which of two counts. Case does not matter for holes and
            priority, and a star in a hole stands for anything.

    Raises:
        InputError: the file cannot be read, is damaged or of another format, or lies off the slide
            altogether.
    """
    suffix = path.suffix.lower()
    if suffix in _VECTOR:
        ignored: Counter[str] = Counter()
        outlines = (read_asap if suffix == ".xml" else read_geojson)(path, ignored)
        return Polygons(path, outlines, ignored, rules, size)
    if suffix in _RASTER:
        return Mask(path, rules, size)
    raise InputError(f"{path} is not a file of annotations; those end in {', '.join(_SUFFIXES)}.")


def refuse_unknown_labels(names: Iterable[str], rules: LabelRules) -> None:
    """Refuse options that name labels which no file has, once all are read.

    Of several names for one thing (holes, or old names of one new label) one must be there, so that a list
    that fits several data sets fits each; but none may be a misspelling of another that is there.

    Args:
        names: the `Annotations.names` of all files.
        rules: as in `read_annotations`.

    Raises:
        InputError: with the nearest name.
    """
    there = list(dict.fromkeys(names))
    renamed = rules.renamed
    for new in dict.fromkeys(renamed.values()):
        _refuse_unknown("--rename", [old for old, to in renamed.items() if to == new], there, renamed, False)
    called = list(dict.fromkeys(renamed.get(name, name) for name in there))
    own = [hole for hole in rules.holes or () if hole.lower() not in ("none", *HOLES)]
    if len(own) == len(rules.holes or ()):
        _refuse_unknown("--holes", own, called, own, True)
    labels = [name for name in called if LabelRules(holes=rules.holes).label(name) is not None]
    for label in rules.priority:
        _refuse_unknown("--priority", [label], labels, (), True)


def _refuse_unknown(
    option: str, wanted: Sequence[str], there: Sequence[str], known: Iterable[str], fold: bool
) -> None:
    """Refuse if none of the wanted names is there, or one is a misspelling of another that is there."""

    def is_there(name: str) -> bool:
        return any(fnmatchcase(one.lower(), name.lower()) if fold else one == name for one in there)

    missing = [name for name in wanted if not is_there(name)]
    others = {name.lower() for name in set(there) - set(known)}
    close = [name for name in missing if difflib.get_close_matches(name.lower(), others, cutoff=_MISSPELT)]
    if missing and (close or len(missing) == len(wanted)):
        raise unknown(f"label of {option}", (close or missing)[0], there)


def unmatched_remarks(folder: Path, entries: Iterable[SlideEntry]) -> list[Remark]:
    """A remark on files of outlines in a folder whose name is that of no slide, if there are some.

    Args:
        folder: of annotations, or a file of them.
        entries: the slides given; other slides in their folders count too, for a list may name some of them.
    """
    if not folder.is_dir():
        return []
    paths = [entry.path for entry in entries]
    beside = {folder, *(path.parent for path in paths)}
    near = [path for one in beside if one.is_dir() for path in one.iterdir()]
    known = [path for path in near if path.suffix.lower() in SUFFIXES] + paths
    stems = {name.lower() for path in known for name in (slide_name(path), path.stem)}
    names = {stem + ending for stem in stems for ending in _ENDINGS}
    unmatched = [path.name for path in _outlines(folder) if path.stem.lower() not in names]
    values = {"names": unmatched, "folder": str(folder)}
    return [Remark("unmatched-annotations", values)] if unmatched else []


def _outlines(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _VECTOR and path.name not in _NO_ANNOTATIONS
    ]


def has_annotations(folder: Path) -> bool:
    """Whether there is a file of outlines, or a mask named as one, in a folder."""
    return bool(_outlines(folder)) or any(
        path.suffix.lower() in _RASTER and path.stem.lower().endswith(_ENDINGS[1:])
        for path in folder.iterdir()
    )


def find_annotations(path: Path, *names: str, required: bool = False) -> Path | None:
    """The file of a slide's annotations: `path` itself, or where that is a folder, the one in it.

    It is named like the slide, or with `_mask` or `_annotations` behind; outlines are preferred to masks.

    Args:
        path: the file or folder.
        names: of the slide, without suffix: its own and its file's; the first that has a file counts. Case
            does not matter.
        required: whether None is refused.

    Raises:
        InputError: it is missing, there are two files of one kind, or none where one is required.
    """
    if not path.is_dir():
        return path
    for name in dict.fromkeys(names):
        wanted = {(name + ending).lower() for ending in _ENDINGS}
        named = [file for file in sorted(path.iterdir()) if file.stem.lower() in wanted]
        found = [file for file in named if file.suffix.lower() in _VECTOR] or [
            file
            for file in named
            if file.suffix.lower() in _RASTER and (file.stem.lower() != name.lower() or _is_mask(file))
        ]
        if len(found) > 1:
            raise InputError(
                f"{name} has two files of annotations, {found[0].name} and {found[1].name}, in {path}; keep "
                "one of them."
            )
        if found:
            return found[0]
    if required:
        raise InputError(f"{path} has no annotations of {names[0]}; they are named like the slide.")
    return None


def _is_mask(path: Path) -> bool:
    """Whether a picture with the slide's own name is a mask and not the slide: it has one channel."""
    try:
        with Image.open(path) as image:
            return image.mode in ("1", "L", "P", "I;16", "I")
    except Exception:  # Pillow cannot read all TIFFs; then it is more likely the slide.
        return False
