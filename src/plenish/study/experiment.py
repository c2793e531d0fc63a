"""The cells of a study run, analysed and written to study.json."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plenish import files, settings
from plenish.datasets.batches import Images
from plenish.datasets.dataset import Dataset
from plenish.domains import choose_domain
from plenish.errors import InputError
from plenish.latent.sampling import load_generator, make_dataset
from plenish.metrics.caveats import Caveat, about_test
from plenish.metrics.resampling import unit_codes
from plenish.metrics.result_files import real_record, synthetic_record, write_result
from plenish.metrics.words import is_known
from plenish.progress import progress, say
from plenish.runs import Run, versions
from plenish.study import cells
from plenish.study.analysis import Predictions, analyse, announced
from plenish.study.config import StudyConfig, check_source
from plenish.study.data import StudyData, add_synthetic, check_generator, open_real, synthetic_needed
from plenish.study.design import Design, about_cuts, about_design, about_doses
from plenish.study.summaries import Study
from plenish.study.verdicts import PRIMARY_METRIC, announcement, study_verdict
from plenish.training.classifier import check_names, check_weights
from plenish.training.classifier_config import ClassifierConfig, ClassifierOptions
from plenish.training.classifier_precision import choose_precision
from plenish.training.classifier_time import say_duration
from plenish.training.engine import Engine


def run_study(
    real: Path, out: Path, config: StudyConfig, *, generator: Path | None = None,
    synthetic: Path | None = None,
) -> Study:  # fmt: skip
    """Run the cells of a study that are missing, analyse all of them, and write study.json.

    Args:
        real: the real Dataset.
        out: the study's folder; an unfinished or smaller study in it is continued.
        config: how to compare.
        generator: a generator's Run; synthetic images are generated from it into the study's folder.
        synthetic: a synthetic Dataset, instead of a generator.

    Raises:
        InputError: inputs unfit for a study, or a folder that holds a study with other settings.
    """
    design = Design.of(config, out)
    check_source(design.arms, generator, synthetic)
    options = {field.name: getattr(config, field.name) for field in dataclasses.fields(ClassifierOptions)}
    classifier = ClassifierConfig(**options)
    check_names(classifier)
    data = open_real(real, config.split, config.fraction, config.seed)
    classifier = classifier.resolved(len(data.train), data.data.domain)
    if any(arm.classical for arm in design.arms):
        say(choose_domain(config.domain, data.data.domain).sentence(config.symmetry))
    check_weights(classifier, data.data)
    parents: list[dict[str, Any]] = []
    if synthetic is not None:
        data = add_synthetic(data, synthetic)
        parents.append(Dataset.open(synthetic).provenance())
    if generator is not None:
        check_generator(generator, data)
        made = Run.open(generator)
        _check_same_generator(out, made)
        parents.append({"run": str(generator.resolve()), "id": made.id, "kind": made.kind})
    weights = config.pretrained
    options |= {
        "steps": classifier.steps, "learning_rate": classifier.peak_rate, "ratio": config.ratio,
        "fraction": config.fraction, "arms": design.names, "domain": classifier.domain,
        "symmetry": classifier.symmetry, "margin": config.margin,
        "pretrained": files.sha256_file(weights) if isinstance(weights, Path) else weights,
    }  # fmt: skip
    source = str(synthetic or generator or "")
    asked = options | {"split": config.split, "seeds": design.seeds, "source": source}
    asked |= {"precision": settings.current().precision}
    run = Run.open_or_create(
        out, "study", asked, data=data.data.provenance(config.split) | {"part": "train"}, parents=parents,
        seed=config.seed, may_change=("arms", "seeds", "source"),
    )  # fmt: skip
    with run.lock():
        run.update_status(primary_arm=design.primary.name if design.primary else None)
        if generator is not None:
            data = add_synthetic(data, _generate(run, generator, design, data))
        _check_same_synthetic(run, data)
        begun = time.monotonic()
        say(announcement(_announced(config, design, data)))
        done = _run_cells(run, design, data, classifier, config)
        content = _content(run, config, design, data, done)
        content |= options | {"analysis_seconds": time.monotonic() - begun}
        content = write_result(run.path, "study", content)
        run.update_status(state="complete", seconds=content["seconds"], message=study_verdict(content))
    return Study(out, content)


def _content(
    run: Run, config: StudyConfig, design: Design, data: StudyData, done: Sequence[cells.Cell]
) -> dict[str, Any]:
    """What study.json holds of the cells and their analysis."""
    options = {"level": config.level, "resamples": config.resamples, "seed": config.seed}
    records, names = [cell.record for cell in done], data.data.labels.names
    found = analyse(Predictions.of(done, names, config), design)
    real = real_record(data.train, data.val, data.test)
    counts = np.bincount(data.test.codes, minlength=len(names)).tolist()
    return {
        "commands": run.commands,
        "real": real,
        "synthetic": synthetic_record(data.synthetic.dataset) if data.synthetic is not None else None,
        **options, "seeds": list(range(design.seeds)),
        "test": {"n": real["n_test"], "groups": real["groups_test"], "per_class": dict(zip(names, counts))},
        "cells": records, **found,
        "power": {
            "planned": _announced(config, design, data), "observed": _announced(config, design, data, done),
        },
        "caveats": [dataclasses.asdict(c) for c in _caveats(run, config, design, data, found, records)],
        "primary_metric": PRIMARY_METRIC, "primary_arm": design.primary.name if design.primary else None,
        "test_reads": data.data.test_reads(config.split), "versions": versions(),
        "environment": run.status.get("environment", {}),
        "seconds": sum(record["seconds"] for record in records),
    }  # fmt: skip


def _announced(
    config: StudyConfig, design: Design, data: StudyData, done: Sequence[cells.Cell] = ()
) -> dict[str, Any]:  # fmt: skip
    """What gain the study can find, before training or after its first two seeds."""
    held_out = (data.val, data.test)  # what folds can divide where a generator was trained on the rest
    parts = held_out if any(arm.synthetic for arm in design.arms) else (data.train, *held_out)
    everything = [group for part in parts for group in part.groups]
    units = int(unit_codes(everything, len(everything)).max()) + 1
    return announced(
        config, design, data.test.codes, list(data.test.groups), all_groups=units, cells=done,
        names=data.data.labels.names,
    )  # fmt: skip


def _generate(run: Run, generator: Path, design: Design, data: StudyData) -> Path:
    """The study's own synthetic images, made once."""
    out = run.path / "synthetic"
    if out.exists():
        return out
    n, loaded = synthetic_needed(design.arms, data), load_generator(generator)
    if data.train.split_name == "default":
        make_dataset(loaded, out, n, like=data.data.path, seed=run.seed)
    else:  # equal shares of the classes, enough for the most frequent one
        counts = np.bincount(data.train.codes)
        n = int(np.ceil(n * len(counts) * counts.max() / counts.sum()))
        make_dataset(loaded, out, n, seed=run.seed)
    return out


