"""Device, precision and stateless randomness: what every loop needs, and nothing of a framework."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from plenish import settings
from plenish.errors import InputError
from plenish.freed_memory import reuse_freed_memory
from plenish.networks import shared_batch
from plenish.networks.shared_batch import reduced, share_layers

Module = TypeVar("Module", bound=torch.nn.Module)

_ISA_WITHOUT_BFLOAT16 = (
    "SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI",
)  # fmt: skip


def native_bfloat16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 in hardware: AVX512-BF16 or AMX on a CPU, compute 8.0 on CUDA.

    On a CPU it is false as well where the environment variable ONEDNN_MAX_CPU_ISA keeps the library from it
    (`AVX2`, `AVX512_CORE` …): the library then emulates bfloat16, hundreds of times as slowly.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        if os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL").upper() in _ISA_WITHOUT_BFLOAT16:
            return False
        # The flags are read from the kernel: torch reports what oneDNN would emulate.
        return not {"avx512_bf16", "amx_bf16"}.isdisjoint(system_field("cpuinfo", "flags").split())
    return False


def system_field(file: str, name: str) -> str:
    """A field of /proc/cpuinfo (of the first core) or /proc/meminfo; empty where the system has none."""
    with contextlib.suppress(OSError), Path("/proc", file).open(encoding="ascii", errors="ignore") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return ""


@functools.cache
def stable_seed(*key: Any) -> int:
    """A 63-bit seed from a hash of `key`: equal on every machine, and unrelated for neighbouring keys."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@dataclasses.dataclass(frozen=True)
class Engine:
    """Where and how tensors are computed.

    Attributes:
        device: the torch device.
        precision: `float32` or `bfloat16` (autocast; parameters and optimiser stay float32).
        rank: number of this process among those of the job, which train together.
        world: how many there are.
        deterministic: whether a GPU uses only operations that give the same bits every time, as a CPU does.
    """

    device: torch.device
    precision: Literal["float32", "bfloat16"]
    rank: int = 0
    world: int = 1
    deterministic: bool = False

    @classmethod
    def from_settings(cls, precision: settings.Precision | None = None) -> Engine:
        """The engine that the current settings ask for.

        Args:
            precision: a network's own measured preference, used where the settings say `auto`.

        Raises:
            InputError: the device does not exist here.
        """
        asked = settings.current()
        rank, world = settings.process()
        name = asked.device if asked.device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        if name == "cuda" and world > 1:
            name = f"cuda:{os.environ.get('LOCAL_RANK', rank)}"
        try:
            device = torch.device(name)
            torch.empty(1, device=device)
        except (RuntimeError, AssertionError):
            there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
            raise InputError(
                f"There is no device '{name}' here; --device may be auto, {', '.join(there)}."
            ) from None
        if asked.threads is not None:
            if asked.threads < 1:
                raise InputError(f"--threads must be at least 1, not {asked.threads}.")
            torch.set_num_threads(asked.threads)
        chosen = asked.precision if asked.precision != "auto" else (precision or "auto")
        if chosen == "auto":
            chosen = "bfloat16" if native_bfloat16(device) else "float32"
        if device.type == "cuda":
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
            torch.backends.cudnn.benchmark = not asked.deterministic
            torch.cuda.set_device(device)
            if asked.deterministic:
                # What cuBLAS needs to sum in the same order; read when it is first used.
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
                torch.backends.cudnn.deterministic = True
        if asked.deterministic:
            torch.use_deterministic_algorithms(True)
        return cls(device, chosen, rank, world, asked.deterministic)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """bfloat16 autocast, or nothing at float32."""
        half = self.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16) if half else contextlib.nullcontext()

    def to_images(self, pixels: NDArray[np.uint8] | Tensor) -> Tensor:
        """uint8 N×H×W×C → float32 N×C×H×W in [-1, 1], channels_last, on the device."""
        raw = pixels if isinstance(pixels, Tensor) else torch.from_numpy(pixels)
        raw = raw.to(self.device, non_blocking=True)
        return (
            raw.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last).div_(127.5).sub_(1.0)
        )

    def to_module(self, module: Module) -> Module:
        """Move a module to the device with channels_last weights, ready for `sharing`."""
        if self.device.type == "cpu":
            reuse_freed_memory()
        if self.world > 1:
            share_layers(module)
        return module.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]

    @staticmethod
    def minimise(
        optimiser: torch.optim.Optimizer, loss: Tensor, before_step: Callable[[], None] | None = None
    ) -> None:
        """Take a step down the gradient of a loss, the mean over a batch or this process's slice of it.

        Args:
            optimiser: of the weights.
            loss: the loss.
            before_step: called when the gradients are known and no weight has moved yet.
        """
        optimiser.zero_grad()
        world = shared_batch.world()
        (loss / world if world > 1 else loss).backward()
        if world > 1:
            parameters = [p for group in optimiser.param_groups for p in group["params"]]
            gradients = [p.grad for p in parameters if p.grad is not None]
            for gradient, total in zip(gradients, reduced(gradients), strict=True):
                gradient.copy_(total)
        if before_step:
            before_step()
        optimiser.step()

    def generator(self, *key: Any) -> torch.Generator:
        """A generator for one purpose, seeded from `key` alone: no draw depends on earlier ones."""
        return torch.Generator(self.device).manual_seed(stable_seed(*key))

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def describe(self) -> dict[str, Any]:
        """Facts for config.json and reports."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return {
            "device": str(self.device), "device_name": name, "precision": self.precision,
            "threads": torch.get_num_threads(), **({"processes": self.world} if self.world > 1 else {}),
            **({"deterministic": True} if self.deterministic else {}),
        }  # fmt: skip


def to_uint8(images: Tensor) -> NDArray[np.uint8]:
    """Images N×C×H×W in [-1, 1] → uint8 N×H×W×C, rounded and clipped."""
    scaled = images.detach().float().mul(127.5).add_(127.5).round_().clamp_(0, 255)
    pixels: NDArray[np.uint8] = scaled.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return pixels
