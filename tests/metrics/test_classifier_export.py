"""Classifiers of every kind as files: what is in them, and that they compute what the classifier does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from tests.fixed_batch import FixedBatch
from torch import nn

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.errors import CheckFailed, InputError
from plenish.metrics.classifier_export import export_classifier
from plenish.networks.classifier import build_classifier
from plenish.networks.sampler import Part
from plenish.robustness.target_sources import Expected, open_target
from plenish.runs import Run
from plenish.training.checkpoints import save_checkpoint
from plenish.training.classifier_columns import NO_COLUMNS, Columns
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import CLASSIFIER, Classifier, head_of
from plenish.training.model_files import Exportable, Format, load_exported, write_export, write_part

NAMES = ("class1", "other", "class0")
AGE = Columns.fit(pd.DataFrame({"age": [40.0, 60.0]}), np.arange(2), ("age",))
OPTIONS: dict[str, dict[str, Any]] = {
    "small, grey": {"channels": 1},
    "small, columns and cosines": {"columns": AGE, "config": {"columns": ("age",), "loss": "ldam"}},
    "cosines": {"config": {"loss": "ldam"}},
    "tags": {"kind": "multilabel"},
    "convolutions of timm": {"config": {"classifier": "test_efficientnet"}, "size": 32},
    "grey transformer of timm": {"config": {"classifier": "test_vit"}, "size": 32, "channels": 1},
}


def a_run(
    path: Path, *, channels: int = 3, size: int = 16, kind: str = "categorical",
    columns: Columns = NO_COLUMNS, config: dict[str, Any] | None = None, data: dict[str, Any] | None = None,
) -> tuple[Run, Classifier]:  # fmt: skip
    """A Run with a classifier of random weights, also where they begin as zeros or ones."""
    how = ClassifierConfig(**(config or {}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_classifier(how.classifier, channels, size, len(NAMES), head=head_of(how, columns))
        with torch.no_grad():
            for value in network.state_dict().values():
                if value.is_floating_point():
                    value.add_(0.1 * torch.rand_like(value))
    model = Classifier(
        network.eval(), how, NAMES, channels, size, (0.25, 0.0, -0.5)[:channels], (0.5, 0.4, 0.3)[:channels],
        "float32", kind, columns,
    )  # fmt: skip
    run = Run.create(path, "classifier", {}, data=data or {"name": "data"})
    model.save(run.path / CLASSIFIER)
    return run, model


def inputs_of(model: Classifier, n: int) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(n)
    images = torch.rand(n, model.channels, model.size, model.size, generator=rng)
    width = model.columns.width
    return [images] + ([torch.randn(n, width, generator=rng)] if width else [])


@pytest.mark.parametrize(
    ("name", "format"),
    [
        *((name, format) for name in OPTIONS for format in ("torchscript", "safetensors")),
        # The others are slow to write, and no different.
        ("small, columns and cosines", "onnx"),
        pytest.param("grey transformer of timm", "onnx", marks=pytest.mark.slow),
    ],
)
def test_of_any_number_of_images_the_file_gives_the_classifiers_logits(
    name: str, format: Format, tmp_path: Path
) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
        runtime = pytest.importorskip("onnxruntime")
    run, model = a_run(tmp_path / "run", **OPTIONS[name])
    made = export_classifier(run.path, tmp_path / "out", format)
    file, plain = made.path / made.file, model.module()
    if format == "onnx":
        session = runtime.InferenceSession(file)
        assert session.get_inputs()[0].name == "images"
    elif format == "torchscript":
        script = torch.jit.load(file)
    for n in (1, 2, 9):
        given = inputs_of(model, n)
        with torch.no_grad():
            wanted = plain(given[0] * 2 - 1, *given[1:])
            if format == "onnx":
                names = ("images", "columns")
                fed = {key: value.numpy() for key, value in zip(names, given, strict=False)}
                found = torch.from_numpy(session.run(["logits"], fed)[0])
            else:
                found = (script if format == "torchscript" else load_exported(made.path))(*given)
        assert float(wanted.std()) > 1e-3
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_facts_beside_the_model_say_how_it_is_used(stripes: Any, tmp_path: Path) -> None:
    data: Dataset = stripes()
    provenance = data.provenance("default") | {"part": "train"}
    run, model = a_run(tmp_path / "run", data=provenance, config={"pretrained": True})
    made = export_classifier(run.path, tmp_path / "out", "torchscript")
    facts = json.loads((made.path / "config.json").read_text(encoding="utf-8"))
    assert (facts["kind"], facts["backbone"], facts["file"]) == ("classifier", "small", "classifier.pt")
    assert (tuple(facts["classes"]), facts["size"], facts["channels"]) == (NAMES, 16, 3)
    assert facts["inputs"]["images"]["shape"] == ["batch", 3, 16, 16]
    assert facts["inputs"]["images"]["range"] == "0 black, 1 white"
    assert facts["normalisation"]["inside"] is True
    images = torch.rand(2, 3, 16, 16)
    mean, std = (torch.tensor(facts["normalisation"][key]).view(-1, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        torch.testing.assert_close(model.network((images - mean) / std), model.module()(images * 2 - 1))
    assert facts["output"]["logits"] == {
        "shape": ["batch", 3], "type": "float32", "probabilities": "softmax",
    }  # fmt: skip
    assert facts["calibration"] is None
    assert facts["provenance"]["run_id"] == run.id
    assert facts["licence"].startswith("as the training data (")
    assert "weights that its training started from" in facts["licence"]
    assert "not for diagnosis" in facts["intended_use"]


def test_weights_alone_are_those_of_timms_network(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    run, model = a_run(tmp_path / "run", size=32, config={"classifier": "test_efficientnet"})
    made = export_classifier(run.path, tmp_path / "out", "safetensors")
    facts = json.loads((made.path / "config.json").read_text(encoding="utf-8"))
    file, normalisation = made.path / made.file, facts["normalisation"]
    network = timm.create_model(facts["backbone"], num_classes=len(facts["classes"]), in_chans=3)
    network.load_state_dict(load_file(file))
    assert normalisation["inside"] is False
    expected = Expected(NAMES, 32, 3, file, normalisation["mean"], normalisation["std"])
    target, images = open_target("timm:test_efficientnet", expected), torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(target.module(images), model.module()(images * 2 - 1))


def test_another_checkpoint_has_its_own_weights_and_no_calibration(tmp_path: Path) -> None:
    run, model = a_run(tmp_path / "run")
    folder = run.path / "checkpoints"
    best = save_checkpoint(folder, 640, {"classifier": model.network}, {}, {})
    run.update_status(best={"checkpoint": best.name, "step": 10})
    files.write_record(run.path / CLASSIFIER / "calibration.json", {"temperature": 1.5, "images": 7})
    with torch.no_grad():
        model.network.head.bias.add_(1)
    save_checkpoint(folder, 1280, {"classifier": model.network}, {}, {})
    facts, head = {}, {}
    for name in ("best", best.name, "last"):
        made = export_classifier(run.path, tmp_path / f"out-{name}", "safetensors", name)
        facts[name] = json.loads((made.path / "config.json").read_text(encoding="utf-8"))
        head[name] = load_file(made.path / made.file)["head.bias"]
    assert facts["best"]["calibration"] == {
        "temperature": 1.5, "inside": False, "val_images": 7, "use": "softmax(logits / temperature)",
    }  # fmt: skip
    assert facts[best.name] == facts["best"]
    assert (facts["last"]["calibration"], facts["last"]["provenance"]["step"]) == (None, 20)
    torch.testing.assert_close(head["last"], head["best"] + 1)
    with pytest.raises(InputError, match="640"):
        export_classifier(run.path, tmp_path / "none", "safetensors", "kimg-7")


class Log(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.log()


@pytest.mark.parametrize(("network", "said"), [(nn.Identity(), "nan"), (Log(), "not finite")])
def test_results_that_are_no_numbers_are_refused(network: nn.Module, said: str, tmp_path: Path) -> None:
    part = Part(network, lambda n: {"images": torch.full((n, 1), 1.0 if n == 1 else -1.0)}, "logits")
    model = Exportable(part, nn.Linear(1, 1), lambda path: Log())
    with pytest.raises(CheckFailed, match=said):
        write_export(tmp_path / "out", model, "safetensors", 18, {"kind": "classifier"}, asked={})
    assert not list(tmp_path.iterdir())


def refuse(error: Exception) -> Any:
    """A function that raises an error."""

    def raising(*_: object, **__: object) -> Any:
        raise error

    return raising


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_a_file_that_the_runtime_rejects_is_a_failed_check(
    format: Format, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
        runtime, opener = pytest.importorskip("onnxruntime"), "InferenceSession"
    else:
        runtime, opener = torch.jit, "load"
    part = Part(nn.ReLU().eval(), lambda n: {"images": torch.ones(n, 4)}, "logits")
    model = Exportable(part, part.module, lambda path: part.module)
    for error, raised in ((RuntimeError("no such operator"), CheckFailed), (MemoryError(), MemoryError)):
        monkeypatch.setattr(runtime, opener, refuse(error))
        with pytest.raises(raised):
            write_export(tmp_path / "out", model, format, 18, {"kind": "classifier"}, asked={})
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("memory")])
@pytest.mark.parametrize("wrapped", [False, True])
def test_memory_that_does_not_suffice_is_not_laid_on_the_format(
    error: Exception, wrapped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer: Exception = error
    if wrapped:
        outer = RuntimeError("tracing failed")
        outer.__cause__ = error
    monkeypatch.setattr(torch.jit, "trace", refuse(outer))
    part = Part(nn.ReLU().eval(), lambda n: {"images": torch.ones(n, 4)}, "logits")
    with pytest.raises(type(error)):
        write_part(part, tmp_path / "model.pt", "torchscript")


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_a_network_that_cannot_be_written_for_any_number_of_images_is_refused(
    format: Format, tmp_path: Path
) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    part = Part(FixedBatch(4).eval(), lambda n: {"images": torch.ones(n, 4)}, "logits")
    model = Exportable(part, part.module, lambda path: part.module)
    # Which it is depends on whether the exporter notices.
    with pytest.raises((InputError, CheckFailed), match=format):
        write_export(tmp_path / "out", model, format, 18, {"kind": "classifier"}, asked={})
    assert not list(tmp_path.iterdir())
