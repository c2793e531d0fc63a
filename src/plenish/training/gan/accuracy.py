"""How often the discriminator takes real and synthetic images for what they are: its confusion matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SHARES = (("real_as_real", "real_as_fake"), ("fake_as_real", "fake_as_fake"))
"""The discriminator's confusion matrix: rows are what images are, columns what they are taken for."""


def confusion(line: Mapping[str, Any]) -> dict[str, float]:
    """The confusion matrix as shares of the real and of the synthetic images, from the accuracies logged."""
    if "d_accuracy_real" not in line or "d_accuracy_fake" not in line:
        return {}
    real, fake = line["d_accuracy_real"], line["d_accuracy_fake"]
    return {"real_as_real": real, "real_as_fake": 1 - real, "fake_as_fake": fake, "fake_as_real": 1 - fake}


def confusion_counts(shares: Mapping[str, float], images: int) -> NDArray[np.int64]:
    """The confusion matrix as counts, where as many synthetic images as real ones were judged.

    Returns:
        2×2, arranged like SHARES.
    """
    return np.array([[round(images * shares[name]) for name in row] for row in SHARES], np.int64)


def confusion_picture(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A confusion matrix as a small picture: counts and percentages of each row, darker where there are more.

    Args:
        counts: 2×2, arranged like SHARES.

    Returns:
        H×W×3 uint8.
    """
    cell, left, top = 110, 90, 44
    sheet = Image.new("RGB", (left + 2 * cell, top + 2 * cell), "white")
    draw, small, large = ImageDraw.Draw(sheet), ImageFont.load_default(14), ImageFont.load_default(20)
    for i, word in enumerate(("real", "synthetic")):
        draw.text(
            (left + (i + 0.5) * cell, top / 2), f"taken for\n{word}", "black", small, "mm", align="center"
        )
        draw.text((left / 2, top + (i + 0.5) * cell), f"{word}\nimages", "black", small, "mm", align="center")
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            share = count / max(row.sum(), 1)
            x, y = left + j * cell, top + i * cell
            shade = round(255 - 200 * share)
            draw.rectangle((x, y, x + cell - 3, y + cell - 3), (shade, round(255 - 110 * share), 255))
            ink = "white" if share > 0.6 else "black"
            draw.text((x + cell / 2, y + cell / 2 - 12), f"{count:,}", ink, large, "mm")
            draw.text((x + cell / 2, y + cell / 2 + 14), f"{share:.1%}", ink, small, "mm")
    return np.asarray(sheet)
