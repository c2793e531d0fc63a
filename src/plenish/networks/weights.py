"""Weights from a file, with the digest of the very bytes that were read. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plenish.errors import InputError


def read_weights(path: Path) -> tuple[dict[str, Tensor], str]:
    """A state dict from `.safetensors`, or from a torch file by the loader that executes nothing.

    Returns:
        Tensors by name, on the CPU, without what training scripts put around and before them; and the
        SHA-256 of the file.

    Raises:
        InputError: the file is missing, damaged, holds code, or is no state dict.
    """
    from safetensors.torch import load

    if not path.is_file():
        raise InputError(f"{path} is missing; give a .safetensors or .pth file of weights.")
    try:
        content = path.read_bytes()
    except OSError:
        raise InputError(f"{path} may not be read; change its permissions or give another copy.") from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns about formats before it fails
            state: Any = (
                load(content)
                if path.suffix == ".safetensors"
                else torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            )
    except Exception:  # what the loaders raise on bytes that are no weights has no type in common
        raise InputError(
            f"{path} is not a file of weights, or is damaged; give an intact .safetensors or .pth state dict."
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} holds no state dict of tensors; give a .safetensors or .pth state dict.")
    named = {key.removeprefix("module."): value for key, value in state.items()}
    return named, hashlib.sha256(content).hexdigest()
