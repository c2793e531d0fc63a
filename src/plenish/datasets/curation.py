"""A curation: steps in an order, a funnel of counts, and a new Dataset of the rows that are left.

Nothing is deleted or encoded again: rows are copied, and the Dataset that is curated stays as it is.
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from plenish import files
from plenish.datasets import curation_steps, integrity
from plenish.datasets.copying import curated_rows
from plenish.datasets.curation_steps import STEPS, Corpus, Step
from plenish.datasets.dataset import Dataset
from plenish.datasets.expressions import parse
from plenish.errors import unknown

Ints = NDArray[np.int64]
_SHOWN = 24
"""Images of each kind in the gallery of a step."""
CLUSTERS = "near_duplicates"
"""Column that tells the cluster of near-duplicates that were kept."""


@dataclass(frozen=True)
class Planned:
    """A step to be taken: its name, its parameter as it was typed, and what does it."""

    name: str
    parameter: str
    step: Step

    @property
    def words(self) -> str:
        """As it is typed, behind --drop but for conditions that must be met."""
        if self.step is curation_steps.where:
            return f"{self.name} {self.parameter}"
        return f"{self.name}:{self.parameter}" if self.parameter else self.name


@dataclass(frozen=True)
class Taken:
    """A step that was taken.

    Attributes:
        planned: which.
        before: images before it.
        dropped: row numbers of the images it dropped.
        values: what decided of each of these.
        parameters: what it used: thresholds, tolerances.
        seconds: how long it took.
        nearest: row numbers of images that stayed and were nearest to being dropped.
        worst: row numbers of dropped images to show, the clearest first.
        in_place: of each of `worst`, the image that stayed in its place; None where there is no such.
        clusters: cluster of each image that stayed, by row number; None where the step knows of none.
    """

    planned: Planned
    before: int
    dropped: Ints
    values: Sequence[Any]
    parameters: Mapping[str, Any]
    seconds: float
    nearest: Ints
    worst: Ints
    in_place: Ints | None = None
    clusters: Mapping[int, int] | None = None

    @property
    def after(self) -> int:
        """Images after it."""
        return self.before - len(self.dropped)


def plan(where: Sequence[str], drop: Sequence[str], known: Mapping[str, Step] = STEPS) -> list[Planned]:
    """The steps that words ask for: conditions first, then the others, each in their order.

    Args:
        where: conditions that images must meet.
        drop: words NAME or NAME:PARAMETER.
        known: the steps by name.

    Raises:
        InputError: a condition that cannot be read, or an unknown step.
    """
    planned = [Planned("where", text, curation_steps.where) for text in where]
    for word in drop:
        name, _, parameter = word.partition(":")
        if name not in known:
            raise unknown("step of --drop", name, known)
        planned.append(Planned(name, parameter, known[name]))
    for one in planned:
        if one.name == "where" and one.parameter:
            parse(one.parameter)  # Before anything is read.
    return planned


def take(corpus: Corpus, planned: Sequence[Planned]) -> tuple[Ints, list[Taken]]:
    """Take steps, one after the other.

    Returns:
        Row numbers of the images that are left, and what each step did.
    """
    integrity.check(corpus.dataset)
    rows, taken = np.arange(len(corpus.dataset), dtype=np.int64), list[Taken]()
    for one in planned:
        start = time.monotonic()
        if not len(rows):  # Nothing is left to look at.
            taken.append(Taken(one, 0, rows, [], {}, 0.0, rows, rows))
            continue
        found = one.step(corpus, rows, one.parameter)
        gone, stays = np.flatnonzero(~found.keep), np.flatnonzero(found.keep)
        worst, near = gone[:_SHOWN], np.empty(0, np.int64)
        if found.distance is not None:
            worst = gone[np.argsort(found.distance[gone], kind="stable")[:_SHOWN]]
            close = stays[np.argsort(np.nan_to_num(found.distance[stays], nan=np.inf), kind="stable")]
            near = close[np.isfinite(found.distance[close])][:_SHOWN]
        place = None if found.kept_in_place is None else found.kept_in_place[worst]
        of = None if found.clusters is None else _several(rows, found.clusters)
        seconds = time.monotonic() - start
        taken.append(
            Taken(
                one, len(rows), rows[gone], list(found.values[gone]), dict(found.parameters), seconds,
                rows[near], rows[worst], place, of,
            )
        )  # fmt: skip
        rows = rows[stays]
    return rows, taken


def _several(rows: Ints, clusters: Ints) -> dict[int, int]:
    """The cluster of each row that is not alone in it."""
    counts = np.bincount(clusters)
    return {int(row): int(one) for row, one in zip(rows, clusters) if counts[one] > 1}


def funnel(dataset: Dataset, taken: Sequence[Taken]) -> list[dict[str, Any]]:
    """A row for each step: what it was, how many images it saw, dropped and left, and how long it took."""
    rows: list[dict[str, Any]] = [
        {"step": "all images", "parameters": {}, "before": len(dataset), "dropped": 0, "after": len(dataset),
         "seconds": 0.0},
    ]  # fmt: skip
    return rows + [
        {"step": one.planned.words, "parameters": dict(one.parameters), "before": one.before,
         "dropped": len(one.dropped), "after": one.after, "seconds": round(one.seconds, 3)}
        for one in taken
    ]  # fmt: skip


def write(
    corpus: Corpus, out: Path, rows: Ints, taken: Sequence[Taken], *, name: str | None,
    beside: Callable[[Path], object] = lambda folder: None,
) -> Dataset:  # fmt: skip
    """Write the rows that are left as a Dataset, with its funnel and dropped.csv; that is a reading of them.

    Args:
        corpus: the corpus.
        out: the folder to make; must not exist.
        rows: row numbers that are left, at least one.
        taken: the steps.
        name: name of the new Dataset; by default that of the old one.
        beside: writes further files into the folder, before it gets its name.

    Raises:
        InputError: OUT exists or cannot be written.
    """
    dataset = corpus.dataset
    columns, together = _clusters(rows, taken)
    config = {
        "verb": "curate", "of": dataset.provenance(), "steps": [one.planned.words for one in taken],
        "where": [one.planned.parameter for one in taken if one.planned.step is curation_steps.where],
        "keep_clusters": corpus.keep_clusters, "seed": corpus.seed,
    }  # fmt: skip
    reads = {split: dataset.test_reads(split) for split in dataset.split_names()}
    record = {
        "of": {"name": dataset.name, "pixels_hash": dataset.manifest.pixels_hash, "test_reads": reads},
        "funnel": funnel(dataset, taken),
    }  # fmt: skip
    before = dataset.manifest.extra.get("curations") or []

    def written(folder: Path) -> None:
        corpus.record_read()  # Their pictures are shown and copied.
        files.write_text(folder / "dropped.csv", _dropped(dataset, taken))
        beside(folder)

    return curated_rows(
        dataset, out, rows, name=name or dataset.name, config=config,
        extra={"curations": [*before, record]}, columns=columns, together=together, beside=written,
    )  # fmt: skip


def _clusters(rows: Ints, taken: Sequence[Taken]) -> tuple[dict[str, pa.Array], Ints | None]:
    """The column of clusters, and the sets of rows that must stay in one part."""
    known = [one.clusters for one in taken if one.clusters is not None]
    if not known:
        return {}, None
    of = known[-1]
    together = np.array([of.get(int(row), -1 - int(row)) for row in rows], np.int64)
    column = pa.array([of.get(int(row)) for row in rows], pa.int64())
    return {CLUSTERS: column}, np.unique(together, return_inverse=True)[1].astype(np.int64)


def _dropped(dataset: Dataset, taken: Sequence[Taken]) -> str:
    """dropped.csv: id, step and what decided."""
    ids, text = dataset.column("id"), io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", "step", "value"])
    for one in taken:
        for row, value in zip(one.dropped.tolist(), one.values, strict=True):
            shown = f"{value:.6g}" if isinstance(value, (float, np.floating)) else value
            writer.writerow([ids[row], one.planned.words, shown])
    return text.getvalue()
