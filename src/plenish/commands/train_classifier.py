"""`plenish train classifier`: a classifier by itself, kept in a Run, with what it says of val and test."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish import files, settings
from plenish.configuration import option_names
from plenish.errors import InputError
from plenish.files import RESUME_HINT
from plenish.invocation import command
from plenish.progress import say
from plenish.runs import Run, TrainedRun
from plenish.training.classifier_config import ClassifierConfig

if TYPE_CHECKING:
    from plenish.datasets.dataset import Dataset, Subset
    from plenish.training.classifier import Classifier

PREDICTIONS = "predictions.parquet"
_MAY_CHANGE = ("evaluations", "patience")


class ClassifierRun(TrainedRun):
    """A trained classifier's Run."""

    def summary(self) -> dict[str, Any]:
        """What it is, and how well it does on val and test."""
        status, facts = self.run.status, self.run.summary()
        shown = ("run", "id", "state", "data", "seed", "attempt", "seconds", "energy")
        return {
            **{key: facts[key] for key in shown if key in facts},
            **{key: status.get(key) for key in ("classes", "step", "test_reads", "results")},
            "best_step": status.get("best", {}).get("step"),
        }


@command("train classifier")
def train_classifier_run(
    data: Path, run: Path, *, split: str = "default", how: ClassifierConfig = ClassifierConfig(),
    retry: bool = False,
) -> ClassifierRun:  # fmt: skip
    """Train a classifier on the train part of a Dataset and keep it in a Run, or go on training it.

    The same command again resumes from the newest checkpoint; on a CPU with the weights of a run never
    stopped, bit for bit. Ctrl-C writes a checkpoint first. The weights that do best on val are kept, in
    classifier/ (safetensors and JSON). Then every val and test image is classified: predictions.parquet has
    the probabilities; that reading of the test part is counted. To learn whether other training data help,
    take 'plenish study'.

    Args:
        data: the Dataset, with classes and a split.
        run: the Run's folder, made if it is not there.
        split: the split.
        how: further options.
        retry: go on after a divergence, with other random draws.

    Returns:
        The Run.

    Raises:
        InputError: the Dataset has no classes or split, an option is impossible, or the Run was asked
            something else.
        CheckFailed: the training diverged.
    """
    from plenish.datasets.dataset import Dataset

    dataset = Dataset.open(data)
    _check(dataset)
    from plenish.networks.classifier import check_classifier
    from plenish.training.classifier_losses import check_loss

    check_classifier(how.classifier)
    check_loss(how)
    train, val = (dataset.part(part, split, purpose="select") for part in ("train", "val"))
    config = how.resolved(len(train))
    weights = config.pretrained
    asked = dataclasses.asdict(config) | {
        "pretrained": files.sha256_file(weights) if isinstance(weights, Path) else weights,
        "precision": settings.current().precision, "recipe": config.classifier,
    }  # fmt: skip
    opened = Run.open_or_create(
        run, "classifier", asked, data=dataset.provenance(split) | {"part": "train", "images": len(train)},
        seed=config.seed, may_change=_MAY_CHANGE, typed=option_names(ClassifierConfig),
    )  # fmt: skip
    request = files.config_hash(asked)
    if opened.state == "complete" and opened.status.get("measured") == request:
        say(f"{run} is complete.")
        return ClassifierRun(opened)
    with opened.lock():
        _train(opened, config, train, val, retry)
        opened.update_status(measured=request)
    return ClassifierRun(opened)


def _check(dataset: Dataset) -> None:
    if dataset.is_synthetic:
        raise InputError(f"{dataset.path} is synthetic; 'plenish study' trains on synthetic images too.")
    if dataset.labels.kind != "categorical" or dataset.labels.width < 2:
        raise InputError(
            f"{dataset.path} has no classes to tell apart; a classifier needs one class per image, and at "
            "least 2 classes."
        )


def _train(run: Run, config: ClassifierConfig, train: Subset, val: Subset, retry: bool) -> None:
    from plenish.training.classifier import train_in_run

    outcome, model = train_in_run(run, config, train, val, retry=retry)
    if outcome == "interrupted":
        raise KeyboardInterrupt(RESUME_HINT)
    results = _write_predictions(run, model, val)
    run.update_status(results=results, test_reads=train.dataset.test_reads(train.split_name))


def _write_predictions(run: Run, model: Classifier, val: Subset) -> list[dict[str, Any]]:
    """Classify val and test; a row an image in `predictions.parquet`, a row a part is returned."""
    import pandas as pd
    import pyarrow as pa

    from plenish.datasets.tables import write_table
    from plenish.metrics.predictions import classify

    parts, dataset = [val], val.dataset
    if len(dataset.split(val.split_name).rows("test")):
        parts.append(dataset.part("test", val.split_name, purpose="score"))
    tables, results = [], []
    for part in parts:
        table, scores = classify(model, part)
        table.insert(1, "part", part.part)
        tables.append(table)
        kept = {key: value for key, value in scores.items() if isinstance(value, float)}
        results.append({"part": part.part, "images": len(part), **kept})
    whole = pa.Table.from_pandas(pd.concat(tables, ignore_index=True), preserve_index=False)
    with files.reporting_disk(run.path):
        write_table(run.path / PREDICTIONS, whole)
    return results


__all__ = ["PREDICTIONS", "ClassifierRun", "train_classifier_run"]
