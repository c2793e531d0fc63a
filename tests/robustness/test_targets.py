"""Classifiers under attack from every source: Runs, timm, ONNX, TorchScript, torch.export and functions."""

from __future__ import annotations

import importlib.util
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from tests.fixed_batch import FixedBatch
from torch import Tensor, nn

from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.networks.classifier import build_classifier
from plenish.networks.classifier_parts import Head as ClassifierHead
from plenish.robustness.evaluation import Evaluation, evaluate
from plenish.robustness.target import Target
from plenish.robustness.target_sources import Expected, open_target
from plenish.runs import Run
from plenish.training.classifier_columns import Columns
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import CLASSIFIER, Classifier

SIZE, NAMES = 8, ("class0", "class1")
EXPECTED = Expected(NAMES, SIZE, 3)


class Head(nn.Module):
    """A linear classifier of 3×8×8 pixels."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(3 * SIZE * SIZE, classes, generator=rng) / 10)

    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(images.shape[0], -1) @ self.weight


def some_images(n: int = 5) -> Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def logits(target: Target) -> Tensor:
    with torch.no_grad():
        return target.module(some_images())


def attack(model: object, data: object, **options: object) -> Evaluation:
    fast = {
        "attacks": "quick",
        "eps": (4 / 255,),
        "corruptions": False,
        "resamples": 100,
        "precision": "float32",
    }
    return evaluate(model, data, **(fast | options))


@pytest.fixture
def data(stripes: object) -> Dataset:
    return stripes(size=SIZE)  # type: ignore[operator,no-any-return]


def a_run(
    path: Path, data: Dataset, names: tuple[str, ...] = NAMES, config: ClassifierConfig | None = None,
    **changes: object,
) -> Path:  # fmt: skip
    """A Run with an untrained classifier."""
    config = config or ClassifierConfig()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        head = ClassifierHead(len(config.columns))
        network = build_classifier("small", 3, SIZE, len(names), head=head).eval()
    about = {
        "channels": 3,
        "size": SIZE,
        "mean": (0.1, 0.0, -0.1),
        "std": (0.5, 0.4, 0.3),
        "precision": "float32",
    }
    model = Classifier(network, config, names, **{**about, **changes})
    run = Run.create(path, "classifier", {}, data=data.provenance("default") | {"part": "train"})
    model.save(run.path / CLASSIFIER)
    return path


def an_onnx(path: Path, batch: int | str = "n") -> Path:
    """Head as an ONNX file, with batches of one size or any."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make, weight = onnx.helper, Head().weight.detach().numpy()
    graph = make.make_graph(
        [make.make_node("Flatten", ["x"], ["f"]), make.make_node("MatMul", ["f", "w"], ["y"])], "head",
        [make.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [batch, 3, SIZE, SIZE])],
        [make.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [batch, 2])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(path))
    return path


