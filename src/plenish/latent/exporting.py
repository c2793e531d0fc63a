"""A trained generator as a file for other programs, with the facts about it.

Exported is the moving average in evaluation mode as one function (z, y) → images, in float32 on the CPU, with
the family's deterministic options and weights as they are used: spectral norm is divided out. Where the
family has a part that is of use alone, such as a flow's velocity, that is a file beside it. What was written
is run again and compared with the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plenish import settings
from plenish.errors import InputError
from plenish.latent.sampling import Loaded, checked_options, load_generator, training_manifest
from plenish.networks.sampler import Part, Sampler
from plenish.training.model_files import Exportable, ExportedModel, Format, fold, with_weights, write_export


def export_generator(
    run: Path, out: Path, format: Format, checkpoint: str, opset: int, options: Mapping[str, Any] = {}
) -> ExportedModel:
    """Write a generator and the facts about it to a new folder.

    Args:
        run: a generator's Run.
        out: the folder; must not exist.
        format: kind of file.
        checkpoint: `best`, `last`, or a checkpoint's name.
        opset: version of the ONNX operators.
        options: of the family's `sample`, which the file then always uses.

    Raises:
        InputError: no such Run, checkpoint or option.
        CheckFailed: what was written does not make the network's images.
    """
    with settings.use(device="cpu", precision="float32"):
        loaded = load_generator(run, checkpoint)
    network = loaded.network
    used = _used_options(network, format, options)
    fold(network)
    return write_export(
        out, exportable(network, used), format, opset, _facts(loaded) | used,
        asked={**loaded.provenance(), **used}, parts=network.parts(),
    )  # fmt: skip


def exportable(network: Sampler, options: Mapping[str, Any] = {}) -> Exportable:
    """A folded generator, with these options of its `sample`, as what can be written."""

    def rebuilt(path: Path) -> torch.nn.Module:
        again: Sampler = type(network)(network.config)
        return _whole(with_weights(again, path), options).module

    return Exportable(_whole(network, options), network, rebuilt)


def _used_options(network: Sampler, format: Format, options: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of `sample` with the value that the exported file uses.

    Raises:
        InputError: one that the file cannot hold, or that would let an image depend on more than z and y.
    """
    fixed = network.deterministic_options
    asked = checked_options(network, options)
    if asked and format == "safetensors":
        raise InputError("A safetensors export holds weights alone; give --options when images are made.")
    for name, value in asked.items():
        if name in fixed and value != fixed[name]:
            raise InputError(f"{name}={value} is not for an export, whose {name} is {fixed[name]}.")
    return {**network.sample_options, **asked, **fixed}


def _whole(network: Sampler, options: Mapping[str, Any]) -> Part:
    """The generator: z, N×z_dim (and y, N×K) → images of the full size, N×C×H×W."""

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
            return network.sample(z, y, **{**options, **network.deterministic_options})

    def inputs(n: int) -> dict[str, Tensor]:
        """Latents of the prior and soft labels, to trace and to compare with."""
        rng = torch.Generator().manual_seed(n)
        z, width = network.sample_prior(n, rng), network.labels.width
        return {"z": z} | ({"y": torch.rand(n, width, generator=rng).softmax(1)} if width else {})

    return Part(Whole().eval().requires_grad_(False), inputs, "image")


def _facts(loaded: Loaded) -> dict[str, Any]:
    """The facts that a user of the model needs."""
    network = loaded.network
    labels, manifest = network.labels, training_manifest(loaded.run)
    licence = (manifest and manifest.licence) or "licence not stated"
    inputs: dict[str, Mapping[str, Any]] = {
        "z": {"shape": ["batch", *network.z_shape], "type": "float32", "prior": network.prior_name},
    }  # fmt: skip
    if labels.width:
        meaning = "one-hot or soft" if labels.kind == "categorical" else labels.kind
        inputs["y"] = {"shape": ["batch", labels.width], "type": "float32", "labels": labels.to_dict(),
                       "meaning": meaning}  # fmt: skip
    side = network.size
    return {
        "kind": "generator", "family": loaded.run.config["config"]["family"],
        "network": network.config.to_dict(), "inputs": inputs,
        "output": {"image": {"shape": ["batch", network.channels, side, side], "type": "float32",
                             "range": "-1 black, 1 white, within [-1, 1] or to be clipped to it"}},
        "moving_average": True, "provenance": loaded.provenance(),
        "licence": f"as the training data ({licence})",
        "intended_use": "training data for research and teaching; not for diagnosis",
    }  # fmt: skip
