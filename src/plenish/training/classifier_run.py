"""A classifier trained in a Run: made, resumed, and the best of its checkpoints kept."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from plenish import files, settings
from plenish.configuration import option_name, option_names
from plenish.datasets.batches import Images, check_divisible
from plenish.datasets.parts import Subset
from plenish.errors import InputError
from plenish.runs import Run
from plenish.training import checkpoints, ranks
from plenish.training.classifier import ClassifierLearner, cuda_devices, schedule_of, training_images
from plenish.training.classifier_columns import Columns
from plenish.training.classifier_config import ClassifierConfig
from plenish.training.classifier_model import CLASSIFIER, Classifier, labelled_images
from plenish.training.classifier_precision import Precision, choose_precision
from plenish.training.engine import Engine
from plenish.training.trainer import train

HARDENING = "hardening"
"""The section of the configuration that a hardened classifier has."""


def open_run(
    path: Path, config: ClassifierConfig, train_rows: Subset, synthetic: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] = {},
) -> Run:  # fmt: skip
    """The Run of a training, made or resumed.

    Args:
        path: its folder.
        config: how, resolved.
        train_rows: training rows.
        synthetic: which synthetic images are mixed in, as it is kept in the Run.
        more: further sections of its configuration, of another kind of training.

    Raises:
        InputError: it was asked something else before, or the processes cannot share a batch equally.
    """
    _check_verb(path, more)
    world = settings.process()[1]
    check_divisible(config.batch, world)
    if (config.mixup or config.cutmix) and config.batch // world % 2:
        raise InputError("--mixup and --cutmix mix images in pairs; give an even --batch.")
    weights, dataset = config.pretrained, train_rows.dataset
    asked = dataclasses.asdict(config) | {
        "pretrained": files.sha256_file(weights) if isinstance(weights, Path) else weights,
        "precision": settings.current().precision, "recipe": config.classifier,
        **({} if synthetic is None else {"synthetic": dict(synthetic)}), **more,
    }  # fmt: skip
    data = dataset.provenance(train_rows.split_name) | {"part": "train", "images": len(train_rows)}
    # A plateau lowers the rate by what is found at each evaluation.
    free = ("patience",) if config.schedule == "plateau" else ("evaluations", "patience")
    return Run.open_or_create(
        path, "classifier", asked, data=data, seed=config.seed, may_change=free,
        typed=option_names(ClassifierConfig)
        | {f"{HARDENING}.{name}": option_name(name) for name in more.get(HARDENING, {})},
    )  # fmt: skip


def _check_verb(path: Path, more: Mapping[str, Any]) -> None:
    """Refuse to go on with a hardened classifier as with a plain one, and the other way round."""
    if not (path / "config.json").is_file():
        return
    run = Run.open(path, "classifier")
    before = HARDENING in run.config["config"]
    if before != (HARDENING in more):
        verb, how = ("harden", "a hardened") if before else ("train classifier", "a plain")
        raise InputError(
            f"{path} holds {how} classifier; 'plenish {verb}' continues it, or use another folder."
        )


def train_in_run(
    run: Run, config: ClassifierConfig, train_rows: Subset, val_rows: Subset, *, retry: bool = False,
    images: Images | None = None, columns: Columns | None = None,
    build: Callable[..., ClassifierLearner] = ClassifierLearner,
) -> Classifier:  # fmt: skip
    """Train a classifier in a Run, from the start or from its newest intact checkpoint, and save the best.

    Args:
        run: the Run; the caller holds its lock.
        config: how, resolved.
        train_rows: training rows.
        val_rows: rows that decide which checkpoint is best.
        retry: resume after a divergence, with other random draws.
        images: what is trained on, where it is more than the training rows.
        columns: those of the training rows, where they are known.
        build: makes the Learner, of the same arguments as `ClassifierLearner`.

    Returns:
        The best one on val.

    Raises:
        KeyboardInterrupt: it was asked to stop; a checkpoint is written.
        InputError: fewer than two classes, an unknown network or loss, or weights that do not fit.
        CheckFailed: the training diverged.
    """
    dataset = train_rows.dataset
    names = dataset.labels.names
    columns = columns or Columns.fit(dataset.table, train_rows.rows, config.columns)
    images = images or labelled_images(train_rows, columns)
    val = labelled_images(val_rows, columns)

    def precision() -> Precision:
        """Measured once, so that a resumed training computes as it began."""
        known: Precision | None = run.status.get("precision")
        return known or choose_precision(config, dataset.channels, dataset.size, len(names))

    with ranks.interrupted_when_lost(run):
        ranks.join(Engine.from_settings())
        found = ranks.from_main(Engine.from_settings(), precision)
    run.update_status(precision=found)
    engine = Engine.from_settings(found)
    make = functools.partial(build, config, images, val, names, engine, columns)
    facts = {"classes": list(names), "steps": config.steps}
    with torch.random.fork_rng(devices=cuda_devices(engine)):
        model = train(
            make, training_images(images, config), schedule_of(config), run, retry=retry, facts=facts
        ).model
    if best := run.status.get("best"):
        checkpoints.load_module(run.path / "checkpoints" / best["checkpoint"], "classifier", model.network)
        model = dataclasses.replace(model, step=int(best["step"]))
    made = dataset.manifest.extra.get("import", {})
    kept = {key: made[key] for key in ("fit", "window", "fitting") if key in made}
    model = dataclasses.replace(model, preparation=kept)
    model.save(run.path / CLASSIFIER)
    return model
