"""PatchCamelyon as its authors give it: HDF5 files of images and of labels and a table for each part."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.schema import Part
from plenish.datasets.sources.accepted import Accepted
from plenish.datasets.sources.columns import parse_table, typed
from plenish.datasets.sources.container import Container
from plenish.datasets.sources.hdf5 import opened
from plenish.datasets.sources.listing import CORE, Listing, SourceOptions
from plenish.datasets.sources.pieces import BLOCK, Piece, check_labels, joined
from plenish.errors import InputError
from plenish.wording import plural

ACCEPTED = Accepted("PatchCamelyon, whose files say labels, slides and parts,")
_NAME = re.compile(r"camelyonpatch_level_2_split_(train|valid|test)_(x|y|meta)\.(h5|csv)(\.gz)?$")
_PARTS: dict[str, Part] = {"train": "train", "valid": "val", "test": "test"}
_CLASSES = ("normal", "tumour")
_GROUP = "wsi"


def find(container: Container, options: SourceOptions) -> Listing | None:
    """The Listing of the parts that are there, with slides as groups; None where there is none.

    Raises:
        InputError: they are packed, damaged, or do not go together.
    """
    found: dict[tuple[str, str], str] = {}
    for name in container.others:
        if match := _NAME.search(PurePosixPath(name).name):
            found.setdefault((match[1], match[2]), name)
    if not any(kind == "x" for _, kind in found):
        return None
    packed = next((name for name in found.values() if name.endswith(".gz")), "")
    ACCEPTED.check(options)
    if container.kind != "folder" or packed:
        raise InputError(
            f"{container.name(packed) if packed else container.path} is packed; unpack it first"
            f"{f' (gunzip {packed})' if packed else ''}."
        )
    parts = [part for part in _PARTS if (part, "x") in found]
    for part in parts:
        if (part, "y") not in found:
            raise InputError(f"{container.path} lacks camelyonpatch_level_2_split_{part}_y.h5; fetch it too.")
    pieces = [
        _piece(container.path / found[part, "x"], container.path / found[part, "y"], _PARTS[part])
        for part in parts
    ]
    out = joined("HDF5 files", container.path, pieces, _CLASSES)
    out.meaning["label"] = "the arrays y"
    if out.parts is not None:
        out.meaning["split"] = "names of the files"
    tables = {part: found[part, "meta"] for part in parts if (part, "meta") in found}
    if len(tables) == len(parts):
        _describe(out, container, [tables[part] for part in parts], pieces)
    else:
        out.doubts.append(
            "The tables camelyonpatch_level_2_split_…_meta.csv, which say the slide of each patch, are not "
            "all there, so the images have no groups."
        )
    out.described_by = frozenset(found.values())
    return out


def _piece(images: Path, labels: Path, part: Part) -> Piece:
    with opened(images, "x") as (x,), opened(labels, "y") as (y,):
        shape, kind = tuple(x.shape), x.dtype
        if len(shape) != 4 or shape[3] != 3 or kind != np.uint8 or not min(shape):
            raise InputError(f"{images} holds {kind} {shape} where uint8 N×H×W×3 is needed; fetch it again.")
        values: NDArray[Any] = np.asarray(y).reshape(len(y), -1)
        check_labels(str(labels), len(values), shape[0])
        if values.shape[1] != 1 or not np.isin(values, (0, 1)).all():
            raise InputError(f"{labels} holds other labels than 0 and 1; fetch it again.")

    def read(start: int) -> Iterator[NDArray[np.uint8]]:
        with opened(images, "x") as (array,):
            for at in range(start, shape[0], BLOCK):
                yield np.asarray(array[at : at + BLOCK])

    return Piece(images.stem, (shape[0], shape[1], shape[2], 3), read, part, values[:, 0].astype(np.int64))


def _describe(out: Listing, container: Container, tables: list[str], pieces: list[Piece]) -> None:
    """Take slides as groups and the other columns from the tables of the parts."""
    rows = []
    for name, piece in zip(tables, pieces):
        read = parse_table(container.read(name), container.name(name))
        if len(read) != piece.shape[0]:
            raise InputError(
                f"{container.name(name)} has {plural(len(read), 'row')} for "
                f"{plural(piece.shape[0], 'image')}; fetch both again."
            )
        rows += read
    names = list(dict.fromkeys(name for row in rows for name in row))
    if _GROUP not in names:
        raise InputError(f"{container.name(tables[0])} has no column '{_GROUP}'; fetch it again.")
    out.groups = [row[_GROUP] for row in rows]
    out.meaning["group"] = f"column '{_GROUP}' of the tables …_meta.csv"
    for name in names:
        if name and name != _GROUP and not name.startswith("Unnamed"):
            out.columns[f"{name}_" if name in CORE else name] = typed([row.get(name) for row in rows])
