"""`plenish split`: freeze a division into train, val and test before any model sees a pixel."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from plenish import files
from plenish.datasets import integrity
from plenish.datasets.dataset import Dataset
from plenish.datasets.folds import Folds
from plenish.datasets.near_duplicates import clusters
from plenish.datasets.partition import connected_units, partition
from plenish.datasets.parts import Split
from plenish.datasets.schema import PARTS
from plenish.datasets.sources.listing import look_alikes
from plenish.datasets.tables import split_hash
from plenish.errors import InputError
from plenish.progress import say
from plenish.wording import Message, Sentences, agree, plural

_NAMED = 5  # sets of similar names that a caveat names
_BINS = 4
"""Quantile bins of each continuous label that the split keeps even."""


def _near_duplicates(sets: int, images: int, grouped: bool, joined: bool) -> str:
    others = "images in other groups" if grouped else "others"
    which = (
        f"{agree(images, 'image', 'is', 'are')} near-duplicates of {others} (mirrored, turned, brighter, "
        f"compressed again or changed by some bits), in {plural(sets, 'set')}"
    )
    if joined:
        return f"{which}; each set is in one part."
    return (
        f"{which}; they may be in different parts, and scores too good. --near-duplicates join prevents it."
    )


def _alike_groups(sets: Sequence[Sequence[str]], count: int, joined: bool) -> str:
    names = ", ".join(" and ".join(f"'{name}'" for name in names) for names in sets)
    more = f" and {count - len(sets):,} more" if count > len(sets) else ""
    if joined:
        return f"Groups with similar names are in one part: {names}{more}."
    return (
        f"Groups have similar names and may be one patient or object in different parts: {names}{more}. "
        "Where they are, --alike-groups join keeps them in one part."
    )


class SplitCaveat(Message):
    """What limits a split; its manifest keeps the records."""

    words: ClassVar[Mapping[str, str | Callable[..., str]]] = {
        "no-groups": (
            "The images have no groups: if several come from one patient, slide or object, they may be in "
            "different parts, and every score will be too good."
        ),
        "without-group": "{images:image/has/have} no group; each counts as a group of one.",
        "same-pixels": "{count:{noun}/has/have} pixels of others, and the same part.",
        "near-duplicates": _near_duplicates,
        "alike-groups": _alike_groups,
        "no-part": "There is no {part} part; commands that need one will refuse this split.",
        "no-labels": "Without labels, only the number of images is stratified.",
        "unused-labels": "No image has the label {labels}.",
    }


@dataclasses.dataclass(frozen=True)
class SplitResult:
    """What `plenish split` froze.

    Attributes:
        splits: the split, or one for each fold.
        units: number of groups, merged where they share pixels or pictures, each of which is in one part.
        caveats: what the user should know.
    """

    splits: tuple[Split, ...]
    units: int
    caveats: tuple[SplitCaveat, ...]

    def summary(self) -> dict[str, Any]:
        """Counts, shares asked for and achieved, and caveats; JSON-able."""
        rows = []
        for split in self.splits:
            about = split.manifest
            for part in PARTS:
                if not about["counts"][part]:
                    continue
                row: dict[str, Any] = {"split": split.name} if len(self.splits) > 1 else {}
                row |= {"part": part, "images": about["counts"][part], "groups": about["groups"][part]}
                row["asked"] = f"{100 * about['ratios'][part]:.1f} %"
                row["got"] = f"{100 * about['achieved'][part]:.1f} %"
                for name, share in about["shares"].get(part, {}).items():
                    row[name] = f"{100 * share:.1f} %"
                rows.append(row)
        worst = max(split.manifest["worst_deviation"] for split in self.splits)
        first = self.splits[0].manifest
        facts: dict[str, Any] = {
            "split": ", ".join(split.name for split in self.splits),
            "kept whole": plural(self.units, "group" if first["grouped"] else "image"),
            "stratified by": first["stratified_by"],
            "parts": rows,
        }
        if first["stratified_by"] != "nothing":
            facts["largest deviation of a class share"] = f"{100 * worst:.2f} percentage points"
        return facts | {"caveats": Sentences(map(str, self.caveats))}


def split_dataset(
    data: Path,
    ratios: tuple[float, ...] = (0.7, 0.15, 0.15),
    seed: int = 0,
    name: str = "default",
    folds: int | None = None,
    near_duplicates: Literal["join", "warn", "ignore"] = "join",
    alike_groups: Literal["warn", "join"] = "warn",
    held_out_of: str | None = None,
) -> SplitResult:
    """Freeze a train/val/test split of a Dataset, whole groups only, with even classes.

    Images of one group (patient, slide, lesion) stay in one part, and so do images with the same pixels,
    whatever their groups. Near-duplicates (mirrored, turned, brighter or darker, compressed again, changed by
    some bits) stay together too, unless another choice is made. A frozen split is never overwritten: the same
    command given again finds it as it was made, another one is refused.

    Args:
        data: The Dataset.
        ratios: Shares of train, val and test; scaled to sum to 1. A share of 0 leaves val or test empty.
        seed: Seed; the same seed gives the same split.
        name: Name of the split. With folds, the splits are called NAME-0, NAME-1 and so on.
        folds: Make this many cross-validation splits instead (at least 3): in each, one fold is test, the
            next is val, and the others are train. The ratios are then not used.
        near_duplicates: What is done with near-duplicates in different groups: join keeps each set of them in
            one part, warn only counts them, ignore does not look for them.
        alike_groups: What is done with groups whose names differ only in case, spacing or leading zeros, such
            as P01 and p1: warn names them, join keeps them in one part.
        held_out_of: With folds: divide only the images that this split holds out (val and test). Its train
            part is train in every fold; one fold is test, the others are val. Two folds suffice.

    Returns:
        The frozen splits and the shares they achieved.

    Raises:
        InputError: the Dataset is synthetic, the name is taken, the ratios make no sense, or there are too
            few groups to put every class into every part.
    """
    dataset = Dataset.open(data)
    if dataset.is_synthetic:
        raise InputError(
            f"{dataset.path} is synthetic and all of it belongs to train; split the real Dataset instead."
        )
    scheme = Folds(dataset, folds, held_out_of) if folds is not None else None
    if held_out_of is not None and scheme is None:
        raise InputError("--held-out-of divides the held-out images into folds; give --folds too.")
    shares = scheme.shares if scheme else _shares(ratios)
    names = [name] if folds is None else [f"{name}-{k}" for k in range(folds)]
    integrity.check(dataset)
    units = _Units(dataset, near_duplicates, alike_groups, scheme.rows if scheme else None)
    wanted = {part: share for part, share in shares.items() if share > 0}
    units.check(len(wanted))
    assigned = units.assign(list(wanted.values()), seed)
    caveats = units.caveats(shares)
    records = [dataclasses.asdict(caveat) for caveat in caveats]
    common = {"verb": "split", "seed": seed, "caveats": records, "merged_groups": units.merged}
    common |= {"near_duplicates": near_duplicates, "alike_groups": alike_groups}
    planned: list[tuple[list[str], dict[str, Any]]] = []
    for k in range(len(names)):
        if scheme is None:
            parts, about = [list(wanted)[p] for p in assigned], common | {"ratios": shares}
        else:
            parts, about = scheme.parts(assigned, k), common | scheme.about(k)
        planned.append((parts, about))
    # Those of an earlier try, which may have been interrupted, are kept if they are what would be made now.
    ids, groups = dataset.column("id"), dataset.column("group")
    tables = {one: dataset.path / "splits" / f"{one}.parquet" for one in names}
    for one, (parts, about) in zip(names, planned):
        if one in dataset.split_names():
            manifest = files.read_record(tables[one].with_suffix(".json"))
            wanted_now = about | {"hash": split_hash(ids, parts, groups)}
            if any(manifest.get(key) != wanted_now.get(key) for key in ("hash", "seed", "ratios", "folds")):
                raise dataset.frozen(one)
    splits = [
        dataset.split(one)
        if tables[one].exists()
        else dataset.add_split(one, parts, about | units.account(parts))
        for one, (parts, about) in zip(names, planned)
    ]
    return SplitResult(tuple(splits), units.count, tuple(caveats))


def _shares(ratios: Sequence[float]) -> dict[str, float]:
    if len(ratios) != 3:
        raise InputError(f"--ratios takes three numbers, for train, val and test, not {len(ratios)}.")
    if any(not math.isfinite(r) or r < 0 for r in ratios) or ratios[0] <= 0 or ratios[1] + ratios[2] <= 0:
        raise InputError(
            f"--ratios {' '.join(f'{r:g}' for r in ratios)} leaves no train part or nothing to hold out; "
            "try 0.7 0.15 0.15."
        )
    shares: dict[str, float] = {part: float(r) / float(sum(ratios)) for part, r in zip(PARTS, ratios)}
    if not math.isclose(sum(ratios), 1, abs_tol=1e-6):
        say(
            f"--ratios {' '.join(f'{r:g}' for r in ratios)} add up to {sum(ratios):g} and are scaled to "
            f"{' '.join(f'{share:.4g}' for share in shares.values())}."
        )
    return shares


class _Units:
    """The images of a Dataset in units that stay in one part, with what to stratify on."""

    def __init__(
        self, dataset: Dataset, near_duplicates: str, alike_groups: str,
        divided: NDArray[np.bool_] | None = None,
    ) -> None:  # fmt: skip
        table = dataset.table
        self.dataset = dataset
        codes = pd.factorize(table["group"])[0].astype(np.int64)
        alone = codes < 0  # An image without a group is a group of one.
        self.grouped = not alone.all()
        codes[alone] = codes.max(initial=-1) + 1 + np.arange(int(alone.sum()))
        self.without_group = int(alone.sum()) if self.grouped else 0
        keys = [codes, pd.factorize(table["sha256"])[0].astype(np.int64)]
        self.unit = connected_units(*keys)
        self.merged = len(np.unique(codes)) - int(self.unit.max()) - 1
        self.found: list[SplitCaveat] = []
        self.hint = ""
        if (same := self._alike(codes, joined=alike_groups == "join")) is not None:
            keys.append(same)
        if near_duplicates != "ignore":
            near = clusters(dataset)
            if self._note_near(near, joined=near_duplicates == "join"):
                keys.append(near)
        self.unit = connected_units(*keys)
        self.divided = np.ones(len(table), bool) if divided is None else divided
        _, own = np.unique(self.unit[self.divided], return_inverse=True)
        self.own = np.asarray(own.reshape(-1), np.int64)  # Units of the images that are divided.
        self.count = int(self.own.max(initial=-1)) + 1
        self.names, self.strata = _strata(dataset)
        self.required = len(self.names) if dataset.labels.kind == "categorical" else 0

    def _alike(self, codes: NDArray[np.int64], *, joined: bool) -> NDArray[np.int64] | None:
        """What groups with similar names have in common, if they are to be joined."""
        groups = self.dataset.table["group"]
        sets = look_alikes(map(str, groups.dropna().unique()))
        if not sets:
            return None
        values = {"sets": sets[:_NAMED], "count": len(sets), "joined": joined}
        self.found.append(SplitCaveat("alike-groups", values))
        if not joined:
            return None
        one = {name: names[0] for names in sets for name in names}
        first = dict(zip(groups.map(str), codes.tolist()))
        return np.array([first[one.get(str(g), str(g))] if g == g and g is not None else code
                         for g, code in zip(groups, codes.tolist())], np.int64)  # fmt: skip

    def _note_near(self, near: NDArray[np.int64], *, joined: bool) -> bool:
        """Count near-duplicates that are in several units; whether there are any to join."""
        spread = pd.Series(self.unit).groupby(near).transform("nunique").to_numpy() > 1
        if not spread.any():
            return False
        counts = {"sets": len(np.unique(near[spread])), "images": int(spread.sum())}
        values = counts | {"grouped": self.grouped, "joined": joined}
        self.found.append(SplitCaveat("near-duplicates", values))
        if joined:
            self.hint = " Near-duplicates are kept together; '--near-duplicates warn' does not do that."
        return joined

    @property
    def counts(self) -> NDArray[np.float64]:
        """U×(1+K): images of each unit, and of each stratum in it."""
        columns = [np.ones(len(self.own)), *self.strata[self.divided].T]
        return np.stack([np.bincount(self.own, weights=c, minlength=self.count) for c in columns], axis=1)

    def check(self, parts: int) -> None:
        """InputError when some part, or some class in some part, must stay empty."""
        repeated = self.count < len(self.own)
        noun = "groups" if self.grouped else "different images"
        missing = parts - self.count
        if missing > 0:
            if not (self.grouped or repeated):
                noun = "images"
            more = f"{missing} {noun[:-1] if missing == 1 else noun}"
            has = plural(len(self.own), "image")
            if self.grouped:
                has += f" in {plural(self.count, 'group')}"
            elif repeated:
                has += f", {self.count} of them different"
            raise InputError(
                f"{self.dataset.path} has {has}, and {parts} parts (train, val, test or folds) need at least "
                f"{parts} {noun}, one each; add {more} or more, or ask for fewer parts.{self.hint}"
            )
        have = (self.counts[:, 1 : 1 + self.required] > 0).sum(axis=0)
        scarce = [(name, int(n)) for name, n in zip(self.names, have) if 0 < n < parts]
        if scarce:
            name, n = scarce[0]
            more = f" (and {len(scarce) - 1} more classes)" if len(scarce) > 1 else ""
            noun = noun[:-1] if n == 1 else noun
            raise InputError(
                f"The class '{name}'{more} has only {n} {noun}, too few to be in all {parts} parts; add "
                "images of other groups to it, leave it out, or ask for fewer parts (--ratios 0.8 0 0.2)."
                f"{self.hint}"
            )

    def assign(self, shares: Sequence[float], seed: int) -> NDArray[np.int64]:
        """Part numbers of all N images, -1 of those that are not divided."""
        counts = self.counts
        used = [k for k in range(1, counts.shape[1]) if counts[:, k].any()]
        required = sum(1 for k in used if k <= self.required)
        part = partition(counts[:, [0, *used]], np.asarray(shares), seed, required)
        if part is None:
            raise InputError(
                f"No division of {self.dataset.path} by groups puts every class into all "
                f"{len(shares)} parts; add groups of the rare classes or ask for fewer parts "
                f"(--ratios 0.8 0 0.2).{self.hint}"
            )
        found = np.full(len(self.unit), -1, np.int64)
        found[self.divided] = part[self.own]
        return found

    def account(self, parts: Sequence[str]) -> dict[str, Any]:
        """Shares and counts of each part, for the split's manifest."""
        part = np.asarray(parts)
        overall = self.strata.mean(axis=0)
        means = {p: self.strata[part == p].mean(axis=0) for p in PARTS if self.names and (part == p).any()}
        return {
            "achieved": {p: float(np.mean(part == p)) for p in PARTS},
            "groups": {p: len(np.unique(self.unit[part == p])) for p in PARTS},
            "grouped": self.grouped,
            "shares": {p: dict(zip(self.names, mean.tolist())) for p, mean in means.items()},
            "overall": dict(zip(self.names, overall.tolist())),
            "worst_deviation": max((float(np.abs(m - overall).max()) for m in means.values()), default=0.0),
            "stratified_by": {
                "none": "nothing", "categorical": "class", "multilabel": "tag",
                "continuous": f"quantiles of {', '.join(self.dataset.labels.names)}",
            }[self.dataset.labels.kind],
        }  # fmt: skip

    def caveats(self, shares: Mapping[str, float]) -> list[SplitCaveat]:
        """What the user should know about this split."""
        found = []
        if not self.grouped:
            found.append(SplitCaveat("no-groups"))
        elif self.without_group:
            found.append(SplitCaveat("without-group", {"images": self.without_group}))
        if self.merged:
            noun = "group" if self.grouped else "image"
            found.append(SplitCaveat("same-pixels", {"count": self.merged, "noun": noun}))
        found += self.found
        found += [SplitCaveat("no-part", {"part": part}) for part in PARTS if shares.get(part) == 0]
        if self.dataset.labels.kind == "none":
            found.append(SplitCaveat("no-labels"))
        empty = [name for name, total in zip(self.names, self.strata.sum(axis=0)) if not total]
        if empty and self.dataset.labels.kind != "continuous":
            found.append(SplitCaveat("unused-labels", {"labels": empty}))
        return found


def _strata(dataset: Dataset) -> tuple[list[str], NDArray[np.float64]]:
    """Names and N×K indicators of what the parts should have in equal shares."""
    schema, n = dataset.labels, len(dataset)
    if schema.kind == "none":
        return [], np.zeros((n, 0))
    if schema.kind in ("categorical", "multilabel"):
        return list(schema.names), dataset.y().astype(np.float64)
    names, columns = [], []
    for name, values in zip(schema.names, dataset.y().T):
        # Bins by rank; equal values share a bin.
        rank = pd.Series(values).rank(method="average", pct=True).fillna(0).to_numpy()
        which = np.minimum((rank * _BINS).astype(int), _BINS - 1)
        for k in range(_BINS):
            names.append(f"{name} quarter {k + 1}")
            columns.append((which == k).astype(np.float64))
    return names, np.stack(columns, axis=1)