def _check_same_generator(out: Path, given: Run) -> None:
    """Synthetic images that the study has already come from the generator given, not from another."""
    if not (out / "synthetic").exists():
        return
    known = Dataset.open(out / "synthetic").manifest.extra["generator"]
    if known["run_id"] != given.id:
        raise InputError(
            f"{out / 'synthetic'} was generated from {known['run']} ({known['run_id']}), and {given.path} is "
            f"{given.id}; give the same --generator or use another folder."
        )


def _check_same_synthetic(run: Run, data: StudyData) -> None:
    """All cells of a study use the same synthetic images."""
    if data.synthetic is None:
        return
    found = data.synthetic.dataset.manifest.pixels_hash
    if run.status.get("synthetic_hash", found) != found:
        raise InputError(
            f"{run.path} was started with other synthetic images; give those again or use another folder."
        )
    run.update_status(synthetic_hash=found)


def _run_cells(
    run: Run, design: Design, data: StudyData, config: ClassifierConfig, study: StudyConfig
) -> list[cells.Cell]:  # fmt: skip
    """Run what is missing, seed by seed so that an unfinished study is paired; load the rest."""
    every = [(arm, k) for k in range(design.seeds) for arm in design.arms]
    paths = [cells.cell_paths(run.path, arm.name, k) for arm, k in every]
    todo = [cell for cell, (record, table) in zip(every, paths) if not (record.is_file() and table.is_file())]
    if todo:
        shape = (data.data.channels, data.data.size, data.data.labels.width)
        # Measured once, so that a resumed study computes as it began.
        precision = run.status.get("precision") or choose_precision(config, *shape)
        run.update_status(
            precision=precision, state="running", cells_left=len(todo), arms=design.names, seeds=design.seeds,
            environment=Engine.from_settings().describe(),
        )  # fmt: skip
        train, val = (Images(part.images, part.codes) for part in (data.train, data.val))
        say_duration(
            config, train, val, data.data.labels.names, precision=precision, trainings=len(todo),
            tested=len(data.test),
        )  # fmt: skip
    try:
        with progress("training classifiers", len(todo) * (config.steps or 0) * config.batch) as bar:
            for left, (arm, k) in zip(range(len(todo) - 1, -1, -1), todo):
                bar.note(
                    f"{arm.name}, seed {k + 1} of {design.seeds}" + (f", {left} to follow" if left else "")
                )
                cells.run_cell(
                    run, arm, k, data, config, precision=precision,
                    on_step=lambda _: bar.advance(config.batch),
                )  # fmt: skip
                run.update_status(cells_left=left)
                if k == 1 and arm is design.arms[-1] and design.seeds > 2:
                    done = [
                        cells.load_cell(run.path, arm.name, k) for arm, k in every[: 2 * len(design.arms)]
                    ]
                    say(announcement(_announced(study, design, data, done)))
    except KeyboardInterrupt:
        run.update_status(state="interrupted")
        raise
    return [cells.load_cell(run.path, arm.name, k) for arm, k in every]


def _caveats(
    run: Run, config: StudyConfig, design: Design, data: StudyData, found: Mapping[str, Any],
    records: Sequence[dict[str, Any]],
) -> list[Caveat]:  # fmt: skip
    """Everything that limits the answer."""
    test, intervals = data.test, any(is_known(row["low"]) for row in found["summary"])
    fold = data.data.split(config.split).manifest.get("folds")
    return [
        *data.caveats,
        *about_test(test.codes, list(test.groups), data.data.labels.names, intervals=intervals),
        *([Caveat("one-fold")] if fold else []),
        *([] if data.data.reads_intact else [Caveat("reads-lost")]),
        *about_design(design, config.fraction, data.synthetic is not None, intervals=intervals),
        *_about_looks(run, design, intervals),
        *about_cuts([*found["differences"], *found["comparisons"]]),
        *about_doses(records, design.arms, len(data.train)),
    ]  # fmt: skip


def _about_looks(run: Run, design: Design, intervals: bool) -> list[Caveat]:
    """The limit of a study that was extended after a verdict was shown, each of which the Run remembers."""
    looks: list[dict[str, Any]] = run.status.get("looks", [])
    now = {"arms": design.names, "seeds": design.seeds}
    if now not in looks:
        looks.append(now)
        run.update_status(looks=looks)
    counts = [{"arms": len(look["arms"]), "seeds": look["seeds"]} for look in looks]
    return [Caveat("looks", {"looks": counts, "intervals": intervals})] if len(looks) > 1 else []
