"""`plenish export-model` of a classifier, and what `plenish attack` says of the file."""

from __future__ import annotations

import contextlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from plenish import cli, files, settings
from plenish.commands.export_model import export_model
from plenish.commands.harden import harden
from plenish.commands.train_autoencoder import train_autoencoder
from plenish.commands.train_classifier import train_classifier_run
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.robustness.evaluation import evaluate
from plenish.runs import Run
from plenish.training.classifier_model import CLASSIFIER, Classifier, labelled_images
from plenish.training.model_files import facts_beside

QUICK: dict[str, Any] = {"steps": 12, "batch": 8, "evaluations": 2}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Dataset of noise that is a little brighter in one class, and classifiers of it."""
    home, rng = tmp_path_factory.mktemp("home"), np.random.default_rng(0)
    code = np.arange(120) % 2
    light = 110 + 40 * code + rng.normal(0, 25, 120)
    pixels = rng.normal(light[:, None, None, None], 30, (120, 12, 12, 3))
    parts = np.array(["train", "train", "val", "val", "test"])[np.arange(120) // 4 % 5]
    rows = [
        {"label": "ba"[code[i]], "group": f"g{i // 4}", "part": str(parts[i])} for i in range(120)
    ]  # fmt: skip
    labels = LabelSchema("categorical", ("b", "a"))
    with DatasetWriter(
        home / "data", name="data", size=12, channels=3, labels=labels, config={}, licence="CC0"
    ) as writer:
        writer.add(pixels.clip(0, 255).astype(np.uint8), rows)
    with settings.use(quiet=True, threads=1, precision="float32", device="cpu"):
        train_classifier_run(home / "data", home / "plain", **QUICK)
        harden(home / "data", home / "hard", eps="2/255", attack_steps=2, validation_steps=1, **QUICK)
    return home


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)


def export(*words: Any) -> int:
    return cli.run(["export-model", *map(str, words), "--quiet", "--threads", "1"])


def attacked(model: Path | str, out: Path) -> tuple[dict[str, Any], pd.DataFrame]:
    words = [
        "--attacks", "noise", "--eps", "0", "2/255", "--no-corruptions", "--threads", "1", "--device", "cpu",
        "--precision", "float32", "--quiet",
    ]  # fmt: skip
    assert cli.run(["attack", str(model), "data", "--out", str(out), *words]) == 0
    return json.loads((out / "attack.json").read_text()), pd.read_parquet(out / "examples.parquet")


def codes(content: dict[str, Any]) -> set[str]:
    return {caveat["code"] for caveat in content["caveats"]}


@pytest.mark.parametrize(("run", "format"), [("hard", "onnx"), ("plain", "torchscript")])
def test_the_file_is_attacked_as_the_run_is(
    run: str, format: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    capsys.readouterr()
    assert export(run, tmp_path / "out", "--as", format, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["largest_difference_from_the_network"] <= 1e-4
    file, itself = attacked(told["model"], tmp_path / "file"), attacked(run, tmp_path / "run")
    assert file[0]["classifier"]["kind"] == format
    assert file[0]["clean"] == itself[0]["clean"]
    assert codes(file[0]) - {"not-differentiable"} == codes(itself[0])
    assert set(file[1]["prediction"]) == {"a", "b"}
    assert list(file[1]["id"]) == list(itself[1]["id"])
    assert list(file[1]["prediction"]) == list(itself[1]["prediction"])
    facts = json.loads(Path(told["facts"]).read_text())
    assert facts["classes"] == ["b", "a"]
    assert facts["licence"] == "as the training data (CC0)"
    kept = json.loads((Path(run) / CLASSIFIER / "calibration.json").read_text())
    assert facts["calibration"]["temperature"] == kept["temperature"]
    assert ("hardening" in facts["provenance"]) == (run == "hard")


def test_an_attack_knows_what_is_said_beside_the_file(
    tmp_path: Path,
) -> None:
    """Classes by their names, and on which split it was trained; nothing of a file that is another."""
    assert export("plain", tmp_path / "out", "--as", "torchscript") == 0
    file, data = tmp_path / "out" / "classifier.pt", Dataset.open("data")
    fast: dict[str, Any] = {"attacks": ("noise",), "eps": (2 / 255,), "corruptions": False, "resamples": 100}
    itself = evaluate(file, data, **fast)
    assert itself.content["classifier"]["run"] == Run.open("plain").id
    rows = data.part("val", purpose="score")
    images = torch.from_numpy(rows.images()).permute(0, 3, 1, 2)
    swapped = evaluate(file, (images, 1 - rows.codes), names=("a", "b"), **fast)
    one, other = swapped.content["clean"]["accuracy"], itself.content["clean"]["accuracy"]
    assert one[0] == other[0]  # Tensors have no groups, so intervals differ.
    assert list(swapped.examples["prediction"]) == list(itself.examples["prediction"])
    parts = ["val", "val", "train", "train", "test"]
    with contextlib.suppress(InputError):  # It is there.
        data.add_split("other", [parts[i // 4 % 5] for i in range(len(data))], {})
    with pytest.raises(InputError) as told:
        evaluate(file, data, split="other", **fast)
    assert told.value.code == "other-split"
    with pytest.raises(InputError) as told:
        evaluate(file, data, mean=[0.5], **fast)
    assert told.value.code == "normalisation-inside"
    with file.open("ab") as end:
        end.write(b" ")
    assert "run" not in evaluate(file, data, **fast).content["classifier"]


def test_a_file_is_read_once_and_known_by_all_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert export("plain", tmp_path / "out", "--as", "torchscript") == 0
    file, read = tmp_path / "out" / "classifier.pt", []
    real = files.sha256_file
    monkeypatch.setattr(files, "sha256_file", lambda path: read.append(path) or real(path))
    fast: dict[str, Any] = {"attacks": ("noise",), "eps": (2 / 255,), "corruptions": False, "resamples": 100}
    about = evaluate(file, Dataset.open("data"), **fast).content["classifier"]
    assert read.count(file) == 1
    assert about["weights_sha256"] == real(file)
    facts, more = files.read_record(file.with_name("config.json")), file.with_name("classifier.pt.data")
    more.write_bytes(b"weights")
    facts["external_data"] = {more.name: real(more)}
    files.write_record(file.with_name("config.json"), facts)
    assert facts_beside(file) is not None
    more.write_bytes(b"others")
    assert facts_beside(file) is None
    more.unlink()
    assert facts_beside(file) is None


def test_torchscript_says_of_val_what_the_run_does(tmp_path: Path) -> None:
    assert export("plain", tmp_path / "out", "--as", "torchscript") == 0
    val = Dataset.open("data").part("val", purpose="select")
    script = torch.jit.load(tmp_path / "out" / "classifier.pt")
    images = torch.from_numpy(val.images()).permute(0, 3, 1, 2) / 255
    with settings.use(precision="float32", device="cpu", quiet=True), torch.no_grad():
        logits = Classifier.of_run(Path("plain")).logits(labelled_images(val))
        np.testing.assert_allclose(script(images), logits, atol=1e-4)


def test_what_cannot_be_exported_gets_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with settings.use(quiet=True, threads=1):
        train_autoencoder(
            Path("data"), tmp_path / "cae", filters=[4], latent_features=4, batch=8, epochs=1
        )  # fmt: skip
    cut = tmp_path / "cut"
    cut.mkdir()
    for name in ("config.json", "status.json"):
        (cut / name).write_bytes((Path("hard") / name).read_bytes())
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if "onnx" in name else real(name))
    for words, said in (
        (("plain", "--options", "steps=3", "--as", "torchscript"), "--options"),
        ((tmp_path / "cae", "--as", "torchscript"), "a generator or a classifier Run"),
        ((cut, "--as", "safetensors"), str(cut)),
        (("plain", "--as", "torchscript", "--checkpoint", "kimg-9"), "kimg-9"),
        (("plain", "--as", "torchscript", "--opset", "3"), "--opset"),
        (("plain",), "pip install 'plenish[onnx]'"),
        (("data", "--as", "torchscript"), "is not a Plenish Run"),
    ):
        capsys.readouterr()
        assert export(words[0], tmp_path / "out", *words[1:]) == 2
        told = capsys.readouterr().err.strip()
        assert said in told
        assert len(told.splitlines()) == 1
        assert not (tmp_path / "out").exists()
    with pytest.raises(InputError) as refused:
        export_model(cut, tmp_path / "out", format="safetensors")
    assert refused.value.code == "unfinished"
