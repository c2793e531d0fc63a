"""The cells of a study run, analysed and written to study.json."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from plenish import files, settings
from plenish.datasets.batches import Images
from plenish.datasets.dataset import Dataset
from plenish.datasets.schema import Part
from plenish.domains import choose_domain
from plenish.errors import InputError
from plenish.metrics.caveats import Caveat, about_test
from plenish.metrics.resampling import count_units
from plenish.metrics.result_files import real_record, write_result
from plenish.metrics.words import is_known
from plenish.parallel import HERE, available_cores, check_place
from plenish.progress import say
from plenish.runs import Run, versions
from plenish.study import cells
from plenish.study.analysis import Predictions, analyse, announced
from plenish.study.arms import Arm, describe_phases
from plenish.study.arms_file import configured
from plenish.study.config import Given, StudyConfig, named_sweep
from plenish.study.contents import doses_of, external_results, of_seeds, schedules_of, tested
from plenish.study.data import StudyData, add_external, add_synthetic
from plenish.study.design import Design, about_cuts, about_design, about_doses
from plenish.study.folds import about_folds, merged, open_folds
from plenish.study.hardened import check_hardened, slower, trains_alike, validated
from plenish.study.robust_results import robust_results
from plenish.study.robust_test import RobustTest
from plenish.study.running import CellContext, run_cells
from plenish.study.schedules import check_schedules
from plenish.study.sources import (
    Train,
    add_makers,
    check_draws,
    check_same_generators,
    check_same_synthetic,
    domain_of,
    makers_of,
    makers_used,
    plan_makers,
    source_records,
    train_makers,
)
from plenish.study.summaries import Study
from plenish.study.verdicts import PRIMARY_METRIC, announcement, study_verdict
from plenish.training.classifier import check_names, check_weights
from plenish.training.classifier_config import ClassifierConfig, ClassifierOptions
from plenish.training.classifier_precision import choose_precision
from plenish.training.classifier_time import say_duration
from plenish.training.engine import Engine
from plenish.wording import plural


def run_study(
    real: Path, out: Path, config: StudyConfig, *, generator: Path | None = None,
    synthetic: Path | None = None, sweep: Sequence[Path] = (), cross_fit: Sequence[Path] | None = None,
    test_data: Path | None = None, train: Train | None = None,
) -> Study:  # fmt: skip
    """Run the cells of a study that are missing, analyse all of them, and write study.json.

    Args:
        real: the real Dataset.
        out: the study's folder; an unfinished or smaller study in it is continued.
        config: how to compare.
        generator: a generator's Run; synthetic images are generated from it into the study's folder.
        synthetic: a synthetic Dataset, instead of a generator.
        sweep: Runs of several generators, instead, which are compared.
        cross_fit: Runs of generators, one for each fold, instead; empty where `train` makes them.
        test_data: another Dataset to test on as well.
        train: trains the generators of `cross_fit` into the study's folder.

    Raises:
        InputError: inputs unfit for a study, or a folder that holds a study with other settings.
    """
    check_place(config.on)
    given = Given(generator, synthetic, named_sweep(sweep) if sweep else {}, cross_fit)
    design = Design.of(config, out, [*given.sweep])
    given.check(design.arms, config.folds)
    if train is None and cross_fit is not None and not cross_fit:
        raise InputError("--cross-fit names no generator; give a recipe, or a Run for each fold.")
    classifier = ClassifierConfig(**classifier_options(config))
    for arm in design.arms:
        check_names(configured(arm, classifier), "categorical")
    test = RobustTest.of(config, Dataset.open(real))
    check_hardened(design.arms, classifier, test)
    folds = open_folds(real, config, given)
    data = folds[0].data
    mean_train = round(sum(len(fold.train) for fold in folds) / len(folds))
    domain = choose_domain(config.domain, data.domain, None if data.domain else domain_of(given))
    classifier = classifier.resolved(mean_train, None if domain.origin == "assumed" else domain.name)
    check_arms(design, classifier, data, test)
    if any(arm.classical for arm in design.arms):
        say(domain.sentence(config.symmetry))
    check_weights(classifier, data)
    if test_data is not None:
        folds = add_external(folds, test_data)
    parents: list[dict[str, Any]] = []
    if synthetic is not None:
        folds = [add_synthetic(fold, synthetic) for fold in folds]
        parents.append(Dataset.open(synthetic).provenance())
    check_schedules(design.arms, classifier, folds)
    if train is not None:
        plan_makers(out, folds, train)
    makers = makers_of(given, folds)
    check_same_generators(out, makers)
    check_draws(folds[0].external, makers, config.seed)
    for maker in makers:
        made = Run.open(maker.run)
        parents.append({"run": str(maker.run.resolve()), "id": made.id, "kind": made.kind})
    options = _resolved(config, design, classifier)
    source = str(synthetic or generator or " ".join(str(maker.run) for maker in makers) or "")
    asked = options | _kept(config, design, test_data, test) | {"source": source}
    asked |= {} if train is None else {"generators": dict(train.trained)}
    run = Run.open_or_create(
        out, "study", asked, data=data.provenance(folds[0].test.split_name) | {"part": "train"},
        parents=parents, seed=config.seed, may_change=("arms", "seeds", "source", "definitions"),
    )  # fmt: skip
    with run.lock():
        run.update_status(
            primary_arm=design.primary.name if design.primary else None, definitions=dict(design.definitions)
        )
        if train is not None:
            makers = train_makers(run, folds, train)
        folds = add_makers(run, design, folds, makers)
        check_same_synthetic(run, folds)
        return _complete(run, config, design, folds, classifier, options)


def _complete(
    run: Run, config: StudyConfig, design: Design, folds: Sequence[StudyData], classifier: ClassifierConfig,
    options: Mapping[str, Any],
) -> Study:  # fmt: skip
    """Run the missing cells of a locked Run, whose images are all there, analyse all, write study.json."""
    begun = time.monotonic()
    for name, phases in check_schedules(design.arms, classifier, folds).items():
        say(f"{name}: {describe_phases(phases)}.")
    say(announcement(_announced(config, design, folds)))
    done = _run_cells(run, config, design, folds, classifier)
    content = _content(run, config, design, folds, done)
    content |= {**options, "analysis_seconds": time.monotonic() - begun}
    content = write_result(run.path, "study", content)
    run.update_status(state="complete", seconds=content["seconds"], message=study_verdict(content))
    return Study(run.path, content)


def classifier_options(config: StudyConfig) -> dict[str, Any]:
    """The options of the classifier's training."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(ClassifierOptions)}


