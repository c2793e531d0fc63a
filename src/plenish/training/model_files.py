"""Networks as files for other programs: ONNX, TorchScript and safetensors.

Written is a function of tensors, in float32 on the CPU, for any number of images, with the facts about it in
a folder. What was written is run again and compared with the network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.autograd import Function

from plenish import files
from plenish.errors import CheckFailed, InputError, first_line
from plenish.networks.classifier import Normalised, build_classifier
from plenish.networks.classifier_parts import Head
from plenish.networks.families import build_sampler
from plenish.networks.sampler import Part, Sampler
from plenish.progress import say, warn
from plenish.runs import versions

Network = TypeVar("Network", bound=nn.Module)
Format = Literal["onnx", "torchscript", "safetensors"]
TOLERANCE = 1e-4
"""Largest difference of what is computed from the network's, where that lies in [-1, 1]."""
_SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors"}
_FACTS = "config.json"
_OUT_OF_MEMORY = (MemoryError, torch.OutOfMemoryError)
_Runs = Callable[[Mapping[str, Tensor]], Tensor]
"""What computes the output of a model that was written from its inputs."""


class Exportable(NamedTuple):
    """A network that can be written.

    Attributes:
        whole: what it computes.
        weights: the module whose weights a safetensors file holds.
        rebuilt: a function that computes the same, from such a file.
    """

    whole: Part
    weights: nn.Module
    rebuilt: Callable[[Path], nn.Module]


@dataclasses.dataclass(frozen=True)
class ExportedModel:
    """What was written.

    Attributes:
        path: the folder.
        file: the model in it.
        difference: largest difference of its results from the network's; None where it could not be run.
    """

    path: Path
    file: str
    difference: float | None

    def summary(self) -> dict[str, Any]:
        """JSON-able form."""
        return {
            "model": str(self.path / self.file), "facts": str(self.path / _FACTS),
            "largest_difference_from_the_network": self.difference,
        }  # fmt: skip


def write_export(
    out: Path, model: Exportable, format: Format, opset: int, facts: Mapping[str, Any], *,
    asked: Mapping[str, Any], parts: Mapping[str, Part] = {}, tolerance: float = TOLERANCE,
) -> ExportedModel:  # fmt: skip
    """Write a network, its parts and the facts about it to a new folder.

    Args:
        out: the folder; must not exist.
        model: the network.
        format: kind of file.
        opset: version of the ONNX operators.
        facts: what `config.json` says beside what is known here; their `kind` names the file.
        asked: what else decides the content; JSON-able.
        parts: functions of use alone by name, each a file of its own; safetensors has their weights already.
        tolerance: the largest difference from the network.

    Raises:
        InputError: the network cannot be written in this format.
        CheckFailed: what was written does not compute what the network does.
    """
    file, suffix = f"{facts['kind']}{_SUFFIXES[format]}", _SUFFIXES[format]
    beside = {} if format == "safetensors" else {f"{name}{suffix}": part for name, part in parts.items()}
    asked = {"verb": "export-model", "format": format, "opset": opset, **asked}
    with files.atomic_dir(out, asked) as partial:
        write_model(model, partial / file, format, opset)
        found = [largest_difference(model, partial / file, format)]
        for name, part in beside.items():
            write_part(part, partial / name, format, opset)
            found.append(part_difference(part, partial / name, format))
        difference = None if None in found else _largest(found)
        if difference is not None and not difference <= tolerance:
            raise CheckFailed(
                f"What the {format} model computes differs from what the network does by up to "
                f"{difference:.2g}, more than {tolerance:.2g}, so nothing was written; another --as or "
                "--opset may do better."
            )
        written: dict[str, Any] = {
            "schema": 1, "format": format, "opset": opset if format == "onnx" else None, **facts,
            "file": file, "largest_difference": difference, "versions": versions(),
            **_hashes(partial, file),
        }  # fmt: skip
        if beside:
            written["parts"] = {
                name: _part_facts(part) | _hashes(partial, name) for name, part in beside.items()
            }
        files.write_record(partial / _FACTS, written)
    if format == "torchscript":
        say("A TorchScript file holds code beside weights: load it only if you trust its origin.")
    if difference is None:
        warn("the model was not run, since onnxruntime is missing; pip install 'plenish[onnx]' brings it.")
    return ExportedModel(out, file, difference)


