"""What every source is turned into: the images there are, in a fixed order, with what is known of each."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plenish.datasets.decoding import CHUNK, Task
from plenish.datasets.rejections import Rejection
from plenish.datasets.schema import LabelSchema, Part
from plenish.domains import check_domain
from plenish.files import printable

LabelKind = Literal["auto", "categorical", "multilabel", "continuous"]
Blocks = Callable[[int], Iterator[NDArray[np.uint8]]]
"""Makes an iterator over pieces (n×H×W×C uint8) of the images from a row on."""

ALIASES: Mapping[str, Part] = {
    "train": "train", "training": "train", "tr": "train",
    "val": "val", "valid": "val", "validation": "val", "validate": "val", "dev": "val",
    "test": "test", "testing": "test", "tst": "test", "t10k": "test", "holdout": "test", "heldout": "test",
    "hold_out": "test", "hold-out": "test",
}  # fmt: skip


CORE = ("id", "label", "group", "origin", "sha256", "source", "part")
"""Names of columns that are the Dataset's own."""
MISSING = ("NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null", "None", "<NA>")
"""Words that programs write into cells without a value."""


@dataclasses.dataclass(frozen=True)
class SourceOptions:
    """What the folders, tables and cells of a source mean, where their names do not say it.

    Attributes:
        labels: a CSV, TSV, JSON, JSON Lines or Parquet table with one row an image; its other columns are
            kept.
        file_column: the table's column of file names; by default a usual name is looked for.
        label_column: the table's column of labels; by default a usual name is looked for.
        label_columns: several columns instead, one a class (one-hot) or tag of 0 and 1, or one a number.
        group_column: the table's column of groups (patient, lesion, slide), each of which must stay in one
            part of a split.
        split_column: the table's column that says train, val or test.
        split_map: what other words in that column mean, such as 1=train 2=val 3=test.
        label_kind: what a label is: one class, several tags, or numbers; auto, the default but for presets
            that know it, takes lists and text with | for tags, fractions for numbers, and everything else
            for classes.
        label_separator: what separates the tags in a cell of text, by default |.
        missing: what to do about rows of the table without a file or a label: stop (error), which is the
            default but for presets of whole sites, or leave them out.
        missing_words: cells that mean there is no value; 'none' alone takes every word as it is.
        folders: what the levels of folders mean, from the top: class, group, split, ignore, or another word,
            which becomes a column of that name; by default recognised.
        class_names: other names for classes, such as 0=benign 1=malignant.
        dicom_columns: DICOM attributes by keyword that become columns too, such as PatientSex or
            PatientAge; names, dates and places are left out otherwise.
        image_columns: several columns of the table that name files: each makes an image of its own, and the
            images of a row are one group.
        preset: a public data set by name, whose files, columns and groups are known; --list-presets shows
            them.
        modality: which of several images of one scan is taken: flair, t1, t1ce or t2, or a channel's number.
        opt_out: a list of artists and ids, one a line, whose images are left out; how many is kept with the
            Dataset.
        strict: stop where it is doubtful what the source means, and before anything is written.
    """

    labels: Path | None = None
    file_column: str | None = None
    label_column: str | None = None
    label_columns: tuple[str, ...] = ()
    group_column: str | None = None
    split_column: str | None = None
    split_map: tuple[str, ...] = ()
    label_kind: LabelKind | None = None
    label_separator: str | None = None
    missing: Literal["error", "skip"] | None = None
    missing_words: tuple[str, ...] = MISSING
    folders: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    dicom_columns: tuple[str, ...] = ()
    image_columns: tuple[str, ...] = ()
    preset: str | None = None
    modality: str | None = None
    opt_out: Path | None = None
    strict: bool = False

    def completed(self) -> SourceOptions:
        """The same with the defaults of what neither the user nor a preset says."""
        return dataclasses.replace(
            self, label_kind=self.label_kind or "auto", missing=self.missing or "error"
        )


AS_FOUND = SourceOptions()
"""Options that leave everything to what the source looks like."""


