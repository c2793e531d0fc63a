"""`plenish study`: the same classifier trained on real, augmented and synthetic images, compared."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from plenish import files, settings
from plenish.errors import InputError
from plenish.runs import Run, versions
from plenish.study.arms import DEFAULT_ARMS, Arm, parse_arms, primary_arm
from plenish.study.checks import check_generator, check_numbers, check_source, check_training

if TYPE_CHECKING:
    from plenish.study.cells import Cell, Stopwatch
    from plenish.study.data import Material
    from plenish.training.classifier_config import ClassifierConfig

_SHOWN = ("classifier", "steps", "batch", "ratio", "fraction", "orientation", "learning_rate")
_MAY_GROW = ("arms", "seeds", "source")


@dataclasses.dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        path: its folder.
        content: what study.json holds.
        report: its report, where one was written.
    """

    path: Path
    content: Mapping[str, Any]
    report: Path | None = None

    @property
    def verdict(self) -> str:
        """The answer in one sentence."""
        return str(self.content["verdict"])

    def summary(self) -> dict[str, Any]:
        """The answer, a row per arm, and what limits it."""
        words = {row["arm"]: row["verdict"] for row in self.content["verdicts"]}
        rows: dict[str, dict[str, Any]] = {}
        for row in self.content["summary"]:
            rows.setdefault(row["arm"], {"arm": row["arm"]})[row["metric"]] = _with_interval(row)
        for row in self.content["differences"]:
            if row["metric"] == "balanced_accuracy":
                rows[row["arm"]] |= {"against_real": _with_interval(row, "+"), "verdict": words[row["arm"]]}
        return {
            "verdict": self.verdict, "arms": list(rows.values()), "caveats": list(self.content["caveats"]),
            "study": str(self.path), "report": str(self.report) if self.report else None,
        }  # fmt: skip

    def __rich__(self) -> Any:
        """The same for a terminal."""
        from rich.console import Group
        from rich.markup import escape
        from rich.table import Table

        shown = self.summary()
        table = Table(title="balanced accuracy", title_justify="left")
        for column in ("arm", "mean and interval", "against real", "verdict"):
            table.add_column(column)
        for row in shown["arms"]:
            cells = (
                row["arm"],
                row["balanced_accuracy"],
                row.get("against_real", ""),
                row.get("verdict", ""),
            )
            table.add_row(*map(escape, cells))
        limits = [f"• {escape(text)}" for text in shown["caveats"]]
        place = f"{self.path}/study.json" + (f" and {self.report}" if self.report else "")
        return Group(escape(self.verdict), table, *limits, escape(place))


def _with_interval(row: Mapping[str, Any], sign: str = "") -> str:
    if row["mean"] is None:
        return "undefined"
    if row["low"] is None:
        return f"{row['mean']:{sign}.3f}"
    return f"{row['mean']:{sign}.3f} ({row['low']:{sign}.3f} to {row['high']:{sign}.3f})"


