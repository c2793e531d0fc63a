"""A trained generator as a file for other programs, with the facts about it.

Exported is the moving average in evaluation mode as one function (z, y) → images, in float32 on the CPU, with
the family's deterministic options and weights as they are used: spectral norm is divided out. Where the
family has a part that is of use alone, such as a flow's velocity, that is a file beside it. What was written
is run again and compared with the network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.autograd import Function

from plenish import files, settings
from plenish.errors import CheckFailed, InputError
from plenish.latent.sampling import Loaded, checked_options, load_generator, training_manifest
from plenish.networks.families import build_sampler
from plenish.networks.sampler import Part, Sampler
from plenish.progress import say, warn
from plenish.runs import versions

Format = Literal["onnx", "torchscript", "safetensors"]
TOLERANCE = 1e-4
"""Largest difference of an exported image from the network's, where images have the range [-1, 1]."""
_FILES = {"onnx": "generator.onnx", "torchscript": "generator.pt", "safetensors": "generator.safetensors"}


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """What was written.

    Attributes:
        path: the folder.
        file: the model in it.
        difference: largest difference of its images from the network's; None where it could not be run.
    """

    path: Path
    file: str
    difference: float | None

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "model": str(self.path / self.file), "facts": str(self.path / "config.json"),
            "largest_difference_from_the_network": self.difference,
        }  # fmt: skip


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
    config = {"verb": "export-model", "format": format, "opset": opset, **loaded.provenance(), **used}
    file = _FILES[format]
    parts = {f"{name}{Path(file).suffix}": part for name, part in network.parts().items()}
    if format == "safetensors":  # Its weights are those of all parts.
        parts = {}
    with files.atomic_dir(out, config) as partial:
        write_model(network, partial / file, format, opset, used)
        difference = largest_difference(network, partial / file, format, used)
        for name, part in parts.items():
            write_part(part, partial / name, format, opset)
            more = part_difference(part, partial / name, format)
            difference = None if difference is None or more is None else max(difference, more)
        if difference is not None and not difference <= TOLERANCE:
            raise CheckFailed(
                f"The {format} model's images differ from the network's by up to {difference:.2g}, more than "
                f"{TOLERANCE:g}, so nothing was written; another --as or --opset may do better."
            )
        facts = _facts(loaded, format, opset) | used | {
            "file": file, "largest_difference": difference, **_hashes(partial, file),
        }  # fmt: skip
        if parts:
            facts["parts"] = {
                name: _part_facts(part) | _hashes(partial, name) for name, part in parts.items()
            }
        files.write_record(partial / "config.json", facts)
    if format == "torchscript":
        say("A TorchScript file holds code beside weights: load it only if you trust its origin.")
    if difference is None:
        warn("the model was not run, since onnxruntime is missing; pip install 'plenish[onnx]' brings it.")
    return ExportedModel(out, file, difference)


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


def load_exported(folder: Path | str) -> Sampler:
    """The generator of a safetensors export, on the CPU in evaluation mode; nothing is unpickled.

    Args:
        folder: what `plenish export-model RUN FOLDER --as safetensors` wrote.

    Raises:
        InputError: the folder holds no such export, or its file was changed.
    """
    folder = Path(folder)
    facts = files.read_json(folder / "config.json")
    if not isinstance(facts, dict) or facts.get("format") != "safetensors":
        raise InputError(f"{folder} is not a safetensors export; make one with --as safetensors.")
    facts = files.verified(facts, folder / "config.json")
    path = folder / str(facts["file"])
    if not path.is_file() or files.sha256_file(path) != facts["sha256"]:
        raise InputError(f"{path} is missing or not what was exported; export the model again.")
    return _folded(build_sampler(facts["family"], facts["network"]), path)


def _folded(network: Sampler, path: Path) -> Sampler:
    """A new network with the weights of an export."""
    fold(network)
    network.load_state_dict(load_file(path))
    return network


def fold(network: torch.nn.Module) -> None:
    """Make every weight the one that is used, in place: divided by its spectral norm where it has one.

    Such layers offer the weight they use as `normed()`.
    """
    network.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)
    for module in network.modules():
        if hasattr(module, "normed"):
            weight = module.weight
            weight.copy_(module.normed())  # type: ignore[operator]
            vars(module)["normed"] = lambda weight=weight: weight


def write_model(
    network: Sampler, path: Path, format: Format, opset: int = 18, options: Mapping[str, Any] = {}
) -> None:
    """Write a folded generator to a file, with these options of its `sample`."""
    if format == "safetensors":
        with files.reporting_disk(path):
            save_file({k: value.contiguous() for k, value in network.state_dict().items()}, path)
    else:
        write_part(_whole(network, options), path, format, opset)


