"""Images from outside: rows of a Dataset, a folder, an archive or files, as a trained network takes them."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.archives import is_archive
from plenish.datasets.dataset import Dataset
from plenish.datasets.decoding import Decoder, Task
from plenish.datasets.fitting import Fitting
from plenish.datasets.images import FULL_WINDOW, MAX_PIXELS, Shape, Window, fit_array
from plenish.datasets.importing import import_dataset
from plenish.datasets.rejections import Rejection
from plenish.datasets.schema import LabelSchema, Part
from plenish.datasets.synthetic import generator_of
from plenish.errors import InputError
from plenish.metrics.origin import check_origin
from plenish.progress import say, warn
from plenish.wording import agree


class Chosen(Protocol):
    """Which images of a Dataset.

    Attributes:
        part: train, val or test; None for all.
        split: the split that has the part; empty for the network's own.
    """

    @property
    def part(self) -> Part | None: ...  # noqa: D102
    @property
    def split(self) -> str: ...  # noqa: D102


class Taker(Protocol):
    """A trained network that takes images, such as a Classifier.

    Attributes:
        size: height and width of its images.
        channels: of its images.
        preparation: how images became what it takes: `fit` and `window` of the import.
    """

    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def channels(self) -> int: ...  # noqa: D102
    @property
    def preparation(self) -> Mapping[str, Any]: ...  # noqa: D102


@dataclasses.dataclass(frozen=True)
class GivenImages:
    """Images that a network is to see.

    Attributes:
        read: positions → images uint8 n×H×W×C, as the network takes them.
        table: N rows: `id`, and where known `label`, `group` and all other columns.
        labels: their labels.
        rejected: files that could not be read: `source`, `reason` and `kind`.
        about: where they come from, for the record.
    """

    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]]
    table: pd.DataFrame
    labels: LabelSchema
    rejected: Sequence[Mapping[str, str]]
    about: dict[str, Any]


@contextlib.contextmanager
def opened(
    paths: Sequence[Path], model: Taker, config: Chosen, origin: Mapping[str, Any],
    what: str = "classifier", *, any_colour: bool = False,
) -> Iterator[GivenImages]:  # fmt: skip
    """Open what a network is to see.

    Args:
        paths: a Dataset, a folder or archive of images, or image files.
        model: what takes them; says their size, channels and how they are made to fit.
        config: which part of a Dataset.
        origin: provenance of the Dataset and split that the network was trained on.
        what: what it is, for messages.
        any_colour: make grey images of coloured ones, or the reverse, in place of refusing them.

    Raises:
        InputError: nothing can be read, it has other channels, or it is the Dataset of the training with
            another table of labels and groups or another split than the training's.
    """
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise InputError(f"{missing[0]} does not exist; images are files, a folder, an archive or a Dataset.")
    whole = [path for path in paths if path.is_dir() or is_archive(path)]
    if whole and len(paths) > 1:
        raise InputError(f"{whole[0]} must be given by itself, without other images.")
    if not whole:
        yield _files(paths, model, what, any_colour)
    elif (whole[0] / "dataset.json").is_file():
        yield _dataset(Dataset.open(whole[0]), model, config, origin, what, any_colour)
    else:
        with tempfile.TemporaryDirectory(prefix="plenish-") as scratch:
            shape = shape_of(model)
            made = import_dataset(
                whole[0], Path(scratch) / "images", model.size, fit=shape.fit,
                fitting=shape.fitting, window=_words(shape.window), keep_split=False,
            )  # fmt: skip
            given = _dataset(made.dataset, model, config, {}, what, any_colour, whole[0])
            rejected = _rejected(made.dataset)
            yield dataclasses.replace(given, rejected=rejected, about=_about(whole[0], "folder"))


def shape_of(model: Taker) -> Shape:
    """What every image becomes: as the import of the training images made it."""
    kept = model.preparation
    window = Window(**kept["window"]) if "window" in kept else FULL_WINDOW
    fitting = Fitting(**kept.get("fitting", {}))
    return Shape(model.size, model.channels, kept.get("fit", "crop"), window, fitting=fitting)


def _words(window: Window) -> tuple[str, ...]:
    if window == FULL_WINDOW:
        return ()
    return ("percentile",) if window.percentile else (str(window.low), str(window.high))


def _check_channels(channels: int, model: Taker, where: Path, what: str) -> None:
    if channels != model.channels:
        kinds = {1: "grey (one channel)", 3: "in colour (three channels)"}
        raise InputError(
            f"The images of {where} are {kinds[channels]}, and the {what} was trained on images that are "
            f"{kinds[model.channels]}; give such images, or train one on images like these."
        )


def _dataset(
    data: Dataset, model: Taker, config: Chosen, origin: Mapping[str, Any], what: str, any_colour: bool,
    where: Path | None = None,
) -> GivenImages:  # fmt: skip
    if not any_colour:
        _check_channels(data.channels, model, where or data.path, what)
    split, is_trained_on = None, data.manifest.pixels_hash == origin.get("pixels_hash")
    if config.part is not None:
        split = config.split or (str(origin["split_name"]) if is_trained_on else "default")
        if is_trained_on:
            check_origin(origin, data, split, f"The {what}")
        rows = data.part(config.part, split, purpose="score").rows
    elif is_trained_on:
        raise InputError(
            f"{data.path} has the images that the {what} was trained on; say which to take: --part test, val "
            "or train."
        )
    else:
        rows = np.arange(len(data), dtype=np.int64)
        data.record_read("score")
    shape, pixels = shape_of(model), data.pixels
    if data.size != model.size:
        say(f"Images of {data.size} px are resized to the {what}'s {model.size} px, as by the import.")

    def read(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        found = pixels.read(rows[index])
        if (data.size, data.channels) == (model.size, model.channels):
            return found
        return np.stack([fit_array(image, shape).pixels for image in found])

    about = _about(data.path, "Dataset") | {
        "name": data.name, "part": config.part, "split": split,
        "synthetic": data.is_synthetic, "phantom": bool(data.manifest.extra.get("phantom")),
        "pixels_hash": data.manifest.pixels_hash,
    }  # fmt: skip
    if latents := generator_of(data.manifest.extra).get("latents_sha256"):
        about["latents"] = latents
    return GivenImages(read, data.table.iloc[rows].reset_index(drop=True), data.labels, (), about)


def _files(paths: Sequence[Path], model: Taker, what: str, any_colour: bool) -> GivenImages:
    """Image files, which are read at once."""
    shape = shape_of(model)
    root = Path(paths[0].resolve().anchor)
    refs = [str(path.resolve().relative_to(root)) for path in paths]
    with Decoder(str(root), shape) as decoder:
        found = decoder.decode(Task(refs))
        kept = [not isinstance(item, Rejection) for item in found.items]
        grey = all(decoder.is_grey(ref, MAX_PIXELS) for ref, there in zip(refs, kept, strict=True) if there)
    rejected = [
        {"source": files.printable(str(path)), "reason": str(item), "kind": item.code}
        for item, path in zip(found.items, paths, strict=True) if isinstance(item, Rejection)
    ]  # fmt: skip
    names = [files.printable(str(path)) for path, there in zip(paths, kept, strict=True) if there]
    if not names:
        raise InputError(f"No file can be read; {rejected[0]['source']}: {rejected[0]['reason']}.")
    if not any_colour:
        _check_channels(1 if grey else 3, model, paths[0], what)
    if rejected:
        left = agree(len(rejected), "file", "is", "are")
        warn(f"{left} left out; the first, {rejected[0]['source']}: {rejected[0]['reason']}.")
    say(f"{agree(len(names), 'image', 'becomes', 'become')} {model.size} px ({shape.fit}), as by the import.")
    table = pd.DataFrame({"id": names})
    return GivenImages(found.pixels.__getitem__, table, LabelSchema(), rejected, _about(paths[0], "files"))


def _rejected(data: Dataset) -> list[dict[str, str]]:
    path = data.path / "rejected.csv"
    table = pd.read_csv(path, dtype=str) if path.is_file() else pd.DataFrame()
    return [{str(key): str(value) for key, value in row.items()} for _, row in table.iterrows()]


def _about(path: Path, kind: str) -> dict[str, Any]:
    facts = {"path": str(path.resolve()), "kind": kind, "name": path.name}
    return {**facts, "part": None, "split": None, "phantom": False}
