"""A reader study: whether a person tells synthetic images from real ones, kept beside the synthetic ones.

One file a reading, `readers/<reader>-<time>.json` in the folder of the synthetic Dataset, or of the
generator's Run whose images were made for the reading alone.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from plenish import files
from plenish.datasets.dataset import Dataset
from plenish.errors import InputError
from plenish.metrics.statistics import Interval, wilson_interval

LAYOUT = 1
FOLDER = "readers"
FEWEST = 4
"""Images of a reading."""
Origin = Literal["real", "synthetic"]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a reader said of one image.

    Attributes:
        id: of the image.
        origin: what it is.
        answer: what the reader took it for.
        seconds: how long that took.
    """

    id: str
    origin: Origin
    answer: Origin
    seconds: float


def draw(real: Dataset, synthetic: Dataset, n: int, seed: int) -> list[tuple[Origin, int]]:
    """Images for a reading, half of them real, in random order.

    Real ones are of the train and val parts and, where both have classes, as many of each class as the
    synthetic ones, so that the class is no hint.

    Args:
        real: the real Dataset.
        synthetic: a Dataset of images of the same size and channels.
        n: how many, an even number.
        seed: of the choice and the order.

    Returns:
        Origin and row number of each.

    Raises:
        InputError: the images differ in size or channels, or there are too few.
    """
    _check_shape(real, synthetic.name, synthetic.size, synthetic.channels)
    rng = np.random.default_rng(seed)
    mine = _drawn(rng, np.arange(len(synthetic)), n // 2, synthetic)
    classes = np.array(synthetic.column("label"))[mine] if synthetic.labels.kind == "categorical" else None
    return _mixed(rng, real, mine, classes)


def draw_beside(
    real: Dataset, name: str, shape: tuple[int, int], classes: Sequence[str] | None, n: int, seed: int
) -> list[tuple[Origin, int]]:
    """The same beside images that are made for the reading: as many real ones.

    Args:
        real: the real Dataset.
        name: of the generator.
        shape: size and channels of its images.
        classes: of each of its n // 2 images, in the order of their numbers; None without.
        n: how many in all, an even number.
        seed: of the choice and the order.

    Returns:
        Origin and row number of each; of a synthetic one its number, from 0 on.

    Raises:
        InputError: the images differ in size or channels, or there are too few.
    """
    _check_shape(real, name, *shape)
    labels = None if classes is None else np.array(classes)
    return _mixed(np.random.default_rng(seed), real, np.arange(n // 2), labels)


def _check_shape(real: Dataset, name: str, size: int, channels: int) -> None:
    if (real.size, real.channels) != (size, channels):
        raise InputError(
            f"{real.name} has images of {real.size}×{real.size}×{real.channels} and {name} of "
            f"{size}×{size}×{channels}: their size would give them away."
        )


def _mixed(rng: np.random.Generator, real: Dataset, mine: Any, classes: Any) -> list[tuple[Origin, int]]:
    """Synthetic rows and as many real ones, of the same classes where both have some, in random order."""
    half, rows = len(mine), np.arange(len(real))
    if names := real.split_names():
        part_of = real.split("default" if "default" in names else names[0]).part_of.to_numpy()
        rows = np.flatnonzero(part_of != "test")
    if real.labels.kind == "categorical" and classes is not None:
        theirs = _matched(rng, rows, np.array(real.column("label")), classes)
    else:
        theirs = _drawn(rng, rows, half, real)
    if len(theirs) < half:
        raise InputError(f"{real.name} has too few images for {half} real ones of the same classes.")
    items: list[tuple[Origin, int]] = [("real", int(row)) for row in theirs]
    items += [("synthetic", int(row)) for row in mine]
    return [items[i] for i in rng.permutation(len(items))]


def _drawn(rng: np.random.Generator, rows: Any, n: int, dataset: Dataset) -> Any:
    if len(rows) < n:
        raise InputError(f"{dataset.name} has {len(rows)} images that can be shown, and {n} are needed.")
    return rng.permutation(rows)[:n]


def _matched(rng: np.random.Generator, rows: Any, labels: Any, wanted: Any) -> Any:
    """Rows with the labels wanted, drawn without repetition."""
    found = []
    for label in np.unique(wanted):
        members = rng.permutation(rows[labels[rows] == label])
        found.append(members[: int((wanted == label).sum())])
    return np.concatenate(found)


def accuracy(answers: Sequence[Answer], of: Origin | None = None) -> Interval:
    """Share of right answers with Wilson's 95 % interval.

    Args:
        answers: at least one (of that origin).
        of: only images of this origin.
    """
    chosen = [one for one in answers if of in (None, one.origin)]
    return wilson_interval(sum(one.answer == one.origin for one in chosen), len(chosen))


def keep(
    real: Dataset, folder: Path, synthetic: Mapping[str, Any], reader: str, seed: int,
    answers: Sequence[Answer],
) -> Path:  # fmt: skip
    """Write a reading into the folder of the synthetic Dataset or of the generator's Run.

    Args:
        real: the real Dataset.
        folder: of the synthetic Dataset or the Run.
        synthetic: where the synthetic images are from, as `provenance` of a Dataset or a generator says.
        reader: name of the reader, a pseudonym; part of the file's name.
        seed: of `draw`.
        answers: in the order they were given.

    Raises:
        InputError: the name cannot be part of a file's name, or the folder cannot be written.
    """
    files.check_name(reader, "a reader")
    now = datetime.datetime.now(datetime.UTC)
    content = {
        "layout": LAYOUT, "kind": "reading", "reader": reader, "created": now.isoformat(timespec="seconds"),
        "seed": seed, "real": real.provenance(), "synthetic": dict(synthetic),
        "accuracy": accuracy(answers)._asdict(), "answers": [dataclasses.asdict(one) for one in answers],
    }  # fmt: skip
    path = folder / FOLDER / f"{reader}-{now:%Y%m%dT%H%M%S%f}.json"
    with files.reporting_disk(path):
        path.parent.mkdir(exist_ok=True)
        files.write_record(path, content)
    return path


def readings(synthetic: Dataset) -> list[Mapping[str, Any]]:
    """The readings kept beside a Dataset that are of its images as they are, the oldest first.

    Raises:
        InputError: one was altered, or is of another layout version.
    """
    pixels = synthetic.manifest.pixels_hash
    return [one for one in _kept(synthetic.path) if one["synthetic"].get("pixels_hash") == pixels]


def readings_of_run(run: Path) -> list[Mapping[str, Any]]:
    """The readings of images that a generator made for them, the oldest first.

    Raises:
        InputError: one was altered, or is of another layout version.
    """
    return _kept(run)


def _kept(folder: Path) -> list[Mapping[str, Any]]:
    found = []
    for path in sorted((folder / FOLDER).glob("*.json")):
        content = files.read_record(path)
        if content.get("layout") != LAYOUT or content.get("kind") != "reading":
            raise InputError(f"{path} is no reading of layout version {LAYOUT}; remove it, or read again.")
        found.append(content)
    return sorted(found, key=lambda content: str(content["created"]))


def answers_of(content: Mapping[str, Any]) -> list[Answer]:
    """The answers of a reading."""
    return [Answer(**one) for one in content["answers"]]
