"""Weights from a file. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plenish.errors import InputError


def read_weights(path: Path) -> dict[str, Tensor]:
    """A state dict from `.safetensors`, or from a torch file by the loader that executes nothing.

    Returns:
        Tensors by name, on the CPU, without what training scripts put around and before them. Those of a
        `.safetensors` file are mapped into memory.

    Raises:
        InputError: the file is missing, damaged, holds code, or is no state dict.
    """
    return _read(path, whole=False)[0]


def read_with_digest(path: Path) -> tuple[dict[str, Tensor], str]:
    """The state dict that `read_weights` gives, and the SHA-256 of the very bytes that it was read from."""
    state, content = _read(path, whole=True)
    return state, hashlib.sha256(content).hexdigest()


def _read(path: Path, *, whole: bool) -> tuple[dict[str, Tensor], bytes]:
    """A state dict and, where it is read as a `whole`, the file's content."""
    from safetensors.torch import load, load_file

    if not path.is_file():
        raise InputError(f"{path} is missing; give a .safetensors or .pth file of weights.")
    try:
        content = path.read_bytes() if whole else b""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about formats before it fails
            if path.suffix == ".safetensors":
                state: Any = load(content) if whole else load_file(path)
            else:
                source = io.BytesIO(content) if whole else path
                state = torch.load(source, map_location="cpu", weights_only=True)
    except PermissionError:
        raise InputError(f"{path} may not be read; change its permissions or give another copy.") from None
    except Exception as error:  # what the loaders raise on bytes that are no weights has no type in common
        # torch puts the reason behind advice to let the file execute code, which is not passed on.
        reason = str(error).rpartition("WeightsUnpickler error: ")[2].strip() or type(error).__name__
        raise InputError(
            f"{path} is not a file of weights, or is damaged; give an intact .safetensors or .pth state dict "
            f"({reason.splitlines()[0].split('. ')[0].rstrip('.')})."
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise InputError(f"{path} holds no state dict of tensors; give a .safetensors or .pth state dict.")
    return {key.removeprefix("module."): value for key, value in state.items()}, content
