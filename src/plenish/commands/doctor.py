"""`plenish doctor`: what this machine has, what it lacks, and how fast it is.

The benchmark is the classic one of a first deep-learning lesson: one convolution of 32 filters 7×7 over 100
random RGB images, on the CPU and on the GPU, over image sizes. The matrix rate (2048³) is the ceiling that
training speed is measured against.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish import settings
from plenish._version import __version__
from plenish.errors import CheckFailed, InputError
from plenish.invocation import command
from plenish.training.hardware import (
    FILTERS,
    IMAGES,
    KERNEL,
    MATRIX,
    REPETITIONS,
    Convolution,
    draw,
    matrix_rates,
    memory,
    time_convolution,
)

if TYPE_CHECKING:
    import torch
    from rich.console import RenderableType

SIZES = (32, 64, 128, 250)

# distribution -> (module, what plenish needs it for)
REQUIRED = {
    "torch": ("torch", "networks"),
    "torchvision": ("torchvision", "networks"),
    "timm": ("timm", "classifiers"),
    "numpy": ("numpy", "arrays"),
    "scipy": ("scipy", "statistics"),
    "pandas": ("pandas", "tables"),
    "pyarrow": ("pyarrow", "tables"),
    "pillow": ("PIL", "images"),
    "safetensors": ("safetensors", "checkpoints"),
    "pyyaml": ("yaml", "recipes"),
    "rich": ("rich", "terminal"),
    "tensorboard": ("tensorboard", "curves while training"),
    "matplotlib": ("matplotlib", "figures"),
    "jinja2": ("jinja2", "reports"),
}
OPTIONAL = {
    "torch-fidelity": ("torch_fidelity", "FID with Inception features", "pip install 'plenish[inception]'"),
    "openslide-python": ("openslide", "whole-slide images", "pip install openslide-python openslide-bin"),
    "gradio": ("gradio", "the web application", "pip install gradio"),
    "mlflow": ("mlflow", "tracking with MLflow", "pip install mlflow"),
    "ray": ("ray", "work spread over a cluster", "pip install ray"),
}
CPU_FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "amx_tile")


@dataclasses.dataclass(frozen=True)
class Checkup:
    """What the doctor found.

    Attributes:
        versions: Plenish, Python, the system and every needed library.
        cpu: model, cores, threads torch uses, vector instructions, memory.
        gpus: name and memory of each CUDA device or MPS.
        missing: optional libraries that are not here, what for, and how to get them.
        weights: pretrained weights found in the caches.
        disk: free space here.
        convolutions: the benchmark; empty when not asked for.
        matrix_gflops: "cpu float32", "cpu bfloat16", … → GFLOP/s at 2048³.
        remarks: sentences worth reading.
    """

    versions: dict[str, str]
    cpu: dict[str, Any]
    gpus: list[dict[str, Any]]
    missing: list[dict[str, str]]
    weights: dict[str, Any]
    disk: dict[str, Any]
    convolutions: list[Convolution]
    matrix_gflops: dict[str, float]
    remarks: list[str]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        content = dataclasses.asdict(self)
        rows = [dataclasses.asdict(row) | {"speed_up": row.speed_up} for row in self.convolutions]
        return content | {"convolutions": rows}

    def __rich__(self) -> RenderableType:
        """Tables for the terminal."""
        return _tables(self)


@command("doctor")
def doctor(*, benchmark: bool = True, sizes: list[int] | None = None, plot: Path | None = None) -> Checkup:
    """Check this machine: versions, devices, what is missing, and how fast it computes.

    Args:
        benchmark: time a convolution on the CPU and on the GPU, and the matrix rate.
        sizes: image sizes of the benchmark, pixels; 32, 64, 128 and 250 by default.
        plot: also draw the benchmark into this PNG file.

    Returns:
        Everything found.

    Raises:
        CheckFailed: a library that nothing works without is missing or broken.
        InputError: an impossible size, or a plot that cannot be written.
    """
    sizes = list(SIZES) if sizes is None else sizes
    _check_options(benchmark, sizes, plot)
    _check_essentials()
    import torch

    from plenish.training.engine import Engine

    engine = Engine.from_settings()  # applies --threads and refuses a device that is not here
    gpus = list_gpus()
    remarks = _remarks(gpus)
    gpu = None if settings.current().device == "cpu" else _gpu(engine.device)
    convolutions, rates = [], {}
    if benchmark:
        if gpu is None:
            remarks.append(
                "The benchmark ran on the CPU only, as asked."
                if gpus
                else "No GPU was found: CPU times only."
            )
        convolutions = [time_convolution(size, gpu, remarks) for size in sizes]
        rates = matrix_rates([torch.device("cpu"), *([gpu] if gpu else [])])
    found = Checkup(
        versions=_versions(), cpu=describe_cpu(), gpus=gpus, missing=missing_extras(),
        weights=cached_weights(), disk=_disk(), convolutions=convolutions,
        matrix_gflops=rates, remarks=remarks,
    )  # fmt: skip
    if plot is not None:
        draw(convolutions, plot)
    return found


def _check_options(benchmark: bool, sizes: Sequence[int], plot: Path | None) -> None:
    if benchmark and not sizes:
        raise InputError(
            "The benchmark needs at least one image size; give --sizes 64 128, or --no-benchmark."
        )
    for size in sizes:
        if size < KERNEL:
            raise InputError(
                f"An image of {size} pixels is smaller than the {KERNEL}×{KERNEL} filters; use more."
            )
    if plot is not None:
        if not benchmark:
            raise InputError("--plot draws the benchmark; leave out --no-benchmark.")
        if plot.exists():
            raise InputError(f"{plot} already exists; choose another name or remove it first.")
        if not plot.absolute().parent.is_dir():
            raise InputError(f"{plot.parent} is not a folder; make it first.")


def _check_essentials() -> None:
    """Raise CheckFailed, with the mend, when a library that nothing works without is missing or broken."""
    absent = [name for name, (module, _) in REQUIRED.items() if importlib.util.find_spec(module) is None]
    if absent:
        raise CheckFailed(f"Missing: {', '.join(absent)}; install with 'pip install {' '.join(absent)}'.")
    for module in ("numpy", "torch"):
        try:
            importlib.import_module(module)
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise CheckFailed(
                f"{module} is installed but cannot be loaded ({reason}); "
                f"install it anew with 'pip install --force-reinstall {module}'."
            ) from error


def _versions() -> dict[str, str]:
    found = {
        "plenish": __version__,
        "python": platform.python_version(),
        "system": platform.platform(terse=True),
    }
    for name in REQUIRED:
        # A module without a distribution (a vendored copy) works as well, and has no version to tell.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def describe_cpu() -> dict[str, Any]:
    """Model, cores this process may use, torch's threads, vector instructions and memory of the CPU."""
    import torch

    model, flags = platform.processor() or platform.machine(), set[str]()
    with contextlib.suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
        if name := re.search(r"^model name\s*:\s*(.+)$", text, re.M):
            model = name.group(1).strip()
        if line := re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.M):
            flags = set(line.group(1).split())
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {
        "model": model, "cores": usable, "threads": torch.get_num_threads(),
        "instructions": [flag for flag in CPU_FLAGS if flag in flags],
        "memory_gib": round(total / 2**30, 1) if (total := memory("MemTotal")) else None,
        "memory_free_gib": round(free / 2**30, 1) if (free := memory("MemAvailable")) else None,
    }  # fmt: skip


