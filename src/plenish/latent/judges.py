"""What else an edit changed: classifiers and columns read off images, before and after."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.batches import Images
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.latent.attributes import Reader, ReadingConfig, class_reader, column_reader, truth
from plenish.metrics.ensemble import Ensemble, fitted_ensemble
from plenish.metrics.extractor import resized
from plenish.metrics.mixed_classifier import mixed_classifier
from plenish.metrics.predict_config import PredictConfig
from plenish.runs import Run
from plenish.training.classifier_model import Classifier, weights_of
from plenish.training.engine import Engine, to_uint8

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
LEAST_R2, LEAST_AUROC = 0.5, 0.75
"""What a network that reads a column must reach on val; below it, a column is not judged."""


@dataclasses.dataclass(frozen=True)
class Judge:
    """Something that measures one attribute of images.

    Attributes:
        name: of the attribute.
        classes: the classes it tells apart; empty where it gives a number.
        spread: standard deviation of the number on real val images; nan of classes.
        error: root of the mean squared error on real val images; nan of classes.
        about: what it is, for the record; JSON-able.
        measure: images uint8 N×H×W×C to numbers N, or probabilities N×K of the classes.
    """

    name: str
    classes: tuple[str, ...]
    spread: float
    error: float
    about: Mapping[str, Any]
    measure: Callable[[Pixels], Floats]

    def kept(self, before: Floats, after: Floats) -> NDArray[np.bool_]:
        """Whether an attribute is as before, N: the same class, or a change below one standard deviation."""
        if self.classes:
            return np.asarray(before.argmax(1) == after.argmax(1))
        return np.asarray(np.abs(after - before) <= self.spread)

    def within_error(self, before: Floats, after: Floats) -> NDArray[np.bool_] | None:
        """Whether a number changed by less than the judge's own error on real images, N; None of classes."""
        return None if self.classes else np.asarray(np.abs(after - before) <= self.error)

    def shown(self, values: Floats) -> list[Any]:
        """Measurements for a table: numbers, or names of the likeliest classes."""
        if self.classes:
            return [self.classes[k] for k in values.argmax(1)]
        return [float(value) for value in values]


def open_classifier(run: Path | str, channels: int) -> Classifier:
    """The classifier of a Run, which takes images of so many channels alone.

    Raises:
        InputError: the Run holds no finished classifier, it takes other channels or columns beside images.
    """
    opened = Run.open(run, "classifier")
    model = Classifier.of_run(opened.path)
    if model.columns.width:
        raise InputError(
            f"{run} takes the columns {', '.join(model.columns.names)} beside each image, and generated "
            "images have none; give a classifier of images alone."
        )
    if model.channels != channels:
        raise InputError(
            f"{run} takes images of {model.channels} channel(s), and the generator makes {channels}."
        )
    return model


def classifier_facts(run: Path) -> dict[str, Any]:
    """What a record keeps of a classifier's Run."""
    weights = files.sha256_file(weights_of(run))
    return {"kind": "classifier", "run": str(run.resolve()), "weights_sha256": weights}


def open_mixed(runs: Sequence[Path | str], channels: int) -> tuple[Classifier, dict[str, Any]]:
    """One classifier as it is, or several as their calibrated mixture; and what a record keeps of them.

    Raises:
        InputError: see `open_classifier`; or several were not trained on one split of one Dataset.
    """
    models = [open_classifier(run, channels) for run in runs]
    facts = classifier_facts(Path(runs[0]))
    if len(models) == 1:
        return models[0], facts
    ensemble = fitted_ensemble([Path(run) for run in runs], PredictConfig())
    return mixed_classifier(ensemble), mixed_facts(ensemble)


def mixed_facts(ensemble: Ensemble) -> dict[str, Any]:
    """What a record keeps of a calibrated mixture: its first classifier, and all with their weights."""
    kept = ("run", "weight", "temperature", "weights_sha256")
    rows = ensemble.record(PredictConfig())["runs"]
    mixed = [{key: row[key] for key in kept} for row in rows]
    return classifier_facts(ensemble.members[0].run.path) | {"mixed": mixed}


def reopened(facts: Mapping[str, Any], channels: int) -> Classifier:
    """The classifier, or mixture, that a record is of.

    Raises:
        InputError: a Run is no longer there.
    """
    if "mixed" not in facts:
        return open_classifier(facts["run"], channels)
    return mixed_classifier(fitted_ensemble([Path(row["run"]) for row in facts["mixed"]], PredictConfig()))


def probabilities(model: Classifier, images: Pixels) -> Floats:
    """Probabilities N×K of images uint8 N×H×W×C of any size, resized where the classifier takes another."""
    if images.shape[1] != model.size:
        images = to_uint8(resized(Engine.from_settings().to_images(images), model.size))
    return model.probabilities(Images(images.__getitem__, np.zeros(len(images), np.int64)))


