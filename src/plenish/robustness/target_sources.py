"""Where classifiers come from: Runs, timm with weights, files of ONNX, TorchScript and torch.export.

A Run says what its images are, and so does what `plenish export-model` wrote beside a file. Other files do
not, so the classes, size and channels are those of the data; images in [0, 1] are normalised by a mean and a
standard deviation that are given, are those that timm knows of a network, or are left as they are, which is
said in the result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import logging
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from plenish import files
from plenish.errors import InputError, first_line
from plenish.networks.classifier import SMALL, Normalised, build_classifier, check_classifier
from plenish.networks.weights import read_weights
from plenish.progress import say, warn
from plenish.robustness.target import Target, check_attackable
from plenish.runs import Run
from plenish.training.classifier_model import Classifier, weights_of
from plenish.training.engine import Engine
from plenish.training.model_files import facts_beside

TIMM = "timm:"
SUFFIXES = {
    ".onnx": "onnx", ".pt": "torchscript", ".ts": "torchscript", ".torchscript": "torchscript",
    ".pt2": "torch.export",
}  # fmt: skip
"""Which kind of model a file holds, by the end of its name."""
_SAVED_BY = {"torchscript": "torch.jit.save", "torch.export": "torch.export.save"}


@dataclasses.dataclass(frozen=True)
class Expected:
    """What a model that is not a Run is taken to be for.

    Attributes:
        names: the K classes in the order of its logits.
        size: height and width of its images.
        channels: of its images.
        weights: of a timm network, a file of a state dict.
        mean: per channel, subtracted from images in [0, 1]; None for what is known of the network, or 0.
        std: per channel, by which they are then divided; None for what is known of the network, or 1.
    """

    names: Sequence[str]
    size: int
    channels: int
    weights: Path | None = None
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            if isinstance(value := getattr(self, name), (int, float)):
                object.__setattr__(self, name, (value,))
        for option, values in (("--mean", self.mean), ("--std", self.std)):
            if values is not None and len(values) not in (1, self.channels):
                raise InputError(
                    f"{option} takes 1 or {self.channels} numbers, one a channel, not {len(values)}."
                )
            outside = [x for x in values or () if not (0 <= x <= 1 and (x or option == "--mean"))]
            if outside:
                scale = "; divide by 255" if all(1 < x <= 255 for x in outside) else ""
                least = "of 0 or more" if option == "--mean" else "above 0"
                raise InputError(
                    f"{option} takes numbers {least}, at most 1, since images lie in 0 to 1, not "
                    f"{outside[0]:g}{scale}."
                )

    def normalisation(self, known: Mapping[str, Any]) -> tuple[list[float], list[float], bool]:
        """Mean and standard deviation per channel, and whether either is only assumed."""

        def of(given: Sequence[float] | None, name: str, otherwise: float) -> list[float]:
            values = list(given if given is not None else known.get(name, [otherwise]))
            if len(values) != self.channels:
                values = [sum(values) / len(values)] * self.channels
            return [float(value) for value in values]

        assumed = not known and self.mean is None and self.std is None
        return of(self.mean, "mean", 0.0), of(self.std, "std", 1.0), assumed


def open_target(
    source: str | Path, expected: Expected | None = None, *, exported: Mapping[str, Any] | None = None
) -> Target:
    """A classifier by what names it, on the device that the settings ask for, in evaluation mode.

    Args:
        source: a classifier's Run, `timm:NAME`, or a file of ONNX (`.onnx`), TorchScript (`.pt`, `.ts`,
            `.torchscript`) or torch.export (`.pt2`).
        expected: what a model other than a Run is for.
        exported: what `exported_classifier` says of a file, empty where it says nothing; by default it is
            asked, which reads the file once more.

    Raises:
        InputError: there is no such model, it takes other images, or has other classes.
    """
    text, path = str(source), Path(source)
    if not text.startswith(TIMM) and not path.exists():
        raise InputError(
            f"{source} does not exist; give a classifier's Run, {TIMM}NAME, or a file that ends in "
            f"{', '.join(SUFFIXES)}."
        )
    if path.is_dir():
        return target_of_run(path)
    if expected is None:
        raise InputError(f"{source} does not say what its images are; give the data with it.")
    if text.startswith(TIMM):
        return _timm(text.removeprefix(TIMM), expected)
    if expected.weights is not None:
        raise InputError(f"--weights goes with {TIMM}NAME; {source} has its own.")
    kind = SUFFIXES.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"{source} is no model that can be attacked; give a classifier's Run, {TIMM}NAME with --weights, "
            f"or a file that ends in {', '.join(SUFFIXES)}."
        )
    facts = (exported_classifier(path) or {}) if exported is None else exported
    return _of_file(path, kind, expected, facts)


def target_of_run(path: Path) -> Target:
    """The classifier of a Run that is complete.

    Raises:
        InputError: no such Run, or its classifier has no classes or takes columns.
    """
    run = Run.open(path, "classifier")
    about = {
        "kind": "run", "name": run.path.name, "path": str(run.path.resolve()), "run": run.id,
        "weights_sha256": files.sha256_file(weights_of(run.path)), "data": dict(run.config["data"]),
    }  # fmt: skip
    return Target.of_classifier(Classifier.of_run(run.path), about)


def _timm(name: str, expected: Expected) -> Target:
    if expected.weights is None:
        _refuse_own_classes(name, len(expected.names))
    with torch.random.fork_rng(devices=[]):
        network = build_classifier(
            name, expected.channels, expected.size, len(expected.names), pretrained=expected.weights is None
        )
    known = getattr(network, "pretrained_cfg", None) or {}
    about: dict[str, Any] = {"kind": "timm", "name": name}
    if expected.weights is not None:
        _load(network, expected.weights, expected.names)
        about |= {
            "path": str(expected.weights.resolve()), "weights_sha256": files.sha256_file(expected.weights),
        }  # fmt: skip
    return _target(network.eval(), expected, about, {k: known[k] for k in ("mean", "std") if k in known})


def _refuse_own_classes(name: str, classes: int) -> None:
    """Refuse timm's own weights where they are of other classes: the head would be an untrained one."""
    import timm

    check_classifier(name)
    known = None if name == SMALL else timm.get_pretrained_cfg(name)
    own = known.num_classes if known is not None else None
    if own != classes:
        of = (
            f"timm's weights of '{name}' have {own} classes" if own else f"'{name}' has no weights of its own"
        )
        raise InputError(
            f"{of} and the data {classes}; give weights that were trained on these: --weights FILE."
        )


