"""Counterfactuals on the phantom: how many turn, what else changes, and whether another classifier agrees.

    python -m benchmarks.counterfactuals DATA RUN … --classifier RUN --independent RUN --out FILE.json

DATA is the phantom that the generators (the RUNs) and the judges were trained on. The independent
classifier was trained on other patients, with another seed and another architecture. Seeds, images and
thresholds are fixed here: 100 generated images (seeds 10000 to 10099, classes in turn) and 100 images of the
test part, evenly spaced, inverted in 200 evaluations without an encoder; each is turned to the other class of
two, by the search as it is by default (confidence 0.8), and with a confidence of 0.85 on average over the
eight orientations, a cheap change of the label and 20 steps. That confidence lies between 0.8 and 0.9,
which were tried on other generated images (seeds 700000 to 700099) with a third classifier in place of the
independent one.

Attributes that must be kept are the phantom's columns of numbers that do not tell the classes on train (AUROC
of 0.35 to 0.65) and that a network reads off val images (R² of at least 0.5); kept is a change of at most one
standard deviation of real val images. How many changes are within the network's own error is given beside it.
Bars: 90 % turned, 90 % kept, 80 % agreed by the independent classifier among those turned.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.race import describe_machine
from plenish.datasets.dataset import Dataset
from plenish.latent.counterfactual import find_counterfactuals
from plenish.latent.counterfactual_options import CounterfactualOptions
from plenish.latent.inversion import invert
from plenish.latent.inversion_options import InversionOptions
from plenish.latent.judges import Judge, Pixels, column_judges, open_classifier, probabilities
from plenish.latent.points import Points
from plenish.latent.space import LatentSpace
from plenish.metrics.statistics import wilson_interval
from plenish.training.classifier_model import Classifier
from plenish.training.engine import Engine
from plenish.training.roc import auroc_binary

FIRST_SEED, GENERATED = 10_000, 100
REAL, INVERSION_STEPS = 100, 200
CLASS_FREE = (0.35, 0.65)
SETTINGS = {
    "plain": CounterfactualOptions(),
    "robust": CounterfactualOptions(confidence=0.85, orientations="dihedral", label_cost=0.25, steps=20),
}
"""The search as it is by default, and against changes that are particular to one classifier."""
BARS = {"turned": 0.9, "kept": 0.9, "independent": 0.8}


def class_free_columns(data: Dataset) -> dict[str, float]:
    """Columns of numbers, with their AUROC for the second class on train, that do not tell the classes."""
    train = data.part("train", purpose="train")
    table, positive = data.table.iloc[train.rows], train.codes == 1
    found = {}
    for name in table.columns:
        values = table[name]
        if pd.api.types.is_bool_dtype(values) or not pd.api.types.is_numeric_dtype(values):
            continue
        if values.isna().any() or values.nunique() < 2:
            continue
        auroc = float(auroc_binary(positive, values.to_numpy(np.float64))[0])
        if CLASS_FREE[0] <= auroc <= CLASS_FREE[1]:
            found[str(name)] = auroc
    return found


def share(good: Any) -> dict[str, Any]:
    """A share with Wilson's interval."""
    good = np.asarray(good, bool)
    if not len(good):
        return {"n": 0}
    return {"n": len(good), **wilson_interval(int(good.sum()), len(good))._asdict()}


