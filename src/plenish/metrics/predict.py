"""What one or several trained classifiers say of images: probabilities, calibrated ones, and where not to."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from plenish import files
from plenish.datasets.batches import Images
from plenish.datasets.parts import Subset
from plenish.domains import DEFAULT, DOMAINS, Symmetry
from plenish.errors import InputError
from plenish.metrics.calibration import (
    Abstention,
    calibrated,
    choose_threshold,
    confidences,
    correct,
    fit_temperature,
    fit_weights,
)
from plenish.metrics.classification_intervals import calibration_interval, measure
from plenish.metrics.grad_cam import grad_cam
from plenish.metrics.origin import real_at
from plenish.metrics.predict_config import PredictConfig
from plenish.metrics.prediction_images import GivenImages, opened
from plenish.metrics.predictions import PREDICTIONS, probabilities_in, read_predictions, said
from plenish.metrics.result_files import Result, write_result
from plenish.runs import Run
from plenish.training.classifier_model import CLASSIFIER, Classifier, labelled_images

Floats = NDArray[np.float64]
TABLE, MAPS = "predictions", "explained"
EXPLAINED = 24
"""Images of which maps are drawn: half of them the surest, half the least sure, the wrong ones first."""


@dataclasses.dataclass(frozen=True)
class Member:
    """A classifier of an ensemble.

    Attributes:
        run: its Run.
        model: the classifier.
        val: its probabilities N×K of the val images.
        y: the val images' class numbers N, or tags N×K.
    """

    run: Run
    model: Classifier
    val: Floats
    y: NDArray[Any]


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Classifiers whose probabilities are mixed, and what was fitted on val.

    Attributes:
        members: the classifiers.
        temperatures: of each, by which it is calibrated before it is mixed.
        weights: of each in the mixture.
        temperature: of the mixture.
        abstention: below which confidence nothing is said, or None.
    """

    members: Sequence[Member]
    temperatures: Sequence[float]
    weights: Floats
    temperature: float
    abstention: Abstention | None

    @property
    def tags(self) -> bool:
        """Whether an image may have several classes."""
        return self.members[0].model.kind == "multilabel"

    def mix(self, found: Sequence[Floats]) -> tuple[Floats, Floats]:
        """Probabilities M times N×K of the members → the plain mean, and the calibrated mixture, N×K."""
        each = [calibrated(p, t, self.tags) for p, t in zip(found, self.temperatures, strict=True)]
        mixed = sum(w * p for w, p in zip(self.weights, each, strict=True))
        return np.mean(found, axis=0), calibrated(np.asarray(mixed), self.temperature, self.tags)


def predict(runs: Sequence[Path], images: Sequence[Path], out: Path, config: PredictConfig) -> Result:
    """Classify images.

    Args:
        runs: Runs of classifiers that were trained on one split of one Dataset.
        images: a Dataset, a folder or archive of images, or image files.
        out: folder to make.
        config: how.

    Returns:
        The folder and what is in its predictions.json.

    Raises:
        InputError: a Run holds no classifier, they do not fit each other or the images, or OUT exists.
    """
    if not runs:
        raise InputError("Give at least one Run of a classifier before the images.")
    if not images:
        raise InputError("Give images behind the Runs: files, a folder or a Dataset.")
    files.refuse_existing(out)
    ensemble = _fitted(runs, config)
    first = ensemble.members[0]
    with opened(images, first.model, config, first.run.config["data"]) as given:
        inputs = [_inputs(member.model, given) for member in ensemble.members]
        found = [
            member.model.probabilities(each, symmetry=_symmetry(member, config))
            for member, each in zip(ensemble.members, inputs, strict=True)
        ]
        plain, sure = ensemble.mix(found)
        table = _table(given, ensemble, plain, sure)
        content = _content(given, ensemble, table, plain, sure, config)
        with files.atomic_dir(out, {"predict": content["runs"], "images": given.about}) as folder:
            buffer = io.BytesIO()
            write = table.to_csv if config.table == "csv" else table.to_parquet
            write(buffer, index=False)
            files.write_bytes(folder / f"{TABLE}.{config.table}", buffer.getvalue())
            if config.explain:
                content |= {"explained": _explain(folder, ensemble, inputs, table, sure)}
            content = write_result(folder, "predictions", content)
    return Result(out, content)