def open_judges(words: Sequence[str], channels: int) -> list[Judge]:
    """Judges as they are typed.

    Args:
        words: NAME=RUN of a classifier, or NAME=DATA:COLUMN.
        channels: of the images to be judged.

    Raises:
        InputError: a word of another form, a name given twice, no such Run, Dataset or column, or a column
            that cannot be told from images.
    """
    runs, columns = dict[str, Path](), dict[str, tuple[Path, str]]()
    for word in words:
        name, equals, where = word.partition("=")
        if not (name and equals and where):
            raise InputError(f"'{word}' in --judge is not NAME=RUN or NAME=DATA:COLUMN.")
        if name in runs or name in columns:
            raise InputError(f"--judge has two of the name '{name}'; give each another.")
        folder, colon, column = where.rpartition(":")
        if colon and not Path(where).exists():
            columns[name] = Path(folder), column
        else:
            runs[name] = Path(where)
    judges = {name: judge_of_run(name, path, channels) for name, path in runs.items()}
    for data in dict.fromkeys(path for path, _ in columns.values()):
        mine = {name: column for name, (path, column) in columns.items() if path == data}
        judges |= {judge.name: judge for judge in column_judges(Dataset.open(data), mine, channels)}
    return [judges[word.partition("=")[0]] for word in words]


def judge_of_run(name: str, run: Path, channels: int) -> Judge:
    """A trained classifier as a judge; see `open_classifier` for what is refused."""
    model, nan = open_classifier(run, channels), float("nan")
    return Judge(name, model.names, nan, nan, classifier_facts(run), functools.partial(probabilities, model))


def class_judge(name: str, data: Dataset, split: str, *, seed: int = 0) -> Judge:
    """A judge of a Dataset's classes: a small network, trained on train and checked on val (`class_reader`).

    Args:
        name: of the attribute.
        data: a real Dataset with classes.
        split: its split.
        seed: of that training.
    """
    reader, nan = class_reader(data, split, ReadingConfig(seed=seed)), float("nan")
    about = {
        "kind": "reader", "data": str(data.path.resolve()), "split": split, "seed": seed,
        "checks": {key: dict(check) for key, check in reader.checks.items()}, "weights_sha256": reader.hash,
    }  # fmt: skip
    classes = data.labels.names

    def measure(images: Pixels) -> Floats:
        found = reader(images)
        return np.stack([found[one] for one in classes], 1)

    return Judge(name, classes, nan, nan, about, measure)


def column_judges(
    data: Dataset, columns: Mapping[str, str], channels: int, *, split: str = "default", strict: bool = True
) -> list[Judge]:
    """Judges of columns, by one network that is trained on train and checked on val (`column_reader`).

    Args:
        data: a real Dataset with the columns.
        columns: column by name of the judge.
        channels: of the images to be judged.
        split: its split.
        strict: refuse columns that cannot be told from the images, instead of leaving them out.

    Raises:
        InputError: no such column, one that is neither of numbers nor yes or no, other channels, or one that
            cannot be told from the images.
    """
    if data.channels != channels:
        raise InputError(f"{data.path} has images of {data.channels} channel(s), not {channels}.")
    reader = column_reader(data, list(dict.fromkeys(columns.values())), split)
    val = data.part("val", split, purpose="select")
    found = reader(val.images())
    real = truth(reader.targets, val)
    judges = []
    for name, column in columns.items():
        k = [target.name for target in reader.targets].index(column)
        target, check = reader.targets[k], reader.checks[column]
        least = LEAST_R2 if check["measure"] == "r2" else LEAST_AUROC
        if not check["value"] >= least and not strict:
            continue
        if not check["value"] >= least:
            raise InputError(
                f"'{column}' cannot be told from the images of {data.path}: a network that was trained on it "
                f"has {check['measure']} {check['value']:.2f} on val, and {least} is needed.",
                code="cannot-tell", value=check["value"],
            )  # fmt: skip
        about: dict[str, Any] = {
            "kind": "column", "data": str(data.path.resolve()), "column": column, "split": split,
            "check": dict(check), "weights_sha256": reader.hash,
        }  # fmt: skip
        if target.kind != "number":
            nan = float("nan")
            judges.append(
                Judge(name, ("no", "yes"), nan, nan, about, functools.partial(_flag, reader, column))
            )
            continue
        values = real[:, k] * target.std + target.mean
        known = np.isfinite(values)
        spread = float(values[known].std())
        error = float(np.sqrt(np.mean((found[column][known] - values[known]) ** 2)))
        about |= {"sd_val": spread, "error_val": error}
        judges.append(Judge(name, (), spread, error, about, functools.partial(_number, reader, column)))
    return judges


def _number(reader: Reader, column: str, images: Pixels) -> Floats:
    return reader(images)[column]


def _flag(reader: Reader, column: str, images: Pixels) -> Floats:
    yes = reader(images)[column]
    return np.stack([1 - yes, yes], 1)