def _load(network: nn.Module, path: Path, names: Sequence[str]) -> None:
    """Load a state dict as a whole: timm itself leaves out a head that is not of its own classes."""
    state, own = read_weights(path), network.state_dict()
    other = [key for key in own if key not in state or state[key].shape != own[key].shape]
    if other:
        raise InputError(
            f"{path} has no '{other[0]}' of shape {'×'.join(map(str, own[other[0]].shape))}; give weights of "
            f"this network that were trained on the {len(names)} classes of the data."
        )
    network.load_state_dict({key: state[key] for key in own})


def exported_classifier(path: Path) -> dict[str, Any] | None:
    """What `plenish export-model` says of a classifier's file; None of another file.

    Raises:
        InputError: it gives tags or takes columns, which an attack has no use for.
    """
    facts = facts_beside(path)
    if facts is None or facts["kind"] != "classifier":
        return None
    columns = facts["inputs"].get("columns", {}).get("columns", ())
    check_attackable(facts["labels"], [column["name"] for column in columns])
    return facts


def _of_file(path: Path, kind: str, expected: Expected, facts: Mapping[str, Any]) -> Target:
    about = {
        "kind": kind, "name": path.name, "path": str(path.resolve()),
        "weights_sha256": facts["sha256"] if facts else files.sha256_file(path),
    }  # fmt: skip
    known: Mapping[str, Any] = {}
    if facts:
        if expected.mean is not None or expected.std is not None:
            raise InputError(
                f"{path} normalises images itself; leave out --mean and --std.", code="normalisation-inside"
            )
        expected = dataclasses.replace(
            expected, names=facts["classes"], size=facts["size"], channels=facts["channels"]
        )
        about |= {"run": facts["provenance"]["run_id"], "data": facts["provenance"]["data"]}
        known = {"mean": [0.0], "std": [1.0]}
    if kind == "onnx":
        return _onnx(path, expected, about, known)
    if kind == "torchscript":
        say(f"{path} holds code beside weights: attack it only if you trust its origin.")
    module = _loaded(path, kind)
    return _target(_any_batch(module, expected), expected, about, known)