def _fitted(runs: Sequence[Path], config: PredictConfig) -> Ensemble:
    members = [_member(path, config) for path in runs]
    first = members[0]
    for other in members[1:]:
        _check_alike(first, other)
    if not config.calibrate:
        even = np.full(len(members), 1 / len(members))
        return Ensemble(members, [1.0] * len(members), even, 1.0, None)
    temperatures = [fit_temperature(member.y, member.val) for member in members]
    tags = first.model.kind == "multilabel"
    each = [calibrated(m.val, t, tags) for m, t in zip(members, temperatures, strict=True)]
    weights = fit_weights(first.y, each) if len(members) > 1 else np.ones(1)
    mixed = np.asarray(sum(w * p for w, p in zip(weights, each, strict=True)))
    temperature = fit_temperature(first.y, mixed) if len(members) > 1 else 1.0
    ensemble = Ensemble(members, temperatures, weights, temperature, None)
    if config.coverage is None and config.risk is None:
        return ensemble
    _, sure = ensemble.mix([member.val for member in members])
    abstention = choose_threshold(
        confidences(sure, tags), correct(first.y, sure), coverage=config.coverage, risk=config.risk
    )
    return dataclasses.replace(ensemble, abstention=abstention)


def _check_alike(first: Member, other: Member) -> None:
    """Refuse two classifiers whose probabilities cannot be mixed."""
    paths = f"{first.run.path} and {other.run.path}"
    a, b = first.run.config["data"], other.run.config["data"]
    if (a["pixels_hash"], a.get("split_hash")) != (b["pixels_hash"], b.get("split_hash")):
        raise InputError(
            f"{paths} were not trained on the same split of the same Dataset, so that no val images weigh "
            "them; classify with one at a time.",
            code="other-split",
        )
    kinds = [(member.model.kind, tuple(member.model.names)) for member in (first, other)]
    if kinds[0] != kinds[1] or not np.array_equal(first.y, other.y):
        raise InputError(
            f"{paths} were trained on other labels ({_labels(first.model)}; {_labels(other.model)}), so that "
            "their probabilities cannot be mixed; classify with one at a time.",
            code="other-labels",
        )


def _labels(model: Classifier) -> str:
    """Its labels for a message."""
    kind = "tags" if model.kind == "multilabel" else "classes"
    return f"{kind} {', '.join(model.names[:5])}{', …' if len(model.names) > 5 else ''}"


def _member(path: Path, config: PredictConfig) -> Member:
    run = Run.open(path, "classifier")
    if not (path / CLASSIFIER / "classifier.json").is_file() or not (path / PREDICTIONS).is_file():
        raise InputError(f"{path} is not finished; resume it with 'plenish train classifier'.")
    model, table = Classifier.of_run(path), read_predictions(run, "val")
    if model.kind == "multilabel":
        y: NDArray[Any] = np.array([[name in tags for name in model.names] for tags in table["label"]], float)
    else:
        y = np.array([model.names.index(label) for label in table["label"]])
    member = Member(run, model, probabilities_in(table, model.names), y)
    symmetry = _symmetry(member, config)
    if not config.calibrate or symmetry == "none":
        return member
    val = _val_of(run)
    order = np.argsort(val.ids)
    if [val.ids[row] for row in order] != table["id"].tolist():
        raise InputError(
            f"{path / PREDICTIONS} has other val images than the Dataset of the training; leave out --tta, "
            "or give --no-calibrate.",
            code="other-images",
        )
    found = model.probabilities(labelled_images(val, model.columns), symmetry=symmetry)
    return dataclasses.replace(member, val=found[order])