def _resolved(config: StudyConfig, design: Design, classifier: ClassifierConfig) -> dict[str, Any]:
    """What was asked of the arms and of the classifier, with what followed from the data."""
    weights = config.pretrained
    return classifier_options(config) | {
        "steps": classifier.steps, "learning_rate": classifier.peak_rate, "ratio": config.ratio,
        "fraction": config.fraction, "arms": design.names, "domain": classifier.domain,
        "symmetry": classifier.symmetry, "folds": config.folds, "margin": config.margin,
        "pretrained": files.sha256_file(weights) if isinstance(weights, Path) else weights,
    }  # fmt: skip


def _kept(
    config: StudyConfig, design: Design, test_data: Path | None, test: RobustTest | None
) -> dict[str, Any]:  # fmt: skip
    """What the Run is frozen with besides."""
    other = Dataset.open(test_data).manifest.pixels_hash if test_data is not None else None
    attack = {} if test is None else {"robust": test.record()}
    return attack | {
        "split": config.split, "seeds": design.seeds, "test_data": other,
        "definitions": [*map(list, design.definitions.items())],
        "precision": settings.current().precision,
    }  # fmt: skip


def _announced(
    config: StudyConfig, design: Design, folds: Sequence[StudyData], done: Sequence[cells.Cell] = ()
) -> dict[str, Any]:  # fmt: skip
    """What gain the study can find, before training or after its first two seeds."""
    first = folds[0]
    # Folds divide what a generator did not see, or all, also what --fraction leaves out of train.
    held: tuple[Part, ...] = ("val", "test")
    parts = held if any(arm.uses_synthetic for arm in design.arms) else ("train", *held)
    split, groups = first.data.split(first.test.split_name), np.array(first.data.column("group"), object)
    units = count_units(groups[np.concatenate([split.rows(part) for part in parts])])
    return announced(
        config, design, np.concatenate([fold.test.codes for fold in folds]),
        [group for fold in folds for group in fold.test.groups],
        all_groups=units if len(folds) == 1 else 0, cells=done, names=first.data.labels.names,
        folds=len(folds),
    )  # fmt: skip