def study(
    real: Path, out: Path, *, generator: Path | None = None, synthetic: Path | None = None,
    arms: tuple[str, ...] = DEFAULT_ARMS, seeds: int = 5, classifier: str = "small", steps: int | None = None,
    batch: int = 64, ratio: float = 1.0, split: str = "default", fraction: float = 1.0,
    orientation: Literal["any", "upright", "fixed"] = "any", pretrained: Path | None = None,
    learning_rate: float | None = None, level: float = 0.95, resamples: int = 1000, seed: int = 0,
) -> Study:  # fmt: skip
    """Train the same classifier on several kinds of training images and say whether synthetic ones help.

    Every arm takes the same number of optimiser steps from the same initial weights, seed by seed; validation
    and test images are all real. Finished cells (one arm, one seed) are kept: the same command goes on after
    an interruption, and more seeds or arms prolong the study.

    Args:
        real: the real Dataset, with a split.
        out: the study's folder; an unfinished or smaller study there is gone on with.
        generator: a generator's Run; synthetic images are generated from it into the study's folder.
        synthetic: a synthetic Dataset, instead of a generator.
        arms: words joined by '+': real, classical (augmentation), oversample (balanced classes), synthetic,
            duplicate and shuffled (placebos), such as real+synthetic, real+synthetic@0.5,
            real+synthetic+classical.
        seeds: trainings per arm, paired across arms.
        classifier: small, or any timm name.
        steps: optimiser steps of every training; by default 12 passes over the real training images, 150 to
            3000 steps.
        batch: images per step.
        ratio: synthetic images per real one, where an arm states no dose of its own.
        split: which split of the real Dataset.
        fraction: use only this share of the real training groups, to simulate scarcity.
        orientation: what classical augmentation may do: any (flips and right angles), upright (left-right),
            fixed.
        pretrained: a file of weights to start from, for all arms.
        learning_rate: peak learning rate; by default one that suits the classifier.
        level: level of the intervals.
        resamples: bootstrap resamples of the test groups.
        seed: seed of the whole study.

    Returns:
        The study; its folder holds study.json and cells/, and as a command report.html.

    Raises:
        InputError: inputs unfit for a study, or a folder that holds a study with other settings.
    """
    check_numbers(seeds, seed, level, resamples, steps, batch, fraction, learning_rate)
    chosen, seeds, primary = _design(arms, seeds, ratio, out)
    check_source(chosen, generator, synthetic)
    # These load torch, which takes seconds; what can be refused without it has been by now.
    from plenish.networks.classifier import check_classifier
    from plenish.study.data import add_synthetic, open_real
    from plenish.training.classifier_config import ClassifierConfig

    check_classifier(classifier)
    material = open_real(real, split, fraction, seed)
    check_training(classifier, pretrained, material)
    config = ClassifierConfig(
        classifier=classifier, steps=steps, batch=batch,
        learning_rate=learning_rate, orientation=orientation, pretrained=pretrained or False,
    ).resolved(len(material.train))  # fmt: skip
    material = _with_synthetic(material, synthetic, generator)
    asked = {
        "classifier": classifier, "steps": config.steps, "batch": batch, "ratio": ratio, "fraction": fraction,
        "orientation": orientation, "learning_rate": config.peak_rate, "split": split,
        "pretrained": files.sha256_file(pretrained) if pretrained else None,
        "arms": [arm.name for arm in chosen], "seeds": seeds, "source": str(synthetic or generator or ""),
        "precision": settings.current().precision,
    }  # fmt: skip
    run = Run.open_or_create(
        out, "study", asked, data=material.data.provenance(split) | {"part": "train"},
        parents=_parents(synthetic, generator), seed=seed, may_change=_MAY_GROW,
    )  # fmt: skip
    with run.lock():
        run.update_status(primary_arm=primary)
        if generator is not None:
            material = add_synthetic(material, _generate(run, generator, chosen, material, seed))
        _hold_to_synthetic(run, material)
        from plenish.study.cells import Stopwatch

        watch = Stopwatch()
        cells = _run_cells(run, chosen, seeds, seed, material, config)
        options = {"level": level, "resamples": resamples, "seed": seed}
        return _finish(run, cells, chosen, seeds, material, asked, watch, options)


def _design(arms: Sequence[str], seeds: int, ratio: float, out: Path) -> tuple[list[Arm], int, str | None]:
    """Arms, number of seeds and the primary arm, given what a study in this folder began with."""
    earlier = _earlier(out)
    chosen, seeds = _grown(parse_arms(arms, ratio), seeds, ratio, earlier)
    return chosen, seeds, _fixed_primary(chosen, ratio, earlier)


def _with_synthetic(material: Material, synthetic: Path | None, generator: Path | None) -> Material:
    """The synthetic images that were given; those of a generator are made later, once it has been checked."""
    from plenish.study.data import add_synthetic

    if synthetic is not None:
        return add_synthetic(material, synthetic)
    if generator is not None:
        check_generator(generator, material)
    return material


def _earlier(out: Path) -> Mapping[str, Any]:
    """Arms and seeds that a study in this folder already has, and the arms it began with."""
    if not (out / "config.json").is_file():
        return {}
    run = Run.open(out, "study")
    asked = run.config["config"]
    return {"arms": asked["arms"], "seeds": asked["seeds"], **run.status, "first_arms": asked["arms"]}


