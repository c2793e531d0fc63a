"""A trained Run as a score of single images: an autoencoder's errors, a classifier's probabilities.

A `Scorer` turns uint8 images into named columns of numbers and says what each of them is, so that what draws
or writes them need not know the kind of Run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from plenish import files
from plenish.datasets.batches import Images
from plenish.errors import InputError, unknown
from plenish.metrics.reconstruction import WINDOW, denoising_errors, errors
from plenish.metrics.result_files import read_result
from plenish.runs import Run
from plenish.training.autoencoder_model import LoadedAutoencoder, load_autoencoder
from plenish.training.classifier_model import Classifier, weights_of

Floats = NDArray[np.float64]
_ERROR = "mean squared error of the reconstruction (images in 0 to 1)"


@dataclasses.dataclass(frozen=True)
class Column:
    """One of the numbers that an image gets.

    Attributes:
        name: of the column.
        about: what it is, with its unit; half a sentence.
        kind: an error has no range of its own, a difference has its middle at 0, a share lies in 0 to 1.
    """

    name: str
    about: str
    kind: Literal["error", "difference", "share"]


@dataclasses.dataclass(frozen=True)
class Scorer:
    """Something trained that gives every image some numbers.

    Attributes:
        size: height and width of the images it takes.
        channels: of these.
        columns: the numbers.
        shown: the column that says most, where one must be chosen.
        data: provenance of the Dataset it was trained on.
        models: provenance of what it consists of.
        score: images uint8 N×H×W×C → numbers by name, N each, those of the columns among them.
    """

    size: int
    channels: int
    columns: Sequence[Column]
    shown: str
    data: Mapping[str, Any]
    models: Sequence[Mapping[str, Any]]
    score: Callable[[NDArray[np.uint8]], dict[str, Floats]]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes whose probabilities the columns are, in their order; none of an autoencoder."""
        return tuple(column.name.removeprefix("p_") for column in self.columns if column.kind == "share")

    def __call__(self, images: NDArray[np.uint8]) -> dict[str, Floats]:
        """Numbers of images uint8 N×H×W×C, N for each column; each depends on its image alone."""
        found = self.score(images)
        return {column.name: found[column.name] for column in self.columns}

    def column(self, name: str | None = None) -> Column:
        """A column by name, or the one that says most.

        Raises:
            InputError: there is none of that name.
        """
        by_name = {column.name: column for column in self.columns}
        if (name or self.shown) not in by_name:
            raise unknown("--score", str(name), by_name)
        return by_name[name or self.shown]


def open_scorer(paths: Sequence[Path], checkpoint: str = "best") -> Scorer:
    """Open what was trained: a Run of an autoencoder or classifier, a study of one autoencoder a class, or
    several Runs of autoencoders.

    Args:
        paths: folders.
        checkpoint: of autoencoders: best, last, or a checkpoint's name.

    Raises:
        InputError: none is given, or there is no such Run, it was not trained yet, is of another kind, or
            they do not fit together.
    """
    if not paths:
        raise InputError("Give at least one Run.")
    runs = [Run.open(path) for path in paths]
    first, kinds = runs[0], {run.kind for run in runs}
    if kinds == {"autoencoder"} and len(runs) > 1:
        return _compared({_name(run, runs): run.path for run in runs}, checkpoint, first.config["data"])
    if len(runs) > 1:
        raise InputError(
            f"Several Runs must all be of autoencoders, and these are of {', '.join(sorted(kinds))}; give "
            "others one at a time."
        )
    if first.kind == "autoencoder":
        return _autoencoder(first, checkpoint)
    if first.kind == "autoencoder-study":
        return _class_study(first, checkpoint)
    if first.kind == "classifier":
        return _classifier(first)
    if first.kind == "study":
        raise InputError(
            f"{first.path} is a study of training data, which keeps no classifier; "
            "'plenish train classifier' makes one."
        )
    raise InputError(
        f"{first.path} is a {first.kind} Run, which gives images no score; give one of an autoencoder, "
        "of a classifier, or a study of autoencoders."
    )


