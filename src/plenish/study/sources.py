"""Where the synthetic images of a study come from: generated into its folder, or given."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from plenish.datasets.dataset import Dataset
from plenish.datasets.parts import Subset
from plenish.datasets.synthetic import generator_of
from plenish.errors import InputError
from plenish.latent.sampling import load_generator, make_dataset
from plenish.metrics.quality import kimg_of, of_generator
from plenish.metrics.result_files import synthetic_record
from plenish.runs import Run
from plenish.study.config import Given
from plenish.study.data import StudyData, add_synthetic, check_generator, synthetic_needed
from plenish.study.design import Design
from plenish.study.external import refuse_same_draws
from plenish.study.schedules import filled_classes


class Train(Protocol):
    """How the generators of the folds are trained."""

    @property
    def trained(self) -> Mapping[str, Any]:
        """The recipe and the length, kept with the study, whose images are generated once."""

    def plan(self, data: Path, run: Path, split: str, folds: int) -> None:
        """Refuse what cannot be trained, and say how long all take; nothing is written.

        Args:
            data: the real Dataset.
            run: the folder of a Run to come.
            split: the split of one fold.
            folds: how many there are.
        """

    def __call__(self, data: Path, run: Path, split: str) -> None:
        """Train one on the train part of a split, or go on training it."""


@dataclasses.dataclass(frozen=True)
class GeneratorSource:
    """A generator whose images a study uses.

    Attributes:
        run: its Run.
        name: that arms have for it, where several are compared.
        fold: the only fold that uses it, or None.
    """

    run: Path
    name: str = ""
    fold: int | None = None

    def images(self, study: Path) -> Path:
        """The folder of its images in a study's."""
        parts = ["synthetic", *([self.name] if self.name else [])]
        return study / "-".join(parts + ([f"fold{self.fold}"] if self.fold is not None else []))


def domain_of(given: Given) -> str | None:
    """The domain that the generators were trained with, where they tell one: of Datasets that keep none."""
    if given.synthetic is not None:
        return Dataset.open(given.synthetic).domain
    runs = [given.generator, *given.sweep.values(), *(given.cross_fit or ())]
    told = (Run.open(run, "generator").config["config"].get("domain") for run in runs if run is not None)
    return next((domain for domain in told if domain), None)


def makers_of(given: Given, folds: Sequence[StudyData]) -> list[GeneratorSource]:
    """The generators that are given, each checked against all that it is used for.

    Raises:
        InputError: one cannot serve this Dataset, saw what is tested, or a fold has none.
    """
    if given.cross_fit:
        return _of_folds(given.cross_fit, folds)
    made = [GeneratorSource(given.generator)] if given.generator is not None else []
    made += [GeneratorSource(run, name) for name, run in given.sweep.items()]
    for maker in made:
        for fold in folds:
            check_generator(maker.run, fold)
    return made


def _of_folds(runs: Sequence[Path], folds: Sequence[StudyData]) -> list[GeneratorSource]:
    """One generator for each fold, whatever their order."""
    by_split: dict[str, Path] = {}
    for run in runs:
        by_split[str(Run.open(run, "generator").config["data"].get("split_hash"))] = run
    made = []
    for fold in folds:
        if fold.test.split_hash not in by_split:
            split = fold.test.split_name
            raise InputError(
                f"None of the generators of --cross-fit was trained on '{split}'; train one with 'plenish "
                f"train generator {fold.data.path} RUN --split {split}', or give a recipe to --cross-fit."
            )
        made.append(GeneratorSource(by_split[fold.test.split_hash], fold=fold.fold))
        check_generator(made[-1].run, fold)
    if len(set(map(str, runs))) > len(folds):
        raise InputError(f"--cross-fit has {len(runs)} generators for {len(folds)} folds; give one for each.")
    return made


def _own(study: Path, fold: StudyData) -> Path:
    """The folder of a fold's generator that a study trains itself."""
    return study / "generators" / fold.test.split_name


def plan_makers(out: Path, folds: Sequence[StudyData], train: Train) -> None:
    """Refuse generators that cannot be trained, and say how long they take, if none is there yet."""
    path = _own(out, folds[0])
    if not path.exists():
        train.plan(folds[0].data.path, path, folds[0].test.split_name, len(folds))


def train_makers(run: Run, folds: Sequence[StudyData], train: Train) -> list[GeneratorSource]:
    """Train a generator for each fold in the study's folder, or go on training them."""
    made = []
    for fold in folds:
        path = _own(run.path, fold)
        train(fold.data.path, path, fold.test.split_name)
        made.append(GeneratorSource(path, fold=fold.fold))
        check_generator(path, fold)
    return made