def test_a_run_is_attacked_on_its_own_split(data: Dataset, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", data)
    found = attack(run, data)
    about = found.content["classifier"]
    assert (about["kind"], about["run"], about["classes"]) == ("run", Run.open(run).id, list(NAMES))
    assert (found.content["data"]["part"], found.content["data"]["split"]) == ("val", "default")
    assert found.content["data"]["images"] == len(data.part("val", purpose="score"))
    assert found.content["data"]["pixels_hash"] == data.manifest.pixels_hash
    assert {one["code"] for one in found.content["caveats"]} >= {"attacked-known-part", "few-groups"}
    # The same predictions as the classifier itself.
    rows = data.part("val", purpose="score")
    module = Classifier.of_run(run).module()
    plain = module(torch.from_numpy(rows.images()).permute(0, 3, 1, 2) / 127.5 - 1).argmax(1)
    assert list(found.examples["prediction"]) == [NAMES[k] for k in plain.tolist()]
    assert list(found.examples["id"]) == rows.ids


def test_readings_of_the_test_part_are_counted(data: Dataset, tmp_path: Path) -> None:
    run, before = a_run(tmp_path / "run", data), data.test_reads()
    attack(run, data.path, part="test", attacks=("fgsm",))
    assert data.test_reads() == before + 1


def test_labels_are_matched_by_name(data: Dataset, tmp_path: Path) -> None:
    one = attack(a_run(tmp_path / "a", data), data, attacks=("fgsm",))
    module = Classifier.of_run(tmp_path / "a").module()
    swapped = Target.of_module(
        nn.Sequential(_Scaled(module), _Swapped()).eval(), SIZE, 3, tuple(reversed(NAMES)), {}
    )
    other = attack(swapped, data, attacks=("fgsm",))
    assert list(one.examples["prediction"]) == list(other.examples["prediction"])
    assert one.content["clean"] == other.content["clean"]


class _Scaled(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        return self.module(images * 2 - 1)


class _Swapped(nn.Module):
    def forward(self, logits: Tensor) -> Tensor:
        return logits.flip(1)


@pytest.mark.parametrize("kind", ["other-classes", "tags", "columns", "size", "grey", "normalised", "empty"])
def test_a_run_that_does_not_fit_is_refused(
    data: Dataset, tmp_path: Path, kind: str, stripes: object
) -> None:
    options: dict[str, object] = {}
    if kind == "other-classes":
        run = a_run(tmp_path / "run", data, ("class0", "other"))
    elif kind == "tags":
        run = a_run(tmp_path / "run", data, kind="multilabel")
    elif kind == "columns":
        columns = Columns.fit(pd.DataFrame({"age": [1.0, 2.0]}), np.arange(2), ("age",))
        run = a_run(tmp_path / "run", data, columns=columns, config=ClassifierConfig(columns=("age",)))
    elif kind == "normalised":
        run, options = a_run(tmp_path / "run", data), {"mean": [0.5]}
    elif kind == "empty":
        run = Run.create(tmp_path / "run", "classifier", {}).path
    else:
        run = a_run(tmp_path / "run", data)
        wrong = {"size": {"size": 12}, "grey": {"size": SIZE, "channels": 1}}[kind]
        data = stripes(name="other", **wrong)  # type: ignore[operator]
    with pytest.raises(InputError):
        attack(run, data, **options)


def test_another_split_than_that_of_the_training_is_refused(data: Dataset, tmp_path: Path) -> None:
    run = a_run(tmp_path / "run", data)
    parts = ["val", "val", "train", "train", "test"]
    data.add_split("other", [parts[i // 4 % 5] for i in range(len(data))], {})
    with pytest.raises(InputError) as told:
        attack(run, data, split="other")
    assert told.value.code == "other-split"


def test_a_timm_network_takes_its_weights_and_normalisation(data: Dataset, tmp_path: Path) -> None:
    import timm

    network = timm.create_model("test_efficientnet_gn", num_classes=2).eval()
    save_file(network.state_dict(), tmp_path / "weights.safetensors")
    expected = Expected(NAMES, 32, 3, tmp_path / "weights.safetensors", std=[0.25])
    target = open_target("timm:test_efficientnet_gn", expected)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    mean = torch.tensor(network.pretrained_cfg["mean"]).view(1, 3, 1, 1)
    with torch.no_grad():
        torch.testing.assert_close(target.module(images), network((images - mean) / 0.25))
    assert (target.names, target.about["kind"]) == (NAMES, "timm")
    assert not target.module.training
    with pytest.raises(InputError):
        open_target(
            "timm:test_efficientnet_gn", Expected(("a", "b", "c"), 32, 3, tmp_path / "weights.safetensors")
        )
    with pytest.raises(InputError):  # Its own are of 1,000 classes.
        open_target("timm:test_efficientnet_gn", Expected(NAMES, 32, 3))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_torchscript_is_differentiable(data: Dataset, tmp_path: Path) -> None:
    torch.jit.trace(Head(), some_images()).save(tmp_path / "head.pt")
    target = open_target(tmp_path / "head.pt", EXPECTED)
    torch.testing.assert_close(logits(target), Head()(some_images()).detach())
    assert target.about["assumed_input"]
    found = attack(tmp_path / "head.pt", data)
    assert "pgd" in {one["name"] for one in found.content["attacks"]}
    assert found.content["classifier"]["weights_sha256"]
    assert "assumed-input" in {one["code"] for one in found.content["caveats"]}


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_file_is_given_images_as_it_normalises_them(tmp_path: Path) -> None:
    torch.jit.trace(Head(), some_images()).save(tmp_path / "head.ts")
    target = open_target(tmp_path / "head.ts", Expected(NAMES, SIZE, 3, mean=[0.1, 0.2, 0.3], std=[0.5]))
    mean = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    torch.testing.assert_close(logits(target), Head()((some_images() - mean) / 0.5).detach())
    assert not target.about["assumed_input"]


@pytest.mark.slow
def test_an_exported_program_for_one_image_takes_any_number(data: Dataset, tmp_path: Path) -> None:
    program = torch.export.export(Head().eval(), (some_images(1),))
    torch.export.save(program, tmp_path / "head.pt2")
    target = open_target(tmp_path / "head.pt2", EXPECTED)
    torch.testing.assert_close(logits(target), Head()(some_images()).detach())
    assert attack(tmp_path / "head.pt2", data).content["classifier"]["kind"] == "torch.export"


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_an_exported_program_for_a_fixed_batch_takes_any_number(tmp_path: Path, batch: int) -> None:
    program = torch.export.export(Head().eval(), (some_images(batch),))
    torch.export.save(program, tmp_path / "head.pt2")
    target = open_target(tmp_path / "head.pt2", EXPECTED)
    torch.testing.assert_close(logits(target), Head()(some_images()).detach())


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
def test_a_script_for_a_fixed_batch_is_told_how_to_export_it(tmp_path: Path) -> None:
    fixed = torch.jit.trace(FixedBatch(3 * SIZE * SIZE), some_images(2))
    fixed.save(tmp_path / "two.pt")
    with pytest.raises(InputError, match="export-model"):
        open_target(tmp_path / "two.pt", EXPECTED)


def test_a_broken_program_leaves_no_log(tmp_path: Path) -> None:
    (tmp_path / "broken.pt2").write_bytes(b"nothing")
    heard: list[logging.LogRecord] = []
    logger, listener = logging.getLogger("torch.export"), logging.Handler()
    listener.emit = heard.append  # type: ignore[method-assign]
    logger.addHandler(listener)
    try:
        with pytest.raises(InputError):
            open_target(tmp_path / "broken.pt2", EXPECTED)
        assert heard == []
        logger.warning("heard again")
        assert len(heard) == 1
    finally:
        logger.removeHandler(listener)


@pytest.mark.parametrize("batch", ["n", 1, 2])
def test_onnx_gives_the_same_logits_for_any_batch(tmp_path: Path, batch: int | str) -> None:
    target = open_target(an_onnx(tmp_path / "head.onnx", batch), EXPECTED)
    torch.testing.assert_close(logits(target), Head()(some_images()).detach())


def test_onnx_without_gradients_is_attacked_by_what_needs_none(data: Dataset, tmp_path: Path) -> None:
    found = attack(an_onnx(tmp_path / "head.onnx"), data)
    kinds = {one["kind"] for one in found.content["attacks"]}
    if importlib.util.find_spec("onnx2pytorch"):
        assert kinds == {"control", "white-box", "black-box"}
        return
    assert kinds == {"control", "black-box"}
    told = {one["code"]: one["values"] for one in found.content["caveats"]}
    assert "pgd" in told["not-differentiable"]["attacks"]
    assert found.content["convergence"] is None
    with pytest.raises(InputError):
        attack(an_onnx(tmp_path / "other.onnx"), data, attacks=("pgd",))


def test_a_function_is_attacked(data: Dataset) -> None:
    weight = Head().weight.detach()
    found = attack(lambda images: images.flatten(1) @ weight, data)
    assert found.content["classifier"]["classes"] == list(NAMES)
    assert found.failed() == []


@pytest.mark.parametrize(
    "source", ["missing", "timm:resnet81", "text.txt", "broken.onnx", "broken.pt", "broken.pt2"]
)
def test_what_is_no_model_is_refused(tmp_path: Path, source: str) -> None:
    if source.startswith("broken"):
        pytest.importorskip("onnxruntime")
    path = source if source.startswith("timm:") else tmp_path / source
    if isinstance(path, Path) and source != "missing":
        path.write_bytes(b"nothing")
    with pytest.raises(InputError):
        open_target(path, EXPECTED)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("state.pt", "--weights"),
        ("state.pt2", "--weights"),
        ("script.pt2", r"\.pt\b"),
        ("state.onnx", "ONNX"),
    ],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_another_file_of_pytorch_is_told_what_it_is(tmp_path: Path, name: str, told: str) -> None:
    if name.endswith("onnx"):
        pytest.importorskip("onnxruntime")
    if name.startswith("state"):
        torch.save(Head().state_dict(), tmp_path / name)
    else:
        torch.jit.trace(Head(), some_images()).save(tmp_path / name)
    with pytest.raises(InputError, match=told) as refused:
        open_target(tmp_path / name, EXPECTED)
    assert "Error" not in str(refused.value)  # Nothing of the loader's own words.


@pytest.mark.parametrize(
    "module",
    [
        Head(3), lambda images: images, lambda images: images.flatten(1)[:, :1],
        lambda images: images.flatten(1) @ torch.eye(5), lambda images: images.flatten(1)[:1, :2],
        lambda images: [images],
    ],
)  # fmt: skip
def test_modules_that_give_no_logits_of_the_classes_are_refused(module: object, data: Dataset) -> None:
    with pytest.raises(InputError):
        attack(module, data)


def test_a_module_that_takes_no_single_image_is_refused(data: Dataset) -> None:
    """In training mode batch normalisation of one value a channel needs several images."""
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, len(NAMES)))
    with pytest.raises(InputError):
        attack(model.train(), data)
    assert attack(model.eval(), data).content["data"]["images"]


def test_why_torchscript_fails_is_said() -> None:
    """Its message begins with a traceback, and the reason comes last."""
    scripted = torch.jit.trace(Head(), torch.zeros(2, 3, SIZE, SIZE))
    with pytest.raises(InputError) as told:
        Target.of_module(scripted, 2 * SIZE, 3)
    assert "interpreter" not in str(told.value)


@pytest.mark.parametrize(
    "options",
    [
        {"mean": [0.1, 0.2]}, {"mean": [math.nan]}, {"mean": [0, 0, math.inf]}, {"mean": [-0.1]},
        {"mean": [127.0]}, {"std": [0.0]}, {"std": [math.nan]}, {"std": [0.1, math.nan, 0.1]},
        {"std": [math.inf]}, {"std": [58.0]},
    ],
)  # fmt: skip
def test_normalisation_that_makes_no_sense_is_refused(options: dict[str, list[float]]) -> None:
    with pytest.raises(InputError):
        Expected(NAMES, SIZE, 3, **options)


def test_one_number_is_for_all_channels() -> None:
    one: Any = 0.5
    assert Expected(NAMES, SIZE, 3, mean=one).normalisation({})[0] == [0.5] * 3


def test_data_without_classes_are_refused(stripes: object) -> None:
    with pytest.raises(InputError):
        attack(Head(), stripes(size=SIZE, classes=0))  # type: ignore[operator]
