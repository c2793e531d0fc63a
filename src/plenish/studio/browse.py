"""Which images of a Dataset a person looks at: filters, pages of thumbnails as one picture, neighbours."""

from __future__ import annotations

import csv
import dataclasses
import io
import secrets
import threading
from collections import OrderedDict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from plenish.datasets.dataset import Dataset
from plenish.datasets.near_duplicates import image_hashes
from plenish.datasets.perceptual_hash import SMALLEST_SIDE
from plenish.datasets.pixels import chunks
from plenish.datasets.schema import PARTS
from plenish.datasets.show import png as encoded
from plenish.errors import InputError
from plenish.latent.neighbours import nearest
from plenish.metrics.features import domain_extractor, is_fitted

Ints = NDArray[np.int64]
PER_PAGE = 60
COLUMNS = 10
"""Thumbnails in a row of a sprite; how many a browser shows in one is its own choice."""
THUMBNAIL = 96
"""Largest side of a thumbnail, pixels."""
NEIGHBOURS = 12
PICTURE, FEATURES = "picture", "features"
"""What neighbours are found by beside arrays: perceptual hashes, and the features that scores use."""
MOST_FEATURES = 20_000
"""Images of a Dataset whose features are computed while somebody waits for them."""
_MOST_VIEWS, _MOST_SETS, _MOST_MARKS = 12, 50, 20_000
_LONGEST_VALUE = 100


@dataclasses.dataclass(frozen=True)
class Filter:
    """What is wanted of a Dataset; empty is everything.

    Attributes:
        part: SPLIT/PART, or SPLIT/ for train and val.
        label: a class or tag.
        origin: real or synthetic.
        column: a column of the table.
        value: what its cells contain, or for numbers a range such as 0.2..0.5; only its first 100 characters
            count.
        shuffled: whether the order is drawn.
    """

    part: str = ""
    label: str = ""
    origin: str = ""
    column: str = ""
    value: str = ""
    shuffled: bool = False


def first_part(dataset: Dataset) -> str:
    """The part shown first: train and val of the default split, else of the first; empty without one."""
    names = dataset.split_names()
    return f"{'default' if 'default' in names else names[0]}/" if names else ""


def parts_of(dataset: Dataset) -> list[str]:
    """The parts that can be chosen, as `Filter.part` has them."""
    return [f"{name}/{part}" for name in dataset.split_names() for part in ("", *PARTS)]


def select(dataset: Dataset, wanted: Filter) -> Ints:
    """Row numbers of the images that fit.

    Raises:
        InputError: there is no such part, label or column, or the value is no range of a column of numbers.
    """
    keep = np.ones(len(dataset), bool)
    if wanted.part:
        split, _, part = wanted.part.partition("/")
        part_of = dataset.split(split).part_of.to_numpy()
        keep &= part_of == part if part else part_of != "test"
    if wanted.label:
        dataset.labels.code(wanted.label)
        cells = dataset.table["label"]
        several = dataset.labels.kind == "multilabel"
        fits = [wanted.label in cell for cell in cells] if several else (cells == wanted.label).to_numpy()
        keep &= np.asarray(fits, bool)
    if wanted.origin:
        keep &= (dataset.table["origin"] == wanted.origin).to_numpy()
    if wanted.column and wanted.value:
        keep &= _fits(dataset, wanted.column, wanted.value)
    rows = np.flatnonzero(keep).astype(np.int64)
    return np.random.default_rng(0).permutation(rows) if wanted.shuffled else rows


def _fits(dataset: Dataset, column: str, value: str) -> NDArray[np.bool_]:
    if column not in dataset.table.columns:
        raise InputError(f"{dataset.name} has no column '{column}'.", code="missing")
    cells, value = dataset.table[column], value[:_LONGEST_VALUE]
    if pd.api.types.is_numeric_dtype(cells) and not pd.api.types.is_bool_dtype(cells):
        low, dots, high = (piece.strip() for piece in value.partition(".."))
        try:
            least = float(low) if low or not dots else -np.inf
            most = (float(high) if high else np.inf) if dots else least
        except ValueError:
            raise InputError(f"'{column}' holds numbers; give one, or a range such as 0.2..0.5.") from None
        return ((cells >= least) & (cells <= most)).to_numpy()
    found: NDArray[np.bool_] = cells.astype(str).str.contains(value, case=False, regex=False).to_numpy(bool)
    return found


