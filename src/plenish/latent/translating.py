"""Pictures made of sketches by a trained translation: read, translated, and written with a contact sheet."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from plenish import files, invocation
from plenish.datasets.show import png
from plenish.errors import InputError
from plenish.latent.given_images import Taker, read_images
from plenish.latent.inversion_options import ImageOptions
from plenish.latent.render import Row, figure
from plenish.progress import progress, say, warn
from plenish.training.translation_model import LoadedTranslator
from plenish.wording import plural

Pixels = NDArray[np.uint8]
PICTURE, PICTURES, RECORD = "picture.png", "pictures", "translation.json"
SHOWN = 12
"""Pictures in the contact sheet, at most."""
_NEAR_PAPER, _LEAST_PAPER = 40, 0.5
"""Grey levels by which paper may be darker than its brightest places, and the share of an image it fills."""
_INK, _LEAST_CONTRAST = 1, 32
"""The percentile of grey levels that is ink, and the least difference between paper and ink."""


@dataclasses.dataclass(frozen=True)
class Translated:
    """Pictures that were made of others.

    Attributes:
        path: their folder.
        facts: the record, `translation.json`.
    """

    path: Path
    facts: Mapping[str, Any]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "pictures": str(self.path / PICTURES), "images": len(self.facts["names"]),
            "draws": self.facts["draws"], "contact_sheet": str(self.path / PICTURE),
            "checkpoint": self.facts["model"]["checkpoint"],
        }  # fmt: skip


def translate_images(
    model: LoadedTranslator, paths: Sequence[Path], out: Path, which: ImageOptions, *,
    sketch: bool = False, draws: int | None = None, seed: int = 0,
) -> Translated:  # fmt: skip
    """Make pictures of images and write them.

    Args:
        model: the translation.
        paths: a Dataset, a folder or archive of images, or image files.
        out: the folder to write; must not exist.
        which: of a Dataset, and whether images of another size are made to fit.
        sketch: the images are pictures, of which sketches are made first.
        draws: pictures of each, with dropout drawn for each; None for one without dropout.
        seed: of the dropout; what an image becomes depends on it and the image's name alone.

    Raises:
        InputError: images cannot be read or do not fit, or OUT exists.
    """
    config = model.network.config
    channels = config.channels if sketch else config.inputs
    taker = Taker.of_run(model.run, config.size, channels)
    read = read_images(model.run, taker, paths, which, any_colour=True)
    # Ids of files in a folder or archive are numbers that nobody gave them.
    column = "source" if read.about["kind"] == "folder" else "id"
    names = [str(name) for name in read.table[column]]
    if sketch:
        given = model.sketches(read.pixels)
    else:
        _warn_of_no_sketches(read.pixels)
        given = on_white(read.pixels)
    with progress("translating", len(names)) as bar:
        made = [model.translate(given)] if draws is None else _drawn(model, given, names, draws, seed)
        bar.advance(len(names))
    record: dict[str, Any] = {
        "command": invocation.record(), "model": model.provenance(), "images": dict(read.about),
        "names": names, "sketch": sketch, "draws": draws, "seed": seed,
    }  # fmt: skip
    with files.atomic_dir(out, {key: value for key, value in record.items() if key != "command"}) as folder:
        record["files"] = _write(folder / PICTURES, names, made)
        rows = [Row("given", read.pixels[:SHOWN], [Path(name).stem for name in names[:SHOWN]])]
        rows += [Row("sketch", given[:SHOWN])] if sketch else []
        titles = ["made"] if draws is None else [f"draw {i + 1}" for i in range(draws)]
        rows += [Row(title, one[:SHOWN]) for title, one in zip(titles, made, strict=True)][:SHOWN]
        files.write_bytes(folder / PICTURE, png(figure(rows)))
        files.write_record(folder / RECORD, record)
    if len(names) > SHOWN:
        say(f"{PICTURE} shows the first {SHOWN} of {len(names)} images; {PICTURES}/ has all.")
    return Translated(out, record)


def _drawn(
    model: LoadedTranslator, given: Pixels, names: Sequence[str], draws: int, seed: int
) -> list[Pixels]:
    """Each draw of all images, uint8 N×H×W×C."""
    pairs = zip(given, names, strict=True)
    return list(np.stack([model.draws(one, draws, seed, "translate", name) for one, name in pairs], 1))


def on_white(given: Pixels) -> Pixels:
    """Sketches uint8 N×H×W×1 with the grey of their paper, the median, as white and of the ink as black.

    Scans and pencils become like the sketches of the training, which stay as they are.
    """
    flat = given.reshape(len(given), -1)
    paper = np.median(flat, axis=1)[:, None, None, None]
    ink = np.percentile(flat, _INK, axis=1)[:, None, None, None]
    ink = np.where(paper - ink < _LEAST_CONTRAST, 0, ink)  # Nothing is drawn, or in a few pixels.
    levels = (given - ink) * (255 / np.maximum(paper - ink, 1))
    return np.asarray(np.rint(levels.clip(0, 255)), np.uint8)


def _warn_of_no_sketches(given: Pixels) -> None:
    bright = np.percentile(given, 95, axis=(1, 2, 3), keepdims=True)
    paper = (given >= bright - _NEAR_PAPER).mean(axis=(1, 2, 3))
    if dark := int((paper < _LEAST_PAPER).sum()):
        warn(
            f"{dark} of {plural(len(given), 'image')} show little paper; sketches are dark lines on white. "
            "Of pictures, --sketch makes sketches first."
        )


def _write(folder: Path, names: Sequence[str], made: Sequence[Pixels]) -> list[str]:
    """Write PNG files, one an image and draw, named as the images; returns their names."""
    folder.mkdir()
    stems = [Path(name).stem for name in names]
    twice = {stem for stem, n in collections.Counter(stem.casefold() for stem in stems).items() if n > 1}
    digits = len(str(len(names)))
    written = []
    for i, stem in enumerate(stems):
        whole = f"{i:0{digits}d}-{stem}" if stem.casefold() in twice else stem
        for number, pictures in enumerate(made, 1):
            name = f"{whole}.png" if len(made) == 1 else f"{whole}-{number}.png"
            one = pictures[i]
            image = Image.fromarray(one[..., 0] if one.shape[2] == 1 else one)
            files.write_bytes(folder / name, png(image))
            written.append(name)
    if len(set(written)) < len(written):  # A name may be what another becomes by its number.
        raise InputError("Two images would be written under one name; give them other names.")
    return written
