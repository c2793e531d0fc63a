"""What this machine has and how fast it computes: a convolution over image sizes, the product of matrices."""

from __future__ import annotations

import os
import platform
import statistics
import time
import timeit
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from plenish import files
from plenish.progress import warn
from plenish.training.engine import Engine, native_bfloat16, system_field
from plenish.wording import plural

CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")
IMAGES, FILTERS, KERNEL = 100, 32, 7
REPETITIONS = 10
MATRIX = 2048
MIB = 2**20
_CPU = torch.device("cpu")
_BUSY = 4.0
"""Jobs that wait or run for each core, above which threads wait for each other most of the time."""


def memory(field: str, file: str = "meminfo") -> int | None:
    """A field of /proc/meminfo, or of another such file, in bytes; None where the system has no such file."""
    amount = system_field(file, field).removesuffix(" kB")
    return int(amount) * 1024 if amount else None


def describe_cpu() -> dict[str, Any]:
    """Model, cores this process may use, torch's threads, vector instructions and memory of the CPU."""
    model = system_field("cpuinfo", "model name") or platform.processor() or platform.machine()
    flags = (system_field("cpuinfo", "flags") or system_field("cpuinfo", "Features")).split()
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "model": model, "cores": usable, "threads": torch.get_num_threads(),
        "instructions": [flag for flag in CPU_FLAGS if flag in flags],
        "memory_gib": round(total / 2**30, 1) if (total := memory("MemTotal")) else None,
        "memory_free_gib": round(free / 2**30, 1) if (free := memory("MemAvailable")) else None,
    }  # fmt: skip


def warn_of_other_work(engine: Engine) -> None:
    """Say how to train beside much other work, where several threads would wait for each other."""
    threads, load = torch.get_num_threads(), os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    cores = os.cpu_count() or 1
    if engine.device.type == "cpu" and threads > 1 and load > _BUSY * cores:
        warn(
            f"this machine is busy (load {load:.0f} on {plural(cores, 'core')}), and {threads} threads wait "
            "for each other; --threads 1 may be faster."
        )


def list_gpus() -> list[dict[str, Any]]:
    """CUDA devices with their memory, or Apple's MPS; empty where there is none."""
    devices = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    found: list[dict[str, Any]] = [
        {
            "device": f"cuda:{i}", "name": about.name, "memory_gib": round(about.total_memory / 2**30, 1),
            "compute": f"{about.major}.{about.minor}",
        } for i, about in enumerate(devices)
    ]  # fmt: skip
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU", "memory_gib": None, "compute": None})
    return found


def beside_cpu(device: torch.device) -> torch.device | None:
    """The device if it is no CPU, else a GPU that is here; or None."""
    if device.type != "cpu":
        return device
    return torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None


def median_seconds(
    action: Callable[[], object], device: torch.device = _CPU, *, repetitions: int = REPETITIONS
) -> float:
    """Median seconds of `action` on a device, which is waited for, after one warm-up."""

    def finished() -> None:
        action()
        Engine(device, "float32").synchronize()

    finished()
    return statistics.median(timeit.repeat(finished, timer=time.perf_counter, repeat=repetitions, number=1))


def time_convolution(size: int, gpu: torch.device | None, remarks: list[str]) -> dict[str, Any]:
    """Time 32 filters 7×7 over 100 random RGB images of `size` pixels, float32, on the CPU and on `gpu`.

    A size whose output does not fit the memory is left out, and `remarks` says so.

    Returns:
        `size`, median milliseconds `cpu_ms` and `gpu_ms`, and how many times faster the GPU is, `speed_up`;
        None where not measured.
    """
    needed = IMAGES * 4 * (3 * size**2 + 2 * FILTERS * (size - KERNEL + 1) ** 2)
    free = memory("MemAvailable")
    fits = free is None or needed <= 0.8 * free
    if not fits:
        remarks.append(f"Size {size} needs {needed / MIB:,.0f} MiB of memory and was left out on the CPU.")
    cpu_ms = _milliseconds(size, _CPU, remarks) if fits else None
    gpu_ms = _milliseconds(size, gpu, remarks) if gpu else None
    speed_up = cpu_ms / gpu_ms if cpu_ms and gpu_ms else None
    return {"size": size, "cpu_ms": cpu_ms, "gpu_ms": gpu_ms, "speed_up": speed_up}


def _milliseconds(size: int, device: torch.device, remarks: list[str]) -> float | None:
    try:
        with torch.inference_mode():
            images = torch.rand(IMAGES, 3, size, size, device=device)
            layer = torch.nn.Conv2d(3, FILTERS, KERNEL).to(device)
            return 1000 * median_seconds(lambda: layer(images), device)
    except (torch.OutOfMemoryError, MemoryError):
        remarks.append(f"Size {size} does not fit the memory of {device} and was left out there.")
        return None


def matrix_rates(devices: Sequence[torch.device]) -> dict[str, float]:
    """GFLOP/s of a product of two 2048×2048 matrices, median of ten, per device and precision.

    bfloat16 is measured only where the hardware computes it.
    """
    rates = {}
    for device in devices:
        types = [torch.float32, *([torch.bfloat16] if native_bfloat16(device) else [])]
        for dtype in types:
            left, right = (torch.randn(MATRIX, MATRIX, device=device).to(dtype) for _ in range(2))
            seconds = median_seconds(partial(torch.matmul, left, right), device)
            rates[f"{device.type} {str(dtype).removeprefix('torch.')}"] = 2 * MATRIX**3 / seconds / 1e9
    return rates


def draw(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the benchmark over image sizes into a PNG file."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    for key, label, colour, style in (
        ("cpu_ms", "CPU", "#0072b2", "o-"),
        ("gpu_ms", "GPU", "#d55e00", "s--"),
    ):
        points = [(row["size"], row[key]) for row in rows if row[key] is not None]
        if points:
            axes.plot(*zip(*points), style, color=colour, label=label)
    axes.set(xlabel="image size, pixels", ylabel="milliseconds for 100 images", yscale="log")
    axes.set_title(f"Convolution, {FILTERS} filters {KERNEL}×{KERNEL}, median of {REPETITIONS}", fontsize=11)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with files.reporting_disk(path):
        figure.savefig(path, format="png")
