"""Folders of images: a class per folder, already split or not, or flat and unlabelled."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from plenish.datasets.formats import READS
from plenish.datasets.sources.accepted import Accepted
from plenish.datasets.sources.container import Container, lacking
from plenish.datasets.sources.labels import read_parts
from plenish.datasets.sources.listing import (
    AS_FOUND,
    CORE,
    Listing,
    SourceOptions,
    alike,
    categorical,
    class_name,
    merged,
    natural,
    part_of,
    shown,
)  # fmt: skip
from plenish.errors import InputError
from plenish.wording import plural

ACCEPTED = Accepted(
    "A folder or archive of images without a table",
    frozenset({"folders", "label_kind", "dicom_columns"}), "give a table with --labels",
)  # fmt: skip
_SHARD_DIGITS = 3
"""Fewest digits of folder names that number portions of files."""
IGNORE = "ignore"
_PLAIN = ("images", "image", "imgs", "img", "pictures", "photos", "data", "files", "jpegimages")
"""Names of a single folder that is no class."""
_MASKS = ("mask", "masks", "labels", "annotations", "segmentation", "segmentations", "ground_truth", "gt")
_MASK = re.compile(r"[_-](mask|seg|segmentation|label)\.\w+$", re.IGNORECASE)


def listing(container: Container, options: SourceOptions) -> Listing:
    """List the images of a folder or archive by the names of its folders.

    Raises:
        InputError: it has none, or folders give no labels of the kind asked for.
    """
    if not container.pictures:
        raise InputError(
            f"There are no images in {container.path}{_hint(container)}; {lacking(container) or READS}"
        )
    out = arrange(container.pictures, container.empty, container.kind, options)
    out.root = container.root
    if out.labels is not None and options.label_kind not in (None, "auto", "categorical"):
        raise InputError(
            f"Folders give classes, not --label-kind {options.label_kind}; give a table with --labels, or "
            "leave it out."
        )
    return out


def _hint(container: Container) -> str:
    suffixes = [PurePosixPath(name).suffix.lower() for name in container.others]
    if not suffixes:
        return ""
    most = max(sorted(set(suffixes)), key=suffixes.count)
    return f" (only {plural(len(suffixes), 'other file')}" + (f", mostly {most})" if most else ")")


def arrange(
    files: Sequence[str], empty: Sequence[str] = (), place: str = "folder",
    options: SourceOptions = AS_FOUND,
) -> Listing:  # fmt: skip
    """Read labels and parts from relative paths.

    Folders named train, val, test (or a usual alias) at the top are parts. The top folders, or those right
    inside the parts, are the classes; deeper folders belong to their class. Folders that only wrap one other
    are looked through. `options.folders` says otherwise.

    Args:
        files: relative paths of images, in order; at least one.
        empty: relative paths of folders without images, for a doubt.
        place: what the files are in, in words.
        options: what the levels of folders mean.
    """
    pieces = [path.split("/") for path in files]
    levels = _given(options)
    depth = 0
    while len({piece[depth] for piece in pieces}) == 1 and all(
        len(piece) > depth + 1 + max(1, len(levels)) for piece in pieces
    ):
        depth += 1
    out = Listing(f"{place} of images", list(files))
    if not levels:
        levels = _levels(files, pieces, depth, out)
    known = [depth + i for i, level in enumerate(levels) if level != IGNORE]
    deep = [len(piece) > max(known, default=-1) + 1 for piece in pieces]
    outside = list(itertools.compress(files, (not inside for inside in deep)))
    if outside:
        out.doubts.append(
            f"{plural(len(outside), 'image')} outside any {levels[max(known) - depth]} folder left out "
            f"({shown(outside)}); move them into one, or give the labels with --labels."
        )
        out.refs = list(itertools.compress(files, deep))
        pieces = list(itertools.compress(pieces, deep))
    if not pieces:
        raise InputError(
            f"No image of the {place} lies in so many folders as '--folders {' '.join(levels)}' names."
        )
    for at, level in zip(itertools.count(depth), levels):
        if level in ("class", "group"):
            raw = [piece[at] for piece in pieces]
            what = "classes" if level == "class" else "groups"
            out.doubts += merged(raw, list(map(class_name, raw)), what)
        _take(out, level, [class_name(piece[at]) for piece in pieces] if level != IGNORE else [])
    if out.labels is not None:
        out.kind = f"{place} with a folder for each class" + (", already split" if out.parts else "")
        at = depth + levels.index("class")
        bare = [path for path in empty if path.count("/") == at]
        if bare:
            out.doubts.append(f"{plural(len(bare), 'class folder')} without images left out: {shown(bare)}.")
    elif out.parts:
        out.kind += ", already split"
    _tell_of_parts(out)
    _doubt_masks(out)
    return out


def _given(options: SourceOptions) -> list[str]:
    """What the levels of folders mean by `--folders`; nothing without it."""
    levels = list(options.folders)
    named = [level for level in levels if level != IGNORE]
    if len(set(named)) < len(named) or set(named) & {*CORE} - {"group"}:
        raise InputError(
            f"'--folders {' '.join(levels)}': give class, group, split, ignore, or the name of a "
            "new column, each but ignore once."
        )
    return levels


def _take(out: Listing, level: str, names: list[str]) -> None:
    """Let the names of one level of folders be what they mean."""
    said = "names of folders"
    if level == "class":
        out.labels, out.schema = names, categorical(names)
        out.doubts += alike(out.schema.names, "classes")
        out.meaning["label"] = said
    elif level == "group":
        out.groups = names
        out.doubts += alike(sorted(set(names), key=natural), "groups")
        out.meaning["group"] = said
    elif level == "split":
        out.parts = read_parts(names, "split")
        out.meaning["split"] = said
    elif level != IGNORE:
        out.columns[level] = names


def _levels(files: Sequence[str], pieces: Sequence[list[str]], depth: int, out: Listing) -> list[str]:
    """What the levels of folders from `depth` on mean, where nobody says so."""
    words = {part_of(piece[depth]) for piece in pieces}
    split = None not in words and len(words) > 1 and all(len(piece) > depth + 1 for piece in pieces)
    at = depth + split
    top = {piece[at] for piece in pieces if len(piece) > at + 1}
    if not top or (len(top) == 1 and next(iter(top)).lower() in _PLAIN):
        return ["split"] if split else []
    if _is_sharded(files, pieces, at):
        names = sorted({piece[at] for piece in pieces}, key=natural)
        out.doubts.append(
            f"The folders {shown(names)} only number portions of the files and were not taken for classes; "
            f"if they are, give '--folders {'split ' if split else ''}class'."
        )
        return ["split", IGNORE] if split else [IGNORE]
    _doubt_classes(pieces, at, split, out)
    return ["split", "class"] if split else ["class"]


def _doubt_classes(pieces: Sequence[list[str]], at: int, split: bool, out: Listing) -> None:
    """Doubts about folders that may be no classes, and about the folders inside them."""
    classes = sorted({piece[at] for piece in pieces if len(piece) > at + 1}, key=natural)
    parts = [name for name in classes if part_of(name)]
    inside: dict[str, set[str]] = {}
    for piece in pieces:
        if len(piece) > at + 2:
            inside.setdefault(piece[at + 1], set()).add(piece[at])
    lower = sorted(inside, key=natural)
    recurring = [name for name in lower if len(inside[name]) > 1]
    before = "split " if split else ""
    if parts:
        out.doubts.append(
            f"The folders {shown(parts)} are named like parts of a split and were taken for classes; if the "
            "folders inside them are the classes, give '--folders split class'."
        )
    elif recurring and all(part_of(name) for name in recurring):
        out.doubts.append(
            f"The folders {shown(recurring)} inside those of the classes are named like parts of a split and "
            "were not used; give '--folders class split'."
        )
    elif recurring:
        out.doubts.append(
            f"The folders {shown(recurring)} recur inside several of {shown(classes)} and were not used; if "
            f"they are the classes, give '--folders {before}group class', or another word for group."
        )
    elif lower:
        out.notes.append(
            f"The {plural(len(lower), 'folder')} inside those of the classes ({shown(lower)}) tell nothing; "
            f"'--folders {before}class group' takes them for patients or the like."
        )
    masks = [name for name in classes if name.lower() in _MASKS]
    if masks:
        out.doubts.append(
            f"The folders {shown(masks)} are named like masks or annotations, not like classes."
        )


def _is_sharded(files: Sequence[str], pieces: Sequence[list[str]], at: int) -> bool:
    """Whether folders are numbered portions of numbered files: 00000/img00000000.png and so on."""
    if not all(len(piece) > at + 1 for piece in pieces):
        return False
    folders = {piece[at] for piece in pieces}
    if not all(re.fullmatch(rf"\d{{{_SHARD_DIGITS},}}", name) for name in folders):
        return False
    found = [re.search(r"(\d+)[^\d/]*$", path) for path in files]
    if not all(found) or len({len(name) for name in folders}) > 1:
        return False
    ranges: dict[str, tuple[int, int]] = {}
    for piece, match in zip(pieces, found):
        number = int(match[1]) if match else 0
        low, high = ranges.get(piece[at], (number, number))
        ranges[piece[at]] = min(low, number), max(high, number)
    order = [ranges[name] for name in sorted(ranges)]
    return all(before[1] < after[0] for before, after in itertools.pairwise(order)) and (
        len(order) > 1 or int(next(iter(ranges))) == 0
    )


def _doubt_masks(out: Listing) -> None:
    """A doubt about pictures that are named as masks of others."""
    stems = {str(PurePosixPath(ref).with_suffix("")) for ref in out.refs}
    masks = [ref for ref in out.refs if (found := _MASK.search(ref)) and ref[: found.start()] in stems]
    if masks:
        out.doubts.append(
            f"{plural(len(masks), 'image')} named like masks of others ({shown(masks)}) were taken for "
            "images; move them elsewhere."
        )


def _tell_of_parts(out: Listing) -> None:
    """A doubt about each part that lacks a class."""
    if out.parts is None or out.labels is None:
        return
    there = set(zip(out.parts, out.labels))
    for part in dict.fromkeys(out.parts):
        absent = [name for name in out.schema.names if (part, name) not in there]
        if absent:
            out.doubts.append(f"The {part} part has no images of {shown(absent)}.")
