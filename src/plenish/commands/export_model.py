"""`plenish export-model`: a trained generator or classifier as a file for other programs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from plenish import files
from plenish.configuration import assignments, check_bounds
from plenish.errors import InputError
from plenish.invocation import command
from plenish.runs import Run

if TYPE_CHECKING:
    from plenish.training.model_files import ExportedModel

Format = Literal["onnx", "torchscript", "safetensors"]
OPSETS = range(18, 24)
"""Versions of the ONNX operators that exports are tested with."""


@command("export-model", renamed={"format": "as"})
def export_model(
    run: Path, out: Path, *, format: Format = "onnx", checkpoint: str = "best", opset: int = 18,
    options: list[str] | None = None,
) -> ExportedModel:  # fmt: skip
    """Write a trained generator or classifier for other programs.

    OUT becomes a folder with the model and a config.json: network, inputs, labels, provenance, licence,
    intended use. A generator takes z, and y where it has labels, and gives images N×C×H×W, -1 black to 1
    white. A classifier takes images N×C×H×W, 0 black to 1 white, normalises them itself and gives logits
    N×K; 'plenish attack' takes its ONNX and TorchScript files. N may be any number. The model is run again
    and compared with the network.

    Args:
        run: a generator's or a classifier's Run.
        out: the folder to make; must not exist.
        format: onnx for any runtime; torchscript for PyTorch without Plenish (such a file holds code);
            safetensors is weights alone, no code, for plenish.load_exported; those of a classifier from timm
            also load in timm.create_model.
        checkpoint: best, last, or a checkpoint's name.
        opset: version of the ONNX operators.
        options: of a generator: options of its family as name=value, such as steps=10, which the model then
            always uses.

    Raises:
        InputError: no such Run, option or checkpoint, or a package is missing.
        CheckFailed: what was written does not compute what the network does.
    """
    check_bounds("--opset", opset, {"least": OPSETS[0], "most": OPSETS[-1]})
    missing = [name for name in ("onnx", "onnxscript") if importlib.util.find_spec(name) is None]
    if format == "onnx" and missing:
        raise InputError(
            f"ONNX takes {' and '.join(missing)}, not installed here; pip install 'plenish[onnx]' brings it."
        )
    files.refuse_existing(out, unless_made=True)
    # What loads torch comes after what does not need it.
    if Run.open(run, "generator", "classifier").kind == "classifier":
        if options:
            raise InputError(f"--options are of a generator's family, and {run} holds a classifier.")
        from plenish.metrics.classifier_export import export_classifier

        return export_classifier(run, out, format, checkpoint, opset)
    from plenish.latent.exporting import export_generator

    return export_generator(run, out, format, checkpoint, opset, assignments(options or []))
