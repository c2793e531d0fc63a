"""`plenish doctor`: what this machine has, what it lacks, and how fast it is.

The benchmark is the classic one of a first deep-learning lesson: one convolution of 32 filters 7×7 over 100
random RGB images, on the CPU and on the GPU, over image sizes. The matrix rate (2048³) is the ceiling that
training speed is measured against.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plenish import files, settings
from plenish.errors import CheckFailed, InputError, first_line
from plenish.invocation import command
from plenish.runs import versions
from plenish.wording import Sentences

SIZES = (32, 64, 128, 250)

REQUIRED = {
    name: name
    for name in ("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "pyarrow", "safetensors", "rich",
                 "tensorboard", "matplotlib", "jinja2")
} | {"pillow": "PIL", "pyyaml": "yaml"}  # fmt: skip
"""Modules of what nothing works without, by distribution."""
EXTRAS = {
    "inception": (("torch_fidelity",), "FID with Inception features"),
    "slides": (("openslide", "tifffile", "imagecodecs", "shapely"), "whole-slide images"),
    "dicom": (("pydicom",), "DICOM images"),
    "formats": (("pillow_heif", "pillow_jxl"), "HEIC and JPEG XL images"),
    "film": (("imageio_ffmpeg",), "films as MP4 (--film mp4)"),
    "studio": (("gradio",), "the web application (plenish studio)"),
    "umap": (("umap",), "maps of latents by UMAP"),
    "anime": (("imgutils",), "detectors of faces and figures in drawings (import --detector)"),
    "hdf5": (("h5py",), "presets of data sets in HDF5 (pcam, brats)"),
    "nifti": (("nibabel",), "BraTS' volumes in NIfTI (preset brats)"),
    "ray": (("ray",), "cells of a study on a cluster (--on ray)"),
    "onnx": (("onnx", "onnxscript", "onnxruntime"), "generators as ONNX files"),
}
"""Optional parts, `plenish[NAME]`: modules, and what they are needed for."""


@dataclasses.dataclass(frozen=True)
class Checkup:
    """What the doctor found.

    Attributes:
        content: versions, cpu, gpus, missing optional parts, weights in the caches, disk, convolutions and
            matrix_gflops (empty where the benchmark was not asked for), and remarks.
    """

    content: dict[str, Any]

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return self.content

    def shown(self) -> dict[str, Any]:
        """Tables for the terminal."""
        from plenish.training.hardware import FILTERS, IMAGES, KERNEL, MATRIX, REPETITIONS

        found = self.content
        convolution = f"{FILTERS} filters {KERNEL}×{KERNEL}, {IMAGES} RGB images, median of {REPETITIONS}"
        shown = {
            "Versions": [{"name": name, "version": version} for name, version in found["versions"].items()],
            "CPU": [found["cpu"]],
            "GPU": found["gpus"] or "no CUDA device and no MPS; everything runs on the CPU",
            "Disk": [found["disk"]],
            "Pretrained weights on this machine": [
                {"from": name, "files": row["found"], "folder": row["folder"]}
                for name, row in found["weights"].items()
            ],
            "Not installed (only needed for what is named)": found["missing"],
            f"Convolution, {convolution}": found["convolutions"],
            f"Matrix product {MATRIX}³": [
                {"in": key, "GFLOP/s": value} for key, value in found["matrix_gflops"].items()
            ],
            "remarks": Sentences(found["remarks"]),
        }
        return {title: value for title, value in shown.items() if value}


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
    _check_required()
    import torch

    from plenish.training import hardware
    from plenish.training.engine import Engine, native_bfloat16

    sizes = list(SIZES) if sizes is None else sizes
    _check_options(benchmark, sizes, hardware.KERNEL, plot)
    engine = Engine.from_settings()  # applies --threads and refuses a device that is not here
    gpus = hardware.list_gpus()
    remarks = _remarks(gpus, native_bfloat16(torch.device("cpu")))
    gpu = None if settings.current().device == "cpu" else hardware.beside_cpu(engine.device)
    convolutions, rates = [], {}
    if benchmark:
        if gpu is None:
            remarks.append(
                "The benchmark ran on the CPU only, as asked."
                if gpus
                else "No GPU was found: CPU times only."
            )
        convolutions = [hardware.time_convolution(size, gpu, remarks) for size in sizes]
        rates = hardware.matrix_rates([torch.device("cpu"), *([gpu] if gpu else [])])
    if plot is not None:
        hardware.draw(convolutions, plot)
    usage = shutil.disk_usage(Path.cwd())
    return Checkup(
        {
            "versions": versions(REQUIRED) | {"system": platform.platform(terse=True)},
            "cpu": hardware.describe_cpu(), "gpus": gpus, "missing": missing_extras(),
            "weights": cached_weights(),
            "disk": {
                "folder": str(Path.cwd()), "free_gib": round(usage.free / 2**30, 1),
                "total_gib": round(usage.total / 2**30, 1),
            },
            "convolutions": convolutions, "matrix_gflops": rates, "remarks": remarks,
        }
    )  # fmt: skip


def _check_options(benchmark: bool, sizes: Sequence[int], smallest: int, plot: Path | None) -> None:
    if benchmark and not sizes:
        raise InputError(
            "The benchmark needs at least one image size; give --sizes 64 128, or --no-benchmark."
        )
    for size in sizes:
        if size < smallest:
            raise InputError(
                f"--sizes: {size} pixels are fewer than the {smallest}×{smallest} filters have; use more."
            )
    if plot is not None:
        if not benchmark:
            raise InputError("--plot draws the benchmark; leave out --no-benchmark.")
        files.refuse_existing(plot)
        if not plot.absolute().parent.is_dir():
            raise InputError(f"{plot.parent} is not a folder; make it first.")


def _check_required() -> None:
    """Raise CheckFailed, with the fix, when a library that nothing works without is missing or broken."""
    absent = [name for name, module in REQUIRED.items() if importlib.util.find_spec(module) is None]
    if absent:
        raise CheckFailed(f"Missing: {', '.join(absent)}; install with 'pip install {' '.join(absent)}'.")
    for module in ("numpy", "torch"):
        try:
            importlib.import_module(module)
        except Exception as error:
            raise CheckFailed(
                f"{module} is installed but cannot be loaded ({first_line(error)}); "
                f"install it again with 'pip install --force-reinstall {module}'."
            ) from error


def _remarks(gpus: Sequence[dict[str, Any]], bfloat16: bool) -> list[str]:
    remarks = []
    if not gpus and shutil.which("nvidia-smi"):
        remarks.append(
            "An NVIDIA driver is installed, but torch sees no GPU: its build is for CPUs only, or the "
            "driver is too old for it."
        )
    if not gpus and not bfloat16:
        remarks.append("This CPU has no bfloat16 arithmetic; training runs at float32, about half as fast.")
    if shutil.disk_usage(Path.cwd()).free < 5 * 2**30:
        remarks.append("Less than 5 GiB are free here; a training Run with its checkpoints may need more.")
    return remarks


def missing_extras() -> list[dict[str, str]]:
    """Optional parts of which a module is not installed: name, what for, how to get it."""
    return [
        {"extra": name, "needed for": purpose, "install": f"pip install 'plenish[{name}]'"}
        for name, (modules, purpose) in EXTRAS.items()
        if any(importlib.util.find_spec(module) is None for module in modules)
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
