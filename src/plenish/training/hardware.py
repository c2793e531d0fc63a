"""How fast this machine computes: one convolution over image sizes, and the product of two large matrices."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

IMAGES, FILTERS, KERNEL = 100, 32, 7
WARM_UPS, REPETITIONS = 1, 10
MATRIX = 2048
MIB = 2**20


@dataclasses.dataclass(frozen=True)
class Convolution:
    """Median milliseconds of one convolution over 100 images of `size` pixels; None where not measured."""

    size: int
    cpu_ms: float | None
    gpu_ms: float | None

    @property
    def speed_up(self) -> float | None:
        """How many times faster the GPU is."""
        return self.cpu_ms / self.gpu_ms if self.cpu_ms and self.gpu_ms else None


def memory(field: str) -> int | None:
    """A field of /proc/meminfo in bytes, or None where the system has no such file."""
    with contextlib.suppress(OSError):
        if line := re.search(
            rf"^{field}:\s*(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"), re.M
        ):
            return int(line.group(1)) * 1024
    return None


def median_seconds(
    action: Callable[[], object], finish: Callable[[], None] = lambda: None, *, repetitions: int = REPETITIONS
) -> float:
    """Median seconds of `action` after one warm-up; `finish` waits for a device that works on its own."""
    for _ in range(WARM_UPS):
        action()
    finish()
    seconds = []
    for _ in range(repetitions):
        start = time.perf_counter()
        action()
        finish()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _waiter(device: torch.device) -> Callable[[], None]:
    import torch

    if device.type == "cuda":
        return lambda: torch.cuda.synchronize(device)
    return torch.mps.synchronize if device.type == "mps" else lambda: None


def time_convolution(size: int, gpu: torch.device | None, remarks: list[str]) -> Convolution:
    """Time 32 filters 7×7 over 100 random RGB images of `size` pixels, float32, on the CPU and on `gpu`.

    A size whose output does not fit the memory is left out, and `remarks` says so.
    """
    import torch

    needed = IMAGES * 4 * (3 * size**2 + 2 * FILTERS * (size - KERNEL + 1) ** 2)
    free = memory("MemAvailable")
    if free is not None and needed > 0.8 * free:
        remarks.append(f"Size {size} needs {needed / MIB:,.0f} MiB of memory and was left out on the CPU.")
        return Convolution(size, None, _one(size, gpu, remarks) if gpu else None)
    return Convolution(
        size, _one(size, torch.device("cpu"), remarks), _one(size, gpu, remarks) if gpu else None
    )


def _one(size: int, device: torch.device, remarks: list[str]) -> float | None:
    import torch

    try:
        with torch.inference_mode():
            images = torch.rand(IMAGES, 3, size, size, device=device)
            layer = torch.nn.Conv2d(3, FILTERS, KERNEL).to(device)
            return 1000 * median_seconds(lambda: layer(images), _waiter(device))
    except (torch.OutOfMemoryError, MemoryError):
        remarks.append(f"Size {size} does not fit the memory of {device} and was left out there.")
        return None


def matrix_rates(devices: Sequence[torch.device]) -> dict[str, float]:
    """GFLOP/s of a product of two 2048×2048 matrices, median of ten, per device and precision.

    bfloat16 is measured only where the hardware computes it.
    """
    import torch

    from plenish.training.engine import native_bfloat16

    rates = {}
    for device in devices:
        types = [torch.float32, *([torch.bfloat16] if native_bfloat16(device) else [])]
        for dtype in types:
            left, right = (torch.randn(MATRIX, MATRIX, device=device).to(dtype) for _ in range(2))
            seconds = median_seconds(partial(torch.matmul, left, right), _waiter(device))
            rates[f"{device.type} {str(dtype).removeprefix('torch.')}"] = 2 * MATRIX**3 / seconds / 1e9
    return rates


def draw(rows: Sequence[Convolution], path: Path) -> None:
    """Draw the benchmark over image sizes into a PNG file."""
    from matplotlib.figure import Figure

    from plenish import files

    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for key, label, colour, style in (
        ("cpu_ms", "CPU", "#0072b2", "o-"),
        ("gpu_ms", "GPU", "#d55e00", "s--"),
    ):
        points = [(row.size, getattr(row, key)) for row in rows if getattr(row, key) is not None]
        if points:
            axes.plot(*zip(*points), style, color=colour, label=label)
    axes.set(xlabel="image size, pixels", ylabel="milliseconds for 100 images", yscale="log")
    axes.set_title(f"Convolution, {FILTERS} filters {KERNEL}×{KERNEL}, median of {REPETITIONS}", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with files.reporting_disk(path):
        figure.savefig(path, format="png")