def columns_of(dataset: Dataset) -> list[str]:
    """The columns that can be filtered by: all but hashes."""
    return [str(name) for name in dataset.table.columns if name not in ("sha256", "label", "origin")]


@dataclasses.dataclass(frozen=True)
class View:
    """The images that a filter left.

    Attributes:
        dataset: id of the Dataset.
        rows: their row numbers, in the order shown.
        split: whose test part was left out, or is shown because that was asked for; empty for the one of
            `first_part`.
    """

    dataset: str
    rows: Ints
    split: str = ""


class DataState:
    """What one user looks at and marked.

    Attributes:
        sets: name of a set → rows of its images by id of their Dataset.
        told: splits whose test part was shown, which counts as one reading.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        self._views: OrderedDict[str, View] = OrderedDict()
        self._near: OrderedDict[str, View] = OrderedDict()
        self.sets: dict[str, dict[str, list[int]]] = {}
        self.told: set[tuple[str, str]] = set()

    def add(self, view: View, near: bool = False) -> str:
        """Keep a view; its id.

        Args:
            view: the images.
            near: whether they are the neighbours of one, which never displace what was filtered.
        """
        key, kept = secrets.token_urlsafe(8), self._near if near else self._views
        kept[key] = view
        while len(kept) > _MOST_VIEWS:
            kept.popitem(last=False)
        return key

    def view(self, key: str) -> View:
        """A view by id.

        Raises:
            InputError: there is none (any longer).
        """
        for kept in (self._views, self._near):
            if key in kept:
                kept.move_to_end(key)
                return kept[key]
        raise InputError("This selection is no longer kept; choose the filters again.", code="missing")

    def mark(self, name: str, dataset: str, row: int) -> bool:
        """Put an image into a set, or take it out; whether it is in it now.

        Raises:
            InputError: there are too many sets, or images in it.
        """
        if name not in self.sets and len(self.sets) >= _MOST_SETS:
            raise InputError(f"There are {_MOST_SETS} sets already; use one of them.")
        rows = self.sets.setdefault(name, {}).setdefault(dataset, [])
        if row in rows:
            rows.remove(row)
            return False
        if self.count(name) >= _MOST_MARKS:
            raise InputError(f"The set has {_MOST_MARKS:,} images already; begin another.")
        rows.append(row)
        return True

    def count(self, name: str) -> int:
        """How many images a set has."""
        return sum(map(len, self.sets.get(name, {}).values()))


def set_table(marked: dict[str, list[int]], datasets: dict[str, Dataset]) -> bytes:
    """A set as CSV: id, label, origin and the name of the Dataset, a row an image."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", "label", "origin", "dataset"])
    for key, rows in marked.items():
        table = datasets[key].table
        for row in rows:
            cells = [table[name].iloc[row] for name in ("id", "label", "origin")]
            writer.writerow([*map(_safe, cells), _safe(datasets[key].name)])
    return text.getvalue().encode()


def _safe(cell: Any) -> str:
    """A cell that no spreadsheet takes for a formula."""
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ""
    text = ", ".join(map(str, cell)) if isinstance(cell, (list, np.ndarray)) else str(cell)
    return f"'{text}" if text[:1] in "=+-@" and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def as_image(pixels: NDArray[np.uint8]) -> Image.Image:
    """Pixels H×W×C as a picture."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An image H×W×C as the bytes of a PNG, which has no metadata."""
    return encoded(as_image(pixels))