@dataclasses.dataclass
class Listing:
    """The images of a source. All lists have one entry an image, in the order they will be written.

    Attributes:
        kind: what the source is, in words.
        refs: what each image is called: a path relative to the folder, a member's name, or `images[12]`.
        schema: the label schema.
        root: the folder or zip archive that holds the files; empty when `blocks` yields pixels.
        blocks: yields the pixels of array sources.
        channels: 1 or 3 where the source says so without a look at the images.
        size: the images' height and width where the source says so and both are equal.
        labels: class names, lists of tags, lists of numbers, or None.
        groups: group names, or None.
        parts: train, val and test, or None.
        ids: ids, or None for running numbers.
        frames: of files with several pictures the number of each from 0, of others None; or None.
        columns: further columns.
        types: their Arrow types, where they are known.
        splits: further splits by name.
        arrays: row-aligned arrays with their manifests, by name.
        about: facts for the Dataset's manifest (name, licence, source, intended_use, extra).
        meaning: what `label`, `group`, `split` and `domain` were taken from, in words.
        described_by: files of the source that labels and columns come from.
        unused: how many other files lie in the source, by suffix.
        notes: information for the user.
        doubts: where the source may mean something else, or holds more; shown also with --quiet.
        caveats: what is known to be difficult about the source; shown also with --quiet.
        preset: the preset by which the source was read.
        restored: it is a Dataset that comes back, whose columns are all there were.
        rejections: entries of the source that are no image to write, for rejected.csv.
    """

    kind: str
    refs: list[str]
    schema: LabelSchema = dataclasses.field(default_factory=LabelSchema)
    root: str = ""
    blocks: Blocks | None = None
    channels: int | None = None
    size: int | None = None
    labels: Sequence[Any] | None = None
    groups: Sequence[str | None] | None = None
    parts: Sequence[str] | None = None
    ids: Sequence[str] | None = None
    frames: Sequence[int | None] | None = None
    columns: dict[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    types: dict[str, pa.DataType] = dataclasses.field(default_factory=dict)
    splits: dict[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    arrays: dict[str, tuple[NDArray[Any], Mapping[str, Any]]] = dataclasses.field(default_factory=dict)
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    meaning: dict[str, str] = dataclasses.field(default_factory=dict)
    described_by: frozenset[str] = frozenset()
    unused: dict[str, int] = dataclasses.field(default_factory=dict)
    notes: list[str] = dataclasses.field(default_factory=list)
    doubts: list[str] = dataclasses.field(default_factory=list)
    caveats: list[str] = dataclasses.field(default_factory=list)
    preset: str = ""
    restored: bool = False
    rejections: list[Rejection] = dataclasses.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.refs)

    def tasks(self, start: int) -> Iterator[Task]:
        """The work of reading all images from `start` on, in pieces."""
        if self.blocks is None:
            for at in range(start, len(self), CHUNK):
                frames = None if self.frames is None else self.frames[at : at + CHUNK]
                yield Task(self.refs[at : at + CHUNK], frames=frames)
            return
        for block in self.blocks(start):
            yield Task(self.refs[start : start + len(block)], block)
            start += len(block)

    def row(self, i: int) -> dict[str, Any]:
        """The row of samples.parquet for image `i`, without what is computed from its pixels."""
        known = {"id": self.ids, "label": self.labels, "group": self.groups, "part": self.parts}
        row = {name: values[i] for name, values in (known | self.columns).items() if values is not None}
        return {"source": printable(self.refs[i])} | row

    def keep_domain(self, name: str, origin: str) -> None:
        """Let the Dataset keep the domain of the images, of `plenish.domains`, unless it has one.

        Args:
            name: of the domain.
            origin: what says so, in words.
        """
        extra = self.about.get("extra", {})
        if not extra.get("domain"):
            self.about["extra"] = {**extra, "domain": check_domain(name)}
            self.meaning["domain"] = origin

    def repeat(self, counts: Sequence[int]) -> None:
        """Let each image be there several times, one behind the other, or not at all."""

        def repeated(values: Sequence[Any]) -> list[Any]:
            return [value for value, count in zip(values, counts) for _ in range(count)]

        self.refs = repeated(self.refs)
        for name in ("labels", "groups", "parts", "ids"):
            if (values := getattr(self, name)) is not None:
                setattr(self, name, repeated(values))
        self.frames = None if self.frames is None else repeated(self.frames)
        self.arrays = {
            name: (np.repeat(array, counts, axis=0), manifest)
            for name, (array, manifest) in self.arrays.items()
        }
        self.columns = {name: repeated(values) for name, values in self.columns.items()}
        self.splits = {name: repeated(values) for name, values in self.splits.items()}

    def fingerprint(self) -> str:
        """SHA-256 of names, labels, groups, parts and columns: a resumed import must find the same."""
        digest = hashlib.sha256()
        lists = (self.refs, self.labels, self.groups, self.parts, self.ids, *self.columns.values())
        for values in lists:
            digest.update(b"\1")
            digest.update(json.dumps(list(values or ()), default=str).encode())
        return digest.hexdigest()


def part_of(word: str) -> Part | None:
    """The part that a folder, a file or a cell is named for: `training_set`, `Val`, `holdout`; or None."""
    folded = re.sub(r"[\s_.-]*(set|data|split|images|imgs)?$", "", word.strip().lower())
    return ALIASES.get(folded)


def natural(text: str) -> tuple[tuple[int, str] | tuple[int, int, str], ...]:
    """A key that sorts `img2` before `img10`."""
    pieces = re.split(r"(\d+)", text)
    return tuple((0, int(piece), piece) if i % 2 else (1, piece) for i, piece in enumerate(pieces))


def class_name(folder: str) -> str:
    """A folder's name as a class name; composed and decomposed accents are the same class."""
    return unicodedata.normalize("NFC", printable(folder)).strip()


def categorical(labels: Sequence[str]) -> LabelSchema:
    """The schema of class names, in natural order."""
    return LabelSchema("categorical", tuple(sorted(set(labels), key=natural)))


def vectors(
    rows: list[list[float]], names: tuple[str, ...] | None = None, kind: LabelKind = "auto"
) -> tuple[LabelSchema, list[Any]]:
    """Label vectors as one-hot classes, multi-hot tags or numbers.

    Args:
        rows: N vectors of one length K.
        names: K names; numbers from 0 where none are given.
        kind: which of them they are, and fit; auto finds out.
    """
    names = names or tuple(str(i) for i in range(len(rows[0])))
    if kind == "auto":
        flags = all(x in (0.0, 1.0) for row in rows for x in row)
        single = flags and len(names) > 1 and all(sum(row) == 1 for row in rows)
        kind = "categorical" if single else "multilabel" if flags else "continuous"
    if kind == "continuous":
        return LabelSchema("continuous", names), rows
    if kind == "categorical":
        return LabelSchema("categorical", names), [names[row.index(1.0)] for row in rows]
    return LabelSchema("multilabel", names), [[name for name, x in zip(names, row) if x] for row in rows]


def shown(names: Sequence[Any], most: int = 3) -> str:
    """The first few names, for a sentence."""
    first = ", ".join(printable(str(name)) for name in names[:most])
    return first + (f" and {len(names) - most:,} more" if len(names) > most else "")


def look_alikes(names: Iterable[str]) -> list[list[str]]:
    """Sets of names that differ only in case, spacing or leading zeros: `P01 ` and `p1`; `007` and `7`."""
    seen: dict[str, list[str]] = {}
    for name in names:
        words = re.split(r"[\s_-]+", unicodedata.normalize("NFKC", name).strip().casefold())
        key = re.sub(r"\d+", lambda digits: digits[0].lstrip("0") or "0", " ".join(words))
        seen.setdefault(key, []).append(name)
    return [same for same in seen.values() if len(same) > 1]


def merged(raw: Sequence[str], names: Sequence[str], what: str) -> list[str]:
    """A doubt about spellings that were taken for one name.

    Args:
        raw: as they were found.
        names: what each was taken for.
        what: they are, in the plural.
    """
    spellings: dict[str, dict[str, None]] = {}
    for text, name in zip(raw, names):
        spellings.setdefault(name, {})[text] = None
    several = [list(texts) for texts in spellings.values() if len(texts) > 1]
    if not several:
        return []
    first = " and ".join(f"'{printable(text)}'" for text in sorted(several[0]))
    more = f" (and {len(several) - 1:,} more such)" if len(several) > 1 else ""
    return [
        f"The {what} {first} differ only in blanks or in how accents are written and were taken for "
        f"one{more}."
    ]


def alike(names: Sequence[str], what: str) -> list[str]:
    """A doubt about names that differ only in case, spacing or leading zeros.

    Args:
        names: in their order.
        what: they are, in the plural.
    """
    several = look_alikes(names)
    if not several:
        return []
    first = ", ".join(f"'{printable(name)}'" for name in several[0][:-1])
    more = f" (and {len(several) - 1:,} more such)" if len(several) > 1 else ""
    return [
        f"The {what} {first} and '{printable(several[0][-1])}' have similar names and are kept apart{more}."
    ]
