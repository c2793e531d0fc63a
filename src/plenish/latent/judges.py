"""What else an edit changed: classifiers and regression networks that measure images before and after."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch.nn import functional

from plenish import files
from plenish.datasets.batches import Images
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.domains import DOMAINS, SYMMETRIES
from plenish.errors import InputError, unknown
from plenish.metrics.extractor import resized
from plenish.networks.classifier import SmallClassifier
from plenish.progress import progress
from plenish.runs import Run
from plenish.training.classifier_model import CLASSIFIER, Classifier
from plenish.training.engine import Engine, stable_seed, to_uint8

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
STEPS, _BATCH, _RATE = 800, 64, 3e-3
LEAST_R2 = 0.5
"""Share of a column's variance that must be told on val; below it, a column is not judged."""


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
    if not (opened.path / CLASSIFIER / "classifier.json").is_file():
        raise InputError(f"{run} is not finished; resume it with 'plenish train classifier'.")
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


def probabilities(model: Classifier, images: Pixels) -> Floats:
    """Probabilities N×K of images uint8 N×H×W×C of any size, resized where the classifier takes another."""
    if images.shape[1] != model.size:
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1
        images = to_uint8(resized(pixels, model.size))
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
    judges = {name: _of_run(name, path, channels) for name, path in runs.items()}
    for data in dict.fromkeys(path for path, _ in columns.values()):
        mine = {name: column for name, (path, column) in columns.items() if path == data}
        judges |= {judge.name: judge for judge in column_judges(Dataset.open(data), mine, channels)}
    return [judges[word.partition("=")[0]] for word in words]


def _of_run(name: str, run: Path, channels: int) -> Judge:
    model = open_classifier(run, channels)
    about = {
        "kind": "classifier", "run": str(run.resolve()),
        "weights_sha256": files.sha256_file(run / CLASSIFIER / "classifier.safetensors"),
    }  # fmt: skip
    nan = float("nan")
    return Judge(name, model.names, nan, nan, about, lambda images: probabilities(model, images))


def column_judges(
    data: Dataset, columns: Mapping[str, str], channels: int, *, split: str = "default", seed: int = 0,
    steps: int = STEPS, least_r2: float = LEAST_R2,
) -> list[Judge]:  # fmt: skip
    """Train one small network that tells columns of numbers from images, and check it on val.

    Args:
        data: a real Dataset with the columns.
        columns: column by name of the judge.
        channels: of the images to be judged.
        split: its split; the network is trained on train and checked on val.
        seed: of initialisation, order and orientations.
        steps: of the training, of 64 images each.
        least_r2: share of a column's variance that it must tell on val.

    Raises:
        InputError: no such column, one that is not of numbers or does not vary, other channels, or one that
            the network cannot tell.
    """
    if data.channels != channels:
        raise InputError(f"{data.path} has images of {data.channels} channel(s), not {channels}.")
    train, val = (data.part(part, split, purpose="select") for part in ("train", "val"))
    names = list(dict.fromkeys(columns.values()))
    tables = [_numbers(part, names) for part in (train, val)]
    mean, std = np.nanmean(tables[0], 0), np.nanstd(tables[0], 0)
    for name, value in zip(names, std, strict=True):
        if not value > 0:
            raise InputError(f"The column '{name}' of {data.path} does not vary in the train part.")
    network = _trained(train, ((tables[0] - mean) / std).astype(np.float32), seed, steps)
    engine = Engine.from_settings()

    def measure(images: Pixels) -> Floats:
        with torch.inference_mode():
            made = [
                network(resized(engine.to_images(images[i : i + 256]), data.size)).double().cpu().numpy()
                for i in range(0, len(images), 256)
            ]
        return np.asarray(np.concatenate(made) * std + mean)

    found = np.concatenate([measure(batch) for batch in val.batches()])
    judges = []
    for name, column in columns.items():
        k = names.index(column)
        truth = tables[1][:, k]
        known = np.isfinite(truth)
        error = float(np.sqrt(np.mean((found[known, k] - truth[known]) ** 2)))
        spread = float(truth[known].std())
        r2 = 1 - (error / spread) ** 2 if spread else float("nan")
        if not r2 >= least_r2:
            raise InputError(
                f"'{column}' cannot be told from the images of {data.path}: a network that was trained on it "
                f"tells {max(0.0, r2):.0%} of its variance on val, and {least_r2:.0%} are needed.",
                code="cannot-tell", value=r2,
            )  # fmt: skip
        about = {
            "kind": "column", "data": str(data.path.resolve()), "column": column, "split": split,
            "images_val": int(known.sum()), "r2_val": r2, "error_val": error, "sd_val": spread,
            "steps": steps,
        }  # fmt: skip
        judges.append(Judge(name, (), spread, error, about, functools.partial(_column, measure, k)))
    return judges


def _column(measure: Callable[[Pixels], Floats], k: int, images: Pixels) -> Floats:
    return np.asarray(measure(images)[:, k])


def _numbers(part: Subset, names: Sequence[str]) -> Floats:
    """Columns N×K as numbers, nan where missing."""
    table = part.dataset.table.iloc[part.rows]
    found = []
    for name in names:
        if name not in table.columns:
            raise unknown("column in --judge", name, [str(column) for column in table.columns])
        numbers = pd.to_numeric(table[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
        if not np.isfinite(numbers).any():
            raise InputError(
                f"The column '{name}' of {part.dataset.path} is not of numbers; train a classifier on it and "
                "give its Run."
            )
        found.append(numbers)
    return np.stack(found, 1)


def _trained(train: Subset, targets: NDArray[np.float32], seed: int, steps: int) -> SmallClassifier:
    """A network N×C×H×W in [-1, 1] → N×K standardised numbers; rows that lack one do not count for it."""
    engine, data = Engine.from_settings(), train.dataset
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stable_seed("judge-init", seed))
        network = SmallClassifier(data.channels, data.size, targets.shape[1], drop_rate=0.0)
    engine.to_module(network.train())
    optimiser = torch.optim.AdamW(network.parameters(), lr=_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=steps)
    rng = np.random.default_rng(stable_seed("judge", seed))
    symmetry = DOMAINS[data.domain].symmetry if data.domain else "dihedral"
    sides = SYMMETRIES.index(symmetry)
    order = np.concatenate([rng.permutation(len(train)) for _ in range(-(-steps * _BATCH // len(train)))])
    with progress("judges", steps, "steps") as bar:
        for step in range(steps):
            rows = order[step * _BATCH : (step + 1) * _BATCH]
            x = engine.to_images(train.images(rows))
            for axis in range(sides):
                flipped = torch.from_numpy(rng.random(len(x)) < 0.5).to(x.device)
                x = torch.where(flipped[:, None, None, None], x.flip(3 - axis), x)
            y = torch.from_numpy(targets[rows]).to(x.device)
            known = torch.isfinite(y)
            with engine.autocast():
                found = network(x)
            loss = functional.smooth_l1_loss(found.float()[known], y[known])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
            bar.advance(1)
    return network.eval().requires_grad_(False)