def write_part(part: Part, path: Path, format: Format, opset: int = 18) -> None:
    """Write a function of tensors to a file, as ONNX or TorchScript."""
    inputs = part.inputs(2)
    with torch.no_grad(), _silence():
        if format == "torchscript":
            with _without_own_derivatives():
                traced = torch.jit.trace(part.module, tuple(inputs.values()), check_trace=False)
            with files.reporting_disk(path), path.open("wb") as file:
                torch.jit.save(traced, file)
            return
        batch = torch.export.Dim("batch")
        program = torch.onnx.export(
            part.module, tuple(inputs.values()), input_names=list(inputs), output_names=[part.output],
            opset_version=opset, dynamo=True, dynamic_shapes=tuple({0: batch} for _ in inputs),
            verbose=False, optimize=True,
        )  # fmt: skip
        assert program is not None
        with files.reporting_disk(path):
            program.save(path)  # Weights beyond the limit of one ONNX file, 2 GB, are put beside it.


def _hashes(folder: Path, file: str) -> dict[str, Any]:
    """SHA-256 of the model's file, and of each file of weights beside it by name."""
    beside = sorted(path for path in folder.glob(f"{file}.*") if path.is_file())
    external = {"external_data": {path.name: files.sha256_file(path) for path in beside}} if beside else {}
    return {"sha256": files.sha256_file(folder / file), **external}


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


def largest_difference(
    network: Sampler, path: Path, format: Format, options: Mapping[str, Any] = {}
) -> float | None:
    """Largest difference of an exported model's images from the network's, over batches of 1 and 5.

    Returns:
        None where onnxruntime, which it takes to run ONNX, is not installed.
    """
    part = _whole(network, options)
    if format == "safetensors":
        module = _whole(_folded(type(network)(network.config), path), options).module
        return _difference(part, lambda inputs: module(*inputs.values()))
    return part_difference(part, path, format)


def part_difference(part: Part, path: Path, format: Format) -> float | None:
    """The same of a function of tensors."""
    if format == "torchscript":
        with _silence():
            script = torch.jit.load(path)
        return _difference(part, lambda inputs: script(*inputs.values()))
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        given = {name: value.numpy() for name, value in inputs.items()}
        return torch.from_numpy(session.run(None, given)[0])

    return _difference(part, run)


def _difference(part: Part, run: Callable[[Mapping[str, Tensor]], Tensor]) -> float:
    with torch.no_grad():
        examples = [part.inputs(n) for n in (1, 5)]
        return max(float((run(x) - part.module(*x.values())).abs().max()) for x in examples)


class _NoContext:
    """In place of the context of a `Function` whose backward pass is never called."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


@contextlib.contextmanager
def _without_own_derivatives() -> Iterator[None]:
    """Run functions with own derivatives as plain code: a trace cannot save calls of Python."""

    def plain(kind: Any, *arguments: Any) -> Any:
        return kind.forward(_NoContext(), *arguments)

    before = Function.__dict__["apply"]
    Function.apply = classmethod(plain)
    try:
        yield
    finally:
        Function.apply = before


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the messages of exporters off the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        out, err = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
        with warnings.catch_warnings(action="ignore"), out, err:
            yield
    finally:
        logging.disable(before)


def _part_facts(part: Part) -> dict[str, Any]:
    """Inputs and output of a part."""
    inputs = part.inputs(2)
    made = part.module(*inputs.values())
    return {
        "inputs": {name: _shape_and_type(value) for name, value in inputs.items()},
        "output": {part.output: _shape_and_type(made)},
    }


def _shape_and_type(value: Tensor) -> dict[str, Any]:
    kind = "bool" if value.dtype == torch.bool else "float32"
    return {"shape": ["batch", *value.shape[1:]], "type": kind}


def _facts(loaded: Loaded, format: Format, opset: int) -> dict[str, Any]:
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
        "schema": 1, "kind": "generator", "format": format, "opset": opset if format == "onnx" else None,
        "family": loaded.run.config["config"]["family"], "network": network.config.to_dict(),
        "inputs": inputs,
        "output": {"image": {"shape": ["batch", network.channels, side, side], "type": "float32",
                             "range": "-1 black, 1 white, within [-1, 1] or to be clipped to it"}},
        "moving_average": True, "provenance": loaded.provenance(),
        "licence": f"as the training data ({licence})",
        "intended_use": "training data for research and teaching; not for diagnosis",
        "versions": versions(),
    }  # fmt: skip