def list_gpus() -> list[dict[str, Any]]:
    """CUDA devices with their memory, or Apple's MPS; empty where there is none."""
    import torch

    found: list[dict[str, Any]] = []
    for i in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(i)
        found.append(
            {
                "device": f"cuda:{i}", "name": about.name, "memory_gib": round(about.total_memory / 2**30, 1),
                "compute": f"{about.major}.{about.minor}",
            }
        )  # fmt: skip
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU", "memory_gib": None, "compute": None})
    return found


def _gpu(device: torch.device) -> torch.device | None:
    import torch

    if device.type != "cpu":
        return device
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps") if torch.backends.mps.is_available() else None


def _remarks(gpus: Sequence[dict[str, Any]]) -> list[str]:
    import torch

    from plenish.training.engine import native_bfloat16

    remarks = []
    if not gpus and shutil.which("nvidia-smi"):
        remarks.append(
            f"An NVIDIA driver is installed, yet torch {torch.__version__} sees no GPU: the build is for "
            "CPUs only, or "
            "the driver is too old for it."
        )
    if not gpus and not native_bfloat16(torch.device("cpu")):
        remarks.append("This CPU has no bfloat16 arithmetic; training runs at float32, about half as fast.")
    if shutil.disk_usage(Path.cwd()).free < 5 * 2**30:
        remarks.append("Less than 5 GiB are free here; a training Run with its checkpoints may need more.")
    return remarks


