"""`.npz` archives of images and labels, read piece by piece; pickled objects are never loaded."""

from __future__ import annotations

import dataclasses
import functools
import math
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.images import MAX_BYTES
from plenish.datasets.schema import PARTS
from plenish.datasets.sources.accepted import Accepted
from plenish.datasets.sources.listing import ALIASES, Listing, shown
from plenish.datasets.sources.pieces import (
    BLOCK,
    Piece,
    check_labels,
    check_length,
    check_pixels,
    joined,
    read_rows,
)  # fmt: skip
from plenish.errors import InputError

ACCEPTED = Accepted("An .npz archive", instead="save what it should say in its arrays")
_IMAGES = ("images", "image", "x", "data", "imgs", "arr_0")
_LABELS = ("labels", "label", "y", "targets", "target", "classes", "arr_1")
_NAMES = ("class_names", "label_names", "classes_names", "names")


@dataclasses.dataclass(frozen=True)
class _Array:
    """An array inside an archive, by what its header says."""

    source: Path
    key: str
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        return f"'{self.key}' in {self.source}"

    @property
    def bytes(self) -> int:
        """Bytes of its values."""
        return math.prod(self.shape) * self.dtype.itemsize

    @functools.cached_property
    def scale(self) -> float:
        """What makes its values 0 to 255. For other types than uint8 all values are looked at."""
        known = {"uint8": 1.0, "bool": 255.0, "uint16": 1 / 257}.get(self.dtype.name)
        if known is not None:
            return known
        low, high = math.inf, -math.inf
        for block in self.blocks(0):
            if not np.isfinite(block).all():
                raise InputError(f"{self} has NaN or infinite values; correct them.")
            low, high = min(low, float(block.min())), max(high, float(block.max()))
        if not (low >= 0 and high <= 255):
            raise InputError(
                f"{self} ranges from {low:g} to {high:g}; save it as uint8, or as floats from 0 to 1."
            )
        return 255.0 if self.dtype.kind == "f" and high <= 1 else 1.0

    def load(self) -> NDArray[Any]:
        """The whole array."""
        if self.bytes > MAX_BYTES:
            raise InputError(
                f"{self} needs {self.bytes / 2**20:,.0f} MiB at once; save images in C order "
                "(numpy.ascontiguousarray) and labels as whole numbers."
            )
        try:
            with np.load(self.source, allow_pickle=False) as archive:
                loaded: NDArray[Any] = archive[self.key]
                return loaded
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise InputError(f"{self} cannot be read ({error}); save it again.") from None

    def blocks(self, start: int) -> Iterator[NDArray[Any]]:
        """Some rows at a time, from one on."""
        if self.fortran:
            whole = self.load()
            yield from (whole[at : at + BLOCK] for at in range(start, self.shape[0], BLOCK))
            return
        with zipfile.ZipFile(self.source) as archive, archive.open(f"{self.key}.npy") as file:
            _header(file)
            yield from read_rows(file, self.dtype, self.shape, start, self.source)


def listing(source: Path) -> Listing:
    """List an archive's images, with the labels, class names and parts it holds.

    Raises:
        InputError: no npz, pickled or misshapen arrays, no key that looks like images, or labels that do not
        fit.
    """
    arrays = _arrays(source)
    pairs = _pairs(arrays, source)
    names = [name for array in _find(arrays, _NAMES)[:1] for name in np.atleast_1d(array.load()).tolist()]
    out = joined("npz archive", source, [_piece(*pair) for pair in pairs], names)
    first = pairs[0][0]
    if first.scale != 1:
        out.notes.append(f"Values of {first.dtype} were multiplied by {first.scale:.4g} to span 0 to 255.")
    return out


def pieces(source: Path) -> list[Piece]:
    """The images and labels of each part."""
    return [_piece(*pair) for pair in _pairs(_arrays(source), source)]


def _arrays(source: Path) -> dict[str, _Array]:
    """All arrays by key, none of which has more or less data than its header says."""
    out = {}
    try:
        with zipfile.ZipFile(source) as archive:
            for info in archive.infolist():
                if not info.filename.endswith(".npy"):
                    continue
                key = info.filename.removesuffix(".npy")
                with archive.open(info) as file:
                    out[key] = array = _Array(source, key, *_header(file))
                    follow = info.file_size - file.tell()
                if not array.dtype.hasobject:  # Pickles have any length.
                    packed = None if info.compress_type == zipfile.ZIP_STORED else info.compress_size
                    check_length(str(array), array.bytes, found=follow, packed=packed)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise InputError(
            f"{source} is not a readable .npz ({' '.join(str(error).split())}); save it again."
        ) from None
    if not out:
        raise InputError(f"{source} holds no arrays; save images and labels with numpy.savez.")
    return out


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in read:
        raise ValueError(f"array format {version} is unknown")
    return read[version](file)


def _find(arrays: dict[str, _Array], names: Sequence[str]) -> list[_Array]:
    """Arrays whose keys are among `names`, whatever their case, in the order of `names`."""
    folded = {key.lower(): array for key, array in arrays.items()}
    return [folded[name] for name in names if name in folded]


def _pairs(arrays: dict[str, _Array], source: Path) -> list[tuple[_Array, _Array | None, str]]:
    """Images, labels or None, and the part, for each part; one without a name where there are no parts."""
    pairs: list[tuple[_Array, _Array | None, str]] = []
    for part in PARTS:
        words = [word for word, meant in ALIASES.items() if meant == part]
        images, labels = (
            _find(arrays, [form for w in words for x in names for form in (f"{x}_{w}", f"{w}_{x}")])
            for names in (_IMAGES, _LABELS)
        )
        if images:
            pairs.append((images[0], labels[0] if labels else None, part))
    if pairs:
        return pairs
    found = _find(arrays, _IMAGES)[:1] or [array for array in arrays.values() if len(array.shape) in (3, 4)]
    if len(found) != 1:
        raise InputError(
            f"{source} holds {shown(list(arrays), 8)}; name the images 'images' and the labels 'labels'."
        )
    labels = [array for array in _find(arrays, _LABELS) if array is not found[0]]
    return [(found[0], labels[0] if labels else None, "")]


def _piece(images: _Array, labels: _Array | None, part: str) -> Piece:
    for array in (images, labels):
        if array is not None and array.dtype.hasobject:
            raise InputError(f"{array} is pickled, which Plenish never loads; save it as numbers or text.")
    shape = images.shape
    first = len(shape) == 4 and shape[1] in (1, 3, 4) and shape[3] not in (1, 3, 4)
    n, height, width, channels = (
        (shape[0], *shape[2:], shape[1]) if first else (*shape, 1)[:4] if len(shape) > 2 else (0,) * 4
    )
    if min(n, height, width) < 1 or channels not in (1, 3, 4) or images.dtype.kind not in "buif":
        raise InputError(
            f"{images} is {images.dtype} {shape}; images are N×H×W or N×H×W×C numbers with C 1, 3 or 4."
        )
    check_pixels(str(images), height, width)
    if labels is not None:
        check_labels(str(labels), (*labels.shape, 0)[0], n)
    scale = images.scale

    def read(start: int) -> Iterator[NDArray[np.uint8]]:
        for block in images.blocks(start):
            values = np.moveaxis(block, 1, 3) if first else block.reshape(*block.shape[:3], -1)
            if scale != 1 or values.dtype != np.uint8:
                values = np.rint(values.astype(np.float64) * scale)
            yield values.astype(np.uint8)

    return Piece(
        images.key, (n, height, width, channels), read, part, None if labels is None else labels.load()
    )