def add_makers(
    run: Run, design: Design, folds: Sequence[StudyData], makers: Sequence[GeneratorSource]
) -> list[StudyData]:
    """The folds with the images of their generators, which are generated once."""
    added = list(folds)
    for maker in makers:
        mine = [fold for fold in folds if maker.fold in (None, fold.fold)]
        path = _generated(run, maker, design, mine)
        for k, fold in enumerate(added):
            if maker.fold in (None, fold.fold):
                added[k] = add_synthetic(fold, path, maker.name)
    return added


def _generated(run: Run, maker: GeneratorSource, design: Design, folds: Sequence[StudyData]) -> Path:
    """The study's own synthetic images of a generator for these folds, made once."""
    out, data = maker.images(run.path), max(folds, key=lambda fold: len(fold.train))
    filling = [arm for arm in design.arms if arm.uses_synthetic and arm.doping and arm.source == maker.name]
    most = max((filled_classes(arm, fold.train.codes).max() for arm in filling for fold in folds), default=0)
    if out.exists():
        made = Dataset.open(out)
        if np.bincount(made.all_rows().codes, minlength=made.labels.width).min() < most:
            raise InputError(
                f"{out} was generated for arms that need fewer images of each class than the {most:,} of "
                f"'{filling[0].name}'; start a study with it in another folder, or give --synthetic."
            )
        return out
    n, loaded = synthetic_needed(design.arms, data, maker.name), load_generator(maker.run)
    if data.train.split_name == "default" and not most:
        make_dataset(loaded, out, n, like=data.data.path, seed=run.seed)
    else:  # equal shares of the classes, enough for the most frequent one, and for the one that most fill
        counts = np.bincount(data.train.codes)
        n = int(np.ceil(n * len(counts) * counts.max() / counts.sum()))
        make_dataset(loaded, out, max(n, int(most) * data.data.labels.width), seed=run.seed)
    return out


def check_draws(external: Subset | None, makers: Sequence[GeneratorSource], seed: int) -> None:
    """Images to test on that are generated are not those that the study will generate to train on.

    Raises:
        InputError: the same generator made them with the study's seed.
    """
    if external is not None and external.dataset.is_synthetic:
        for maker in makers:
            record = {"run_id": Run.open(maker.run).id}
            refuse_same_draws(external.dataset, record, {seed}, f"this study will generate from {maker.run}")


def check_same_generators(out: Path, makers: Sequence[GeneratorSource]) -> None:
    """Synthetic images that the study has already come from the generators given, not from others.

    Raises:
        InputError: as above.
    """
    for maker in makers:
        if not (images := maker.images(out)).exists():
            continue
        given, known = Run.open(maker.run), Dataset.open(images).manifest.extra["generator"]
        if known["run_id"] != given.id:
            raise InputError(
                f"{images} was generated from {known['run']} ({known['run_id']}), and {given.path} is "
                f"{given.id}; give the same generator or use another folder."
            )


def check_same_synthetic(run: Run, folds: Sequence[StudyData]) -> None:
    """All cells of a study use the same synthetic images.

    Raises:
        InputError: the study was started with others.
    """
    found = {
        f"{name}/{'' if fold.fold is None else fold.fold}": source.rows.dataset.manifest.pixels_hash
        for fold in folds for name, source in fold.synthetic.items()
    }  # fmt: skip
    known: Mapping[str, str] = run.status.get("synthetic_hashes", {})
    if any(known.get(key, value) != value for key, value in found.items()):
        raise InputError(
            f"{run.path} was started with other synthetic images; give those again or use another folder."
        )
    if found:
        run.update_status(synthetic_hashes={**known, **found})


def source_records(folds: Sequence[StudyData]) -> list[dict[str, Any]]:
    """What a result keeps of each synthetic Dataset: `synthetic_record`, its generator and how good that is.

    Each has `source` (its name), `fold`, `family`, `kimg` and `quality` (None where unknown) besides.
    """
    found: dict[Path, dict[str, Any]] = {}
    for fold in folds:
        for name, source in fold.synthetic.items():
            data = source.rows.dataset
            about, shared = generator_of(data.manifest.extra), data.path in found
            quality = of_generator(about)
            found[data.path] = synthetic_record(data) | {
                "source": name, "fold": None if shared else fold.fold, "family": about.get("family"),
                "kimg": kimg_of(about.get("checkpoint")),
                "quality": quality.record() if quality is not None else None,
            }  # fmt: skip
    return [*found.values()]


def makers_used(folds: Sequence[StudyData]) -> list[Run]:
    """The Runs of the generators whose images are used, as far as they are still there."""
    found: dict[str, Run] = {}
    for fold in folds:
        for source in fold.synthetic.values():
            path = generator_of(source.rows.dataset.manifest.extra).get("run")
            if isinstance(path, str) and path not in found:
                with contextlib.suppress(InputError):
                    found[path] = Run.open(path, "generator")
    return [*found.values()]