def load_exported(folder: Path | str) -> Sampler | Normalised:
    """The network of a safetensors export, on the CPU in evaluation mode; nothing is unpickled.

    Args:
        folder: what `plenish export-model RUN FOLDER --as safetensors` wrote.

    Returns:
        A generator; or a classifier, images N×C×H×W in [0, 1] (and columns N×D where it takes some) → logits
        N×K.

    Raises:
        InputError: the folder holds no such export, or its file was changed.
    """
    folder = Path(folder)
    facts = files.read_json(folder / _FACTS)
    if not isinstance(facts, dict) or facts.get("format") != "safetensors":
        raise InputError(f"{folder} is not a safetensors export; make one with --as safetensors.")
    facts = files.verified(facts, folder / _FACTS)
    path = folder / str(facts["file"])
    if not path.is_file() or files.sha256_file(path) != facts["sha256"]:
        raise InputError(f"{path} is missing or not what was exported; export the model again.")
    if facts["kind"] == "classifier":
        return classifier_of(facts, path)
    return with_weights(build_sampler(facts["family"], facts["network"]), path)


def facts_beside(file: Path) -> dict[str, Any] | None:
    """What an export says of its file; None where it is of something else, or a file was changed.

    The file itself and the files of weights beside it are compared with what was written.
    """
    path = file.parent / _FACTS
    try:
        facts = files.read_record(path)
        if not {"kind", "file", "sha256", "provenance"} <= facts.keys() or facts["file"] != file.name:
            return None
        hashes = {file.name: facts["sha256"], **facts.get("external_data", {})}
        same = all(files.sha256_file(file.parent / name) == known for name, known in hashes.items())
        return facts if same else None
    except (InputError, OSError):  # Other programs have files of that name, too.
        return None


def classifier_of(facts: Mapping[str, Any], path: Path) -> Normalised:
    """The classifier that facts describe, with the weights of a file: images in [0, 1] → logits N×K.

    Args:
        facts: `backbone`, `head`, `channels`, `size`, `classes` and `normalisation` of an export.
        path: the file.
    """
    with torch.random.fork_rng(devices=[]):
        network = build_classifier(
            facts["backbone"], facts["channels"], facts["size"], len(facts["classes"]),
            head=Head(**facts["head"]),
        )  # fmt: skip
    mean, std = (facts["normalisation"][name] for name in ("mean", "std"))
    return Normalised(with_weights(network, path), mean, std).eval()


def with_weights(network: Network, path: Path) -> Network:
    """A new network with the weights of an export."""
    fold(network)
    network.load_state_dict(load_file(path))
    return network


def fold(network: nn.Module) -> None:
    """Make every weight the one that is used, in place: divided by its spectral norm where it has one.

    Such layers offer the weight they use as `normed()`.
    """
    network.eval().requires_grad_(False).to(memory_format=torch.contiguous_format)
    for module in network.modules():
        if hasattr(module, "normed"):
            weight = module.weight
            weight.copy_(module.normed())  # type: ignore[operator]
            vars(module)["normed"] = lambda weight=weight: weight


def write_model(model: Exportable, path: Path, format: Format, opset: int = 18) -> None:
    """Write a folded network to a file."""
    if format == "safetensors":
        with files.reporting_disk(path):
            save_file({k: value.contiguous() for k, value in model.weights.state_dict().items()}, path)
    else:
        write_part(model.whole, path, format, opset)


