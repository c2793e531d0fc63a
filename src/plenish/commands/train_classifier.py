"""`plenish train classifier`: a classifier by itself, kept in a Run, with what it says of val and test."""

from __future__ import annotations

from pathlib import Path

from plenish import files
from plenish.commands.request import completed, training
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.invocation import command
from plenish.progress import say
from plenish.runs import Run
from plenish.training.classifier_config import ClassifierConfig


@command("train classifier")
def train_classifier_run(
    data: Path, run: Path, *, split: str = "default", how: ClassifierConfig = ClassifierConfig(),
    test: bool = False, retry: bool = False,
) -> Run:  # fmt: skip
    """Train a classifier on the train part of a Dataset and keep it in a Run, or resume it.

    The same command again resumes from the newest checkpoint; on a CPU with the weights of a run never
    stopped, bit for bit. Ctrl-C writes a checkpoint first. The weights that do best on val are kept, in
    classifier/ (safetensors and JSON). Then every val image is classified: predictions.parquet has the
    probabilities; with --test also those of the test part, whose reading is counted, and report.html shows
    all metrics with intervals. 'plenish predict' classifies other images. To learn whether
    other training data help, take 'plenish study'.

    Args:
        data: the Dataset, with classes and a split.
        run: the Run's folder, made if it is not there.
        split: the split.
        how: further options.
        test: classify the test images too; that reading is counted.
        retry: resume after a divergence, with other random draws.

    Returns:
        The Run.

    Raises:
        InputError: the Dataset has no classes or split, an option is impossible, or the Run was asked
            something else.
        CheckFailed: the training diverged.
    """
    dataset = _open_with_classes(data)
    from plenish.metrics.predictions import write_predictions
    from plenish.report.prediction_page import write_run_page
    from plenish.training import classifier, classifier_request
    from plenish.training.classifier_model import Classifier

    train, val = (dataset.part(part, split, purpose="select") for part in ("train", "val"))
    config = classifier_request.resolve(how, train)
    is_new = not (run / "config.json").exists()
    if is_new:  # Weights that cannot be had are told before a Run is made.
        classifier_request.check_new(config, train)
    opened = classifier.open_run(run, config, train)
    request = files.config_hash(opened.config["config"])
    if completed(run, "classifier", request):
        if test:
            with opened.lock():
                write_predictions(opened, Classifier.of_run(run), val, test)
                write_run_page(opened)
        say(f"{run} is complete.")
        return opened
    if is_new:
        classifier_request.say_how_long(config, train, val)
    with training(opened, request):
        model = classifier.train_in_run(opened, config, train, val, retry=retry)
        write_predictions(opened, model, val, test)
        write_run_page(opened)
    return opened


def _open_with_classes(data: Path) -> Dataset:
    """Open a Dataset of real images with classes; InputError for another."""
    dataset = Dataset.open(data)
    if dataset.is_synthetic:
        raise InputError(f"{data} is synthetic; 'plenish study' trains on synthetic images too.")
    kind, width = dataset.labels.kind, dataset.labels.width
    if kind not in ("categorical", "multilabel") or (kind == "categorical" and width < 2):
        raise InputError(
            f"{data} has no classes to tell apart; a classifier needs one class per image, and at least 2 "
            "classes, or tags."
        )
    return dataset