def _val_of(run: Run) -> Subset:
    """The val images of a training, from the Dataset that it was of.

    Raises:
        InputError: it is not there any more, or not as it was.
    """
    where = run.config["data"]
    data, name = real_at(where), where["split_name"]
    if data is None or name not in data.split_names() or data.split(name).hash != where["split_hash"]:
        raise InputError(
            f"--tta is calibrated on the val images of {run.path}, and {where['path']} does not hold them as "
            f"they were (split '{name}'); leave it out, or give --no-calibrate.",
            code="other-images",
        )
    return data.part("val", name, purpose="select")


def _symmetry(member: Member, config: PredictConfig) -> Symmetry:
    """The orientations in which a member looks at each image."""
    asked = member.model.config
    return (asked.symmetry or DOMAINS[asked.domain or DEFAULT].symmetry) if config.tta else "none"


def _inputs(model: Classifier, given: GivenImages) -> Images:
    columns = model.columns.encode(given.table, given.about["name"]) if model.columns.width else None
    return Images(given.read, np.zeros(len(given.table), np.int64), inputs=columns)


def _table(given: GivenImages, ensemble: Ensemble, plain: Floats, sure: Floats) -> pd.DataFrame:
    model = ensemble.members[0].model
    kept = [name for name in ("id", "source", "group", "label") if name in given.table.columns]
    table = given.table[kept].copy()
    table["predicted"] = said(model.names, sure, model.kind)
    table["confidence"] = confidences(sure, ensemble.tags)
    if ensemble.abstention is not None:
        table["abstained"] = table["confidence"] < ensemble.abstention.threshold
    for prefix, values in (("p", plain), ("calibrated", sure)):
        for k, name in enumerate(model.names):
            table[f"{prefix}_{name}"] = values[:, k]
    return table


def _truth(given: GivenImages, model: Classifier) -> NDArray[np.generic] | None:
    """The images' class numbers or tags, where all are known to the classifier."""
    names = given.labels.names
    if given.labels.kind != model.kind or not set(names) <= set(model.names):
        return None
    place = {name: k for k, name in enumerate(model.names)}
    if model.kind == "categorical":
        return np.array([place[label] for label in given.table["label"]], np.int64)
    y = np.zeros((len(given.table), len(model.names)))
    for row, tags in enumerate(given.table["label"]):
        y[row, [place[tag] for tag in tags]] = 1
    return y


def _measured(
    y: NDArray[np.generic], plain: Floats, sure: Floats, table: pd.DataFrame, model: Classifier,
    config: PredictConfig,
) -> dict[str, Any]:  # fmt: skip
    """All metrics; `ece` is of the plain probabilities, as in a Run's classification.json."""
    groups = list(table["group"]) if "group" in table else None
    how: dict[str, Any] = {"resamples": config.resamples, "seed": config.seed, "level": config.level}
    measured = measure(y, sure, model.names, groups, **how)
    if config.calibrate:
        error = measured["metrics"]["ece"]
        measured["metrics"] |= {
            "ece": calibration_interval(y, plain, groups, **how), "ece_calibrated": error,
        }  # fmt: skip
    return measured


