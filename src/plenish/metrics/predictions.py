"""What a classifier says of rows of a Dataset, as a table, and how well it fits."""

from __future__ import annotations

from typing import Any

import pandas as pd

from plenish.datasets.dataset import Subset
from plenish.metrics.classification import evaluate
from plenish.training.classifier import Classifier
from plenish.training.labelled import Images


def classify(model: Classifier, rows: Subset, prefix: str = "p_") -> tuple[pd.DataFrame, dict[str, Any]]:
    """Classify rows of a Dataset.

    Args:
        model: the classifier.
        rows: what to classify.
        prefix: of the columns that hold probabilities, before the class.

    Returns:
        A table of `id`, `group`, `label`, `predicted` and the probability of each class; `evaluate` of it.
    """
    found = model.probabilities(Images.of(rows))
    columns = {f"{prefix}{name}": found[:, k] for k, name in enumerate(model.names)}
    predicted = [model.names[k] for k in found.argmax(axis=1)]
    about = {"id": rows.ids, "group": rows.groups, "label": rows.labels, "predicted": predicted}
    return pd.DataFrame(about | columns), evaluate(rows.codes, found, model.names)