def _name(run: Run, runs: Sequence[Run]) -> str:
    """What a Run's column is called: its folder's name, with the parent's where another has the same."""
    path = run.path.resolve()
    same = sum(other.path.resolve().name == path.name for other in runs) > 1
    return f"{path.parent.name}_{path.name}" if same else path.name


def _autoencoder(run: Run, checkpoint: str) -> Scorer:
    model = load_autoencoder(run.path, checkpoint)
    columns = [Column("mse", _ERROR, "error")]
    if model.network.config.size >= WINDOW:
        columns.append(Column("ssim", "structural similarity of the reconstruction (1 is equal)", "error"))
    return _of_models([model], columns, "mse", run.config["data"], lambda images: errors(model, images))


def _class_study(run: Run, checkpoint: str) -> Scorer:
    content = read_result(run.path, "autoencoder-study")[0]
    folders = {model["class"]: run.path / model["run"] for model in content["models"]}
    return _compared(folders, checkpoint, run.config["data"], (content["noise"], content["draws"], run.seed))


def _compared(
    folders: Mapping[str, Path], checkpoint: str, data: Mapping[str, Any],
    noise: tuple[float, int, int] = (0.0, 1, 0),
) -> Scorer:  # fmt: skip
    """Errors under several autoencoders, and of two the difference.

    A study's are measured as it measured them: on images with noise, of a deviation, draws and seed.
    """
    if len(folders) < 2:
        raise InputError(f"{next(iter(folders.values()))} was given twice; give each Run once.")
    models = {name: load_autoencoder(path, checkpoint) for name, path in folders.items()}
    shapes = {(model.network.config.size, model.network.config.channels) for model in models.values()}
    if len(shapes) > 1:
        raise InputError(f"{', '.join(map(str, folders.values()))} take images of different sizes.")
    names = list(models)
    columns = [Column(f"mse_{name}", f"under the autoencoder of {name}: {_ERROR}", "error") for name in names]
    if len(names) == 2:
        about = (
            f"error under the autoencoder of {names[0]} minus that of {names[1]} (mean squared, images in "
            f"0 to 1): higher looks like {names[1]}"
        )
        columns.append(Column("difference", about, "difference"))

    def score(images: NDArray[np.uint8]) -> dict[str, Floats]:
        found = {f"mse_{name}": denoising_errors(model, images, *noise) for name, model in models.items()}
        if len(names) == 2:
            found["difference"] = found[f"mse_{names[0]}"] - found[f"mse_{names[1]}"]
        return found

    return _of_models(list(models.values()), columns, columns[-1].name, data, score)


def _of_models(
    models: Sequence[LoadedAutoencoder], columns: Sequence[Column], shown: str, data: Mapping[str, Any],
    score: Callable[[NDArray[np.uint8]], dict[str, Floats]],
) -> Scorer:  # fmt: skip
    config = models[0].network.config
    about = [model.provenance() for model in models]
    return Scorer(config.size, config.channels, columns, shown, data, about, score)


def _classifier(run: Run) -> Scorer:
    model = Classifier.of_run(run.path)
    names = model.names
    columns = [Column(f"p_{name}", f"probability of {name} by the classifier", "share") for name in names]

    def score(images: NDArray[np.uint8]) -> dict[str, Floats]:
        found = model.probabilities(Images(images.__getitem__, np.zeros(len(images), np.int64)))
        return {f"p_{name}": found[:, k] for k, name in enumerate(names)}

    about = {
        "kind": "classifier", "run": str(run.path.resolve()), "run_id": run.id, "step": model.step,
        "weights_sha256": files.sha256_file(weights_of(run.path)),
        "precision": model.precision,
    }  # fmt: skip
    # Of two classes the second is the positive one; tile Datasets name the background first.
    return Scorer(model.size, model.channels, columns, f"p_{names[1]}", run.config["data"], [about], score)
