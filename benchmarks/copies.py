"""The search for copies on planted ones: how often it raises the alarm, and how often on honest images.

    python -m benchmarks.copies [--runs 20] [--first 100] [--workers 2] [--out FILE.jsonl] [--quick]
    python -m benchmarks.copies --data DATASET [--val-patients 6 12 --honest 400 …]

Each run draws patients of one phantom (32 px): 60 for train (14 tiles each), 60 others for val (15 each)
and 50 others for 1,000 honest images. Ten copies of training images, altered in one way, stand in the
place of ten of them. The search is calibrated on val of 6, 12, 24 and 60 patients: others than those of
train (`new`), or ten tiles each of the training patients that train does not hold (`unseen tiles`).
Printed are the runs with an alarm, of honest images also those without any doubt; and, of honest images,
the measures of `metrics.membership`: how often their intervals hold what is expected. The rule was fixed
on runs 0 to 11. `--quick` takes two runs of few patients and only shows that it works. Runs are lines of
--out; a summary is written beside it. `--data` takes the images of a Dataset
instead: each run deals its groups (images, where it has none) out to train, val and the honest images, half,
a quarter and a quarter; at most `--honest` of these are searched. Near-duplicates are joined to one group
first, so that no honest image is a copy. `--half` takes half of the groups alone: the rule was chosen on the
first half of HAM10000. Features, the costly part, are kept under `--cache`. `--speed` instead compares the
time of the search in its three spaces with that in the first two, for 1,000 × 5,000 random images.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from plenish import settings
from plenish.datasets.dataset import Dataset
from plenish.datasets.near_duplicates import clusters
from plenish.datasets.partition import connected_units
from plenish.datasets.schema import LabelSchema
from plenish.datasets.writer import DatasetWriter
from plenish.metrics import leakage
from plenish.metrics.alignment import orientations
from plenish.metrics.copies import (
    ALARMS,
    Calibration,
    Distances,
    Index,
    Views,
    relative_distances,
    views_of,
)
from plenish.metrics.domain import DomainConfig
from plenish.metrics.features import domain_extractor
from plenish.metrics.planted import ALTERATIONS
from plenish.metrics.resampling import unit_codes
from plenish.phantom.patient import CLASSES
from plenish.phantom.tiles import render_tile

SIDE, PLANTED = 32, 10
STEPS = 120  # of the domain extractor; 250 in `plenish score`
Pictures = NDArray[np.uint8]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Numbers of patients and of their tiles."""

    pool: int = 240
    pool_seed: int = 100
    patients: int = 60
    train_tiles: int = 14
    val_tiles: int = 15
    unseen_tiles: int = 10
    honest_patients: int = 50
    honest_tiles: int = 20
    val_patients: tuple[int, ...] = (6, 12, 24, 60)

    @property
    def tiles(self) -> int:
        """Tiles of each patient of the pool."""
        return max(self.train_tiles + self.unseen_tiles, self.val_tiles, self.honest_tiles)


QUICK = Plan(60, 100, 20, 8, 8, 6, 15, 10, (6, 12, 20))


def rendered(patient: int, plan: Plan) -> tuple[Pictures, list[str]]:
    """All tiles of a patient and their labels."""
    made = [render_tile(plan.pool_seed, patient, tile, SIDE) for tile in range(plan.tiles)]
    return np.stack([picture for picture, _ in made]), [truth["label"] for _, truth in made]


def _joined(a: Distances, b: Distances) -> Distances:
    pairs = zip(dataclasses.astuple(a), dataclasses.astuple(b), strict=True)
    return Distances(*(np.concatenate(pair, axis=1) for pair in pairs))


