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
from plenish.errors import InputError
from plenish.metrics import trained_on
from plenish.metrics.calibration import (
    correct,
)
from plenish.metrics.caveats import Caveat
from plenish.metrics.classification_intervals import calibration_interval, measure
from plenish.metrics.ensemble import Ensemble, fitted_ensemble, orientations_of
from plenish.metrics.grad_cam import grad_cam
from plenish.metrics.predict_config import PredictConfig
from plenish.metrics.prediction_images import GivenImages, opened
from plenish.metrics.result_files import Result, write_result
from plenish.training.classifier_model import Classifier

Floats = NDArray[np.float64]
TABLE, MAPS = "predictions", "explained"
EXPLAINED = 24
"""Images of which maps are drawn: half of them the surest, half the least sure, the wrong ones first."""


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
    if not images:
        raise InputError("Give images behind the Runs: files, a folder or a Dataset.")
    files.refuse_existing(out)
    ensemble = fitted_ensemble(runs, config)
    first = ensemble.members[0]
    with opened(images, first.model, config, first.run.config["data"]) as given:
        _refuse_trained_on(given, ensemble)
        inputs = [_inputs(member.model, given) for member in ensemble.members]
        found = [
            member.model.probabilities(each, symmetry=orientations_of(member, config))
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


def _refuse_trained_on(given: GivenImages, ensemble: Ensemble) -> None:
    """Refuse generated images that were mixed in when one of the classifiers was trained, or their draws."""
    for member in ensemble.members:
        made = member.run.config["config"].get("synthetic") or {}
        whole = made and made["pixels_hash"] == given.about.get("pixels_hash")
        count = len(given.table) if whole else int(trained_on.seen(member.run, given).sum()) if made else 0
        if count:
            some = "" if count == len(given.table) else f", {count:,} of {len(given.table):,},"
            raise InputError(
                f"{given.about['path']} has generated images{some} that {member.run.path} was trained on, or "
                "others of the same draws; give ones of another --seed.",
                code="shared-images", value=count,
            )  # fmt: skip


def _inputs(model: Classifier, given: GivenImages) -> Images:
    columns = model.columns.encode(given.table, given.about["name"]) if model.columns.width else None
    return Images(given.read, np.zeros(len(given.table), np.int64), inputs=columns)


def _table(given: GivenImages, ensemble: Ensemble, plain: Floats, sure: Floats) -> pd.DataFrame:
    kept = [name for name in ("id", "source", "group", "label") if name in given.table.columns]
    table = given.table[kept].copy()
    for name, values in ensemble.answers(plain, sure).items():
        table[name] = values
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
    counts = table["predicted"].explode().value_counts()
    content = ensemble.record(config) | {
        "images": len(table), "given": given.about, "rejected": list(given.rejected),
        "table": f"{TABLE}.{config.table}",
        "predicted": {name: int(counts.get(name, 0)) for name in model.names},
        "columns": model.columns.names,
        "phantom": given.about["phantom"] or any(m.run.status.get("phantom") for m in ensemble.members),
    }  # fmt: skip
    if ensemble.abstention is not None:
        content["abstention"]["abstained"] = int(table["abstained"].sum())
    y = _truth(given, model)
    if y is None:
        return content
    if given.about.get("synthetic"):
        content["caveats"] = [dataclasses.asdict(Caveat("generated-test", {"intervals": True}))]
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