def _grown(arms: list[Arm], seeds: int, ratio: float, earlier: Mapping[str, Any]) -> tuple[list[Arm], int]:
    """A study only grows: arms and seeds seen once stay in it, so that none can be dropped for its result."""
    names = list(earlier.get("arms", [])) + [arm.name for arm in arms]
    return parse_arms(names, ratio), max(seeds, int(earlier.get("seeds", 0)))


def _fixed_primary(arms: Sequence[Arm], ratio: float, earlier: Mapping[str, Any]) -> str | None:
    """The primary arm, decided by the first start that had synthetic images and by nothing seen since."""
    if earlier.get("primary_arm"):
        return str(earlier["primary_arm"])
    for names in (earlier.get("first_arms"), earlier.get("arms")):
        main = primary_arm(parse_arms(names, ratio)) if names else None
        if main is not None:
            return main.name
    main = primary_arm(arms)
    return main.name if main is not None else None


def _looks(run: Run, arms: Sequence[Arm], seeds: int) -> list[dict[str, Any]]:
    """What the study held at every verdict it showed, kept before the present one is written."""
    status = run.status
    looks = list(status.get("looks", []))
    now = {"arms": [arm.name for arm in arms], "seeds": seeds}
    if now not in looks:
        looks.append(now)
        run.update_status(looks=looks)
    return looks


def _parents(synthetic: Path | None, generator: Path | None) -> list[dict[str, Any]]:
    found = []
    if generator is not None:
        found.append({"run": str(generator.resolve()), "id": Run.open(generator).id, "kind": "generator"})
    if synthetic is not None:
        from plenish.datasets.dataset import Dataset

        found.append(Dataset.open(synthetic).provenance())
    return found


def _generate(run: Run, generator: Path, arms: Sequence[Arm], material: Material, seed: int) -> Path:
    """The study's own synthetic images, made once."""
    import numpy as np

    from plenish.study.data import synthetic_needed

    out = run.path / "synthetic"
    n = synthetic_needed(arms, material)
    if out.exists():
        return out
    from plenish.latent.sampling import load_generator, make_dataset

    loaded = load_generator(generator)
    if material.train.split_name == "default":
        make_dataset(loaded, out, n, like=material.data.path, seed=seed)
    else:  # equal shares of the classes, enough for the most frequent one
        counts = np.bincount(material.train.codes)
        make_dataset(loaded, out, int(np.ceil(n * len(counts) * counts.max() / counts.sum())), seed=seed)
    return out


def _hold_to_synthetic(run: Run, material: Material) -> None:
    """All cells of a study use the same synthetic images."""
    if material.synthetic is None:
        return
    found = material.synthetic.dataset.manifest.pixels_hash
    held = run.status.get("synthetic_hash", found)
    if held != found:
        raise InputError(
            f"{run.path} was started with other synthetic images; give those again or use another folder."
        )
    run.update_status(synthetic_hash=found)


def _run_cells(
    run: Run, arms: Sequence[Arm], seeds: int, seed: int, material: Material, config: ClassifierConfig
) -> list[Cell]:
    """Run what is missing, seed by seed so that an unfinished study is paired; load the rest."""
    from plenish.progress import progress
    from plenish.study.cells import is_done, load_cell, run_cell
    from plenish.training.engine import Engine

    todo = [(arm, k) for k in range(seeds) for arm in arms if not is_done(run.path, arm.name, k)]
    if todo:
        precision = _precision(run, material, config)
        state = {
            "arms": [arm.name for arm in arms],
            "seeds": seeds,
            "environment": Engine.from_settings().describe(),
        }
        run.update_status(state="running", cells_left=len(todo), **state)
    try:
        with progress("training classifiers", len(todo) * (config.steps or 0) * config.batch) as bar:
            for left, (arm, k) in zip(range(len(todo), 0, -1), todo):
                follow = f", {left - 1} to follow" if left > 1 else ""
                bar.note(f"{arm.name}, seed {k + 1} of {seeds}{follow}")
                run_cell(
                    run.path, arm, k, seed, material, config, precision=precision,
                    on_step=lambda _: bar.advance(config.batch),
                )  # fmt: skip
                run.update_status(cells_left=left - 1)
    except KeyboardInterrupt:
        run.update_status(state="interrupted")
        raise
    return [load_cell(run.path, arm.name, k) for k in range(seeds) for arm in arms]