def missing_extras() -> list[dict[str, str]]:
    """Optional libraries that are not installed: name, what for, how to get them."""
    return [
        {"library": name, "needed for": purpose, "install": command}
        for name, (module, purpose, command) in OPTIONAL.items()
        if importlib.util.find_spec(module) is None
    ]


def cached_weights() -> dict[str, Any]:
    """Pretrained weights in the caches of torch.hub and Hugging Face: folder, number of files and size."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    torch_home = Path(os.environ.get("TORCH_HOME") or home / "torch")
    hf_home = Path(os.environ.get("HF_HOME") or home / "huggingface")
    places = {
        "torch.hub": (torch_home / "hub" / "checkpoints", "*.pth"),
        "Hugging Face": (Path(os.environ.get("HF_HUB_CACHE") or hf_home / "hub"), "models--*"),
    }
    found: dict[str, Any] = {}
    for name, (folder, pattern) in places.items():
        entries = sorted(entry.name for entry in folder.glob(pattern)) if folder.is_dir() else []
        found[name] = {"folder": str(folder), "found": len(entries), "names": entries[:10]}
    return found


def _disk() -> dict[str, Any]:
    usage = shutil.disk_usage(Path.cwd())
    return {
        "folder": str(Path.cwd()),
        "free_gib": round(usage.free / 2**30, 1),
        "total_gib": round(usage.total / 2**30, 1),
    }


# The terminal


def _tables(found: Checkup) -> RenderableType:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table

    def facts(title: str, rows: dict[str, Any]) -> Table:
        table = Table(
            title=title, title_justify="left", title_style="bold", show_header=False, box=None, padding=(0, 2)
        )
        for key, value in rows.items():
            table.add_row(escape(key.replace("_", " ")), escape(_words(value)))
        return table

    parts: list[RenderableType] = [facts("Versions", found.versions), "", facts("CPU", found.cpu), ""]
    gpus = {row["device"]: f"{row['name']}, {_words(row['memory_gib'])} GiB" for row in found.gpus}
    parts += [facts("GPU", gpus or {"none": "no CUDA device and no MPS; everything runs on the CPU"}), ""]
    parts += [facts("Disk", found.disk), ""]
    weights = {name: f"{row['found']} in {row['folder']}" for name, row in found.weights.items()}
    parts += [facts("Pretrained weights on this machine", weights), ""]
    if found.missing:
        absent = {row["library"]: f"{row['needed for']}: {row['install']}" for row in found.missing}
        parts += [facts("Not installed (only needed for what is named)", absent), ""]
    if found.convolutions:
        parts += [_benchmark_table(found.convolutions), ""]
    if found.matrix_gflops:
        rates = {key: f"{value:,.0f} GFLOP/s" for key, value in found.matrix_gflops.items()}
        parts += [facts(f"Matrix product {MATRIX}³", rates), ""]
    parts += [escape(f"• {remark}") for remark in found.remarks]
    return Group(*parts)


def _benchmark_table(rows: Sequence[Convolution]) -> RenderableType:
    from rich.table import Table

    title = f"Convolution, {FILTERS} filters {KERNEL}×{KERNEL}, {IMAGES} RGB images, median of {REPETITIONS}"
    table = Table(title=title, title_justify="left", title_style="bold")
    for name in ("size", "CPU, ms", "GPU, ms", "speed-up"):
        table.add_column(name, justify="right")
    for row in rows:
        speed_up = "–" if row.speed_up is None else f"{row.speed_up:.1f}×"
        table.add_row(str(row.size), _milliseconds(row.cpu_ms), _milliseconds(row.gpu_ms), speed_up)
    return table


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}"


def _words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)
