"""Pictures of a score: the closest pairs of synthetic and training images, and rows of single images."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

PAIRS = 12
_COLUMNS = 4
_CAPTION = 30
_GAP = 14


def pairs_panel(
    synthetic: NDArray[np.uint8],
    neighbours: NDArray[np.uint8],
    scores: NDArray[np.float64],
    threshold: float,
    kind: str,
) -> bytes:
    """PNG of pairs in reading order, four to a row.

    Args:
        synthetic: n×H×W×C uint8.
        neighbours: n×H×W×C uint8, the training image of each.
        scores: copy score of each; written under the pair.
        threshold: pairs with a score below it are suspect and drawn in red.
        kind: what the left images are.
    """
    edge = max(96, synthetic.shape[1])  # small images are enlarged to be seen
    columns = min(_COLUMNS, len(scores))
    width, height = 2 * edge + 4, edge + _CAPTION
    rows = -(-len(scores) // columns)
    sheet = Image.new("RGB", (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP + 20), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=12)
    draw.text((_GAP, 6), f"left: {kind}, right: closest training image", fill="black", font=font)
    for i, score in enumerate(scores):
        x = _GAP + (i % columns) * (width + _GAP)
        y = 20 + _GAP + (i // columns) * (height + _GAP)
        sheet.paste(_picture(synthetic[i], edge), (x, y))
        sheet.paste(_picture(neighbours[i], edge), (x + edge + 4, y))
        colour = "#b00020" if score < threshold else "#333333"
        if score < threshold:
            draw.rectangle((x - 3, y - 3, x + width + 2, y + edge + 2), outline=colour, width=2)
        draw.text((x, y + edge + 4), f"distance {score:.2f}", fill=colour, font=font)
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def rows_panel(rows: Sequence[tuple[str, NDArray[np.uint8]]]) -> bytes:
    """PNG of rows of pictures, each with a title above it.

    Args:
        rows: titles, and n×H×W×C uint8 of each.
    """
    edge = max(96, rows[0][1].shape[1])
    columns = max(len(images) for _, images in rows)
    height = edge + _CAPTION
    sheet = Image.new("RGB", (columns * (edge + 4) + 2 * _GAP, len(rows) * height + _GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=14)
    for r, (title, images) in enumerate(rows):
        draw.text((_GAP, r * height + 8), title, fill="black", font=font)
        for i, image in enumerate(images):
            sheet.paste(_picture(image, edge), (_GAP + i * (edge + 4), r * height + _CAPTION))
    stream = io.BytesIO()
    sheet.save(stream, "PNG")
    return stream.getvalue()


def _picture(pixels: NDArray[np.uint8], edge: int) -> Image.Image:
    flat = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
    return Image.fromarray(flat).convert("RGB").resize((edge, edge), Image.Resampling.NEAREST)