def _content(
    given: GivenImages,
    ensemble: Ensemble,
    table: pd.DataFrame,
    plain: Floats,
    sure: Floats,
    config: PredictConfig,
) -> dict[str, Any]:
    model = ensemble.members[0].model
    runs = [
        {
            "run": str(member.run.path.resolve()), "id": member.run.id,
            "classifier": member.model.config.classifier, "weight": float(weight),
            "temperature": float(temperature), "orientations": _symmetry(member, config),
            "weights_sha256": files.sha256_file(member.run.path / CLASSIFIER / "classifier.safetensors"),
        }
        for member, weight, temperature in zip(
            ensemble.members, ensemble.weights, ensemble.temperatures, strict=True
        )
    ]  # fmt: skip
    counts = table["predicted"].explode().value_counts()
    content: dict[str, Any] = {
        "images": len(table), "classes": list(model.names), "labels": model.kind, "given": given.about,
        "rejected": list(given.rejected), "table": f"{TABLE}.{config.table}", "runs": runs,
        "temperature": float(ensemble.temperature), "calibrated": config.calibrate,
        "predicted": {name: int(counts.get(name, 0)) for name in model.names},
        "columns": model.columns.names,
        "phantom": given.about["phantom"] or any(m.run.status.get("phantom") for m in ensemble.members),
    }  # fmt: skip
    if ensemble.abstention is not None:
        content["abstention"] = dataclasses.asdict(ensemble.abstention) | {
            "on": "val", "images": len(ensemble.members[0].val), "abstained": int(table["abstained"].sum()),
        }  # fmt: skip
    y = _truth(given, model)
    if y is None:
        return content
    content["measured"] = _measured(y, plain, sure, table, model, config)
    if ensemble.abstention is not None and not table["abstained"].all():
        kept = ~table["abstained"].to_numpy()
        content["abstention"] |= {
            "measured_coverage": float(kept.mean()),
            "measured_risk": float(1 - correct(y[kept], sure[kept]).mean()),
        }  # fmt: skip
    return content


def _explain(
    folder: Path, ensemble: Ensemble, inputs: Sequence[Images], table: pd.DataFrame, sure: Floats
) -> list[Mapping[str, Any]]:
    """Draw maps of some images by the member with the largest weight, one PNG each."""
    best = int(np.argmax(ensemble.weights))
    model, images = ensemble.members[best].model, inputs[best]
    confidence = table["confidence"].to_numpy()
    order = np.argsort(-confidence, kind="stable")
    if not ensemble.tags and "label" in table and table["label"].notna().all():
        wrong = (table["label"] != table["predicted"]).to_numpy()
        order = np.concatenate([order[wrong[order]], order[~wrong[order]]])
    half = EXPLAINED // 2
    chosen = order if len(order) <= EXPLAINED else np.concatenate([order[:half], order[-half:]])
    classes = sure[chosen].argmax(axis=1)
    some = Images(
        lambda index: images.read(chosen[index]), np.zeros(len(chosen), np.int64),
        inputs=None if images.inputs is None else images.inputs[chosen],
    )  # fmt: skip
    maps = grad_cam(model, some, classes)
    (folder / MAPS).mkdir()
    shown: list[Mapping[str, Any]] = []
    for number, (row, k) in enumerate(zip(chosen, classes, strict=True)):
        picture = overlay(images.read(np.array([row]))[0], maps[number])
        name = f"{MAPS}/{number:02}.png"
        picture.save(folder / name)
        shown.append(
            {
                "file": name, "id": str(table["id"].iloc[row]), "class": model.names[k],
                "probability": float(sure[row, k]),
                "label": None if "label" not in table else _plain(table["label"].iloc[row]),
            }
        )  # fmt: skip
    return shown


def _plain(label: Any) -> Any:
    """A label as JSON has it."""
    return list(label) if isinstance(label, (list, tuple, np.ndarray)) else label


def overlay(image: NDArray[np.uint8], weight: Floats) -> Image.Image:
    """An image beside itself, faded to grey, with the colours of a map H×W in 0 to 1 over it."""
    from matplotlib import colormaps

    rgb = np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
    grey = np.repeat((rgb @ np.array([0.299, 0.587, 0.114]))[..., None], 3, axis=2)
    colours = 255 * colormaps["viridis"](weight)[..., :3]
    mixed = np.rint(0.5 * grey + 0.5 * colours).astype(np.uint8)
    return Image.fromarray(np.concatenate([rgb, mixed], axis=1))
