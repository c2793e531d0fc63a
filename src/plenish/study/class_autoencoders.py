"""One autoencoder a class: trained, and measured on every test image of the classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.datasets.schema import Part
from plenish.errors import InputError
from plenish.metrics.reconstruction import denoising_errors
from plenish.metrics.resampling import Ints
from plenish.metrics.result_files import write_result
from plenish.progress import say
from plenish.runs import Run
from plenish.study.class_errors import ClassErrors, analyse, permute_labels
from plenish.study.config import ClassStudyConfig
from plenish.training.autoencoder_model import LoadedAutoencoder, load_autoencoder
from plenish.training.autoencoder_run import Plan, fit, open_run
from plenish.training.engine import stable_seed
from plenish.wording import plural

KIND: Literal["autoencoder-study"] = "autoencoder-study"
SCORES = "scores.parquet"


@dataclasses.dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        content: autoencoders.json.
        errors: the errors it was made from.
        test: the test rows, in the order of the errors.
        models: an autoencoder for each class.
    """

    content: Mapping[str, Any]
    errors: ClassErrors
    test: Subset
    models: Sequence[LoadedAutoencoder]


def open_study(out: Path, dataset: Dataset, plan: Plan, config: ClassStudyConfig) -> Run:
    """The study's Run, new or continued.

    Raises:
        InputError: there are too few images of a class, or the folder has a study of something else.
    """
    names = class_names(dataset, config.classes)
    needed: dict[Part, int] = {"train": plan.method.batch, "val": 1}
    for part, least in needed.items():
        codes = rows_by_class(dataset, part, names, config)[1]
        for name, count in zip(names, np.bincount(codes, minlength=len(names)).tolist()):
            if count < least:
                raise InputError(
                    f"The {part} part of {dataset.path} has {plural(count, 'image')} of {name} and at least "
                    f"{least} are needed; lower --batch, make another split, or leave the class out with "
                    "--classes."
                )
    labels = dataset.column("label")
    missing = set(names) - {labels[i] for i in dataset.split(config.split).rows("test")}
    if missing:
        raise InputError(
            f"The test part of {dataset.path} has no image of {', '.join(sorted(missing))}; leave it out "
            "with --classes, or make another split."
        )
    asked = {
        "recipe": plan.recipe, "classes": names, "balance": config.balance, "shuffle": config.shuffle,
        "network": plan.network.to_dict(), "training": dataclasses.asdict(plan.method),
        "schedule": dataclasses.asdict(plan.schedule), "level": config.level, "resamples": config.resamples,
        "draws": config.draws,
    }  # fmt: skip
    return Run.open_or_create(
        out, KIND, asked, data=dataset.provenance(config.split), seed=config.seed,
        may_change=("level", "resamples", "draws"),
        typed={"classes": "--classes", "schedule.epochs": "--epochs", "shuffle": "--shuffle"},
    )  # fmt: skip


def class_names(dataset: Dataset, asked: Sequence[str] | None) -> list[str]:
    """The classes of a study: those asked for, or all.

    Raises:
        InputError: the labels are no classes, or a class is unknown, given twice, or the only one.
    """
    if dataset.labels.kind != "categorical":
        raise InputError(
            f"{dataset.path} has {dataset.labels.kind.replace('none', 'no')} labels; one autoencoder a class "
            "needs one class per image."
        )
    names = list(asked or dataset.labels.names)
    for name in names:
        dataset.labels.code(name)
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise InputError("--classes takes at least two different classes.")
    return names


def rows_by_class(
    dataset: Dataset, part: Part, names: Sequence[str], config: ClassStudyConfig
) -> tuple[Subset, Ints]:
    """The rows of these classes in a part, and the class of each as its place among `names`."""
    subset = dataset.part(part, config.split, purpose="study" if part == "test" else "select")
    place = {dataset.labels.code(name): i for i, name in enumerate(names)}
    kept = subset.where(np.isin(subset.codes, list(place)))
    codes = np.array([place[code] for code in kept.codes.tolist()], np.int64)
    if config.shuffle:
        rng = np.random.default_rng(stable_seed(config.seed, "shuffle", part))
        codes = permute_labels(codes, list(kept.groups), rng)
    return kept, codes


