"""Generated images for a browser: single ones, sheets of many, and files to download."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from plenish.studio.browse import as_image, png
from plenish.studio.generators import Generators
from plenish.studio.pages import Reply
from plenish.studio.states import LATENT, State, commands, needs_file, point_of

Pixels = NDArray[np.uint8]
OWN_LATENT = "latent-of-the-image.npy"
"""Name of a downloaded latent, directions added."""
_SHEET_SIDE = 128
"""Images of a sheet are at most so many pixels wide."""


def quick_png(pixels: Pixels) -> bytes:
    """An image H×W×C as a PNG that is made fast rather than small."""
    file = io.BytesIO()
    as_image(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def sheet(images: Pixels, across: int) -> bytes:
    """Images N×H×W×C as one PNG, `across` in a row; larger ones are made smaller."""
    n, high, wide, channels = images.shape
    rows = -(-n // across)
    cells = np.zeros((rows * across, high, wide, channels), np.uint8)
    cells[:n] = images
    whole = cells.reshape(rows, across, high, wide, channels).swapaxes(1, 2)
    picture = as_image(np.ascontiguousarray(whole).reshape(rows * high, across * wide, channels))
    if wide > _SHEET_SIDE:
        picture = picture.resize((across * _SHEET_SIDE, rows * _SHEET_SIDE * high // wide))
    file = io.BytesIO()
    picture.save(file, "PNG", compress_level=1)
    return file.getvalue()


def npy(values: NDArray[np.float32]) -> bytes:
    """Numbers as a .npy file."""
    file = io.BytesIO()
    np.save(file, values)
    return file.getvalue()


def archive(parts: Mapping[str, bytes], name: str) -> Reply:
    """Files as a .zip to download."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for path, content in parts.items():
            made.writestr(path, content)
    return Reply(file.getvalue(), "application/zip", name)


def as_json(value: object) -> Reply:
    """An answer for a page's script."""
    return Reply(json.dumps(value).encode(), "application/json")


def kept_files(
    generators: Generators, states: Sequence[State], names: Sequence[str] = ()
) -> dict[str, bytes]:
    """The files of images to download: picture, latent, the start of its command, and the commands.

    Args:
        generators: the generators.
        states: the images.
        names: of a folder for each; without, there are no folders.
    """
    parts: dict[str, bytes] = {}
    for number, state in enumerate(states):
        folder = f"{names[number]}/" if names else ""
        point = point_of(generators, state)
        parts[f"{folder}image.png"] = png(generators.images(state.space, point)[0])
        parts[folder + OWN_LATENT] = npy(point.values)
        if needs_file(state):
            parts[folder + LATENT] = npy(state.start.values)
        if point.y is not None:
            parts[f"{folder}label.npy"] = npy(point.y)
        said = "\n".join(commands(state)) + "\n"
        parts[f"{folder}commands.txt"] = said.encode()
        parts[f"{folder}state.json"] = json.dumps(state.to_json()).encode()
    return parts
