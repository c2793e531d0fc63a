"""`plenish fit`: the same images at another size, in grey, without bands, or what a detector finds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np

from plenish import files
from plenish.configuration import check_bounds
from plenish.datasets.copying import carried_extra, keep_splits
from plenish.datasets.dataset import Dataset
from plenish.datasets.decoding import CHUNK, Task, decode_all
from plenish.datasets.fitting import DISTORTION, PLAIN, Fit, Fitting
from plenish.datasets.images import Shape
from plenish.datasets.rejections import Rejection
from plenish.datasets.tables import read_parquet
from plenish.datasets.writer import CORE_COLUMNS, FACTS, DatasetWriter
from plenish.errors import InputError
from plenish.parallel import default_workers
from plenish.progress import progress
from plenish.wording import Sentences, agree, plural

_PER_WORKER = 4096
_LARGEST_SIZE = 4096
_COUNTED = ("trimmed", "upscaled", "undetected")


@dataclasses.dataclass(frozen=True)
class Refitted:
    """What `plenish fit` made.

    Attributes:
        dataset: the new Dataset.
        counts: images that were enlarged, trimmed, stretched, made grey, or in which nothing was found.
        remarks: what the user should know.
    """

    dataset: Dataset
    counts: dict[str, int]
    remarks: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """The facts a person wants first; JSON-able."""
        return self.dataset.summary() | self.counts | {"remarks": Sentences(self.remarks)}


def refit_dataset(
    data: Path, out: Path, size: int | None = None, *, channels: Literal[1, 3] | None = None,
    fit: Fit = "crop", fitting: Fitting = PLAIN, name: str | None = None, workers: int | None = None,
) -> Refitted:  # fmt: skip
    """Make a Dataset of the same images at another size, in grey, or with their bands cut off.

    Table, labels, groups and splits are kept, arrays (latents, features) are not: they belong to other
    pixels. Images of a Dataset are square, so --fit matters only for what --trim-bands or --detector leave
    of them. The Dataset that it is made from stays as it is.

    Args:
        data: the Dataset.
        out: the Dataset's folder to make; must not exist.
        size: height and width of every image, pixels; by default as they are.
        channels: 1 makes a grey copy; by default as they are.
        fit: how what is left of an image becomes square, as for import.
        fitting: what is cut off, which square is kept, and what fills.
        name: the Dataset's name; by default that of OUT.
        workers: processes; by default as many as pay.

    Raises:
        InputError: the Dataset or an option cannot be used, nothing would change, or OUT exists.
    """
    files.refuse_existing(out, unless_made=True)
    check_bounds("--size", size, {"least": 1, "most": _LARGEST_SIZE})
    check_bounds("--workers", workers, {"least": 1})
    dataset = Dataset.open(data)
    fitting.check(fit)
    shape = Shape(size or dataset.size, channels or dataset.channels, fit, fitting=fitting)
    _check(dataset, shape)
    for split in dataset.split_names():
        if "test" in set(dataset.split(split).part_of):
            dataset.part("test", split, purpose="export")  # Its reading is counted.
    about = dataset.manifest
    how = {"size": shape.size, "channels": shape.channels, "fit": fit, **fitting.changed()}
    extra = carried_extra(dataset)
    cuts = fitting.cuts
    if cuts and isinstance(made := extra.get("import"), dict):  # As later images are to be prepared too.
        extra["import"] = {**made, "fit": fit, "fitting": fitting.changed()}
    config = {"command": "fit", **how, "data": dataset.provenance(None)}
    writer = DatasetWriter(
        out, name=name or files.printable(out.resolve().name), size=shape.size, channels=shape.channels,
        labels=about.labels, config=config, licence=about.licence, source=about.source,
        intended_use=about.intended_use, extra=extra,
    )  # fmt: skip
    with writer:
        _write(writer, dataset, shape, workers or _default_workers(dataset))
        writer.flush()
        facts = writer.facts()
        counts = {name: facts[name] for name in _COUNTED if facts[name] or name != "undetected"}
        lost = {rejection.source for rejection in writer.rejections()}
        kept = [i for i, one in enumerate(dataset.column("id")) if one not in lost]
        keep_splits(writer, dataset, np.array(kept, np.int64))
        writer.extra["fitted"] = {**how, **counts, "rejected": len(lost), "from": about.pixels_hash}
        if lost:
            writer.extra["rejected"] = len(lost)
    return Refitted(writer.dataset, counts, tuple(_remarks(dataset, counts, len(lost), shape)))


def _check(dataset: Dataset, shape: Shape) -> None:
    """Refuse what cannot be made, or would be the same again."""
    if dataset.is_synthetic:
        raise InputError(
            f"{dataset.path} is synthetic; fit the real images that its generator is trained on."
        )
    if shape.channels > dataset.channels:
        raise InputError(
            f"{dataset.path} holds grey images, which have no colours to be made; leave out --channels."
        )
    fitting = shape.fitting
    cuts = fitting.cuts
    if not cuts and (shape.size, shape.channels) == (dataset.size, dataset.channels):
        raise InputError(
            f"Nothing would change: {dataset.path} has {dataset.size} px and {dataset.channels} channel(s) "
            "already; give --size, --channels 1, --trim-bands or --detector."
        )


def _write(writer: DatasetWriter, dataset: Dataset, shape: Shape, workers: int) -> None:
    """Write all images, in their order, with what was done to each."""
    table = read_parquet(dataset.path / "samples.parquet").drop_columns(["sha256"])
    writer.types = {field.name: field.type for field in table.schema if field.name not in CORE_COLUMNS}
    at = writer.skip
    with progress("fit", len(dataset), done=at) as bar:
        for task, result in decode_all(_tasks(dataset, at), "", shape, workers):
            rows = table.slice(at, len(task.refs)).to_pylist()
            done = 0
            for row, item in zip(rows, result.items, strict=True):
                if isinstance(item, Rejection):
                    writer.reject(item)
                    continue
                row["sha256"] = item.digest
                if shape.fit == "stretch" and item.distortion > 1:
                    row[DISTORTION] = float(row.get(DISTORTION) or 1.0) * item.distortion
                row[FACTS] = {name: 1 for name in _COUNTED if getattr(item, name)}
                writer.add(result.pixels[done : done + 1], [row])
                done += 1
            at += len(task.refs)
            bar.advance(len(task.refs))


def _tasks(dataset: Dataset, start: int) -> Iterator[Task]:
    ids = dataset.column("id")
    for at in range(start, len(dataset), CHUNK):
        rows = np.arange(at, min(at + CHUNK, len(dataset)))
        yield Task(ids[at : at + CHUNK], dataset.pixels.read(rows))


def _default_workers(dataset: Dataset) -> int:
    return max(1, min(default_workers(), len(dataset) // _PER_WORKER))


def _remarks(dataset: Dataset, counts: dict[str, int], rejected: int, shape: Shape) -> Iterator[str]:
    if counts["upscaled"]:
        yield (
            f"{agree(counts['upscaled'], 'image', 'was', 'were')} smaller than {shape.size} pixels and "
            "enlarged; a smaller --size would invent nothing."
        )
    if rejected:
        yield f"{agree(rejected, 'image', 'was', 'were')} left out; rejected.csv says which and why."
    if counts.get("undetected"):
        yield (
            f"The detector {shape.fitting.detector} finds nothing in "
            f"{plural(counts['undetected'], 'image')}, of which the whole was taken."
        )
    if dataset.array_names():
        yield "Arrays (latents, features) are not kept: they belong to the pixels before."
