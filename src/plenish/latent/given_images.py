"""Real images as a generator takes them: files, a folder, an archive, or images of a Dataset by their id."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from plenish import files
from plenish.datasets.archives import is_archive
from plenish.datasets.formats import is_picture
from plenish.datasets.schema import LabelSchema
from plenish.errors import InputError, unknown_id
from plenish.latent.inversion_options import ImageOptions
from plenish.latent.points import Floats
from plenish.latent.sampling import training_manifest
from plenish.latent.space import LatentSpace
from plenish.metrics.prediction_images import opened
from plenish.runs import Run


@dataclasses.dataclass(frozen=True)
class RealImages:
    """Images for a generator's tools.

    Attributes:
        pixels: uint8 N×H×W×C, of the generator's size and channels.
        names: their ids, or the paths of their files.
        y: their labels, N×K, where every image has one that the generator knows; else None.
        about: where they come from, JSON-able.
        pixels_sha256: hash of the pixels.
    """

    pixels: NDArray[np.uint8]
    names: tuple[str, ...]
    y: Floats | None
    about: Mapping[str, Any]
    pixels_sha256: str


@dataclasses.dataclass(frozen=True)
class Taker:
    """A network that takes images, of a Run: their size, channels, and how others are made to fit."""

    size: int
    channels: int
    preparation: Mapping[str, Any]

    @classmethod
    def of_run(cls, run: Run, size: int, channels: int) -> Taker:
        """Images become what the network takes as the import of its training images made them."""
        manifest = training_manifest(run)
        made = {} if manifest is None else manifest.extra.get("import", {})
        return cls(size, channels, {key: made[key] for key in ("fit", "window", "fitting") if key in made})


@dataclasses.dataclass(frozen=True)
class ReadImages:
    """Images that were read, and what is known of them.

    Attributes:
        pixels: uint8 N×H×W×C.
        table: N rows, as in `GivenImages`.
        labels: of the Dataset they are from.
        about: where they come from, JSON-able.
    """

    pixels: NDArray[np.uint8]
    table: pd.DataFrame
    labels: LabelSchema
    about: Mapping[str, Any]


def real_images(space: LatentSpace, paths: Sequence[Path], which: ImageOptions) -> RealImages:
    """Read images for a generator.

    Args:
        space: the generator.
        paths: a Dataset, a folder or archive of images, or image files.
        which: of a Dataset, and whether images of another size are made to fit.

    Raises:
        InputError: nothing can be read, images are of another size and are not to be fitted, they have other
            channels, or the Dataset has no such image.
    """
    run, network = space.loaded.run, space.network
    found = read_images(run, Taker.of_run(run, network.size, network.channels), paths, which)
    names = tuple(str(name) for name in found.table["id"])
    known = list(found.table["label"]) if "label" in found.table and found.labels.names else []
    digest = hashlib.sha256(np.ascontiguousarray(found.pixels).tobytes()).hexdigest()
    return RealImages(found.pixels, names, _labels(space, found.labels, known), found.about, digest)


def read_images(
    run: Run, taker: Taker, paths: Sequence[Path], which: ImageOptions, *, any_colour: bool = False
) -> ReadImages:
    """Read images for the network of a Run; see `real_images`.

    Args:
        run: the Run.
        taker: what its network takes.
        paths: a Dataset, a folder or archive of images, or image files.
        which: of a Dataset, and whether images of another size are made to fit.
        any_colour: make grey images of coloured ones, or the reverse, in place of refusing them.
    """
    if not paths:
        raise InputError("Give images: files, a folder or a Dataset.")
    if not which.fit:
        _check_sizes(paths, taker.size)
    origin = {} if which.ids is not None and which.part is None else run.config["data"]
    with opened(paths, taker, which, origin, "generator", any_colour=any_colour) as given:
        rows = np.arange(len(given.table))
        if which.ids is not None:
            place = {str(name): i for i, name in enumerate(given.table["id"])}
            for name in which.ids:
                if name not in place:
                    raise unknown_id(name, place, str(paths[0]))
            if not which.ids:
                raise InputError("--ids names no image; give at least one id.")
            rows = np.array([place[name] for name in which.ids])
        about = dict(given.about) | {"rejected": len(given.rejected)}
        return ReadImages(given.read(rows), given.table.iloc[rows], given.labels, about)


def _labels(space: LatentSpace, theirs: LabelSchema, known: Sequence[Any]) -> Floats | None:
    """Labels of images as y of the generator: classes that it knows all of, or tags and values of its own."""
    mine = space.labels
    if not known or mine.kind != theirs.kind or mine.kind == "none":
        return None
    if mine.kind == "categorical":
        return mine.encode(known) if set(known) <= set(mine.names) else None
    return mine.encode(known) if mine.names == theirs.names else None


def _check_sizes(paths: Sequence[Path], size: int) -> None:
    """Refuse images of another size, as far as it can be seen without decoding them."""
    for path in paths:
        if (path / "dataset.json").is_file():
            found = files.read_json(path / "dataset.json").get("size")
            _check_size(path, (found, found), size)
        elif path.is_dir():
            _check_sizes(sorted(p for p in path.rglob("*") if p.is_file() and is_picture(p.name)), size)
        elif path.is_file() and is_archive(path):
            raise InputError(f"{path} is an archive, whose images may be of any size; give --fit.")
        elif path.is_file():
            try:
                with Image.open(path) as image:
                    found_size = image.size
            except (OSError, ValueError, Image.DecompressionBombError):
                continue  # What cannot be read is refused, with the reason, when it is decoded.
            _check_size(path, found_size, size)


def _check_size(path: Path, found: tuple[Any, Any], size: int) -> None:
    if found != (size, size):
        raise InputError(
            f"{path} has {found[0]}×{found[1]} px, and the generator makes images of {size}×{size}; "
            "give --fit to bring it to that size as the import of the training images did."
        )