def one_run(
    seed: int, plan: Plan, pictures: Pictures, labels: list[list[str]], cache: Path | None = None
) -> dict[str, Any]:
    """One draw of patients: findings by kind of val, its patients and kind of copy, and the measures."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(plan.pool)
    count = plan.patients
    trained, others, honest = (
        order[:count],
        order[count : 2 * count],
        order[2 * count :][: plan.honest_patients],
    )

    def tiles(who: NDArray[np.int64], start: int, stop: int) -> tuple[Pictures, NDArray[np.int64]]:
        return pictures[who, start:stop].reshape(-1, SIDE, SIDE, 3), np.repeat(who, stop - start)

    vals = {
        "new": tiles(others, 0, plan.val_tiles),
        "unseen tiles": tiles(trained, plan.train_tiles, plan.train_tiles + plan.unseen_tiles),
    }
    names = [labels[who][tile] for who in trained for tile in range(plan.train_tiles)]
    train = tiles(trained, 0, plan.train_tiles)
    schema = LabelSchema("categorical", CLASSES)
    return judged(seed, rng, train, names, schema, vals, tiles(honest, 0, plan.honest_tiles)[0], plan, cache)


def one_real_run(
    seed: int, path: Path, plan: Plan, honest: int, half: str | None = None, cache: Path | None = None
) -> dict[str, Any]:
    """The same with the images of a Dataset, whose groups are dealt out at random."""
    rng = np.random.default_rng(seed)
    data = Dataset.open(path)
    groups = connected_units(unit_codes(data.column("group"), len(data)), clusters(data))
    names = np.unique(groups)
    first = np.isin(groups, np.random.default_rng(0).permutation(names)[: len(names) // 2])
    chosen = np.flatnonzero({"first": first, "second": ~first}.get(str(half), np.ones(len(data), bool)))
    units = np.unique(groups[chosen], return_inverse=True)[1]
    order = rng.permutation(int(units.max()) + 1)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    share = (place / len(order))[units]
    train, val, fresh = share < 0.5, (share >= 0.5) & (share < 0.75), share >= 0.75
    pictures = data.pixels.read(chosen)
    vals = {"new": (pictures[val], units[val])}
    labels = data.column("label")
    named = [labels[i] for i in chosen[train]]
    some = np.sort(rng.permutation(np.flatnonzero(fresh))[:honest])
    sides = (pictures[train], units[train]), named, data.manifest.labels, vals
    return judged(seed, rng, *sides, pictures[some], plan, cache)


class KeptFeatures:
    """Domain features of images, which are kept in a folder."""

    def __init__(
        self, seed: int, train: Pictures, rows: list[dict[str, Any]], schema: LabelSchema, cache: Path | None
    ) -> None:
        """Fit the extractor only when it is needed.

        Args:
            seed: of the extractor.
            train: training images N×H×W×C uint8.
            rows: their rows of a Dataset.
            schema: what the labels mean.
            cache: where features are kept.
        """
        self._seed, self._train, self._rows, self._schema = seed, train, rows, schema
        self._extractor: Callable[[Pictures], NDArray[np.float32]] | None = None
        key = hashlib.sha256(train.tobytes() + json.dumps([seed, STEPS, SIDE, rows], default=str).encode())
        self._folder = None if cache is None else cache / key.hexdigest()[:16]

    def __call__(self, images: Pictures) -> NDArray[np.float32]:
        """Features n×D of images n×H×W×C uint8."""
        if self._folder is None:
            return self._fitted()(images)
        file = self._folder / f"{hashlib.sha256(images.tobytes()).hexdigest()[:16]}.npy"
        if file.exists():
            return np.asarray(np.load(file), np.float32)
        found = self._fitted()(images)
        self._folder.mkdir(parents=True, exist_ok=True)
        np.save(file, found)
        return found

    def _fitted(self) -> Callable[[Pictures], NDArray[np.float32]]:
        if self._extractor is None:
            train = self._train
            with tempfile.TemporaryDirectory() as folder:
                with DatasetWriter(
                    Path(folder) / "data", name="data", size=train.shape[1], channels=train.shape[3],
                    labels=self._schema, config={},
                ) as writer:  # fmt: skip
                    writer.add(train, self._rows)
                config = DomainConfig(side=SIDE, steps=STEPS)
                self._extractor = domain_extractor(writer.dataset, seed=self._seed, config=config)
        return self._extractor


def judged(
    seed: int,
    rng: np.random.Generator,
    trained: tuple[Pictures, NDArray[np.int64]],
    names: list[Any],
    schema: LabelSchema,
    vals: dict[str, tuple[Pictures, NDArray[np.int64]]],
    honest: Pictures,
    plan: Plan,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Findings by kind of val, its patients and kind of copy, and the measures.

    Args:
        seed: of extractor and resamples.
        rng: source of the draws.
        trained: training images N×H×W×C uint8 and numbers of their groups.
        names: labels of the training images.
        schema: what they mean.
        vals: held-out images and their groups, by name.
        honest: images of other groups, ten of which give way to copies.
        plan: how many held-out groups calibrate the search.
        cache: where features are kept.
    """
    train, train_groups = trained
    rows = [
        {"label": label, "group": str(group), "part": "train"}
        for label, group in zip(names, train_groups, strict=True)
    ]
    with settings.use(quiet=True, precision="float32", threads=1):
        extractor = KeptFeatures(seed, train, rows, schema, cache)
        known = views_of(train, extractor)
        index = Index(known)
        fresh = views_of(honest, extractor)
        held = {name: views_of(images, extractor) for name, (images, _) in vals.items()}
        sets = {"honest": index(fresh)}
        originals = rng.permutation(len(train))[: PLANTED * len(ALTERATIONS)].reshape(-1, PLANTED)
        rest = np.arange(len(fresh) - PLANTED)
        for source, (kind, alter) in zip(originals, ALTERATIONS.items(), strict=True):
            planted = index(views_of(alter(train[source], rng), extractor))
            sets[kind] = _joined(sets["honest"][rest], planted)
    findings = []
    for name, (_, groups) in vals.items():
        distances, drawn = index(held[name]), rng.permutation(np.unique(groups))
        for patients in plan.val_patients:
            rows_of = np.flatnonzero(np.isin(groups, drawn[:patients]))
            units = np.unique(groups[rows_of], return_inverse=True)[1]
            judge = Calibration(distances[rows_of], units)
            for kind, made in sets.items():
                facts = judge(made).facts
                found = {key: facts[key] for key in ("finding", "n_suspect", "n_beyond", "n_identical")}
                findings.append({"val": name, "patients": patients, "kind": kind, **found})
    how: dict[str, Any] = {"level": 0.95, "resamples": 60, "seed": seed}
    leaks = {
        name: leakage.record(fresh, held[name], known, groups, train_groups, **how)
        for name, (_, groups) in vals.items()
    }
    numbers = {
        "train": len(train),
        "honest": len(honest),
        **{f"val {k}": len(v) for k, (v, _) in vals.items()},
    }
    return {"seed": seed, "numbers": numbers, "findings": findings, "honest": leaks}


