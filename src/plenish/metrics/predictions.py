"""What a classifier says of rows of a Dataset, as a table, and how well it fits."""

from __future__ import annotations

from typing import Any

import pandas as pd

from plenish import files
from plenish.datasets.parts import Subset
from plenish.metrics.classification import evaluate
from plenish.runs import Run
from plenish.training.classifier_model import Classifier, labelled_images

PREDICTIONS = "predictions.parquet"


def classify(model: Classifier, rows: Subset, prefix: str = "p_") -> tuple[pd.DataFrame, dict[str, Any]]:
    """Classify rows of a Dataset.

    Args:
        model: the classifier.
        rows: what to classify.
        prefix: of the columns that hold probabilities, before the class.

    Returns:
        A table of `id`, `group`, `label`, `predicted` and the probability of each class; `evaluate` of it.
    """
    images = labelled_images(rows, model.columns)
    found = model.probabilities(images)
    columns = {f"{prefix}{name}": found[:, k] for k, name in enumerate(model.names)}
    predicted = [model.names[k] for k in found.argmax(axis=1)]
    about = {"id": rows.ids, "group": rows.groups, "label": rows.labels, "predicted": predicted}
    return pd.DataFrame(about | columns), evaluate(rows.codes, found, model.names)


def is_tested(run: Run) -> bool:
    """Whether a classifier's Run holds what it says of the test part."""
    return any(result["part"] == "test" for result in run.status.get("results", []))


def write_predictions(run: Run, model: Classifier, val: Subset, test: bool = False) -> None:
    """Classify val, and `test` too: a row an image in the Run's `predictions.parquet`, means in its status.

    Nothing is done where that was written of the same weights: the test part is not read again for the same.
    """
    path, dataset = run.path / PREDICTIONS, val.dataset
    if path.is_file() and run.status.get("measured") == model.step and (not test or is_tested(run)):
        return
    parts = [val]
    if test and len(dataset.split(val.split_name).rows("test")):
        parts.append(dataset.part("test", val.split_name, purpose="score"))
    tables, results = [], []
    for part in parts:
        table, scores = classify(model, part)
        table.insert(1, "part", part.part)
        tables.append(table)
        kept = {key: value for key, value in scores.items() if isinstance(value, float)}
        results.append({"part": part.part, "images": len(part), **kept})
    files.write_bytes(path, pd.concat(tables, ignore_index=True).to_parquet(None, index=False))
    run.update_status(results=results, measured=model.step, test_reads=dataset.test_reads(val.split_name))
