"""`plenish import --preview`: some pictures of a source as every fit makes them, side by side."""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from plenish import files
from plenish.configuration import check_bounds
from plenish.datasets.decoding import Decoder, Task
from plenish.datasets.fitting import PLAIN, Fit, Fitting
from plenish.datasets.images import Shape
from plenish.datasets.rejections import Rejection
from plenish.datasets.sources import SourceOptions, recognise
from plenish.datasets.sources.listing import AS_FOUND, Listing
from plenish.errors import InputError

_TILE, _GAP, _HEADER, _TEXT = 128, 6, 22, 13  # pixels
_MOST = 64
_INK, _PAPER, _MISSING = (28, 39, 51), (255, 255, 255), (223, 228, 232)
_SHEET = (240, 242, 244)  # Behind the pictures, so that white bands and white backgrounds can be seen.


@dataclasses.dataclass(frozen=True)
class Preview:
    """What `plenish import --preview` drew.

    Attributes:
        path: the figure.
        fits: names of its columns.
        rows: names of the images.
    """

    path: Path
    fits: tuple[str, ...]
    rows: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """The facts a person wants first; JSON-able."""
        return {"figure": str(self.path), "columns": list(self.fits), "images": list(self.rows)}


def columns_of(fitting: Fitting = PLAIN) -> dict[str, tuple[Fit, Fitting]]:
    """The fits that are shown, by name.

    Args:
        fitting: of which the detector, if there is one, is shown too; fills and places have columns of their
            own.
    """
    found: dict[str, tuple[Fit, Fitting]] = {
        "crop": ("crop", PLAIN), "crop: energy": ("crop", Fitting(crop_at="energy")),
        "crop: saliency": ("crop", Fitting(crop_at="saliency")),
        f"pad: {fitting.pad_with}": ("pad", dataclasses.replace(PLAIN, pad_with=fitting.pad_with)),
        "pad: edge": ("pad", Fitting(pad_with="edge")), "pad: reflect": ("pad", Fitting(pad_with="reflect")),
        "stretch": ("stretch", PLAIN), "bands off, crop": ("crop", Fitting(trim_bands=True)),
    }  # fmt: skip
    if fitting.detector is not None:
        how = Fitting(detector=fitting.detector, detector_margin=fitting.detector_margin, undetected="reject")
        found[fitting.detector] = ("crop", how)
    return found


def preview_import(
    source: Path, figure: Path, size: int = 64, *, images: int = 8, seed: int = 0,
    channels: Literal[1, 3] = 3, fitting: Fitting = PLAIN, reading: SourceOptions = AS_FOUND,
) -> Preview:  # fmt: skip
    """Draw some images of a source as every fit makes them, before anything is imported.

    A row is one image, the first column the whole of it; the others are crops, pads, stretched, with its
    bands cut off, and where a detector is named what that finds, all at the size asked for and enlarged
    without smoothing. Images that cannot be read are left out.

    Args:
        source: the folder or file.
        figure: the PNG to write; must not exist.
        size: height and width of every image, pixels.
        images: how many are drawn at random.
        seed: of that draw.
        channels: 1 (grey) or 3 (RGB).
        fitting: a colour of --pad-with and a detector to show.
        reading: what folders, tables and cells mean, where their names do not say it.

    Raises:
        InputError: the source cannot be used, no image can be read, or the figure exists.
    """
    if figure.suffix.lower() != ".png":
        raise InputError(f"{figure} is not named as a PNG file; give a name that ends in .png.")
    files.refuse_existing(figure)
    check_bounds("--size", size, {"least": 1, "most": 1024})
    check_bounds("--images", images, {"least": 1, "most": _MOST})
    fitting.check("pad" if fitting.pad_with != PLAIN.pad_with else "crop")
    with tempfile.TemporaryDirectory(prefix="plenish-") as scratch:
        listing = recognise(source, reading, Path(scratch))
        rows = np.sort(np.random.default_rng(seed).permutation(len(listing))[:images])
        tasks = [_task(listing, int(row)) for row in rows]
        whole = Shape(_TILE, channels, "pad", fitting=Fitting(pad_with="#" + bytes(_SHEET).hex()))
        shapes = {"original": whole} | {
            name: Shape(size, channels, fit, fitting=how) for name, (fit, how) in columns_of(fitting).items()
        }
        made = {name: _decoded(listing.root, shape, tasks) for name, shape in shapes.items()}
    shown = [i for i, one in enumerate(made["original"]) if one is not None]
    if not shown:
        raise InputError(f"None of {len(rows)} images drawn from {source} can be read; import it to see why.")
    names = [files.printable(tasks[i].refs[0]) for i in shown]
    drawn = draw(names, {name: [column[i] for i in shown] for name, column in made.items()})
    with files.atomic_file(figure) as file:
        drawn.save(file, "PNG", compress_level=6)
    return Preview(figure, tuple(made), tuple(names))


def draw(rows: Sequence[str], columns: Mapping[str, Sequence[NDArray[np.uint8] | None]]) -> Image.Image:
    """A table of pictures with a title over each column and a name under each row.

    Args:
        rows: names of the rows.
        columns: by title, for each row size×size×C uint8, or None for an empty field.
    """
    font = ImageFont.load_default(_TEXT)
    width = len(columns) * (_TILE + _GAP) + _GAP
    high = _TILE + _GAP + _HEADER
    sheet = Image.new("RGB", (width, _HEADER + len(rows) * high + _GAP), _SHEET)
    pen = ImageDraw.Draw(sheet)
    for number, (title, pictures) in enumerate(columns.items()):
        left = _GAP + number * (_TILE + _GAP)
        pen.text((left + _TILE / 2, _HEADER / 2), title, _INK, font, anchor="mm")
        for i, picture in enumerate(pictures):
            top = _HEADER + i * high
            if picture is None:
                pen.rectangle((left, top, left + _TILE - 1, top + _TILE - 1), outline=_MISSING)
                pen.text((left + _TILE / 2, top + _TILE / 2), "nothing found", _INK, font, anchor="mm")
            else:
                sheet.paste(_enlarged(picture), (left, top))
    for i, name in enumerate(rows):
        text = name if len(name) <= 80 else f"…{name[-79:]}"
        pen.text((_GAP, _HEADER + i * high + _TILE + _HEADER / 2), text, _INK, font, anchor="lm")
    return sheet


def _enlarged(picture: NDArray[np.uint8]) -> Image.Image:
    image = Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).convert("RGB")
    return image.resize(
        (_TILE, _TILE), Image.Resampling.BOX if image.width > _TILE else Image.Resampling.NEAREST
    )


def _task(listing: Listing, row: int) -> Task:
    """The work of reading one image."""
    if listing.blocks is None:
        frames = None if listing.frames is None else [listing.frames[row]]
        return Task([listing.refs[row]], frames=frames)
    block = next(iter(itertools.islice(listing.blocks(row), 1)))
    return Task([listing.refs[row]], block[:1])


def _decoded(root: str, shape: Shape, tasks: Sequence[Task]) -> list[NDArray[np.uint8] | None]:
    """Each image, or None where it was rejected."""
    with Decoder(root, shape) as decoder:
        results = [decoder.decode(task) for task in tasks]
    return [None if isinstance(result.items[0], Rejection) else result.pixels[0] for result in results]
