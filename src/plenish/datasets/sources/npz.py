"""`.npz` archives of images and labels, read piece by piece; pickled objects are never loaded."""

from __future__ import annotations

import dataclasses
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.images import MAX_BYTES
from plenish.datasets.schema import LabelSchema, Part
from plenish.datasets.sources.archive import vectors
from plenish.datasets.sources.listing import (
    Listing,
    categorical,
    check_payload,
    check_pixels,
    shown,
)  # fmt: skip
from plenish.datasets.sources.pieces import BLOCK, Piece, chained
from plenish.errors import InputError
from plenish.wording import plural

_IMAGES = ("images", "image", "x", "data", "imgs", "arr_0")
_LABELS = ("labels", "label", "y", "targets", "target", "classes", "arr_1")
_NAMES = ("class_names", "label_names", "classes_names", "names")
_PARTS: tuple[tuple[Part, tuple[str, ...]], ...] = (
    ("train", ("train", "training")), ("val", ("val", "valid", "validation")), ("test", ("test", "testing")),
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Member:
    """An array inside the archive: its key, dtype, shape and order."""

    key: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool

    @property
    def bytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize


def listing(source: Path) -> Listing:
    """List an archive's images, with the labels, class names and parts it holds.

    Raises:
        InputError: no npz, pickled or misshapen arrays, no key that looks like images, or labels that do not
        fit.
    """
    members = _members(source)
    pairs = _pairs(members, source)
    arrays = [_Images.of(source, members[images]) for _, images, _ in pairs]
    first = arrays[0]
    pieces = [Piece(array.member.key, array.count, array.read) for array in arrays]
    out = Listing("npz archive", [ref for piece in pieces for ref in piece.refs], pieces=pieces)
    if len({array.shape for array in arrays}) > 1:
        raise InputError(f"The parts of {source} hold images of different shapes; save them with one shape.")
    parts: list[str] = []
    labels: list[NDArray[Any]] = []
    for (part, images, label_key), piece in zip(pairs, pieces):
        parts += [part or ""] * piece.count
        if label_key:
            length = (*members[label_key].shape, 0)[0]
            if length != piece.count:
                raise InputError(
                    f"{source} has {plural(length, 'label')} ('{label_key}') for "
                    f"{plural(piece.count, 'image')} ('{images}'); they must match."
                )
            labels.append(_load(source, members[label_key]))
    if len(labels) not in (0, len(pairs)):
        raise InputError(f"Only some parts of {source} have labels; add or remove the others.")
    if labels:
        names = [_load(source, members[key]).tolist() for key in _find(members, _NAMES)[:1]]
        out.schema, out.labels = _labels(labels, names[0] if names else [], source)
    if pairs[0][0] is not None:
        out.parts = parts
    height, width, channels = first.shape
    out.channels = 1 if channels == 1 else 3
    out.size = height if height == width else None
    if first.scale != 1:
        out.notes.append(
            f"Values of {first.member.dtype} were multiplied by {first.scale:.4g} to span 0 to 255."
        )
    out.blocks = chained(pieces)
    return out


def _members(source: Path) -> dict[str, _Member]:
    out = {}
    try:
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                if info.filename.endswith(".npy"):
                    key = info.filename.removesuffix(".npy")
                    with archive.open(info) as file:
                        out[key] = _Member(key, *_header(file))
                        _check_length(source, out[key], info, file.tell())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"{source} is not a readable .npz ({' '.join(str(error).split())}); save it again."
        ) from None
    if not out:
        raise InputError(f"{source} holds no arrays; save images and labels with numpy.savez.")
    return out