def check_arms(
    design: Design, classifier: ClassifierConfig, data: Dataset, test: RobustTest | None
) -> None:  # fmt: skip
    """Refuse arms that train as another one does, by what the study's options make of them, or cannot."""
    known: dict[Any, str] = {}
    for arm in design.arms:
        what = dataclasses.replace(
            trains_alike(arm, test), classical=False, balanced=False, weighted=False, options=()
        )  # fmt: skip
        key = what, configured(arm, classifier)
        if key in known:
            raise InputError(f"The arms {known[key]} and {arm.name} would train alike; leave one out.")
        known[key] = arm.name
        if arm.options:
            try:
                check_weights(key[1], data)
            except InputError as error:
                raise InputError(f"The arm '{arm.name}': {error}") from None


def _content(
    run: Run, config: StudyConfig, design: Design, folds: Sequence[StudyData], done: Sequence[cells.Cell]
) -> dict[str, Any]:
    """What study.json holds of the cells and their analysis."""
    options = {"level": config.level, "resamples": config.resamples, "seed": config.seed}
    data = folds[0].data
    names = data.labels.names
    predictions = Predictions.of(done, names, config)
    found = analyse(predictions, design)
    records = of_seeds(done, predictions, names)
    real = real_record(folds[0].train, folds[0].val, folds[0].test)
    real["n_test"] = len(predictions.codes)
    real["groups_test"] = len({group for fold in folds for group in fold.test.groups if group is not None})
    made = source_records(folds)
    external = external_results(folds, done, config, design)
    test = RobustTest.of(config, data)
    under_attack = {} if test is None else {"robust": robust_results(done, names, config, design, test)}
    return {
        "commands": run.commands,
        "real": real,
        "synthetic": next(iter(made), None), "generators": made,
        **options, "seeds": list(range(design.seeds)),
        "test": tested(predictions.codes, real["groups_test"], names),
        "definitions": dict(design.definitions), "schedules": schedules_of(done),
        "cells": records, **found, "external": external, **under_attack,
        "dose_curve": doses_of(design, records),
        "power": {
            "planned": _announced(config, design, folds),
            "observed": _announced(config, design, folds, done),
        },
        "caveats": [
            dataclasses.asdict(c) for c in _caveats(run, config, design, folds, found, done, predictions)
        ],
        "primary_metric": PRIMARY_METRIC, "primary_arm": design.primary.name if design.primary else None,
        "test_reads": max(data.test_reads(fold.test.split_name) for fold in folds), "versions": versions(),
        "environment": run.status.get("environment", {}),
        "seconds": sum(cell.record["seconds"] for cell in done),
        "training_seconds": sum(cell.record["training_seconds"] for cell in done),
    }  # fmt: skip


