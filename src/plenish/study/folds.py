"""The folds of a study: which splits they are, and what each trains and tests on.

Without synthetic images, and with a generator for each fold, they are the folds of a cross-validation. One
generator saw one train part: then only the images that its split holds out are divided, and that train part
stays the train part of every fold, so that classifiers and generator know the same images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plenish.datasets.dataset import Dataset
from plenish.datasets.split import split_dataset
from plenish.datasets.synthetic import generator_of
from plenish.errors import InputError
from plenish.metrics.caveats import Caveat
from plenish.metrics.resampling import count_units
from plenish.progress import say
from plenish.runs import Run
from plenish.study.config import Given, StudyConfig
from plenish.study.data import StudyData, check_kind, parts_of
from plenish.wording import plural


def open_folds(path: Path, config: StudyConfig, given: Given) -> list[StudyData]:
    """The real side of a study, of each fold; of a study without folds, one of no number.

    Splits that are missing are made and frozen.

    Raises:
        InputError: labels or splits unfit for a study, or a generator that saw what would be tested.
    """
    data = Dataset.open(path)
    check_kind(data)
    how = config.fraction, config.seed
    if config.folds is None:
        return [parts_of(data, config.split, *how)]
    base = _splits(data, config.split, config.folds, given)
    folds = [dataclasses.replace(parts_of(data, f"{base}-{k}", *how), fold=k) for k in range(config.folds)]
    check_folds(folds)
    tested = np.concatenate([fold.test.groups for fold in folds])
    units = count_units(tested)
    last = config.folds - 1
    say(f"{config.folds} folds, the splits {base}-0 to {base}-{last}, test {plural(units, 'group')}.")
    return folds


def _splits(data: Dataset, split: str, count: int, given: Given) -> str:
    """Name of the cross-validation, without the number of the fold."""
    if given.cross_fit is None and (origins := _origins(given)):
        for origin in origins:
            _refuse_of_fold(data, origin)
        base = f"{split}-held{count}"
        if not _has_folds(data, base, count):
            split_dataset(data.path, folds=count, name=base, held_out_of=split)
        made = data.split(f"{base}-0").manifest
        if (made.get("folds"), made.get("held_out_hash")) != (count, data.split(split).hash):
            raise InputError(
                f"The split '{base}-0' of {data.path} is none of {count} folds of what '{split}' holds out; "
                f"its name is taken. Give --split another split, or another number of --folds."
            )
        return base
    base = split if split != "default" else f"folds{count}"
    if not _has_folds(data, base, count):
        if split != "default":
            raise InputError(
                f"{data.path} has no folds '{base}-0' to '{base}-{count - 1}'; make them with 'plenish split "
                f"{data.path} --folds {count} --name {base}', or leave out --split."
            )
        split_dataset(data.path, folds=count, name=base)
    made = data.split(f"{base}-0").manifest
    if made.get("folds") != count or "held_out_hash" in made:
        raise InputError(
            f"The splits '{base}-0' … of {data.path} are not {count} folds of all its images; make them with "
            f"'plenish split {data.path} --folds {count} --name NEW' and give --split NEW."
        )
    return base


def _has_folds(data: Dataset, base: str, count: int) -> bool:
    """Whether the first and the last split of a cross-validation are there."""
    return {f"{base}-0", f"{base}-{count - 1}"} <= set(data.split_names())


def _origins(given: Given) -> list[Mapping[str, Any]]:
    """What the generators say they were trained on; empty of one that does not say."""
    if given.synthetic is not None:
        return [generator_of(Dataset.open(given.synthetic).manifest.extra).get("data") or {}]
    runs = [given.generator] if given.generator is not None else [*given.sweep.values()]
    return [Run.open(run, "generator").config["data"] for run in runs]


def _refuse_of_fold(data: Dataset, origin: Mapping[str, Any]) -> None:
    """Refuse one generator that was trained on the train part of one fold, which the other folds test."""
    name = str(origin.get("split_name"))
    about = data.split(name).manifest if name in data.split_names() else {}
    if "folds" in about and "held_out_hash" not in about:
        raise InputError(
            f"The generator was trained on '{name}', one fold of {about['folds']}, whose train images the "
            "other folds test; give one generator for each fold with --cross-fit RUN RUN …, or leave out "
            f"--folds and give --split {name}."
        )


def check_folds(folds: Sequence[StudyData]) -> None:
    """Refuse folds that test an image twice.

    Raises:
        InputError: as above; the splits were made by hand.
    """
    rows = np.concatenate([fold.test.rows for fold in folds])
    if len(np.unique(rows)) < len(rows):
        twice = plural(len(rows) - len(np.unique(rows)), "image")
        raise InputError(
            f"The splits of the folds of {folds[0].data.path} test {twice} more than once; make them anew "
            "with 'plenish split --folds'."
        )


def merged(folds: Sequence[StudyData], *, external: bool = False) -> list[Caveat]:
    """The caveats of all folds, or those of the other test Dataset, each once.

    Test images are summed over folds, others are as in the worst.
    """
    found: dict[str, Caveat] = {}
    which = "external_caveats" if external else "caveats"
    for caveat in (one for fold in folds for one in getattr(fold, which)):
        values = dict(caveat.values)
        images = values.pop("images", None)
        key = repr((caveat.code, sorted(values.items())))
        if images is not None and key in found:
            before = found[key].values["images"]
            tested = caveat.code == "test-twins" or values.get("part") == "test"
            images = before + images if tested else max(before, images)
        found[key] = caveat if images is None else Caveat(caveat.code, {"images": images, **values})
    return [*found.values()]


def about_folds(folds: Sequence[StudyData], runs: Sequence[Run]) -> list[Caveat]:
    """The limits that the division into folds sets.

    Args:
        folds: all of them, or the only one.
        runs: the generators whose images are used, where they are known.
    """
    first = folds[0].data.split(folds[0].test.split_name).manifest
    if folds[0].fold is None:
        return [Caveat("one-fold")] if first.get("folds") else []
    if "held_out_of" not in first:
        return [Caveat("folds", {"folds": len(folds)})]
    groups = np.concatenate([fold.test.groups for fold in folds])
    units = count_units(groups)
    values = {"folds": len(folds), "split": first["held_out_of"], "groups": units}
    chosen = any(run.config["config"].get("validation") for run in runs)
    return [Caveat("held-out-folds", values), *([Caveat("checkpoint-by-tested")] if chosen else [])]
