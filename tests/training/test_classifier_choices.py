"""The choices of a classifier's training: each resumes bit for bit, and does what it says."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from plenish import settings
from plenish.commands.train_classifier import train_classifier_run
from plenish.datasets.batches import Batch, Images
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.errors import InputError
from plenish.metrics.grad_cam import grad_cam
from plenish.runs import Run
from plenish.training import checkpoints
from plenish.training.classifier import ClassifierLearner, train_classifier
from plenish.training.classifier_columns import Columns
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import Classifier, orientations
from plenish.training.classifier_scores import Plateau
from plenish.training.engine import Engine
from plenish.training.learner import Clock


def tagged(path: Path, n: int = 60, size: int = 16) -> Dataset:
    """Images with a bright top, a bright left side, both or neither; the columns tell nothing or all."""
    rng = np.random.default_rng(0)
    tags = rng.random((n, 2)) < 0.5
    pixels = rng.integers(40, 80, (n, size, size, 3))
    pixels[tags[:, 0], : size // 2] += 100
    pixels[tags[:, 1], :, : size // 2] += 60
    parts = np.array(["train", "train", "train", "val", "test"])[np.arange(n) % 5]
    names = ("top", "left")
    rows = [
        {
            "label": [name for name, there in zip(names, tags[i], strict=True) if there], "group": f"g{i}",
            "source": f"{i}.png", "part": str(parts[i]), "age": float(i) if i % 7 else None,
            "sex": "f" if i % 2 else "m",
        }
        for i in range(n)
    ]  # fmt: skip
    labels = LabelSchema("multilabel", names)
    with DatasetWriter(path, name="tags", size=size, channels=3, labels=labels, config={}) as writer:
        writer.add(pixels.astype(np.uint8), rows)
    return writer.dataset


CHOICES: dict[str, dict[str, Any]] = {
    "plateau, ema, mixing": {
        "schedule": "plateau", "plateau_patience": 1, "learning_rate": 0.1, "ema": 0.9, "mixup": 0.4,
        "cutmix": 1.0, "l1": 1e-5, "l2": 1e-4, "loss": "asymmetric", "columns": ("age", "sex"),
    },
    "freezing": {
        "freeze": "2", "unfreeze_at": (0.3, 0.6), "criterion": "loss", "loss": "cross-entropy",
        "randaugment": 5.0, "stain": 0.1, "domain": "histology", "augmentation": "classical",
    },
}  # fmt: skip


@pytest.mark.parametrize("name", CHOICES)
def test_interrupted_trainings_end_like_one_never_stopped(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, options = tagged(tmp_path / "data"), {"steps": 10, "batch": 8, "evaluations": 5} | CHOICES[name]
    genuine = ClassifierLearner.step

    def step_until(stop: int) -> Any:
        def cut(self: ClassifierLearner, batch: Batch, clock: Clock) -> dict[str, torch.Tensor]:
            if clock.step == stop:
                raise KeyboardInterrupt
            return genuine(self, batch, clock)

        return cut

    with settings.use(quiet=True, threads=1, precision="float32"):
        for stop in (5, 9):
            with monkeypatch.context() as patch:
                patch.setattr(ClassifierLearner, "step", step_until(stop))
                with pytest.raises(KeyboardInterrupt):
                    train_classifier_run(data.path, tmp_path / "cut", **options)
        for run in ("cut", "whole"):
            train_classifier_run(data.path, tmp_path / run, **options)
    ends = [checkpoints.newest_intact(tmp_path / run / "checkpoints") for run in ("cut", "whole")]
    assert ends[0] is not None
    assert ends[1] is not None
    assert ends[0].name == ends[1].name
    files = sorted(path.name for path in ends[0].glob("*.safetensors"))
    assert files == ["classifier.safetensors", "optimiser.safetensors"] + (
        ["trained.safetensors"] if "ema" in options else []
    )
    for file in files:
        assert (ends[0] / file).read_bytes() == (ends[1] / file).read_bytes()
    logs = [Run.open(tmp_path / run).metrics().dropna(subset="val_loss") for run in ("cut", "whole")]
    assert logs[0]["val_loss"].tolist() == logs[1]["val_loss"].tolist()
    kept = Classifier.load(tmp_path / "whole" / "classifier")
    table = pd.read_parquet(tmp_path / "whole" / "predictions.parquet")
    assert kept.kind == "multilabel"
    assert table["p_top"].between(0, 1).all()


def test_tags_show_what_an_epoch_holds_and_take_no_drawing_by_classes(tmp_path: Path) -> None:
    data = tagged(tmp_path / "data")
    tags = data.part("train", "default", purpose="test").y()
    for more in ({"dry_run": True}, {"show": tmp_path / "batch.png"}):
        found = train_classifier_run(data.path, tmp_path / "run", steps=3, batch=8, **more)
        assert [row["real"] for row in found.summary()["epoch"]] == tags.sum(axis=0).tolist()
    for drawing in ({"order": "balanced"}, {"order": "weighted"}, {"drawing": ["9"]}, {"doping": ["9"]}):
        with pytest.raises(InputError, match="several tags"):
            train_classifier_run(data.path, tmp_path / "run", dry_run=True, **drawing)


@pytest.mark.parametrize(("freeze", "stages"), [("stem", 1), ("1", 2), ("all", 4)])
def test_no_more_shares_than_frozen_stages(freeze: str, stages: int) -> None:
    shares = tuple(np.linspace(0.1, 0.9, stages + 1).tolist())
    learner_of(freeze=freeze, unfreeze_at=shares[:-1])
    with pytest.raises(InputError, match="--unfreeze-at"):
        learner_of(freeze=freeze, unfreeze_at=shares)


def learner_of(**options: Any) -> tuple[ClassifierLearner, Images]:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 16, 16, 3), dtype=np.uint8)
    images = Images(pixels.__getitem__, np.arange(32) % 2)
    config = ClassifierConfig(steps=10, batch=8, **options).resolved(32)
    with settings.use(precision="float32", threads=1):
        return ClassifierLearner(config, images, images, ["a", "b"], Engine.from_settings()), images


def train_steps(learner: ClassifierLearner, images: Images, count: int) -> None:
    feed = images.batches(8, seed=0, ahead=0)
    for number in range(count):
        learner.step(next(feed), Clock(0, 0, 8 * number, number))
        learner.set_stage(8 * (number + 1))


def test_stages_are_trained_again_from_the_last_back_to_the_stem() -> None:
    learner, images = learner_of(freeze="2", unfreeze_at=(0.2, 0.4, 0.6))
    network = learner.modules()["classifier"]
    first = {name: value.clone() for name, value in network.state_dict().items()}

    def moved() -> set[int]:
        """Stages that differ from what they were; the stem is 0."""
        now = network.state_dict()
        names = [
            name for name in first if name.startswith("features") and not torch.equal(first[name], now[name])
        ]
        return {0 if int(n.split(".")[1]) < 3 else (int(n.split(".")[1]) + 3) // 6 for n in names}

    feed = images.batches(8, seed=0, ahead=0)
    seen = []
    for number in range(7):
        learner.step(next(feed), Clock(0, 0, 8 * number, number))
        learner.set_stage(8 * (number + 1))
        seen.append(moved())
        learner.validate(Clock(0, 0, 8 * (number + 1), number + 1))  # Leaves frozen statistics alone.
    assert seen == [{3}, {3}, {2, 3}, {2, 3}, {1, 2, 3}, {1, 2, 3}, {0, 1, 2, 3}]


def test_a_plateau_lowers_the_rate_as_often_as_validation_stalls() -> None:
    config = ClassifierConfig(steps=100, schedule="plateau", plateau_patience=2, plateau_factor=0.5, warmup=0)
    plateau = Plateau(config)
    for number, value in enumerate([0.5, 0.6, 0.6, 0.55, 0.7, 0.7, 0.7, 0.7, 0.7]):
        plateau.add({"kimg": number, "val_balanced_accuracy": value, "val_loss": 1.0})
        plateau.add({"kimg": number, "train_loss": 1.0})
    assert plateau.drops == 3
    assert config.rate(50, plateau.drops) == pytest.approx(config.rate(50) / 8)
    assert Plateau(ClassifierConfig()).drops == 0


def test_the_moving_average_is_what_is_kept() -> None:
    learner, images = learner_of(ema=0.5)
    kept, trained = (learner.modules()[name].state_dict() for name in ("classifier", "trained"))
    expected = {name: value.clone() for name, value in kept.items()}
    feed = images.batches(8, seed=0, ahead=0)
    for number in range(4):
        learner.step(next(feed), Clock(0, 0, 8 * number, number))
        keep = min(0.5, (1 + number) / (10 + number))
        for name, value in expected.items():
            if value.is_floating_point():
                value.lerp_(trained[name], 1 - keep)
    for name, value in expected.items():
        if value.is_floating_point():
            torch.testing.assert_close(kept[name], value)
    assert not torch.equal(kept["head.weight"], trained["head.weight"])


@pytest.mark.parametrize("power", ["l1", "l2"])
def test_penalties_pull_weights_towards_nothing(power: str) -> None:
    sizes = []
    for strength in (0.0, 1.0):
        learner, images = learner_of(**{power: strength, "weight_decay": 0.0, "learning_rate": 0.01})
        train_steps(learner, images, 5)
        sizes.append(float(learner.modules()["classifier"].features[0].weight.detach().abs().sum()))
    assert sizes[1] < 0.8 * sizes[0]


def test_columns_become_numbers_that_say_what_is_missing() -> None:
    table = pd.DataFrame(
        {"age": [20.0, 40.0, None, 90.0], "sex": ["f", "m", None, "x"], "flag": [True, False, True, None]}
    )
    columns = Columns.fit(table, np.array([0, 1, 2]), ["age", "sex", "flag"])
    assert columns.encode(table, "it")[:, :2].tolist() == [[-1, 0], [1, 0], [0, 1], [6, 0]]
    assert columns.encode(table, "it")[:, 2:5].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]
    assert columns.encode(table, "it")[:, 5:].tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]
    again = Columns.from_dict(json.loads(json.dumps(dataclasses.asdict(columns))))
    assert again == columns
    with pytest.raises(InputError, match="age, flag"):
        columns.encode(table[["sex"]], "it")
    for name, said in (("label", "label"), ("agee", "'age'")):
        with pytest.raises(InputError, match=said):
            Columns.fit(table.assign(label="a"), np.arange(4), [name])


def test_a_classifier_learns_from_a_column_what_no_image_shows() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    pixels = rng.integers(0, 256, (200, 16, 16, 1), dtype=np.uint8)
    table = pd.DataFrame({"sign": np.where(y == 1, "yes", "no")})
    columns = Columns.fit(table, np.arange(200), ["sign"])
    images = Images(pixels.__getitem__, y, inputs=columns.encode(table, "it"))
    config = ClassifierConfig(
        steps=60, batch=32, evaluations=1, learning_rate=0.02, columns=("sign",)
    ).resolved(200)
    with settings.use(precision="float32", threads=1):
        learner = ClassifierLearner(config, images, images, ["a", "b"], Engine.from_settings(), columns)
        feed = images.batches(32, seed=0, ahead=0)
        for number in range(60):
            learner.step(next(feed), Clock(0, 0, 32 * number, number))
        assert learner.validate(Clock(0))["val_auroc"] > 0.95
        with pytest.raises(InputError, match="sign"):
            learner.model.logits(Images(images.read, y))


def test_orientations_and_their_mean() -> None:
    image = torch.randn(1, 3, 4, 4)
    shown = {
        kind: [view.numpy().tobytes() for view in orientations(image, kind)]
        for kind in ("none", "mirror", "dihedral")
    }
    assert [len(set(views)) for views in shown.values()] == [1, 2, 8]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    images = Images(pixels.__getitem__, np.arange(6) % 2)
    with settings.use(precision="float32", threads=1):
        model = train_classifier(
            ClassifierConfig(steps=2, batch=4, evaluations=1), images, images, ["a", "b"]
        )
        flipped = Images(pixels[:, :, ::-1].copy().__getitem__, images.y)
        mean = (model.probabilities(images) + model.probabilities(flipped)) / 2
        np.testing.assert_allclose(model.probabilities(images, symmetry="mirror"), mean, atol=1e-6)


def test_grad_cam_is_the_weighted_sum_of_the_maps_under_a_mean_and_a_linear_head() -> None:
    learner, images = learner_of()
    train_steps(learner, images, 3)
    model, classes = learner.model, np.array([0, 1, 1])
    some = Images(lambda index: images.read(index), np.zeros(3))
    with settings.use(precision="float32", threads=1):
        found = grad_cam(model, some, classes)
        x = Engine.from_settings().to_images(images.read(np.arange(3)))
    mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (model.mean, model.std))
    with torch.no_grad():
        maps = model.network.eval().forward_features((x - mean) / std)
        raw = torch.einsum("nkhw,nk->nhw", maps, model.network.head.weight[classes])[:, None].relu()
        large = torch.nn.functional.interpolate(raw, (16, 16), mode="bilinear", align_corners=False)[:, 0]
        expected = large / large.amax((1, 2), keepdim=True).clamp_min(1e-12)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-3)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"freeze": "steam"}, "--freeze"),
        ({"unfreeze_at": (0.5,)}, "--freeze"),
        ({"freeze": "all", "unfreeze_at": (0.6, 0.3)}, "--unfreeze-at"),
        ({"plateau_patience": 3}, "--schedule plateau"),
        ({"criterion": "f1"}, "--criterion"),
        ({"randaugment": 11.0}, "--randaugment"),
    ],
)
def test_impossible_choices_are_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(InputError, match=named):
        ClassifierConfig(**options)


def test_choices_that_do_not_fit_the_data_are_refused(stripes, tmp_path: Path) -> None:
    for options, named in (
        ({"stain": 0.1}, "--stain"), ({"freeze": "9"}, "--freeze 9"), ({"mixup": 1.0, "batch": 7}, "--batch"),
        ({"columns": ("age",)}, "--columns"), ({"loss": "asymmetric"}, "asymmetric"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=named):
            train_classifier_run(stripes(f"data-{named}").path, tmp_path / "run", **options)
        assert not (tmp_path / "run").exists()
