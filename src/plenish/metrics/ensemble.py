"""Classifiers of one split whose probabilities are mixed: what is fitted on val, and the answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import files
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
from plenish.metrics.origin import real_at
from plenish.metrics.predict_config import PredictConfig
from plenish.metrics.predictions import PREDICTIONS, probabilities_in, read_predictions, said
from plenish.runs import Run
from plenish.training.classifier_model import Classifier, labelled_images, unfinished, weights_of

Floats = NDArray[np.float64]


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

    def answers(self, plain: Floats, sure: Floats) -> dict[str, Any]:
        """Columns of a table, N each: the answer, its confidence, whether to abstain, all probabilities.

        Args:
            plain: plain probabilities N×K, as `mix` gives them.
            sure: calibrated ones N×K.
        """
        model = self.members[0].model
        columns: dict[str, Any] = {
            "predicted": said(model.names, sure, model.kind), "confidence": confidences(sure, self.tags),
        }  # fmt: skip
        if self.abstention is not None:
            columns["abstained"] = columns["confidence"] < self.abstention.threshold
        for prefix, values in (("p", plain), ("calibrated", sure)):
            columns |= {f"{prefix}_{name}": values[:, k] for k, name in enumerate(model.names)}
        return columns

    def record(self, config: PredictConfig) -> dict[str, Any]:
        """What a result keeps of the classifiers and of what was fitted on val."""
        model = self.members[0].model
        runs = [
            {
                "run": str(member.run.path.resolve()), "id": member.run.id,
                "classifier": member.model.config.classifier, "weight": float(weight),
                "temperature": float(temperature), "orientations": orientations_of(member, config),
                "weights_sha256": files.sha256_file(weights_of(member.run.path)),
            }
            for member, weight, temperature in zip(
                self.members, self.weights, self.temperatures, strict=True
            )
        ]  # fmt: skip
        content: dict[str, Any] = {
            "classes": list(model.names), "labels": model.kind, "runs": runs,
            "temperature": float(self.temperature), "calibrated": config.calibrate,
        }  # fmt: skip
        if self.abstention is not None:
            about = {"on": "val", "images": len(self.members[0].val)}
            content["abstention"] = dataclasses.asdict(self.abstention) | about
        return content


def fitted_ensemble(runs: Sequence[Path], config: PredictConfig) -> Ensemble:
    """Open classifiers and fit on val how they are mixed.

    Args:
        runs: Runs of classifiers that were trained on one split of one Dataset.
        config: what is fitted.

    Raises:
        InputError: none is given, a Run holds no classifier, or they do not fit each other.
    """
    if not runs:
        raise InputError("Give at least one Run of a classifier before the images.")
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
    if not (path / PREDICTIONS).is_file():
        raise unfinished(path)
    model, table = Classifier.of_run(path), read_predictions(run, "val")
    if model.kind == "multilabel":
        y: NDArray[Any] = np.array([[name in tags for name in model.names] for tags in table["label"]], float)
    else:
        y = np.array([model.names.index(label) for label in table["label"]])
    member = Member(run, model, probabilities_in(table, model.names), y)
    symmetry = orientations_of(member, config)
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


def orientations_of(member: Member, config: PredictConfig) -> Symmetry:
    """The orientations in which a member looks at each image."""
    asked = member.model.config
    return (asked.symmetry or DOMAINS[asked.domain or DEFAULT].symmetry) if config.tta else "none"
