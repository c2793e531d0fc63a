"""A trained classifier as a file for other programs, with the facts about it.

Exported is one function, images in [0, 1] → logits, with the normalisation inside, in float32 on the CPU. A
safetensors file has the network's weights alone, under the names of its architecture.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plenish import files
from plenish.metrics.origin import real_at
from plenish.metrics.predictions import CALIBRATION
from plenish.networks.classifier import Normalised
from plenish.networks.sampler import Part
from plenish.runs import Run
from plenish.training.checkpoints import find_checkpoint, load_module, load_state
from plenish.training.classifier_model import Classifier, head_of, weights_of
from plenish.training.classifier_run import HARDENING
from plenish.training.model_files import (
    TOLERANCE,
    Exportable,
    ExportedModel,
    Format,
    classifier_of,
    fold,
    write_export,
)


def export_classifier(
    path: Path, out: Path, format: Format, checkpoint: str = "best", opset: int = 18
) -> ExportedModel:
    """Write a classifier and the facts about it to a new folder.

    Args:
        path: a classifier's Run.
        out: the folder; must not exist.
        format: kind of file.
        checkpoint: `best`, which the Run keeps as its classifier, `last`, or a checkpoint's name.
        opset: version of the ONNX operators.

    Raises:
        InputError: no such Run or checkpoint, or the network cannot be written in this format.
        CheckFailed: what was written does not give the network's logits.
    """
    run = Run.open(path, "classifier")
    model, provenance, calibration = _opened(run, checkpoint)
    fold(model.network)
    facts = _facts(run, model, format) | {"calibration": calibration, "provenance": provenance}
    whole = _whole(model, facts)
    return write_export(
        out, Exportable(whole, model.network, lambda file: classifier_of(facts, file)), format, opset, facts,
        asked=provenance, tolerance=TOLERANCE * max(1.0, _largest_logit(whole)),
    )  # fmt: skip


def _opened(run: Run, checkpoint: str) -> tuple[Classifier, dict[str, Any], dict[str, Any] | None]:
    """A classifier, where it came from, and its calibration, which is known of the one that was kept."""
    model, config = Classifier.of_run(run.path), run.config["config"]
    weights, best = weights_of(run.path), run.status.get("best", {}).get("checkpoint")
    calibration = _calibration(run, model)
    if checkpoint not in ("best", best):
        found = find_checkpoint(run, checkpoint)
        if found.name != best:
            load_module(found, "classifier", model.network)
            step = load_state(found)["nimg"] // model.config.batch
            model, weights = dataclasses.replace(model, step=step), found / "classifier.safetensors"
            calibration = None
    more = {key: config[key] for key in ("synthetic", HARDENING) if config.get(key)}
    provenance = {
        "run": str(run.path.resolve()), "run_id": run.id, "step": model.step,
        "weights_sha256": files.sha256_file(weights), "data": dict(run.config["data"]), **more,
    }  # fmt: skip
    return model, provenance, calibration


def _calibration(run: Run, model: Classifier) -> dict[str, Any] | None:
    """The temperature that was found on val; the file's logits are not divided by it."""
    if not (run.path / CALIBRATION).is_file():
        return None
    found = files.read_record(run.path / CALIBRATION)
    how = "sigmoid" if model.kind == "multilabel" else "softmax"
    return {
        "temperature": found["temperature"], "inside": False, "val_images": found["images"],
        "use": f"{how}(logits / temperature)",
    }  # fmt: skip


def _whole(model: Classifier, facts: Mapping[str, Any]) -> Part:
    """The classifier: images N×C×H×W in [0, 1] (and columns N×D) → logits N×K."""
    normalisation, side = facts["normalisation"], model.size

    def inputs(n: int) -> dict[str, Tensor]:
        """Random images; the first of several are black, white, of both, and a checkerboard."""
        rng = torch.Generator().manual_seed(n)
        images = torch.rand(n, model.channels, side, side, generator=rng)
        if n > 2:
            images[0], images[1], images[2] = 0, 1, images[2].round()
            images[3:4] = (torch.arange(side) + torch.arange(side)[:, None]) % 2
        width = model.columns.width
        return {"images": images} | ({"columns": torch.randn(n, width, generator=rng)} if width else {})

    module = Normalised(model.network, normalisation["mean"], normalisation["std"])
    return Part(module.eval().requires_grad_(False), inputs, "logits")


def _largest_logit(part: Part) -> float:
    """What rounding is in proportion to."""
    with torch.no_grad():
        return float(part.module(*part.inputs(5).values()).abs().max())


def _facts(run: Run, model: Classifier, format: Format) -> dict[str, Any]:
    """The facts that a user of the model needs."""
    data, head = real_at(run.config["data"]), head_of(model.config, model.columns)
    licence = (data and data.manifest.licence) or "licence not stated"
    started = ", and as the weights that its training started from" if model.config.pretrained else ""
    tags = model.kind == "multilabel"
    inputs: dict[str, Mapping[str, Any]] = {
        "images": {
            "shape": ["batch", model.channels, model.size, model.size], "type": "float32",
            "range": "0 black, 1 white", "preparation": dict(model.preparation),
        },
    }  # fmt: skip
    if model.columns.width:
        inputs["columns"] = {
            "shape": ["batch", model.columns.width], "type": "float32", **dataclasses.asdict(model.columns),
        }  # fmt: skip
    return {
        "kind": "classifier", "backbone": model.config.classifier,
        "head": {"columns": head.columns, "scale": head.scale}, "classes": list(model.names),
        "labels": model.kind, "size": model.size, "channels": model.channels, "inputs": inputs,
        "normalisation": {
            "mean": [(value + 1) / 2 for value in model.mean], "std": [value / 2 for value in model.std],
            "of": "images in [0, 1]", "inside": format != "safetensors",
        },
        "output": {
            "logits": {
                "shape": ["batch", len(model.names)], "type": "float32",
                "probabilities": "sigmoid of each" if tags else "softmax",
            },
        },
        "licence": f"as the training data ({licence}){started}",
        "intended_use": "research and teaching; not for diagnosis",
    }  # fmt: skip