def run_class_study(run: Run, dataset: Dataset, plan: Plan, config: ClassStudyConfig) -> Found:
    """Train what is not trained yet, measure the test images, write autoencoders.json and scores.parquet.

    Args:
        run: the study's Run; the caller holds its lock.
        dataset: the Dataset.
        plan: how each autoencoder is trained.
        config: what to compare.
    """
    names = list(run.config["config"]["classes"])
    folders = _train_all(run, dataset, plan, names, config)
    test, codes = rows_by_class(dataset, "test", names, config)
    models = [load_autoencoder(folder) for folder in folders]
    noise = (plan.method.denoise, config.draws, config.seed)
    columns = [
        np.concatenate([denoising_errors(model, images, *noise) for images in test.batches()])
        for model in models
    ]
    errors = ClassErrors(np.stack(columns, axis=1), codes, list(test.groups), tuple(names))
    content = {
        "commands": run.commands, "shuffled": config.shuffle,
        "models": [_about(name, model) for name, model in zip(names, models)], "noise": plan.method.denoise,
        "draws": config.draws,
        **analyse(errors, level=config.level, resamples=config.resamples, seed=config.seed),
        "data": dataset.provenance(config.split), "test_reads": dataset.test_reads(config.split),
        "phantom": bool(dataset.manifest.extra.get("phantom")),
    }  # fmt: skip
    _write_scores(run.path / SCORES, errors, test)
    return Found(write_result(run.path, KIND, content), errors, test, models)


def _train_all(
    run: Run, dataset: Dataset, plan: Plan, names: Sequence[str], config: ClassStudyConfig
) -> list[Path]:
    """Train an autoencoder on each class; those that are complete are left as they are."""
    train, codes = rows_by_class(dataset, "train", names, config)
    val, val_codes = rows_by_class(dataset, "val", names, config)
    least = int(np.bincount(codes, minlength=len(names)).min())
    folders = []
    for k, name in enumerate(names):
        say(f"Autoencoder of {name}, {k + 1} of {len(names)}:")
        mine = np.flatnonzero(codes == k)
        if config.balance:
            rng = np.random.default_rng(stable_seed(run.seed, "balance", name))
            mine = np.sort(rng.permutation(mine)[:least])
        chosen = train.where(mine)
        more = {"only": [name], "rows_hash": files.config_hash({"ids": chosen.ids})}
        folders.append(run.path / "models" / f"{k:02d}")
        model = open_run(folders[-1], plan, chosen, run.seed, more)
        with model.lock():
            fit(model, plan, chosen, val.where(val_codes == k))
    return folders


def _about(name: str, model: LoadedAutoencoder) -> dict[str, Any]:
    """What the result keeps of the model of a class."""
    best = model.run.status.get("best", {})
    return {
        "class": name, "run": str(Path("models") / model.run.path.name), "id": model.run.id,
        "images": model.run.config["data"]["images"], "checkpoint": model.checkpoint.name,
        "epoch": best.get("epoch"), "val_mse": best.get("val_mse"), "weights_sha256": model.weights_sha256,
    }  # fmt: skip


def _write_scores(path: Path, errors: ClassErrors, test: Subset) -> None:
    """A row for each test image: id, class, group, its error under each model, and what they say."""
    names = errors.names
    columns = {
        "id": test.ids, "class": [names[k] for k in errors.codes], "group": test.groups,
        **{f"mse_{name}": errors.errors[:, k] for k, name in enumerate(names)},
        "lowest": [names[k] for k in errors.lowest()],
        **({"difference": errors.difference()} if len(names) == 2 else {}),
    }  # fmt: skip
    files.write_bytes(path, pd.DataFrame(columns).to_parquet(None, index=False))