def _loaded(path: Path, kind: str) -> nn.Module:
    try:
        with warnings.catch_warnings(action="ignore"):
            if kind == "torchscript":
                script: nn.Module = torch.jit.load(path, map_location="cpu")
                return script.eval()
            with _silenced("torch.export"):
                program = torch.export.load(path)
            module, batch = program.module(), _fixed_batch(program)
            return module if batch is None else InBatches(module, batch)
    except Exception as error:  # what the loaders raise on other files has no type in common
        raise InputError(f"{path} {_why_not(path, kind, error)}.") from None


@contextlib.contextmanager
def _silenced(name: str) -> Iterator[None]:
    """Without the messages of a logger, whose library raises an error for what it logs."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _fixed_batch(program: torch.export.ExportedProgram) -> int | None:
    """The only size of batches that an exported program takes; None where it takes any."""
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in inputs:
            shape: tuple[Any, ...] = getattr(node.meta.get("val"), "shape", ())
            return shape[0] if len(shape) == 4 and isinstance(shape[0], int) else None
    return None


def _why_not(path: Path, kind: str, error: Exception) -> str:
    """Why a file is not opened, and what to give."""
    held, save = _held_in(path), f"save the network with {_SAVED_BY[kind]}"
    if held == kind:
        return f"does not open in this version of PyTorch ({first_line(error).rstrip('.')}); {save} here"
    if held == "weights":
        return f"holds weights and no network; give {TIMM}NAME with --weights {path}, or {save}"
    if held:
        ending = next(suffix for suffix, of in SUFFIXES.items() if of == held)
        return f"holds a {held} model; give it a name that ends in {ending}"
    return f"is damaged or no {kind} file; {save}"


def _held_in(path: Path) -> str:
    """What PyTorch wrote into a file: torchscript, torch.export or weights; empty where that is not seen."""
    with contextlib.suppress(zipfile.BadZipFile, OSError), zipfile.ZipFile(path) as archive:
        names = {name.partition("/")[2] or name for name in archive.namelist()}
        if any(name.startswith("code/") for name in names):
            return "torchscript"
        if names & {"archive_format", "serialized_exported_program.json"}:
            return "torch.export"
        return "weights" if "data.pkl" in names else ""
    return ""


def _target(
    module: nn.Module, expected: Expected, about: dict[str, Any], known: Mapping[str, Any], *,
    differentiable: bool = True,
) -> Target:  # fmt: skip
    """The target of a module, with its normalisation, moved to the device."""
    mean, std, assumed = expected.normalisation(known)
    whole = Normalised(module, mean, std)
    # A torch.export module refuses eval(); its mode was fixed when it was exported.
    for part in whole.modules():
        part.training = False
    if differentiable:
        whole = whole.to(Engine.from_settings().device)
    about = about | {"mean": mean, "std": std, "assumed_input": assumed}
    return Target.of_module(
        whole, expected.size, expected.channels, expected.names, about, differentiable=differentiable
    )


class InBatches(nn.Module):
    """A module that was exported for batches of one size, for any: in pieces, the last filled up."""

    def __init__(self, module: nn.Module, batch: int) -> None:
        """Wrap a module; `batch` is its size."""
        super().__init__()
        self.training = False
        self.module, self.batch = module, batch

    def forward(self, images: Tensor) -> Tensor:
        """Images N×C×H×W → logits N×K."""
        missing = -len(images) % self.batch
        filled = torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing else images
        found = torch.cat([self.module(piece) for piece in filled.split(self.batch)])
        return found[: len(images)]


def _any_batch(module: nn.Module, expected: Expected) -> nn.Module:
    """The module, or one that splits batches where it takes only those of one image."""
    image = torch.full((1, expected.channels, expected.size, expected.size), 0.5)

    def takes(n: int) -> bool:
        with contextlib.suppress(Exception), torch.no_grad(), warnings.catch_warnings(action="ignore"):
            found = module(image.expand(n, -1, -1, -1).contiguous())
            return isinstance(found, Tensor) and len(found) == n
        return False

    return InBatches(module, 1) if not takes(3) and takes(1) else module


def _onnx(path: Path, expected: Expected, about: dict[str, Any], known: Mapping[str, Any]) -> Target:
    """An ONNX model: as a PyTorch module where that computes the same, else as it is, without gradients."""
    run, batch = _session(path, expected)
    reference: nn.Module = OnnxModule(run)
    if batch is not None:
        reference = InBatches(reference, batch)
    module, why = _converted(path)
    if module is not None:
        module = InBatches(module, batch) if batch is not None else module
        try:
            if _same(module, reference, expected):
                return _target(module, expected, about | {"runs_as": "torch"}, known)
            why = "it computes something else"
        except Exception as error:
            why = first_line(error)
    warn(
        f"{path} cannot be differentiated ({why.rstrip('.')}), so only attacks that need no gradients are "
        "tried: what they find is far from the worst case."
    )
    about |= {"runs_as": "onnxruntime", "not_differentiable": why}
    return _target(reference, expected, about, known, differentiable=False)


class OnnxModule(nn.Module):
    """A function of arrays, run on the CPU, as a module without gradients."""

    def __init__(self, run: Callable[[Any], Any]) -> None:
        """Wrap it."""
        super().__init__()
        self.training = False
        self.run = run

    def forward(self, images: Tensor) -> Tensor:
        """Images N×C×H×W → logits N×K."""
        found = torch.from_numpy(self.run(images.detach().cpu().float().contiguous().numpy()))
        return found.to(images.device)


def _session(path: Path, expected: Expected) -> tuple[Callable[[Any], Any], int | None]:
    """What runs an ONNX file, and the size of its batches where that is fixed."""
    if importlib.util.find_spec("onnxruntime") is None:
        raise InputError(
            "An ONNX file takes onnxruntime, not installed here; pip install 'plenish[onnx]' brings it."
        )
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        if type(error).__name__ == "InvalidProtobuf":
            raise InputError(
                f"{path} is damaged or no ONNX file; export the network with torch.onnx.export."
            ) from None
        raise InputError(f"{path} is refused by onnxruntime ({first_line(error).rstrip('.')}).") from None
    inputs = session.get_inputs()
    shape = list(inputs[0].shape)
    wanted = [None, expected.channels, expected.size, expected.size]
    fits = len(shape) == 4 and all(
        not isinstance(side, int) or side == want for side, want in zip(shape[1:], wanted[1:], strict=True)
    )
    if len(inputs) != 1 or not fits or inputs[0].type != "tensor(float)":
        sides = "×".join(map(str, shape))
        raise InputError(
            f"{path} takes {len(inputs)} input{'s' * (len(inputs) != 1)}, the first {sides} of "
            f"{inputs[0].type}; an attack needs one of float images N×{expected.channels}×{expected.size}×"
            f"{expected.size}."
        )

    def run(images: Any) -> Any:
        return session.run([session.get_outputs()[0].name], {inputs[0].name: images})[0]

    return run, shape[0] if isinstance(shape[0], int) else None


def _converted(path: Path) -> tuple[nn.Module | None, str]:
    """An ONNX model as a PyTorch module, or why there is none. onnx2pytorch is optional, as is onnxscript."""
    missing = [name for name in ("onnx", "onnxscript", "onnx2pytorch") if not importlib.util.find_spec(name)]
    if missing:
        return None, f"that takes {' and '.join(missing)}, not installed here"
    import onnx
    import onnx2pytorch
    import onnxscript.optimizer

    try:
        with warnings.catch_warnings(action="ignore"), torch.random.fork_rng(devices=[]):
            # Constants that are named twice are joined, which exporters leave and the converter refuses.
            model = onnxscript.optimizer.optimize(onnx.load(path))
            module: nn.Module = onnx2pytorch.ConvertModel(model, experimental=True)
        return module.eval(), ""
    except Exception as error:
        return None, first_line(error)


def _same(module: nn.Module, reference: nn.Module, expected: Expected) -> bool:
    """Whether two modules compute the same of five random images, up to rounding."""
    rng = torch.Generator().manual_seed(0)
    images = torch.rand(5, expected.channels, expected.size, expected.size, generator=rng)
    with torch.no_grad(), warnings.catch_warnings(action="ignore"):
        ours, theirs = module(images), reference(images)
    return bool(torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4 * float(theirs.abs().max() + 1e-6)))
