"""What a training leaves to look at: metrics.jsonl, TensorBoard events, sample grids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from plenish import settings
from plenish.runs import Run

if TYPE_CHECKING:
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

    def write(self, line: Mapping[str, Any]) -> None:
        """Log values; `kimg` says when."""
        self._run.log(**line)
        step = round(1000 * line["kimg"])
        for name, value in line.items():
            if name != "kimg" and self._board is not None:
                self._board.add_scalar(name, value, step)

    def image(self, name: str, pixels: NDArray[np.uint8], nimg: int) -> None:
        """Log a picture, H×W×3 uint8."""
        if self._board is not None:
            self._board.add_image(name, pixels, nimg, dataformats="HWC")

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

    def add(self, values: Mapping[str, Tensor], images: int, waited: float) -> None:
        """Add one step's scalars, its images and the seconds it waited for them.

        What only some steps report is averaged over those.
        """
        self._images += images
        self._waited += waited
        for name, value in values.items():
            self._sums[name] = self._sums[name] + value if name in self._sums else value.detach().clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self, seconds: float) -> dict[str, float]:
        """Means since the last call, with images/s and the share of time spent waiting for data."""
        line = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        line["images"] = self._images
        line["images_per_s"] = self._images / max(seconds, 1e-9)
        line["data_wait"] = self._waited / max(seconds, 1e-9)
        self.__init__()  # type: ignore[misc]
        return line


def sample_grid(pixels: NDArray[np.uint8], columns: int | None = None, gap: int = 2) -> Image.Image:
    """Images N×H×W×C uint8 side by side on white; nearly square unless `columns` is given."""
    n, height, width, channels = pixels.shape
    columns = columns or max(1, round(n**0.5))
    rows = -(-n // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, np.uint8)
    for i, image in enumerate(pixels):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image if channels == 3 else image.repeat(3, 2)
    return Image.fromarray(sheet)


def paired_grid(originals: NDArray[np.uint8], others: NDArray[np.uint8], columns: int = 8) -> Image.Image:
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
