"""Folders of images: a class per folder, already split or not, or flat and unlabelled."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from plenish.datasets.images import SUFFIXES
from plenish.datasets.sources.listing import (
    ALIASES,
    Listing,
    TableOptions,
    categorical,
    class_name,
    natural,
    shown,
    similar_classes,
)  # fmt: skip
from plenish.errors import InputError
from plenish.wording import plural

_READS = "Plenish reads PNG, JPEG, TIFF, BMP, GIF, WebP, AVIF, JPEG 2000, PNM and TGA files."


def walk(root: Path) -> tuple[list[str], list[str], Counter[str]]:
    """All picture files below a folder.

    Hidden files and folders are passed over, links are followed, and a folder met again inside itself (a
    loop of links) is entered once.

    Returns:
        Relative paths of picture files in natural order, relative paths of folders without any picture file
        in them, and the suffixes of the other files, counted.
    """
    files: list[str] = []
    empty: list[str] = []
    others: Counter[str] = Counter()

    def enter(prefix: str, above: tuple[tuple[int, int], ...]) -> None:
        facts = (root / prefix).stat()
        identity = facts.st_dev, facts.st_ino
        if identity in above:
            return
        before = len(files)
        inner: list[str] = []
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if entry.is_dir():
                    inner.append(f"{prefix}{entry.name}/")
                elif is_picture(entry.name):
                    files.append(prefix + entry.name)
                else:
                    others[PurePosixPath(entry.name).suffix.lower()] += 1
        for folder in inner:
            enter(folder, (*above, identity))
        if len(files) == before and prefix:
            empty.append(prefix.rstrip("/"))

    enter("", ())
    return sorted(files, key=natural), sorted(empty, key=natural), others


def is_hidden(name: str) -> bool:
    """Whether a file or folder is the system's own business, not the user's data."""
    return name.startswith(".") or name.lower() in ("thumbs.db", "desktop.ini", "__macosx")


def is_picture(name: str) -> bool:
    """Whether a name ends like a picture file's."""
    dot = name.rfind(".")
    return dot > 0 and name[dot:].lower() in SUFFIXES


def listing(root: Path, options: TableOptions) -> Listing:
    """List a folder of images; see `arrange` for how its folders are read."""
    files, empty, others = walk(root)
    if not files:
        raise InputError(f"There are no images in {root}{_hint(others)}; {_READS}")
    if options.file_column or options.label_column or options.group_column or options.split_column:
        raise InputError(
            f"--file-column, --label-column and the like need a table; give it with --labels ({root})."
        )
    out = arrange(files, empty)
    out.root = str(root)
    tables = sorted(path.name for path in root.iterdir() if path.suffix.lower() in (".csv", ".tsv", ".jsonl"))
    if tables:
        out.notes.append(f"A table in the same folder was not used ({shown(tables)}); give it with --labels.")
    return out


def _hint(others: Counter[str]) -> str:
    count = sum(others.values())
    if not count:
        return ""
    suffix = others.most_common(1)[0][0]
    return f" (only {plural(count, 'other file')}" + (f", mostly {suffix})" if suffix else ")")


def arrange(files: Sequence[str], empty: Sequence[str] = (), place: str = "folder") -> Listing:
    """Read labels and parts from relative paths.

    Folders named train, val, test (or a usual alias) at the top are parts. The top folders, or those right
    inside the parts, are the classes; deeper folders belong to their class. Folders that only wrap one other
    are looked through.

    Args:
        files: relative paths of images, in order; at least one.
        empty: relative paths of folders without images, for a warning.
        place: what the files are in, in words.
    """
    pieces = [path.split("/") for path in files]
    depth = 0
    while len({piece[depth] for piece in pieces}) == 1 and all(len(piece) > depth + 2 for piece in pieces):
        depth += 1
    words = {piece[depth].lower() for piece in pieces}
    split = (
        words <= ALIASES.keys()
        and len({ALIASES[word] for word in words}) > 1
        and all(len(piece) > depth + 1 for piece in pieces)
    )
    at = depth + split
    inside = [len(piece) > at + 1 for piece in pieces]
    out = Listing(f"{place} of images", list(files))
    if any(inside):
        out.kind = f"{place} with a folder for each class"
        outside = [path for path, deep in zip(files, inside) if not deep]
        if outside:
            out.warnings.append(
                f"{plural(len(outside), 'image')} outside any class folder left out ({shown(outside)}); "
                "move them into one, or give the labels with --labels."
            )
        out.refs = list(itertools.compress(files, inside))
        pieces = list(itertools.compress(pieces, inside))
        out.labels = [class_name(piece[at]) for piece in pieces]
        out.schema = categorical(out.labels)
        out.warnings += similar_classes(out.schema.names)
    if split:
        out.kind += ", already split"
        out.parts = [ALIASES[piece[depth].lower()] for piece in pieces]
        there = set(zip(out.parts, out.labels or ()))
        for part in dict.fromkeys(out.parts):
            absent = [name for name in out.schema.names if (part, name) not in there]
            if absent:
                out.warnings.append(f"The {part} part has no images of {shown(absent)}.")
    bare = [path for path in empty if path.count("/") == at]
    if bare and any(inside):
        out.warnings.append(f"{plural(len(bare), 'class folder')} without images left out: {shown(bare)}.")
    return out