def table(runs: list[dict[str, Any]], plan: Plan) -> str:
    """Alarms (and, of honest images, runs without doubt) as a table in Markdown."""
    counts: collections.Counter[tuple[Any, ...]] = collections.Counter()
    for row in (row for run in runs for row in run["findings"]):
        key = row["val"], row["patients"], row["kind"]
        counts[*key, "alarm"] += row["finding"] in ALARMS
        counts[*key, "none"] += row["finding"] == "none"
    kinds = dict.fromkeys(row["val"] for run in runs for row in run["findings"])
    columns = [(val, n) for val in kinds for n in plan.val_patients]
    heads = [f"{val}, {n}" for val, n in columns]
    lines = [f"| of {len(runs)} runs | {' | '.join(heads)} |", "|---" * (len(columns) + 1) + "|"]
    for kind in ALTERATIONS:
        lines.append(f"| {kind}: alarm | {' | '.join(str(counts[*at, kind, 'alarm']) for at in columns)} |")
    for what in ("alarm", "none"):
        lines.append(f"| honest: {what} | {' | '.join(str(counts[*at, 'honest', what]) for at in columns)} |")
    return "\n".join(lines)


def measured(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Means of the measures of honest images, and how often the intervals hold what is expected."""
    rows: dict[tuple[str, str, str], list[dict[str, Any]]] = collections.defaultdict(list)
    for run in runs:
        for val, record in run["honest"].items():
            for row in record["measures"]:
                rows[val, row["name"], row["space"]].append(row)
    return [
        {
            "val": val, "name": name, "space": space, "mean": float(np.mean([row["value"] for row in found])),
            "expected": float(np.mean([row["expected"] for row in found])),
            "held": sum(row["low"] <= row["expected"] <= row["high"] for row in found), "runs": len(found),
        }
        for (val, name, space), found in rows.items()
    ]  # fmt: skip


def speed(rounds: int = 5, n: int = 1000, train: int = 5000) -> dict[str, float]:
    """Median seconds of the search in three spaces and in two, interleaved."""
    rng = np.random.default_rng(0)
    sides = [
        Views(rng.normal(size=(m, 16, 16, 3)).astype(np.float32), rng.normal(size=(m, 96)).astype(np.float32))
        for m in (n, train)
    ]
    made, known = sides
    index, flat = Index(known), known.pixels.reshape(train, -1)
    seconds: dict[str, list[float]] = {"three spaces": [], "two spaces": []}
    for _ in range(rounds):
        start = time.perf_counter()
        index(made)
        middle = time.perf_counter()
        relative_distances([np.ascontiguousarray(v).reshape(n, -1) for v in orientations(made.pixels)], flat)
        relative_distances([made.features], known.features)
        seconds["three spaces"].append(middle - start)
        seconds["two spaces"].append(time.perf_counter() - middle)
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return {**medians, "ratio": medians["three spaces"] / medians["two spaces"]}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--first", type=int, default=100, help="seed of the first run")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default="copies.jsonl", help="runs in it are not repeated")
    parser.add_argument("--data", type=Path, help="a Dataset whose images are taken in place of a phantom's")
    parser.add_argument("--val-patients", type=int, nargs="+", help="groups that calibrate the search")
    parser.add_argument("--honest", type=int, default=1000, help="images searched, with --data")
    parser.add_argument("--half", choices=("first", "second"), help="of the groups of --data")
    parser.add_argument("--cache", type=Path, help="folder in which features are kept")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--speed", action="store_true")
    options = parser.parse_args()
    if options.speed:
        print(json.dumps(speed(), indent=2))
        return
    plan, runs = (QUICK, 2) if options.quick else (Plan(), options.runs)
    if options.val_patients:
        plan = dataclasses.replace(plan, val_patients=tuple(options.val_patients))
    found = (
        [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    )
    seeds = [*range(options.first, options.first + runs)]
    missing = [seed for seed in seeds if seed not in {run["seed"] for run in found}]
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(options.workers, spawn) as workers:
        if options.data:
            started = [
                workers.submit(
                    one_real_run, seed, options.data, plan, options.honest, options.half, options.cache
                )
                for seed in missing
            ]
        else:
            pool = range(plan.pool if missing else 1)
            made = list(workers.map(rendered, pool, [plan] * len(pool), chunksize=10))
            pictures, labels = np.stack([x for x, _ in made]), [names for _, names in made]
            started = [
                workers.submit(one_run, seed, plan, pictures, labels, options.cache) for seed in missing
            ]
        for run in concurrent.futures.as_completed(started):
            found.append(run.result())
            with options.out.open("a") as stream:
                stream.write(json.dumps(found[-1]) + "\n")
    text = table(found, plan)
    summary = {
        "plan": dataclasses.asdict(plan), "extractor_steps": STEPS,
        "seeds": sorted(run["seed"] for run in found),
        "table": text.splitlines(), "measures_of_honest_images": measured(found),
    }  # fmt: skip
    options.out.with_suffix(".json").write_text(json.dumps(summary, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
