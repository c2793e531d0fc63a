"""What a classifier says of rows of a Dataset, as a table, and how well it fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.parts import Subset
from plenish.datasets.schema import Part
from plenish.metrics.calibration import calibrated, fit_temperature
from plenish.metrics.classification import evaluate
from plenish.metrics.classification_intervals import calibration_interval, measure
from plenish.runs import Run
from plenish.training.classifier_model import CLASSIFIER, Classifier, labelled_images
from plenish.training.classifier_scores import validation_scores

PREDICTIONS = "predictions.parquet"
MEASURED = "classification.json"
"""All metrics of the val and test parts, with intervals."""
CALIBRATION = f"{CLASSIFIER}/calibration.json"
Floats = NDArray[np.float64]


def classify(model: Classifier, rows: Subset, prefix: str = "p_") -> tuple[pd.DataFrame, dict[str, Any]]:
    """Classify rows of a Dataset.

    Args:
        model: the classifier.
        rows: what to classify.
        prefix: of the columns that hold probabilities, before the class.

    Returns:
        A table of `id`, `group`, `label`, `predicted` and the probability of each class; `evaluate` of it, of
        tags the scores that validation has too.
    """
    images = labelled_images(rows, model.columns)
    found = model.probabilities(images)
    columns = {f"{prefix}{name}": found[:, k] for k, name in enumerate(model.names)}
    predicted = said(model.names, found, model.kind)
    about = {"id": rows.ids, "group": rows.groups, "label": rows.labels, "predicted": predicted}
    if model.kind == "multilabel":
        scores = {key.removeprefix("val_"): v for key, v in validation_scores(images.y, found).items()}
    else:
        scores = evaluate(images.y, found, model.names)
    return pd.DataFrame(about | columns), scores


def said(names: Sequence[str], probabilities: Floats, kind: str) -> list[Any]:
    """The most probable class of each row, or its tags with a probability of at least one half."""
    if kind == "multilabel":
        return [[names[int(k)] for k in np.flatnonzero(row >= 0.5)] for row in probabilities]
    return [names[int(k)] for k in probabilities.argmax(axis=1)]


def is_tested(run: Run) -> bool:
    """Whether a classifier's Run holds what it says of the test part."""
    return any(result["part"] == "test" for result in run.status.get("results", []))


def read_predictions(run: Run, part: Part) -> pd.DataFrame:
    """What a classifier's Run holds of a part: a row an image, by id; empty where it holds nothing.

    Raises:
        InputError: the table is damaged.
    """
    path = run.path / PREDICTIONS
    with files.reading(path):
        table = pd.read_parquet(path)
    return table[table["part"] == part].sort_values("id").reset_index(drop=True)


def probabilities_in(table: pd.DataFrame, names: Sequence[str]) -> Floats:
    """The probabilities N×K that `classify` wrote."""
    return table[[f"p_{name}" for name in names]].to_numpy(np.float64)


def write_predictions(run: Run, model: Classifier, val: Subset, test: bool = False) -> None:
    """Classify val, and `test` too: a row an image in the Run's `predictions.parquet`, means in its status.

    The temperature that calibrates the probabilities on val is kept beside the classifier; with `test`, all
    metrics of its raw probabilities are kept with their intervals. Nothing is done where that was written of
    the same weights: the test part is not read again for the same.
    """
    path, dataset = run.path / PREDICTIONS, val.dataset
    if path.is_file() and run.status.get("measured") == model.step and (not test or is_tested(run)):
        return
    parts = [val]
    if test and len(dataset.split(val.split_name).rows("test")):
        parts.append(dataset.part("test", val.split_name, purpose="score"))
    tables, results, measured = [], [], {}
    tags, temperature = model.kind == "multilabel", 1.0
    for part in parts:
        table, scores = classify(model, part)
        found = probabilities_in(table, model.names)
        y = part.y() if tags else part.codes
        if part is val:
            temperature = fit_temperature(y, found)
        table.insert(1, "part", part.part)
        tables.append(table)
        kept = {key: value for key, value in scores.items() if isinstance(value, float)}
        results.append({"part": part.part, "images": len(part), **kept})
        if part is not val:
            measured[part.part] = measure(y, found, model.names, part.groups, seed=run.seed)
            after = calibrated(found, temperature, tags)
            error = calibration_interval(y, after, part.groups, seed=run.seed)
            measured[part.part]["metrics"]["ece_calibrated"] = error
    files.write_bytes(path, pd.concat(tables, ignore_index=True).to_parquet(None, index=False))
    files.write_record(run.path / CALIBRATION, {"temperature": temperature, "images": len(val)})
    if measured:
        files.write_record(run.path / MEASURED, {"classes": list(model.names), "parts": measured})
    run.update_status(
        results=results, measured=model.step, test_reads=dataset.test_reads(val.split_name),
        phantom=bool(dataset.manifest.extra.get("phantom")),
    )  # fmt: skip
