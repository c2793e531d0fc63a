"""What a training leaves to look at: metrics.jsonl, TensorBoard events, sample grids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from plenish import settings
from plenish.runs import Run

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class Log:
    """Writes lines of values to metrics.jsonl and TensorBoard; the step is the number of images seen."""

    def __init__(self, run: Run, nimg: int) -> None:
        """Open the log of a Run resumed at `nimg` images; later events are purged."""
        from torch.utils.tensorboard import SummaryWriter

        self._run = run
        folder = run.path / "tensorboard"
        purged = nimg + 1 if nimg else 0
        self._board = SummaryWriter(folder, purge_step=purged) if settings.is_first_process() else None
        self._judged = np.zeros((2, 2), np.int64)

    def write(self, line: Mapping[str, Any]) -> None:
        """Log values, and how the discriminator's right answers divide; `kimg` says when."""
        shares = confusion(line)
        line = {**line, **shares}
        if shares:
            self._judged += confusion_counts(shares, int(line.get("images", 0)))
        self._run.log(**line)
        step = round(1000 * line["kimg"])
        for name, value in line.items():
            if name != "kimg" and self._board is not None:
                self._board.add_scalar(name, value, step)

    def image(self, name: str, pixels: NDArray[np.uint8], nimg: int) -> None:
        """Log a picture, H×W×3 uint8."""
        if self._board is not None:
            self._board.add_image(name, pixels, nimg, dataformats="HWC")

    def confusion(self, nimg: int) -> None:
        """Log a picture of the discriminator's confusion matrix since the last one, in counts and percent."""
        if self._judged.any():
            self.image("confusion of the discriminator", confusion_picture(self._judged), nimg)
            self._judged[:] = 0

    def past(self) -> list[dict[str, Any]]:
        """Lines logged so far."""
        path = self._run.path / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    def close(self) -> None:
        """Flush and close the event file."""
        if self._board is not None:
            self._board.close()


class Means:
    """Means of what steps report, summed on the device so that no step waits for it."""

    def __init__(self) -> None:
        """Start empty."""
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._images = 0
        self._waited = 0.0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one step's scalars; what only some steps report is averaged over those."""
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.detach().clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def count(self, images: int, waited: float) -> None:
        """Count a step's images and the seconds it waited for them."""
        self._images += images
        self._waited += waited

    def take(self, seconds: float) -> dict[str, float]:
        """Means since the last call, with images/s and the share of time spent waiting for data."""
        line = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        line["images"] = self._images
        line["images_per_s"] = self._images / max(seconds, 1e-9)
        line["data_wait"] = self._waited / max(seconds, 1e-9)
        self.__init__()  # type: ignore[misc]
        return line


def sample_grid(pixels: NDArray[np.uint8], columns: int | None = None, gap: int = 2) -> Image:
    """Images N×H×W×C uint8 side by side on white; nearly square unless `columns` is given."""
    from PIL import Image

    n, height, width, channels = pixels.shape
    columns = columns or max(1, round(n**0.5))
    rows = -(-n // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for i, image in enumerate(pixels):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image if channels == 3 else image.repeat(3, 2)
    return Image.fromarray(sheet)


def paired_grid(originals: NDArray[np.uint8], others: NDArray[np.uint8], columns: int = 8) -> Image:
    """Images N×H×W×C uint8, each above its counterpart among the others, in rows of pairs."""
    n, (height, width, channels) = len(originals), originals.shape[1:]
    columns = min(columns, n)
    rows = -(-n // columns)
    sheet = np.full((rows, 2, columns, height, width, channels), 255, np.uint8)
    for i, pair in enumerate(zip(originals, others)):
        sheet[i // columns, :, i % columns] = pair
    return sample_grid(sheet.reshape(-1, height, width, channels), columns)


def spread(pixels: NDArray[np.uint8], y: NDArray[np.float32] | None = None) -> float:
    """How much the images of a set differ: root mean square over pixels of their standard deviation.

    Args:
        pixels: N×H×W×C uint8.
        y: labels N×K; given these, only differences among images of one label count, unless each image has a
            label of its own. A generator that uses nothing but the label has no spread.
    """
    images = pixels.astype(np.float32)
    if y is None:
        return float(np.sqrt(np.var(images, axis=0).mean()))
    _, code = np.unique(y, axis=0, return_inverse=True)
    code = code.ravel()
    if code.max() + 1 == len(code):
        return spread(pixels)
    within = np.concatenate([images[code == c] - images[code == c].mean(0) for c in range(code.max() + 1)])
    return float(np.sqrt(np.square(within).mean()))


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
    from PIL import Image, ImageDraw, ImageFont

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


__all__ = [
    "SHARES",
    "Log",
    "Means",
    "confusion",
    "confusion_counts",
    "confusion_picture",
    "paired_grid",
    "sample_grid",
    "spread",
]
