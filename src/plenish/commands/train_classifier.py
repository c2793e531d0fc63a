"""`plenish train classifier`: a classifier by itself, kept in a Run, with what it says of val and test."""

from __future__ import annotations

import dataclasses
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plenish import files
from plenish.configuration import check_numbers
from plenish.errors import InputError
from plenish.progress import progress, say
from plenish.runs import Run, TrainedRun

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset, Subset
    from plenish.training.classifier import Classifier

PREDICTIONS = "predictions.parquet"
_LEAST = {"steps": 1, "batch": 2}
_EPOCHS, _FEWEST_STEPS, _MOST_STEPS = 12, 150, 3000


class ClassifierRun(TrainedRun):
    """A trained classifier's Run."""

    def summary(self) -> dict[str, Any]:
        """What it is, and how well it does on val and test."""
        status, facts = self.run.status, self.run.summary()
        shown = ("run", "id", "state", "data", "seed", "seconds")
        return {
            **{key: facts[key] for key in shown if key in facts},
            **{key: status.get(key) for key in ("classes", "steps", "best_step", "test_reads", "results")},
        }


def train_classifier_run(
    data: Path, run: Path, *, classifier: str = "small", split: str = "default", steps: int | None = None,
    batch: int = 64, learning_rate: float | None = None, balanced: bool = False,
    augmentation: Literal["none", "classical"] = "none",
    orientation: Literal["any", "upright", "fixed"] = "any", pretrained: Path | None = None, seed: int = 0,
) -> ClassifierRun:  # fmt: skip
    """Train a classifier on the train part of a Dataset and keep it in a Run.

    The weights that do best on val are kept, in classifier/ (safetensors and JSON). Then every val and test
    image is classified: predictions.parquet has the probabilities; that reading of the test part is counted.
    Interrupted, it begins anew. To learn whether other training data help, take 'plenish study'.

    Args:
        data: the Dataset, with classes and a split.
        run: the Run's folder to make.
        classifier: small, or any timm name.
        split: the split.
        steps: optimiser steps; by default 12 passes over the training images, 150 to 3000 steps.
        batch: images a step.
        learning_rate: peak learning rate; by default one that suits the classifier.
        balanced: draw every class equally often.
        augmentation: none, or classical: flips, turns, crops, colours.
        orientation: what classical augmentation may do: any (flips and right angles), upright (left-right),
            fixed.
        pretrained: a file of weights to start from.
        seed: seed of every random draw.

    Returns:
        The Run.

    Raises:
        InputError: the Dataset has no classes or split, an option is impossible, or the Run was asked
            something else.
    """
    check_numbers(_LEAST, steps=steps, batch=batch, learning_rate=learning_rate)
    from plenish.datasets.dataset import Dataset

    dataset = Dataset.open(data)
    _check(dataset)
    from plenish.networks.classifier import check_classifier
    from plenish.training.classifier import ClassifierConfig

    check_classifier(classifier)
    train, val = (dataset.part(part, split, purpose="select") for part in ("train", "val"))
    passes = round(_EPOCHS * len(train) / batch)
    config = ClassifierConfig(
        name=classifier, steps=steps or min(_MOST_STEPS, max(_FEWEST_STEPS, passes)), batch=batch, seed=seed,
        learning_rate=learning_rate, balanced=balanced, augmentation=augmentation, orientation=orientation,
        pretrained=pretrained or False,
    )  # fmt: skip
    asked = dataclasses.asdict(config) | {
        "pretrained": files.sha256_file(pretrained) if pretrained else None, "recipe": classifier,
    }  # fmt: skip
    opened = Run.open_or_create(
        run, "classifier", asked, data=dataset.provenance(split) | {"part": "train", "images": len(train)},
        seed=seed, typed={"name": "--classifier", "learning_rate": "--learning-rate"},
    )  # fmt: skip
    if opened.state == "complete":
        say(f"{run} is complete.")
        return ClassifierRun(opened)
    with opened.lock():
        opened.update_status(state="running")
        _train(opened, config, train, val)
    return ClassifierRun(opened)


def _check(dataset: Dataset) -> None:
    if dataset.is_synthetic:
        raise InputError(f"{dataset.path} is synthetic; 'plenish study' trains on synthetic images too.")
    if dataset.labels.kind != "categorical" or dataset.labels.width < 2:
        raise InputError(
            f"{dataset.path} has no two classes to tell apart; a classifier needs one class per image."
        )


def _train(run: Run, config: Any, train: Subset, val: Subset) -> None:
    from plenish.metrics.scorers import CLASSIFIER
    from plenish.training.classifier import choose_precision, train_classifier
    from plenish.training.labelled import Images

    dataset, start = train.dataset, time.monotonic()
    names = dataset.labels.names
    shutil.rmtree(run.path / CLASSIFIER, ignore_errors=True)
    precision = choose_precision(config, dataset.channels, dataset.size, len(names))
    with progress("classifier", config.steps, "steps") as bar:
        model = train_classifier(
            config, Images.of(train), Images.of(val), names, precision=precision,
            on_step=lambda _: bar.advance(1),
        )  # fmt: skip
    (run.path / "metrics.jsonl").unlink(missing_ok=True)
    for row in model.history:
        run.log(**row)
    model.save(run.path / CLASSIFIER)
    results = _write_predictions(run, model, val)
    run.update_status(
        state="complete", classes=list(names), steps=config.steps, best_step=model.step, results=results,
        test_reads=dataset.test_reads(train.split_name), seconds=time.monotonic() - start,
    )  # fmt: skip


def _write_predictions(run: Run, model: Classifier, val: Subset) -> list[dict[str, Any]]:
    """Classify val and test; a row an image in `predictions.parquet`, a row a part is returned."""
    import pandas as pd
    import pyarrow as pa

    from plenish.datasets.tables import write_table
    from plenish.metrics.classification import evaluate
    from plenish.training.labelled import Images

    parts, dataset = [val], val.dataset
    if len(dataset.split(val.split_name).rows("test")):
        parts.append(dataset.part("test", val.split_name, purpose="score"))
    tables, results = [], []
    for part in parts:
        found = model.probabilities(Images.of(part))
        told = [model.names[k] for k in found.argmax(axis=1)]
        table = pd.DataFrame({"id": part.ids, "part": part.part, "label": part.labels, "group": part.groups})
        columns = {f"p_{name}": found[:, k] for k, name in enumerate(model.names)}
        tables.append(table.assign(predicted=told, **columns))
        scores = evaluate(part.codes, found, model.names)
        kept = {key: value for key, value in scores.items() if isinstance(value, float)}
        results.append({"part": part.part, "images": len(part), **kept})
    whole = pa.Table.from_pandas(pd.concat(tables, ignore_index=True), preserve_index=False)
    with files.reporting_disk(run.path):
        write_table(run.path / PREDICTIONS, whole)
    return results


__all__ = ["PREDICTIONS", "ClassifierRun", "train_classifier_run"]