def _run_cells(
    run: Run, study: StudyConfig, design: Design, folds: Sequence[StudyData], config: ClassifierConfig
) -> list[cells.Cell]:
    """Run what is missing, seed by seed so that an unfinished study is paired; load the rest."""
    workers = study.workers
    every = [
        cells.Key(arm, k, fold.fold) for k in range(design.seeds) for fold in folds for arm in design.arms
    ]
    external = folds[0].external is not None
    todo = [key for key in every if not cells.is_finished(run.path, key, external=external)]
    if todo:
        data = folds[0].data
        shape = (data.channels, data.size, data.labels.width)
        status = run.status
        threads = _threads(run, workers)
        # Measured once, so that a resumed study computes as it began.
        precision = status.get("precision") or choose_precision(config, *shape)
        engine, test = Engine.from_settings(), RobustTest.of(study, data)
        run.update_status(
            precision=precision, state="running", cells_left=len(todo), arms=design.names, seeds=design.seeds,
            threads=threads, environment=engine.describe() | {"threads": threads},
        )  # fmt: skip
        train, val = (Images(part.images, part.codes) for part in (folds[0].train, folds[0].val))
        say_duration(
            config, train, val, data.labels.names, precision=precision, trainings=len(todo),
            tested=_classified(folds[0], test, config.evaluations, [key.arm for key in todo]),
            times=sum(slower(key.arm, test) for key in todo) / len(todo),
        )  # fmt: skip
        for arm in design.arms:
            if (times := slower(arm, test)) > 1:
                say(f"{arm.name}: trained against attacks, a step takes about {times:.0f} times as long.")
        if workers > 1 or study.on != HERE:
            where = "" if study.on == HERE else " on Ray"
            say(f"{plural(workers, 'process')} of {plural(threads, 'thread')}{where} share them.")
        try:
            with settings.use(threads=threads):
                context = CellContext(run, folds, config, precision, test)
                for left in run_cells(context, todo, workers, threads, study.on):
                    run.update_status(cells_left=left)
                    if design.seeds > 2 and _ends_two_seeds(todo, left):
                        two = _loaded(run, [key for key in every if key.seed < 2], external)
                        say(announcement(_announced(study, design, folds, two)))
        except KeyboardInterrupt:
            run.update_status(state="interrupted")
            raise
    return _loaded(run, every, external)


def _classified(fold: StudyData, test: RobustTest | None, evaluations: int, arms: Sequence[Arm]) -> int:
    """About how many images are classified after a training and for its attacked validations, on average."""
    attacked = 0 if test is None else len(test.rows(fold.test.codes)) * test.passes()
    attacked += round((validated(arms, test) - 1) * evaluations * len(fold.val))
    return len(fold.test) + (0 if fold.external is None else len(fold.external)) + attacked


def _loaded(run: Run, keys: Sequence[cells.Key], external: bool) -> list[cells.Cell]:
    return [cells.load_cell(run.path, key, external=external) for key in keys]


def _ends_two_seeds(todo: Sequence[cells.Key], left: int) -> bool:
    """Whether the cell that was just made, with so many left, is the last one of the first two seeds."""
    return todo[-left - 1].seed == 1 and all(key.seed > 1 for key in todo[len(todo) - left :])


def _threads(run: Run, workers: int) -> int:
    """Threads of each process: those that the study began with, since results depend on their number.

    Raises:
        InputError: another number is asked for.
    """
    asked, kept = settings.current().threads, run.status.get("threads")
    if asked and kept and asked != kept:
        raise InputError(
            f"{run.path} began with {plural(kept, 'thread')} for each training, and other numbers give other "
            f"results; leave out --threads {asked}, or start a new study in another folder."
        )
    return (
        kept or asked or (torch.get_num_threads() if workers == 1 else max(1, available_cores() // workers))
    )


def _caveats(
    run: Run, config: StudyConfig, design: Design, folds: Sequence[StudyData], found: Mapping[str, Any],
    done: Sequence[cells.Cell], predictions: Predictions,
) -> list[Caveat]:  # fmt: skip
    """Everything that limits the answer."""
    data, intervals = folds[0].data, any(is_known(row["low"]) for row in found["summary"])
    groups = list(np.concatenate([fold.test.groups for fold in folds]))
    has_synthetic = bool(folds[0].synthetic)
    return [
        *merged(folds),
        *about_test(predictions.codes, groups, data.labels.names, intervals=intervals),
        *about_folds(folds, makers_used(folds)),
        *([] if data.reads_intact else [Caveat("reads-lost")]),
        *about_design(design, config.fraction, has_synthetic, intervals=intervals),
        *_about_looks(run, design, intervals),
        *about_cuts([*found["differences"], *found["comparisons"]]),
        *about_doses([cell.record for cell in done], design.arms),
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
