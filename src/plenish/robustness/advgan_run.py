"""An AdvGAN's Run: what is trained against which classifier, and the training in the Run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plenish.configuration import build_config
from plenish.datasets.batches import Images
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.datasets.pixels import chunks
from plenish.errors import InputError
from plenish.latent.judges import open_classifier
from plenish.metrics.beside import classifier_behind
from plenish.networks.perturber import Perturber, PerturberConfig
from plenish.robustness.advgan import AT_ONCE, CHANGEABLE, AdvGANLearner, AdvGANMethod, to_unit
from plenish.robustness.target import Target
from plenish.robustness.threat import Threat
from plenish.robustness.visited import misclassified
from plenish.runs import Kind, Run
from plenish.training import trainer
from plenish.training.engine import Engine
from plenish.training.opening import open_run_on
from plenish.training.schedules import Schedule

KIND: Kind = "perturber"


@dataclasses.dataclass(frozen=True)
class AdvGANPlan:
    """What is going to be trained, how, and against what.

    Attributes:
        network: shape of both networks.
        method: how they are trained.
        schedule: length and intervals.
        target: the classifier.
        against: what a Run keeps of it.
    """

    network: PerturberConfig
    method: AdvGANMethod
    schedule: Schedule
    target: Target
    against: Mapping[str, Any]


def plan(
    sections: Mapping[str, Mapping[str, Any]], dataset: Dataset, split: str, classifier: Path
) -> AdvGANPlan:
    """What options make for a Dataset's images and a classifier.

    Args:
        sections: `network`, `training` and `schedule`.
        dataset: a real Dataset with classes.
        split: its split.
        classifier: Run of the classifier to perturb images against.

    Raises:
        InputError: an impossible value, images too small, or a classifier of other classes, another size or
            another split.
    """
    target, against = target_for(classifier, dataset, split)
    given = {"size": dataset.size, "channels": dataset.channels}
    method = build_config(AdvGANMethod, sections["training"], "training")
    Threat(method.norm, method.eps).check_reach(dataset.size, dataset.channels)
    return AdvGANPlan(
        PerturberConfig.from_dict({**sections["network"], **given}), method,
        build_config(Schedule, sections["schedule"], "schedule"), target, against,
    )  # fmt: skip


def target_for(classifier: Path, dataset: Dataset, split: str) -> tuple[Target, dict[str, Any]]:
    """A classifier whose images are those of a Dataset, and what a Run keeps of it.

    Raises:
        InputError: it has other classes, takes another size, or was trained on anything but the train part
            of this split.
    """
    against = classifier_behind(classifier, dataset, split)
    target = Target.of_classifier(open_classifier(classifier, dataset.channels), against)
    if set(target.names) != set(dataset.labels.names):
        raise InputError(
            f"{classifier} tells {', '.join(target.names)}, and {dataset.path} has the classes "
            f"{', '.join(dataset.labels.names)}; train a classifier on this Dataset."
        )
    if target.size != dataset.size:
        raise InputError(
            f"{classifier} takes images of {target.size} px, and those of {dataset.path} have "
            f"{dataset.size}; train a classifier on this Dataset."
        )
    return target, against


def images_of(rows: Subset, target: Target) -> Images:
    """Rows with their classes numbered as the classifier does."""
    number = np.array([target.names.index(name) for name in rows.dataset.labels.names])
    return Images(rows.images, number[rows.codes])


def check_val(asked: AdvGANPlan, val: Subset) -> None:
    """Refuse a classifier that gets no val image right: then there is nothing to fool it on."""
    images, engine = images_of(val, asked.target), Engine.from_settings("float32")
    for place in chunks(len(val), AT_ONCE):
        shown = to_unit(engine.to_images(images.read(place)))
        labels = torch.from_numpy(images.y[place]).to(engine.device)
        if not misclassified(asked.target.module, shown, labels).all():
            return
    raise InputError(
        f"The classifier in {asked.against['run']} gets no val image of {val.dataset.path} right, so there "
        "is nothing to fool it on; train it longer."
    )


def open_run(path: Path, asked: AdvGANPlan, train: Subset, seed: int, typed: Mapping[str, str] = {}) -> Run:
    """The Run of a plan, made or gone on with.

    Args:
        path: its folder.
        asked: what is trained.
        train: training rows.
        seed: seed of every random draw.
        typed: the option that sets a configuration key, for messages.

    Raises:
        InputError: the batch is larger than the data, or the Run was asked something else.
    """
    kept = {key: asked.against[key] for key in ("id", "weights_sha256")}
    _check_same_classifier(path, asked, kept)
    config = {
        "recipe": "advgan", "network": asked.network.to_dict(), "against": kept,
        "training": dataclasses.asdict(asked.method), "schedule": dataclasses.asdict(asked.schedule),
    }  # fmt: skip
    return open_run_on(
        train, path, KIND, config, batch=asked.method.batch, seed=seed, may_change=CHANGEABLE, typed=typed,
        parents=[asked.against],
    )  # fmt: skip


def _check_same_classifier(path: Path, asked: AdvGANPlan, kept: Mapping[str, Any]) -> None:
    """Refuse to go on with a Run against another classifier, in words other than checksums."""
    if not (path / "config.json").is_file():
        return
    config = Run.open(path, KIND).config
    if config["config"]["against"] != kept:
        raise InputError(
            f"{path} was started against the classifier in {config['parents'][0]['run']} as it was then, and "
            f"--against is now {asked.against['run']}; give that one or another folder."
        )


def fit(run: Run, asked: AdvGANPlan, train: Subset, val: Subset, retry: bool = False) -> None:
    """Train in a Run, from the start or from its newest intact checkpoint.

    Args:
        run: the Run; the caller holds its lock.
        asked: what is trained.
        train: training rows.
        val: rows that decide which checkpoint is best.
        retry: resume after a divergence, with other random draws.

    Raises:
        KeyboardInterrupt: it was asked to stop; a checkpoint is written.
        CheckFailed: the training diverged; the last good checkpoint is kept.
    """
    engine, images = Engine.from_settings(), images_of(val, asked.target)

    def build() -> AdvGANLearner:
        return AdvGANLearner(asked.network, asked.method, asked.target.module, engine, images)

    with torch.device("meta"):
        parameters = sum(p.numel() for p in Perturber(asked.network).parameters())
    facts = {"schedule": dataclasses.asdict(asked.schedule), "parameters": parameters}
    trainer.train(build, images_of(train, asked.target), asked.schedule, run, retry=retry, facts=facts)
