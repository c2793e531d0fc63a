"""What a study trains and tests on, checked before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from plenish.datasets.dataset import Dataset
from plenish.datasets.near_duplicates import clusters
from plenish.datasets.parts import Subset
from plenish.errors import InputError
from plenish.latent.sampling import load_generator
from plenish.metrics.beside import Synthetic, check_fit, open_synthetic
from plenish.metrics.caveats import Caveat
from plenish.metrics.origin import check_origin
from plenish.metrics.resampling import unit_codes, units_of_strata
from plenish.runs import Run
from plenish.study.arms import Arm
from plenish.study.external import beside_external, check_generated, refuse_seen
from plenish.training.engine import stable_seed

Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class StudyData:
    """The checked inputs of a study, or of one of its folds.

    Attributes:
        data: the real Dataset.
        train: its training rows (of the share asked for).
        val: its validation rows, all.
        test: its test rows, all.
        synthetic: synthetic images by the name of their generator, which is empty where there is only one.
        external: all rows of another Dataset that is tested on too, or None.
        fold: number of the fold, or None.
        caveats: what limits the answer, found while checking.
        external_caveats: what limits the test on the other Dataset.
    """

    data: Dataset
    train: Subset
    val: Subset
    test: Subset
    synthetic: Mapping[str, Synthetic] = dataclasses.field(default_factory=dict)
    external: Subset | None = None
    fold: int | None = None
    caveats: tuple[Caveat, ...] = ()
    external_caveats: tuple[Caveat, ...] = ()


def open_real(path: Path, split: str, fraction: float, seed: int) -> StudyData:
    """Open the real side of a study.

    Args:
        path: the Dataset.
        split: which frozen split.
        fraction: share of the training groups to use, 0 to 1; nested: a smaller share is part of a larger
            one.
        seed: decides which groups.

    Raises:
        InputError: labels or split unfit for a study, each in one sentence.
    """
    data = Dataset.open(path)
    check_kind(data)
    return parts_of(data, split, fraction, seed)


def check_kind(data: Dataset) -> None:
    """Refuse a Dataset that a study cannot test on: synthetic, without classes, or of one class.

    Raises:
        InputError: as above.
    """
    path = data.path
    if data.is_synthetic:
        raise InputError(
            f"{path} is synthetic; a study tests on real images, so give the real Dataset first."
        )
    if data.labels.kind == "none":
        raise InputError(f"{path} has no labels, and a study trains classifiers; import it with --labels.")
    if data.labels.kind != "categorical":
        raise InputError(f"{path} has {data.labels.kind} labels; a study needs one class per image.")
    if data.labels.width < 2:
        raise InputError(
            f"{path} has the single class '{data.labels.names[0]}'; a study needs at least two to tell apart."
        )


def parts_of(data: Dataset, split: str, fraction: float, seed: int) -> StudyData:
    """The parts of one split of a checked Dataset; see `open_real`."""
    train, val, test = (
        data.part("train", split, purpose="train"),
        data.part("val", split, purpose="select"),
        data.part("test", split, purpose="study"),
    )
    _check_classes(data, train, val, test)
    used = train.where(share_of_groups(train.codes, train.groups, fraction, seed)) if fraction < 1 else train
    small = np.bincount(used.codes, minlength=data.labels.width)
    for k in np.flatnonzero((small < 2) & (np.bincount(train.codes, minlength=data.labels.width) > 0)):
        raise InputError(
            f"Class '{data.labels.names[k]}' has {small[k]} training image{'' if small[k] == 1 else 's'} "
            f"{'at this fraction ' if fraction < 1 else ''}in {data.path}; at least two per class are needed."
        )
    return StudyData(data, used, val, test, caveats=tuple(_twins(data, train, test)))


def _twins(data: Dataset, train: Subset, test: Subset) -> list[Caveat]:
    """The caveat of test images that show the picture of a train image, if there are any."""
    of = clusters(data)
    images = int(np.isin(of[test.rows], of[train.rows]).sum())
    return [Caveat("test-twins", {"images": images})] if images else []


def _check_classes(data: Dataset, train: Subset, val: Subset, test: Subset) -> None:
    names = data.labels.names
    present = {part.part: np.bincount(part.codes, minlength=len(names)) for part in (train, test, val)}
    for part, counts in present.items():
        if np.count_nonzero(counts) < 2:
            raise InputError(
                f"The {part} part of the split '{train.split_name}' of {data.path} has images of one class "
                "only; make another split with --name."
            )
    unseen = np.flatnonzero((present["train"] == 0) & (present["test"] > 0))
    if len(unseen):
        raise InputError(
            f"Class '{names[unseen[0]]}' is in the test part but not in the train part of {data.path}; "
            "make another split with --name."
        )


def share_of_groups(codes: Ints, groups: NDArray[np.object_], fraction: float, seed: int) -> Ints:
    """Positions of a share of the groups, at least one and as close as the groups allow to `fraction` per
    class.

    Groups are numbered as they first appear among the rows, and taken in an order that depends on the seed
    and that number only, not on names: shares of the same rows are nested, those of other rows are not. A row
    without a group is a group of its own; a group of several classes counts for its most frequent one.
    """
    units = unit_codes(groups, len(codes))
    kept = np.zeros(int(units.max()) + 1, bool)
    for k, members in units_of_strata(units, codes).items():
        sizes = np.bincount(units[codes == k], minlength=len(kept))
        order = sorted(members, key=lambda unit: stable_seed(seed, "fraction", int(unit)))
        apart = np.abs(np.cumsum(sizes[order]) - fraction * sizes[members].sum())
        kept[order[: max(1, int(apart.argmin()) + 1)]] = True
    return np.flatnonzero(kept[units]).astype(np.int64)


def add_synthetic(study: StudyData, path: Path, name: str = "") -> StudyData:
    """Open the synthetic side and check that it may be used beside the real one.

    Args:
        study: the real side, with what was added before.
        path: a synthetic Dataset.
        name: of its generator, where several are compared.

    Raises:
        InputError: it is real, of another schema or size, or its generator was trained on anything but this
            split's train part.
    """
    opened = open_synthetic(path, study.data, study.train, study.test.split_name)
    caveats = list(opened.caveats)
    others = [] if study.external is None else beside_external(study.external, opened.rows.dataset)
    if name:
        caveats, others = (
            [dataclasses.replace(one, values={**one.values, "source": name}) for one in found]
            for found in (caveats, others)
        )
    return dataclasses.replace(
        study, synthetic={**study.synthetic, name: opened}, caveats=(*study.caveats, *caveats),
        external_caveats=(*study.external_caveats, *others),
    )  # fmt: skip


def add_external(folds: Sequence[StudyData], path: Path) -> list[StudyData]:
    """Open another Dataset to test on, and check that nothing of it was trained on in any fold.

    Raises:
        InputError: it is unfit for a study, of other classes or another size, or shares groups or pictures
            with a train or val part; of generated images, their generator saw more than the train part.
    """
    data, other = folds[0].data, Dataset.open(path)
    everything, generated = np.arange(len(other), dtype=np.int64), other.is_synthetic
    if not generated:
        check_kind(other)
    if (other.size, other.channels, other.labels) != (data.size, data.channels, data.labels):
        raise InputError(
            f"--test-data {path} has images of {other.size} px with {other.channels} channel(s) and the "
            f"classes {', '.join(other.labels.names)}; {data.path} has {data.size} px, {data.channels} and "
            f"{', '.join(data.labels.names)}. Import one of them again so that both are alike."
        )
    seen = np.unique(np.concatenate([part.rows for fold in folds for part in (fold.train, fold.val)]))
    found: list[tuple[Caveat, ...]] = [()] * len(folds)
    if generated:
        found = [tuple(check_generated(other, data, seen, fold.test.split_name)) for fold in folds]
    else:
        refuse_seen(other, data, seen)
    other.record_read("study")
    rows = Subset(other, everything, "test", "all", other.manifest.pixels_hash)
    return [
        dataclasses.replace(fold, external=rows, external_caveats=caveats)
        for fold, caveats in zip(folds, found, strict=True)
    ]


def check_generator(path: Path, study: StudyData) -> None:
    """Refuse a generator that cannot serve this Dataset, before anything is written."""
    run = Run.open(path, "generator")
    check_origin(run.config["data"], study.data, study.test.split_name, f"The generator in {path}")
    check_fit(path, load_generator(path).network, study.data)


def synthetic_needed(arms: Sequence[Arm], study: StudyData, source: str = "") -> int:
    """How many synthetic images the most demanding arm takes; a tenth more leaves room in every class."""
    dose = max((arm.synthetic for arm in arms if arm.source == source), default=0.0)
    need = dose * len(study.train)
    return int(np.ceil(1.1 * need)) + 8 * study.data.labels.width if dose else 0