def measure(
    space: LatentSpace, start: Points, model: Classifier, other: Classifier, judges: list[Judge],
    how: CounterfactualOptions,
) -> dict[str, Any]:  # fmt: skip
    """What becomes of some points."""
    found = find_counterfactuals(space, start, model, how)
    first, last = found.images
    turned = found.turned
    said = [probabilities(other, images).argmax(1) for images in (first, last)]
    kept, within = {}, {}
    for judge in judges:
        before, after = judge.measure(first[turned]), judge.measure(last[turned])
        kept[judge.name] = judge.kept(before, after)
        within[judge.name] = judge.within_error(before, after)
    every = np.stack(list(kept.values()), 1) if kept else np.zeros((0, 0), bool)
    of_start = probabilities(model, first).argmax(1)
    return {
        "turned": share(turned), "already": int(found.already.sum()),
        "kept": share(every.ravel()), "all_kept": share(every.all(1)),
        "kept_by_column": {name: share(values) for name, values in kept.items()},
        "within_own_error": {name: share(values) for name, values in within.items()},
        "independent": share(said[1][turned] == found.to[turned]),
        "independent_agrees_before": share(said[0] == of_start),
        "independent_changed": share(said[0][turned] != said[1][turned]),
        "median_change_sd": float(np.median(found.change[turned])) if turned.any() else None,
        "median_share_farther": [float(np.median(values)) for values in found.typical],
        "mean_label_change": None if found.label_change is None else float(found.label_change.mean()),
        "mean_grey_levels": float(np.abs(first.astype(float) - last)[turned].mean()),
        "evaluations": found.evaluations,
    }  # fmt: skip


def accuracy(model: Classifier, images: Pixels, codes: Any) -> dict[str, Any]:
    """Share of images that a classifier gets right."""
    return share(probabilities(model, images).argmax(1) == codes)


def main() -> None:
    """Measure, and write after each generator."""
    parser = argparse.ArgumentParser()
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--classifier", type=Path, required=True)
    parser.add_argument("--independent", type=Path, required=True)
    parser.add_argument("--checkpoint", default="best")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--kinds", nargs="+", choices=("generated", "real"), default=["generated", "real"])
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED, help="other generated images")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    data = Dataset.open(asked.data)
    model, other = (open_classifier(run, data.channels) for run in (asked.classifier, asked.independent))
    columns = class_free_columns(data)
    judges = column_judges(data, {name: name for name in columns}, data.channels, strict=False)
    test = data.part("test", purpose="score")
    rows = np.unique(np.linspace(0, len(test) - 1, REAL).round().astype(np.int64))
    real, codes = test.images(rows), test.codes[rows]
    facts: dict[str, Any] = {
        **describe_machine(Engine.from_settings()), "data": data.name, "bars": BARS,
        "class_free_columns": columns, "judges": {judge.name: dict(judge.about) for judge in judges},
        "classifier": {"architecture": model.config.classifier, "test": accuracy(model, real, codes)},
        "independent": {"architecture": other.config.classifier, "test": accuracy(other, real, codes)},
        "generators": {},
    }  # fmt: skip
    for judge in facts["judges"].values():
        judge.pop("data")
    for run in asked.runs:
        space = LatentSpace(run, asked.checkpoint)
        mine: dict[str, Any] = {
            "family": space.family, "checkpoint": space.loaded.checkpoint.name, "generated": {}, "real": {},
        }  # fmt: skip
        facts["generators"][run.name] = mine
        start = {"generated": space.draw(range(asked.first_seed, asked.first_seed + GENERATED))}
        for kind in asked.kinds:
            if kind == "real":
                labels = np.eye(len(data.labels.names), dtype=np.float32)[codes]
                options = InversionOptions(steps=INVERSION_STEPS, encoder=False)
                inverted = invert(space, real, options, labels)
                start["real"] = inverted.points
                said = [probabilities(model, images).argmax(1) for images in (inverted.images, real)]
                mine["inversion"] = {
                    "steps": INVERSION_STEPS, "median_mse": float(np.median(inverted.error)),
                    "same_class": share(said[0] == said[1]),
                }  # fmt: skip
            for name in asked.settings:
                how = SETTINGS[name]
                mine[kind][name] = measure(space, start[kind], model, other, judges, how)
                asked.out.write_text(json.dumps(facts, indent=2) + "\n")
                print(run.name, kind, name, json.dumps(mine[kind][name]), flush=True)


if __name__ == "__main__":
    main()
