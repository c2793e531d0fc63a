"""What a training leaves to look at: metrics.jsonl, TensorBoard events, sample grids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from plenish.runs import Run

if TYPE_CHECKING:
    from PIL.Image import Image


class Log:
    """Writes lines of values to metrics.jsonl and TensorBoard; the step is the number of images seen."""

    def __init__(self, run: Run, nimg: int) -> None:
        """Open the log of a Run that goes on after `nimg` images; later events are purged."""
        from torch.utils.tensorboard import SummaryWriter

        self._run = run
        self._board = SummaryWriter(run.path / "tensorboard", purge_step=nimg + 1 if nimg else 0)

    def write(self, line: Mapping[str, Any]) -> None:
        """Log values; `kimg` says when."""
        self._run.log(**line)
        step = round(1000 * line["kimg"])
        for name, value in line.items():
            if name != "kimg":
                self._board.add_scalar(name, value, step)

    def image(self, name: str, pixels: NDArray[np.uint8], nimg: int) -> None:
        """Log a picture, H×W×3 uint8."""
        self._board.add_image(name, pixels, nimg, dataformats="HWC")

    def past(self) -> list[dict[str, Any]]:
        """Lines logged so far."""
        table = self._run.metrics()
        return [{str(k): v for k, v in row.dropna().items()} for _, row in table.tail(200).iterrows()]

    def close(self) -> None:
        """Flush and close the event file."""
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


def spread(pixels: NDArray[np.uint8]) -> float:
    """How much the images of a set differ: root mean square over pixels of their standard deviation."""
    return float(np.sqrt(np.var(pixels.astype(np.float32), axis=0).mean()))


__all__ = ["Log", "Means", "sample_grid", "spread"]
