"""A picture of some images of a Dataset, a row for each class or other value."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from plenish.errors import InputError

MOST_ROWS = 12
"""Values that get a row; the others are left out."""
_GAP = 4
_TILE = 96
"""About how many pixels an image is wide; small ones are enlarged by a whole factor."""
_LETTERS = 14


def draw_rows(
    values: Sequence[Any] | None, rows: NDArray[np.int64], n: int, seed: int, order: Sequence[str] = ()
) -> list[tuple[str, NDArray[np.int64]]]:
    """Which images are shown: n drawn of each value, in the order of rows.

    Args:
        values: a value or a list of them for each of `rows`; None for one row of images of all.
        rows: row numbers to choose from.
        n: images of each value.
        seed: of the choice.
        order: of the values; by default they are sorted.

    Returns:
        Each value as text, with row numbers.

    Raises:
        InputError: n is less than 1.
    """
    if n < 1:
        raise InputError(f"n must be at least 1, not {n}.")
    rng = np.random.default_rng(seed)
    if values is None:
        return [("", rows[np.sort(rng.permutation(len(rows))[:n])])]
    long = pd.Series(list(values), dtype=object).explode().dropna().map(str)
    places = long.groupby(long.to_numpy(), sort=False).indices
    found = []
    for value in ([name for name in order if name in places] or sorted(map(str, places)))[:MOST_ROWS]:
        members = long.index[places[value]].to_numpy()
        found.append((value, rows[np.sort(rng.permutation(members)[:n])]))
    return found


def sheet(
    read: Callable[[NDArray[np.int64]], NDArray[np.uint8]], size: int,
    chosen: Sequence[tuple[str, NDArray[np.int64]]], framed: Callable[[int], bool] = lambda _: False,
) -> Image.Image:  # fmt: skip
    """Images in rows, each below its name, on white.

    Args:
        read: row numbers → images N×H×W×C.
        size: their height and width, pixels.
        chosen: names and row numbers, as `draw_rows` gives them.
        framed: whether the image of a row number gets a red frame.
    """
    factor = max(1, round(_TILE / size))
    side = size * factor
    head = [(_LETTERS + 6) * bool(name) for name, _ in chosen]
    longest = max((len(rows) for _, rows in chosen), default=0)
    area = max(1, longest * (side + _GAP) - _GAP), max(1, sum(h + side + _GAP for h in head) - _GAP)
    canvas = Image.new("RGB", area, "white")
    draw, font, top = ImageDraw.Draw(canvas), ImageFont.load_default(_LETTERS), 0
    for (name, rows), high in zip(chosen, head, strict=True):
        if name:
            draw.text((0, top), name, fill="black", font=font)
        for i, (row, image) in enumerate(zip(rows, read(rows), strict=True)):
            one = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).convert("RGB")
            one = one.resize((side, side), Image.Resampling.NEAREST)
            canvas.paste(one, (i * (side + _GAP), top + high))
            if framed(int(row)):
                left, low = i * (side + _GAP), top + high
                corners = (left - 1, low - 1, left + side, low + side)
                draw.rectangle(corners, outline="red", width=_GAP)
        top += high + side + _GAP
    return canvas


def png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
