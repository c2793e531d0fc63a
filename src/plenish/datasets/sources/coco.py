"""COCO's JSON as labels of whole images: the categories of their annotations, one class or several tags."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from plenish.datasets.sources.accepted import COLUMNS, Accepted
from plenish.datasets.sources.columns import Row
from plenish.datasets.sources.container import Container
from plenish.datasets.sources.listing import LabelKind, Listing, SourceOptions, natural, part_of, shown
from plenish.datasets.sources.names import clean, resolve
from plenish.datasets.sources.table import list_rows
from plenish.errors import InputError
from plenish.files import printable
from plenish.wording import plural

_KEYS = ("images", "annotations", "categories")
_MOST = 50
"""JSON files of a source from which they are no longer looked into: one an image, for example."""
_COLUMN = "category"
ACCEPTED = Accepted(
    "A COCO file, whose categories are the labels,",
    COLUMNS - {"label_column", "label_columns", "label_separator"} | {"labels", "dicom_columns"},
    "give another table with --labels",
)
_UNUSED = ("bbox", "segmentation", "keypoints")


@dataclasses.dataclass(frozen=True)
class _File:
    """What one file says.

    Attributes:
        name: of the file.
        called: in sentences.
        images: its images' objects.
        categories: the names of the categories of each image's annotations, by the image's id.
        annotations: how many there are.
        unused: what else annotations hold.
        same: names that several categories have.
        empty: categories without annotations.
    """

    name: str
    called: str
    images: Sequence[Mapping[str, Any]]
    categories: Mapping[Any, set[str]]
    annotations: int
    unused: Sequence[str]
    same: Sequence[str]
    empty: Sequence[str]

    @property
    def part(self) -> str:
        """The part that the file, or else its folder, is named for."""
        words = [
            *re.findall(r"[A-Za-z]+", PurePosixPath(self.name).stem),
            PurePosixPath(self.name).parent.name,
        ]
        return next((part for word in words if (part := part_of(word))), "")


def find(container: Container, options: SourceOptions) -> Listing | None:
    """The Listing of a container that COCO's files describe, or None where there are none.

    Args:
        container: holds the images.
        options: may name the file as the table of labels.

    Raises:
        InputError: a file is damaged, names no category it has, or two are about the same images.
    """
    files = _files(container, options)
    if not files:
        return None
    ACCEPTED.check(options)
    called = " and ".join(file.called for file in files[:3])
    if options.label_kind == "continuous":
        raise InputError(f"{called} gives categories, not numbers; leave '--label-kind continuous' out.")
    rows, places, parts, owners = [], [], [], []
    several = any(len(names) > 1 for file in files for names in file.categories.values())
    bare = sum(not file.categories.get(image["id"]) for file in files for image in file.images)
    one = options.label_kind == "categorical" or (
        options.label_kind != "multilabel" and not several and not bare
    )
    for file in files:
        for image in file.images:
            names = sorted(file.categories.get(image["id"], ()), key=natural)
            if one and len(names) > 1:
                raise InputError(
                    f"{file.called} gives {printable(str(image['file_name']))} the categories "
                    f"{shown(names)}, which are not one class; give '--label-kind multilabel'."
                )
            rows.append(_row(image) | {_COLUMN: ((names[0] if names else None) if one else names)})
            places.append(str(PurePosixPath(file.name).parent) if not options.labels else ".")
            parts.append(file.part)
            owners.append(file)
    names = [clean(row["file_name"]) for row in rows]
    refs, similar = resolve(names, container.pictures, container.path, called, places, "below")
    _refuse_overlap(refs, owners)
    kind: LabelKind = "categorical" if one else "multilabel"
    options = dataclasses.replace(options, label_column=_COLUMN, label_kind=kind)
    out = list_rows(container, rows, refs, "file_name", options, called)
    out.kind = f"{container.kind} with COCO annotations"
    out.described_by = frozenset(file.name for file in files)
    out.meaning["label"] = f"the categories of the annotations in {called}"
    if all(parts) and len(set(parts)) > 1 and not options.split_column:
        of = dict(zip(refs, parts))
        out.parts, out.meaning["split"] = [of[ref] for ref in out.refs], "names of the COCO files"
    out.doubts += similar
    _tell(out, files, bare, several, one)
    return out


def _row(image: Mapping[str, Any]) -> Row:
    return {key: value for key, value in image.items() if key != _COLUMN}


def _tell(out: Listing, files: Sequence[_File], bare: int, several: bool, one: bool) -> None:
    """Say what was taken, and what was not used."""
    taken = "one class for each image" if one else "tags, since an image may have several"
    count = sum(file.annotations for file in files)
    unused = list(dict.fromkeys(name for file in files for name in file.unused))
    also = f"; {' and '.join(unused)} {'was' if len(unused) == 1 else 'were'} not used" if unused else ""
    out.notes.append(f"The categories of {plural(count, 'annotation')} were taken as {taken}{also}.")
    empty = set.intersection(*(set(file.empty) for file in files))
    if empty:
        out.notes.append(f"No annotation is of the categories {shown(sorted(empty, key=natural))}.")
    same = [name for file in files for name in file.same]
    if same:
        out.doubts.append(f"Several categories are called {shown(same)} and were taken for one.")
    if bare and not several and not one:
        out.doubts.append(
            f"{plural(bare, 'image')} without an annotation have no tag, and no image has two; if they are "
            "unlabelled, leave them out with '--label-kind categorical --missing skip'."
        )


def _refuse_overlap(refs: Sequence[str | None], owners: Sequence[_File]) -> None:
    seen: dict[str, _File] = {}
    for ref, file in zip(refs, owners):
        other = seen.setdefault(ref or "", file) if ref else file
        if other is not file:
            raise InputError(
                f"{other.called} and {file.called} are both about {ref}; name one of them with --labels."
            )


def _files(container: Container, options: SourceOptions) -> list[_File]:
    """The files that describe images, those of instances alone where there are any."""
    if options.labels:
        if options.labels.suffix.lower() != ".json" or not options.labels.is_file():
            return []
        content = options.labels.read_bytes()
        found = _parsed(content)
        return [] if found is None else [_read(found, options.labels.name, str(options.labels))]
    names = [name for name in container.others if name.lower().endswith(".json")]
    if len(names) > _MOST:
        return []
    parsed = {name: _parsed(content) for name, content in zip(names, container.read_all(names))}
    there = {name: content for name, content in parsed.items() if content is not None}
    instances = [name for name in there if PurePosixPath(name).name.startswith("instances")]
    return [_read(there[name], name, container.name(name)) for name in instances or there]


def _parsed(content: bytes) -> Mapping[str, Any] | None:
    """The content of a COCO file with categories; None for any other file."""
    if not all(f'"{key}"'.encode() in content for key in _KEYS):
        return None
    try:
        found = json.loads(content.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        return None
    return (
        found if isinstance(found, dict) and all(isinstance(found.get(key), list) for key in _KEYS) else None
    )


def _read(content: Mapping[str, Any], name: str, called: str) -> _File:
    try:
        names = {item["id"]: str(item["name"]).strip() for item in content["categories"]}
        images = {item["id"]: item for item in content["images"] if str(item["file_name"])}
        pairs = [(item["image_id"], item["category_id"]) for item in content["annotations"]]
        strange = [category for _, category in pairs if category not in names]
        stray = [image for image, _ in pairs if image not in images]
    except (KeyError, TypeError, AttributeError):
        raise InputError(
            f"{called} is not COCO's: images need id and file_name, categories id and name, annotations "
            "image_id and category_id; correct it."
        ) from None
    if strange or stray or not images or len(images) < len(content["images"]):
        wrong = (
            f"an annotation of the unknown category {strange[0]!r}" if strange
            else f"an annotation of the unknown image {stray[0]!r}" if stray
            else "two images of one id" if images else "no images"
        )  # fmt: skip
        raise InputError(f"{called} has {wrong}; correct it.")
    categories: dict[Any, set[str]] = {}
    for image, category in pairs:
        categories.setdefault(image, set()).add(names[category])
    held = {key for item in content["annotations"] for key in _UNUSED if item.get(key)}
    listed = list(names.values())
    used = set().union(*categories.values()) if categories else set()
    return _File(
        name, called, list(images.values()), categories, len(pairs), [key for key in _UNUSED if key in held],
        sorted({text for text in listed if listed.count(text) > 1}), [x for x in listed if x not in used],
    )  # fmt: skip
