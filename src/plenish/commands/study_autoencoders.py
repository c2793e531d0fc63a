"""`plenish study autoencoders`: one autoencoder a class, and whether their errors tell the classes apart."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plenish import files
from plenish.commands.request import request_hash
from plenish.configuration import apply_overrides, check_numbers, parse_overrides
from plenish.errors import InputError
from plenish.metrics.caveats import describe
from plenish.metrics.results import VERSION, read_result
from plenish.metrics.words import with_interval
from plenish.progress import say
from plenish.recipes import KINDS, load_recipe
from plenish.runs import Run
from plenish.study.words import class_verdict
from plenish.wording import plural

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from plenish.datasets.dataset import Dataset, Subset
    from plenish.training.autoencoder_run import Plan

RESULT = "autoencoders.json"
SCORES = "scores.parquet"
_LEAST = {"batch": 1, "patience": 0, "draws": 1}
_MOST_SHOWN = 6
_AT_ONCE = 256


@dataclasses.dataclass(frozen=True)
class ClassStudy:
    """A finished study of one autoencoder a class.

    Attributes:
        path: its folder.
        content: what autoencoders.json holds.
    """

    path: Path
    content: dict[str, Any]

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        answer, number = class_verdict(self.content)
        return f"{answer}: {number}." if number else f"{answer}."

    def summary(self) -> dict[str, Any]:
        """The answer, the matrix of errors, and what limits them."""
        content = self.content
        names = content["classes"]
        shown: dict[str, Any] = {
            key: _shown(content[key]) for key in ("auroc", "accuracy", "balanced_accuracy") if key in content
        }
        if "by_group" in content:
            key = "auroc" if len(names) == 2 else "balanced_accuracy"
            shown[f"{key}_by_group"] = _shown(content["by_group"][key])
        return {
            "verdict": self.verdict, **shown, "caveats": describe(content["caveats"]),
            "study": str(self.path), "report": str(self.path / "report.html"),
            "mean_errors": [
                {"images_of": name, **{f"model_{p}": cell["value"] for p, cell in zip(names, row)}}
                for name, row in zip(names, content["matrix"])
            ],
        }  # fmt: skip

    def __rich__(self) -> Any:
        """The same for a terminal, where the matrix of more than a few classes has no room."""
        from rich.console import Group
        from rich.markup import escape
        from rich.table import Table

        shown = self.summary()
        rows = shown["mean_errors"]
        facts = [
            f"{k.replace('_', ' ')} {v}" for k, v in shown.items() if k.startswith(("auroc", "accuracy"))
        ]
        limits = [f"• {text}" for text in shown["caveats"]]
        place = f"{self.path / RESULT} and {shown['report']}"
        table = Table(title="mean error under each model", title_justify="left")
        for column in rows[0]:
            table.add_column(column.replace("_", " "))
        for row in rows:
            table.add_row(*(f"{v:.4g}" if isinstance(v, float) else escape(str(v)) for v in row.values()))
        several = [table] if len(rows) <= _MOST_SHOWN else []
        return Group(*map(escape, [self.verdict, *facts]), *several, *map(escape, [*limits, place]))


def _shown(found: dict[str, Any]) -> str:
    return with_interval(found["value"], found["low"], found["high"], ".3f")


def study_autoencoders(
    data: Path, out: Path, *, recipe: str = "tcga-two-autoencoders", classes: list[str] | None = None,
    split: str = "default", seed: int = 0, epochs: float | None = None, batch: int | None = None,
    patience: int | None = None, balance: bool = True, shuffle: bool = False, level: float = 0.95,
    resamples: int = 1000, draws: int = 4, options: list[str] | None = None,
) -> ClassStudy:  # fmt: skip
    """Train one autoencoder on each class, and measure how well their errors tell the classes apart.

    Each is trained on the train rows of its class and stopped on the val rows of its class; all reconstruct
    every test image of the classes. The folder gets models/ (a Run each), scores.parquet (the errors of every
    test image under every model), autoencoders.json and report.html. The same command goes on after an
    interruption. Autoencoders trained on noisy images (training.denoise) are measured on noisy images, with
    the same noise for all: how well noise is taken off tells more of a class than how well an image passes.

    Args:
        data: the Dataset, with classes and a split.
        out: the study's folder; an unfinished study there is gone on with.
        recipe: a name from `plenish recipe list`, or a YAML file.
        classes: which classes; all by default. Of two, the second is the positive one.
        split: the split.
        seed: seed of every random draw.
        epochs: length of every training, in passes over its images.
        batch: images a step.
        patience: end a training after this many evaluations without a lower error on val.
        balance: train every model on as many images as the smallest class has.
        shuffle: a control: classes are dealt to the images (to whole groups, where these have one class) by
            chance, so there is nothing to find.
        level: level of the intervals.
        resamples: bootstrap resamples of the test groups.
        draws: draws of noise for each test image, where there is noise.
        options: further options as section.name=value, such as network.norm=batch.

    Returns:
        The study.
    """
    check_numbers(_LEAST, epochs=epochs, batch=batch, patience=patience, draws=draws)
    if not 0 < level < 1 or resamples < 10:
        raise InputError(
            f"The level of intervals lies between 0 and 1 and they take at least 10 resamples, "
            f"not {level:g} and {resamples}."
        )
    from plenish.datasets.dataset import Dataset

    chosen = load_recipe(recipe, "autoencoder-study")
    direct = {"schedule.epochs": epochs, "training.batch": batch, "schedule.patience": patience}
    changes = {key: value for key, value in direct.items() if value is not None}
    changes |= parse_overrides(options or [], KINDS["autoencoder"], "network.norm=batch")
    dataset = Dataset.open(data)
    names = _classes(dataset, classes)
    asked = (seed, names, balance, shuffle, level, resamples, draws)
    request = request_hash(chosen, changes, dataset, split, *asked)
    if (out / "config.json").exists():
        before = Run.open(out, "autoencoder-study")
        if before.state == "complete" and before.status.get("request") == request:
            say(f"{out} is complete.")
            return ClassStudy(out, read_result(out, "autoencoder-study")[0])
    from plenish.training.autoencoder_run import plan as make_plan

    plan = make_plan(chosen.name, apply_overrides(chosen.sections, changes), dataset)
    config = {
        "recipe": chosen.name, "classes": names, "balance": balance,
        "shuffle": shuffle, "network": plan.network.to_dict(), "training": dataclasses.asdict(plan.method),
        "schedule": dataclasses.asdict(plan.schedule), "level": level, "resamples": resamples,
        "draws": draws,
    }  # fmt: skip
    parts = {part: dataset.part(part, split, purpose="select") for part in ("train", "val")}
    rows = {part: _rows_by_class(subset, names, shuffle, seed) for part, subset in parts.items()}
    _check_amounts(dataset, split, rows, names, plan)
    run = Run.open_or_create(
        out, "autoencoder-study", config, data=dataset.provenance(split), seed=seed,
        may_change=("level", "resamples", "draws"),
        typed={"classes": "--classes", "schedule.epochs": "--epochs", "shuffle": "--shuffle"},
    )  # fmt: skip
    with run.lock():
        run.update_status(state="running", request=request)
        content = _work(run, dataset, split, plan, rows, names, config)
        run.update_status(state="complete", verdict=content["verdict"])
    return ClassStudy(out, content)


def _classes(dataset: Dataset, asked: Sequence[str] | None) -> list[str]:
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


def _rows_by_class(
    subset: Subset, names: Sequence[str], shuffle: bool, seed: int
) -> tuple[Subset, NDArray[np.int64]]:
    """The rows of these classes, and the class of each as its place among `names`."""
    import numpy as np

    from plenish.training.engine import stable_seed

    place = {subset.dataset.labels.code(name): i for i, name in enumerate(names)}
    kept = subset.where(np.isin(subset.codes, list(place)))
    codes = np.array([place[code] for code in kept.codes.tolist()], np.int64)
    if shuffle:
        from plenish.study.class_errors import permute_labels

        rng = np.random.default_rng(stable_seed(seed, "shuffle", subset.part))
        codes = permute_labels(codes, list(kept.groups), rng)
    return kept, codes


def _check_amounts(
    dataset: Dataset, split: str, rows: dict[str, tuple[Subset, Any]], names: Sequence[str], plan: Plan
) -> None:
    """Refuse what could not be trained or tested before a folder is made."""
    for part, (_, codes) in rows.items():
        for k, name in enumerate(names):
            n = int((codes == k).sum())
            if n < (plan.method.batch if part == "train" else 1):
                least = f"--batch {plan.method.batch}; lower it" if part == "train" else "one; split anew"
                raise InputError(
                    f"The {part} part of {dataset.path} has {plural(n, 'image')} of {name}, fewer than "
                    f"{least}, or leave the class out with --classes."
                )
    frozen = dataset.split(split)
    there = {dataset.column("label")[i] for i in frozen.rows("test")}
    missing = [name for name in names if name not in there]
    if missing:
        raise InputError(
            f"The test part of {dataset.path} has no image of {', '.join(missing)}; leave it out with "
            "--classes, or make another split."
        )


def _work(
    run: Run, dataset: Dataset, split: str, plan: Plan, rows: dict[str, tuple[Subset, Any]],
    names: Sequence[str], asked: Mapping[str, Any],
) -> dict[str, Any]:  # fmt: skip
    from plenish.study.class_errors import ClassErrors, analyse

    shuffle = asked["shuffle"]
    folders = _train_all(run, plan, rows, names, asked["balance"])
    test, codes = _rows_by_class(dataset.part("test", split, purpose="study"), names, shuffle, run.seed)
    noise = (plan.method.denoise, asked["draws"], run.seed)
    errors, models = _measure(folders, names, test, noise)
    found = ClassErrors(errors, codes, list(test.groups), tuple(names))
    content = {
        "schema": VERSION, "kind": "autoencoder-study", "shuffled": shuffle, "models": models,
        "noise": plan.method.denoise, "draws": asked["draws"],
        **analyse(found, level=asked["level"], resamples=asked["resamples"], seed=run.seed),
        "data": dataset.provenance(split), "test_reads": dataset.test_reads(split),
        "phantom": bool(dataset.manifest.extra.get("phantom")),
    }  # fmt: skip
    _write_scores(run.path / SCORES, found, test)
    files.write_json(run.path / RESULT, content)
    from plenish.report.class_errors_page import class_errors_page

    page = class_errors_page(files.read_json(run.path / RESULT), found, test, _loaded(folders), dataset)
    files.write_bytes(run.path / "report.html", page.encode())
    return content


def _train_all(
    run: Run, plan: Plan, rows: dict[str, tuple[Subset, Any]], names: Sequence[str], balance: bool
) -> list[Path]:
    """Train an autoencoder on each class; those that are whole are left as they are."""
    import numpy as np

    from plenish.training.autoencoder_run import fit, open_run
    from plenish.training.engine import stable_seed

    (train, train_codes), (val, val_codes) = rows["train"], rows["val"]
    least = int(np.bincount(train_codes, minlength=len(names)).min())
    folders = []
    for k, name in enumerate(names):
        say(f"Autoencoder of {name}, {k + 1} of {len(names)}:")
        mine = np.flatnonzero(train_codes == k)
        if balance:
            rng = np.random.default_rng(stable_seed(run.seed, "balance", name))
            mine = np.sort(rng.permutation(mine)[:least])
        path = run.path / "models" / f"{k:02d}"
        chosen = train.where(mine)
        digest = files.config_hash({"ids": chosen.ids})
        model = open_run(path, plan, chosen, run.seed, {"only": [name], "rows_hash": digest})
        with model.lock():
            fit(model, plan, chosen, val.where(val_codes == k))
        folders.append(path)
    return folders


def _loaded(folders: Sequence[Path]) -> list[Any]:
    from plenish.latent.encoding import load_autoencoder

    return [load_autoencoder(folder) for folder in folders]


def _measure(
    folders: Sequence[Path], names: Sequence[str], test: Subset, noise: tuple[float, int, int]
) -> tuple[NDArray[np.float64], list[dict[str, Any]]]:
    """Errors N×K of the test rows, and what each model is; noise is its deviation, its draws and its seed."""
    import numpy as np

    from plenish.metrics.reconstruction import denoising_errors

    sd, draws, seed = noise
    columns, models = [], []
    for name, model in zip(names, _loaded(folders)):
        parts = [denoising_errors(model, images, sd, draws, seed) for images in test.batches(_AT_ONCE)]
        columns.append(np.concatenate(parts))
        best = model.run.status.get("best", {})
        models.append(
            {
                "class": name, "run": str(Path("models") / model.run.path.name), "id": model.run.id,
                "images": model.run.config["data"]["images"], "checkpoint": model.checkpoint.name,
                "epoch": best.get("epoch"), "val_mse": best.get("val_mse"),
                "weights_sha256": model.weights_sha256,
            }
        )  # fmt: skip
    return np.stack(columns, axis=1), models


def _write_scores(path: Path, found: Any, test: Subset) -> None:
    """A row for each test image: id, class, group, its error under each model, and what they say."""
    import pandas as pd
    import pyarrow as pa

    from plenish.datasets.tables import write_table

    names = found.names
    table = pd.DataFrame({"id": test.ids, "class": [names[k] for k in found.codes], "group": test.groups})
    for k, name in enumerate(names):
        table[f"mse_{name}"] = found.errors[:, k]
    table["lowest"] = [names[k] for k in found.lowest()]
    if len(names) == 2:
        table["difference"] = found.difference()
    with files.reporting_disk(path):
        write_table(path, pa.Table.from_pandas(table, preserve_index=False))