def _check_length(source: Path, member: _Member, info: zipfile.ZipInfo, before: int) -> None:
    """InputError unless the header's shape is that of the member's data, and its compression is plausible."""
    if member.dtype.hasobject:  # Pickles have any length, and are refused where they would be loaded.
        return
    what = f"'{member.key}' in {source}"
    if min(member.shape, default=0) < 0 or info.file_size != before + member.bytes:
        raise InputError(
            f"{what} is damaged: its header says {member.bytes:,} bytes and "
            f"{max(0, info.file_size - before):,} follow; save it again."
        )
    if info.compress_type != zipfile.ZIP_STORED:
        check_payload(what, member.bytes, info.compress_size)
    elif info.compress_size != info.file_size:
        raise InputError(f"{what} is damaged: its two lengths differ; save it again.")


def _header(file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
        version
    )
    if read is None:
        raise ValueError(f"array format {version} is unknown")
    shape, fortran, dtype = read(file)
    return dtype, shape, fortran


def _find(members: dict[str, _Member], names: Sequence[str]) -> list[str]:
    """Keys among `names`, whatever their case, in the order of `names`."""
    folded = {key.lower(): key for key in members}
    return [folded[name] for name in names if name in folded]


def _pairs(members: dict[str, _Member], source: Path) -> list[tuple[Part | None, str, str | None]]:
    """(part or None, key of images, key of labels or None) for each part."""
    pairs: list[tuple[Part | None, str, str | None]] = []
    for part, words in _PARTS:
        images, labels = (
            _find(members, [form for w in words for x in names for form in (f"{x}_{w}", f"{w}_{x}")])
            for names in (_IMAGES, _LABELS)
        )
        if images:
            pairs.append((part, images[0], labels[0] if labels else None))
    if len(pairs) == 1:
        return [(None, *pairs[0][1:])]
    if pairs:
        return pairs
    found = _find(members, _IMAGES)
    if not found:
        found = [key for key, member in members.items() if len(member.shape) in (3, 4)]
        if len(found) != 1:
            raise InputError(
                f"{source} holds {shown(list(members), 8)}; name the images 'images' and the labels 'labels'."
            )
    labels = [key for key in _find(members, _LABELS) if key != found[0]]
    return [(None, found[0], labels[0] if labels else None)]


def _load(source: Path, member: _Member) -> NDArray[Any]:
    if member.dtype.hasobject:
        raise InputError(
            f"'{member.key}' in {source} is pickled, which Plenish never loads; save it as numbers or text."
        )
    if member.bytes > MAX_BYTES:
        raise InputError(
            f"'{member.key}' in {source} needs {member.bytes / 2**20:,.0f} MiB at once; save images in C "
            "order (numpy.ascontiguousarray) and labels as whole numbers."
        )
    try:
        with np.load(source, allow_pickle=False) as archive:
            loaded: NDArray[Any] = archive[member.key]
            return loaded
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"'{member.key}' in {source} cannot be read ({error}); save it again.") from None


def _labels(pieces: list[NDArray[Any]], names: list[Any], source: Path) -> tuple[LabelSchema, list[Any]]:
    values = np.concatenate([piece.reshape(len(piece), -1) for piece in pieces])
    if values.shape[1] > 1:
        if values.dtype.kind not in "biuf" or not np.isfinite(values).all():
            raise InputError(f"The labels of {source} are vectors of {values.dtype}; use finite numbers.")
        fitting = tuple(map(str, names)) if len(names) == values.shape[1] else None
        return vectors(values.astype(float).tolist(), fitting)
    flat = values[:, 0]
    if flat.dtype.kind == "f":
        if not np.isfinite(flat).all():
            raise InputError(
                f"{source} has {plural(int((~np.isfinite(flat)).sum()), 'label')} that cannot be used "
                "(NaN or infinite); correct the archive."
            )
        if not (flat == np.floor(flat)).all():
            return LabelSchema("continuous", ("label",)), [[float(x)] for x in flat]
        flat = flat.astype(np.int64)
    if flat.dtype.kind == "S":
        flat = np.char.decode(flat, "utf-8")
    if flat.dtype.kind in "iu" and names:
        if int(flat.min()) < 0 or int(flat.max()) >= len(names):
            raise InputError(
                f"{source} has labels up to {flat.max()} and only {len(names)} class names; add the others."
            )
        known = tuple(map(str, names))
        return LabelSchema("categorical", known), [known[i] for i in flat]
    texts = list(map(str, flat.tolist()))
    return categorical(texts), texts


