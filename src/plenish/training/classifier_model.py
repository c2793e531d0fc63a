"""A trained classifier: its folder, and what it says of images."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from scipy.special import expit, softmax
from torch import Tensor, nn

from plenish import files
from plenish.datasets.batches import Images
from plenish.datasets.parts import Subset
from plenish.datasets.pixels import chunks
from plenish.domains import Symmetry
from plenish.errors import InputError
from plenish.networks.classifier import Normalised, build_classifier
from plenish.networks.classifier_parts import Head
from plenish.training.classifier_columns import NO_COLUMNS, Columns
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_precision import Precision
from plenish.training.engine import Engine

Floats = NDArray[np.float64]

CLASSIFIER = "classifier"
"""Folder in a classifier's Run that holds it."""


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A trained classifier with all that is needed to use it.

    Attributes:
        network: N×C×H×W, normalised → logits N×K.
        config: how it was trained.
        names: the K classes.
        channels: channels of its images.
        size: height and width of its images.
        mean: per-channel mean of the training images, in [-1, 1].
        std: per-channel standard deviation.
        precision: `float32` or `bfloat16`.
        kind: of the labels: `categorical`, or `multilabel` (an image may have any number of the K tags).
        columns: how columns of a table become what it is given beside an image.
        preparation: how images became what it takes: `fit` and `window` of the import.
        history: what was logged, where it was trained without a Run.
        step: the step of the checkpoint kept.
    """

    network: nn.Module
    config: ClassifierConfig
    names: tuple[str, ...]
    channels: int
    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    precision: Precision
    kind: str = "categorical"
    columns: Columns = NO_COLUMNS
    preparation: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    step: int = 0

    def module(self) -> nn.Module:
        """Images N×C×H×W in [-1, 1] → logits N×K, with the normalisation inside.

        It shares the weights, is in evaluation mode on the device the settings ask for, and can be
        differentiated with respect to its input, as attacks and counterfactuals do. It computes in float32
        unless it is called under autocast.
        """
        module = Normalised(self.network, self.mean, self.std)
        return Engine.from_settings(self.precision).to_module(module).eval()

    def logits(self, images: Images, batch: int = 256) -> Floats:
        """Logits N×K of all images, in order; the batch size does not change them beyond rounding."""
        return np.concatenate([views[0] for views in self._views(images, batch, "none")])

    def probabilities(self, images: Images, batch: int = 256, symmetry: Symmetry = "none") -> Floats:
        """Probabilities N×K of all images, in order: of classes, which sum to 1, or of each tag.

        Args:
            images: what to classify, with the inputs that the classifier takes.
            batch: how many at once.
            symmetry: orientations in which each image is looked at; their mean is taken.
        """
        found = self._views(images, batch, symmetry)
        return np.concatenate([self.to_probabilities(views).mean(axis=0) for views in found])

    def to_probabilities(self, logits: Floats) -> Floats:
        """Logits …×K as probabilities."""
        return np.asarray(expit(logits) if self.kind == "multilabel" else softmax(logits, axis=-1))

    def _views(self, images: Images, batch: int, symmetry: Symmetry) -> Iterator[Floats]:
        """Logits V×n×K of each piece of the images, of all V orientations."""
        engine, module = Engine.from_settings(self.precision), self.module()
        if self.columns.width and images.inputs is None:
            raise InputError(
                f"The classifier needs the columns {', '.join(self.columns.names)} beside each image."
            )
        for index in chunks(len(images.y), batch):
            pixels, found = engine.to_images(images.read(index)), []
            more = (
                () if images.inputs is None else (torch.from_numpy(images.inputs[index]).to(engine.device),)
            )
            for view in orientations(pixels, symmetry):
                with torch.inference_mode(), engine.autocast():
                    found.append(module(view, *more).double().cpu().numpy())
            yield np.stack(found)

    def save(self, folder: Path) -> None:
        """Write `classifier.safetensors` and `classifier.json` into a folder."""
        state = {key: value.detach().cpu().contiguous() for key, value in self.network.state_dict().items()}
        folder.mkdir(parents=True, exist_ok=True)
        files.write_bytes(folder / "classifier.safetensors", save(state))
        about = {
            f.name: getattr(self, f.name)
            for f in dataclasses.fields(self)
            if f.name not in ("network", "config")
        }
        about["columns"] = dataclasses.asdict(self.columns)
        config = dataclasses.asdict(self.config) | {"pretrained": bool(self.config.pretrained)}
        files.write_record(folder / "classifier.json", about | {"config": config})

    @classmethod
    def of_run(cls, run: Path) -> Classifier:
        """The classifier of a Run that is complete; InputError where it is not."""
        return cls.load(weights_of(run).parent)

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Read what `save` wrote; InputError when it is missing or does not fit together."""
        about = files.read_record(folder / "classifier.json")
        try:
            options = about.pop("config")
            for key in ("columns", "unfreeze_at"):
                options[key] = tuple(options[key])
            config = ClassifierConfig(**options)
            columns = Columns.from_dict(about.pop("columns"))
            for key in ("names", "mean", "std"):
                about[key] = tuple(about[key])
            with torch.random.fork_rng(devices=[]):
                network = build_classifier(
                    config.classifier, about["channels"], about["size"], len(about["names"]),
                    head=head_of(config, columns),
                )  # fmt: skip
            network.load_state_dict(load_file(folder / "classifier.safetensors"))
            return cls(network=network, config=config, columns=columns, **about)
        except (KeyError, TypeError, OSError, RuntimeError, SafetensorError) as error:
            raise InputError(
                f"{folder} does not hold a whole classifier ({error}); train it again."
            ) from error


def weights_of(run: Path) -> Path:
    """The weights of the classifier that a Run keeps.

    Raises:
        InputError: it keeps none yet.
    """
    path = run / CLASSIFIER / "classifier.safetensors"
    if not path.is_file():
        raise unfinished(run)
    return path


def unfinished(run: Path) -> InputError:
    """The error of a Run, plain or hardened, whose classifier is not finished."""
    return InputError(
        f"{run} has no finished classifier; the command that trains it, given again, ends it.",
        code="unfinished",
        value=run,
    )


def head_of(config: ClassifierConfig, columns: Columns) -> Head:
    """The head that a configuration asks for."""
    scale = config.ldam_scale if config.loss == "ldam" else None
    return Head(columns.width, scale, config.drop_rate)


def orientations(images: Tensor, symmetry: Symmetry) -> Iterator[Tensor]:
    """Images N×C×H×W in each orientation: as they are; also mirrored; or all eight flips and turns."""
    for turns in range(4 if symmetry == "dihedral" else 1):
        turned = torch.rot90(images, turns, (2, 3)) if turns else images
        yield turned
        if symmetry != "none":
            yield turned.flip(3)


def labelled_images(rows: Subset, columns: Columns = NO_COLUMNS) -> Images:
    """Rows of a Dataset as a classifier takes them: y are class numbers N, or tags N×K.

    Raises:
        InputError: they have neither classes nor tags, or lack a column.
    """
    y = rows.y() if rows.dataset.labels.kind == "multilabel" else rows.codes
    inputs = None
    if columns.width:
        inputs = columns.encode(rows.dataset.table.iloc[rows.rows], str(rows.dataset.path))
    return Images(rows.images, y, inputs=inputs)