def write_part(part: Part, path: Path, format: Format, opset: int = 18) -> None:
    """Write a function of tensors to a file, as ONNX or TorchScript.

    Raises:
        InputError: it cannot be written as that.
    """
    inputs = part.inputs(2)
    try:
        with torch.no_grad(), _silence():
            made = _traced(part, inputs) if format == "torchscript" else _as_onnx(part, inputs, opset)
    except Exception as error:  # what exporters raise has no type in common
        _raise_out_of_memory(error)
        raise InputError(
            f"The network cannot be written as {format} ({_reason(error)}); another --as may do."
        ) from error
    with files.reporting_disk(path), _silence():
        if format == "torchscript":
            with path.open("wb") as file:
                torch.jit.save(made, file)
        else:
            made.save(path)  # Weights beyond the limit of one ONNX file, 2 GB, are put beside it.


def _traced(part: Part, inputs: Mapping[str, Tensor]) -> Any:
    with _without_own_derivatives():
        return torch.jit.trace(part.module, tuple(inputs.values()), check_trace=False)


def _as_onnx(part: Part, inputs: Mapping[str, Tensor], opset: int) -> Any:
    batch = torch.export.Dim("batch")
    return torch.onnx.export(
        part.module, tuple(inputs.values()), input_names=list(inputs), output_names=[part.output],
        opset_version=opset, dynamo=True, dynamic_shapes=tuple({0: batch} for _ in inputs),
        verbose=False, optimize=True,
    )  # fmt: skip


def _reason(error: BaseException) -> str:
    """What an error says of its cause, in a line."""
    return first_line(_cause(error)).rstrip(".")


def _cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _raise_out_of_memory(error: BaseException) -> None:
    """Raise the cause of an error where it is that memory did not suffice: another format would not help."""
    cause = _cause(error)
    if isinstance(cause, _OUT_OF_MEMORY):
        raise cause


def _hashes(folder: Path, file: str) -> dict[str, Any]:
    """SHA-256 of the model's file, and of each file of weights beside it by name."""
    beside = sorted(path for path in folder.glob(f"{file}.*") if path.is_file())
    external = {"external_data": {path.name: files.sha256_file(path) for path in beside}} if beside else {}
    return {"sha256": files.sha256_file(folder / file), **external}


def largest_difference(model: Exportable, path: Path, format: Format) -> float | None:
    """Largest difference of what an exported model computes from the network's, over batches of 1 and 5.

    Returns:
        None where onnxruntime, which it takes to run ONNX, is not installed.

    Raises:
        CheckFailed: it does not run, or the network computes numbers that are not finite.
    """
    if format == "safetensors":
        return _difference(model.whole, lambda: _called(model.rebuilt(path)), format)
    return part_difference(model.whole, path, format)


def part_difference(part: Part, path: Path, format: Format) -> float | None:
    """The same of a function of tensors."""
    if format == "torchscript":
        return _difference(part, lambda: _called(torch.jit.load(path)), format)
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    return _difference(part, lambda: _session(path), format)


def _called(module: Callable[..., Tensor]) -> _Runs:
    return lambda inputs: module(*inputs.values())


def _session(path: Path) -> _Runs:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, Tensor]) -> Tensor:
        given = {name: value.numpy() for name, value in inputs.items()}
        return torch.from_numpy(session.run(None, given)[0])

    return run


def _difference(part: Part, opened: Callable[[], _Runs], format: Format) -> float:
    """Largest difference of what is opened from a function of tensors."""
    with torch.no_grad():
        examples = [part.inputs(n) for n in (1, 5)]
        wanted = [part.module(*inputs.values()) for inputs in examples]
        if not all(bool(one.isfinite().all()) for one in wanted):
            raise CheckFailed(
                "The network itself computes numbers that are not finite, so nothing was written; use "
                "another checkpoint of the Run."
            )
        try:
            with _silence():
                run = opened()
            found = [run(inputs) for inputs in examples]
        except Exception as error:  # whatever a runtime raises
            _raise_out_of_memory(error)
            raise CheckFailed(
                f"The {format} model does not run ({_reason(error)}), so nothing was written; another --as "
                "or --opset may do better."
            ) from error
        return _largest([float((a - b).abs().max()) for a, b in zip(found, wanted, strict=True)])


def _largest(values: Sequence[Any]) -> float:
    """The largest number; NaN where one is, which Python's `max` may pass over."""
    return float(torch.tensor(values, dtype=torch.float64).max())


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