@dataclasses.dataclass(frozen=True)
class _Images:
    """Images of one key: where they lie and how their values become 0 to 255."""

    source: Path
    member: _Member
    count: int
    shape: tuple[int, int, int]
    first: bool
    scale: float

    @classmethod
    def of(cls, source: Path, member: _Member) -> _Images:
        shape = member.shape
        if member.dtype.hasobject:
            raise InputError(
                f"'{member.key}' in {source} is pickled, which Plenish never loads; save it as one "
                "uint8 array."
            )
        first = len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] not in (1, 3, 4)
        n, height, width, channels = (
            (shape[0], *shape[2:], shape[1]) if first else (*shape, 1)[:4] if len(shape) > 2 else (0,) * 4
        )
        if not n or not height or not width or channels not in (1, 3, 4) or member.dtype.kind not in "buif":
            raise InputError(
                f"'{member.key}' in {source} is {member.dtype} {shape}; images are N×H×W or N×H×W×C "
                "numbers with C 1, 3 or 4."
            )
        check_pixels(f"'{member.key}' in {source}", height, width)
        images = cls(source, member, n, (height, width, channels), first, 1.0)
        return dataclasses.replace(images, scale=images._scale())

    def _scale(self) -> float:
        """What values are multiplied by. For other types than uint8 all values are looked at."""
        dtype = self.member.dtype
        if dtype == np.uint8:
            return 1.0
        if dtype.kind == "b":
            return 255.0
        if dtype == np.uint16:
            return 1 / 257
        low, high = math.inf, -math.inf
        for block in self.raw(0):
            if not np.isfinite(block).all():
                raise InputError(
                    f"'{self.member.key}' in {self.source} has NaN or infinite values; correct them."
                )
            low, high = min(low, float(block.min())), max(high, float(block.max()))
        if not (low >= 0 and high <= 255):
            raise InputError(
                f"'{self.member.key}' in {self.source} ranges from {low:g} to {high:g}; save it as "
                "uint8, or as floats from 0 to 1."
            )
        return 255.0 if dtype.kind == "f" and high <= 1 else 1.0

    def raw(self, start: int) -> Iterator[NDArray[Any]]:
        """Pieces of the array as saved, from a row on."""
        if self.member.fortran:
            whole = _load(self.source, self.member)
            yield from (whole[at : at + BLOCK] for at in range(start, self.count, BLOCK))
            return
        row = math.prod(self.member.shape[1:]) * self.member.dtype.itemsize
        block = max(1, min(BLOCK, 2**24 // row))
        with zipfile.ZipFile(self.source) as archive, archive.open(self.member.key + ".npy") as file:
            _header(file)
            file.seek(start * row, 1)
            for at in range(start, self.count, block):
                n = min(block, self.count - at)
                try:
                    data = file.read(n * row)
                except Exception as error:  # zlib, zipfile and EOF errors alike.
                    raise InputError(f"{self.source} is damaged ({error}); save it again.") from None
                if len(data) != n * row:
                    raise InputError(f"{self.source} is truncated; save it again.")
                yield np.frombuffer(data, self.member.dtype).reshape(n, *self.member.shape[1:])

    def read(self, start: int) -> Iterator[NDArray[np.uint8]]:
        """Pieces of the images, n×H×W×C, from a row on."""
        for block in self.raw(start):
            values = np.moveaxis(block, 1, 3) if self.first else block.reshape(*block.shape[:3], -1)
            if self.scale != 1 or values.dtype != np.uint8:
                values = np.rint(values.astype(np.float64) * self.scale)
            yield values.astype(np.uint8)
