"""Folders of images: a class per folder, already split or not, or flat and unlabelled."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
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
    if options.asked:
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
    depth = _wrapped(files)
    split = _part_folders(files, depth)
    at = depth + 1 if split else depth
    pieces = [path.split("/") for path in files]
    parts = [ALIASES[piece[depth].lower()] for piece in pieces] if split else None
    inside = [len(piece) > at + 1 for piece in pieces]
    out = Listing(f"{place} of images", list(files), parts=parts)
    if any(inside):
        out.kind = f"{place} with a folder for each class"
        _classes(out, pieces, inside, at)
        _warn_of_empty(out, empty, at)
    if out.parts is not None:
        out.kind += ", already split"
    return out


def _wrapped(files: Sequence[str]) -> int:
    """How many outermost folders only wrap one other folder."""
    depth = 0
    while True:
        heads = {tuple(path.split("/", depth + 2)[: depth + 2]) for path in files}
        if len({head[depth] for head in heads}) != 1 or any(path.count("/") <= depth + 1 for path in files):
            return depth
        depth += 1


def _part_folders(files: Iterable[str], depth: int) -> bool:
    """Whether all images lie in folders named like parts, of two parts at least."""
    names = set()
    for path in files:
        pieces = path.split("/")
        if len(pieces) <= depth + 1:
            return False
        names.add(pieces[depth].lower())
    return all(name in ALIASES for name in names) and len({ALIASES[name] for name in names}) > 1


def _classes(out: Listing, pieces: Sequence[list[str]], inside: Sequence[bool], at: int) -> None:
    keep = [i for i, deep in enumerate(inside) if deep]
    if len(keep) < len(pieces):
        outside = [out.refs[i] for i, deep in enumerate(inside) if not deep]
        out.warnings.append(
            f"{plural(len(outside), 'image')} outside any class folder left out ({shown(outside)}); "
            "move them into one, or give the labels with --labels."
        )
        out.refs = [out.refs[i] for i in keep]
        out.parts = None if out.parts is None else [out.parts[i] for i in keep]
    labels = [class_name(pieces[i][at]) for i in keep]
    out.schema, out.labels = categorical(labels), labels
    out.warnings += similar_classes(out.schema.names)
    if out.parts is not None:
        for part in dict.fromkeys(out.parts):
            here = {label for label, other in zip(labels, out.parts) if other == part}
            absent = [name for name in out.schema.names if name not in here]
            if absent:
                out.warnings.append(f"The {part} part has no images of {shown(absent)}.")


def _warn_of_empty(out: Listing, empty: Sequence[str], at: int) -> None:
    empty = [path for path in empty if path.count("/") == at]
    if empty:
        out.warnings.append(f"{plural(len(empty), 'class folder')} without images left out: {shown(empty)}.")