def _precision(run: Run, material: Material, config: ClassifierConfig) -> Any:
    """Measured once per study and kept, so that a resumed study computes as it began."""
    from plenish.training.classifier import choose_precision

    held = run.status.get("precision")
    if held is None:
        data = material.data
        held = choose_precision(config, data.channels, data.size, data.labels.width)
        run.update_status(precision=held)
    return held


def _finish(
    run: Run, cells: Sequence[Cell], arms: Sequence[Arm], seeds: int, material: Material,
    asked: Mapping[str, Any], watch: Stopwatch, options: Mapping[str, Any],
) -> Study:  # fmt: skip
    """Analyse the cells and write study.json."""
    from plenish.study import caveats
    from plenish.study.analysis import Predictions, analyse

    names = material.data.labels.names
    primary = run.status.get("primary_arm")
    found = analyse(Predictions.of(cells, names, **options), arms, primary)
    records = [cell.record for cell in cells]
    shown = any(math.isfinite(row["low"]) for row in found.summary)
    limits = [
        *material.caveats, *caveats.about_test(material, intervals=shown),
        *caveats.about_design(
            arms, seeds, asked["fraction"], material.synthetic is not None, primary, intervals=shown
        ),
        *caveats.about_looks(_looks(run, arms, seeds), intervals=shown),
        *caveats.about_cuts([*found.differences, *found.comparisons]),
        *caveats.about_doses(records, arms, len(material.train)),
    ]  # fmt: skip
    content = {
        "schema": 1, "kind": "study", "commands": run.commands,
        "real": _about_real(material), "synthetic": _about_synthetic(material),
        **{key: asked[key] for key in _SHOWN}, "seed": run.seed, "seeds": list(range(seeds)),
        "arms": [arm.name for arm in arms], "test": _about_test(material),
        "cells": records, **dataclasses.asdict(found), "caveats": limits, "level": options["level"],
        "resamples": options["resamples"], "primary_metric": "balanced_accuracy", "primary_arm": primary,
        "test_reads": material.data.test_reads(material.test.split_name), "versions": versions(),
        "environment": run.status.get("environment", {}),
        "seconds": sum(record["seconds"] for record in records),
        "analysis_seconds": watch.seconds,
    }  # fmt: skip
    files.write_json(run.path / "study.json", content)
    run.update_status(state="complete", seconds=content["seconds"], message=found.verdict)
    return Study(run.path, files.read_json(run.path / "study.json"))


def _about_real(material: Material) -> dict[str, Any]:
    data, split = material.data, material.test.split_name
    groups = {group for group in material.test.groups if group is not None}
    return {
        "path": str(data.path.resolve()), "name": data.name, "pixels_hash": data.manifest.pixels_hash,
        "table_hash": data.manifest.table_hash, "split": split, "split_hash": material.test.split_hash,
        "n_train": len(material.train), "n_val": len(material.val), "n_test": len(material.test),
        "groups_test": len(groups), "phantom": bool(data.manifest.extra.get("phantom")),
    }  # fmt: skip


def _about_synthetic(material: Material) -> dict[str, Any] | None:
    if material.synthetic is None:
        return None
    data = material.synthetic.dataset
    record = data.manifest.extra["generator"]
    return {
        "path": str(data.path.resolve()), "name": data.name, "n": len(data),
        "pixels_hash": data.manifest.pixels_hash,
        "generator": dict(record) if isinstance(record, Mapping) else None,
    }  # fmt: skip


def _about_test(material: Material) -> dict[str, Any]:
    counts = dict.fromkeys(material.data.labels.names, 0)
    for label in material.test.labels:
        counts[label] += 1
    groups = {group for group in material.test.groups if group is not None}
    return {"n": len(material.test), "groups": len(groups), "per_class": counts}