def sprite(dataset: Dataset, rows: Ints) -> bytes:
    """Thumbnails of images as one JPEG, `COLUMNS` in a row."""
    images = dataset.pixels.read(rows)
    n, size, channels = len(images), dataset.size, dataset.channels
    high = max(1, -(-n // COLUMNS))
    cells = np.zeros((high * COLUMNS, size, size, channels), np.uint8)
    cells[:n] = images
    sheet = cells.reshape(high, COLUMNS, size, size, channels).swapaxes(1, 2)
    picture = as_image(np.ascontiguousarray(sheet).reshape(high * size, COLUMNS * size, channels))
    if size > THUMBNAIL:
        picture = picture.resize((COLUMNS * THUMBNAIL, high * THUMBNAIL), Image.Resampling.BOX)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=92, subsampling=0)
    return file.getvalue()


def neighbour_kinds(dataset: Dataset) -> list[str]:
    """What neighbours can be found by: `PICTURE`, `FEATURES`, or the name of an array of vectors."""
    kinds = [PICTURE] if dataset.size >= SMALLEST_SIDE else []
    kinds += [FEATURES] if has_features(dataset) else []
    for name in dataset.array_names():
        shape = np.load(dataset.path / "arrays" / f"{name}.npy", mmap_mode="r", allow_pickle=False).shape
        kinds += [name] if len(shape) == 2 and shape[1] > 1 and name not in (PICTURE, FEATURES) else []
    return kinds


def has_features(dataset: Dataset) -> bool:
    """Whether the domain extractor of a Dataset is fitted, as by `plenish score`, for not too many images."""
    return len(dataset) <= MOST_FEATURES and is_fitted(dataset, first_part(dataset).partition("/")[0])


def shared_kinds(dataset: Dataset, other: Dataset) -> list[str]:
    """Which of `neighbour_kinds` two Datasets can be compared by.

    Arrays of one name are comparable where one model made them, in one space and of one width; of another
    Dataset's arrays without the hash of a model that is not known. Features are those of one of the two.
    """
    kinds = neighbour_kinds(dataset)
    if other.path == dataset.path:
        return kinds
    both = [kind for kind in kinds if kind in neighbour_kinds(other) and kind != FEATURES]
    same = [kind for kind in both if kind == PICTURE or _same_maker(dataset, other, kind)]
    few = max(len(dataset), len(other)) <= MOST_FEATURES
    return same + [FEATURES] * (few and (has_features(dataset) or has_features(other)))


def _same_maker(dataset: Dataset, other: Dataset, array: str) -> bool:
    made = _maker(dataset, array)
    return made is not None and made == _maker(other, array)


def _maker(dataset: Dataset, array: str) -> tuple[str, str, int] | None:
    """Hash of the model that made an array, its space and width; None where no model is named."""
    about = dataset.array_manifest(array)
    model = about.get("model")
    found = about.get("weights_sha256") or (model.get("weights_sha256") if isinstance(model, dict) else None)
    return (str(found), str(about.get("space")), int(about["shape"][1])) if found else None


class Vectors:
    """Hashes, features and arrays in memory, shared by all users, which only read them; the newest four."""

    def __init__(self) -> None:
        """Start without any."""
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str, str], NDArray[np.float32]] = OrderedDict()

    def of(self, dataset: Dataset, kind: str, fitted: Dataset | None = None) -> NDArray[np.float32]:
        """Vectors of all images, N×F.

        Args:
            dataset: the images.
            kind: `PICTURE`, `FEATURES`, or the name of an array.
            fitted: the Dataset whose domain extractor makes features.
        """
        key = (str(dataset.path), kind, "" if fitted is None else str(fitted.path))
        with self._lock:
            if key not in self._kept:
                self._kept[key] = np.asarray(_vectors(dataset, kind, fitted), np.float32)
                while len(self._kept) > 4:
                    self._kept.popitem(last=False)
            return self._kept[key]


def _vectors(dataset: Dataset, kind: str, fitted: Dataset | None) -> NDArray[Any]:
    if kind == PICTURE:
        return image_hashes(dataset)
    if fitted is None:
        return dataset.array(kind)
    extractor = domain_extractor(fitted, first_part(fitted).partition("/")[0])
    found = np.empty((len(dataset), extractor.dim), np.float32)
    for rows in chunks(len(dataset), 1024):
        found[rows] = extractor(dataset.pixels.read(rows))
    return found


def neighbours(
    vectors: Vectors, dataset: Dataset, row: int, kind: str, other: Dataset, allowed: NDArray[np.bool_]
) -> tuple[Ints, NDArray[np.float64]]:
    """The images most like one.

    Args:
        vectors: where hashes and arrays are kept.
        dataset: the Dataset of the image.
        row: its row number.
        kind: one of `shared_kinds`.
        other: where to look: the same Dataset, or one of images of the same size.
        allowed: which of its images may be shown.

    Returns:
        Row numbers in `other`, nearest first, and distances.
    """
    fitted = None
    if kind == FEATURES:
        fitted = dataset if has_features(dataset) else other
    a, b = vectors.of(dataset, kind, fitted), vectors.of(other, kind, fitted)
    places = np.flatnonzero(allowed)
    x = np.concatenate([a[[row]], b[places]])
    found, distances = nearest(x, np.zeros(1, np.int64), NEIGHBOURS + 1)
    rows, apart = places[np.maximum(found[0] - 1, 0)], distances[0]
    fine = (found[0] > 0) & ~((rows == row) if other is dataset else np.zeros(len(rows), bool))
    return rows[fine][:NEIGHBOURS], apart[fine][:NEIGHBOURS]
